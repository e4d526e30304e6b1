// A scenario drawn from a seed (swarm): each seed leaves most kinds of faults out and draws the others wildly, so that
// rare combinations come up often. Everything that is drawn ends up in the scenario, which replays without the seed.

import { createRandom, type Random } from "./random.ts";
import { type Action, formatScenario, parseScenario, type Scenario, type TimedAction } from "./scenario.ts";

const KINDS: readonly Action["kind"][] = [
  "kill",
  "crash",
  "freeze",
  "pause",
  "stalls",
  "cut",
  "port",
  "carrier",
  "ports",
  "loss",
  "slow",
  "heartbeats",
  "witness",
  "daemon",
  "disk",
  "handover",
  "leave",
  "flush",
];

/** Durations cluster around what matters to the timers: a heartbeat, a lease, a death, a witness, long. */
function duration(random: Random): number {
  const [low, high] = random.pick([
    [1, 30],
    [20, 120],
    [50, 400],
    [300, 1500],
    [1000, 3500],
  ] as const);
  return random.between(low, high);
}

function drawAction(random: Random, kind: Action["kind"], segments: number, slowMsMax: number): Action {
  const node = random.below(2);
  const forMs = duration(random);
  const segment = random.below(segments);
  const medium = random.below(segments + 1);
  const from = random.pick([-1, -1, 0, 1]);
  switch (kind) {
    case "crash":
      return { kind, node, forMs: Math.max(forMs, 50), forgets: random.chance(0.1) };
    case "stalls":
      return { kind, node, percent: random.pick([0.2, 1, 5]), maxMs: random.pick([5, 20, 60, 300]), forMs };
    case "cut":
      return { kind, medium, from, forMs };
    case "port":
      return { kind, node, medium, direction: random.pick(["dead", "dead", "mute", "deaf"]), forMs };
    case "carrier":
      return { kind, node, medium, forMs };
    case "loss":
      return { kind, medium, percent: random.pick([2, 10, 30, 60]), forMs };
    case "slow":
      return { kind, medium, extraMs: random.between(0.5, slowMsMax), forMs };
    case "heartbeats":
      return { kind, from, forMs };
    case "witness":
      return { kind, node, medium: segment, forMs };
    case "daemon":
      return { kind, node, announced: random.chance(0.3), forMs };
    case "disk":
      return { kind, node, how: random.pick(["refuses", "hangs"]), forMs };
    case "handover":
    case "flush":
      return { kind, node };
    default:
      return { kind, node, forMs };
  }
}

/** All media at once: the split that heartbeats and segments share. */
function cutAll(random: Random, segments: number, at: number): TimedAction[] {
  const forMs = duration(random);
  return Array.from({ length: segments + 1 }, (_, medium) => ({
    at: at + random.between(0, 3),
    action: { kind: "cut", medium, from: -1, forMs: forMs + random.pick([0, 0, random.between(0, 400)]) },
  }));
}

/** One classic fault in a pair that is otherwise well: what has to be quick and clean is judged here. */
function calm(random: Random, base: Scenario): Scenario {
  const kind = random.pick([
    "kill",
    "kill",
    "freeze",
    "crash",
    "ports",
    "handover",
    "leave",
    "flush",
    "pause",
  ] as const);
  const at = 3300 + random.between(0, 20);
  return { ...base, actions: [{ at, action: drawAction(random, kind, base.segments, 8) }], ...quiet(base) };
}

const quiet = (base: Scenario): Partial<Scenario> => ({
  lossPercent: 0,
  wakeMs: 0.3,
  delayMs: 0.1,
  jitterMs: 0.3,
  singleMac: [],
  paths: [base.segments, 0],
  rates: [1, 1],
});

/** The active does not hear the standby for a moment, and dies in it: its lease must still be the short one. */
function unheardThenDead(random: Random, base: Scenario): Scenario {
  const at = 3300 + random.between(0, 20);
  const forMs = random.between(50, 800);
  const kind = random.pick(["kill", "freeze"] as const);
  return {
    ...base,
    ...quiet(base),
    actions: [
      { at, action: { kind: "heartbeats", from: 1, forMs } },
      { at: at + random.between(20, forMs), action: { kind, node: 0, forMs: random.between(300, 2000) } },
    ],
  };
}

