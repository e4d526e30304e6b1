// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// The codec: declarative tables from which a message's type, its encoder and its decoder all follow, so that
// the three cannot drift apart (docs/protocol.md §2). A field says its exact size in bytes, writes a value and
// reads one back. What is read is refused, with a reason and an offset, where it is not exactly what an encoder
// would have written: too short, too long, an unknown number, a bit that has no meaning yet. Values that do
// not fit on the way *out* are defects of ours and throw. Big-endian throughout. Pure: no clock, no `node:`.

import { assert } from "./assert.ts";

/** Why bytes are not what they should be, and where. */
export interface Refusal {
  readonly ok: false;
  /** A sentence fragment for logs: `role: unknown number 9`. */
  readonly reason: string;
  /** Offset of the refused field from the start of what was decoded. */
  readonly offset: number;
}
export type Decoded<T> = { readonly ok: true; readonly value: T } | Refusal;

/** A view of the same bytes that is a Uint8Array and nothing more: the `slice` of Node's Buffer copies nothing. */
export function plain(raw: Uint8Array): Uint8Array {
  return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
}

/** Writes into one buffer that was made in exactly the right size. */
export class Writer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Offset of the next `size` bytes, which are then the caller's to fill. */
  claim(size: number): number {
    const at = this.offset;
    assert(at + size <= this.bytes.length, "a field writes no more than it said it would");
    this.offset = at + size;
    return at;
  }
}

/** Reads bytes once, front to back. The first refusal stays; after it, every read gives a zero and moves nothing. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  refusal: Refusal | null = null;

  constructor(bytes: Uint8Array) {
    this.bytes = plain(bytes);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Offset of the next `size` bytes, or -1 where there are fewer or something was refused before. */
  claim(size: number): number {
    if (this.refusal !== null) return -1;
    const at = this.offset;
    if (at + size > this.bytes.length) {
      this.refuse(`truncated: ${size} bytes wanted, ${this.bytes.length - at} left`);
      return -1;
    }
    this.offset = at + size;
    return at;
  }

  refuse(reason: string, offset: number = this.offset): void {
    this.refusal ??= { ok: false, reason, offset };
  }
}

/**
 * One field of a table. Written as methods, not as function properties, so that `Field<Role>` is a
 * `Field<unknown>` to the tables (parameters of methods are compared both ways).
 */
export interface Field<T> {
  /** Fewest and most bytes that any value takes; equal where the size is fixed. */
  readonly minBytes: number;
  readonly maxBytes: number;
  /** For docs/protocol.md: `u48`, `text, at most 512 bytes`. */
  readonly type: string;
  /** Of a table: its fields in order. */
  readonly fields?: readonly (readonly [string, Field<unknown>])[];
  size(value: T): number;
  write(writer: Writer, value: T): void;
  read(reader: Reader): T;
}

export type ValueOf<F> = F extends Field<infer T> ? T : never;
type Fields = Readonly<Record<string, Field<unknown>>>;
type StructOf<T extends Fields> = { readonly [K in keyof T]: ValueOf<T[K]> };

function fixed<T>(type: string, bytes: number, write: Field<T>["write"], read: Field<T>["read"]): Field<T> {
  return { minBytes: bytes, maxBytes: bytes, type, size: () => bytes, write, read };
}

function unsigned(
  bytes: number,
  put: (view: DataView, at: number, value: number) => void,
  get: (view: DataView, at: number) => number,
): Field<number> {
  const limit = 2 ** (8 * bytes);
  return fixed(
    `u${8 * bytes}`,
    bytes,
    (writer, value) => {
      assert(Number.isInteger(value) && value >= 0 && value < limit, `${value} fits ${bytes} bytes`);
      put(writer.view, writer.claim(bytes), value);
    },
    (reader) => {
      const at = reader.claim(bytes);
      return at < 0 ? 0 : get(reader.view, at);
    },
  );
}

export const u8: Field<number> = unsigned(
  1,
  (view, at, value) => view.setUint8(at, value),
  (view, at) => view.getUint8(at),
);
export const u16: Field<number> = unsigned(
  2,
  (view, at, value) => view.setUint16(at, value),
  (view, at) => view.getUint16(at),
);
export const u32: Field<number> = unsigned(
  4,
  (view, at, value) => view.setUint32(at, value),
  (view, at) => view.getUint32(at),
);
/** Terms and sequence numbers: at a million a second it lasts nine years, and it is exact as a JavaScript number. */
export const u48: Field<number> = unsigned(
  6,
  (view, at, value) => {
    view.setUint16(at, Math.floor(value / 2 ** 32));
    view.setUint32(at + 2, value % 2 ** 32);
  },
  (view, at) => view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2),
);

