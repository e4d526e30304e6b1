// Frames of the log's connection: a stream of bytes cut into messages, and messages into frames (docs/protocol.md §5.2).
// Both sides hold to the version that was agreed on: what it does not have is neither written nor read. Pure.

import { assert } from "../base/assert.ts";
import { type Decoded, decode, Reader, u8, u32, Writer } from "./codec.ts";
import {
  type MessageEntry,
  messageTables,
  messageTablesByType,
  type PeerMessage,
  PROTOCOL_VERSION_LOWEST,
} from "./peer.ts";

/** A frame's head: u32 number of bytes that follow it, type included; u8 type. */
export const FRAME_HEAD_BYTES = 5;

/**
 * The frame of `message`: length, type, body. Throws where a value does not fit its field, or where `version`, the one
 * that is spoken with the peer, does not have the message (a defect).
 */
export function encodeFrame(message: PeerMessage, version: number): Uint8Array {
  const entry = messageTables.get(message.kind);
  assert(entry !== undefined, `a message of a known kind: ${message.kind}`);
  assert(entry.since <= version, `${message.kind} is not sent to a peer that speaks version ${version}`);
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
  #version: number;
  #buffer = new Uint8Array(4096);
  #start = 0;
  #end = 0;
  #malformed: FrameResult | null = null;

  /** `version`: that of the messages which are understood; until a hello was read, the lowest. */
  constructor(version = PROTOCOL_VERSION_LOWEST) {
    this.#version = version;
  }

  /** From the next message on, those of `version` are understood. */
  speak(version: number): void {
    this.#version = version;
  }

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
    const entry = messageTablesByType.get(type);
    if (entry === undefined) return this.#fail(`unknown message type ${type}`);
    if (entry.since > this.#version) {
      return this.#fail(`${entry.kind} is of version ${entry.since}, and version ${this.#version} is spoken`);
    }
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
