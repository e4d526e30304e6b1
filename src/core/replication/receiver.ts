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
// R5  "Synchronised" holds from the sweep until the next snapshot-begin, the word that a round is due, a refused record, or
//     the loss of the connection.
//     A round over some buckets has rules of its own (receivedRound.ts, H1-H3).
// R6  What this node held when it was active is its own until a snapshot of another active begins, and is given to
//     that one first where it asks (merge.ts, M1, M2).

import { unreachable } from "../../base/assert.ts";
import {
  GIVING_SILENT_MS,
  REFUSED_RETRY_MS_MAX,
  REFUSED_RETRY_MS_MIN,
  RELIEVED_MS_MAX,
  SUBSCRIBE_RETRY_MS,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { Position } from "../../wire/control.ts";
import {
  beginGiving,
  gaveUpTo,
  give,
  isGiven,
  type Subscription,
  sameSubscription,
  wantsGift,
} from "./merge.ts";
import { beginRound, hear, sweepChunk } from "./receivedRound.ts";
import type { ReceiverEffect, ReceiverInput, ReceiverState } from "./receiverState.ts";

const GENERATIONS = [1, 2, 3] as const;

/** The whole of the active's table is in this kernel, and every change follows (R5). */
export const isSynchronised = (state: ReceiverState): boolean =>
  state.phase === "streaming" && !state.roundDue && state.round === null && state.refused === 0;

/** Records of the active are wanted: of its snapshot, or of what follows. */
export const isFollowing = (state: ReceiverState): boolean =>
  state.phase === "snapshot" || state.phase === "streaming";

/**
 * Where this node becomes active now, it relieves a peer of which it holds everything: in a handover that one's "standby"
 * may come before this node's heart has told its daemon.
 */
export const relieves = (state: ReceiverState, now: Millis): boolean =>
  isSynchronised(state) || (state.levelUntil !== null && now - state.levelUntil <= RELIEVED_MS_MAX);

/** The driver should walk this node's table for the sweep of a round, one step a turn. */
export const wantsSweep = (state: ReceiverState): boolean => state.round !== null && state.round.end !== null;

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
    case "round-due":
    case "round-begin":
    case "round-end":
    case "round-chunk":
    case "round-sweep-failed":
      onRound(state, now, input, effects);
      return;
    case "merge-request":
      onMergeRequest(state, now, input.subscription);
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
  state.round = null;
  state.roundDue = false;
}

function subscribe(state: ReceiverState, now: Millis, effects: ReceiverEffect[]): void {
  const generation = (state.subscription.generation % GENERATIONS.length) + 1;
  state.subscription = { term: state.peer!.term, generation };
  state.phase = "waiting";
  state.giving = null;
  state.round = null;
  state.roundDue = false;
  // Answered in a round trip, or asked again: nothing may wait for ever on one lost race.
  state.retryAt = millis(now + SUBSCRIBE_RETRY_MS);
  state.counters.subscribed += 1;
  effects.push({ kind: "subscribe", subscription: state.subscription, own: state.own });
}

/** A merge goes on, in either direction, or is begun anew: what nobody can see must not wait for ever. */
const givingUntil = (now: Millis): Millis => millis(now + GIVING_SILENT_MS);

function onMergeRequest(state: ReceiverState, now: Millis, subscription: Subscription): void {
  if (state.phase !== "waiting" || !sameSubscription(subscription, state.subscription)) {
    ignore(state);
    return;
  }
  state.phase = "giving";
  state.retryAt = givingUntil(now);
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
  state.retryAt = givingUntil(now);
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
  state.retryAt = givingUntil(now);
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
  state.round = null;
  state.roundDue = false;
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
  if (state.round !== null) hear(state.round, bytes);
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

/** What is said of rounds over some buckets, and done about them. */
function onRound(
  state: ReceiverState,
  now: Millis,
  input: Extract<ReceiverInput, { kind: `round-${string}` }>,
  effects: ReceiverEffect[],
): void {
  switch (input.kind) {
    case "round-due":
      if (isFollowing(state) && input.generation === state.subscription.generation) state.roundDue = true;
      else ignore(state);
      return;
    case "round-begin":
      onRoundBegin(state, input, effects);
      return;
    case "round-end":
      onRoundEnd(state, now, input.position, input.generation, effects);
      return;
    case "round-chunk":
      onRoundChunk(state, input.bytes, input.count, input.more, effects);
      return;
    case "round-sweep-failed":
      onRoundSweepFailed(state, now);
      return;
    default:
      unreachable(input);
  }
}

function onRoundBegin(
  state: ReceiverState,
  { position, generation, seed, buckets }: Extract<ReceiverInput, { kind: "round-begin" }>,
  effects: ReceiverEffect[],
): void {
  if (!isFollowing(state)) {
    ignore(state);
    return;
  }
  const wrong =
    roundFault(state, position, generation) ?? (state.round === null ? null : "round-within-round");
  if (wrong !== null) {
    fail(state, wrong, effects);
    return;
  }
  state.roundDue = false;
  state.round = beginRound(seed, buckets);
  state.counters.roundsBegun += 1;
}

/** What is wrong with a message about a round, of the active that we follow; null where nothing is. */
function roundFault(state: ReceiverState, position: Position, generation: number): string | null {
  const { term, sequence } = state.applied;
  if (generation !== state.subscription.generation) return "round-of-another-subscription";
  if (state.phase !== "streaming") return "round-within-snapshot";
  return position.term === term && position.sequence === sequence ? null : "position-gap";
}

function onRoundEnd(
  state: ReceiverState,
  now: Millis,
  position: Position,
  generation: number,
  effects: ReceiverEffect[],
): void {
  if (!isFollowing(state)) {
    ignore(state);
    return;
  }
  const { round } = state;
  const wrong = roundFault(state, position, generation) ?? (round?.end === null ? null : "round-end-unasked");
  if (wrong !== null || round === null) {
    fail(state, wrong ?? "round-end-unasked", effects);
    return;
  }
  if (round.overflowed) {
    // H3: nothing is removed on half of the knowledge.
    state.counters.roundsTooLarge += 1;
    subscribe(state, now, effects);
    return;
  }
  round.end = position;
}

function onRoundChunk(
  state: ReceiverState,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: ReceiverEffect[],
): void {
  const { round } = state;
  if (round === null || round.end === null) return;
  const position = round.end;
  const unheard = count === 0 ? { length: 0, count: 0 } : sweepChunk(round, bytes);
  if (unheard.count > 0) {
    state.counters.removed += unheard.count;
    effects.push({ kind: "remove", bytes: bytes.subarray(0, unheard.length), count: unheard.count });
  }
  if (more) return;
  state.round = null;
  state.counters.roundsDone += 1;
  effects.push({ kind: "round-swept", position, generation: state.subscription.generation });
}

/** The buckets may still hold what nobody else does: a snapshot is asked for. */
function onRoundSweepFailed(state: ReceiverState, now: Millis): void {
  if (state.round === null) return;
  state.round = null;
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
  const round = state.round !== null ? ", in a round" : state.roundDue ? ", a round is due" : "";
  return `receiver: ${state.phase}, ${at}, generation ${state.generation}${round}${refused}`;
}
