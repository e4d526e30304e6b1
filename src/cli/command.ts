// `understudy handover`, `restart` and `stop`: one order to the daemon, and what became of it in a sentence.

import { controlAnswers } from "../admin/control.ts";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { askDaemon, controlSocketOf } from "./ask.ts";
import { CommandFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

/** A handover waits for the standby; leaving does so first and takes the service interfaces down afterwards. */
const ORDER_MS_MAX = 60_000;
const LOOK_MS = 50;

/** Waits until nobody answers on the node's control socket: the daemon closes it last. */
async function untilGone(path: string): Promise<void> {
  const deadline = performance.now() + ORDER_MS_MAX;
  while (await controlAnswers(path)) {
    if (performance.now() > deadline)
      throw new CommandFailure(
        new BoundaryError({
          operation: "stop",
          code: "ETIMEDOUT",
          words: `the daemon still answers after ${ORDER_MS_MAX / 1000} s`,
          advice: "See its log: journalctl -u understudy.",
        }),
        ExitCode.Failed,
      );
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Waits until the daemon that has replaced itself answers again. */
async function untilBack(path: string): Promise<void> {
  const deadline = performance.now() + ORDER_MS_MAX;
  while (!(await controlAnswers(path))) {
    if (performance.now() > deadline)
      throw new CommandFailure(
        new BoundaryError({
          operation: "restart the daemon",
          code: "ETIMEDOUT",
          words: `it does not answer after ${ORDER_MS_MAX / 1000} s`,
          advice: "See its log: journalctl -u understudy. Heart and the traffic go on without it.",
        }),
        ExitCode.Failed,
      );
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Restarts the daemon or heart of this node, without a failover. */
export async function restart(
  what: "daemon" | "heart",
  options: { readonly node: string; readonly json: boolean },
  terminal: Terminal,
): Promise<void> {
  const path = controlSocketOf(options.node);
  const answer = await askDaemon(options.node, { kind: "restart", what }, ORDER_MS_MAX);
  if (answer.kind !== "done") throw new Error(`the daemon answered "${answer.kind}" to restart`);
  if (what === "daemon") {
    await untilGone(path);
    await untilBack(path);
  }
  const message =
    what === "daemon" ? "the daemon was restarted; heart and the traffic went on" : answer.message;
  terminal.out(options.json ? `${JSON.stringify({ done: "restart", what, message })}\n` : `${message}\n`);
}

/** A node that cannot be asked to stop may still lie in the kernel: the way out is another one. */
function whereNobodyAnswers(error: unknown): unknown {
  if (!(error instanceof CommandFailure) || error.exitCode !== ExitCode.Unavailable) return error;
  const { operation, code, words } = error.refusal;
  const advice =
    "`understudy stop --clean` ends heart and removes what is left in the kernel (`understudy doctor` lists it).";
  const refusal = new BoundaryError({ operation, code, ...(words === undefined ? {} : { words }), advice });
  return new CommandFailure(refusal, error.exitCode);
}

/** Gives the order, waits until it is carried out, and prints what the daemon says became of it. */
export async function command(
  kind: "handover" | "stop",
  options: { readonly node: string; readonly json: boolean },
  terminal: Terminal,
): Promise<void> {
  const answer = await askDaemon(options.node, { kind }, ORDER_MS_MAX).catch((error: unknown) => {
    throw kind === "stop" ? whereNobodyAnswers(error) : error;
  });
  if (answer.kind !== "done") throw new Error(`the daemon answered "${answer.kind}" to ${kind}`);
  if (kind === "stop") await untilGone(controlSocketOf(options.node));
  const message = kind === "stop" ? "stopped: nothing of Understudy is left in the kernel" : answer.message;
  terminal.out(options.json ? `${JSON.stringify({ done: kind, message })}\n` : `${message}\n`);
}
