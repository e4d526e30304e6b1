// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// The active's side of the log (docs: replication §1): turns what the kernel reports into numbered records for
// the one standby that subscribed, and interleaves a snapshot of the table with them. A machine: `step(state,
// now, input, effects)`; the driver owns the sockets, reads one dump chunk where `wantsChunk` says so, and
// performs effects in order. It may not read a clock, wait, or look into a record beyond its key. Pure.
//
// Invariants
// S1  Sequence numbers grow by one a record, without a gap, from snapshot-begin to the next snapshot-begin.
//     snapshot-end takes one number: acknowledged, it means that the standby has swept.
// S2  A snapshot record is sent only if no change of its key was sent since the snapshot began: a chunk is older than
//     the moment of its sending. What changed and was not sent yet follows it in the log. (The driver reads a chunk
//     first and drains the events before it sends it: fewer records are then said twice.)
// S3  Whatever is lost (overrun, log full, set full, dump failed) begins a snapshot anew, and the standby hears so
//     in the log's own order, behind everything that it may still believe.
// S4  Unacknowledged bytes stay below LOG_BYTES_MAX and one chunk; no chunk is read above SNAPSHOT_WINDOW_BYTES.
// S5  Nothing is sent while nobody subscribed. Positions advance all the same: a standby that is not there
//     falls behind, and its distance is the truth.
// S6  Whoever held sessions of its own gives them first (merge.ts, M2), unless this node was its synchronised standby
//     a moment ago.

import { assert, unreachable } from "./assert.ts";
import { ChangedKeys, dropChanged, EndedKeys, markChanged } from "./changedKeys.ts";
import type { Position } from "./control.ts";
import { Flight } from "./flight.ts";
import { LOG_BYTES_MAX, RELIEVED_MS_MAX, SNAPSHOT_RESTART_PACE_MS, SNAPSHOT_WINDOW_BYTES } from "./limits.ts";
import { type Subscription, sameSubscription, type Taking, type TakingEffect, take } from "./merge.ts";
import { type Millis, millis } from "./units.ts";

interface Snapshot {
  /** No chunk is read before: a storm of overruns must not become a storm of dumps. */
  readonly notBefore: Millis;
  /** Log full: nothing is sent until the standby has caught up, and then a new snapshot begins. */
  readonly suppressed: boolean;
  records: number;
}

export interface SenderState {
  /** null: this node is not active. */
  term: number | null;
  sequence: number;
  acknowledged: number;
  subscription: Subscription | null;
  /** The subscriber gives first; there is no snapshot meanwhile. */
  taking: Taking | null;
  /** When this node took over as a synchronised standby; null where it did not, or was no standby. */
  relievedAt: Millis | null;
  snapshot: Snapshot | null;
  /** Sequence number of the last snapshot-end, for `isSynchronised`. */
  snapshotEnd: number;
  /** Unacknowledged messages, oldest first: last sequence and bytes of each. */
  readonly flight: Flight;
  readonly changed: ChangedKeys;
  readonly ended: EndedKeys;
  readonly counters: SenderCounters;
  readonly limits: SenderLimits;
}

export interface SenderLimits {
  readonly logBytesMax: number;
  readonly snapshotWindowBytes: number;
  readonly restartPaceMs: number;
}

export interface SenderCounters {
  sent: number;
  sentBytes: number;
  unsent: number;
  skippedInSnapshot: number;
  snapshots: number;
  overruns: number;
  restartsOverrun: number;
  restartsLogFull: number;
  restartsKeysFull: number;
  restartsDumpFailed: number;
  subscribeRefused: number;
  mergesBegun: number;
  mergesDone: number;
  /** Records of merges, and those of them that do not come back because they ended here. */
  mergeTaken: number;
  mergeEnded: number;
  mergeIgnored: number;
}

export type SenderInput =
  /** `relieved`: until now this node was a synchronised standby. */
  | { readonly kind: "active"; readonly term: number; readonly relieved: boolean }
  | { readonly kind: "inactive" }
  /** `own`: the subscriber was active since its last snapshot. */
  | { readonly kind: "subscribe"; readonly subscription: Subscription; readonly own: boolean }
  | { readonly kind: "unsubscribe" }
  /** Records of the kernel's events, in their order. The bytes are the sender's until `step` returns. */
  | { readonly kind: "events"; readonly bytes: Uint8Array; readonly count: number }
  /** The kernel dropped events (ENOBUFS): nobody knows which. */
  | { readonly kind: "overrun" }
  /** One step of the dump, read before the events of this turn were drained. Changed in place. */
  | {
      readonly kind: "chunk";
      /** `snapshotNumber` at the moment of reading: a chunk of a snapshot that began anew since is dropped. */
      readonly snapshot: number;
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly more: boolean;
    }
  | { readonly kind: "dump-failed" }
  /** Records of the merge, after the events of this moment were drained. Changed in place. */
  | {
      readonly kind: "merge-sessions";
      readonly first: Position;
      readonly count: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "merge-end"; readonly subscription: Subscription; readonly count: number }
  | { readonly kind: "acknowledge"; readonly position: Position };

