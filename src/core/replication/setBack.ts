// After a takeover: the times of sessions that nobody speaks in are set back to their protocol's own (replication §3). A
// machine: when to begin, how fast to go, when it is done and when to leave off; the walk itself is
// kernel/sessionTimes.ts, driven by daemon/setBack.ts. It may not read a clock, and knows no session. Pure.
//
// B1  Only an active sets back: a standby's entries must outlive what the other node refreshes. Losing the role ends the
//     walk before another entry is written.
// B2  Two passes: the second finds what changed its state between being read and being written by the first one (a TCP
//     session that closed in that moment would have kept an open one's five days).
// B3  A step, then a pause of nine times what it took: a tenth of a processor. The pause has a bound, so that a minute is
//     enough for 200,000 entries where a busy machine makes a step of one millisecond last five.
// B4  A table that cannot be read is tried again, from its beginning: writing a time twice changes nothing.

import { unreachable } from "../../base/assert.ts";
import {
  SET_BACK_DELAY_MS,
  SET_BACK_PACE_MS_MAX,
  SET_BACK_PACE_MS_MIN,
  SET_BACK_PACE_SHARE,
  SET_BACK_PASSES,
  SET_BACK_RETRY_MS,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";

export interface SetBackState {
  /** `done`: as far as this life as the active is concerned. */
  phase: "off" | "waiting" | "walking" | "done";
  /** Of the walk in hand, from 1. */
  pass: number;
  /** When the next step (or the first one) is due. */
  dueAt: Millis;
  /** When this node became active. */
  since: Millis;
  /** Of this life as the active. */
  seen: number;
  setBack: number;
  readonly counters: { walks: number; steps: number; setBack: number; refused: number; failed: number };
}

export type SetBackInput =
  /** This node's role, whenever it may have changed. */
  | { readonly kind: "role"; readonly active: boolean }
  | { readonly kind: "turn" }
  /** What became of a `step`. */
  | {
      readonly kind: "stepped";
      readonly seen: number;
      readonly setBack: number;
      readonly refused: number;
      readonly more: boolean;
      readonly tookMs: number;
    }
  | { readonly kind: "failed" };

export type SetBackEffect =
  /** Begin a walk from the beginning of the table; an earlier one is over. */
  | { readonly kind: "open" }
  /** Read and write one datagram's entries, and say `stepped` or `failed`. */
  | { readonly kind: "step" }
  | { readonly kind: "close" }
  | { readonly kind: "done"; readonly seen: number; readonly setBack: number; readonly tookMs: number };

export function createSetBack(): SetBackState {
  return {
    phase: "off",
    pass: 0,
    dueAt: millis(0),
    since: millis(0),
    seen: 0,
    setBack: 0,
    counters: { walks: 0, steps: 0, setBack: 0, refused: 0, failed: 0 },
  };
}

/** When `turn` is due; null: never. */
export function deadline(state: SetBackState): Millis | null {
  return state.phase === "waiting" || state.phase === "walking" ? state.dueAt : null;
}

export function step(state: SetBackState, now: Millis, input: SetBackInput, effects: SetBackEffect[]): void {
  switch (input.kind) {
    case "role":
      onRole(state, now, input.active, effects);
      return;
    case "turn":
      onTurn(state, now, effects);
      return;
    case "stepped":
      onStepped(state, now, input, effects);
      return;
    case "failed":
      if (state.phase !== "walking") return;
      state.counters.failed += 1;
      effects.push({ kind: "close" });
      wait(state, now, SET_BACK_RETRY_MS);
      return;
    default:
      unreachable(input);
  }
}

function onRole(state: SetBackState, now: Millis, active: boolean, effects: SetBackEffect[]): void {
  // Another term of the same active is no takeover.
  if (active === (state.phase !== "off")) return;
  if (!active) {
    if (state.phase === "walking") effects.push({ kind: "close" });
    state.phase = "off";
    return;
  }
  state.since = now;
  state.seen = 0;
  state.setBack = 0;
  wait(state, now, SET_BACK_DELAY_MS);
}

function wait(state: SetBackState, now: Millis, ms: number): void {
  state.phase = "waiting";
  state.pass = 0;
  state.dueAt = millis(now + ms);
}

function onTurn(state: SetBackState, now: Millis, effects: SetBackEffect[]): void {
  if (deadline(state) === null || now < state.dueAt) return;
  if (state.phase === "waiting") {
    state.phase = "walking";
    beginPass(state, effects);
  }
  state.counters.steps += 1;
  effects.push({ kind: "step" });
}

function beginPass(state: SetBackState, effects: SetBackEffect[]): void {
  state.pass += 1;
  state.counters.walks += 1;
  // Entries are counted once.
  state.seen = 0;
  effects.push({ kind: "open" });
}

function onStepped(
  state: SetBackState,
  now: Millis,
  result: Extract<SetBackInput, { kind: "stepped" }>,
  effects: SetBackEffect[],
): void {
  // The role was lost between the step and its outcome.
  if (state.phase !== "walking") return;
  state.seen += result.seen;
  state.setBack += result.setBack;
  state.counters.setBack += result.setBack;
  state.counters.refused += result.refused;
  const pauseMs = Math.max(SET_BACK_PACE_MS_MIN, SET_BACK_PACE_SHARE * result.tookMs);
  state.dueAt = millis(now + Math.min(pauseMs, SET_BACK_PACE_MS_MAX));
  if (result.more) return;
  effects.push({ kind: "close" });
  if (state.pass < SET_BACK_PASSES) {
    beginPass(state, effects);
    return;
  }
  state.phase = "done";
  effects.push({ kind: "done", seen: state.seen, setBack: state.setBack, tookMs: now - state.since });
}

/** One line for people. */
export function describe(state: SetBackState): string {
  switch (state.phase) {
    case "off":
      return "set back: not active";
    case "waiting":
      return "set back: waiting";
    case "walking":
      return `set back: pass ${state.pass}, ${state.seen} seen, ${state.setBack} set back`;
    case "done":
      return `set back: done, ${state.seen} seen, ${state.setBack} set back`;
  }
}
