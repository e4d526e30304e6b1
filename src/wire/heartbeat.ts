// The body of a heartbeat (UDP, inside a sealed datagram), one table (docs/protocol.md §4). It has no versions: hearts
// speak before anybody could agree on one, so another layout is another kind in the preamble. Pure.

import {
  bool,
  type Decoded,
  decode,
  encode,
  hex,
  oneOf,
  struct,
  u8,
  u16,
  u32,
  u48,
  type ValueOf,
} from "./codec.ts";
import { node, position, role } from "./peerFields.ts";

const gate = oneOf({ shut: 0, open: 1, drain: 2 });

/** The body of a heartbeat: what a node says about itself, every 10 ms on every path (docs/protocol.md §4). */
export const heartbeat = struct({
  /** Of the node that sends. */
  node,
  role,
  gate,
  /** Standby: holds the active's whole state; active: may be relieved. By its own account (failover §6). */
  ready: bool,
  /** Active: the standby is asked to open (the gate is in `drain`). */
  handover: bool,
  /** Gate shut, and asks the peer for leave to open it: an election, or a lease that lapsed (docs/election.md). */
  candidate: bool,
  /** Interfaces, routes and rules are in place: a gate that opened here would forward. */
  dressed: bool,
  /** The heart is about to stop. */
  leaving: bool,
  term: u48,
  /** Grows with every heartbeat, the same on all paths. */
  sequence: u48,
  /** Highest `sequence` heard from the peer; 0 where none. */
  echo: u48,
  /** Lease in force, ms; 0 where none. Long while solo (failover §5). */
  leaseMs: u32,
  /** Active: produced; standby: in its kernel. */
  position,
  sessions: u32,
  /** First 8 bytes of the configuration's SHA-256. */
  configurationDigest: hex(8),
  /** Higher wins where nothing else decides. */
  priority: u16,
  /**
   * Bit n: segment n (0 the LAN, then the links in order of id) has carrier. Above the segments: base/readiness.ts. Whoever counts
   * segments takes those that are `witnessed` too, so that a node which knows nothing of readiness sees none in it.
   */
  carrier: u32,
  /** Bit n: a third party was heard on segment n within the last second. */
  witnessed: u32,
  /** Alarms raised on the sender, by its heart and its daemon; 255 stands for more. */
  alarms: u8,
  /** One of them is critical. */
  critical: bool,
});
export type HeartbeatMessage = ValueOf<typeof heartbeat>;

/** Bytes of every heartbeat's body. */
export const HEARTBEAT_BYTES: number = heartbeat.maxBytes;

export function encodeHeartbeat(message: HeartbeatMessage): Uint8Array {
  return encode(heartbeat, message);
}

export function decodeHeartbeat(raw: Uint8Array): Decoded<HeartbeatMessage> {
  return decode(heartbeat, raw);
}
