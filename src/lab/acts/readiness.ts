// The scenario about what the pair says of itself while it is cut, frozen and repaired: it may say less than is so, never more.

import { nowMs, sleep, until } from "../clock.ts";
import { cutReplication, freeze, killPorts, revivePorts, signalProcess } from "../faults.ts";
import { readTable } from "../oracles.ts";
import { otherNode } from "../pair.ts";
import { type ReadinessPoller, startReadinessPoller } from "../poller.ts";
import { ScenarioFailure, type Stage } from "../stage.ts";
import { handScript } from "../staleEntries.ts";
import { type Flows, startFlows } from "../streams.ts";
import type { TruthReport } from "../truth.ts";
import { writeSessions } from "./resync.ts";
import { type Act, endQuietly, scaled } from "./steps.ts";

const WHOLE_TIMEOUT_MS = 180_000;
const WHOLE_INTERVAL_MS = 100;
const ALIEN = 50;
const LACKING = 200;

/** Waits until the active says that the other one has it all; how long that took, in milliseconds. */
async function becomeWhole(stage: Stage, when: string): Promise<number> {
  const { world, active } = stage;
  const startMs = nowMs();
  const whole = await until(WHOLE_TIMEOUT_MS, WHOLE_INTERVAL_MS, async () =>
    (await world.pair.readiness(active))?.verdict === "ready" ? true : null,
  );
  if (whole !== null) return nowMs() - startMs;
  const parts = (await world.pair.readiness(active))?.parts.filter(({ state }) => state !== "good") ?? [];
  const words = parts.map(({ part, words: why }) => `${part}: ${why}`).join("; ");
  throw new ScenarioFailure(`${when} the pair was not ready after ${WHOLE_TIMEOUT_MS / 1000} s: ${words}`);
}

/** What the poller saw, as notes; claims above the truth are findings, and so is a poller that could judge none. */
export function noteTruth(stage: Stage, report: TruthReport): void {
  stage.polled = report;
  const { claims, whole, nothing, judged, lackingMax, above, samples } = report;
  stage.notes.push(
    `Readiness was asked ${claims} times: ${whole} times all of it was said to be proven, ${nothing} times nothing; ${judged} could be judged from outside, at the worst ${lackingMax} sessions were lacking.`,
  );
  if (above > 0) stage.problems.push(`readiness was above the truth ${above} times`, ...samples);
  if (judged === 0) stage.problems.push("no claim of readiness could be judged");
}

interface Step {
  readonly name: string;
  play(stage: Stage, poller: ReadinessPoller): Promise<void>;
}

/** Each from ready to ready again. */
const STEPS: readonly Step[] = [
  {
    name: "a cut of replication",
    play: async (stage) => {
      await cutReplication(stage.world, true);
      await sleep(scaled(stage, 10_000, 4000));
      await cutReplication(stage.world, false);
    },
  },
  {
    name: "a freeze of the standby",
    play: async ({ world, active }, poller) => {
      const standby = otherNode(active);
      await poller.whileUnable(`${standby} stood still`, () => freeze(world, standby, 3000));
    },
  },
  {
    name: "a freeze of the standby's daemon",
    play: async ({ world, active }) => {
      const standby = otherNode(active);
      signalProcess(world, standby, "daemon", "SIGSTOP");
      world.note(`the daemon of ${standby} stands still`);
      await sleep(3000);
      signalProcess(world, standby, "daemon", "SIGCONT");
    },
  },
  {
    name: "a freeze of the active's daemon",
    play: async ({ world, active }) => {
      signalProcess(world, active, "daemon", "SIGSTOP");
      world.note(`the daemon of ${active} stands still`);
      await sleep(3000);
      signalProcess(world, active, "daemon", "SIGCONT");
    },
  },
  {
    name: "a standby that nobody hears",
    play: async ({ world, active }, poller) => {
      const standby = otherNode(active);
      await killPorts(world, standby);
      await poller.whileUnable(`${standby} was cut off`, () => sleep(3000));
      await revivePorts(world, standby);
    },
  },
  {
    name: "sessions deleted by hand",
    play: async (stage) => {
      const { world, active } = stage;
      const table = await readTable(world.pids.get(active)!);
      const wanted = { deleted: scaled(stage, LACKING, 50), alien: ALIEN, marked: 5 };
      const { texts } = handScript(table, wanted, world.topology, Math.random);
      for (const text of texts) await writeSessions(stage, otherNode(active), text);
      world.note(`sessions of ${otherNode(active)} are deleted by hand`);
      // Long enough for the poller to see what came of it, whenever the audit comes.
      await sleep(1500);
    },
  },
];

/** New sessions all the time: what is not told is missing. */
async function keepOpening(flows: Flows, isOver: () => boolean): Promise<void> {
  const [count, rate] = [50, 100];
  while (!isOver()) await flows.open(count, rate);
}

async function readiness(stage: Stage): Promise<void> {
  const firstMs = await becomeWhole(stage, "at the start");
  stage.options.progress(`ready after ${(firstMs / 1000).toFixed(1)} s`);
  const flows = startFlows(stage);
  const poller = startReadinessPoller(stage);
  let over = false;
  const opening = keepOpening(flows, () => over);
  opening.catch(() => {});
  try {
    await sleep(2000);
    for (const { name, play } of STEPS) {
      await play(stage, poller);
      const tookMs = await becomeWhole(stage, `after ${name}`);
      stage.options.progress(`ready ${(tookMs / 1000).toFixed(1)} s after ${name}`);
      stage.notes.push(`Ready again ${(tookMs / 1000).toFixed(1)} s after ${name}.`);
      await sleep(1000);
    }
    over = true;
    await opening;
  } finally {
    over = true;
    const report = await poller.stop();
    flows.stop();
    noteTruth(stage, report);
    if (report.lackingMax === 0)
      stage.problems.push("no session was ever lacking: nothing was put to the test");
  }
  await endQuietly(stage, "at the end");
}

export const READINESS_ACTS = { readiness } as const satisfies Readonly<Record<string, Act>>;
