// The active's side of the log (docs: replication §1): turns what the kernel reports into numbered records for
// the one standby that subscribed, and interleaves what is read from the table with them (rounds.ts, refresh.ts). A
// machine: `step(state, now, input, effects)`; the driver owns the sockets, reads one dump chunk where `wantsChunk` or
// `wantsRefresh` says so, and performs effects in order. It may not read a clock, wait, or look into a record beyond its
// key and its time. Pure.
//
// Invariants (those of rounds are D1-D5, of refreshes F1-F4)
// S1  Sequence numbers grow by one a record, without a gap, from snapshot-begin to the next snapshot-begin.
//     snapshot-end takes one number: acknowledged, it means that the standby has swept.
// S2  A round's record is sent only if no change of its key was sent since the round began: a chunk is older than
//     the moment of its sending. What changed and was not sent yet follows it in the log. (The driver reads a chunk
//     first and drains the events before it sends it: fewer records are then said twice.)
// S3  Whatever is lost (overrun, log full, set full) marks the buckets that it may be in, and a round reads those again.
//     Nothing starts from the beginning: not the log, not a round.
// S4  Unacknowledged changes stay below LOG_BYTES_MAX; what is read stays below SNAPSHOT_WINDOW_BYTES and one chunk.
//     Beyond the first, changes are not sent, take no numbers, and mark their buckets.
// S5  Nothing is sent while nobody subscribed. Positions advance all the same: a standby that is not there
//     falls behind, and its distance is the truth.
// S6  Whoever held sessions of its own gives them first (merge.ts, M2), unless this node was its synchronised standby
//     a moment ago.

import { unreachable } from "../../base/assert.ts";
import { RELIEVED_MS_MAX } from "../../base/limits.ts";
import type { Millis } from "../../base/units.ts";
import type { Position } from "../../wire/control.ts";
import { bucketOf } from "./buckets.ts";
import { visitKeys } from "./changedKeys.ts";
import { type Subscription, sameSubscription, take } from "./merge.ts";
import {
  beginRefresh,
  mayRefresh,
  onRefreshChunk,
  onRefreshFailed,
  refreshDue,
  rememberForRefresh,
} from "./refresh.ts";
import {
  beginWhereDue,
  declareDirty,
  isMute,
  isRoundDue,
  markAll,
  onChunk,
  onDumpFailed,
  onReached,
  onSwept,
  rememberChange,
} from "./rounds.ts";
import { type SenderEffect, type SenderInput, type SenderState, sendRecords } from "./senderState.ts";

/** The log is full until no more than this part of it is unacknowledged. */
const RELIEF_SHARE = 1 / 4;

/** Last position produced; null where this node is not active. */
export function produced(state: SenderState): Position | null {
  return state.term === null ? null : { term: state.term, sequence: state.sequence };
}

/** The whole of the table has reached the standby's kernel, and every change but those in flight (D5). */
export const isSynchronised = (state: SenderState): boolean =>
  state.begun && state.round === null && state.dirty.size === 0;

/** The driver should read one chunk of the round's dump (opening it where none is open) before it drains the events. */
export function wantsChunk(state: SenderState, now: Millis): boolean {
  const { round } = state;
  if (round === null || round.end !== null || now < round.notBefore) return false;
  return state.readInFlight.bytes < state.limits.snapshotWindowBytes;
}

/** As `wantsChunk`, for the refresh. Never both. */
export function wantsRefresh(state: SenderState, now: Millis): boolean {
  return state.refresh !== null && mayRefresh(state) && refreshDue(state)! <= now;
}

/**
 * When something becomes due without another input; null where nothing does. It may have passed: then a `turn` does it, or, within
 * a round, an acknowledgement is waited for.
 */
export function deadline(state: SenderState): Millis | null {
  const { round } = state;
  if (round !== null) return round.end === null ? round.notBefore : null;
  if (isRoundDue(state)) return state.notBefore;
  return mayRefresh(state) ? refreshDue(state) : null;
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: SenderState, now: Millis, input: SenderInput, effects: SenderEffect[]): void {
  handle(state, now, input, effects);
  beginWhereDue(state, now, effects);
  beginRefresh(state, now);
}

