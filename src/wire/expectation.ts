// The expectation record: a session that a helper of connection tracking expects (the data connection of FTP, the media of
// a call), as bytes among the session records of the log. Rare beside sessions, but of the same make: read in place, one
// encoding each, and a key at the same place as a session's. Layout: docs/protocol.md §9.6. May not know netlink. Pure.

import { SESSION_TIMEOUT_SECONDS_MAX } from "../base/limits.ts";
import { refuse } from "./recordRefusals.ts";
import { ProtocolKind, protocolKind, sameBytes } from "./sessionFields.ts";

/** Bit of a record's first byte: not a session, but an expectation. */
export const HEAD_EXPECTATION = 0x10;
const HEAD_OPERATION = 0x03;
const HEAD_IPV6 = 0x04;
const HEAD_KNOWN = HEAD_OPERATION | HEAD_IPV6 | HEAD_EXPECTATION;
const CREATE = 1;
const DELETE = 3;
// Byte 1: what follows because it is not the usual.
const SHAPE_SOURCE_MASK = 0x01;
const SHAPE_A_MASK = 0x02;
const SHAPE_TRANSLATION = 0x04;
const SHAPE_FUNCTION = 0x08;
const SHAPE_KNOWN = 0x0f;
const FLAG_PERMANENT = 0x01;
const KEY_AT = 2;
const HELPER_BYTES_MAX = 15;
const FUNCTION_BYTES_MAX = 31;
/** A source address that must match wholly, as wide as the widest. */
const WHOLE = new Uint8Array(16).fill(0xff);

/**
 * One expectation in the hands of its reader or writer: a mutable view, filled anew for each. Addresses and names are
 * offsets into `bytes`; `a` and `b` are source and destination port.
 */
export class ExpectationFields {
  bytes: Uint8Array = new Uint8Array(0);
  operation = 0;
  family = 4;
  /** Of the expected session. */
  protocol = 0;
  source = 0;
  destination = 0;
  a = 0;
  b = 0;
  /** Which bits of the source address must match; -1: all of them. */
  sourceMask = -1;
  /** Which bits of the source port must match. The destination's must all. */
  aMask = 0;
  /** The original tuple of the session whose helper expects. */
  masterProtocol = 0;
  masterSource = 0;
  masterDestination = 0;
  masterA = 0;
  masterB = 0;
  timeoutSeconds = 0;
  /** It stays when a session has come of it. */
  permanent = false;
  /** The helper's own class of expectations. */
  policyClass = 0;
  /** The master's helper. */
  helperAt = 0;
  helperLength = 0;
  /** What translates the expected session: a name of the kernel's; length 0: none. */
  functionAt = 0;
  functionLength = 0;
  hasTranslation = false;
  /** 0 original, 1 reply: whose translation of the master it follows. */
  direction = 0;
  translatedAddress = 0;
  translatedNumber = 0;

  /** Forgets the optional things, which a reader only sets where they occur. */
  clear(): void {
    this.sourceMask = -1;
    this.aMask = 0;
    this.timeoutSeconds = 0;
    this.permanent = false;
    this.policyClass = 0;
    this.helperLength = 0;
    this.functionLength = 0;
    this.hasTranslation = false;
    this.direction = 0;
  }

  get addressBytes(): number {
    return this.family === 4 ? 4 : 16;
  }
}

/** True where the record at `offset` is an expectation's. */
export const isExpectation = (bytes: Uint8Array, offset: number): boolean =>
  (bytes[offset]! & HEAD_EXPECTATION) !== 0;

/** A mask that says "all of it", which a record leaves out. */
const isWhole = (fields: ExpectationFields): boolean =>
  fields.sourceMask < 0 || sameBytes(fields.bytes, fields.sourceMask, WHOLE, 0, fields.addressBytes);

