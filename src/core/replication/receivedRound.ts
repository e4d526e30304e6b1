// A round over some buckets, on the standby's side (docs/protocol.md §5.5): what is heard of while it lasts, so that at
// its end everything else in its buckets can go. A part of receiver.ts, and pure as it is.
//
// Invariants
// H1  Whatever the log says of a session while a round lasts, a change or a record of the round, is heard: the session is the
//     active's, or its end is on its way. That goes on until the table has been walked, so that a session that begins
//     meanwhile stays.
// H2  Only what lies in the round's buckets is removed, and only what was not heard of by the moment of its removal.
// H3  What was heard is remembered in full, or the round removes nothing.

import type { Position } from "../../wire/control.ts";
import { bucketOf, hasBucket } from "./buckets.ts";
import { ChangedKeys, type Kept, keepRecords, visitKeys } from "./changedKeys.ts";

export interface ReceivedRound {
  readonly buckets: Uint8Array;
  readonly heard: ChangedKeys;
  /** More was heard of than is remembered. */
  overflowed: boolean;
  /** Where the round ended in the log; null while it lasts. Then the table is walked. */
  end: Position | null;
}

/** `keysMax` is for tests. */
export const beginRound = (seed: number, buckets: Uint8Array, keysMax?: number): ReceivedRound => ({
  buckets,
  heard: new ChangedKeys(keysMax, seed),
  overflowed: false,
  end: null,
});

/** Remembers the sessions of `bytes` that lie in the round. */
export function hear(round: ReceivedRound, bytes: Uint8Array): void {
  visitKeys(bytes, round.heard.seed, (high, low) => {
    if (hasBucket(round.buckets, bucketOf(high)) && !round.heard.add(high, low)) round.overflowed = true;
  });
}

/** Moves the records of `bytes` whose sessions have to go to its front. */
export const sweepChunk = (round: ReceivedRound, bytes: Uint8Array): Kept =>
  keepRecords(
    bytes,
    round.heard.seed,
    (high, low) => hasBucket(round.buckets, bucketOf(high)) && !round.heard.has(high, low),
  );
