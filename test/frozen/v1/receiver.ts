// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// The standby's side of the log (docs: replication §1, §2): subscribes, has records written into its own kernel,
// acknowledges what is there, and ends a snapshot by sweeping away what was not in it. A machine: `step(state,
// now, input, effects)`; the driver performs `apply`, `sweep` and `purge` one after the other and feeds the
// outcome back before the next message. It may not read a clock, wait, or touch a record. Pure.
//
// Invariants
// R1  A position is acknowledged only after every record up to it is in this node's kernel (or was refused by it,
//     counted, and readiness withdrawn).
// R2  Positions arrive without a gap; a gap ends the connection.
// R3  Records are taken only while this node is standby, from a peer that says active, of the term subscribed to.
// R4  A snapshot is a set. Everything written since it began carries a generation that nothing in the kernel had
//     before; at its end all other generations are swept. A takeover in the middle sweeps nothing.
// R5  "Synchronised" holds from the sweep until the next snapshot-begin, a refused record, or the loss of the
//     connection.
// R6  What this node held when it was active is its own until a snapshot of another active begins, and is given to
//     that one first where it asks (merge.ts, M1, M2).

import { unreachable } from "./assert.ts";
import type { Position } from "./control.ts";
import { REFUSED_RETRY_MS_MAX, REFUSED_RETRY_MS_MIN, RELIEVED_MS_MAX, SUBSCRIBE_RETRY_MS } from "./limits.ts";
import {
  beginGiving,
  type Giving,
  type GivingEffect,
  gaveUpTo,
  give,
  isGiven,
  type Subscription,
  sameSubscription,
  wantsGift,
} from "./merge.ts";
import { type Millis, millis, type Role } from "./units.ts";

const GENERATIONS = [1, 2, 3] as const;

/** `waiting`: subscribed, and what still arrives belongs to an earlier subscription. `giving`: a merge. */
export type ReceiverPhase = "off" | "waiting" | "giving" | "snapshot" | "streaming";

export interface ReceiverState {
  standby: boolean;
  peer: { readonly role: Role; readonly term: number } | null;
  phase: ReceiverPhase;
  subscription: Subscription;
  /** This kernel may hold sessions that nobody else does (R6). */
  own: boolean;
  giving: Giving | null;
  /** When the peer ceased to be active while this node was synchronised with it; null where it did otherwise. */
  levelUntil: Millis | null;
  /** Generation of what is written now, 1..3. */
  generation: number;
  /** Generations that entries of this kernel may carry; index 0 is not used. */
  readonly carried: boolean[];
  /** Of the last complete snapshot; 0 where there is none. */
  complete: number;
  applied: Position;
  /** Records that the kernel refused since the snapshot in force began. */
  refused: number;
  retryAt: Millis | null;
  retryMs: number;
  readonly counters: ReceiverCounters;
}

export interface ReceiverCounters {
  subscribed: number;
  applied: number;
  snapshotsBegun: number;
  snapshotsDone: number;
  refusedRecords: number;
  purged: number;
  ignored: number;
  mergesBegun: number;
  mergesDone: number;
  given: number;
}

export type ReceiverInput =
  | { readonly kind: "role"; readonly standby: boolean }
  /** This node is active: what its kernel holds is its own. */
  | { readonly kind: "own" }
  /** The peer's own word, from hello and role-changed. */
  | { readonly kind: "peer"; readonly role: Role; readonly term: number }
  | { readonly kind: "disconnected" }
  /** What the kernel was found to carry, at start; 0: made here, by an active. */
  | { readonly kind: "carried"; readonly generations: readonly number[] }
  | { readonly kind: "snapshot-begin"; readonly position: Position; readonly generation: number }
  | {
      readonly kind: "sessions";
      readonly first: Position;
      readonly count: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "snapshot-end"; readonly position: Position; readonly generation: number }
  /** `count` more records of the message in hand are in the kernel; `refused` of them were not taken by it. */
  | { readonly kind: "applied"; readonly count: number; readonly refused: number }
  | { readonly kind: "swept" }
  /** The kernel refused the sweep: what is gone from the active may still be here. */
  | { readonly kind: "sweep-failed" }
  | { readonly kind: "merge-request"; readonly subscription: Subscription }
  /** One step of the dump. The bytes are the receiver's until `step` returns. */
  | {
      readonly kind: "merge-chunk";
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly more: boolean;
    }
  | { readonly kind: "merge-acknowledge"; readonly generation: number; readonly sequence: number }
  /** The deadline has come: a subscription was not answered, or a retry after refusals is due. */
  | { readonly kind: "turn" };