/** Whether a record can carry it: names within their bounds, protocols with ports. */
export function isCarried(fields: ExpectationFields): boolean {
  return (
    protocolKind(fields.family, fields.protocol) === ProtocolKind.Ports &&
    protocolKind(fields.family, fields.masterProtocol) === ProtocolKind.Ports &&
    isName(fields.bytes, fields.helperAt, fields.helperLength, HELPER_BYTES_MAX) &&
    (fields.functionLength === 0 ||
      isName(fields.bytes, fields.functionAt, fields.functionLength, FUNCTION_BYTES_MAX)) &&
    fields.policyClass <= 0xff
  );
}

/** Writes the record (`isCarried`) at `at` and returns the offset behind it. There must be room. */
export function writeExpectation(
  bytes: Uint8Array,
  at: number,
  operation: number,
  fields: ExpectationFields,
): number {
  const into = new Cursor(bytes, at);
  const size = fields.addressBytes;
  const from = fields.bytes;
  into.u8(operation | (fields.family === 6 ? HEAD_IPV6 : 0) | HEAD_EXPECTATION);
  into.u8(operation === DELETE ? 0 : shapeOf(fields));
  into.u8(fields.protocol);
  into.copy(from, fields.source, size).copy(from, fields.destination, size).u16(fields.a).u16(fields.b);
  if (operation === DELETE) return into.at;
  into.u8(fields.masterProtocol);
  into.copy(from, fields.masterSource, size).copy(from, fields.masterDestination, size);
  into.u16(fields.masterA).u16(fields.masterB);
  into.u32(Math.min(fields.timeoutSeconds, SESSION_TIMEOUT_SECONDS_MAX));
  into.u8(fields.permanent ? FLAG_PERMANENT : 0).u8(fields.policyClass);
  into.u8(fields.helperLength).copy(from, fields.helperAt, fields.helperLength);
  if (!isWhole(fields)) into.copy(from, fields.sourceMask, size);
  if (fields.aMask !== 0) into.u16(fields.aMask);
  if (fields.hasTranslation)
    into.u8(fields.direction).copy(from, fields.translatedAddress, size).u16(fields.translatedNumber);
  if (fields.functionLength > 0)
    into.u8(fields.functionLength).copy(from, fields.functionAt, fields.functionLength);
  return into.at;
}

const shapeOf = (fields: ExpectationFields): number =>
  (isWhole(fields) ? 0 : SHAPE_SOURCE_MASK) |
  (fields.aMask === 0 ? 0 : SHAPE_A_MASK) |
  (fields.hasTranslation ? SHAPE_TRANSLATION : 0) |
  (fields.functionLength > 0 ? SHAPE_FUNCTION : 0);

/** Where a record is written to, or read from. Expectations are rare: an object each is no matter. */
class Cursor {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  u8(value: number): this {
    this.#bytes[this.at] = value;
    this.at += 1;
    return this;
  }

  u16(value: number): this {
    return this.u8(value >>> 8).u8(value & 0xff);
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff);
  }

  copy(from: Uint8Array, fromAt: number, size: number): this {
    for (let index = 0; index < size; index += 1) this.#bytes[this.at + index] = from[fromAt + index]!;
    this.at += size;
    return this;
  }
}

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

/** Printable ASCII without the blank. */
function isName(bytes: Uint8Array, at: number, length: number, max: number): boolean {
  for (let index = 0; index < length; index += 1)
    if (bytes[at + index]! <= 0x20 || bytes[at + index]! >= 0x7f) return false;
  return length >= 1 && length <= max;
}

/**
 * Reads the expectation record at `offset` into `fields` (whose `bytes` becomes `bytes`) and returns the offset behind
 * it; a negative number where it is not valid (recordRefusals.ts), and `fields` are then undefined.
 */
