// Asking the daemon of this node: where its socket is, one question, one answer. It reads of the node's file only
// where the runtime directory is: what is wrong with the rest of a configuration must not keep anybody from
// looking at a daemon that runs on an older, valid one.

import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { connectControl, type Unnumbered } from "../admin/control.ts";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import type { DaemonMessage, DaemonRequest } from "../wire/control.ts";
import { DEFAULT_NODE_FILE, DEFAULT_RUNTIME_DIRECTORY, DEFAULT_STATE_DIRECTORY } from "./defaults.ts";
import { CommandFailure } from "./failure.ts";

/** The directories that a node's file names, absolute; the defaults where it names none. */
export function directoriesOf(nodeFile: string): { readonly runtime: string; readonly state: string } {
  let text: string;
  try {
    text = readFileSync(nodeFile, "utf8");
  } catch (error) {
    const { code = "UNKNOWN", message } = error as NodeJS.ErrnoException;
    const refusal = new BoundaryError({
      operation: `read the node's file ${nodeFile}`,
      code,
      words: code === "ENOENT" ? "there is no such file" : message,
      advice:
        nodeFile === DEFAULT_NODE_FILE
          ? "Name another one with --node FILE, or install this node first (docs/operations.md §1)."
          : "Name the node's file with --node FILE.",
    });
    throw new CommandFailure(refusal, code === "EACCES" ? ExitCode.NoPermission : ExitCode.BadConfiguration);
  }
  let named: { runtime?: unknown; state?: unknown } | null = null;
  try {
    named = parse(text, { logLevel: "silent" });
  } catch {
    // `understudy check` tells what is wrong with it; here the default is as good a guess as any.
  }
  const absolute = (name: unknown, otherwise: string): string =>
    typeof name === "string" ? resolve(dirname(nodeFile), name) : otherwise;
  return {
    runtime: absolute(named?.runtime, DEFAULT_RUNTIME_DIRECTORY),
    state: absolute(named?.state, DEFAULT_STATE_DIRECTORY),
  };
}

export const runtimeDirectoryOf = (nodeFile: string): string => directoriesOf(nodeFile).runtime;

/** The control socket of the node that `nodeFile` describes. */
export const controlSocketOf = (nodeFile: string): string =>
  join(runtimeDirectoryOf(nodeFile), "control.sock");

/**
 * One question to the daemon. Throws CommandFailure: `Unavailable` where nobody answers, `NoPermission`, or
 * `Failed` where the daemon refuses, with its reason.
 */
export async function askDaemon(
  nodeFile: string,
  body: Unnumbered<DaemonRequest>,
  timeoutMs?: number,
): Promise<Exclude<DaemonMessage, { kind: "refused" }>> {
  const path = controlSocketOf(nodeFile);
  const client = await connectControl<DaemonRequest, DaemonMessage>({ path, server: "the daemon" }).catch(
    (error: unknown) => {
      if (!(error instanceof BoundaryError)) throw error;
      const denied = error.code === "EACCES" || error.code === "EPERM";
      throw new CommandFailure(error, denied ? ExitCode.NoPermission : ExitCode.Unavailable);
    },
  );
  try {
    const answer = await client.request(body, timeoutMs);
    if (answer.kind !== "refused") return answer;
    const refusal = new BoundaryError({
      operation: `understudy ${body.kind}`,
      code: "REFUSED",
      words: answer.reason,
    });
    throw new CommandFailure(refusal, ExitCode.Failed);
  } finally {
    client.close();
  }
}
