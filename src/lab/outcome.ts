// What a scenario measured, what it has to hold, and the one JSON object that says both. Pure.

import { LEASE_MS_DEFAULT } from "../base/limits.ts";
import { type ScenarioName, specOf } from "./catalogue.ts";
import type { Difference } from "./conntrackText.ts";
import type { KindCell } from "./kinds.ts";
import { type LiveVerdict, round } from "./traffic/survival.ts";
import type { TruthReport } from "./truth.ts";

export interface Takeover {
  readonly term: number;
  readonly silenceMs: number;
  readonly openMs: number;
  readonly from: string;
  readonly to: string;
}

export interface NamedDifference extends Omit<Difference, "samples"> {
  /** `before the fault`, `after the return`. */
  readonly when: string;
  readonly samples: readonly string[];
}

export interface PlacementRun {
  readonly seed: number;
  readonly sessions: number;
  /** Share of link 1 in percent. */
  readonly share: number;
  readonly expected: number;
  /** Sessions whose link in the kernel changed while they lived. */
  readonly moved: number;
  /** Tuples that the other node placed differently, or did not place. */
  readonly unlike: number;
}

/** What the audit found and put right while it was looked at, of both kernels' tables, by the active's own count. */
export interface AuditFigures {
  readonly missing: number;
  readonly extra: number;
  readonly wrong: number;
  readonly repaired: number;
  /** From the end of what was done by hand until all of it had been put right. */
  readonly seconds: number;
}

/** What the active said of readiness at the end, and what a poller made of what both nodes had said all along. */
export interface ReadinessFigures {
  readonly verdict: "ready" | "not-ready" | "unknown";
  /** 0 to 1. */
  readonly proven: number;
  readonly held: number | null;
  readonly total: number | null;
  /** Null where nobody polled. */
  readonly polled: Omit<TruthReport, "samples"> | null;
}

/** Figures of one run, verdict left out. Every part that a scenario does not have is null. */
export interface Outcome {
  readonly scenario: ScenarioName;
  readonly seconds: number;
  readonly live: LiveVerdict | null;
  readonly asked: { readonly live: number; readonly background: number };
  readonly udp: { readonly sent: number; readonly lost: number; readonly gapMs: number } | null;
  readonly sessions: { readonly active: number; readonly standby: number } | null;
  readonly differences: readonly NamedDifference[];
  readonly takeover: Takeover | null;
  readonly claimants: { readonly overlapMs: number; readonly frames: number } | null;
  readonly machineStallMs: number;
  readonly namespaces: Readonly<Record<string, number>>;
  readonly faults: readonly { readonly at: number; readonly what: string }[];
  readonly handovers: { readonly asked: number; readonly done: number } | null;
  /** Takeovers that nobody asked for and no fault explains. */
  readonly unasked: number;
  readonly placement: readonly PlacementRun[] | null;
  /** What became of sessions of every kind; empty where they were not played. */
  readonly kinds: readonly KindCell[];
  readonly audit: AuditFigures | null;
  /** Null where the pair was not asked. */
  readonly readiness: ReadinessFigures | null;
  /** Frames with an untranslated source that left towards an ISP; null where nobody counted. */
  readonly untranslated: number | null;
  /** True where long times were played shorter (`--short`). */
  readonly short: boolean;
  /** What else was seen to hold, in words. */
  readonly notes: readonly string[];
  /** What came later than its bound: decides where figures do. */
  readonly late: readonly string[];
  /** What went wrong before or beside the figures, in words. */
  readonly problems: readonly string[];
}

export interface Expectations {
  /** Figures in milliseconds decide too. */
  readonly figures: boolean;
  /** Without root there is no real-time priority: wider bounds. */
  readonly root: boolean;
}

export interface Verdict {
  readonly ok: boolean;
  readonly why: readonly string[];
  /** A figure in milliseconds was judged although the machine itself had stood still. */
  readonly void: boolean;
  /** Only figures in milliseconds speak against it. */
  readonly timingOnly: boolean;
}

/** Above this stall of the machine, a timing verdict is void. */
const STALL_VOID_MS = 15;
const GAP_MAX_WITHOUT_ROOT_MS = 250;
const PLACEMENT_POINTS_MAX = 1.5;