/** One byte, 0 or 1; nothing else is a boolean. */
export const bool: Field<boolean> = fixed(
  "bool",
  1,
  (writer, value) => {
    assert(typeof value === "boolean", "a boolean");
    writer.view.setUint8(writer.claim(1), value ? 1 : 0);
  },
  (reader) => {
    const at = reader.claim(1);
    if (at < 0) return false;
    const value = reader.view.getUint8(at);
    if (value > 1) reader.refuse(`${value} is not a boolean`, at);
    return value === 1;
  },
);

/** One byte for one of the names. Numbers are never given to another name, even after theirs was retired. */
export function oneOf<const T extends Readonly<Record<string, number>>>(numbers: T): Field<keyof T & string> {
  const names = Object.keys(numbers) as (keyof T & string)[];
  const first = names[0];
  assert(first !== undefined, "one of nothing");
  const byNumber = new Map(names.map((name) => [numbers[name] as number, name]));
  assert(byNumber.size === names.length, "each name has a number of its own");
  return fixed(
    `u8: ${names.map((name) => `${numbers[name]} ${name}`).join(", ")}`,
    1,
    (writer, value) => u8.write(writer, numbers[value] as number),
    (reader) => {
      const at = reader.claim(1);
      if (at < 0) return first;
      const name = byNumber.get(reader.view.getUint8(at));
      if (name === undefined) reader.refuse(`unknown number ${reader.view.getUint8(at)}`, at);
      return name ?? first;
    },
  );
}

/** Exactly `length` bytes. What is read is a copy: it stays true when the buffer is used again. */
export function bytes(length: number): Field<Uint8Array> {
  return fixed(
    `${length} bytes`,
    length,
    (writer, value) => {
      assert(value.length === length, `${value.length} bytes where ${length} belong`);
      writer.bytes.set(value, writer.claim(length));
    },
    (reader) => {
      const at = reader.claim(length);
      return at < 0 ? new Uint8Array(length) : reader.bytes.slice(at, at + length);
    },
  );
}

/** Exactly `length` bytes, as lower-case hexadecimal digits to the program. */
export function hex(length: number): Field<string> {
  const raw = bytes(length);
  return fixed(
    raw.type,
    length,
    (writer, value) => raw.write(writer, hexToBytes(value)),
    (reader) => bytesToHex(raw.read(reader)),
  );
}

/** u32 length and that many bytes. What is read is a copy. */
export function blob(maximum: number): Field<Uint8Array> {
  return {
    minBytes: 4,
    maxBytes: 4 + maximum,
    type: `u32 length and that many bytes, at most ${maximum}`,
    size: (value) => 4 + value.length,
    write: (writer, value) => {
      assert(value.length <= maximum, `${value.length} bytes where at most ${maximum} belong`);
      u32.write(writer, value.length);
      writer.bytes.set(value, writer.claim(value.length));
    },
    read: (reader) => {
      const start = reader.offset;
      const length = u32.read(reader);
      if (length > maximum) reader.refuse(`${length} bytes, at most ${maximum} allowed`, start);
      const at = reader.claim(length);
      return at < 0 ? new Uint8Array(0) : reader.bytes.slice(at, at + length);
    },
  };
}

// The `u` flag makes the match one of code points, and the replacement of a pair of surrogates one space.
const unprintable = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;
const everyUnprintable = new RegExp(unprintable.source, "gu");
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** `value` without what a terminal would obey, cut to at most `maximum` bytes of UTF-8 at a character's end. */
export function cleanText(value: string, maximum: number): string {
  const clean = value.toWellFormed().replace(everyUnprintable, " ");
  const room = new Uint8Array(maximum);
  const { written } = encoder.encodeInto(clean, room);
  return decoder.decode(room.subarray(0, written));
}

/**
 * u16 length and that many bytes of UTF-8 without control characters: a peer's words end up on somebody's
 * terminal. On the way out such characters become spaces and the rest is cut: the text of an error must
 * never be the reason of another.
 */
export function text(maximum: number): Field<string> {
  return {
    minBytes: 2,
    maxBytes: 2 + maximum,
    type: `u16 length and that many bytes of UTF-8, at most ${maximum}`,
    size: (value) => 2 + encoder.encode(cleanText(value, maximum)).length,
    write: (writer, value) => {
      const raw = encoder.encode(cleanText(value, maximum));
      u16.write(writer, raw.length);
      writer.bytes.set(raw, writer.claim(raw.length));
    },
    read: (reader) => {
      const start = reader.offset;
      const length = u16.read(reader);
      if (length > maximum) reader.refuse(`${length} bytes of text, at most ${maximum} allowed`, start);
      const at = reader.claim(length);
      if (at < 0) return "";
      const value = decodeUtf8(reader.bytes.subarray(at, at + length));
      if (value === null || unprintable.test(value)) reader.refuse("not printable UTF-8", at);
      return value ?? "";
    },
  };
}

