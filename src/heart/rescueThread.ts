// The rescuer's thread (rescue.ts): looks at heart every 2 ms, and moves it. Nothing else runs here, and nothing is
// allocated in its loop.

import { workerData } from "node:worker_threads";
import { confineTo, setRealTimePriority } from "../kernel/libc.ts";
import { Cell, LOOK_MS, type RescueData, RescueJudge } from "./rescue.ts";

const { shared, threadId, cpus, priority } = workerData as RescueData;
const cells = new Int32Array(shared);
const judge = new RescueJudge();
const home = cpus.length - 1;
/** Indices into `cpus`: where heart is, and where this thread is. */
let heartAt = home;
let ownAt = home - 1;

/** Heart goes to `to`; whoever has been there makes room, away from the processor that is held if it can. */
function move(to: number): void {
  const from = heartAt;
  if (!confineTo([cpus[to]!], threadId)) return;
  heartAt = to;
  if (ownAt !== to) return;
  const free = cpus.findIndex((_, index) => index !== to && index !== from);
  ownAt = free >= 0 ? free : from;
  confineTo([cpus[ownAt]!]);
}

setRealTimePriority(priority);
confineTo([cpus[ownAt]!]);
for (;;) {
  Atomics.wait(cells, Cell.Count - 1, Atomics.load(cells, Cell.Count - 1), LOOK_MS);
  const restMs = Atomics.load(cells, Cell.RestUs) / 1000;
  const verdict = judge.look(performance.now(), Atomics.load(cells, Cell.Turn), restMs);
  if (verdict === null) continue;
  if (verdict === "away") Atomics.add(cells, Cell.Rescues, 1);
  move(verdict === "home" ? home : ownAt);
}