/** The "must hold" column of each scenario. */
export function judge(outcome: Outcome, expectations: Expectations): Verdict {
  const functional = [
    ...outcome.problems,
    ...judgeLiveSessions(outcome),
    ...judgeEquality(outcome),
    ...judgeHandovers(outcome),
    ...judgePlacement(outcome),
  ];
  const { untranslated } = outcome;
  if (untranslated !== null && untranslated > 0)
    functional.push(`${untranslated} frames left towards the Internet with their sources untranslated`);
  const claims = outcome.claimants?.overlapMs ?? 0;
  const { figures, root } = expectations;
  const { overlapMaxMs = 0 } = specOf(outcome.scenario);
  const { starved = false } = specOf(outcome.scenario);
  const stood = outcome.machineStallMs > STALL_VOID_MS;
  // A paused machine is a named exception of the invariant (failover §8): as long as it stood still, and one lease.
  const paused = stood ? outcome.machineStallMs + LEASE_MS_DEFAULT : 0;
  // Where figures do not decide, a bound of milliseconds is only one against seconds.
  const overlapped =
    claims > (figures ? overlapMaxMs : overlapMaxMs * 20)
      ? [`both nodes claimed a segment at once for ${round(claims)} ms`]
      : [];
  if (claims > paused) functional.push(...overlapped);
  const timing = [
    ...judgeSlow(outcome),
    ...(claims > paused ? [] : overlapped),
    ...(figures ? [...judgeGap(outcome, root), ...outcome.late] : []),
    // A machine that stands still for longer than a lease loses packets whatever runs on it.
    ...(figures || !stood || starved ? judgeQuiet(outcome) : []),
  ];
  const stalled = stood && !starved && (figures || timing.length > 0);
  const why = [...functional, ...timing];
  if (stalled && timing.length > 0)
    why.push(`void: the machine itself stood still for ${round(outcome.machineStallMs)} ms`);
  return {
    ok: why.length === 0,
    why,
    void: stalled,
    timingOnly: functional.length === 0 && timing.length > 0,
  };
}

function judgeLiveSessions(outcome: Outcome): readonly string[] {
  const { live, asked } = outcome;
  if (live === null) return [];
  const why: string[] = [];
  if (live.opened < asked.live) why.push(`${asked.live - live.opened} live sessions could not be opened`);
  const lost = live.opened - live.survived - live.slow;
  if (lost > 0) why.push(`${lost} of ${live.opened} live sessions were lost`);
  if (lost > 0) for (const [reason, count] of live.losses) why.push(`${count} x ${reason}`);
  return why;
}

/** Sessions that went on, too late: lost all the same, but to time. */
function judgeSlow(outcome: Outcome): readonly string[] {
  const { live } = outcome;
  if (live === null || live.slow === 0) return [];
  return [`${live.slow} of ${live.opened} live sessions stood still for too long (${live.stallMs.max} ms)`];
}

function judgeEquality(outcome: Outcome): readonly string[] {
  const why: string[] = [];
  for (const { when, missing, extra, wrong, samples } of outcome.differences) {
    if (missing + extra + wrong === 0) continue;
    why.push(
      `${when} the kernels' tables differ: ${missing} missing, ${extra} extra, ${wrong} wrong`,
      ...samples.slice(0, 3),
    );
  }
  const { sessions, asked } = outcome;
  if (sessions !== null && sessions.active < asked.live + asked.background)
    why.push(`the active held ${sessions.active} of ${asked.live + asked.background} sessions`);
  return why;
}

function judgeHandovers(outcome: Outcome): readonly string[] {
  const { handovers } = outcome;
  if (handovers === null) return [];
  const why: string[] = [];
  if (handovers.done < handovers.asked)
    why.push(`${handovers.done} of ${handovers.asked} handovers were done`);
  return why;
}

/** Points off the weights: the bound at full size; few sessions scatter by themselves (four standard deviations). */
function pointsMax(sessions: number, expected: number): number {
  const deviation = Math.sqrt((expected * (100 - expected)) / Math.max(1, sessions));
  return Math.max(PLACEMENT_POINTS_MAX, 4 * deviation);
}