function handle(state: SenderState, now: Millis, input: SenderInput, effects: SenderEffect[]): void {
  switch (input.kind) {
    case "active":
      onActive(state, now, input.term, input.relieved);
      return;
    case "inactive":
      forget(state);
      state.term = null;
      return;
    case "subscribe":
      onSubscribe(state, now, input, effects);
      return;
    case "unsubscribe":
      forget(state);
      return;
    case "events":
      onEvents(state, now, input.bytes, input.count, effects);
      return;
    case "overrun":
      state.counters.overruns += 1;
      state.losing = true;
      if (!isMute(state)) markAll(state, now, "dirtyOverrun", effects);
      return;
    case "drained":
      state.losing = false;
      return;
    case "dirty":
      onDirty(state, now, input.buckets, effects);
      return;
    case "chunk":
      if (input.round !== state.round?.number || state.round.end !== null) return;
      onChunk(state, now, input.bytes, input.count, input.more, effects);
      return;
    case "dump-failed":
      onDumpFailed(state, now);
      return;
    case "round-swept":
      onSwept(state, now, input.position, input.generation);
      return;
    case "refresh-chunk":
      if (input.refresh !== state.refresh?.number) return;
      onRefreshChunk(state, now, input.bytes, input.count, input.more, effects);
      return;
    case "refresh-failed":
      onRefreshFailed(state, now);
      return;
    case "merge-sessions":
      onMergeSessions(state, input.first, input.count, input.bytes, effects);
      return;
    case "merge-end":
      onMergeEnd(state, input.subscription, input.count, effects);
      return;
    case "acknowledge":
      onAcknowledge(state, now, input.position, effects);
      return;
    case "turn":
      return;
    default:
      unreachable(input);
  }
}

function onActive(state: SenderState, now: Millis, term: number, relieved: boolean): void {
  if (state.term === term) return;
  forget(state);
  // A winner that raises its term goes on being active: what ended under the old one has ended.
  if (state.term === null) {
    state.relievedAt = relieved ? now : null;
    state.ended.clear();
  }
  state.term = term;
  state.sequence = 0;
  state.acknowledged = 0;
}

/** Nobody follows. What the kernel does (`losing`) goes on. */
function forget(state: SenderState): void {
  state.subscription = null;
  state.taking = null;
  state.begun = false;
  state.dueTold = false;
  state.full = false;
  state.round = null;
  state.refresh = null;
  state.refreshSpares = true;
  state.refreshAt = null;
  state.ended.holdOn();
  state.changesInFlight.clear();
  state.readInFlight.clear();
  state.changed.clear();
  state.dirty.clear();
}

function onSubscribe(
  state: SenderState,
  now: Millis,
  input: Extract<SenderInput, { kind: "subscribe" }>,
  effects: SenderEffect[],
): void {
  const { subscription } = input;
  if (state.term === null || subscription.term !== state.term) {
    // Its word about our term is old, and the new one is on its way: said again, because what crossed on the
    // wire must not leave a standby waiting.
    state.counters.subscribeRefused += 1;
    effects.push({ kind: "tell-role" });
    return;
  }
  // What was sent to an earlier subscription is ignored by the standby, and never acknowledged.
  forget(state);
  state.subscription = subscription;
  state.knowsRounds = input.knowsRounds;
  state.acknowledged = 0;
  state.dirty.fill();
  state.notBefore = now;
  const relieved = state.relievedAt !== null && now - state.relievedAt <= RELIEVED_MS_MAX;
  if (!input.own || relieved) return;
  state.taking = { subscription, sequence: 0 };
  state.counters.mergesBegun += 1;
  effects.push({ kind: "merge-request", subscription });
}

function onMergeSessions(
  state: SenderState,
  first: Position,
  count: number,
  bytes: Uint8Array,
  effects: SenderEffect[],
): void {
  // This node is active no more, or the connection was another one.
  if (state.taking === null) {
    state.counters.mergeIgnored += 1;
    return;
  }
  const ended = take(state.taking, state.ended, first, count, bytes, effects);
  if (ended === null) {
    effects.push({ kind: "fail", reason: "merge-gap" });
    return;
  }
  state.counters.mergeTaken += count;
  state.counters.mergeEnded += ended;
}

