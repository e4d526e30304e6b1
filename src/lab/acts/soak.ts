// The soak: sessions come and go for as long as is asked, and all that may happen to a pair happens in turns, again and again. What
// counts is the end of each turn: nobody's session lost, both kernels alike, ready again; and that nothing grows.

import { nowMs, sleep, until } from "../clock.ts";
import { isEqual } from "../conntrackText.ts";
import { cutReplication, freeze, killPorts, revivePorts } from "../faults.ts";
import { type Footprint, footprintOf, growthOf } from "../footprint.ts";
import { compareNodes } from "../oracles.ts";
import { NODES, otherNode } from "../pair.ts";
import { becomeReady, observe, ScenarioFailure, type Stage } from "../stage.ts";
import { type Flows, type Streams, startFlows, startStreams } from "../streams.ts";
import { judgeLive } from "../traffic/survival.ts";
import { loseEvents, totalsOf, workByHand } from "./audit.ts";
import { type Act, expectTakeover, noteQuiet } from "./steps.ts";

const MINUTE_MS = 60_000;
const RATE = 20;
/** A session that is younger than the log's delay may die with the active (`storm` is about those): none is, when it does. */
const YOUNG_MS = 1000;
const HAND_WORK = { deleted: 40, alien: 40, marked: 5 };
const REPAIR_TIMEOUT_MS = 120_000;
const EQUAL_TIMEOUT_MS = 30_000;
/** What takes longer to be filled once (buffers, heaps, caches) has been by then. */
const WARM_TURNS = 5;

interface Soak {
  readonly streams: Streams;
  readonly flows: Flows;
  turns: number;
  readonly played: Map<string, number>;
  /** The last comparison of both kernels, in words. */
  tables: string;
  live: string;
  warm: readonly Footprint[] | null;
}

type Turn = (stage: Stage, soak: Soak) => Promise<void>;

async function crash(stage: Stage, { streams, flows }: Soak): Promise<void> {
  const died = stage.active;
  await Promise.all([streams.pause(), flows.pause()]);
  await sleep(YOUNG_MS);
  await killPorts(stage.world, died);
  await expectTakeover(stage, died);
  await Promise.all([streams.resume(), flows.resume()]);
  stage.active = otherNode(died);
  await sleep(2000);
  await revivePorts(stage.world, died);
  stage.active = await becomeReady(stage.world, "after a crash");
  stage.term = (await stage.world.pair.view(stage.active))?.heart?.term ?? 0;
}

async function cut({ world }: Stage): Promise<void> {
  await cutReplication(world, true);
  await sleep(4000);
  await cutReplication(world, false);
}

/** The standby's kernel is changed by hand; the audit has to put it right. */
async function changeByHand(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const before = await totalsOf(stage, active);
  const { deleted, alien, marked } = await workByHand(stage, otherNode(active), HAND_WORK);
  const wanted = deleted + alien + marked;
  const repaired = await until(REPAIR_TIMEOUT_MS, 200, async () => {
    const found = await totalsOf(stage, active);
    return found.repaired - before.repaired >= wanted ? found : null;
  });
  const found = repaired ?? (await totalsOf(stage, active));
  if (repaired === null)
    stage.problems.push(
      `of ${wanted} differences the audit repaired ${found.repaired - before.repaired} within ${REPAIR_TIMEOUT_MS / 1000} s`,
    );
  world.note(`${found.repaired - before.repaired} differences are repaired`);
}

/** In this order, again and again; a crash between any two of the others. */
const TURNS: readonly (readonly [name: string, turn: Turn])[] = [
  ["crash", crash],
  ["cut", cut],
  ["crash", crash],
  ["change by hand", changeByHand],
  ["crash", crash],
  ["freeze", ({ world, active }) => freeze(world, otherNode(active), 2000)],
  ["crash", crash],
  ["overrun", async (stage) => void (await loseEvents(stage, 500))],
];

/** One turn, and what is so at its end. */
async function playTurn(stage: Stage, soak: Soak): Promise<void> {
  const { world, load } = stage;
  const [name, turn] = TURNS[soak.turns % TURNS.length]!;
  const when = `in turn ${soak.turns + 1} (${name})`;
  await load.mark();
  await turn(stage, soak);
  stage.active = await becomeReady(world, when);
  await noteQuiet(stage, when);
  await Promise.all([soak.streams.pause(), soak.flows.pause()]);
  await sleep(YOUNG_MS);
  const standby = otherNode(stage.active);
  const [here, there] = [world.pids.get(stage.active)!, world.pids.get(standby)!];
  const { active, difference } = await compareNodes(here, there, EQUAL_TIMEOUT_MS);
  if (!isEqual(difference)) stage.differences.push({ when, ...difference });
  soak.tables = `${active} sessions, ${isEqual(difference) ? "alike" : "NOT ALIKE"}`;
  const { opened, survived, slow, losses, stallMs } = judgeLive(await load.liveSessions());
  const lost = opened - survived - slow;
  if (lost > 0)
    stage.problems.push(`${when} ${lost} live sessions were lost: ${[...losses.keys()].join(", ")}`);
  if (slow > 0) stage.late.push(`${when} ${slow} live sessions stood still for up to ${stallMs.max} ms`);
  soak.live = `${survived + slow} of ${stage.options.live} live sessions`;
  await Promise.all([soak.streams.resume(), soak.flows.resume()]);
  soak.turns += 1;
  soak.played.set(name, (soak.played.get(name) ?? 0) + 1);
  if (soak.turns === WARM_TURNS) soak.warm = await footprints(stage);
}

