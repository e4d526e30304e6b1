// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// What two nodes say to each other on port 1148: the messages of the log's connection (TCP, inside TLS) and
// the body of a heartbeat (UDP, inside a sealed datagram), each one table (docs/protocol.md §4, §5). A
// message's layout never changes: another layout is another number, used once both sides have said in `hello`
// that they know it. Numbers are retired, never reused. Session records travel as opaque bytes here: their
// layout and checks are in session.ts. Pure.

import { assert } from "./assert.ts";
import {
  address,
  blob,
  bool,
  bytes,
  type Decoded,
  decode,
  encode,
  type Field,
  hex,
  list,
  oneOf,
  Reader,
  struct,
  text,
  u8,
  u16,
  u32,
  u48,
  type ValueOf,
  Writer,
} from "./codec.ts";
import { BATCH_BYTES_MAX, MESSAGE_BYTES_MAX, NEIGHBOURS_PER_MESSAGE_MAX, TEXT_BYTES_MAX } from "./limits.ts";

/** Versions of the messages. N speaks N-1 too; the higher of what both know is spoken. */
export const PROTOCOL_VERSION = 1;
export const PROTOCOL_VERSION_LOWEST = 1;

const node = oneOf({ a: 1, b: 2 });
const role = oneOf({ idle: 0, standby: 1, active: 2 });
const gate = oneOf({ shut: 0, open: 1, drain: 2 });

/** A place in the log. Sequence numbers start at 1 with each term; (0, 0) is before everything. */
const position = struct({ term: u48, sequence: u48 });

/** The standby's number for its subscription, 1..3 in turn: tells the answers to it from those to earlier ones. */
const generation: Field<number> = {
  ...u8,
  type: "u8: 1, 2 or 3",
  write: (writer, value) => {
    assert(value >= 1 && value <= 3, `generation ${value}`);
    u8.write(writer, value);
  },
  read: (reader) => {
    const at = reader.offset;
    const value = u8.read(reader);
    if (reader.refusal === null && (value < 1 || value > 3)) reader.refuse(`generation ${value}`, at);
    return value;
  },
};

const neighbour = struct({
  /** 0 is the LAN, 1..250 a link: device names are each node's own. */
  service: u8,
  /** The neighbour is gone; its MAC is then all zeros. */
  removed: bool,
  address,
  mac: bytes(6),
});
export type Neighbour = ValueOf<typeof neighbour>;

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

