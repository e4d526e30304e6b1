// The stall meter: threads that do nothing but sleep a millisecond and see how late they wake. Where the machine itself
// stood still for long, no figure in milliseconds says anything about the pair, and none is judged.

import { Worker } from "node:worker_threads";

/** Above this, a timing verdict is void. */
export const STALL_VOID_MS = 15;

export interface Stall {
  readonly atMs: number;
  readonly forMs: number;
}

export interface StallMeter {
  /** Longest stall within a span of the laboratory's clock. */
  longest(fromMs: number, untilMs: number): number;
  stop(): Promise<void>;
}

const THREADS = 2;
const STALLS_MAX = 10_000;
/** CLOCK_MONOTONIC, as clock.ts has it: one clock for all threads. */
const PROGRAM = `
const { parentPort, workerData } = require("node:worker_threads");
const cell = new Int32Array(workerData.stop);
const now = () => Number(process.hrtime.bigint()) / 1e6;
let last = now();
while (Atomics.load(cell, 0) === 0) {
  Atomics.wait(cell, 0, 0, 1);
  const at = now();
  if (at - last > 4) parentPort.postMessage({ atMs: at, forMs: at - last - 1 });
  last = at;
}
`;

export function startStallMeter(): StallMeter {
  const stop = new SharedArrayBuffer(4);
  const stalls: Stall[] = [];
  const workers = Array.from({ length: THREADS }, () => {
    const worker = new Worker(PROGRAM, { eval: true, workerData: { stop } });
    worker.on("message", (stall: Stall) => {
      if (stalls.length < STALLS_MAX) stalls.push(stall);
    });
    worker.unref();
    return worker;
  });
  return {
    longest: (fromMs, untilMs) =>
      Math.max(
        0,
        ...stalls
          .filter((stall) => stall.atMs >= fromMs && stall.atMs - stall.forMs <= untilMs)
          .map((stall) => stall.forMs),
      ),
    stop: async () => {
      Atomics.store(new Int32Array(stop), 0, 1);
      Atomics.notify(new Int32Array(stop), 0);
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
