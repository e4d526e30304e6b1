// The session record: one entry of the kernel's connection tracking as bytes, the way it travels in the log. The
// hot path: netlink datagram -> record -> netlink request, without an object for a session. Therefore the layout
// is written by hand, here and nowhere else, and checked by property tests against a slow codec made of tables
// (test/wire/session.test.ts). Layout: docs/protocol.md §9. May not know netlink. Pure.

import { assert } from "../base/assert.ts";
import {
  BATCH_BYTES_MAX,
  BATCH_RECORDS_MAX,
  MARK_GENERATION_MASK,
  MARK_LINK_MASK,
  SESSION_RECORD_BYTES_MAX,
  SESSION_TIMEOUT_SECONDS_MAX,
} from "../base/limits.ts";
import {
  ExpectationFields,
  HEAD_EXPECTATION,
  isExpectation,
  readExpectation,
  writeExpectation,
} from "./expectation.ts";
import { refusalOf, refuse } from "./recordRefusals.ts";
import {
  derivedReplyB,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPS_ASSURED,
  IPS_FIXED_TIMEOUT,
  IPS_SEEN_REPLY,
  icmpAnswer,
  ProtocolKind,
  protocolKind,
  REPLY_A,
  REPLY_B,
  REPLY_DESTINATION,
  REPLY_SOURCE,
  replyShape,
  SessionFields,
  sameBytes,
} from "./sessionFields.ts";
import { readParts, writeParts } from "./sessionParts.ts";

/** What a record asks for. Numbers are those of the wire; retired ones are never used again. */
export const SessionOperation = { Create: 1, Update: 2, Delete: 3 } as const;
export type SessionOperation = (typeof SessionOperation)[keyof typeof SessionOperation];

// Byte 0.
export const HEAD_OPERATION = 0x03;
const HEAD_IPV6 = 0x04;
const HEAD_ZONE = 0x08;
const HEAD_KNOWN = HEAD_OPERATION | HEAD_IPV6 | HEAD_ZONE;
// Byte 1: REPLY_* of sessionFields.ts in bits 0-3 (what follows because it cannot be derived), and:
const SHAPE_PARTS = 0x10;
const SHAPE_KNOWN = 0x1f;
// The state byte: low nibble status, high nibble the protocol's own state.
const STATE_SEEN_REPLY = 0x01;
const STATE_ASSURED = 0x02;
const STATE_FIXED_TIMEOUT = 0x04;
const STATE_STATUS_KNOWN = 0x07;
const KEY_AT = 2;
const MARK_TIMEOUT_STATE_BYTES = 9;
const VERIFICATION_TAGS_BYTES = 8;
const ZONE_BYTES = 3;
const SAY_THEIR_END: ReadonlySet<number> = new Set([IPPROTO_TCP, IPPROTO_SCTP]);

/** The highest state of a protocol that has states: TCP_CONNTRACK_SYN_SENT2, SCTP_CONNTRACK_HEARTBEAT_ACKED. */
const PROTOCOL_STATE_MAX = 9;

/** Records one behind the other in one buffer, bounded by BATCH_BYTES_MAX and BATCH_RECORDS_MAX. Reused. */
export class RecordBatch {
  readonly bytes: Uint8Array = new Uint8Array(BATCH_BYTES_MAX);
  readonly #view: DataView = new DataView(this.bytes.buffer);
  length = 0;
  count = 0;

  reset(): void {
    this.length = 0;
    this.count = 0;
  }

  /** No further record is sure to fit. */
  get full(): boolean {
    return !this.hasRoom(1);
  }

  /** `records` further records are sure to fit. */
  hasRoom(records: number): boolean {
    return (
      this.count + records <= BATCH_RECORDS_MAX &&
      this.length + records * SESSION_RECORD_BYTES_MAX <= BATCH_BYTES_MAX
    );
  }