export type ReceiverEffect =
  | GivingEffect
  | { readonly kind: "subscribe"; readonly subscription: Subscription; readonly own: boolean }
  | {
      readonly kind: "apply";
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly generation: number;
    }
  | { readonly kind: "acknowledge"; readonly position: Position }
  /** Remove the pair's entries of every other generation. */
  | { readonly kind: "sweep"; readonly generation: number }
  /** Remove the pair's entries of this generation: it is needed, and every other is worth more. */
  | { readonly kind: "purge"; readonly generation: number }
  | { readonly kind: "fail"; readonly reason: string };

export function createReceiver(): ReceiverState {
  return {
    standby: false,
    peer: null,
    phase: "off",
    subscription: { term: 0, generation: 0 },
    own: false,
    giving: null,
    levelUntil: null,
    generation: 0,
    carried: [false, false, false, false],
    complete: 0,
    applied: { term: 0, sequence: 0 },
    refused: 0,
    retryAt: null,
    retryMs: REFUSED_RETRY_MS_MIN,
    counters: {
      subscribed: 0,
      applied: 0,
      snapshotsBegun: 0,
      snapshotsDone: 0,
      refusedRecords: 0,
      purged: 0,
      ignored: 0,
      mergesBegun: 0,
      mergesDone: 0,
      given: 0,
    },
  };
}

/** The whole of the active's table is in this kernel, and every change follows (R5). */
export const isSynchronised = (state: ReceiverState): boolean =>
  state.phase === "streaming" && state.refused === 0;

/** Records of the active are wanted: of its snapshot, or of what follows. */
export const isFollowing = (state: ReceiverState): boolean =>
  state.phase === "snapshot" || state.phase === "streaming";

/**
 * Where this node becomes active now, it relieves a peer of which it holds everything: in a handover that one's "standby"
 * may come before this node's heart has told its daemon.
 */
export const relieves = (state: ReceiverState, now: Millis): boolean =>
  isSynchronised(state) || (state.levelUntil !== null && now - state.levelUntil <= RELIEVED_MS_MAX);

/** The driver should read one chunk of this node's table for the merge (opening the dump where none is open). */
export const wantsChunk = (state: ReceiverState): boolean => state.giving !== null && wantsGift(state.giving);

/** When to feed `turn`; null where nothing is due. */
export const deadline = (state: ReceiverState): Millis | null =>
  state.phase === "off" ? null : state.retryAt;

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(
  state: ReceiverState,
  now: Millis,
  input: ReceiverInput,
  effects: ReceiverEffect[],
): void {
  switch (input.kind) {
    case "role":
      if (state.standby === input.standby) return;
      state.standby = input.standby;
      reconsider(state, now, effects);
      return;
    case "own":
      state.own = true;
      state.levelUntil = null;
      return;
    case "peer":
      if (state.peer?.role === input.role && state.peer.term === input.term) return;
      state.levelUntil = isSynchronised(state) && input.role !== "active" ? now : null;
      state.peer = { role: input.role, term: input.term };
      reconsider(state, now, effects);
      return;
    case "disconnected":
      state.peer = null;
      state.levelUntil = null;
      stop(state);
      return;
    case "carried":
      for (const generation of input.generations)
        if (generation === 0) state.own = true;
        else state.carried[generation] = true;
      return;
    case "snapshot-begin":
      onSnapshotBegin(state, input.position, input.generation, effects);
      return;
    case "sessions":
      onSessions(state, input.first, input.count, input.bytes, effects);
      return;
    case "applied":
      onApplied(state, now, input.count, input.refused, effects);
      return;
    case "snapshot-end":
      onSnapshotEnd(state, input.position, input.generation, effects);
      return;
    case "swept":
      onSwept(state, effects);
      return;
    case "sweep-failed":
      onSweepFailed(state, now);
      return;
    case "merge-request":
      onMergeRequest(state, input.subscription);
      return;
    case "merge-chunk":
      onMergeChunk(state, now, input.bytes, input.count, input.more, effects);
      return;
    case "merge-acknowledge":
      onMergeAcknowledge(state, now, input.generation, input.sequence, effects);
      return;
    case "turn":
      if (state.retryAt === null || now < state.retryAt || state.phase === "off") return;
      subscribe(state, now, effects);
      return;
    default:
      unreachable(input);
  }
}