export function readExpectation(
  bytes: Uint8Array,
  offset: number,
  fields: ExpectationFields,
  limit: number = bytes.length,
): number {
  if (limit - offset < KEY_AT) return refuse("truncated");
  const head = bytes[offset]!;
  const shape = bytes[offset + 1]!;
  const operation = head & HEAD_OPERATION;
  if (operation !== CREATE && operation !== DELETE) return refuse("unknown operation");
  if ((head & ~HEAD_KNOWN) !== 0 || (head & HEAD_EXPECTATION) === 0 || (shape & ~SHAPE_KNOWN) !== 0)
    return refuse("unknown flag");
  fields.clear();
  fields.bytes = bytes;
  fields.operation = operation;
  fields.family = (head & HEAD_IPV6) !== 0 ? 6 : 4;
  const size = fields.addressBytes;
  const end = offset + KEY_AT + 5 + 2 * size;
  if (end > limit) return refuse("truncated");
  fields.protocol = bytes[offset + KEY_AT]!;
  fields.source = offset + KEY_AT + 1;
  fields.destination = fields.source + size;
  fields.a = u16(bytes, end - 4);
  fields.b = u16(bytes, end - 2);
  if (protocolKind(fields.family, fields.protocol) !== ProtocolKind.Ports)
    return refuse("expectation of a protocol without ports");
  if (operation === DELETE) return shape === 0 ? end : refuse("delete with state");
  return readMaster(bytes, end, limit, shape, fields);
}

function readMaster(
  bytes: Uint8Array,
  start: number,
  limit: number,
  shape: number,
  fields: ExpectationFields,
): number {
  const size = fields.addressBytes;
  // Master (1, two addresses, 4), seconds (4), flags, class, length of the helper's name.
  const end = start + 5 + 2 * size + 7;
  if (end > limit) return refuse("truncated");
  fields.masterProtocol = bytes[start]!;
  fields.masterSource = start + 1;
  fields.masterDestination = start + 1 + size;
  fields.masterA = u16(bytes, start + 1 + 2 * size);
  fields.masterB = u16(bytes, start + 3 + 2 * size);
  if (protocolKind(fields.family, fields.masterProtocol) !== ProtocolKind.Ports)
    return refuse("expectation of a protocol without ports");
  fields.timeoutSeconds = u16(bytes, end - 7) * 0x10000 + u16(bytes, end - 5);
  if (fields.timeoutSeconds > SESSION_TIMEOUT_SECONDS_MAX) return refuse("timeout out of range");
  if ((bytes[end - 3]! & ~FLAG_PERMANENT) !== 0) return refuse("unknown flag");
  fields.permanent = bytes[end - 3] !== 0;
  fields.policyClass = bytes[end - 2]!;
  fields.helperAt = end;
  fields.helperLength = bytes[end - 1]!;
  if (end + fields.helperLength > limit) return refuse("truncated");
  if (!isName(bytes, end, fields.helperLength, HELPER_BYTES_MAX)) return refuse("bad name");
  return readUnusual(bytes, end + fields.helperLength, limit, shape, fields);
}

function readUnusual(
  bytes: Uint8Array,
  start: number,
  limit: number,
  shape: number,
  fields: ExpectationFields,
): number {
  const size = fields.addressBytes;
  let at = start;
  if ((shape & SHAPE_SOURCE_MASK) !== 0) {
    fields.sourceMask = at;
    at += size;
    if (at > limit) return refuse("truncated");
    if (isWhole(fields)) return refuse("mask that can be derived");
  }
  if ((shape & SHAPE_A_MASK) !== 0) {
    if (at + 2 > limit) return refuse("truncated");
    fields.aMask = u16(bytes, at);
    if (fields.aMask === 0) return refuse("mask that can be derived");
    at += 2;
  }
  if ((shape & SHAPE_TRANSLATION) !== 0) {
    if (at + 3 + size > limit) return refuse("truncated");
    fields.hasTranslation = true;
    fields.direction = bytes[at]!;
    if (fields.direction > 1) return refuse("bad direction");
    fields.translatedAddress = at + 1;
    fields.translatedNumber = u16(bytes, at + 1 + size);
    at += 3 + size;
  }
  if ((shape & SHAPE_FUNCTION) === 0) return at;
  if (at >= limit || at + 1 + bytes[at]! > limit) return refuse("truncated");
  fields.functionAt = at + 1;
  fields.functionLength = bytes[at]!;
  if (!isName(bytes, at + 1, fields.functionLength, FUNCTION_BYTES_MAX)) return refuse("bad name");
  return at + 1 + fields.functionLength;
}
