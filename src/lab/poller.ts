// Asks both nodes for their readiness every 50 ms, whatever happens to them, reads both kernels' tables beside it, and judges the
// one by the other (truth.ts). It changes nothing, and waits for nobody: who does not answer claims nothing.

import { READINESS_PROOF_MS_MAX } from "../base/limits.ts";
import { nowMs, sleep } from "./clock.ts";
import { readTable } from "./oracles.ts";
import { NODES, otherNode } from "./pair.ts";
import type { Stage } from "./stage.ts";
import { type Inability, TruthKeeper, type TruthReport } from "./truth.ts";

const INTERVAL_MS = 50;
/** Invariant P3 of core/readiness.ts: a proof and one report. */
const BOUND_MS = READINESS_PROOF_MS_MAX + 200;
/** Between two readings of a table: they are somebody's processor time too. */
const READING_PAUSE_MS = 30;

export interface ReadinessPoller {
  /** From now until `end` nobody could take over; claims that are made a bound after its begin must be of nothing. */
  unable(why: string): { end(): void };
  /** As `Inability`, for as long as `during` takes. */
  whileUnable<T>(why: string, during: () => Promise<T>): Promise<T>;
  stop(): Promise<TruthReport>;
}

/** Polls until it is stopped. The roles must not change meanwhile. */
export function startReadinessPoller({ world, active }: Stage): ReadinessPoller {
  const keeper = new TruthKeeper(BOUND_MS);
  const standby = otherNode(active);
  let stopped = false;
  const ask = async (node: (typeof NODES)[number]): Promise<void> => {
    while (!stopped) {
      const fromMs = nowMs();
      const view = await world.pair.readiness(node);
      const untilMs = nowMs();
      if (view !== null) keeper.claim({ fromMs, untilMs, node, proven: view.proven });
      await sleep(Math.max(0, fromMs + INTERVAL_MS - nowMs()));
    }
  };
  const read = async (): Promise<void> => {
    // One round more when all is said: the last claims are judged by what is read after them.
    for (let last = false; !last; ) {
      last = stopped;
      for (const [of, node] of [
        ["active", active],
        ["standby", standby],
      ] as const) {
        const fromMs = nowMs();
        const table = await readTable(world.pids.get(node)!);
        keeper.reading(of, { fromMs, untilMs: nowMs(), table });
        await sleep(READING_PAUSE_MS);
      }
    }
  };
  const asking = Promise.all(NODES.map(ask));
  const reading = read();
  // What is thrown meanwhile is told where it is waited for.
  asking.catch(() => {});
  reading.catch(() => {});
  const unable = (why: string): { end(): void } => {
    const inability: Inability = keeper.unable(why, nowMs());
    return {
      end: () => {
        inability.untilMs = nowMs();
      },
    };
  };
  return {
    unable,
    whileUnable: async (why, during) => {
      const inability = unable(why);
      try {
        return await during();
      } finally {
        inability.end();
      }
    },
    stop: async () => {
      stopped = true;
      await asking;
      await reading;
      return keeper.report;
    },
  };
}
