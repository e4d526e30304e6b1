// The drill: the active hands over to its standby on purpose, lets it serve until this node is a whole standby itself, has the
// role handed back, and says what it cost. Run on the node that was active. A machine: `step(state, now, input, effects)`; the
// driver hands over, asks the other node to hand back, probes, and keeps the report. It may not read a clock, or decide who is
// active: that stays the election's. Pure.
//
// Invariants
// L1  A drill begins only on an active whose pair is ready, unless somebody forces it, and only one at a time.
// L2  It never takes the role back by itself: it asks. Where the other node does not give it back, it keeps it, and the report says so.
// L3  Whatever becomes of the other node ends the drill: `failed`, with what happened. Nothing is tried again.
// L4  Each drill that began ends in one report, within the sum of the bounds of its phases.

import { unreachable } from "../base/assert.ts";
import { DRILL_BACK_MS_MAX, DRILL_OVER_MS_MAX, DRILL_STAY_MS, DRILL_SYNC_MS_MAX } from "../base/limits.ts";
import { type Millis, millis, type NodeId, peerOf, type Role } from "../base/units.ts";
import type { DrillCount, DrillReport, DrillSwitch } from "../wire/controlReadiness.ts";

/** `over`: the handover is asked for. `away`: the other node serves. `back`: it is asked to hand back. `settling`: it catches up. */
export type DrillPhase = "idle" | "over" | "away" | "back" | "settling";

/** What heart and the daemon say at one moment. */
export interface DrillFacts {
  readonly role: Role;
  /** Why this node has its role: `cause` of heart's last change. */
  readonly cause: string;
  readonly peerHeard: boolean;
  readonly peerRole: Role | null;
  /** This node as a standby, and the other one: by their own word. */
  readonly ready: boolean;
  readonly peerReady: boolean;
  readonly count: DrillCount;
}

export interface DrillState {
  phase: DrillPhase;
  /** Counts drills: what is answered to an earlier one is passed over. */
  number: number;
  readonly node: NodeId;
  /** Of the phase. */
  since: Millis;
  startedAt: Millis;
  /** Of the last `away`. */
  awayAt: Millis;
  /** Wall clock, ISO 8601. */
  at: string;
  scheduled: boolean;
  forced: boolean;
  /** Heart has done what it was asked for. */
  isOver: boolean;
  facts: DrillFacts | null;
  before: DrillCount | null;
  away: DrillCount | null;
  switches: DrillSwitch[];
}

export type DrillInput =
  | {
      readonly kind: "start";
      readonly at: string;
      readonly scheduled: boolean;
      readonly forced: boolean;
      /** Why the pair is not ready; null: it is. */
      readonly notReady: string | null;
      readonly facts: DrillFacts;
    }
  | { readonly kind: "facts"; readonly facts: DrillFacts }
  /** What became of `hand-over`. */
  | { readonly kind: "handed-over"; readonly number: number; readonly ok: boolean; readonly words: string }
  /** The other node's answer to `ask-back`. */
  | { readonly kind: "answered"; readonly number: number; readonly ok: boolean; readonly words: string }
  /** This node is stopping. */
  | { readonly kind: "stop" }
  | { readonly kind: "turn" };

export type DrillEffect =
  | { readonly kind: "probe"; readonly on: boolean }
  | { readonly kind: "hand-over"; readonly number: number }
  | { readonly kind: "ask-back"; readonly number: number }
  /** `kept`: it is the last drill from now on. */
  | { readonly kind: "done"; readonly report: DrillReport; readonly kept: boolean };

export function createDrill(node: NodeId): DrillState {
  return {
    phase: "idle",
    number: 0,
    node,
    since: millis(0),
    startedAt: millis(0),
    awayAt: millis(0),
    at: "",
    scheduled: false,
    forced: false,
    isOver: false,
    facts: null,
    before: null,
    away: null,
    switches: [],
  };
}

const LONGEST_MS: Readonly<Record<Exclude<DrillPhase, "idle">, number>> = {
  over: DRILL_OVER_MS_MAX,
  away: DRILL_SYNC_MS_MAX,
  back: DRILL_BACK_MS_MAX,
  settling: DRILL_SYNC_MS_MAX,
};

/** When `turn` is due; null: nothing is under way. */
export function deadline(state: DrillState): Millis | null {
  if (state.phase === "idle") return null;
  const end = state.since + LONGEST_MS[state.phase];
  const stay = state.since + DRILL_STAY_MS;
  return millis(state.phase === "away" && isWhole(state) ? Math.min(stay, end) : end);
}

/** Where it is, in words; null: nowhere. */
export function describe({ phase, node }: DrillState): string | null {
  const other = peerOf(node);
  switch (phase) {
    case "idle":
      return null;
    case "over":
      return `a drill is under way: ${node} hands over`;
    case "away":
      return `a drill is under way: ${other} serves`;
    case "back":
      return `a drill is under way: ${other} hands back`;
    case "settling":
      return `a drill is under way: ${other} catches up`;
    default:
      return unreachable(phase);
  }
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: DrillState, now: Millis, input: DrillInput, effects: DrillEffect[]): void {
  switch (input.kind) {
    case "start":
      onStart(state, now, input, effects);
      break;
    case "facts":
      state.facts = input.facts;
      break;
    case "handed-over":
      if (state.phase !== "over" || input.number !== state.number) break;
      if (!input.ok)
        finish(state, now, "failed", `${state.node} could not hand over: ${input.words}`, effects);
      else state.isOver = true;
      break;
    case "answered":
      if (state.phase !== "back" || input.number !== state.number || input.ok) break;
      finish(
        state,
        now,
        "failed",
        `${peerOf(state.node)} serves, and did not hand back: ${input.words}`,
        effects,
      );
      break;
    case "stop":
      if (state.phase !== "idle")
        finish(state, now, "failed", `the daemon of ${state.node} was stopped in mid-drill`, effects);
      return;
    case "turn":
      break;
    default:
      unreachable(input);
  }
  advance(state, now, effects);
}

