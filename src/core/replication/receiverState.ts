// What the receiver of the log (receiver.ts) knows, hears and says: state, counters, inputs and effects. Data only: nothing
// here decides. Pure.

import { REFUSED_RETRY_MS_MIN } from "../../base/limits.ts";
import type { Millis, Role } from "../../base/units.ts";
import type { Position } from "../../wire/control.ts";
import type { Giving, GivingEffect, Subscription } from "./merge.ts";
import type { ReceivedRound } from "./receivedRound.ts";

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
  /** The active has said that something is missing here, and has not begun the round that will put it right. */
  roundDue: boolean;
  /** A round over some buckets, from its begin until they are swept. */
  round: ReceivedRound | null;
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
  roundsBegun: number;
  roundsDone: number;
  /** More was heard of in a round than is remembered: a snapshot was asked for instead. */
  roundsTooLarge: number;
  /** Sessions that a round removed. */
  removed: number;
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
  | { readonly kind: "round-due"; readonly generation: number }
  | {
      readonly kind: "round-begin";
      readonly position: Position;
      readonly generation: number;
      readonly seed: number;
      readonly buckets: Uint8Array;
    }
  | { readonly kind: "round-end"; readonly position: Position; readonly generation: number }
  /** One step through this node's table, for the sweep of a round: a delete of each session. Changed in place. */
  | {
      readonly kind: "round-chunk";
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly more: boolean;
    }
  /** The table could not be read, or the kernel would not let go of something. */
  | { readonly kind: "round-sweep-failed" }
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
  /** Remove these now: nobody has heard of them in the round. Takes no position. */
  | { readonly kind: "remove"; readonly bytes: Uint8Array; readonly count: number }
  | { readonly kind: "round-swept"; readonly position: Position; readonly generation: number }
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
    roundDue: false,
    round: null,
    applied: { term: 0, sequence: 0 },
    refused: 0,
    retryAt: null,
    retryMs: REFUSED_RETRY_MS_MIN,
    counters: {
      subscribed: 0,
      applied: 0,
      snapshotsBegun: 0,
      snapshotsDone: 0,
      roundsBegun: 0,
      roundsDone: 0,
      roundsTooLarge: 0,
      removed: 0,
      refusedRecords: 0,
      purged: 0,
      ignored: 0,
      mergesBegun: 0,
      mergesDone: 0,
      given: 0,
    },
  };
}
