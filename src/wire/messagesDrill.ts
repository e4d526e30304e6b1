// The drill in the log, messages 44 to 46 (docs/protocol.md §5.6): the node that had the role asks for it back, and both keep what
// came of it. Each is one table; what they mean to a node is core/drill.ts's. Pure.

import { TEXT_BYTES_MAX } from "../base/limits.ts";
import { bool, list, oneOf, struct, text, u32, u48, type ValueOf } from "./codec.ts";
import { node } from "./peerFields.ts";

/** Sessions of both nodes at one moment; DRILL_UNKNOWN: not heard. */
const count = struct({ a: u32, b: u32 });
export const DRILL_UNKNOWN: number = 2 ** 32 - 1;

const change = struct({
  /** Who is active from then on. */
  to: node,
  /** From the order to the new active being known. */
  ms: u32,
  /** Of service as the LAN's segment shows it; DRILL_UNKNOWN: not measured. */
  gapMs: u32,
});

const report = struct({
  /** Milliseconds since 1970, by the clock of the node that ran it, when it began. */
  at: u48,
  /** Who ran it. */
  node,
  result: oneOf({ passed: 1, failed: 2, skipped: 3 }),
  scheduled: bool,
  forced: bool,
  /** Tenths of a second. */
  duration: u32,
  words: text(TEXT_BYTES_MAX),
  /** Before it, while the other node served, and behind it; fewer where it did not come that far. */
  counts: list(count, 3),
  switches: list(change, 2),
  /** Both DRILL_UNKNOWN where nothing was probed. */
  probesSent: u32,
  probesLost: u32,
});
export type DrillRecord = ValueOf<typeof report>;

/** Number, the protocol version that brought it, and table of each message. */
export const drillMessages = {
  /** To the active, from the standby that had the role before it: hand it back. */
  drillReturn: { type: 44, since: 2, body: struct({ number: u32 }) },
  /** The answer: it was handed over, or why not. */
  drillAnswer: { type: 45, since: 2, body: struct({ number: u32, ok: bool, words: text(TEXT_BYTES_MAX) }) },
  /** Both ways: the last drill that this node knows of. The later one is kept. */
  drillReport: { type: 46, since: 2, body: struct({ report }) },
} as const;
