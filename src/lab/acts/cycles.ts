// Scenarios that do the same thing many times: a thing that works once may not work the fiftieth time.

import { nowMs, sleep, until } from "../clock.ts";
import { killPorts, powerCycle, revivePorts } from "../faults.ts";
import { footprintOf, growthOf } from "../footprint.ts";
import { NODES, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, observe, ScenarioFailure, type Stage } from "../stage.ts";
import { judgeLive } from "../traffic/survival.ts";
import { type Act, scaled } from "./steps.ts";

const RACE_MS = 2000;
const RACE_TIMEOUT_MS = 30_000;
const FLAP_GAP_MS = 100;
const TAKEOVER_TIMEOUT_MS = 10_000;

/** Both nodes lose their power and come back in the same instant; how long until exactly one is active. */
async function race(stage: Stage): Promise<number> {
  const { world } = stage;
  await powerCycle(world, NODES);
  // Starting is the machine's business: it counts from when both hearts are there.
  let bothMs = 0;
  const decided = await until(RACE_TIMEOUT_MS, 10, async () => {
    const hearts = await Promise.all(NODES.map((node) => world.pair.heart(node)));
    if (hearts.includes(null)) return null;
    if (bothMs === 0) bothMs = nowMs();
    const open = hearts.filter((heart) => heart?.role === "active" && heart.gate === "open");
    return open.length === 1 ? true : null;
  });
  if (decided === null)
    throw new ScenarioFailure(`no node was active ${RACE_TIMEOUT_MS / 1000} s after both booted`);
  return nowMs() - bothMs;
}

/** Dies, is taken over, comes back. Returns the longest silence of a ping. */
async function flap(stage: Stage, round: number): Promise<number> {
  const { world, load } = stage;
  const died = stage.active;
  const next = otherNode(died);
  await load.resumePings();
  await load.mark();
  await sleep(250 + Math.random() * 50);
  await killPorts(world, died);
  const taken = await until(TAKEOVER_TIMEOUT_MS, 20, async () => {
    const heart = await world.pair.heart(next);
    return heart?.role === "active" && heart.gate === "open" ? true : null;
  });
  if (taken === null) throw new ScenarioFailure(`in round ${round} ${next} did not take over`);
  await sleep(1300);
  const { opened, survived, slow, stallMs } = judgeLive(await load.liveSessions());
  if (survived + slow < opened)
    stage.problems.push(`in round ${round} ${opened - survived - slow} live sessions were lost`);
  if (slow > 0) stage.late.push(`in round ${round} ${slow} live sessions stood still for ${stallMs.max} ms`);
  const { flows } = await load.stopPings();
  await revivePorts(world, died);
  stage.active = await becomeReady(world, `after round ${round}`);
  return Math.max(0, ...flows.map((flow) => flow.gapMs));
}

export const CYCLE_ACTS = {
  "boot-race": async (stage) => {
    const rounds = scaled(stage, 50, 2);
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      times.push(await race(stage));
      stage.options.progress(
        `race ${round + 1} of ${rounds}: one active after ${Math.round(times.at(-1)!)} ms`,
      );
    }
    const worst = Math.max(...times);
    stage.notes.push(`${rounds} races; one active within ${Math.round(worst)} ms of both hearts' start.`);
    if (worst > RACE_MS) stage.late.push(`one active after ${Math.round(worst)} ms, more than ${RACE_MS}`);
    stage.active = await becomeReady(stage.world, "after the races");
    stage.endedMs = nowMs();
  },
  flap: async (stage) => {
    const { world } = stage;
    const rounds = scaled(stage, 50, 3);
    const gaps: number[] = [await flap(stage, 1), await flap(stage, 2)];
    const before = await Promise.all(NODES.map((node) => footprintOf(world, node)));
    for (let round = gaps.length + 1; round <= rounds; round += 1) {
      gaps.push(await flap(stage, round));
      stage.options.progress(`round ${round} of ${rounds}: a gap of ${gaps.at(-1)!.toFixed(1)} ms`);
    }
    const after = await Promise.all(NODES.map((node) => footprintOf(world, node)));
    NODES.forEach((node, index) => {
      stage.problems.push(...growthOf(node, before[index]!, after[index]!));
      const { processes, descriptors, memoryMiB, kernelObjects } = after[index]!;
      stage.notes.push(
        `${node} at the end: ${processes} processes, ${descriptors} descriptors, ${memoryMiB} MiB (${before[index]!.memoryMiB} before), ${kernelObjects} kernel objects.`,
      );
    });
    const worst = Math.max(...gaps);
    stage.notes.push(
      `${rounds} cycles, gaps from ${Math.min(...gaps).toFixed(1)} to ${worst.toFixed(1)} ms.`,
    );
    if (worst > FLAP_GAP_MS) stage.late.push(`a gap of ${worst.toFixed(1)} ms, more than ${FLAP_GAP_MS}`);
    await stage.load.resumePings();
    await stage.load.mark();
    await observe(stage);
    await becomeEqual(stage, "after the last cycle");
  },
} as const satisfies Readonly<Record<string, Act>>;
