// The codec: what goes out comes back, and nothing else comes in (docs/protocol.md §2).

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  address,
  blob,
  bool,
  bytes,
  bytesToHex,
  cleanText,
  decode,
  encode,
  equalBytes,
  type Field,
  hex,
  hexToBytes,
  list,
  oneOf,
  struct,
  text,
  u8,
  u16,
  u32,
  u48,
} from "../../src/wire/codec.ts";

const of = (...raw: number[]): Uint8Array => Uint8Array.of(...raw);
const reasonOf = (field: Field<unknown>, raw: Uint8Array): string => {
  const result = decode(field, raw);
  return result.ok ? "accepted" : `${result.reason} @${result.offset}`;
};

test("numbers are big-endian, of one size, and exact up to their last value", () => {
  const cases: [Field<number>, number, Uint8Array][] = [
    [u8, 0xff, of(0xff)],
    [u16, 0x0102, of(1, 2)],
    [u32, 0xfffefdfc, of(0xff, 0xfe, 0xfd, 0xfc)],
    [u48, 0x010203040506, of(1, 2, 3, 4, 5, 6)],
    [u48, 2 ** 48 - 1, new Uint8Array(6).fill(0xff)],
    [u48, 2 ** 32, of(0, 1, 0, 0, 0, 0)],
  ];
  for (const [field, value, raw] of cases) {
    assert.deepEqual(encode(field, value), raw);
    assert.deepEqual(decode(field, raw), { ok: true, value });
  }
});

test("a number that does not fit is a defect of ours, never cut in silence", () => {
  const sizes: [Field<number>, number][] = [
    [u8, 8],
    [u16, 16],
    [u32, 32],
    [u48, 48],
  ];
  for (const [field, bits] of sizes) {
    for (const wrong of [2 ** bits, -1, 0.5, Number.NaN]) assert.throws(() => encode(field, wrong), /fits/);
  }
});

test("what no encoder writes is refused, with the reason and the place", () => {
  const role = oneOf({ idle: 0, standby: 1, active: 2 });
  assert.equal(reasonOf(bool, of(2)), "2 is not a boolean @0");
  assert.equal(reasonOf(role, of(3)), "unknown number 3 @0");
  assert.equal(reasonOf(u16, of(1)), "truncated: 2 bytes wanted, 1 left @0");
  assert.equal(reasonOf(u16, of(1, 2, 3)), "1 bytes left over @2");
  assert.equal(reasonOf(text(8), of(0, 1, 0x1b)), "not printable UTF-8 @2");
  assert.equal(reasonOf(text(8), of(0, 2, 0xc3, 0x28)), "not printable UTF-8 @2");
  assert.equal(
    reasonOf(text(8), of(0, 9, ...new Uint8Array(9).fill(65))),
    "9 bytes of text, at most 8 allowed @0",
  );
  assert.equal(reasonOf(blob(2), of(0, 0, 0, 3, 1, 2, 3)), "3 bytes, at most 2 allowed @0");
  assert.equal(
    reasonOf(blob(2 ** 31), of(0xff, 0xff, 0xff, 0xff)),
    "4294967295 bytes, at most 2147483648 allowed @0",
  );
  assert.equal(reasonOf(list(u8, 2), of(0, 3, 1, 2, 3)), "3 elements, at most 2 allowed @0");
  assert.equal(reasonOf(address, of(5, 0, 0, 0, 0)), "address family 5 @0");
  const nested = struct({ first: u8, second: struct({ role, ready: bool }) });
  assert.equal(reasonOf(nested, of(1, 9, 0)), "second: role: unknown number 9 @1");
});

test("a declared length costs nothing before it is there", () => {
  const huge = list(struct({ a: u48, b: u48 }), 65535);
  assert.equal(reasonOf(huge, of(0xff, 0xff, 1, 2, 3)), "a: truncated: 6 bytes wanted, 3 left @2");
});

