// Expectation records (docs/protocol.md §9.6): against a second, slow layout, golden bytes, everything that must be
// refused, and their place among session records.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SESSION_RECORD_BYTES_MAX } from "../../src/base/limits.ts";
import { isExpectation } from "../../src/wire/expectation.ts";
import {
  decodeExpectation,
  type ExpectationRecord,
  encodeExpectation,
} from "../../src/wire/expectationRecord.ts";
import {
  endsByWord,
  forEachRecord,
  keyHash,
  recordEnd,
  recordOperation,
  SessionOperation,
  sameKey,
  validateRecords,
} from "../../src/wire/session.ts";
import { encodeRecord, type SessionTuple } from "../../src/wire/sessionRecord.ts";
import { assertGolden, golden } from "../golden/golden.ts";
import { anyExpectation, FTP_DATA, SIP_CALLS } from "./expectationSamples.ts";
import { anyRecord, sample } from "./sessionSamples.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const deletionOf = ({ family, protocol, expected }: ExpectationRecord): ExpectationRecord => ({
  operation: "delete",
  family,
  protocol,
  expected,
});

for (const [name, record] of [
  ["expectation-ftp", FTP_DATA],
  ["expectation-sip", SIP_CALLS],
  ["expectation-delete", deletionOf(FTP_DATA)],
] as const)
  test(`golden: ${name}`, () => {
    assertGolden(name, encodeExpectation(record));
    const bytes = golden(name);
    assert.deepEqual(decodeExpectation(bytes), { ok: true, record, end: bytes.length });
  });

/** The layout a second time, from the document. */
function slowly(record: ExpectationRecord): string {
  const number = (value: number, size: number): string => value.toString(16).padStart(2 * size, "0");
  const ends = ({ source, destination, a, b }: SessionTuple): string =>
    hex(source) + hex(destination) + number(a, 2) + number(b, 2);
  const text = (value: string): string => number(value.length, 1) + hex(new TextEncoder().encode(value));
  const operation = record.operation === "create" ? 1 : 3;
  const head = number(operation + (record.family === 6 ? 4 : 0) + 16, 1);
  const key = number(record.protocol, 1) + ends(record.expected);
  if (record.operation === "delete") return `${head}00${key}`;
  const { state } = record;
  const { translation, translator, sourceMask, aMask } = state;
  const shape =
    (sourceMask === undefined ? 0 : 1) +
    (aMask === undefined ? 0 : 2) +
    (translation === undefined ? 0 : 4) +
    (translator === undefined ? 0 : 8);
  return [
    head,
    number(shape, 1),
    key,
    number(state.master.protocol, 1),
    ends(state.master.original),
    number(state.timeoutSeconds, 4),
    state.permanent ? "01" : "00",
    number(state.policyClass, 1),
    text(state.helper),
    sourceMask === undefined ? "" : hex(sourceMask),
    aMask === undefined ? "" : number(aMask, 2),
    translation === undefined
      ? ""
      : number({ original: 0, reply: 1 }[translation.direction], 1) +
        hex(translation.address) +
        number(translation.number, 2),
    translator === undefined ? "" : text(translator),
  ].join("");
}

test("the layout by hand and the layout by table agree, both ways", () => {
  fc.assert(
    fc.property(anyExpectation, (record) => {
      const bytes = encodeExpectation(record);
      assert.equal(hex(bytes), slowly(record));
      assert.deepEqual(decodeExpectation(bytes), { ok: true, record, end: bytes.length });
      assert.ok(bytes.length <= SESSION_RECORD_BYTES_MAX);
    }),
    { numRuns: 2000 },
  );
});

test("every truncation is refused", () => {
  fc.assert(
    fc.property(anyExpectation, (record) => {
      const bytes = encodeExpectation(record);
      for (let length = 1; length < bytes.length; length += 1)
        assert.equal(validateRecords(bytes.subarray(0, length)).ok, false, `${length} of ${hex(bytes)}`);
    }),
    { numRuns: 300 },
  );
});

test("any bytes: refused, or exactly one encoding of what they say", () => {
  const mutated = fc
    .tuple(anyExpectation, fc.nat(), fc.integer({ min: 0, max: 255 }))
    .map(([record, at, value]) => {
      const bytes = encodeExpectation(record);
      bytes[at % bytes.length] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 120 })), (bytes) => {
      const decoded = decodeExpectation(bytes);
      if (decoded.ok)
        assert.equal(hex(encodeExpectation(decoded.record)), hex(bytes.subarray(0, decoded.end)));
    }),
    { numRuns: 5000 },
  );
});

