// One end of an SCTP association (RFC 9260) on raw packets, for kernels that have no SCTP of their own: the handshake of
// four, messages that are delivered as they come, acknowledgement and repetition. No streams' order, no bundling, no second
// address, no shutdown: it is there so that connection tracking sees a true conversation. Pure: packets in, packets out.

import { readUint32 } from "./content.ts";

/** Chunk types (RFC 9260 §3.2). */
const DATA = 0;
const INIT = 1;
const INIT_ACK = 2;
const SACK = 3;
const COOKIE_ECHO = 10;
const COOKIE_ACK = 11;
/** Unordered, and the whole of a message. */
const DATA_WHOLE = 0b111;
const STATE_COOKIE = 7;
const HEADER_BYTES = 12;
const WINDOW_BYTES = 65_536;
const COOKIE_BYTES = 8;
/** RTO.Initial (§16). */
const HANDSHAKE_REPEAT_MS = 1000;
/** Below RTO.Min: a path of a laboratory answers within a millisecond. */
const DATA_REPEAT_MS = 200;

const castagnoli = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** CRC32c over `bytes` (RFC 9260 appendix A). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let index = 0; index < bytes.length; index += 1)
    crc = (crc >>> 8) ^ castagnoli[(crc ^ bytes[index]!) & 0xff]!;
  return ~crc >>> 0;
}

export type SctpState = "closed" | "cookie-wait" | "cookie-echoed" | "established";

export interface SctpEnd {
  readonly port: number;
  readonly peerPort: number;
  /** What the peer has to write into each packet to us. */
  readonly tag: number;
  state: SctpState;
  peerTag: number;
  nextNumber: number;
  /** Sent and not acknowledged, by transmission sequence number. */
  readonly unacknowledged: Map<number, Uint8Array>;
  /** Everything up to this number has come; null before the handshake. */
  received: number | null;
  readonly ahead: Set<number>;
  cookie: Uint8Array;
  /** When the oldest thing that is unanswered was sent last. */
  sentMs: number;
}

/** `tag`: not 0. Numbers start at 1: they do not turn over in the life of a laboratory. */
export const sctpEnd = (port: number, peerPort: number, tag: number): SctpEnd => ({
  port,
  peerPort,
  tag,
  state: "closed",
  peerTag: 0,
  nextNumber: 1,
  unacknowledged: new Map(),
  received: null,
  ahead: new Set(),
  cookie: new Uint8Array(0),
  sentMs: 0,
});

const be16 = (value: number): readonly number[] => [(value >> 8) & 0xff, value & 0xff];
const be32 = (value: number): readonly number[] => [...be16(value >>> 16), ...be16(value)];

/** A packet with one chunk, padded to four bytes, its checksum in place (little-endian, as it is computed). */
function packet(end: SctpEnd, tag: number, type: number, flags: number, body: readonly number[]): Uint8Array {
  const chunk = [type, flags, ...be16(4 + body.length), ...body];
  while (chunk.length % 4 !== 0) chunk.push(0);
  const bytes = Uint8Array.from([
    ...be16(end.port),
    ...be16(end.peerPort),
    ...be32(tag),
    0,
    0,
    0,
    0,
    ...chunk,
  ]);
  new DataView(bytes.buffer).setUint32(8, crc32c(bytes), true);
  return bytes;
}

const opening = (end: SctpEnd): readonly number[] => [
  ...be32(end.tag),
  ...be32(WINDOW_BYTES),
  ...be16(1),
  ...be16(1),
  ...be32(end.nextNumber),
];

/** The active side's first packet. */
export function associate(end: SctpEnd, now: number): Uint8Array {
  end.state = "cookie-wait";
  end.sentMs = now;
  return packet(end, 0, INIT, 0, opening(end));
}

function dataPacket(end: SctpEnd, number: number, message: Uint8Array): Uint8Array {
  return packet(end, end.peerTag, DATA, DATA_WHOLE, [...be32(number), 0, 0, 0, 0, 0, 0, 0, 0, ...message]);
}

/** A message as a packet; kept until it is acknowledged. */
export function sendMessage(end: SctpEnd, message: Uint8Array, now: number): Uint8Array {
  const number = end.nextNumber;
  end.nextNumber += 1;
  if (end.unacknowledged.size === 0) end.sentMs = now;
  end.unacknowledged.set(number, message.slice());
  return dataPacket(end, number, message);
}

