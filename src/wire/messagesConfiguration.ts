// The configuration's messages, 32 to 39 (docs/protocol.md §5.7): which version each node has in force, and how a new one
// reaches the other: proposed, judged, committed, done. Each is one table; what they mean to a node is core/configLog.ts's.
// A version's text travels as bytes and is held against its header by whoever takes it. Pure.

import {
  AUTHOR_BYTES_MAX,
  CONFIGURATION_BYTES_MAX,
  CONFIGURATION_REASONS_MAX,
  TEXT_BYTES_MAX,
} from "../base/limits.ts";
import { blob, bool, hex, list, oneOf, struct, text, u32, u48, type ValueOf } from "./codec.ts";
import { node } from "./peerFields.ts";

/** Everything about a version but its text. */
export const versionHeader = struct({
  /** SHA-256 over the rest (core/configVersions.ts): the same id is the same version with the same past. */
  id: hex(32),
  /** The version that it was made from; zeros: none. */
  parent: hex(32),
  /** One more than its parent's. */
  number: u32,
  /** SHA-256 over the configuration's values: comments and spelling do not change it. */
  digest: hex(32),
  /** SHA-256 over the text. */
  textDigest: hex(32),
  /** `import`: found on disk at a start, edited by hand. It is never sent to replace another by itself. */
  origin: oneOf({ import: 1, apply: 2, rollback: 3 }),
  /** Where it was made. */
  node,
  author: text(AUTHOR_BYTES_MAX),
  message: text(TEXT_BYTES_MAX),
  /** Milliseconds since 1970, by the clock of `node`. */
  at: u48,
});
export type VersionHeader = ValueOf<typeof versionHeader>;

const reasons = list(text(TEXT_BYTES_MAX), CONFIGURATION_REASONS_MAX);
const content = blob(CONFIGURATION_BYTES_MAX);

/** Number, the protocol version that brought it, and table of each message. */
export const configurationMessages = {
  /** What the sender has, and what it makes of what the receiver has; first after hello, then whenever it changed. */
  configurationState: {
    type: 32,
    since: 2,
    body: struct({
      /** The version in force. */
      head: versionHeader,
      /** Digest of what the node runs with: that of `head`, or of a version that waits for the leader's word. */
      running: hex(32),
      /** The version that is being applied, or waits for the leader's word; zeros: none. */
      pending: hex(32),
      /** The receiver's version in force as the sender heard it last; zeros: not heard yet. */
      about: hex(32),
      /** `about` is in the sender's own history: the receiver is behind. */
      covers: bool,
    }),
  },
  /** Leader to follower: judge this version, keep it on disk, and wait. */
  configurationPropose: {
    type: 33,
    since: 2,
    body: struct({
      exchange: u32,
      /** The follower's version in force as the leader knows it: another one refuses. */
      from: hex(32),
      header: versionHeader,
      content,
    }),
  },
  /** Follower to leader: it holds here and is on disk, or why not. */
  configurationVerdict: { type: 34, since: 2, body: struct({ exchange: u32, accepted: bool, reasons }) },
  /** Leader to follower: take it into effect. */
  configurationCommit: { type: 35, since: 2, body: struct({ exchange: u32 }) },
  /** Follower to leader: it is in effect, or why not; then everything is as it was before. */
  configurationDone: { type: 36, since: 2, body: struct({ exchange: u32, ok: bool, reasons }) },
  /** Send me this version. */
  configurationFetch: { type: 37, since: 2, body: struct({ id: hex(32) }) },
  /** The version that was asked for; an empty list where there is no such one. */
  configurationVersion: {
    type: 38,
    since: 2,
    body: struct({ id: hex(32), versions: list(struct({ header: versionHeader, content }), 1) }),
  },
} as const;