function decodeUtf8(raw: Uint8Array): string | null {
  try {
    return decoder.decode(raw);
  } catch {
    return null;
  }
}

/** An address, 4 or 16 bytes, behind one byte that says which: 4 or 6. */
export const address: Field<Uint8Array> = {
  minBytes: 5,
  maxBytes: 17,
  type: "u8: 4 or 6, then 4 or 16 bytes",
  size: (value) => 1 + value.length,
  write: (writer, value) => {
    assert(value.length === 4 || value.length === 16, "an address has 4 or 16 bytes");
    u8.write(writer, value.length === 4 ? 4 : 6);
    writer.bytes.set(value, writer.claim(value.length));
  },
  read: (reader) => {
    const start = reader.offset;
    const family = u8.read(reader);
    if (family !== 4 && family !== 6) reader.refuse(`address family ${family}`, start);
    const length = family === 4 ? 4 : 16;
    const at = reader.claim(length);
    return at < 0 ? new Uint8Array(4) : reader.bytes.slice(at, at + length);
  },
};

/** u16 count and that many elements. */
export function list<T>(element: Field<T>, maximum: number): Field<readonly T[]> {
  assert(maximum < 2 ** 16 && element.minBytes > 0, "a list is bounded by its bytes");
  return {
    minBytes: 2,
    maxBytes: 2 + maximum * element.maxBytes,
    type: `u16 count and that many, at most ${maximum}`,
    fields: [["each", element]],
    size: (value) => value.reduce((sum, each) => sum + element.size(each), 2),
    write: (writer, value) => {
      assert(value.length <= maximum, `${value.length} elements where at most ${maximum} belong`);
      u16.write(writer, value.length);
      for (const each of value) element.write(writer, each);
    },
    read: (reader) => {
      const start = reader.offset;
      const count = u16.read(reader);
      if (count > maximum) reader.refuse(`${count} elements, at most ${maximum} allowed`, start);
      const value: T[] = [];
      for (let index = 0; index < count && reader.refusal === null; index++) value.push(element.read(reader));
      return value;
    },
  };
}

/** A table: its fields one after another, in the order in which they are written down. */
export function struct<const T extends Fields>(fields: T): Field<StructOf<T>> {
  const entries = Object.entries(fields);
  const sum = (bytesOf: (field: Field<unknown>) => number) =>
    entries.reduce((total, [, field]) => total + bytesOf(field), 0);
  return {
    minBytes: sum((field) => field.minBytes),
    maxBytes: sum((field) => field.maxBytes),
    type: "table",
    fields: entries,
    size: (value) => entries.reduce((total, [name, field]) => total + field.size(value[name]), 0),
    write: (writer, value) => {
      for (const [name, field] of entries) field.write(writer, value[name]);
    },
    read: (reader) => {
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) {
        const fine = reader.refusal === null;
        value[name] = field.read(reader);
        if (fine && reader.refusal !== null)
          reader.refusal = {
            ...(reader.refusal as Refusal),
            reason: `${name}: ${(reader.refusal as Refusal).reason}`,
          };
      }
      return value as StructOf<T>;
    },
  };
}

/** The bytes of `value`, exactly. Throws where a value does not fit its field: a defect of the caller's. */
export function encode<T>(field: Field<T>, value: T): Uint8Array {
  const writer = new Writer(new Uint8Array(field.size(value)));
  field.write(writer, value);
  assert(writer.offset === writer.bytes.length, "a field writes as much as it said it would");
  return writer.bytes;
}

/** The value in `raw`, which must be that and nothing more. */
export function decode<T>(field: Field<T>, raw: Uint8Array): Decoded<T> {
  const reader = new Reader(raw);
  const value = field.read(reader);
  if (reader.refusal === null && reader.offset < raw.length) {
    reader.refuse(`${raw.length - reader.offset} bytes left over`);
  }
  return reader.refusal ?? { ok: true, value };
}

const hexDigits = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

/** `00ff` for the bytes 0 and 255. */
export function bytesToHex(raw: Uint8Array): string {
  let digits = "";
  for (const byte of raw) digits += hexDigits[byte];
  return digits;
}

/** The bytes of an even number of hexadecimal digits; anything else is a defect of the caller's. */
export function hexToBytes(digits: string): Uint8Array {
  assert(/^(?:[0-9a-fA-F]{2})*$/.test(digits), `hexadecimal digits: ${digits.slice(0, 80)}`);
  const raw = new Uint8Array(digits.length / 2);
  for (let index = 0; index < raw.length; index++) {
    raw[index] = Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16);
  }
  return raw;
}

/** Whether two byte strings are equal. Not for secrets: it stops at the first difference. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
