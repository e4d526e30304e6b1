// `understudy handover` and `understudy stop`: one order to the daemon, its answer in a sentence.

import { askDaemon } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

/** A handover waits for the standby; leaving does so first and takes the service interfaces down afterwards. */
const ORDER_MS_MAX = 60_000;

/** Gives the order and prints what the daemon says became of it. */
export async function command(
  kind: "handover" | "stop",
  options: { readonly node: string; readonly json: boolean },
  terminal: Terminal,
): Promise<void> {
  const answer = await askDaemon(options.node, { kind }, ORDER_MS_MAX);
  if (answer.kind !== "done") throw new Error(`the daemon answered "${answer.kind}" to ${kind}`);
  const { message } = answer;
  terminal.out(options.json ? `${JSON.stringify({ done: kind, message })}\n` : `${message}\n`);
}