  /** The records so far: a view, valid until `reset`. */
  records(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Copies the record at `start..end` of `from`, as it is. False where the batch is full. */
  copy(from: Uint8Array, start: number, end: number): boolean {
    if (this.full) return false;
    for (let at = start; at < end; at += 1) this.bytes[this.length + at - start] = from[at]!;
    this.length += end - start;
    this.count += 1;
    return true;
  }

  /** Encodes one session. False where the batch is full; the generation bits of the mark are left out. */
  append(operation: SessionOperation, fields: SessionFields): boolean {
    if (this.full) return false;
    const { bytes } = this;
    const head = this.length;
    bytes[head] =
      operation | (fields.family === 6 ? HEAD_IPV6 : 0) | (fields.zoneDirections !== 0 ? HEAD_ZONE : 0);
    bytes[head + 1] = 0;
    bytes[head + KEY_AT] = fields.protocol;
    const size = fields.addressBytes;
    let at = this.#address(head + 3, fields.bytes, fields.originalSource, size);
    at = this.#address(at, fields.bytes, fields.originalDestination, size);
    at = this.#numbers(at, fields.originalA, fields.originalB);
    if (fields.zoneDirections !== 0) {
      bytes[at] = fields.zoneDirections;
      this.#view.setUint16(at + 1, fields.zone);
      at += ZONE_BYTES;
    }
    if (operation !== SessionOperation.Delete) at = this.#state(at, head, fields);
    this.length = at;
    this.count += 1;
    return true;
  }

  /** Encodes one expectation (`isCarried`); create or delete. False where the batch is full. */
  appendExpectation(operation: SessionOperation, fields: ExpectationFields): boolean {
    if (this.full) return false;
    this.length = writeExpectation(this.bytes, this.length, operation, fields);
    this.count += 1;
    return true;
  }

  #state(start: number, head: number, fields: SessionFields): number {
    const view = this.#view;
    const size = fields.addressBytes;
    const shape = replyShape(fields);
    let at = start;
    view.setUint32(at, (fields.mark & ~MARK_GENERATION_MASK) >>> 0);
    view.setUint32(at + 4, Math.min(fields.timeoutSeconds, SESSION_TIMEOUT_SECONDS_MAX));
    this.bytes[at + 8] =
      ((fields.status & IPS_SEEN_REPLY) !== 0 ? STATE_SEEN_REPLY : 0) |
      ((fields.status & IPS_ASSURED) !== 0 ? STATE_ASSURED : 0) |
      ((fields.status & IPS_FIXED_TIMEOUT) !== 0 ? STATE_FIXED_TIMEOUT : 0) |
      (fields.protocolState << 4);
    at += MARK_TIMEOUT_STATE_BYTES;
    if (fields.protocol === IPPROTO_SCTP) {
      view.setUint32(at, fields.tagOriginal);
      view.setUint32(at + 4, fields.tagReply);
      at += VERIFICATION_TAGS_BYTES;
    }
    if ((shape & REPLY_SOURCE) !== 0) at = this.#address(at, fields.bytes, fields.replySource, size);
    if ((shape & REPLY_DESTINATION) !== 0)
      at = this.#address(at, fields.bytes, fields.replyDestination, size);
    if ((shape & REPLY_A) !== 0) {
      view.setUint16(at, fields.replyA);
      at += 2;
    }
    if ((shape & REPLY_B) !== 0) {
      view.setUint16(at, fields.replyB);
      at += 2;
    }
    const end = writeParts(this.bytes, view, at, fields);
    this.bytes[head + 1] = end === at ? shape : shape | SHAPE_PARTS;
    return end;
  }

  #address(at: number, from: Uint8Array, fromAt: number, size: number): number {
    const { bytes } = this;
    for (let index = 0; index < size; index += 1) bytes[at + index] = from[fromAt + index]!;
    return at + size;
  }

  #numbers(at: number, a: number, b: number): number {
    this.#view.setUint16(at, a);
    this.#view.setUint16(at + 2, b);
    return at + 4;
  }
}

const scratch = new SessionFields();
const scratchExpectation = new ExpectationFields();

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
const u32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

/** Offset behind the key of the record at `offset`. */
const keyEnd = (head: number, offset: number): number =>
  offset + KEY_AT + ((head & HEAD_IPV6) !== 0 ? 37 : 13) + ((head & HEAD_ZONE) !== 0 ? ZONE_BYTES : 0);

/**
 * Reads the session record at `offset` into `fields` (whose `bytes` becomes `bytes`) and returns the offset behind it; a
 * negative number where it is not a valid record (`refusalOf` names the reason), and `fields` are then undefined.
 */