function onMergeEnd(
  state: SenderState,
  subscription: Subscription,
  count: number,
  effects: SenderEffect[],
): void {
  if (state.taking === null) {
    state.counters.mergeIgnored += 1;
    return;
  }
  if (!sameSubscription(subscription, state.taking.subscription) || count !== state.taking.sequence) {
    effects.push({ kind: "fail", reason: "merge-end-of-another-merge" });
    return;
  }
  state.taking = null;
  state.counters.mergesDone += 1;
}

function onDirty(state: SenderState, now: Millis, buckets: Uint8Array | null, effects: SenderEffect[]): void {
  if (isMute(state)) return;
  if (buckets === null) {
    markAll(state, now, "dirtyAsked", effects);
    return;
  }
  state.dirty.addAll(buckets);
  if (state.dirty.size > 0) declareDirty(state, now, "dirtyAsked", effects);
}

function onEvents(
  state: SenderState,
  now: Millis,
  bytes: Uint8Array,
  count: number,
  effects: SenderEffect[],
): void {
  if (state.term === null || count === 0) return;
  const mute = isMute(state);
  if (!mute && !state.full && state.changesInFlight.bytes + bytes.length > state.limits.logBytesMax)
    state.full = true;
  const { changed, ended, refresh, dirty, full } = state;
  let remembered = true;
  visitKeys(bytes, changed.seed, (high, low, endsByWord) => {
    if (endsByWord) ended.add(high, low);
    if (mute) return;
    if (refresh !== null) rememberForRefresh(refresh, high, low);
    if (full) dirty.add(bucketOf(high));
    else if (!rememberChange(state, high, low)) remembered = false;
  });
  if (mute) {
    state.sequence += count;
    state.counters.unsent += count;
    return;
  }
  if (full) {
    state.counters.unsentLogFull += count;
    declareDirty(state, now, "dirtyLogFull", effects);
    relieve(state);
    return;
  }
  sendRecords(state, false, bytes, count, effects);
  if (!remembered) declareDirty(state, now, "dirtyKeysFull", effects);
}

/** Below the mark the log is open again. */
function relieve(state: SenderState): void {
  if (state.changesInFlight.bytes <= state.limits.logBytesMax * RELIEF_SHARE) state.full = false;
}

function onAcknowledge(state: SenderState, now: Millis, position: Position, effects: SenderEffect[]): void {
  // An earlier term's acknowledgement crossed our change of term: it says nothing about this log.
  if (state.subscription === null || position.term !== state.term) return;
  if (position.sequence > state.sequence) {
    effects.push({ kind: "fail", reason: "acknowledge-beyond-produced" });
    return;
  }
  if (position.sequence <= state.acknowledged) return;
  state.acknowledged = position.sequence;
  state.changesInFlight.acknowledge(position.sequence);
  state.readInFlight.acknowledge(position.sequence);
  relieve(state);
  onReached(state, now);
  state.ended.acknowledged(position.sequence, state.sequence);
}

/** One line for people: role, positions, what is under way. */
export function describe(state: SenderState): string {
  if (state.term === null) return "sender: not active";
  const at = `term ${state.term} produced ${state.sequence} acknowledged ${state.acknowledged}`;
  if (state.subscription === null) return `sender: ${at}, nobody subscribed`;
  if (state.taking !== null) return `sender: ${at}, merging, ${state.taking.sequence} taken`;
  const bytes = state.changesInFlight.bytes + state.readInFlight.bytes;
  const dirty = state.dirty.size === 0 ? "" : `, ${state.dirty.size} buckets to be read again`;
  const full = state.full ? ", waiting for the standby" : "";
  return `sender: ${at}, ${phaseOf(state)}${dirty}${full}, ${bytes} bytes in flight`;
}

function phaseOf({ round, changed, refresh }: SenderState): string {
  if (round === null)
    return refresh === null ? "streaming" : `streaming, refreshing (${refresh.chunks} steps)`;
  const what = round.buckets === null ? "snapshot" : "round";
  return round.end === null
    ? `${what} of ${round.records}, ${changed.size} keys changed`
    : `${what} of ${round.records} sent`;
}