/** Subscribes where we are to follow, stops where we are not. */
function reconsider(state: ReceiverState, now: Millis, effects: ReceiverEffect[]): void {
  if (!state.standby || state.peer?.role !== "active") {
    stop(state);
    return;
  }
  subscribe(state, now, effects);
}

function stop(state: ReceiverState): void {
  state.phase = "off";
  state.giving = null;
}

function subscribe(state: ReceiverState, now: Millis, effects: ReceiverEffect[]): void {
  const generation = (state.subscription.generation % GENERATIONS.length) + 1;
  state.subscription = { term: state.peer!.term, generation };
  state.phase = "waiting";
  state.giving = null;
  // Answered in a round trip, or asked again: nothing may wait for ever on one lost race.
  state.retryAt = millis(now + SUBSCRIBE_RETRY_MS);
  state.counters.subscribed += 1;
  effects.push({ kind: "subscribe", subscription: state.subscription, own: state.own });
}

function onMergeRequest(state: ReceiverState, subscription: Subscription): void {
  if (state.phase !== "waiting" || !sameSubscription(subscription, state.subscription)) {
    ignore(state);
    return;
  }
  state.phase = "giving";
  state.retryAt = null;
  state.giving = beginGiving(subscription);
  state.counters.mergesBegun += 1;
}

function onMergeChunk(
  state: ReceiverState,
  now: Millis,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: ReceiverEffect[],
): void {
  if (state.giving === null) return;
  give(state.giving, bytes, count, more, effects);
  state.counters.given += count;
  onGiven(state, now);
}

function onMergeAcknowledge(
  state: ReceiverState,
  now: Millis,
  generation: number,
  sequence: number,
  effects: ReceiverEffect[],
): void {
  if (state.giving === null || generation !== state.subscription.generation) {
    ignore(state);
    return;
  }
  const wrong = gaveUpTo(state.giving, sequence);
  if (wrong !== null) fail(state, wrong, effects);
  else onGiven(state, now);
}

/** Once all is given, the snapshot follows within a round trip, or is asked for again. */
function onGiven(state: ReceiverState, now: Millis): void {
  if (state.giving === null || !isGiven(state.giving)) return;
  state.giving = null;
  state.phase = "waiting";
  state.retryAt = millis(now + SUBSCRIBE_RETRY_MS);
  state.counters.mergesDone += 1;
}

function onSnapshotBegin(
  state: ReceiverState,
  position: Position,
  generation: number,
  effects: ReceiverEffect[],
): void {
  if (state.phase === "off") {
    ignore(state);
    return;
  }
  const ours = position.term === state.subscription.term && generation === state.subscription.generation;
  if (!ours) {
    // An answer to a subscription that we have replaced since; of the one in force nothing else can come.
    if (state.phase === "waiting" || state.phase === "giving") {
      ignore(state);
      return;
    }
    fail(state, "snapshot-of-another-subscription", effects);
    return;
  }
  if (state.phase === "giving") {
    // It would sweep what it has asked for and not taken yet (M2).
    fail(state, "snapshot-before-merge-end", effects);
    return;
  }
  state.phase = "snapshot";
  // Taken over, or judged to be nothing that is missing there: from here on the active's word alone counts.
  state.own = false;
  state.applied = position;
  state.refused = 0;
  state.retryAt = null;
  state.counters.snapshotsBegun += 1;
  state.generation = freeGeneration(state, effects);
}

