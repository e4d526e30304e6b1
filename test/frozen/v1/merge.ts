// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// The merge (docs/protocol.md §5.4): before a new active sends its snapshot to a former one, it takes what that one
// holds and itself lacks. Both sides' part of the machines: the giver's belongs to the receiver of the log, the
// taker's to its sender; they are kept here because each is only understood beside the other. Pure.
//
// Invariants
// M1  Only a standby gives, only an active takes, and only for the subscription in force: a role change or another
//     subscription voids the merge, which is begun again from its first record.
// M2  A snapshot is opened only when the merge that precedes it has ended and every record of it was judged. The
//     giver's sessions are swept by nothing else, so a merge that is cut off has lost nothing.
// M3  Nothing that the taker holds is changed: what is absent is added, everything else is counted.
// M4  What ended by its own protocol's word on the taker, and of which the giver cannot have heard, does not come
//     back (EndedKeys).
// M5  Unacknowledged bytes stay below MERGE_WINDOW_BYTES and one chunk.

import { dropChanged, type EndedKeys } from "./changedKeys.ts";
import type { Position } from "./control.ts";
import { Flight } from "./flight.ts";
import { MERGE_WINDOW_BYTES } from "./limits.ts";

/** The standby's subscription to the log; a merge belongs to one. */
export interface Subscription {
  readonly term: number;
  /** The standby's number for this subscription, 1..3; comes back in every answer to it. */
  readonly generation: number;
}

/** A merge under way, on the side that gives. A new object for each. */
export interface Giving {
  readonly subscription: Subscription;
  /** Number of the last record sent; they begin with 1. */
  sequence: number;
  acknowledged: number;
  /** Everything was sent. */
  ended: boolean;
  readonly flight: Flight;
  readonly windowBytes: number;
}

/** A merge under way, on the side that takes. A new object for each. */
export interface Taking {
  readonly subscription: Subscription;
  /** Number of the last record that was judged. */
  sequence: number;
}

export type GivingEffect =
  /** Views of the chunk's bytes: to be copied into a message before the next step. */
  | {
      readonly kind: "merge-sessions";
      readonly first: Position;
      readonly count: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "merge-end"; readonly subscription: Subscription; readonly count: number };

export type TakingEffect =
  | { readonly kind: "merge-request"; readonly subscription: Subscription }
  /** Add what is absent (M3), now. */
  | { readonly kind: "insert"; readonly bytes: Uint8Array; readonly count: number }
  | { readonly kind: "merge-acknowledge"; readonly generation: number; readonly sequence: number };

/** Where effects go: the list of the machine that this is a part of. */
interface Sink<Effect> {
  push(effect: Effect): unknown;
}

export const sameSubscription = (left: Subscription, right: Subscription): boolean =>
  left.term === right.term && left.generation === right.generation;

export function beginGiving(subscription: Subscription, windowBytes = MERGE_WINDOW_BYTES): Giving {
  return { subscription, sequence: 0, acknowledged: 0, ended: false, flight: new Flight(), windowBytes };
}

/** The driver should read one more chunk of this node's table. */
export const wantsGift = (giving: Giving): boolean =>
  !giving.ended && giving.flight.bytes < giving.windowBytes;

/** Everything was sent, and judged by the other side. */
export const isGiven = (giving: Giving): boolean => giving.ended && giving.acknowledged === giving.sequence;

/** Sends a chunk of this node's table; the last one where there is no `more`. */
export function give(
  giving: Giving,
  bytes: Uint8Array,
  count: number,
  more: boolean,
  effects: Sink<GivingEffect>,
): void {
  const { subscription } = giving;
  if (count > 0) {
    const first = { term: subscription.term, sequence: giving.sequence + 1 };
    giving.sequence += count;
    giving.flight.push(giving.sequence, bytes.length);
    effects.push({ kind: "merge-sessions", first, count, bytes });
  }
  if (more) return;
  giving.ended = true;
  effects.push({ kind: "merge-end", subscription, count: giving.sequence });
}

/** Returns what is wrong with the acknowledgement, null where nothing is. */
export function gaveUpTo(giving: Giving, sequence: number): string | null {
  if (sequence > giving.sequence) return "merge-acknowledge-beyond-sent";
  giving.acknowledged = Math.max(giving.acknowledged, sequence);
  giving.flight.acknowledge(sequence);
  return null;
}

/**
 * Judges `count` records, which follow those before without a gap; `bytes` is changed in place. Returns how many
 * are not to come back (M4), or null where their numbers are wrong.
 */
export function take(
  taking: Taking,
  ended: EndedKeys,
  first: Position,
  count: number,
  bytes: Uint8Array,
  effects: Sink<TakingEffect>,
): number | null {
  const { term, generation } = taking.subscription;
  if (first.term !== term || first.sequence !== taking.sequence + 1) return null;
  taking.sequence += count;
  const kept = dropChanged(ended, bytes, count);
  if (kept.count > 0)
    effects.push({ kind: "insert", bytes: bytes.subarray(0, kept.length), count: kept.count });
  // Performed in order: what is acknowledged has been judged.
  effects.push({ kind: "merge-acknowledge", generation, sequence: taking.sequence });
  return count - kept.count;
}