/** What is to be sent again by now, if anything. */
export function repeat(end: SctpEnd, now: number): Uint8Array | null {
  const waitMs = end.state === "established" ? DATA_REPEAT_MS : HANDSHAKE_REPEAT_MS;
  if (now - end.sentMs < waitMs) return null;
  if (end.state === "cookie-wait") return associate(end, now);
  if (end.state === "cookie-echoed") {
    end.sentMs = now;
    return packet(end, end.peerTag, COOKIE_ECHO, 0, [...end.cookie]);
  }
  const [oldest] = end.unacknowledged;
  if (end.state !== "established" || oldest === undefined) return null;
  end.sentMs = now;
  return dataPacket(end, oldest[0], oldest[1]);
}

export interface Taken {
  readonly answers: readonly Uint8Array[];
  /** Messages that are new. */
  readonly messages: readonly Uint8Array[];
  /** Null: the packet was for this end, and in order. Else why it was passed over. */
  readonly refused: "short" | "ports" | "checksum" | "tag" | "state" | null;
}

const passedOver = (refused: NonNullable<Taken["refused"]>): Taken => ({
  answers: [],
  messages: [],
  refused,
});
const answered = (...answers: readonly Uint8Array[]): Taken => ({ answers, messages: [], refused: null });

/** Takes one packet (from the SCTP header on) with one chunk in it. */
export function takePacket(end: SctpEnd, bytes: Uint8Array, now: number): Taken {
  if (bytes.length < HEADER_BYTES + 4) return passedOver("short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint16(0) !== end.peerPort || view.getUint16(2) !== end.port) return passedOver("ports");
  const unsummed = bytes.slice();
  unsummed.fill(0, 8, 12);
  if (view.getUint32(8, true) !== crc32c(unsummed)) return passedOver("checksum");
  const type = bytes[HEADER_BYTES]!;
  const body = bytes.subarray(HEADER_BYTES + 4, HEADER_BYTES + view.getUint16(HEADER_BYTES + 2));
  if (readUint32(bytes, 4) !== (type === INIT ? 0 : end.tag)) return passedOver("tag");
  switch (type) {
    case INIT:
      return takeInit(end, body);
    case INIT_ACK:
      return takeInitAck(end, body, now);
    case COOKIE_ECHO:
      return takeCookie(end, body);
    case COOKIE_ACK:
      if (end.state !== "cookie-echoed") return passedOver("state");
      end.state = "established";
      return answered();
    case DATA:
      return end.state === "closed" ? passedOver("state") : takeData(end, body);
    case SACK:
      return takeSack(end, readUint32(body, 0), now);
    default:
      return passedOver("state");
  }
}

/** The passive side answers every INIT, and keeps what the last one said until its cookie comes back. */
function takeInit(end: SctpEnd, body: Uint8Array): Taken {
  if (end.state !== "closed") return passedOver("state");
  end.peerTag = readUint32(body, 0);
  end.received = readUint32(body, 12) - 1;
  end.cookie = Uint8Array.from([...be32(end.tag), ...be32(end.peerTag)]);
  const parameter = [...be16(STATE_COOKIE), ...be16(4 + COOKIE_BYTES), ...end.cookie];
  return answered(packet(end, end.peerTag, INIT_ACK, 0, [...opening(end), ...parameter]));
}

function takeInitAck(end: SctpEnd, body: Uint8Array, now: number): Taken {
  if (end.state !== "cookie-wait" || body.length < 20 + COOKIE_BYTES) return passedOver("state");
  end.peerTag = readUint32(body, 0);
  end.received = readUint32(body, 12) - 1;
  end.cookie = body.slice(20, 20 + COOKIE_BYTES);
  end.state = "cookie-echoed";
  end.sentMs = now;
  return answered(packet(end, end.peerTag, COOKIE_ECHO, 0, [...end.cookie]));
}

function takeCookie(end: SctpEnd, body: Uint8Array): Taken {
  const right = end.cookie.length > 0 && end.cookie.every((byte, index) => byte === body[index]);
  if (!right) return passedOver("state");
  end.state = "established";
  return answered(packet(end, end.peerTag, COOKIE_ACK, 0, []));
}

function takeData(end: SctpEnd, body: Uint8Array): Taken {
  // A message proves that our cookie has come, though its acknowledgement may be lost.
  end.state = "established";
  const number = readUint32(body, 0);
  const isNew = number > (end.received ?? 0) && !end.ahead.has(number);
  if (isNew) end.ahead.add(number);
  let received = end.received ?? 0;
  while (end.ahead.delete(received + 1)) received += 1;
  end.received = received;
  const sack = packet(end, end.peerTag, SACK, 0, [...be32(received), ...be32(WINDOW_BYTES), 0, 0, 0, 0]);
  return { answers: [sack], messages: isNew ? [body.slice(12)] : [], refused: null };
}

function takeSack(end: SctpEnd, upTo: number, now: number): Taken {
  for (const number of end.unacknowledged.keys()) {
    if (number > upTo) break;
    end.unacknowledged.delete(number);
    end.sentMs = now;
  }
  return answered();
}
