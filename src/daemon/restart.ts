// Restarts that nobody notices (failover §5, §6): the daemon puts a new image of itself in its own place, and heart is
// replaced where its gate does not hang on it: on a standby, or alone under the long lease, which the next heart
// finds in the kernel and goes on with. It decides nothing about roles: where a handover is needed, it asks for one.

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { checkMachine, readConfiguration } from "../admin/configFiles.ts";
import { BoundaryError } from "../base/errors.ts";
import { formatErrors } from "../core/configTree.ts";
import type { HeartState } from "../wire/control.ts";

const RELIEVED_MS_MAX = 5000;
const LONG_LEASE_MS_MAX = 3000;
const RETURNED_MS_MAX = 15_000;
const POLL_MS = 20;

/** In place of this process, the same daemon as the files say now: same process id, so that a supervisor sees nothing. */
export function replaceDaemon(nodeFile: string): never {
  const cli = fileURLToPath(new URL("../cli.ts", import.meta.url));
  const words = [process.execPath, ...process.execArgv, cli, "run", "--node", nodeFile];
  process.execve!(process.execPath, words, process.env);
  throw new Error("unreachable: execve returned");
}

/** What the next daemon would refuse must not cost the one that runs. @throws BoundaryError with every mistake in the files */
export function assertStarts(nodeFile: string): void {
  const read = readConfiguration(nodeFile);
  const errors = read.ok ? checkMachine(read.config) : read.errors;
  if (errors.length > 0)
    throw new BoundaryError({
      operation: "restart the daemon",
      code: "INVALID",
      words: formatErrors(errors),
    });
}

/** A heart whose sockets are those of a port that is no more serves nobody; not while traffic hangs on it. */
export function renewHeart(heart: HeartState, log: (line: string) => void): void {
  if (heart.role === "active") return;
  log("a port was replaced: heart is started anew, to listen on the new one");
  // It keeps nothing that is not on disk or in the kernel, and its gate is shut.
  process.kill(heart.pid, "SIGKILL");
}

/** What a restart of heart needs from the daemon. */
export interface HeartKeeper {
  state(): HeartState | null;
  /** Hands over to the standby. @throws BoundaryError with the reason where that is not possible. */
  handover(): Promise<string>;
  /** The lease that an active renews while its peer is heard, ms. */
  readonly leaseMs: number;
}

/** Replaces this node's heart. Resolves to a sentence once the next one serves. @throws BoundaryError: why not now. */
export async function restartHeart(
  keeper: HeartKeeper,
  longLeaseWithinMs = LONG_LEASE_MS_MAX,
): Promise<string> {
  const before = keeper.state();
  if (before === null) throw refusal("NO_HEART", "heart does not run; another is being started");
  if (before.role === "active") await relieve(keeper, before, longLeaseWithinMs);
  // Heart keeps nothing that is not on disk or in the kernel, and its gate shuts by itself: no farewell is needed.
  process.kill(before.pid, "SIGKILL");
  const next = await waitFor(RETURNED_MS_MAX, () => {
    const state = keeper.state();
    return state !== null && state.pid !== before.pid && state.segments.every(({ gated }) => gated)
      ? state
      : null;
  });
  if (next === null) throw refusal("TIMEOUT", "the next heart does not answer; see the log");
  return `heart restarted: ${next.role}, term ${next.term}`;
}

/** Nothing of the traffic may hang on the heart that goes. */
async function relieve(keeper: HeartKeeper, before: HeartState, longLeaseWithinMs: number): Promise<void> {
  if (before.peer.heard) {
    await keeper.handover();
    const relieved = await waitFor(RELIEVED_MS_MAX, () => (keeper.state()?.role === "standby" ? true : null));
    if (relieved === null)
      throw refusal("NOT_RELIEVED", "this node has not become standby after the handover");
    return;
  }
  // It comes after a second alone, and heart's word of it now and then.
  const long = await waitFor(longLeaseWithinMs, () =>
    (keeper.state()?.leaseMs ?? 0) > keeper.leaseMs ? true : null,
  );
  if (long === null)
    throw refusal(
      "SHORT_LEASE",
      "the other node is silent, and this one does not hold the long lease yet that a restart needs",
    );
}

const refusal = (code: string, words: string): BoundaryError =>
  new BoundaryError({ operation: "restart heart", code, words });

async function waitFor<T>(timeoutMs: number, look: () => T | null): Promise<T | null> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== null || performance.now() > deadline) return found;
    await sleep(POLL_MS);
  }
}