export type SenderEffect =
  | TakingEffect
  | { readonly kind: "snapshot-begin"; readonly position: Position; readonly generation: number }
  /** Views of the input's bytes: to be copied into a message before the next step. */
  | {
      readonly kind: "sessions";
      readonly snapshot: boolean;
      readonly first: Position;
      readonly count: number;
      readonly bytes: Uint8Array;
    }
  | {
      readonly kind: "snapshot-end";
      readonly position: Position;
      readonly generation: number;
      readonly count: number;
    }
  /** The subscriber knows another term, or this node is not active: tell it what we are. */
  | { readonly kind: "tell-role" }
  /** The peer broke the protocol: end the connection with this reason. */
  | { readonly kind: "fail"; readonly reason: string };

export function createSender(
  limits: Partial<SenderLimits> = {},
  changed = new ChangedKeys(),
  ended = new EndedKeys(changed.seed),
): SenderState {
  return {
    term: null,
    sequence: 0,
    acknowledged: 0,
    subscription: null,
    taking: null,
    relievedAt: null,
    snapshot: null,
    snapshotEnd: 0,
    flight: new Flight(),
    changed,
    ended,
    counters: {
      sent: 0,
      sentBytes: 0,
      unsent: 0,
      skippedInSnapshot: 0,
      snapshots: 0,
      overruns: 0,
      restartsOverrun: 0,
      restartsLogFull: 0,
      restartsKeysFull: 0,
      restartsDumpFailed: 0,
      subscribeRefused: 0,
      mergesBegun: 0,
      mergesDone: 0,
      mergeTaken: 0,
      mergeEnded: 0,
      mergeIgnored: 0,
    },
    limits: {
      logBytesMax: limits.logBytesMax ?? LOG_BYTES_MAX,
      snapshotWindowBytes: limits.snapshotWindowBytes ?? SNAPSHOT_WINDOW_BYTES,
      restartPaceMs: limits.restartPaceMs ?? SNAPSHOT_RESTART_PACE_MS,
    },
  };
}

/** Last position produced; null where this node is not active. */
export function produced(state: SenderState): Position | null {
  return state.term === null ? null : { term: state.term, sequence: state.sequence };
}

/** The whole of the table has reached the standby's kernel, and every change but those in flight. */
export function isSynchronised(state: SenderState): boolean {
  if (state.subscription === null || state.taking !== null) return false;
  return state.snapshot === null && state.acknowledged >= state.snapshotEnd;
}

/** The driver should read one chunk of the dump (opening it where none is open) before it drains the events. */
export function wantsChunk(state: SenderState, now: Millis): boolean {
  const snapshot = state.snapshot;
  if (snapshot === null || snapshot.suppressed || now < snapshot.notBefore) return false;
  return state.flight.bytes < state.limits.snapshotWindowBytes;
}

/** Tells one snapshot from the next: a dump belongs to the number that it was opened under, and ends with it. */
export const snapshotNumber = (state: SenderState): number => state.counters.snapshots;

/** When `wantsChunk` may become true without an input (may have passed); null where only an input can change it. */
export function deadline(state: SenderState): Millis | null {
  const snapshot = state.snapshot;
  return snapshot === null || snapshot.suppressed ? null : snapshot.notBefore;
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: SenderState, now: Millis, input: SenderInput, effects: SenderEffect[]): void {
  switch (input.kind) {
    case "active":
      onActive(state, now, input.term, input.relieved);
      return;
    case "inactive":
      forget(state);
      state.term = null;
      return;
    case "subscribe":
      onSubscribe(state, now, input.subscription, input.own, effects);
      return;
    case "unsubscribe":
      forget(state);
      return;
    case "events":
      onEvents(state, now, input.bytes, input.count, effects);
      return;
    case "overrun":
      state.counters.overruns += 1;
      if (isMute(state)) return;
      state.counters.restartsOverrun += 1;
      beginSnapshot(state, paced(state, now), false, effects);
      return;
    case "chunk":
      if (input.snapshot !== snapshotNumber(state)) return;
      onChunk(state, input.bytes, input.count, input.more, effects);
      return;
    case "dump-failed":
      if (state.snapshot === null || state.snapshot.suppressed) return;
      state.counters.restartsDumpFailed += 1;
      beginSnapshot(state, paced(state, now), false, effects);
      return;
    case "merge-sessions":
      onMergeSessions(state, input.first, input.count, input.bytes, effects);
      return;
    case "merge-end":
      onMergeEnd(state, now, input.subscription, input.count, effects);
      return;
    case "acknowledge":
      onAcknowledge(state, now, input.position, effects);
      return;
    default:
      unreachable(input);
  }
}

