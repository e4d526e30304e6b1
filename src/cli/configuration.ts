// `understudy show config` and `understudy diff`: a version's text as it was applied, the list of versions, and what lies between
// two texts. The daemon gives the texts; the difference is made here.

import { nameOf } from "../core/configVersions.ts";
import { unifiedDiff } from "../core/textDiff.ts";
import { harmless, renderVersions, standingText, versionText } from "../views/configuration.ts";
import { readText } from "./apply.ts";
import { askDaemon } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

interface Common {
  readonly node: string;
  readonly json: boolean;
}

interface Named {
  readonly name: string;
  readonly text: string;
}

async function ask(node: string, of: "own" | "peer", version: string | null) {
  const answer = await askDaemon(node, { kind: "configuration", of, version });
  if (answer.kind !== "configuration")
    throw new Error(`the daemon answered "${answer.kind}" to configuration`);
  return answer;
}

/** The text on standard output as it was applied, fit to be written into a file; what it is, on standard error. */
export async function showConfig(version: string | null, options: Common, terminal: Terminal): Promise<void> {
  const { header, text, pair } = await ask(options.node, "own", version);
  if (options.json) {
    terminal.out(`${JSON.stringify({ header, text, pair })}\n`);
    return;
  }
  terminal.err(`${versionText(header, terminal.nowMs())}\n`);
  if (version === null) terminal.err(`${standingText(pair, terminal.style)}\n`);
  terminal.out(harmless(text));
}

/** The versions that this node keeps. */
export async function showVersions(limit: number, options: Common, terminal: Terminal): Promise<void> {
  const answer = await askDaemon(options.node, { kind: "versions", limit });
  if (answer.kind !== "versions") throw new Error(`the daemon answered "${answer.kind}" to versions`);
  const { versions, total, pair } = answer;
  terminal.out(
    options.json
      ? `${JSON.stringify({ versions, total, pair })}\n`
      : renderVersions({ versions, total, pair }, { nowMs: terminal.nowMs(), style: terminal.style }),
  );
}

/** A version by its number or the first digits of its id; anything else is a file. */
const isVersion = (what: string): boolean => /^(\d{1,9}|[0-9a-f]{6,64})$/.test(what);

/** The texts that are compared: with nothing named, what is in force and what lies on disk. */
async function textsOf(
  from: string | undefined,
  to: string | undefined,
  node: string,
): Promise<readonly [Named, Named]> {
  const own = await ask(node, "own", null);
  const here = (name: string, of: { readonly text: string }): Named => ({ name, text: of.text });
  const inForce = here(`${nameOf(own.header)}, in force on ${own.pair.node}`, own);
  const version = async (reference: string): Promise<Named> => {
    const answer = await ask(node, "own", reference);
    return here(nameOf(answer.header), answer);
  };
  if (from === undefined) return [inForce, { name: own.pair.file, text: readText(own.pair.file) }];
  if (from === "peer") {
    const theirs = await ask(node, "peer", null);
    const other = own.pair.node === "a" ? "b" : "a";
    return [inForce, here(`${nameOf(theirs.header)}, in force on ${other}`, theirs)];
  }
  if (!isVersion(from)) return [inForce, { name: from, text: readText(from) }];
  const old = await version(from);
  return [old, to === undefined ? inForce : await version(to)];
}

/** Prints the unified difference; nothing on standard output where there is none. */
export async function diff(
  from: string | undefined,
  to: string | undefined,
  options: Common,
  terminal: Terminal,
): Promise<void> {
  const [old, next] = await textsOf(from, to, options.node);
  const difference = unifiedDiff({ old: old.text, new: next.text, names: [old.name, next.name] });
  if (options.json) terminal.out(`${JSON.stringify({ from: old.name, to: next.name, difference })}\n`);
  else if (difference === "") terminal.err(`no difference between ${old.name} and ${next.name}\n`);
  else terminal.out(coloured(harmless(difference), terminal));
}

const tones = { "-": "bad", "+": "good", "@": "dim" } as const;

const coloured = (difference: string, { style }: Terminal): string =>
  difference
    .split("\n")
    .map((line) => {
      const tone = tones[line[0] as keyof typeof tones];
      return tone === undefined || line === "" ? line : style(tone, line);
    })
    .join("\n");