const KEY = "c6336407 c0000201 0000 c80a";
const MASTER = "06 0a000001 c6336407 9c40 0015";
const refusals: readonly (readonly [bytes: string, reason: string])[] = [
  [`10 00 06 ${KEY}`, "unknown operation"],
  [`12 00 06 ${KEY}`, "unknown operation"],
  [`1b 00 06 ${KEY}`, "unknown flag"],
  [`33 00 06 ${KEY}`, "unknown flag"],
  [`11 10 06 ${KEY} ${MASTER} 0000012c 00 00 03667470`, "unknown flag"],
  [`13 01 06 ${KEY}`, "delete with state"],
  [`13 00 01 ${KEY}`, "expectation of a protocol without ports"],
  [`11 00 06 ${KEY} 32${MASTER.slice(2)} 0000012c 00 00 03667470`, "expectation of a protocol without ports"],
  [`11 00 06 ${KEY} ${MASTER} 80000000 00 00 03667470`, "timeout out of range"],
  [`11 00 06 ${KEY} ${MASTER} 0000012c 02 00 03667470`, "unknown flag"],
  [`11 00 06 ${KEY} ${MASTER} 0000012c 00 00 00`, "bad name"],
  [`11 00 06 ${KEY} ${MASTER} 0000012c 00 00 03662070`, "bad name"],
  [`11 01 06 ${KEY} ${MASTER} 0000012c 00 00 03667470 ffffffff`, "mask that can be derived"],
  [`11 02 06 ${KEY} ${MASTER} 0000012c 00 00 03667470 0000`, "mask that can be derived"],
  [`11 04 06 ${KEY} ${MASTER} 0000012c 00 00 03667470 02 00000000 c80a`, "bad direction"],
  [`11 08 06 ${KEY} ${MASTER} 0000012c 00 00 03667470 00`, "bad name"],
];
for (const [bytes, reason] of refusals)
  test(`refused: ${reason}: ${bytes.slice(0, 8)}...`, () => {
    assert.deepEqual(validateRecords(unhex(bytes)), { ok: false, reason, offset: 0 });
  });

test("among sessions: walked, told apart, keyed; and none for a peer of version 1", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyRecord, anyExpectation), { maxLength: 8 }), (records) => {
      const encoded = records.map((record) =>
        "expected" in record ? encodeExpectation(record) : encodeRecord(record),
      );
      const bytes = new Uint8Array(Buffer.concat(encoded));
      assert.deepEqual(validateRecords(bytes), { ok: true, count: records.length });
      const kinds: boolean[] = [];
      forEachRecord(bytes, (offset) => kinds.push(isExpectation(bytes, offset)));
      assert.deepEqual(
        kinds,
        records.map((record) => "expected" in record),
      );
      const first = kinds.indexOf(true);
      if (first < 0) return assert.equal(validateRecords(bytes, 1).ok, true);
      const offset = encoded.slice(0, first).reduce((sum, each) => sum + each.length, 0);
      assert.deepEqual(validateRecords(bytes, 1), { ok: false, reason: "unknown flag", offset });
    }),
    { numRuns: 500 },
  );
});

test("its key is that of its deletion, and never a session's", () => {
  fc.assert(
    fc.property(anyExpectation, fc.integer(), (record, seed) => {
      const { family, protocol, expected } = record;
      const session = encodeRecord({ operation: "delete", family, protocol, original: expected });
      const parts = [encodeExpectation(record), encodeExpectation(deletionOf(record)), session];
      const bytes = new Uint8Array(Buffer.concat(parts));
      const [second, third] = [parts[0]!.length, parts[0]!.length + parts[1]!.length];
      const hash = (offset: number): string => {
        const out = new Uint32Array(2);
        keyHash(bytes, offset, out, seed);
        return out.join();
      };
      assert.equal(hash(0), hash(second));
      assert.notEqual(hash(0), hash(third));
      assert.deepEqual([sameKey(bytes, 0, second), sameKey(bytes, 0, third)], [true, false]);
      assert.equal(recordEnd(bytes, second), third);
      assert.equal(recordOperation(bytes, second), SessionOperation.Delete);
    }),
  );
  // What a helper no longer expects is no session that ended: a merge may bring such a session back.
  assert.equal(endsByWord(encodeExpectation(deletionOf(FTP_DATA)), 0), false);
  assert.equal(endsByWord(encodeRecord(sample({ operation: "delete" })), 0), true);
});