export function readRecord(
  bytes: Uint8Array,
  offset: number,
  fields: SessionFields,
  limit: number = bytes.length,
): number {
  if (limit - offset < KEY_AT) return refuse("truncated");
  const head = bytes[offset]!;
  const shape = bytes[offset + 1]!;
  if ((head & HEAD_OPERATION) === 0) return refuse("unknown operation");
  if ((head & ~HEAD_KNOWN) !== 0 || (shape & ~SHAPE_KNOWN) !== 0) return refuse("unknown flag");
  const end = keyEnd(head, offset);
  if (end > limit) return refuse("truncated");
  fields.clear();
  fields.bytes = bytes;
  fields.operation = head & HEAD_OPERATION;
  fields.family = (head & HEAD_IPV6) !== 0 ? 6 : 4;
  fields.protocol = bytes[offset + KEY_AT]!;
  const size = fields.addressBytes;
  fields.originalSource = offset + 3;
  fields.originalDestination = offset + 3 + size;
  fields.originalA = u16(bytes, offset + 3 + 2 * size);
  fields.originalB = u16(bytes, offset + 5 + 2 * size);
  const kind = protocolKind(fields.family, fields.protocol);
  if (kind === ProtocolKind.Portless && (fields.originalA | fields.originalB) !== 0)
    return refuse("numbers of a protocol without ports");
  if (kind === ProtocolKind.Icmp && icmpAnswer(fields.family, fields.originalB >> 8) < 0)
    return refuse("unknown icmp type");
  fields.replySource = fields.originalDestination;
  fields.replyDestination = fields.originalSource;
  fields.replyA = kind === ProtocolKind.Icmp ? fields.originalA : fields.originalB;
  fields.replyB = derivedReplyB(fields, kind);
  if ((head & HEAD_ZONE) !== 0) {
    fields.zoneDirections = bytes[end - ZONE_BYTES]!;
    fields.zone = u16(bytes, end - 2);
    if (fields.zoneDirections < 1 || fields.zoneDirections > 3 || fields.zone === 0)
      return refuse("bad zone");
  }
  if (fields.operation !== SessionOperation.Delete) return readState(bytes, end, limit, shape, fields, kind);
  return shape === 0 ? end : refuse("delete with state");
}

function readState(
  bytes: Uint8Array,
  start: number,
  limit: number,
  shape: number,
  fields: SessionFields,
  kind: ProtocolKind,
): number {
  const tags = fields.protocol === IPPROTO_SCTP;
  let at = start + MARK_TIMEOUT_STATE_BYTES + (tags ? VERIFICATION_TAGS_BYTES : 0);
  if (at > limit) return refuse("truncated");
  fields.mark = u32(bytes, start);
  if ((fields.mark & MARK_LINK_MASK) === 0) return refuse("mark without link");
  if ((fields.mark & MARK_GENERATION_MASK) !== 0) return refuse("mark with generation");
  fields.timeoutSeconds = u32(bytes, start + 4);
  if (fields.timeoutSeconds > SESSION_TIMEOUT_SECONDS_MAX) return refuse("timeout out of range");
  const state = bytes[start + 8]!;
  if ((state & 0x0f & ~STATE_STATUS_KNOWN) !== 0) return refuse("unknown status");
  fields.status =
    ((state & STATE_SEEN_REPLY) !== 0 ? IPS_SEEN_REPLY : 0) |
    ((state & STATE_ASSURED) !== 0 ? IPS_ASSURED : 0) |
    ((state & STATE_FIXED_TIMEOUT) !== 0 ? IPS_FIXED_TIMEOUT : 0);
  fields.protocolState = state >> 4;
  const stateMax = fields.protocol === IPPROTO_TCP || tags ? PROTOCOL_STATE_MAX : 0;
  if (fields.protocolState > stateMax) return refuse("unknown protocol state");
  if (tags) {
    fields.tagOriginal = u32(bytes, at - 8);
    fields.tagReply = u32(bytes, at - 4);
  }
  at = readReply(bytes, at, limit, shape, fields, kind);
  if (at < 0 || (shape & SHAPE_PARTS) === 0) return at;
  return readParts(bytes, at, limit, fields);
}

function readReply(
  bytes: Uint8Array,
  start: number,
  limit: number,
  shape: number,
  fields: SessionFields,
  kind: ProtocolKind,
): number {
  const size = fields.addressBytes;
  let at = start;
  if ((shape & REPLY_SOURCE) !== 0) {
    fields.replySource = at;
    at += size;
  }
  if ((shape & REPLY_DESTINATION) !== 0) {
    fields.replyDestination = at;
    at += size;
  }
  if (at + ((shape & REPLY_A) >> 1) + ((shape & REPLY_B) >> 2) > limit) return refuse("truncated");
  if ((shape & REPLY_A) !== 0) {
    fields.replyA = u16(bytes, at);
    at += 2;
  }
  if ((shape & REPLY_B) !== 0) {
    fields.replyB = u16(bytes, at);
    at += 2;
  }
  if (replyShape(fields) !== (shape & ~SHAPE_PARTS)) return refuse("reply part that can be derived");
  if (kind === ProtocolKind.Portless && (shape & (REPLY_A | REPLY_B)) !== 0)
    return refuse("numbers of a protocol without ports");
  // The answer's type follows from the question's: no translation changes it.
  if (kind === ProtocolKind.Icmp && (shape & REPLY_B) !== 0) return refuse("unknown icmp type");
  return at;
}

