// Versions of the configuration as text: what became of an order to put one into force, node by node; the list of versions; how
// the two nodes stand to each other. For whoever reads it at night. Pure.

import { nameOf } from "../core/configVersions.ts";
import type {
  ApplyReport,
  ConfigurationVersionLine,
  PairConfigurationView,
  Place,
} from "../wire/controlConfiguration.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";
import { moment, plural, printable, type Style, table } from "./text.ts";

const indented = (lines: readonly string[], prefix = ""): string[] =>
  lines.map((line) => `  ${prefix}${printable(line)}`);

/** Where a node stands that does not have the version in force; the words of its own follow. */
const placeText: Readonly<Record<Place["state"], string>> = {
  "in-force": "in force",
  unchanged: "as it was before",
  refused: "refuses it",
  failed: "could not take it into effect, and is as it was before",
  absent: "not connected; it gets it when it is back",
  "old-protocol":
    "its version of Understudy does not carry the configuration: copy the file there, and restart its daemon",
  unconfirmed: "not known; what it has shows when it is back, and it is brought up to date then",
};

const whatItWas = { import: "found on disk", apply: "applied", rollback: "rolled back" } as const;

/** Text without what a terminal would obey; lines and tabs stay. */
export const harmless = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.split("\t").map(printable).join("\t"))
    .join("\n");

/** `version 7 (1f0c2a9b), applied on a by eve, 2026-11-20 ...: a third link`. */
export function versionText(header: VersionHeader, nowMs: number): string {
  const { origin, node, author, message, at } = header;
  const by = author === "" ? "" : ` by ${printable(author)}`;
  const why = message === "" ? "" : `: ${printable(message)}`;
  const when = moment(new Date(at).toISOString(), nowMs);
  return `${nameOf(header)}, ${whatItWas[origin]} on ${node}${by}, ${when}${why}`;
}

/** What became of an order. Ends with a line feed; `isFailure`: it belongs on standard error. */
export function renderApply(
  report: ApplyReport,
  style: Style,
): { readonly text: string; readonly isFailure: boolean } {
  const { outcome, version, changes, places } = report;
  const [here, there] = places;
  const name = version === null ? "it" : nameOf(version);
  const details = places.flatMap((place) => {
    const said = place.state === "in-force" ? [] : [`${place.node}: ${placeText[place.state]}`];
    return [...said, ...indented(place.words, place.state === "in-force" ? `${place.node}: ` : "")];
  });
  const lines = (head: string): string => `${[head, ...details].join("\n")}\n`;
  switch (outcome) {
    case "unchanged":
      return { text: `${[`${name} is in force already`, ...details].join("\n")}\n`, isFailure: false };
    case "done":
    case "partly": {
      const where = outcome === "done" ? `${here.node} and ${there.node}` : here.node;
      const not = outcome === "done" ? "" : style("warn", `, NOT on ${there.node}`);
      const changed = indented(changes.length === 0 ? ["nothing that the nodes would notice"] : changes);
      return {
        text: `${[`${name} is in force on ${where}${not}`, ...changed, ...details].join("\n")}\n`,
        isFailure: false,
      };
    }
    case "refused":
      return {
        text: lines(style("bad", "refused: nothing was changed on either node")),
        isFailure: true,
      };
    case "failed":
      return { text: lines(style("bad", `${name} is not in force on ${here.node}`)), isFailure: true };
  }
}

/** How the two nodes stand to each other, in a line or two without a line feed at the end. */
export function standingText(view: PairConfigurationView, style: Style): string {
  const { node, head, pending, peer, difference } = view;
  const other = node === "a" ? "b" : "a";
  const way = pending === null ? "" : `; ${nameOf(pending)} is on its way`;
  if (difference !== null) return style("warn", printable(`The nodes differ: ${difference}`)) + way;
  if (peer === null)
    return style("warn", `${nameOf(head)} is in force on ${node}; ${other} is not connected`) + way;
  return `${nameOf(head)} is in force on ${node} and ${other}${way}`;
}

export interface VersionsView {
  readonly versions: readonly ConfigurationVersionLine[];
  readonly total: number;
  readonly pair: PairConfigurationView;
}

/** The versions that a node keeps, the newest first. Ends with a line feed. */
export function renderVersions(
  view: VersionsView,
  options: { readonly nowMs: number; readonly style: Style },
): string {
  const { nowMs, style } = options;
  const rows = view.versions.map(({ header, inForce, inChain }) => {
    const { number, id, origin, node, author, message, at } = header;
    return [
      { text: inForce ? "*" : "", tone: "good" as const },
      inChain ? String(number) : "-",
      id.slice(0, 8),
      moment(new Date(at).toISOString(), nowMs),
      `${whatItWas[origin]} on ${node}`,
      author,
      message,
    ];
  });
  const columns = [
    { title: "" },
    { title: "version", align: "right" as const },
    { title: "id" },
    { title: "when" },
    { title: "how" },
    { title: "by" },
    { title: "message" },
  ];
  const more = view.total > view.versions.length ? [`${plural(view.total, "version")} in all.`] : [];
  const aside = view.versions.some(({ inChain }) => !inChain)
    ? ["Without a number: not in the past of what is in force; named by its id."]
    : [];
  return `${[standingText(view.pair, style), "", table(columns, rows, style), ...more, ...aside].join("\n")}\n`;
}
