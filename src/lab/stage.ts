// The stage that every scenario plays on: a world with a running pair, traffic through it, and the oracles armed; and
// what is collected afterwards. The scenarios say only what happens in between.

import { type ScenarioName, specOf } from "./catalogue.ts";
import { type ClaimRun, judgeClaims } from "./claimants.ts";
import { nowMs, sleep, until } from "./clock.ts";
import { type Difference, isEqual } from "./conntrackText.ts";
import type { KindCell } from "./kinds.ts";
import { countLeaks, type LeakCounter } from "./leaks.ts";
import { type Load, type PingReport, startLoad } from "./load.ts";
import { type Comparison, compareNodes } from "./oracles.ts";
import type { AuditFigures, NamedDifference, Outcome, ReadinessFigures, Takeover } from "./outcome.ts";
import { type NodeName, otherNode } from "./pair.ts";
import { type StallMeter, startStallMeter } from "./stallMeter.ts";
import { judgeLive, type LiveSession, type LiveVerdict, lossOf } from "./traffic/survival.ts";
import type { TruthReport } from "./truth.ts";
import type { World } from "./world.ts";

export interface StageOptions {
  readonly scenario: ScenarioName;
  readonly live: number;
  readonly background: number;
  readonly v6: boolean;
  /** Long times are played shorter. */
  readonly short: boolean;
  /** How long a soak lasts. */
  readonly minutes: number;
  readonly pingIntervalMs: number;
  /** Says what is being done, for who waits. */
  readonly progress: (text: string) => void;
}

/** The pair did not come to where a scenario starts or ends. */
export class ScenarioFailure extends Error {}

export interface Stage {
  readonly options: StageOptions;
  readonly world: World;
  readonly load: Load;
  readonly meter: StallMeter;
  active: NodeName;
  /** The term that was in force when everything began to count. */
  term: number;
  /** Takeovers since then that nobody asked for and no fault explains. */
  unasked: number;
  readonly differences: NamedDifference[];
  readonly problems: string[];
  /** What else was seen to hold. */
  readonly notes: string[];
  /** What came later than its bound. */
  readonly late: string[];
  /** Counts what leaves untranslated; null before it was put in place. */
  leaks: LeakCounter | null;
  sessions: { active: number; standby: number } | null;
  takeover: Takeover | null;
  markedMs: number;
  endedMs: number;
  live: readonly LiveSession[];
  pings: PingReport | null;
  handovers: { asked: number; done: number } | null;
  /** What became of sessions of every kind, where they were played. */
  readonly kinds: KindCell[];
  audit: AuditFigures | null;
  /** What a poller of readiness saw. */
  polled: TruthReport | null;
}

const READY_TIMEOUT_MS = 60_000;
/** Longest wait for a handover to be over and the next to be possible. */
const HANDOVER_TIMEOUT_MS = 15_000;
const HANDOVER_ATTEMPTS = 3;
/** A table of 200,000 takes seconds to be read alone. */
const equalTimeoutMs = (background: number): number => 30_000 + background / 5;
const SAY_DIFFERENCE_MS = 5000;
/** Live sessions must be seen to move for a second, twice over. */
const OBSERVE_MS = 3000;

/** Starts the pair in `world` and all traffic; returns with everything equal, measured and marked. */
export async function setStage(world: World, options: StageOptions): Promise<Stage> {
  const { progress } = options;
  progress("starting both nodes");
  world.pair.start("a");
  world.pair.start("b");
  const load = await startLoad(world, options.v6 ? [4, 6] : [4]);
  const stage: Stage = {
    options,
    world,
    load,
    meter: startStallMeter(),
    active: "a",
    term: 0,
    unasked: 0,
    differences: [],
    problems: [],
    notes: [],
    late: [],
    leaks: null,
    sessions: null,
    takeover: null,
    markedMs: nowMs(),
    endedMs: 0,
    live: [],
    pings: null,
    handovers: null,
    kinds: [],
    audit: null,
    polled: null,
  };
  stage.active = await becomeReady(world, "at the start");
  progress(`${stage.active} is active, ${otherNode(stage.active)} is its standby`);
  return stage;
}

