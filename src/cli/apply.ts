// `understudy apply` and `understudy rollback`: one order to the daemon, and what became of it on either node.

import { closeSync, openSync, readSync } from "node:fs";
import { userInfo } from "node:os";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { CONFIGURATION_BYTES_MAX, CONFIGURATION_EFFECT_MS_MAX } from "../base/limits.ts";
import { renderApply } from "../views/configuration.ts";
import type { ApplySource } from "../wire/control.ts";
import type { ApplyReport } from "../wire/controlConfiguration.ts";
import { askDaemon } from "./ask.ts";
import { CommandFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

/** Both nodes take it into effect one after the other, and each may take its time. */
const APPLY_MS_MAX = 3 * CONFIGURATION_EFFECT_MS_MAX;

export interface ApplyOptions {
  readonly node: string;
  readonly json: boolean;
  readonly message?: string;
  readonly replacePeer?: true;
  readonly takePeer?: true;
  readonly base?: string;
}

const exitCodes: Readonly<Record<ApplyReport["outcome"], ExitCode>> = {
  done: ExitCode.Ok,
  unchanged: ExitCode.Ok,
  // In force here, and the pair is not what it was told to be.
  partly: ExitCode.Failed,
  refused: ExitCode.BadConfiguration,
  failed: ExitCode.Failed,
};

/** Whoever is behind `sudo`; else the user. */
function author(): string {
  const { SUDO_USER: sudo } = process.env;
  if (sudo !== undefined && sudo !== "") return sudo;
  try {
    return userInfo().username;
  } catch {
    // A user without a name.
    return String(process.getuid?.() ?? "");
  }
}

/** The text of a file of people's choice, or of a pipe. Throws CommandFailure. */
export function readText(file: string): string {
  const fail = (code: string, words: string): CommandFailure =>
    new CommandFailure(
      new BoundaryError({ operation: `read ${file}`, code, words }),
      code === "EACCES" ? ExitCode.NoPermission : ExitCode.BadConfiguration,
    );
  const buffer = new Uint8Array(CONFIGURATION_BYTES_MAX + 1);
  let length = 0;
  try {
    const fd = openSync(file, "r");
    try {
      for (;;) {
        const read = readSync(fd, buffer, length, buffer.length - length, null);
        length += read;
        if (read === 0 || length === buffer.length) break;
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    throw fail(code, code === "ENOENT" ? "there is no such file" : message);
  }
  if (length === buffer.length) throw fail("EFBIG", `it has more than ${CONFIGURATION_BYTES_MAX} bytes`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length));
  } catch {
    throw fail("ENCODING", "its bytes are not UTF-8");
  }
}

/** Gives the order; returns the exit code once it is known what became of it. */
export async function apply(
  source: ApplySource,
  options: ApplyOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { node, json, message = "", replacePeer = false, base = null } = options;
  const order = { kind: "apply", source, author: author(), message, replace: replacePeer, base } as const;
  const answer = await askDaemon(node, order, APPLY_MS_MAX);
  if (answer.kind !== "applied") throw new Error(`the daemon answered "${answer.kind}" to apply`);
  const { report } = answer;
  if (json) terminal.out(`${JSON.stringify(report)}\n`);
  else {
    const { text, isFailure } = renderApply(report, terminal.style);
    (isFailure ? terminal.err : terminal.out)(text);
  }
  return exitCodes[report.outcome];
}

/** What `apply FILE`, `--take-peer` and `--replace-peer` mean; null where they contradict each other. */
export function sourceOf(file: string | undefined, options: ApplyOptions): ApplySource | null {
  const { takePeer = false, replacePeer = false } = options;
  if (takePeer) return file === undefined && !replacePeer ? { kind: "peer" } : null;
  if (file !== undefined) return { kind: "text", file, text: readText(file) };
  return replacePeer ? { kind: "in-force" } : null;
}
