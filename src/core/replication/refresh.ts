// Refresh rounds, on the active's side (docs/protocol.md §5.5): traffic extends the time of a session without an event, so the
// whole table is read again and again, slowly, and what the standby holds is given the time that is left on the active.
// Nothing is swept, and readiness has nothing to do with it. A part of sender.ts, and pure as it is.
//
// Invariants (R is the time of a refresh round)
// F1  Every session is sent at least once in any 3 R: one whose time ends within REFRESH_LONG_ROUNDS R in every pass, any
//     other (a TCP connection with days to go) in every second one, half of them by a bit of their keys' hash in each. A
//     pass begins every R and is spread over less than R, so two passes that follow one another meet a session less than
//     2 R apart, and every second pass less than 3 R.
//     A standby gives an entry what was left on the active and 3 R: what lives on the active does not expire there. Where
//     a pass missed something (F2, a dump that the kernel ended) the next one leaves nothing out.
// F2  A record is sent only if its session did not change since the chunk before it was read: the kernel fills a chunk when
//     the one before it is read. Where that is not known (more changed than is remembered), the chunk is dropped. So a
//     session that has ended does not come back.
// F3  A refresh yields: no chunk is read while a round is under way or due, the log is full, or the standby has not
//     acknowledged the chunk before.
// F4  A loss drops the pass, and so does a round over everything, which is a refresh itself.

import { REFRESH_LONG_ROUNDS, REFRESH_SPREAD, REFRESH_STEP_MS } from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import { ChangedKeys, type Kept, keepToRefresh } from "./changedKeys.ts";
import {
  type Refresh,
  type RefreshKeys,
  type SenderEffect,
  type SenderState,
  sendRecords,
} from "./senderState.ts";

/** When the next pass begins, as a part of R: after a round over everything, and after a pass that failed. */
const PAUSE_SHARE = 1 / 4;
const RETRY_SHARE = 1 / 16;

/** Everything was just sent: the next pass begins a while from now. */
export function planRefresh(state: SenderState, now: Millis): void {
  state.refreshAt = millis(now + state.limits.refreshRoundMs * PAUSE_SHARE);
}

/** Ends the pass; the next one is planned where the cause of it has an end. */
export function dropRefresh(state: SenderState): void {
  if (state.refresh !== null) state.counters.refreshesDropped += 1;
  state.refresh = null;
  state.refreshAt = null;
}

/** A change of this key was told by the kernel, whether or not it is sent. */
export function rememberForRefresh(refresh: Refresh, high: number, low: number): void {
  const { current } = refresh;
  if (!current.overflowed && !current.keys.add(high, low)) current.overflowed = true;
}

/** When the next chunk is due (may have passed); null where there is none to come. */
export function refreshDue(state: SenderState): Millis | null {
  const { refresh, limits } = state;
  if (state.subscription === null || state.refreshAt === null) return null;
  if (refresh === null) return state.refreshAt;
  const share = Math.min(1, refresh.chunks / state.chunksPerDump);
  const planned = refresh.startedAt + share * limits.refreshRoundMs * REFRESH_SPREAD;
  return millis(Math.max(planned, refresh.lastAt + REFRESH_STEP_MS));
}

/** Nothing that matters more is to be done. */
export const mayRefresh = (state: SenderState): boolean =>
  state.begun &&
  state.taking === null &&
  state.round === null &&
  state.dirty.size === 0 &&
  !state.losing &&
  !state.full &&
  state.readInFlight.bytes === 0;

/** Begins the pass where its time has come; the driver reads a chunk of it next. */
export function beginRefresh(state: SenderState, now: Millis): void {
  if (state.refresh !== null || state.refreshAt === null || now < state.refreshAt || !mayRefresh(state))
    return;
  state.refreshesBegun += 1;
  state.refresh = {
    number: state.refreshesBegun,
    startedAt: now,
    chunks: 0,
    lastAt: millis(now - REFRESH_STEP_MS),
    spares: state.refreshSpares,
    missed: false,
    previous: noKeys(state),
    current: noKeys(state),
  };
}

const noKeys = (state: SenderState): RefreshKeys => ({
  keys: new ChangedKeys(state.limits.refreshKeysMax, state.changed.seed),
  overflowed: false,
});

/** One step of the dump of this pass. */
export function onRefreshChunk(
  state: SenderState,
  now: Millis,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: SenderEffect[],
): void {
  const refresh = state.refresh!;
  refresh.chunks += 1;
  refresh.lastAt = now;
  if (refresh.previous.overflowed || refresh.current.overflowed) {
    state.counters.refreshDoubted += count;
    refresh.missed = true;
  } else {
    const kept = keepForRefresh(state, refresh, bytes);
    state.counters.refreshed += kept.count;
    if (kept.count > 0) sendRecords(state, true, bytes.subarray(0, kept.length), kept.count, effects);
  }
  const { previous } = refresh;
  previous.keys.clear();
  previous.overflowed = false;
  refresh.previous = refresh.current;
  refresh.current = previous;
  if (!more) endRefresh(state, now, refresh);
}

function keepForRefresh(state: SenderState, refresh: Refresh, bytes: Uint8Array): Kept {
  const { counters, limits, changed } = state;
  const [previous, current] = [refresh.previous.keys, refresh.current.keys];
  const longSeconds = (REFRESH_LONG_ROUNDS * limits.refreshRoundMs) / 1000;
  const turn = counters.refreshRounds & 1;
  return keepToRefresh(bytes, changed.seed, (high, low, seconds) => {
    if (previous.has(high, low) || current.has(high, low)) {
      counters.refreshChanged += 1;
      return false;
    }
    if (seconds < longSeconds || (low & 1) === turn || !refresh.spares) return true;
    counters.refreshSpared += 1;
    return false;
  });
}

function endRefresh(state: SenderState, now: Millis, refresh: Refresh): void {
  state.refresh = null;
  state.refreshSpares = !refresh.missed;
  state.counters.refreshRounds += 1;
  state.chunksPerDump = refresh.chunks;
  // From begin to begin, so that the slack of each pass is its own.
  state.refreshAt = millis(Math.max(now, refresh.startedAt + state.limits.refreshRoundMs));
}

/** The dump of this pass could not be read on: it is read again, from its beginning. */
export function onRefreshFailed(state: SenderState, now: Millis): void {
  if (state.refresh === null) return;
  dropRefresh(state);
  state.refreshSpares = false;
  state.refreshAt = millis(now + state.limits.refreshRoundMs * RETRY_SHARE);
}
