// Rounds, on the active's side (docs/protocol.md §5.5): what the standby may hold wrongly is a set of dirty buckets, and a
// round reads those buckets again and sends them. The first synchronisation is a round over all of them. A part of
// sender.ts, and pure as it is.
//
// Invariants
// D1  A bucket is taken off the dirty ones in one place only: where a round over it begins, before its dump is opened. What
//     is lost from then on marks it again, for the round after this one.
// D2  No round begins while the kernel drops events (`losing`): it does so, without a further word, until its socket has been
//     read empty.
// D3  A round that has begun is read to its end, whatever happens: a dump that fails is opened again, in the same round.
//     What it sends has a window of its own, so that no amount of changes keeps it from going on. So every round ends, as long
//     as the standby takes anything at all. (A peer of version 1 cannot be told of a loss within a snapshot; where there was
//     one, its snapshot begins anew after it was read to its end.)
// D4  The standby hears that it is not synchronised when the first bucket becomes dirty, in the log's own order, and not
//     only when the round begins.
// D5  The active counts as synchronised with a standby when no bucket is dirty and the standby has said that the end of the last
//     round is behind it.
// Why there is no queue of pending changes by session, in which later ones replace earlier ones: a dirty bucket is that queue,
// in one bit. However often its sessions change, each is sent once, as it is then, and what came and went is never sent.

import { assert } from "../../base/assert.ts";
import { LOG_BUCKETS } from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { Position } from "../../wire/control.ts";
import { bucketOf, hasBucket } from "./buckets.ts";
import { type Kept, keepRecords } from "./changedKeys.ts";
import { dropRefresh, planRefresh } from "./refresh.ts";
import { type Round, type SenderEffect, type SenderState, sendRecords } from "./senderState.ts";

/** Of more buckets than this share a round is over all: a sweep by generation costs the standby less than a scan. */
const PARTIAL_SHARE = 1 / 4;

/** Why buckets are marked, and the counter of it. */
export type DirtyReason = "dirtyOverrun" | "dirtyLogFull" | "dirtyKeysFull" | "dirtyAsked";

/** Sends nothing to a subscriber that has not been answered, or gives first. */
export const isMute = (state: SenderState): boolean => state.subscription === null || !state.begun;

/** The round under way still reads. */
const reading = (state: SenderState): Round | null => (state.round?.end === null ? state.round : null);

const isIn = (round: Round, high: number): boolean =>
  round.buckets === null || hasBucket(round.buckets, bucketOf(high));

/** The whole of the standby's copy is in doubt. */
export function markAll(state: SenderState, now: Millis, reason: DirtyReason, effects: SenderEffect[]): void {
  state.dirty.fill();
  // What the kernel has read ahead for a refresh is in doubt, too, and a round over everything refreshes.
  dropRefresh(state);
  declareDirty(state, now, reason, effects);
}

/** To be called behind every mark that is not followed by `markAll`: the standby hears of it (D4). */
export function declareDirty(
  state: SenderState,
  now: Millis,
  reason: DirtyReason,
  effects: SenderEffect[],
): void {
  state.counters[reason] += 1;
  if (state.dueTold || !state.begun) return;
  state.dueTold = true;
  state.notBefore = millis(Math.max(state.notBefore, now + state.limits.roundPaceMs));
  state.ended.holdOn();
  const { generation } = state.subscription!;
  if (state.knowsRounds) effects.push({ kind: "round-due", generation });
  // Version 1 knows one way to say it. Within a snapshot it believes nothing anyway.
  else if (reading(state) === null) effects.push({ kind: "snapshot-begin", position: at(state), generation });
}

const at = (state: SenderState): Position => ({ term: state.term!, sequence: state.sequence });

/** A change of this key was sent. False: it could not be remembered, and its bucket is dirty now. */
export function rememberChange(state: SenderState, high: number, low: number): boolean {
  const round = reading(state);
  if (round === null || !isIn(round, high) || state.changed.add(high, low)) return true;
  state.dirty.add(bucketOf(high));
  return false;
}

