// Changes of the pair's file as a user would make them with an editor, and files that must be refused, each for one reason. They
// work on the text that the laboratory wrote (pairFiles.ts); what is no such text is a defect of the laboratory. Pure.

import { linkLines } from "./pairFiles.ts";
import type { LinkSpec } from "./topology.ts";

/** `text` with one place changed. */
function replaced(text: string, place: string | RegExp, by: string): string {
  const next = text.replace(place, by);
  if (next === text) throw new Error(`the pair's file has no ${place}`);
  return next;
}

/** With this weight for the link of that name. */
export const withWeight = (text: string, name: string, weight: number): string =>
  replaced(text, new RegExp(`(name: ${name}\\n(?: {4}.*\\n)*? {4}weight: )\\d+`), `$1${weight}`);

/** With one link more. */
export const withLink = (text: string, link: LinkSpec): string =>
  replaced(text, "paths:\n", `${linkLines(link).join("\n")}\npaths:\n`);

export interface BrokenFile {
  readonly what: string;
  readonly text: string;
  /** What somebody has to be told about it, on whichever node it is wrong. */
  readonly says: RegExp;
}

/**
 * Files that both nodes have to refuse, and one that only the standby's machine has a reason to.
 * @param onlyHere A link whose device the active has, and the standby has not.
 */
export function brokenFiles(text: string, onlyHere: LinkSpec, standby: string): readonly BrokenFile[] {
  const nowhere = { ...onlyHere, id: 4, name: "nowhere", device: "wan9" };
  return [
    { what: "no YAML", text: `${text}\nlinks: [\n`, says: /\d+:\d+/ },
    { what: "an unknown key", text: replaced(text, "weight: ", "wieght: "), says: /wieght/ },
    { what: "a weight below 0", text: withWeightText(text, "-1"), says: /weight/ },
    { what: "a link twice", text: replaced(text, "id: 2", "id: 1"), says: /\b1\b/ },
    {
      what: "a gateway outside the link's network",
      text: replaced(text, /gateway: \[[0-9.]+/, "gateway: [10.99.99.1"),
      says: /gateway/,
    },
    {
      what: "another pair's name",
      text: replaced(text, "pair: laboratory", "pair: elsewhere"),
      says: /pair/,
    },
    { what: "a device that neither node has", text: withLink(text, nowhere), says: /wan9/ },
    {
      what: "a device that the standby does not have",
      text: withLink(text, onlyHere),
      says: new RegExp(`${standby}: refuses it[^]*wan3`),
    },
  ];
}

const withWeightText = (text: string, weight: string): string =>
  replaced(text, /weight: \d+/, `weight: ${weight}`);