/** A generation that no entry carries (R4); the oldest unfinished one is emptied where all three are in use. */
function freeGeneration(state: ReceiverState, effects: ReceiverEffect[]): number {
  const free = GENERATIONS.find((generation) => !state.carried[generation]);
  if (free !== undefined) return free;
  // The one written last holds the most of what is still true, the complete one the rest of it.
  const victim = GENERATIONS.find((each) => each !== state.complete && each !== state.generation) ?? 1;
  state.carried[victim] = false;
  state.counters.purged += 1;
  effects.push({ kind: "purge", generation: victim });
  return victim;
}

function onSessions(
  state: ReceiverState,
  first: Position,
  count: number,
  bytes: Uint8Array,
  effects: ReceiverEffect[],
): void {
  if (!isFollowing(state)) {
    ignore(state);
    return;
  }
  if (first.term !== state.applied.term) {
    fail(state, "sessions-of-another-term", effects);
    return;
  }
  if (first.sequence !== state.applied.sequence + 1) {
    fail(state, "position-gap", effects);
    return;
  }
  state.carried[state.generation] = true;
  effects.push({ kind: "apply", bytes, count, generation: state.generation });
}

function onApplied(
  state: ReceiverState,
  now: Millis,
  count: number,
  refused: number,
  effects: ReceiverEffect[],
): void {
  state.counters.applied += count;
  state.counters.refusedRecords += refused;
  if (!isFollowing(state)) return;
  state.applied = { term: state.applied.term, sequence: state.applied.sequence + count };
  if (refused > 0) {
    state.refused += refused;
    planSnapshot(state, now);
  }
  effects.push({ kind: "acknowledge", position: state.applied });
}

/**
 * What was refused is not in the log any more: only a new snapshot brings it. Later each time, so that a table that
 * is too small is not filled in vain all day.
 */
function planSnapshot(state: ReceiverState, now: Millis): void {
  if (state.retryAt !== null) return;
  state.retryAt = millis(now + state.retryMs);
  state.retryMs = Math.min(state.retryMs * 2, REFUSED_RETRY_MS_MAX);
}

function onSnapshotEnd(
  state: ReceiverState,
  position: Position,
  generation: number,
  effects: ReceiverEffect[],
): void {
  if (!isFollowing(state)) {
    ignore(state);
    return;
  }
  const { term, sequence } = state.applied;
  if (state.phase !== "snapshot" || generation !== state.subscription.generation) {
    fail(state, "snapshot-end-unasked", effects);
    return;
  }
  if (position.term !== term || position.sequence !== sequence + 1) {
    fail(state, "position-gap", effects);
    return;
  }
  effects.push({ kind: "sweep", generation: state.generation });
}

function onSwept(state: ReceiverState, effects: ReceiverEffect[]): void {
  if (state.phase !== "snapshot") return;
  for (const each of GENERATIONS) state.carried[each] = each === state.generation && state.carried[each]!;
  state.complete = state.generation;
  state.phase = "streaming";
  state.counters.snapshotsDone += 1;
  if (state.refused === 0) state.retryMs = REFUSED_RETRY_MS_MIN;
  // snapshot-end has a number of its own (sender S1).
  state.applied = { term: state.applied.term, sequence: state.applied.sequence + 1 };
  effects.push({ kind: "acknowledge", position: state.applied });
}

/** The snapshot is not complete and its end is not acknowledged: what follows of it is left, and another asked for. */
function onSweepFailed(state: ReceiverState, now: Millis): void {
  if (state.phase !== "snapshot") return;
  state.phase = "waiting";
  planSnapshot(state, now);
}

function ignore(state: ReceiverState): void {
  state.counters.ignored += 1;
}

function fail(state: ReceiverState, reason: string, effects: ReceiverEffect[]): void {
  stop(state);
  effects.push({ kind: "fail", reason });
}

/** One line for people. */
export function describe(state: ReceiverState): string {
  if (!state.standby) return "receiver: not standby";
  if (state.peer === null) return "receiver: no peer";
  if (state.giving !== null) return `receiver: giving its own sessions first, ${state.giving.sequence} sent`;
  const at = `applied ${state.applied.term}/${state.applied.sequence}`;
  const refused = state.refused === 0 ? "" : `, ${state.refused} refused`;
  return `receiver: ${state.phase}, ${at}, generation ${state.generation}${refused}`;
}