/** Number and table of each message (docs/protocol.md §5). */
const messages = {
  /** First message of both sides, once each. */
  hello: {
    type: 1,
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
  refuse: { type: 2, body: struct({ code: refuseCode, text: text(TEXT_BYTES_MAX) }) },
  ping: { type: 3, body: struct({ nonce: u32 }) },
  /** The nonce of the ping that it answers. */
  pong: { type: 4, body: struct({ nonce: u32 }) },
  roleChanged: { type: 5, body: struct({ role, term: u48 }) },
  /** Standby to active: send everything as of now, then every change. `term` is the active's as the standby knows it. */
  subscribe: {
    type: 16,
    body: struct({
      term: u48,
      generation,
      /** This node was active since its last snapshot began: its kernel may hold what nobody else does (§5.4). */
      own: bool,
    }),
  },
  /** All records after `position`, snapshot and changes together, are the whole truth; what came before is not. */
  snapshotBegin: { type: 17, body: struct({ position, generation }) },
  /** The snapshot is complete, with `count` records. Takes a position of its own: acknowledged means swept. */
  snapshotEnd: { type: 18, body: struct({ position, generation, count: u48 }) },
  sessions: {
    type: 19,
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
  acknowledge: { type: 20, body: struct({ position }) },
  neighbours: {
    type: 21,
    body: struct({
      /** `begin` clears what was known and is the first of a full list; `more` adds to it or changes it. */
      part: oneOf({ more: 0, begin: 1 }),
      neighbours: list(neighbour, NEIGHBOURS_PER_MESSAGE_MAX),
    }),
  },
  /** Active to standby, in answer to a subscription: first send what you hold, then the snapshot comes. */
  mergeRequest: { type: 22, body: struct({ term: u48, generation }) },
  /** Standby to active: that was all of it, `count` records. */
  mergeEnd: { type: 23, body: struct({ term: u48, generation, count: u48 }) },
  /** Active to standby: the records of this merge up to number `sequence` are judged, and in the kernel where absent. */
  mergeAcknowledge: { type: 24, body: struct({ generation, sequence: u48 }) },
} as const;

/** Numbers kept for what is planned; none may be used for anything else (docs/protocol.md §5). */
export const RESERVED_TYPES = {
  configuration: [32, 39],
  links: [40, 47],
  applications: [48, 55],
  qos: [56, 63],
  audit: [64, 71],
} as const satisfies Readonly<Record<string, readonly [number, number]>>;
/** Numbers that once meant something. */
export const RETIRED_TYPES: readonly number[] = [];

type Messages = typeof messages;
export type MessageKind = keyof Messages;
/** One message of the kind `K`: `{ kind, ...fields of its table }`. */
export type MessageOf<K extends MessageKind> = K extends MessageKind
  ? { readonly kind: K } & ValueOf<Messages[K]["body"]>
  : never;
export type PeerMessage = MessageOf<MessageKind>;

interface MessageEntry {
  readonly kind: MessageKind;
  readonly type: number;
  readonly body: Field<Readonly<Record<string, unknown>>>;
}
const entries: readonly MessageEntry[] = Object.entries(messages).map(([kind, { type, body }]) => ({
  kind: kind as MessageKind,
  type,
  // A table's value is a record of its fields; the table that encodes is found by the value's own kind.
  body: body as unknown as MessageEntry["body"],
}));
const byKind = new Map(entries.map((entry) => [entry.kind, entry]));
const byType = new Map(entries.map((entry) => [entry.type, entry]));

/** Number and table of each message, for documents and tests. */
export const messageTables: ReadonlyMap<MessageKind, Pick<MessageEntry, "type" | "body">> = byKind;

assert(byType.size === entries.length, "each message has a number of its own");
for (const { kind, type, body } of entries) {
  assert(body.maxBytes + 1 <= MESSAGE_BYTES_MAX, `${kind} fits a frame`);
  assert(!RETIRED_TYPES.includes(type), `${kind} has a number that was never retired`);
  for (const [first, last] of Object.values(RESERVED_TYPES)) {
    assert(type < first || type > last, `${kind} has a number that is not reserved`);
  }
}

/** A frame's head: u32 number of bytes that follow it, type included; u8 type. */
export const FRAME_HEAD_BYTES = 5;

/** The frame of `message`: length, type, body. Throws where a value does not fit its field (a defect). */
export function encodeFrame(message: PeerMessage): Uint8Array {
  const entry = byKind.get(message.kind);
  assert(entry !== undefined, `a message of a known kind: ${message.kind}`);
  const fields: Readonly<Record<string, unknown>> = message;
  const bodyBytes = entry.body.size(fields);
  const writer = new Writer(new Uint8Array(FRAME_HEAD_BYTES + bodyBytes));
  u32.write(writer, 1 + bodyBytes);
  u8.write(writer, entry.type);
  entry.body.write(writer, fields);
  assert(writer.offset === writer.bytes.length, "a message has the length that it says");
  return writer.bytes;
}

function decodeBody(entry: MessageEntry, raw: Uint8Array): Decoded<PeerMessage> {
  const body = decode(entry.body, raw);
  if (!body.ok) return { ...body, reason: `${entry.kind}: ${body.reason}` };
  return { ok: true, value: { kind: entry.kind, ...body.value } as PeerMessage };
}

export type FrameResult =
  | { readonly kind: "need-more" }
  | { readonly kind: "message"; readonly message: PeerMessage }
  /** The stream cannot be understood from here on; the connection is to be refused (`protocol`). */
  | { readonly kind: "malformed"; readonly reason: string };

const NEED_MORE: FrameResult = { kind: "need-more" };

/**
 * Cuts a stream of arbitrary chunks into messages. `push` a chunk, then call `next` until it says `need-more`
 * (the buffer is bounded only so) or `malformed`, which is final. Messages own their bytes: neither the chunk
 * nor the reader's buffer shows through them. Length and type are judged as soon as they are there, before any
 * of the body is waited for.
 */
export class FrameReader {
  #buffer = new Uint8Array(4096);
  #start = 0;
  #end = 0;
  #malformed: FrameResult | null = null;

  /** Bytes received and not yet given out as a message. */
  get buffered(): number {
    return this.#end - this.#start;
  }

  push(chunk: Uint8Array): void {
    if (this.#malformed !== null) return;
    if (this.#end + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  next(): FrameResult {
    if (this.#malformed !== null) return this.#malformed;
    if (this.buffered < FRAME_HEAD_BYTES) return NEED_MORE;
    const head = new Reader(this.#buffer.subarray(this.#start, this.#start + FRAME_HEAD_BYTES));
    const length = u32.read(head);
    const type = u8.read(head);
    const entry = byType.get(type);
    if (entry === undefined) return this.#fail(`unknown message type ${type}`);
    if (length - 1 < entry.body.minBytes || length - 1 > entry.body.maxBytes) {
      return this.#fail(`${entry.kind}: ${length - 1} bytes, ${describeRange(entry.body)} expected`);
    }
    const bodyStart = this.#start + FRAME_HEAD_BYTES;
    const bodyEnd = bodyStart + length - 1;
    if (bodyEnd > this.#end) return NEED_MORE;
    const decoded = decodeBody(entry, this.#buffer.subarray(bodyStart, bodyEnd));
    if (!decoded.ok) return this.#fail(`${decoded.reason} (at byte ${decoded.offset})`);
    this.#start = bodyEnd;
    return { kind: "message", message: decoded.value };
  }

  #makeRoom(more: number): void {
    const wanted = this.buffered + more;
    const target =
      wanted > this.#buffer.length ? new Uint8Array(Math.max(wanted, 2 * this.#buffer.length)) : this.#buffer;
    target.set(this.#buffer.subarray(this.#start, this.#end));
    this.#end -= this.#start;
    this.#start = 0;
    this.#buffer = target;
  }

  #fail(reason: string): FrameResult {
    this.#malformed = { kind: "malformed", reason };
    this.#buffer = new Uint8Array(0);
    this.#start = 0;
    this.#end = 0;
    return this.#malformed;
  }
}

function describeRange(body: MessageEntry["body"]): string {
  return body.minBytes === body.maxBytes ? `${body.minBytes}` : `${body.minBytes} to ${body.maxBytes}`;
}

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
  /** Bit n: segment n (0 the LAN, then the links in order of id) has carrier. */
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
