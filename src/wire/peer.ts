// The messages that two nodes exchange on port 1148 (TCP, inside TLS), put together from the tables of their groups
// (docs/protocol.md §5): number, the protocol version that brought it, layout. A message's layout never changes: another
// layout is another number, used once both sides have said in `hello` that they know it. Numbers are retired, never
// reused. Frames are frames.ts's business, heartbeats heartbeat.ts's. Pure.

import { assert } from "../base/assert.ts";
import { MESSAGE_BYTES_MAX, TEXT_BYTES_MAX } from "../base/limits.ts";
import { type Field, hex, oneOf, struct, text, u8, u32, u48, type ValueOf } from "./codec.ts";
import { auditMessages } from "./messagesAudit.ts";
import { configurationMessages } from "./messagesConfiguration.ts";
import { drillMessages } from "./messagesDrill.ts";
import { logMessages } from "./messagesLog.ts";
import { nodeMessages } from "./messagesNode.ts";
import { node, role } from "./peerFields.ts";

/**
 * Versions of the messages and of what session records may say. N speaks N-1 too; the higher of what both know is
 * spoken. 1: sessions, snapshots, neighbours, merges. 2: rounds, expectations, configuration, slots, links, node facts, audit.
 */
export const PROTOCOL_VERSION = 2;
export const PROTOCOL_VERSION_LOWEST = 1;

/** What is spoken with a peer that knows `lowest` to `highest`: the highest version of both; null where there is none. */
export function commonVersion(lowest: number, highest: number): number | null {
  const version = Math.min(highest, PROTOCOL_VERSION);
  return version >= Math.max(lowest, PROTOCOL_VERSION_LOWEST) ? version : null;
}

export const RefuseCode = {
  /** The key is not one of those that the configuration lists. */
  WrongKey: "wrong-key",
  /** No protocol version is known to both. */
  Version: "version",
  /** The peer says that it is the node that we are. */
  SameNode: "same-node",
  /** Another pair's node. */
  WrongPair: "wrong-pair",
  /** Bytes that are not a message, or a message out of its place. */
  Protocol: "protocol",
  /** Another connection of the same peer took this one's place. */
  Replaced: "replaced",
  /** Too many connections. */
  Busy: "busy",
  /** The node stops, in order. */
  Stopping: "stopping",
} as const;
export type RefuseCode = (typeof RefuseCode)[keyof typeof RefuseCode];

const refuseCode = oneOf({
  "wrong-key": 1,
  version: 2,
  "same-node": 3,
  "wrong-pair": 4,
  protocol: 5,
  replaced: 6,
  busy: 7,
  stopping: 8,
});

/** Those of the connection itself, 1 to 15. */
const connectionMessages = {
  /** First message of both sides, once each. */
  hello: {
    type: 1,
    since: 1,
    body: struct({
      versionLowest: u8,
      versionHighest: u8,
      node,
      /** Random, of this start of the daemon: tells a restart from a reconnection. */
      bootId: hex(16),
      pair: text(TEXT_BYTES_MAX),
      software: text(TEXT_BYTES_MAX),
      /** SHA-256 over the pair's configuration. */
      configurationDigest: hex(32),
      role,
      term: u48,
    }),
  },
  /** Last message before the connection ends, with the reason. */
  refuse: { type: 2, since: 1, body: struct({ code: refuseCode, text: text(TEXT_BYTES_MAX) }) },
  ping: { type: 3, since: 1, body: struct({ nonce: u32 }) },
  /** The nonce of the ping that it answers. */
  pong: { type: 4, since: 1, body: struct({ nonce: u32 }) },
  roleChanged: { type: 5, since: 1, body: struct({ role, term: u48 }) },
} as const;

const messages = {
  ...connectionMessages,
  ...logMessages,
  ...configurationMessages,
  ...nodeMessages,
  ...drillMessages,
  ...auditMessages,
} as const;

/** What numbers are for; a message of one kind has no number of another's (docs/protocol.md §5.3). */
export const TYPE_GROUPS = {
  connection: { first: 1, last: 15, kinds: Object.keys(connectionMessages) },
  log: { first: 16, last: 31, kinds: Object.keys(logMessages) },
  configuration: { first: 32, last: 39, kinds: Object.keys(configurationMessages) },
  node: { first: 40, last: 47, kinds: Object.keys({ ...nodeMessages, ...drillMessages }) },
  applications: { first: 48, last: 55, kinds: [] },
  qos: { first: 56, last: 63, kinds: [] },
  audit: { first: 64, last: 71, kinds: Object.keys(auditMessages) },
} as const satisfies Readonly<Record<string, TypeGroup>>;
interface TypeGroup {
  readonly first: number;
  readonly last: number;
  readonly kinds: readonly string[];
}
/** Numbers that once meant something. */
export const RETIRED_TYPES: readonly number[] = [];

type Messages = typeof messages;
export type MessageKind = keyof Messages;
/** One message of the kind `K`: `{ kind, ...fields of its table }`. */
export type MessageOf<K extends MessageKind> = K extends MessageKind
  ? { readonly kind: K } & ValueOf<Messages[K]["body"]>
  : never;
export type PeerMessage = MessageOf<MessageKind>;

export interface MessageEntry {
  readonly kind: MessageKind;
  readonly type: number;
  /** The protocol version that brought it: no peer that speaks a lower one is sent it, or may send it. */
  readonly since: number;
  readonly body: Field<Readonly<Record<string, unknown>>>;
}
const entries: readonly MessageEntry[] = Object.entries(messages).map(([kind, { type, since, body }]) => ({
  kind: kind as MessageKind,
  type,
  since,
  // A table's value is a record of its fields; the table that encodes is found by the value's own kind.
  body: body as unknown as MessageEntry["body"],
}));

/** Number, version and table of each message. */
export const messageTables: ReadonlyMap<MessageKind, MessageEntry> = new Map(
  entries.map((entry) => [entry.kind, entry]),
);
export const messageTablesByType: ReadonlyMap<number, MessageEntry> = new Map(
  entries.map((entry) => [entry.type, entry]),
);

assert(messageTablesByType.size === entries.length, "each message has a number of its own");
for (const { kind, type, since, body } of entries) {
  assert(body.maxBytes + 1 <= MESSAGE_BYTES_MAX, `${kind} fits a frame`);
  assert(!RETIRED_TYPES.includes(type), `${kind} has a number that was never retired`);
  assert(since >= 1 && since <= PROTOCOL_VERSION, `${kind} is of a version that there is`);
  const group: TypeGroup | undefined = Object.values(TYPE_GROUPS).find(
    ({ first, last }) => type >= first && type <= last,
  );
  assert(group?.kinds.includes(kind) === true, `${kind} has a number of its own group`);
}