function onStart(
  state: DrillState,
  now: Millis,
  input: Extract<DrillInput, { kind: "start" }>,
  effects: DrillEffect[],
): void {
  const { at, scheduled, forced, facts, notReady } = input;
  const other = peerOf(state.node);
  const refusal =
    state.phase !== "idle"
      ? "a drill is under way"
      : facts.role !== "active"
        ? `${state.node} is not active: give the command on ${other}`
        : notReady !== null && !forced
          ? notReady
          : null;
  if (refusal !== null) {
    // One that is under way goes on.
    const report = reportOf(
      { ...createDrill(state.node), at, scheduled, forced },
      0,
      scheduled ? "skipped" : "refused",
      refusal,
    );
    effects.push({
      kind: "done",
      report,
      kept: scheduled && facts.role === "active" && state.phase === "idle",
    });
    return;
  }
  Object.assign(state, createDrill(state.node), {
    phase: "over",
    number: state.number + 1,
    since: now,
    startedAt: now,
    at,
    scheduled,
    forced,
    facts,
    before: facts.count,
  } satisfies Partial<DrillState>);
  effects.push({ kind: "probe", on: true }, { kind: "hand-over", number: state.number });
}

const isWhole = ({ facts }: DrillState): boolean =>
  facts?.role === "standby" && facts.ready && facts.peerHeard && facts.peerRole === "active";

function advance(state: DrillState, now: Millis, effects: DrillEffect[]): void {
  const { phase, facts, node } = state;
  if (phase === "idle" || facts === null) return;
  const other = peerOf(node);
  const isLate = now - state.since >= LONGEST_MS[phase];
  const fail = (words: string): void => finish(state, now, "failed", words, effects);
  switch (phase) {
    case "over":
      if (state.isOver && facts.role === "standby" && facts.peerRole === "active") {
        state.switches.push({ to: other, ms: now - state.since, gapMs: null });
        enter(state, now, "away");
        state.awayAt = now;
      } else if (isLate) fail(`${node} did not hand over in time`);
      return;
    case "away":
      if (facts.role === "active")
        fail(`${other} ceased to serve, and ${node} took over again (${facts.cause})`);
      else if (isWhole(state) && now - state.since >= DRILL_STAY_MS) {
        state.away = facts.count;
        enter(state, now, "back");
        effects.push({ kind: "ask-back", number: state.number });
      } else if (isLate) fail(`${other} serves, and was not asked to hand back: ${node} is not ready`);
      return;
    case "back":
      if (facts.role === "active") {
        if (facts.cause !== "handover") {
          fail(`${other} ceased to serve, and ${node} took over again (${facts.cause})`);
          return;
        }
        state.switches.push({ to: node, ms: now - state.since, gapMs: null });
        enter(state, now, "settling");
      } else if (isLate) fail(`${other} serves, and did not hand back in time`);
      return;
    case "settling":
      if (facts.role !== "active") fail(`${node} had the role again, and lost it (${facts.cause})`);
      else if (facts.peerHeard && facts.peerRole === "standby" && facts.peerReady) {
        const served = Math.round((now - state.awayAt) / 100) / 10;
        finish(state, now, "passed", `${other} served for ${served} s, and ${node} serves again`, effects);
      } else if (isLate) fail(`${node} serves again, and ${other} does not get ready`);
      return;
    default:
      unreachable(phase);
  }
}

function enter(state: DrillState, now: Millis, phase: DrillPhase): void {
  state.phase = phase;
  state.since = now;
}

function finish(
  state: DrillState,
  now: Millis,
  result: DrillReport["result"],
  words: string,
  effects: DrillEffect[],
): void {
  const report = reportOf(state, now - state.startedAt, result, words);
  enter(state, now, "idle");
  effects.push({ kind: "probe", on: false }, { kind: "done", report, kept: true });
}

function reportOf(state: DrillState, ms: number, result: DrillReport["result"], words: string): DrillReport {
  const { node, at, scheduled, forced, before, away, switches, facts } = state;
  return {
    result,
    words,
    node,
    at,
    seconds: Math.round(ms / 100) / 10,
    scheduled,
    forced,
    sessions: { before, away, after: facts?.count ?? null },
    switches: switches.slice(),
    probes: null,
  };
}

/** When drills are: each week on a day, or each day. Local time of the active. */
export interface DrillSchedule {
  /** 0 Sunday to 6 Saturday; null: every day. */
  readonly day: number | null;
  readonly hour: number;
  readonly minute: number;
}

/** A moment on the machine's local clock. */
export interface LocalMoment {
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
}

/** This minute is one of the schedule's. A minute that a clock leaves out, or shows twice, is a drill less or more. */
export const isScheduled = (schedule: DrillSchedule, { day, hour, minute }: LocalMoment): boolean =>
  (schedule.day === null || schedule.day === day) && schedule.hour === hour && schedule.minute === minute;
