// `understudy check FILE...`: every mistake of every file at once, each with its place.

import { checkFile, readConfiguration } from "../admin/configFiles.ts";
import { ExitCode } from "../base/errors.ts";
import type { Config } from "../core/config.ts";
import { type ConfigError, formatErrors } from "../core/configTree.ts";
import { plural } from "../views/text.ts";
import type { Terminal } from "./terminal.ts";

interface Checked {
  readonly file: string;
  readonly kind: "pair" | "node";
  readonly ok: boolean;
  readonly errors: readonly ConfigError[];
  /** What a good node's file amounts to, together with the pair's. */
  readonly summary?: { readonly pair: string; readonly node: string; readonly digest: string };
}

/** `pair office, node a, 2 links (fibre, cable), 2 paths (sync, lan)`. */
function sentence(config: Config): string {
  const names = (things: readonly { readonly name: string }[]): string =>
    `(${things.map((thing) => thing.name).join(", ")})`;
  const { pair, node, links, paths } = config;
  return `pair ${pair}, node ${node}, ${plural(links.length, "link")} ${names(links)}, ${plural(paths.length, "path")} ${names(paths)}`;
}

/** Checks the files and prints the verdict: `Ok` where all hold, else `BadConfiguration`. Files are read, nothing is changed. */
export function check(
  files: readonly string[],
  options: { readonly json: boolean },
  terminal: Terminal,
): ExitCode {
  const lines: string[] = [];
  const checked = files.map((file): Checked => {
    const { kind, errors } = checkFile(file);
    const ok = errors.length === 0;
    const read = ok && kind === "node" ? readConfiguration(file) : null;
    const config = read?.ok === true ? read.config : null;
    const what = config === null ? "a good pair's file" : sentence(config);
    lines.push(ok ? `${file}: ${terminal.style("good", "fine")}: ${what}` : formatErrors(errors));
    const summary = config && { pair: config.pair, node: config.node, digest: config.digest };
    return { file, kind, ok, errors, ...(summary === null ? {} : { summary }) };
  });
  const mistakes = checked.reduce((sum, each) => sum + each.errors.length, 0);
  if (options.json) terminal.out(`${JSON.stringify({ ok: mistakes === 0, files: checked })}\n`);
  else {
    terminal.out(`${lines.join("\n")}\n`);
    if (mistakes === 0) terminal.out("(this machine's key, interfaces and ports: `understudy doctor`)\n");
    if (mistakes > 0) terminal.err(`understudy: ${plural(mistakes, "mistake")}; nothing was changed\n`);
  }
  return mistakes === 0 ? ExitCode.Ok : ExitCode.BadConfiguration;
}