/** Begins the round that is due, where nothing stands in its way. To be called at the end of every step. */
export function beginWhereDue(state: SenderState, now: Millis, effects: SenderEffect[]): void {
  if (!isRoundDue(state) || now < state.notBefore) return;
  const whole = !state.begun || !state.knowsRounds || state.dirty.size > LOG_BUCKETS * PARTIAL_SHARE;
  state.roundsBegun += 1;
  state.round = {
    number: state.roundsBegun,
    buckets: whole ? null : state.dirty.bits.slice(),
    notBefore: now,
    records: 0,
    chunks: 0,
    end: null,
  };
  state.dirty.clear();
  state.dueTold = false;
  state.begun = true;
  state.changed.clear();
  state.ended.holdOn();
  const { generation } = state.subscription!;
  const { buckets } = state.round;
  if (buckets === null) {
    dropRefresh(state);
    state.counters.snapshots += 1;
    effects.push({ kind: "snapshot-begin", position: at(state), generation });
  } else {
    state.counters.partialRounds += 1;
    effects.push({
      kind: "round-begin",
      position: at(state),
      generation,
      seed: state.changed.seed,
      buckets,
    });
  }
}

/** A round is wanted, and only its time may still have to come. */
export const isRoundDue = (state: SenderState): boolean =>
  state.subscription !== null &&
  state.taking === null &&
  state.round === null &&
  state.dirty.size > 0 &&
  !state.losing &&
  !state.full;

/** One step of the dump: sends of it what is in the round and did not change since it began. */
export function onChunk(
  state: SenderState,
  now: Millis,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: SenderEffect[],
): void {
  const round = reading(state);
  assert(round !== null, "a chunk belongs to a round that reads");
  const kept = keepForRound(state, round, bytes);
  if (round.buckets === null) state.counters.skippedInRound += count - kept.count;
  round.records += kept.count;
  round.chunks += 1;
  if (kept.count > 0) sendRecords(state, true, bytes.subarray(0, kept.length), kept.count, effects);
  if (more) return;
  state.changed.clear();
  state.chunksPerDump = round.chunks;
  if (!state.knowsRounds && state.dirty.size > 0) {
    // D3: not ended, for its end would be believed.
    state.round = null;
    state.notBefore = millis(now + state.limits.roundPaceMs);
    state.counters.roundsInVain += 1;
    return;
  }
  endRound(state, round, effects);
}

function keepForRound(state: SenderState, round: Round, bytes: Uint8Array): Kept {
  const { changed } = state;
  return keepRecords(bytes, changed.seed, (high, low) => isIn(round, high) && !changed.has(high, low));
}

function endRound(state: SenderState, round: Round, effects: SenderEffect[]): void {
  const { generation } = state.subscription!;
  if (round.buckets === null) {
    // A number of its own: acknowledged, it means that the standby has swept.
    state.sequence += 1;
    state.readInFlight.push(state.sequence, 0);
  }
  round.end = state.sequence;
  const kind = round.buckets === null ? "snapshot-end" : "round-end";
  effects.push({ kind, position: at(state), generation, count: round.records });
}

/** The dump could not be read on: it is read again from its beginning, as a part of the same round. */
export function onDumpFailed(state: SenderState, now: Millis): void {
  const round = reading(state);
  if (round === null) return;
  state.counters.dumpsFailed += 1;
  round.notBefore = millis(now + state.limits.roundPaceMs);
}

/** The standby's acknowledgement has come as far as `sequence`: the end of a snapshot may be among it. */
export function onReached(state: SenderState, now: Millis): void {
  const { round } = state;
  if (round === null || round.end === null || round.buckets !== null) return;
  if (state.acknowledged >= round.end) finish(state, now, round.end);
}

/** The standby has swept the buckets of a round. */
export function onSwept(state: SenderState, now: Millis, position: Position, generation: number): void {
  const { round, subscription } = state;
  const ours =
    round !== null &&
    round.buckets !== null &&
    round.end === position.sequence &&
    position.term === state.term &&
    generation === subscription?.generation;
  if (!ours) {
    state.counters.sweptIgnored += 1;
    return;
  }
  finish(state, now, position.sequence);
  // No acknowledgement need follow: this word is the one.
  state.ended.acknowledged(state.acknowledged, state.sequence);
}

function finish(state: SenderState, now: Millis, end: number): void {
  const whole = state.round?.buckets === null;
  state.round = null;
  state.counters.roundsDone += 1;
  state.notBefore = millis(now + state.limits.roundPaceMs);
  if (state.dirty.size > 0) return;
  state.ended.levelAt(end);
  if (whole || state.refreshAt === null) planRefresh(state, now);
}