/** The offset behind the record of any kind at `offset`, or a negative number where it is refused (see `refusalOf`). */
export function recordEnd(bytes: Uint8Array, offset: number, limit: number = bytes.length): number {
  if (offset < limit && isExpectation(bytes, offset))
    return readExpectation(bytes, offset, scratchExpectation, limit);
  return readRecord(bytes, offset, scratch, limit);
}

export type RecordsVerdict =
  | { readonly ok: true; readonly count: number }
  | { readonly ok: false; readonly reason: string; readonly offset: number };

/**
 * Checks a peer's records wholly, before any is applied: every record valid, nothing left over, within bounds. `version`
 * is the connection's: expectations belong to version 2.
 */
export function validateRecords(bytes: Uint8Array, version = 2): RecordsVerdict {
  if (bytes.length > BATCH_BYTES_MAX) return { ok: false, reason: "too many bytes", offset: BATCH_BYTES_MAX };
  let count = 0;
  let offset = 0;
  while (offset < bytes.length) {
    const known = version >= 2 || !isExpectation(bytes, offset);
    const end = known ? recordEnd(bytes, offset) : refuse("unknown flag");
    if (end < 0) return { ok: false, reason: refusalOf(end), offset };
    count += 1;
    if (count > BATCH_RECORDS_MAX) return { ok: false, reason: "too many records", offset };
    offset = end;
  }
  return { ok: true, count };
}

/** Calls `visit(offset, end)` for each record of `bytes`; these must be valid. */
export function forEachRecord(bytes: Uint8Array, visit: (offset: number, end: number) => void): void {
  let offset = 0;
  while (offset < bytes.length) {
    const end = recordEnd(bytes, offset);
    assert(end > offset, `session records: ${refusalOf(end)} at ${offset}`);
    visit(offset, end);
    offset = end;
  }
}

/** The operation of the valid record at `offset`. */
export function recordOperation(bytes: Uint8Array, offset: number): SessionOperation {
  return (bytes[offset]! & HEAD_OPERATION) as SessionOperation;
}

/** True where the valid record at `offset` ends a session whose protocol says itself when it ends (TCP, SCTP). */
export const endsByWord = (bytes: Uint8Array, offset: number): boolean =>
  recordOperation(bytes, offset) === SessionOperation.Delete &&
  !isExpectation(bytes, offset) &&
  SAY_THEIR_END.has(bytes[offset + KEY_AT]!);

/** True where the valid records at `left` and `right` are about the same session, or the same expectation. */
export function sameKey(bytes: Uint8Array, left: number, right: number): boolean {
  const key = HEAD_IPV6 | HEAD_ZONE | HEAD_EXPECTATION;
  if ((bytes[left]! & key) !== (bytes[right]! & key)) return false;
  const size = keyEnd(bytes[left]!, left) - left - KEY_AT;
  return sameBytes(bytes, left + KEY_AT, bytes, right + KEY_AT, size);
}

/**
 * 64 bits over the session's or the expectation's key (family, protocol, original tuple, zone) into `out[0]`, `out[1]`: the same for
 * every operation on a session. `seed` keeps a stranger from choosing keys that collide.
 */
export function keyHash(bytes: Uint8Array, offset: number, out: Uint32Array, seed = 0): void {
  const head = bytes[offset]!;
  const end = keyEnd(head, offset);
  let first = seed ^ 0x9e3779b9 ^ (head & (HEAD_IPV6 | HEAD_ZONE | HEAD_EXPECTATION));
  let second = Math.imul(seed, 0x85ebca6b) ^ 0x7f4a7c15;
  for (let at = offset + KEY_AT; at < end; at += 1) {
    const byte = bytes[at]!;
    first = Math.imul(first ^ byte, 0x01000193);
    second = Math.imul((second << 5) ^ (second >>> 27) ^ byte, 0xcc9e2d51);
  }
  out[0] = mix(first ^ (second >>> 15));
  out[1] = mix(second ^ Math.imul(first, 0xc2b2ae35));
}

/** Spreads every bit over the word (murmur3's finaliser). */
function mix(value: number): number {
  let word = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

assert(SESSION_RECORD_BYTES_MAX * 8 < BATCH_BYTES_MAX, "a batch holds more than a handful of records");