test("words for a terminal: what a terminal would obey becomes a space, the rest is cut at a character", () => {
  assert.equal(cleanText("a\x1b[31mb\nc\u202ed", 99), "a [31mb c d");
  assert.equal(cleanText("\ud800x", 99), "\ufffdx");
  assert.equal(cleanText("aé", 2), "a");
  assert.equal(cleanText("a😀", 4), "a");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat({ max: 40 }), (value, maximum) => {
      const field = text(maximum);
      assert.deepEqual(decode(field, encode(field, value)), { ok: true, value: cleanText(value, maximum) });
    }),
  );
});

const everything = struct({
  flag: bool,
  role: oneOf({ idle: 0, standby: 7 }),
  small: u8,
  medium: u16,
  large: u32,
  huge: u48,
  raw: bytes(3),
  digest: hex(4),
  where: address,
  words: text(20),
  payload: blob(30),
  inner: list(struct({ a: u8, b: u16 }), 5),
});
const hexOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map(bytesToHex);
const plainObjects = { noNullPrototype: true } as const;
const anything = fc.record(
  {
    flag: fc.boolean(),
    role: fc.constantFrom("idle" as const, "standby" as const),
    small: fc.nat({ max: 2 ** 8 - 1 }),
    medium: fc.nat({ max: 2 ** 16 - 1 }),
    large: fc.maxSafeNat().map((value) => value % 2 ** 32),
    huge: fc.maxSafeNat().map((value) => value % 2 ** 48),
    raw: fc.uint8Array({ minLength: 3, maxLength: 3 }),
    digest: hexOf(4),
    where: fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    ),
    words: fc.string({ maxLength: 20 }),
    payload: fc.uint8Array({ maxLength: 30 }),
    inner: fc.array(fc.record({ a: fc.nat({ max: 255 }), b: fc.nat({ max: 65535 }) }, plainObjects), {
      maxLength: 5,
    }),
  },
  plainObjects,
);

test("any value comes back as it was, and the bytes too", () => {
  fc.assert(
    fc.property(anything, (value) => {
      const raw = encode(everything, value);
      assert.ok(raw.length >= everything.minBytes && raw.length <= everything.maxBytes);
      const back = decode(everything, raw);
      assert.ok(back.ok);
      assert.deepEqual(back.value, value);
      assert.deepEqual(encode(everything, back.value), raw);
    }),
  );
});

test("every truncation and every extra byte is refused", () => {
  fc.assert(
    fc.property(anything, fc.nat({ max: 255 }), (value, extra) => {
      const raw = encode(everything, value);
      for (let length = 0; length < raw.length; length++) {
        assert.equal(decode(everything, raw.subarray(0, length)).ok, false, `cut to ${length}`);
      }
      assert.equal(decode(everything, of(...raw, extra)).ok, false);
    }),
    { numRuns: 50 },
  );
});

test("any bytes are either refused or exactly what the encoder gives for what they mean", () => {
  fc.assert(
    fc.property(anything, fc.nat(), fc.nat({ max: 255 }), (value, at, byte) => {
      const raw = encode(everything, value);
      raw[at % raw.length] = byte;
      const back = decode(everything, raw);
      if (back.ok) assert.deepEqual(encode(everything, back.value), raw);
    }),
    { numRuns: 1000 },
  );
});

test("what was decoded stays true when the buffer is used again, also when it was a Buffer", () => {
  const raw = Buffer.from(
    encode(struct({ raw: bytes(2), payload: blob(9), where: address }), {
      raw: of(1, 2),
      payload: of(3, 4),
      where: of(5, 6, 7, 8),
    }),
  );
  const back = decode(struct({ raw: bytes(2), payload: blob(9), where: address }), raw);
  raw.fill(0xee);
  assert.deepEqual(back, { ok: true, value: { raw: of(1, 2), payload: of(3, 4), where: of(5, 6, 7, 8) } });
});

test("hexadecimal digits there and back; anything else throws", () => {
  assert.equal(bytesToHex(of(0, 10, 255)), "000aff");
  assert.deepEqual(hexToBytes("000AfF"), of(0, 10, 255));
  for (const wrong of ["0", "0g", " 00", "0x00"]) assert.throws(() => hexToBytes(wrong));
  assert.ok(
    equalBytes(of(1, 2), of(1, 2)) && !equalBytes(of(1, 2), of(1, 3)) && !equalBytes(of(1), of(1, 2)),
  );
});