const paced = (state: SenderState, now: Millis): Millis => millis(now + state.limits.restartPaceMs);

/** What happens is not said: nobody listens, gives first, or has to catch up first. */
const isMute = (state: SenderState): boolean =>
  state.subscription === null || state.taking !== null || state.snapshot?.suppressed === true;

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

function forget(state: SenderState): void {
  state.subscription = null;
  state.taking = null;
  state.ended.holdOn();
  state.snapshot = null;
  state.flight.clear();
  state.changed.clear();
}

function onSubscribe(
  state: SenderState,
  now: Millis,
  subscription: Subscription,
  own: boolean,
  effects: SenderEffect[],
): void {
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
  state.acknowledged = 0;
  const relieved = state.relievedAt !== null && now - state.relievedAt <= RELIEVED_MS_MAX;
  if (!own || relieved) {
    beginSnapshot(state, now, false, effects);
    return;
  }
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
  now: Millis,
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
  beginSnapshot(state, now, false, effects);
}

/** Everything said so far is no longer the whole truth: the standby hears it now, chunks follow from `notBefore`. */
function beginSnapshot(
  state: SenderState,
  notBefore: Millis,
  suppressed: boolean,
  effects: SenderEffect[],
): void {
  assert(state.subscription !== null && state.term !== null, "a snapshot is for a subscriber of an active");
  state.changed.clear();
  state.ended.holdOn();
  state.snapshot = { notBefore, suppressed, records: 0 };
  state.counters.snapshots += 1;
  effects.push({
    kind: "snapshot-begin",
    position: { term: state.term, sequence: state.sequence },
    generation: state.subscription.generation,
  });
}

function onEvents(
  state: SenderState,
  now: Millis,
  bytes: Uint8Array,
  count: number,
  effects: SenderEffect[],
): void {
  if (state.term === null || count === 0) return;
  state.ended.note(bytes);
  if (isMute(state)) {
    state.sequence += count;
    state.counters.unsent += count;
    return;
  }
  if (state.flight.bytes + bytes.length > state.limits.logBytesMax) {
    state.counters.restartsLogFull += 1;
    beginSnapshot(state, now, true, effects);
    state.sequence += count;
    state.counters.unsent += count;
    return;
  }
  // Full before the dump was done: the records go out all the same, only the snapshot has to start again.
  const remembered = state.snapshot === null || markChanged(state.changed, bytes);
  send(state, false, bytes, count, effects);
  if (!remembered) {
    state.counters.restartsKeysFull += 1;
    beginSnapshot(state, paced(state, now), false, effects);
  }
}

function onChunk(
  state: SenderState,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: SenderEffect[],
): void {
  const snapshot = state.snapshot;
  if (snapshot === null || snapshot.suppressed) return;
  const kept = dropChanged(state.changed, bytes, count);
  state.counters.skippedInSnapshot += count - kept.count;
  snapshot.records += kept.count;
  if (kept.count > 0) send(state, true, bytes.subarray(0, kept.length), kept.count, effects);
  if (more) return;
  state.sequence += 1;
  state.snapshotEnd = state.sequence;
  state.flight.push(state.sequence, 0);
  effects.push({
    kind: "snapshot-end",
    position: { term: state.term!, sequence: state.sequence },
    generation: state.subscription!.generation,
    count: snapshot.records,
  });
  state.snapshot = null;
  state.changed.clear();
  state.ended.levelAt(state.snapshotEnd);
}

function send(
  state: SenderState,
  snapshot: boolean,
  bytes: Uint8Array,
  count: number,
  effects: SenderEffect[],
): void {
  const first = { term: state.term!, sequence: state.sequence + 1 };
  state.sequence += count;
  state.flight.push(state.sequence, bytes.length);
  state.counters.sent += count;
  state.counters.sentBytes += bytes.length;
  effects.push({ kind: "sessions", snapshot, first, count, bytes });
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
  state.flight.acknowledge(position.sequence);
  state.ended.acknowledged(position.sequence, state.sequence);
  if (state.snapshot?.suppressed && state.flight.bytes * 4 <= state.limits.logBytesMax) {
    beginSnapshot(state, now, false, effects);
  }
}

/** One line for people: role, positions, what is under way. */
export function describe(state: SenderState): string {
  if (state.term === null) return "sender: not active";
  const at = `term ${state.term} produced ${state.sequence} acknowledged ${state.acknowledged}`;
  if (state.subscription === null) return `sender: ${at}, nobody subscribed`;
  if (state.taking !== null) return `sender: ${at}, merging, ${state.taking.sequence} taken`;
  if (state.snapshot === null) return `sender: ${at}, streaming, ${state.flight.bytes} bytes in flight`;
  const phase = state.snapshot.suppressed
    ? "waiting for the standby"
    : `snapshot of ${state.snapshot.records}`;
  return `sender: ${at}, ${phase}, ${state.changed.size} keys changed, ${state.flight.bytes} bytes in flight`;
}