/** What a machine that runs owes: nothing lost where nothing had to be, no takeover without a reason. */
function judgeQuiet(outcome: Outcome): readonly string[] {
  const { udp, unasked } = outcome;
  const why: string[] = [];
  if (specOf(outcome.scenario).lossless === true && udp !== null && udp.lost > 0)
    why.push(`${udp.lost} of ${udp.sent} pings were lost`);
  if (unasked > 0) why.push(`${unasked} ${unasked === 1 ? "takeover" : "takeovers"} that nobody asked for`);
  return why;
}

function judgePlacement(outcome: Outcome): readonly string[] {
  const why: string[] = [];
  for (const { seed, sessions, share, expected, moved, unlike } of outcome.placement ?? []) {
    if (Math.abs(share - expected) > pointsMax(sessions, expected))
      why.push(`seed ${seed}: link 1 got ${share.toFixed(2)} % instead of ${expected} %`);
    if (moved > 0) why.push(`seed ${seed}: ${moved} sessions changed their link`);
    if (unlike > 0) why.push(`seed ${seed}: the other node placed ${unlike} tuples differently`);
  }
  return why;
}

function judgeGap(outcome: Outcome, root: boolean): readonly string[] {
  const bound = specOf(outcome.scenario).gapMaxMs;
  if (bound === undefined || outcome.udp === null) return [];
  const gapMaxMs = root ? bound : GAP_MAX_WITHOUT_ROOT_MS;
  const { gapMs } = outcome.udp;
  return gapMs <= gapMaxMs ? [] : [`the gap was ${round(gapMs)} ms, more than ${gapMaxMs}`];
}

/** The last difference taken, or the one that was not zero: a later equality does not undo it. */
function worstDifference(outcome: Outcome): { missing: number; extra: number; wrong: number } | null {
  const { differences } = outcome;
  const worst =
    differences.find(({ missing, extra, wrong }) => missing + extra + wrong > 0) ?? differences.at(-1);
  return worst === undefined ? null : { missing: worst.missing, extra: worst.extra, wrong: worst.wrong };
}

/** A cell of the table of kinds: what was promised, and what the worst session of it went through. */
const kindResult = ({ kind, family, fault, sessions, promised, found, skipped }: KindCell): object => ({
  kind,
  family,
  fault,
  sessions,
  promised: promised.is,
  ...(found === null ? { skipped } : { found: found.is, stallMs: found.stallMs }),
  ...(found?.why == null ? {} : { why: found.why }),
});

/** The object that `--json` prints (lab.md). */
export function resultOf(outcome: Outcome, verdict: Verdict): Record<string, unknown> {
  const { live, udp, claimants } = outcome;
  return {
    scenario: outcome.scenario,
    ok: verdict.ok,
    why: verdict.why,
    seconds: round(outcome.seconds),
    live: live === null ? null : { opened: live.opened, survived: live.survived, stallMs: live.stallMs },
    udp: udp === null ? null : { sent: udp.sent, lost: udp.lost, gapMs: round(udp.gapMs) },
    sessions: outcome.sessions,
    difference: worstDifference(outcome),
    takeover: outcome.takeover,
    claimants: claimants === null ? null : { overlapMs: round(claimants.overlapMs) },
    machine: { stallMs: round(outcome.machineStallMs), void: verdict.void },
    namespaces: outcome.namespaces,
    faults: outcome.faults,
    ...(outcome.handovers === null ? {} : { handovers: outcome.handovers }),
    // Nothing but time speaks against it: what is void as well is no verdict.
    ...(verdict.timingOnly ? { timingOnly: true } : {}),
    ...(outcome.unasked === 0 ? {} : { unasked: outcome.unasked }),
    ...(outcome.placement === null ? {} : { placement: outcome.placement }),
    ...(outcome.kinds.length === 0 ? {} : { kinds: outcome.kinds.map(kindResult) }),
    ...(outcome.readiness === null ? {} : { readiness: outcome.readiness }),
    ...(outcome.audit === null ? {} : { audit: outcome.audit }),
    ...(outcome.untranslated === null ? {} : { untranslated: outcome.untranslated }),
    ...(outcome.short ? { short: true } : {}),
    ...(outcome.notes.length === 0 ? {} : { notes: outcome.notes }),
  };
}
