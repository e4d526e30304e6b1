// The log's messages, 16 to 31 (docs/protocol.md §5.3): subscription, snapshot, rounds, records, acknowledgement, neighbours and
// the merge. Each is one table; what they mean to a node is core/replication's. Session records travel as opaque bytes
// here: their layout and checks are in session.ts. Pure.

import { BATCH_BYTES_MAX, LOG_BUCKETS, NEIGHBOURS_PER_MESSAGE_MAX } from "../base/limits.ts";
import { address, blob, bool, bytes, list, oneOf, struct, u8, u16, u32, u48, type ValueOf } from "./codec.ts";
import { generation, position } from "./peerFields.ts";

const neighbour = struct({
  /** 0 is the LAN, 1..250 a link: device names are each node's own. */
  service: u8,
  /** The neighbour is gone; its MAC is then all zeros. */
  removed: bool,
  address,
  mac: bytes(6),
});
export type Neighbour = ValueOf<typeof neighbour>;

/** Number, the protocol version that brought it, and table of each message. */
export const logMessages = {
  /** Standby to active: send everything as of now, then every change. `term` is the active's as the standby knows it. */
  subscribe: {
    type: 16,
    since: 1,
    body: struct({
      term: u48,
      generation,
      /** This node was active since its last snapshot began: its kernel may hold what nobody else does (§5.4). */
      own: bool,
    }),
  },
  /** All records after `position`, snapshot and changes together, are the whole truth; what came before is not. */
  snapshotBegin: { type: 17, since: 1, body: struct({ position, generation }) },
  /** The snapshot is complete, with `count` records. Takes a position of its own: acknowledged means swept. */
  snapshotEnd: { type: 18, since: 1, body: struct({ position, generation, count: u48 }) },
  sessions: {
    type: 19,
    since: 1,
    body: struct({
      /** `merge` goes from the standby to the active, everything else the other way (§5.4). */
      origin: oneOf({ change: 0, snapshot: 1, merge: 2 }),
      /** Position of the first record; the others follow it one by one. In a merge: the active's term, and a count from 1. */
      first: position,
      count: u16,
      /** Records as session.ts writes them. */
      records: blob(BATCH_BYTES_MAX),
    }),
  },
  /** Standby to active: everything up to `position` is in the standby's kernel. */
  acknowledge: { type: 20, since: 1, body: struct({ position }) },
  neighbours: {
    type: 21,
    since: 1,
    body: struct({
      /** `begin` clears what was known and is the first of a full list; `more` adds to it or changes it. */
      part: oneOf({ more: 0, begin: 1 }),
      neighbours: list(neighbour, NEIGHBOURS_PER_MESSAGE_MAX),
    }),
  },
  /** Active to standby, in answer to a subscription: first send what you hold, then the snapshot comes. */
  mergeRequest: { type: 22, since: 1, body: struct({ term: u48, generation }) },
  /** Standby to active: that was all of it, `count` records. */
  mergeEnd: { type: 23, since: 1, body: struct({ term: u48, generation, count: u48 }) },
  /** Active to standby: the records of this merge up to number `sequence` are judged, and in the kernel where absent. */
  mergeAcknowledge: { type: 24, since: 1, body: struct({ generation, sequence: u48 }) },
  /**
   * Everything that is said from here to `roundEnd` of sessions in these buckets is all there is of them (§5.5).
   * `seed`: of the hash that cuts the table into buckets.
   */
  roundBegin: {
    type: 25,
    since: 2,
    body: struct({ position, generation, seed: u32, buckets: bytes(LOG_BUCKETS / 8) }),
  },
  /** The round is complete, with `count` records read from the table. Takes no position. */
  roundEnd: { type: 26, since: 2, body: struct({ position, generation, count: u48 }) },
  /** Some of what the standby holds is not to be trusted, until a round that begins later has ended. */
  roundDue: { type: 27, since: 2, body: struct({ generation }) },
  /** Standby to active: what was in the round's buckets and was not heard of is gone. `position`: as in `roundEnd`. */
  roundSwept: { type: 28, since: 2, body: struct({ position, generation }) },
} as const;
