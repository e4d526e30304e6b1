// The node's own state in the log, messages 40 to 47 (docs/protocol.md §5.6): the active's slots and what it makes of the links,
// and what each machine is. Each is one table, and each is acknowledged by its number; what they mean to a node is
// core/replication/stateLog.ts's. Pure.

import { LINKS_MAX, SLOTS, TEXT_BYTES_MAX } from "../base/limits.ts";
import { bytes, list, oneOf, struct, text, u8, u16, u32, u48, type ValueOf } from "./codec.ts";

const linkState = struct({
  link: u8,
  state: oneOf({ unknown: 0, up: 1, down: 2, disabled: 3, degraded: 4 }),
  /** Why: `carrier` of the port, `configuration`; `probes` and `operator` are for what watches links. */
  reason: oneOf({ none: 0, configuration: 1, carrier: 2, probes: 3, operator: 4 }),
  /** Milliseconds since 1970, by the clock of whoever saw it first. */
  since: u48,
  /** For people; empty where the reason says it all. */
  detail: text(TEXT_BYTES_MAX),
});
export type LinkState = ValueOf<typeof linkState>;

const facts = struct({
  /** `understudy 0.1.0`. */
  software: text(TEXT_BYTES_MAX),
  /** As `uname -r` says. */
  kernel: text(TEXT_BYTES_MAX),
  /** As `uname -m` says. */
  machine: text(TEXT_BYTES_MAX),
  processors: u16,
  memoryBytes: u48,
  /** Sessions that the kernel's table takes, and its buckets; 0 where they could not be read. */
  conntrackMax: u32,
  conntrackBuckets: u32,
  /** Of `nft --version`; empty where there is none. */
  nft: text(TEXT_BYTES_MAX),
  /** Milliseconds since 1970 by the sender's clock: when the machine booted, and when this was said. */
  bootedAt: u48,
  clock: u48,
});
export type NodeFacts = ValueOf<typeof facts>;

/** Number, the protocol version that brought it, and table of each message. */
export const nodeMessages = {
  /** Active to standby: the slot table in force. */
  slots: {
    type: 40,
    since: 2,
    body: struct({
      /** Counts slots, links and nodeFacts of this sender on this connection, from 1. */
      number: u48,
      /** Of the active. */
      term: u48,
      /** Of the hash that slots are counted by. */
      seed: u32,
      /** A link's id for each of the 4096 slots; 0: none. */
      slots: bytes(SLOTS),
    }),
  },
  /** Active to standby: every link, as the active sees it. */
  links: {
    type: 41,
    since: 2,
    body: struct({ number: u48, term: u48, links: list(linkState, LINKS_MAX) }),
  },
  /** Both ways: what this machine is. */
  nodeFacts: { type: 42, since: 2, body: struct({ number: u48, facts }) },
  /** Everything up to `number` is in force here: slots in the kernel, the rest known. */
  stateAcknowledge: { type: 43, since: 2, body: struct({ number: u48 }) },
} as const;
