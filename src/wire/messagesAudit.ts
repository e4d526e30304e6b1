// The audit's messages, 64 to 71 (docs/protocol.md §5.8): both kernels' tables, compared bucket by bucket and then key by key.
// Each is one table; what they mean to a node is core/audit's. Digests and keys travel as opaque bytes here: their layout
// is core/audit/fold.ts's. Pure.

import {
  AUDIT_DIGEST_BYTES,
  AUDIT_KEY_BYTES,
  AUDIT_KEYS_PER_MESSAGE,
  LOG_BUCKETS,
  TEXT_BYTES_MAX,
} from "../base/limits.ts";
import { blob, bool, bytes, struct, text, u32, u48 } from "./codec.ts";

/** Counts the active's looks, from 1; comes back in every answer. */
const look = u32;

/** Number, the protocol version that brought it, and table of each message. */
export const auditMessages = {
  /** Active to standby, in the log's order: read your table from here on; I read mine. */
  auditBegin: {
    type: 64,
    since: 2,
    body: struct({
      look,
      /** Of the hash of keys: that of the log's rounds. */
      seed: u32,
      /** Of the hash of what a key stands for: drawn for each look. */
      salt: u32,
      /** Which part of the table: all of it, or what the look before found to differ. */
      buckets: bytes(LOG_BUCKETS / 8),
    }),
  },
  /** Standby to active: my table is read. */
  auditFolded: { type: 65, since: 2, body: struct({ look, sessions: u48 }) },
  /** Active to standby, in the log's order: the changes between `auditBegin` and this are left out by both of us. */
  auditEnd: { type: 66, since: 2, body: struct({ look }) },
  /** Standby to active: the digest of each bucket, and the processor time that the look took here, in microseconds. */
  auditDigests: {
    type: 67,
    since: 2,
    body: struct({ look, cpuMicros: u48, digests: bytes(LOG_BUCKETS * AUDIT_DIGEST_BYTES) }),
  },
  /** Active to standby: which keys are in these buckets? */
  auditAsk: { type: 68, since: 2, body: struct({ look, buckets: bytes(LOG_BUCKETS / 8) }) },
  /** Standby to active: these, and where `more` says so others follow. */
  auditKeys: {
    type: 69,
    since: 2,
    body: struct({ look, more: bool, keys: blob(AUDIT_KEYS_PER_MESSAGE * AUDIT_KEY_BYTES) }),
  },
  /** Both: this look is over without a result. */
  auditVoid: { type: 70, since: 2, body: struct({ look, reason: text(TEXT_BYTES_MAX) }) },
  /** Active to standby: what a pass, of one look or two, has come to. */
  auditResult: {
    type: 71,
    since: 2,
    body: struct({
      look,
      /** Sessions that were compared. */
      sessions: u48,
      missing: u48,
      extra: u48,
      wrong: u48,
      repaired: u48,
      /** From its begin to the end of its repair. */
      milliseconds: u48,
      /** Since its begin when this was said: the standby knows how old the proof is without a common clock. */
      ageMs: u48,
    }),
  },
} as const;