/** Live sessions, background, pings, a talkative standby; then both kernels' tables must be equal. */
export async function fillStage(stage: Stage): Promise<void> {
  const { load, options } = stage;
  // First, while the table that they are looked up in is small.
  const flows = await load.startPings(options.pingIntervalMs, stage.active);
  options.progress(`pinging every ${options.pingIntervalMs} ms, ${flows} ${flows === 1 ? "flow" : "flows"}`);
  const live = await load.openLive(options.live);
  options.progress(`${live.opened} live sessions open`);
  stage.problems.push(...live.failures.map((failure) => `a live session did not open: ${failure}`));
  if (options.background > 0) {
    const done = await load.openBackground(options.background);
    options.progress(
      `${done.udp + done.tcp + done.icmp} background sessions in ${done.seconds.toFixed(1)} s (${done.udp} UDP, ${done.tcp} TCP, ${done.icmp} ICMP)`,
    );
  }
  await load.startChatter(otherNode(stage.active));
  await becomeEqual(stage, "before the fault");
}

/** Waits until one node is active and the other holds everything; returns the active one. */
export async function becomeReady(world: World, when: string): Promise<NodeName> {
  const roles = await world.pair.waitReady(READY_TIMEOUT_MS);
  if (roles.ready && roles.active !== null) return roles.active;
  const within = `within ${READY_TIMEOUT_MS / 1000} s`;
  throw new ScenarioFailure(`${when} the pair was not ready ${within}: ${roles.reasons.join("; ")}`);
}

/** `understudy handover` on the active node; returns who is active once the pair is ready for the next. */
export async function handOver(world: World, from: NodeName): Promise<NodeName> {
  let active = from;
  for (let attempt = 1; ; attempt += 1) {
    const before = await highestTerm(world);
    world.note(`handover from ${active}`);
    const result = await world.pair.command(active, ["handover"]);
    const over = await until(HANDOVER_TIMEOUT_MS, 50, async () => {
      const roles = await world.pair.roles();
      if (!roles.ready || roles.active === null) return null;
      return result.code !== 0 || (await highestTerm(world)) > before ? roles.active : null;
    });
    if (over === null) {
      const { reasons } = await world.pair.roles();
      const within = `within ${HANDOVER_TIMEOUT_MS / 1000} s`;
      throw new ScenarioFailure(
        `after the handover from ${active} the pair was not ready ${within}: ${reasons.join("; ")}`,
      );
    }
    if (result.code === 0) return over;
    // It was refused by one that was not active at that moment: the next attempt is for whoever is.
    if (attempt === HANDOVER_ATTEMPTS)
      throw new ScenarioFailure(
        `\`understudy handover\` on ${active} ended with ${result.code}: ${(result.stderr || result.stdout).trim()}`,
      );
    active = over;
  }
}

async function highestTerm(world: World): Promise<number> {
  const { views } = await world.pair.roles();
  return Math.max(views.a?.heart?.term ?? 0, views.b?.heart?.term ?? 0);
}

/** Compares both kernels' tables, waiting for equality within a bound; notes what it found, and gives it back. */
export async function becomeEqual(stage: Stage, when: string): Promise<Comparison> {
  const { pids } = stage.world;
  const { background, progress } = stage.options;
  const compared = await compareNodes(
    pids.get(stage.active)!,
    pids.get(otherNode(stage.active))!,
    equalTimeoutMs(background),
    sayOnce(progress, when),
  );
  const { difference } = compared;
  stage.sessions = { active: compared.active, standby: compared.standby };
  stage.differences.push({ when, ...difference });
  progress(
    isEqual(difference)
      ? `${when} both kernels hold the same ${compared.active} sessions (${(compared.waitedMs / 1000).toFixed(1)} s)`
      : `${when} the kernels differ: ${difference.missing} missing, ${difference.extra} extra, ${difference.wrong} wrong`,
  );
  return compared;
}

/** What is waited for, in the words of its first samples, once it has lasted. */
function sayOnce(progress: (text: string) => void, when: string): (difference: Difference) => void {
  const startMs = nowMs();
  let said = false;
  return ({ missing, extra, wrong, samples }) => {
    if (said || nowMs() - startMs < SAY_DIFFERENCE_MS) return;
    said = true;
    progress(
      `${when} still ${missing} missing, ${extra} extra, ${wrong} wrong: ${samples.slice(0, 3).join("; ")}`,
    );
  };
}

/** From here on everything counts. Who is active is asked once more: a starved machine may have changed it. */
export async function arm(stage: Stage): Promise<void> {
  const { world, options } = stage;
  const active = await becomeReady(world, "before the fault");
  if (active !== stage.active) options.progress(`by now ${active} is active: it took over unasked`);
  stage.active = active;
  stage.term = (await world.pair.view(active))?.heart?.term ?? 0;
  stage.leaks = await countLeaks(world);
  await stage.load.startCapture();
  stage.markedMs = await stage.load.mark();
  // Some ordinary time first, and a phase that is no multiple of any timer.
  await sleep(400 + Math.random() * 100);
}

