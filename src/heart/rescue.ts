// Heart's rescuer: a thread of the same process on another processor, which moves heart's thread away from a processor that
// the kernel holds. Where the kernel is not preemptible, one long system call of anybody (a large nftables transaction,
// a dump of the session table) keeps its processor for up to 200 ms, and no priority helps whoever waits there: but a
// thread that waits can be moved. (Measured with maps of 100,000 elements loaded in a loop: a real-time thread stood still for
// 207 ms at most without a rescuer, 20 ms with one.) It sends nothing, renews nothing and decides nothing: a heart that
// is stopped, or dead, takes it along.

import { Worker } from "node:worker_threads";

/** Cells of the shared memory. */
export const Cell = { Turn: 0, RestUs: 1, Rescues: 2, Count: 3 } as const;

export interface RescueData {
  readonly shared: SharedArrayBuffer;
  /** Thread id of heart's thread. */
  readonly threadId: number;
  readonly cpus: readonly number[];
  readonly priority: number;
}

/** How often the rescuer looks, ms. */
export const LOOK_MS = 2;
/** Heart is late by so much before it is moved: less is the ordinary work of a kernel. */
export const LATE_MS = 4;
/** A look that itself comes so late proves nothing about heart. */
const OWN_LATE_MS = 3;
/** Heart goes home after the rescuer, which sits there now, was on time for so long. */
const HOME_AFTER_MS = 250;

const NOT_YET = 0x7fffffff;

/** What the rescuer concludes from what it sees; times are its own clock's, in ms. */
export class RescueJudge {
  #turn = -1;
  #seenAt = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #onTimeSince = 0;
  #away = false;

  /**
   * `turn`: heart's count of its sleeps and wakes; `restMs`: how long it meant to sleep, 0 while it works. Returns
   * `away`: move heart off its processor; `home`: it can go back; null: all is well.
   */
  look(now: number, turn: number, restMs: number): "away" | "home" | null {
    const isLate = now - this.#lookedAt > LOOK_MS + OWN_LATE_MS;
    this.#lookedAt = now;
    if (isLate) this.#onTimeSince = now;
    if (isLate || turn !== this.#turn) {
      this.#turn = turn;
      this.#seenAt = now;
      if (!this.#away || now - this.#onTimeSince < HOME_AFTER_MS) return null;
      this.#away = false;
      return "home";
    }
    if (now - this.#seenAt <= restMs + LATE_MS) return null;
    this.#seenAt = now;
    this.#onTimeSince = now;
    this.#away = !this.#away;
    return "away";
  }
}

/** Heart's side: says when it sleeps and when it is awake. */
export interface Rescue {
  /** About to sleep for so long. */
  rests(restMs: number): void;
  awake(): void;
  /** How often heart was moved. */
  readonly count: number;
  stop(): void;
}

/** Where nobody can help: one processor, or no real-time priority. */
export const NO_RESCUE: Rescue = {
  rests: () => undefined,
  awake: () => undefined,
  count: 0,
  stop: () => undefined,
};

/**
 * Starts the rescuer of the calling process's main thread. `cpus`: at least two, heart's own last; `priority`: above heart's. A
 * rescuer that fails is told to `onError`, and heart goes on without.
 */
export function startRescue(
  cpus: readonly number[],
  priority: number,
  onError: (error: Error) => void,
): Rescue {
  const shared = new SharedArrayBuffer(Cell.Count * Int32Array.BYTES_PER_ELEMENT);
  const cells = new Int32Array(shared);
  // Not judged before it has told its first sleep: starting takes as long as it takes.
  Atomics.store(cells, Cell.RestUs, NOT_YET);
  const data: RescueData = { shared, threadId: process.pid, cpus, priority };
  const worker = new Worker(new URL("./rescueThread.ts", import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 },
  });
  worker.on("error", onError);
  worker.unref();
  // In this order, and read in the other one: a new rest is never held against an old turn.
  const tell = (restUs: number): void => {
    Atomics.add(cells, Cell.Turn, 1);
    Atomics.store(cells, Cell.RestUs, restUs);
  };
  return {
    rests: (restMs) => tell(Math.round(restMs * 1000)),
    awake: () => tell(0),
    get count() {
      return Atomics.load(cells, Cell.Rescues);
    },
    stop: () => void worker.terminate(),
  };
}
