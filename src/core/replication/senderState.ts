// What the sender of the log (sender.ts) knows, hears and says: state, limits, counters, inputs and effects, shared by the
// files that are its parts (rounds.ts, refresh.ts). Data only: nothing here decides. Pure.

import {
  LOG_BYTES_MAX,
  REFRESH_KEYS_MAX,
  REFRESH_ROUND_MS,
  ROUND_PACE_MS,
  SNAPSHOT_WINDOW_BYTES,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { Position } from "../../wire/control.ts";
import { Buckets } from "./buckets.ts";
import { ChangedKeys, EndedKeys } from "./changedKeys.ts";
import { Flight } from "./flight.ts";
import type { Subscription, Taking, TakingEffect } from "./merge.ts";

/** Some buckets, or the whole table, being read and sent. */
export interface Round {
  /** Tells one round from the next: a dump belongs to the number that it was opened under. */
  readonly number: number;
  /** What is read again; null: everything, as a snapshot. */
  readonly buckets: Uint8Array | null;
  /** No chunk is read before. */
  notBefore: Millis;
  records: number;
  chunks: number;
  /** Where its end stands in the log; null while there is more to read. The standby's word on it is awaited. */
  end: number | null;
}

/** A pass over the whole table that only extends the standby's times (refresh.ts). */
export interface Refresh {
  readonly number: number;
  readonly startedAt: Millis;
  /** Chunks sent so far, and when the last one was. */
  chunks: number;
  lastAt: Millis;
  /** Of what lives long half is left out. */
  readonly spares: boolean;
  /** Something was dropped. */
  missed: boolean;
  /** Keys that changed between the last two chunks, and since the last one. */
  previous: RefreshKeys;
  current: RefreshKeys;
}

export interface RefreshKeys {
  readonly keys: ChangedKeys;
  /** More changed than fits: nothing is known of the chunks of that time. */
  overflowed: boolean;
}

export interface SenderState {
  /** null: this node is not active. */
  term: number | null;
  sequence: number;
  acknowledged: number;
  subscription: Subscription | null;
  /** The subscriber knows rounds over some buckets (protocol version 2). */
  knowsRounds: boolean;
  /** The subscriber gives first; there is no round meanwhile. */
  taking: Taking | null;
  /** When this node took over as a synchronised standby; null where it did not, or was no standby. */
  relievedAt: Millis | null;
  /** The subscription was answered by its first round; before that nothing is sent. */
  begun: boolean;
  /** Buckets of which the standby may hold something wrong, beyond what the round under way will put right. */
  readonly dirty: Buckets;
  /** The standby was told that a round is due. */
  dueTold: boolean;
  /** The kernel has dropped events and goes on doing so until its socket has been read empty. */
  losing: boolean;
  /** The log is full: changes only mark their buckets, until the standby has caught up with most of it. */
  full: boolean;
  round: Round | null;
  roundsBegun: number;
  /** When the next round may begin. */
  notBefore: Millis;
  refresh: Refresh | null;
  refreshesBegun: number;
  /** The pass before missed nothing. */
  refreshSpares: boolean;
  /** When the next refresh is to begin; null where nobody is synchronised. */
  refreshAt: Millis | null;
  /** Chunks of the last dump that was read to its end. */
  chunksPerDump: number;
  /** Unacknowledged messages, oldest first, of changes and of what was read from the table. */
  readonly changesInFlight: Flight;
  readonly readInFlight: Flight;
  readonly changed: ChangedKeys;
  readonly ended: EndedKeys;
  readonly counters: SenderCounters;
  readonly limits: SenderLimits;
}

export interface SenderLimits {
  readonly logBytesMax: number;
  readonly snapshotWindowBytes: number;
  readonly roundPaceMs: number;
  readonly refreshRoundMs: number;
  readonly refreshKeysMax: number;
}

export interface SenderCounters {
  sent: number;
  sentBytes: number;
  /** Events that no record was made of: nobody was there to hear, or (`unsentLogFull`) too far behind. */
  unsent: number;
  unsentLogFull: number;
  /** Rounds over everything, over some buckets; and those of both that the standby has done with. */
  snapshots: number;
  partialRounds: number;
  roundsDone: number;
  /** Read again for a peer of version 1, because more was lost meanwhile. */
  roundsInVain: number;
  skippedInRound: number;
  dumpsFailed: number;
  overruns: number;
  /** Why buckets were marked: how many times each. */
  dirtyOverrun: number;
  dirtyLogFull: number;
  dirtyKeysFull: number;
  dirtyAsked: number;
  refreshRounds: number;
  refreshed: number;
  /** Left out of a refresh: long-lived, changed meanwhile, of a chunk about which nothing is known. */
  refreshSpared: number;
  refreshChanged: number;
  refreshDoubted: number;
  refreshesDropped: number;
  sweptIgnored: number;
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
  /** `own`: the subscriber was active since its last snapshot. `knowsRounds`: it speaks protocol version 2. */
  | {
      readonly kind: "subscribe";
      readonly subscription: Subscription;
      readonly own: boolean;
      readonly knowsRounds: boolean;
    }
  | { readonly kind: "unsubscribe" }
  /** Records of the kernel's events, in their order. The bytes are the sender's until `step` returns. */
  | { readonly kind: "events"; readonly bytes: Uint8Array; readonly count: number }
  /** The kernel dropped events (ENOBUFS): nobody knows which. It drops all until `drained`. */
  | { readonly kind: "overrun" }
  /** The event socket was found empty. Of use after an overrun. */
  | { readonly kind: "drained" }
  /** The standby's copy of these buckets (`BUCKET_SET_BYTES`, by this sender's seed) is not to be trusted; null: of all. */
  | { readonly kind: "dirty"; readonly buckets: Uint8Array | null }
  /** One step of the round's dump, read before the events of this turn were drained. Changed in place. */
  | {
      readonly kind: "chunk";
      /** `Round.number` at the moment of reading: a chunk of another round is dropped. */
      readonly round: number;
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly more: boolean;
    }
  /** The round's dump ended in an error: another one is opened, and read from its beginning. */
  | { readonly kind: "dump-failed" }
  /** The standby has removed what it holds in the round's buckets and did not hear of. */
  | { readonly kind: "round-swept"; readonly position: Position; readonly generation: number }
  /** As `chunk`, of a refresh. */
  | {
      readonly kind: "refresh-chunk";
      readonly refresh: number;
      readonly bytes: Uint8Array;
      readonly count: number;
      readonly more: boolean;
    }
  | { readonly kind: "refresh-failed" }
  /** Records of the merge, after the events of this moment were drained. Changed in place. */
  | {
      readonly kind: "merge-sessions";
      readonly first: Position;
      readonly count: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "merge-end"; readonly subscription: Subscription; readonly count: number }
  | { readonly kind: "acknowledge"; readonly position: Position }
  /** Time has passed. */
  | { readonly kind: "turn" };

export type SenderEffect =
  | TakingEffect
  | { readonly kind: "snapshot-begin"; readonly position: Position; readonly generation: number }
  /** Views of the input's bytes: to be copied into a message before the next step. */
  | {
      readonly kind: "sessions";
      /** Read from the table, and not told by an event. */
      readonly read: boolean;
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
  /** What follows is not the whole truth, until a round that begins later has ended. */
  | { readonly kind: "round-due"; readonly generation: number }
  | {
      readonly kind: "round-begin";
      readonly position: Position;
      readonly generation: number;
      readonly seed: number;
      readonly buckets: Uint8Array;
    }
  | {
      readonly kind: "round-end";
      readonly position: Position;
      readonly generation: number;
      readonly count: number;
    }
  /** The subscriber knows another term, or this node is not active: tell it what we are. */
  | { readonly kind: "tell-role" }
  /** The peer broke the protocol: end the connection with this reason. */
  | { readonly kind: "fail"; readonly reason: string };

const NO_COUNTS: SenderCounters = {
  sent: 0,
  sentBytes: 0,
  unsent: 0,
  unsentLogFull: 0,
  snapshots: 0,
  partialRounds: 0,
  roundsDone: 0,
  roundsInVain: 0,
  skippedInRound: 0,
  dumpsFailed: 0,
  overruns: 0,
  dirtyOverrun: 0,
  dirtyLogFull: 0,
  dirtyKeysFull: 0,
  dirtyAsked: 0,
  refreshRounds: 0,
  refreshed: 0,
  refreshSpared: 0,
  refreshChanged: 0,
  refreshDoubted: 0,
  refreshesDropped: 0,
  sweptIgnored: 0,
  subscribeRefused: 0,
  mergesBegun: 0,
  mergesDone: 0,
  mergeTaken: 0,
  mergeEnded: 0,
  mergeIgnored: 0,
};

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
    knowsRounds: false,
    taking: null,
    relievedAt: null,
    begun: false,
    dirty: new Buckets(),
    dueTold: false,
    losing: false,
    full: false,
    round: null,
    roundsBegun: 0,
    notBefore: millis(0),
    refresh: null,
    refreshesBegun: 0,
    refreshSpares: true,
    refreshAt: null,
    chunksPerDump: 1,
    changesInFlight: new Flight(),
    readInFlight: new Flight(),
    changed,
    ended,
    counters: { ...NO_COUNTS },
    limits: {
      logBytesMax: limits.logBytesMax ?? LOG_BYTES_MAX,
      snapshotWindowBytes: limits.snapshotWindowBytes ?? SNAPSHOT_WINDOW_BYTES,
      roundPaceMs: limits.roundPaceMs ?? ROUND_PACE_MS,
      refreshRoundMs: limits.refreshRoundMs ?? REFRESH_ROUND_MS,
      refreshKeysMax: limits.refreshKeysMax ?? REFRESH_KEYS_MAX,
    },
  };
}

/** Numbers `count` records, and sends them. `read`: from the table. */
export function sendRecords(
  state: SenderState,
  read: boolean,
  bytes: Uint8Array,
  count: number,
  effects: SenderEffect[],
): void {
  const first = { term: state.term!, sequence: state.sequence + 1 };
  state.sequence += count;
  const flight = read ? state.readInFlight : state.changesInFlight;
  flight.push(state.sequence, bytes.length);
  state.counters.sent += count;
  state.counters.sentBytes += bytes.length;
  effects.push({ kind: "sessions", read, first, count, bytes });
}
