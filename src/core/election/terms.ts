// Terms on disk: reserved before they are needed, written after they are claimed. A disk that refuses or hangs is an
// alarm and "not ready", never a reason not to take over (failover §5). Pure.

import { term } from "../../base/units.ts";
import { setAlarm } from "./alarms.ts";
import { type ElectionState, nextKnownTerm, Phase, STORE_RETRY_MS, TERMS_RESERVED } from "./state.ts";
import type { ElectionEffect, ElectionInput } from "./types.ts";

/** Asks for what should be on disk and is not; at most one question a second that says the same. */
export function storeWhenDue(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.phase === Phase.Left) return;
  const next = nextKnownTerm(state);
  const satisfied = next <= state.storedReserved && state.storedCurrent === state.term;
  const overdue = state.storePending && now - state.storeAskedAt >= STORE_RETRY_MS;
  setAlarm(state, "term-not-stored", !satisfied && (state.storeFailed || overdue), effects);
  if (satisfied) return;
  const same = state.storeAskedTerm === state.term && state.storeAskedReserved >= next;
  if (same && now - state.storeAskedAt < STORE_RETRY_MS) return;
  state.storeAskedTerm = state.term;
  state.storeAskedReserved = Math.max(state.storedReserved, next + 2 * (TERMS_RESERVED - 1));
  state.storeAskedAt = now;
  state.storePending = true;
  effects.push({ kind: "store-term", current: term(state.term), reserved: term(state.storeAskedReserved) });
}

export function onTermStored(
  state: ElectionState,
  input: Extract<ElectionInput, { kind: "term-stored" }>,
): void {
  state.storeFailed = !input.ok;
  if (!input.ok) {
    state.storePending = false;
    return;
  }
  state.storedReserved = Math.max(state.storedReserved, input.reserved);
  if (input.reserved < state.storeAskedReserved) return;
  state.storePending = false;
  state.storedCurrent = state.storeAskedTerm;
}