const footprints = ({ world }: Stage): Promise<readonly Footprint[]> =>
  Promise.all(NODES.map((node) => footprintOf(world, node)));

/** A line a minute, until it is over. */
async function sayEachMinute(stage: Stage, soak: Soak, isOver: () => boolean): Promise<void> {
  const startMs = nowMs();
  for (let minute = 1; ; minute += 1) {
    while (nowMs() < startMs + minute * MINUTE_MS) {
      if (isOver()) return;
      await sleep(500);
    }
    const [{ opened, closed, failed }, nodes] = [await soak.streams.counts(), await footprints(stage)];
    const sizes = nodes.map(
      ({ memoryMiB, descriptors, processes }, index) =>
        `${NODES[index]}: ${memoryMiB} MiB, ${descriptors} descriptors, ${processes} processes`,
    );
    const played = [...soak.played].map(([name, count]) => `${count} x ${name}`).join(", ");
    stage.options.progress(
      `minute ${minute}: ${played || "no turn over yet"}; ${soak.live}; TCP ${opened} opened, ${closed} closed, ${failed} failed; ${soak.tables}; ${sizes.join("; ")}; ${stage.problems.length + stage.differences.filter((each) => !isEqual({ ...each, samples: [] })).length} findings`,
    );
  }
}

/** Connections come and go in slices of time, so that the end of the soak is not one of its churn. */
async function churn(soak: Soak, isOver: () => boolean): Promise<number> {
  let unanswered = 0;
  while (!isOver()) {
    const count = RATE * 5;
    const [, { udp }] = await Promise.all([
      soak.streams.open({ count, rate: RATE, talkMs: 1000, livesMs: 20_000 }),
      soak.flows.open(count, RATE),
    ]);
    unanswered += count - udp;
  }
  return unanswered;
}

function noteGrowth(stage: Stage, soak: Soak, after: readonly Footprint[]): void {
  const { warm } = soak;
  if (warm === null) {
    stage.notes.push(`Fewer than ${WARM_TURNS} turns: what grows was not looked at.`);
    return;
  }
  NODES.forEach((node, index) => {
    const { processes, descriptors, memoryMiB, kernelObjects } = after[index]!;
    stage.problems.push(...growthOf(node, warm[index]!, after[index]!));
    stage.notes.push(
      `${node} at the end: ${processes} processes, ${descriptors} descriptors, ${memoryMiB} MiB (${warm[index]!.memoryMiB} after ${WARM_TURNS} turns), ${kernelObjects} kernel objects.`,
    );
  });
}

async function soak(stage: Stage): Promise<void> {
  const [streams, flows] = [await startStreams(stage), startFlows(stage)];
  const soaking: Soak = { streams, flows, turns: 0, played: new Map(), tables: "", live: "", warm: null };
  const endMs = nowMs() + stage.options.minutes * MINUTE_MS;
  let over = false;
  const isOver = (): boolean => over;
  const beside = Promise.all([churn(soaking, isOver), sayEachMinute(stage, soaking, isOver)]);
  beside.catch(() => {});
  try {
    while (nowMs() < endMs || soaking.turns < 2) await playTurn(stage, soaking);
    over = true;
    const [unanswered] = await beside;
    const { opened, closed, failed, failures } = await streams.counts();
    const played = [...soaking.played].map(([name, count]) => `${count} x ${name}`).join(", ");
    stage.notes.push(
      `${soaking.turns} turns: ${played}. ${opened} TCP sessions were opened, ${closed} closed, ${failed} failed.`,
    );
    if (failed > 0) stage.problems.push(`${failed} TCP sessions failed: ${failures.join(", ")}`);
    if (unanswered > 0) stage.problems.push(`${unanswered} UDP sessions were not answered`);
    if (opened === 0) throw new ScenarioFailure("no session was ever opened");
    noteGrowth(stage, soaking, await footprints(stage));
    await streams.pause();
    await stage.load.mark();
    await observe(stage);
  } finally {
    over = true;
    streams.stop();
    flows.stop();
  }
}

export const SOAK_ACTS = { soak } as const satisfies Readonly<Record<string, Act>>;