/** Alone by ear, heard by the other: a long lease outlives its heart, while the segments are parted. */
function soloThenDead(random: Random, base: Scenario): Scenario {
  const at = 3200;
  const dies = at + random.between(1200, 1700);
  const parted = random.between(200, 500);
  const kind = random.pick(["kill", "freeze"] as const);
  const cuts: TimedAction[] = Array.from({ length: base.segments + 1 }, (_, medium) => ({
    at: dies + random.between(0, 3),
    action: { kind: "cut", medium, from: -1, forMs: parted },
  }));
  return {
    ...base,
    ...quiet(base),
    soloMs: 3000,
    quietMs: 4500,
    actions: [
      { at, action: { kind: "heartbeats", from: 1, forMs: 2200 } },
      { at: at + 200, action: { kind: "witness", node: 1, medium: 1, forMs: 3200 } },
      { at: dies, action: { kind, node: 0, forMs: 600 } },
      ...cuts,
    ],
  };
}

/** No segment arbitrates: a few heartbeats are lost, then the standby stands still with others in its buffer. */
function modems(random: Random, base: Scenario): Scenario {
  const at = 3300 + random.between(0, 10);
  return {
    ...base,
    ...quiet(base),
    singleMac: Array.from({ length: base.segments }, (_, segment) => segment),
    actions: [
      { at, action: { kind: "heartbeats", from: 0, forMs: random.between(30, 38) } },
      { at: at + random.between(32, 42), action: { kind: "freeze", node: 1, forMs: random.between(30, 80) } },
    ],
  };
}

/** What the text form says is what runs: a printed scenario replays exactly. */
export const drawScenario = (seed: number): Scenario => parseScenario(formatScenario(draw(seed)));

function draw(seed: number): Scenario {
  const random = createRandom(seed);
  const base = drawSwarm(random, seed);
  const choice = random.next();
  if (choice < 0.12) return calm(random, base);
  if (choice < 0.16) return unheardThenDead(random, base);
  if (choice < 0.2) return soloThenDead(random, base);
  if (choice < 0.24) return modems(random, base);
  return base;
}

function drawSwarm(random: Random, seed: number): Scenario {
  const segments = random.pick([2, 3, 3, 3]);
  const enabled = KINDS.filter(() => random.chance(0.3));
  const count = random.below(6);
  const actions: TimedAction[] = [];
  let at = random.pick([400, 1500, 3200, 3200]);
  for (let index = 0; index < count && enabled.length > 0; index++) {
    if (random.chance(0.08)) actions.push(...cutAll(random, segments, at));
    else actions.push({ at, action: drawAction(random, random.pick(enabled), segments, 8) });
    at += random.pick([random.between(0, 15), random.between(0, 120), random.between(0, 900)]);
    if (random.chance(0.1)) at += 1500;
  }
  const exact = random.chance(0.5);
  return {
    title: `seed ${seed}`,
    seed,
    heartbeatMs: 10,
    deadMs: 50,
    leaseMs: 40,
    soloMs: random.pick([1500, 3000, 10_000]),
    segments,
    paths: random.pick([[segments, 0], [segments, 0], [segments], [0]]),
    singleMac: random.chance(0.1) ? [segments - 1] : [],
    rates: exact ? [1, 1] : [random.between(0.95, 1.05), random.between(0.95, 1.05)],
    bootAt: [0, random.pick([0, random.between(0, 40), random.between(0, 600)])],
    delayMs: random.pick([0.05, 0.1, 0.5]),
    jitterMs: random.pick([0.1, 0.3, 1, 3]),
    lossPercent: random.pick([0, 0, 0, 0.3, 2, 8]),
    wakeMs: random.pick([0.1, 0.3, 1, 4]),
    actions,
    quietMs: 3500,
  };
}
