// The rules of the log, one by one switched off, for the tests that show that the simulator would notice. Those of the
// drivers and the kernel are switches in logNode.ts; those of the machines are here: a hand that reaches into the
// machine's state between its steps.

import type { SenderState } from "../../src/core/replication/senderState.ts";

export const MUTATIONS = [
  // A snapshot record is sent although its session has changed since the snapshot began.
  "send-changed-keys",
  // The end of a snapshot, or of a round, removes nothing.
  "no-sweep",
  "round-unswept",
  // The kernel's word that it dropped events is not listened to; or is taken for the end of the loss.
  "overrun-unheard",
  "loss-taken-for-over",
  "one-generation",
  "acknowledge-early",
  // A chunk of an earlier round is taken for one of this round.
  "stale-chunk-sent",
  "no-purge",
  "write-after-takeover",
  "sweep-after-takeover",
  "no-merge",
  "merge-forgotten",
  "merge-replaces",
  "merge-after-takeover",
  "ended-returns",
  // What was lost in a round is forgotten with its end.
  "dirty-forgotten",
  // What finds no room in the log, or in the set of changed keys, marks nothing.
  "full-unmarked",
  "keys-unmarked",
  // The standby is not told that a round is due.
  "due-untold",
  // The standby hears the round's own records only, and not the changes between them.
  "changes-unheard",
  // Times are not refreshed; those of half of the long-lived never; records of a refresh are sent although changed.
  "refresh-never",
  "refresh-half",
  "refresh-stale",
] as const;
export type Mutation = (typeof MUTATIONS)[number];

/** To be called after each step of the sender: `hadRound` before it. */
export function meddle(state: SenderState, mutation: Mutation | null, hadRound: boolean): void {
  switch (mutation) {
    case "dirty-forgotten":
      if (hadRound && state.round === null) state.dirty.clear();
      return;
    case "refresh-half":
      state.counters.refreshRounds &= ~1;
      return;
    case "refresh-stale":
      if (state.refresh !== null)
        for (const { keys } of [state.refresh.previous, state.refresh.current]) keys.has = () => false;
      return;
    default:
  }
}