/** Lets the sessions show that they live, then reads what everybody saw. */
export async function observe(stage: Stage): Promise<void> {
  await sleep(OBSERVE_MS);
  stage.live = await stage.load.liveSessions();
  stage.endedMs = nowMs();
  stage.pings = await stage.load.stopPings();
}

/** The new active's own account of the last takeover. */
export async function noteTakeover(stage: Stage, from: NodeName): Promise<void> {
  const to = otherNode(from);
  const heart = (await stage.world.pair.view(to))?.heart;
  const report = heart?.lastTakeover ?? null;
  const { term, silenceMs, openMs } = report ?? { term: 0, silenceMs: 0, openMs: 0 };
  if (heart?.role !== "active" || term <= stage.term) {
    const now =
      heart === null || heart === undefined ? "it does not answer" : `${heart.role}, term ${heart.term}`;
    stage.problems.push(`${to} did not take over: ${now} (${from} was active in term ${stage.term})`);
    return;
  }
  // Each takeover and each handover is one step of the term.
  stage.unasked = term - stage.term - (stage.handovers?.done ?? 1);
  stage.takeover = { term, silenceMs, openMs, from, to };
}

/** The second half of a scenario in which the dead come back: nobody may notice that either. */
export async function watchReturn(stage: Stage, when: string): Promise<void> {
  const { load } = stage;
  await load.resumePings();
  await load.mark();
  stage.active = await becomeReady(stage.world, when);
  stage.options.progress(`${when} ${otherNode(stage.active)} is standby again`);
  await becomeEqual(stage, when);
  await sleep(1500);
  const later = await load.liveSessions();
  const pings = await load.stopPings();
  const bound = specOf(stage.options.scenario).stallMaxMs;
  const before = stage.live;
  const lost = later.filter(
    (session, index) =>
      lossOf(session, bound) !== null &&
      (before[index] === undefined || lossOf(before[index], bound) === null),
  );
  if (lost.length > 0)
    stage.problems.push(`${when} ${lost.length} live sessions were lost: ${lossOf(lost[0]!, bound)}`);
  const gapMs = Math.max(0, ...pings.flows.map((flow) => flow.gapMs));
  stage.options.progress(`the return cost at most ${gapMs.toFixed(1)} ms`);
}

/** Ends the traffic and makes figures of everything. */
export async function collect(stage: Stage): Promise<Outcome> {
  const { world, load, options } = stage;
  const { runs, frames } = await load.stopCapture();
  const machineStallMs = stage.meter.longest(stage.markedMs, stage.endedMs);
  const claims = judgeClaims(runs as ClaimRun[], world.dead);
  for (const overlap of claims.overlaps.slice(0, 3))
    options.progress(
      `both nodes claimed ${overlap.segment} for ${overlap.forMs.toFixed(1)} ms, ${since(world, overlap.atMs)} s after the start`,
    );
  if (frames === 0) stage.problems.push("the capture saw no frame of a virtual MAC");
  const live: LiveVerdict = judgeLive(stage.live, specOf(options.scenario).stallMaxMs);
  const untranslated = (await stage.leaks?.read()) ?? null;
  const flows = stage.pings?.flows ?? [];
  return {
    scenario: options.scenario,
    seconds: since(world, nowMs()),
    live,
    asked: { live: options.live, background: options.background },
    udp: {
      sent: sum(flows.map((flow) => flow.sent)),
      lost: sum(flows.map((flow) => flow.lost)),
      gapMs: Math.max(0, ...flows.map((flow) => flow.gapMs)),
    },
    sessions: stage.sessions,
    differences: stage.differences,
    takeover: stage.takeover,
    claimants: { overlapMs: claims.overlapMs, frames },
    machineStallMs,
    namespaces: Object.fromEntries(world.pids),
    faults: world.faults.map(({ atMs, what }) => ({ at: since(world, atMs), what })),
    handovers: stage.handovers,
    unasked: stage.unasked,
    placement: null,
    kinds: stage.kinds,
    audit: stage.audit,
    readiness: await readinessOf(stage),
    untranslated,
    short: options.short,
    notes: stage.notes,
    late: stage.late,
    problems: stage.problems,
  };
}

/** What the active says at the end. */
async function readinessOf({ world, active, polled }: Stage): Promise<ReadinessFigures | null> {
  const view = await world.pair.readiness(active);
  if (view === null) return null;
  const { verdict, proven, held, total } = view;
  if (polled === null) return { verdict, proven, held, total, polled };
  const { samples: _, ...counts } = polled;
  return { verdict, proven, held, total, polled: counts };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Seconds since the world was begun, to the millisecond. */
export const since = (world: World, atMs: number): number => Math.round(atMs - world.startedMs) / 1000;
