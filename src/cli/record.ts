// `understudy record FILE`: has the daemon write down what the log's connection says, or the keys that a capture of it can be
// opened with, for a while. The daemon writes the file; this only gives the order.

import { resolve } from "node:path";
import type { RecordOrder } from "../wire/control.ts";
import { askDaemon } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

export interface RecordOptions {
  readonly node: string;
  readonly json: boolean;
  readonly keys?: true;
  readonly reconnect?: true;
  readonly seconds: number;
  readonly megabytes: number;
}

/** What the command line asks for, as the daemon takes it. */
export function orderOf(file: string, options: RecordOptions): RecordOrder {
  return {
    // The daemon's working directory is not the user's.
    file: resolve(file),
    what: options.keys === true ? "keys" : "frames",
    seconds: options.seconds,
    megabytes: options.megabytes,
    reconnect: options.reconnect === true,
  };
}

/** Begins a recording and returns. */
export async function record(file: string, options: RecordOptions, terminal: Terminal): Promise<void> {
  const order = orderOf(file, options);
  const answer = await askDaemon(options.node, { kind: "record", order });
  if (answer.kind !== "done") throw new Error(`the daemon answered "${answer.kind}" to record`);
  terminal.out(
    options.json
      ? `${JSON.stringify({ done: "record", ...order, message: answer.message })}\n`
      : `${answer.message}\n`,
  );
}

/** Ends what is under way. */
export async function stopRecording(
  options: Pick<RecordOptions, "node" | "json">,
  terminal: Terminal,
): Promise<void> {
  const answer = await askDaemon(options.node, { kind: "record", order: null });
  if (answer.kind !== "done") throw new Error(`the daemon answered "${answer.kind}" to record --stop`);
  const { message } = answer;
  terminal.out(options.json ? `${JSON.stringify({ done: "record", message })}\n` : `${message}\n`);
}
