// Session records (docs/protocol.md §9): the hand-written layout against the slow one, golden
// bytes, and everything that must be refused.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_BYTES_MAX, BATCH_RECORDS_MAX, SESSION_RECORD_BYTES_MAX } from "../../src/base/limits.ts";
import { refusalOf } from "../../src/wire/recordRefusals.ts";
import {
  forEachRecord,
  keyHash,
  RecordBatch,
  recordEnd,
  SessionOperation,
  validateRecords,
} from "../../src/wire/session.ts";
import { decodeRecord, encodeRecord, type SessionRecord } from "../../src/wire/sessionRecord.ts";
import { assertGolden, golden } from "../golden/golden.ts";
import { anyRecord, sample, tuple } from "./sessionSamples.ts";
import { slowEncode } from "./sessionSlow.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const join = (records: readonly SessionRecord[]): Uint8Array =>
  new Uint8Array(Buffer.concat(records.map((record) => encodeRecord(record))));

/** The examples of docs/protocol.md §9.5. */
const examples: readonly (readonly [name: string, record: SessionRecord])[] = [
  ["session-tcp", sample()],
  ["session-tcp-port", sample({ translated: 1024 })],
  ["session-tcp-untranslated", sample({ translated: 0 })],
  ["session-delete", sample({ operation: "delete" })],
  [
    "session-icmpv6-zone",
    {
      operation: "update",
      family: 6,
      protocol: 58,
      original: tuple("2001:db8::1", 0x4321, "2001:db8::2", 0x8000),
      zone: { id: 9, directions: "both" },
      state: {
        reply: tuple("2001:db8::2", 0x4321, "2001:db8::1", 0x8100),
        mark: 1,
        timeoutSeconds: 30,
        status: 2,
        protocolState: 0,
      },
    },
  ],
  [
    "session-udp-parts",
    sample({
      protocol: 17,
      translated: 0,
      state: { timeoutSeconds: 30, helper: "sip", labels: new Uint8Array(16).fill(1) },
    }),
  ],
];

for (const [name, record] of examples)
  test(`golden: ${name}`, () => {
    assertGolden(name, encodeRecord(record));
    const bytes = golden(name);
    assert.deepEqual(decodeRecord(bytes), { ok: true, record, end: bytes.length });
  });

test("as small as promised: 28 bytes for translated TCP over IPv4, 15 for its end", () => {
  assert.equal(encodeRecord(sample()).length, 28);
  assert.equal(encodeRecord(sample({ operation: "delete" })).length, 15);
});

test("the layout by hand and the layout by table agree, both ways", () => {
  fc.assert(
    fc.property(anyRecord, (record) => {
      const bytes = encodeRecord(record);
      assert.equal(hex(bytes), hex(slowEncode(record)));
      assert.deepEqual(decodeRecord(bytes), { ok: true, record, end: bytes.length });
      assert.ok(bytes.length <= SESSION_RECORD_BYTES_MAX);
    }),
    { numRuns: 2000 },
  );
});

test("every truncation is refused, and so is every extra byte", () => {
  fc.assert(
    fc.property(anyRecord, (record) => {
      const bytes = encodeRecord(record);
      for (let length = 1; length < bytes.length; length += 1) {
        const cut = validateRecords(bytes.subarray(0, length));
        assert.equal(cut.ok, false, `${length} of ${hex(bytes)}`);
      }
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      assert.deepEqual(validateRecords(longer), { ok: false, reason: "truncated", offset: bytes.length });
    }),
    { numRuns: 300 },
  );
});

test("any bytes: refused, or exactly one encoding of what they say", () => {
  const mutated = fc
    .tuple(anyRecord, fc.nat(), fc.integer({ min: 0, max: 255 }))
    .map(([record, at, value]) => {
      const bytes = encodeRecord(record);
      bytes[at % bytes.length] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 120 })), (bytes) => {
      const decoded = decodeRecord(bytes);
      if (decoded.ok) assert.equal(hex(encodeRecord(decoded.record)), hex(bytes.subarray(0, decoded.end)));
    }),
    { numRuns: 5000 },
  );
});

const refusals: readonly (readonly [bytes: string, reason: string])[] = [
  ["00 00 06 0a000001 c6336407 9c40 01bb", "unknown operation"],
  ["23 00 06 0a000001 c6336407 9c40 01bb", "unknown flag"],
  ["01 20 06 0a000001 c6336407 9c40 01bb 00507103 00069780 33", "unknown flag"],
  ["03 02 06 0a000001 c6336407 9c40 01bb", "delete with state"],
  ["03 00 32 0a000001 c6336407 9c40 01bb", "numbers of a protocol without ports"],
  ["03 00 01 0a000001 c6336407 0001 0300", "unknown icmp type"],
  ["0b 00 06 0a000001 c6336407 9c40 01bb 04 0001", "bad zone"],
  ["0b 00 06 0a000001 c6336407 9c40 01bb 03 0000", "bad zone"],
  ["01 00 06 0a000001 c6336407 9c40 01bb 00507100 00069780 33", "mark without link"],
  ["01 00 06 0a000001 c6336407 9c40 01bb 10507103 00069780 33", "mark with generation"],
  ["01 00 06 0a000001 c6336407 9c40 01bb 00507103 80000000 33", "timeout out of range"],
  ["01 00 06 0a000001 c6336407 9c40 01bb 00507103 00069780 38", "unknown status"],
  ["01 00 06 0a000001 c6336407 9c40 01bb 00507103 00069780 a3", "unknown protocol state"],
  ["01 00 11 0a000001 c6336407 9c40 01bb 00507103 00069780 33", "unknown protocol state"],
  ["01 02 06 0a000001 c6336407 9c40 01bb 00507103 00069780 33 0a000001", "reply part that can be derived"],
  ["01 10 06 0a000001 c6336407 9c40 01bb 00507103 00069780 33 00", "bad optional part"],
  ["01 10 06 0a000001 c6336407 9c40 01bb 00507103 00069780 33 03 060100", "bad optional part"],
  ["01 10 06 0a000001 c6336407 9c40 01bb 00507103 00069780 33 06 010161 010162", "bad optional part"],
];
for (const [bytes, reason] of refusals)
  test(`refused: ${reason}: ${bytes.slice(0, 8)}...`, () => {
    assert.deepEqual(validateRecords(unhex(bytes)), { ok: false, reason, offset: 0 });
    assert.equal(refusalOf(recordEnd(unhex(bytes), 0)), reason);
  });

test("a peer's records are counted, bounded, and refused as a whole", () => {
  const two = join([sample(), sample({ operation: "delete" })]);
  assert.deepEqual(validateRecords(two), { ok: true, count: 2 });
  assert.deepEqual(validateRecords(new Uint8Array(0)), { ok: true, count: 0 });
  const end = encodeRecord(sample({ operation: "delete" }));
  const many = new Uint8Array(end.length * (BATCH_RECORDS_MAX + 1));
  for (let at = 0; at < many.length; at += end.length) many.set(end, at);
  assert.deepEqual(validateRecords(many.subarray(end.length)), { ok: true, count: BATCH_RECORDS_MAX });
  assert.equal(validateRecords(many).ok, false);
  assert.equal(validateRecords(new Uint8Array(BATCH_BYTES_MAX + 1)).ok, false);
  const ends: [number, number][] = [];
  forEachRecord(two, (offset, after) => ends.push([offset, after]));
  assert.deepEqual(ends, [
    [0, 28],
    [28, 43],
  ]);
});

test("a batch takes what fits and says so before it does not", () => {
  const batch = new RecordBatch();
  const record = encodeRecord(sample());
  while (batch.copy(record, 0, record.length));
  assert.equal(batch.full, true);
  assert.equal(batch.count, Math.min(BATCH_RECORDS_MAX, Math.ceil((BATCH_BYTES_MAX - 255) / record.length)));
  assert.deepEqual(validateRecords(batch.records()), { ok: true, count: batch.count });
  batch.reset();
  assert.deepEqual([batch.length, batch.count, batch.full], [0, 0, false]);
});

test("the key's hash: the same for every operation, its own for every key", () => {
  const hash = (record: SessionRecord, seed = 0): string => {
    const out = new Uint32Array(2);
    keyHash(encodeRecord(record), 0, out, seed);
    return out.join();
  };
  fc.assert(
    fc.property(anyRecord, fc.integer(), (record, seed) => {
      const { family, protocol, original } = record;
      const zone = record.zone === undefined ? {} : { zone: record.zone };
      assert.equal(
        hash(record, seed),
        hash({ operation: "delete", family, protocol, original, ...zone }, seed),
      );
    }),
  );
  // Neighbouring keys, as a port scan or a NAT makes them: no collision, and every bit of both words in use.
  const seen = new Set<string>();
  const out = new Uint32Array(2);
  const and = [0xffffffff, 0xffffffff];
  const or = [0, 0];
  const bytes = encodeRecord(sample({ operation: "delete" }));
  assert.equal(bytes[0], SessionOperation.Delete);
  for (let index = 0; index < 100_000; index += 1) {
    bytes[6] = index & 3;
    bytes[11] = (index >> 2) & 0xff;
    bytes[12] = (index >> 10) & 0xff;
    keyHash(bytes, 0, out, 7);
    seen.add(out.join());
    for (const word of [0, 1]) {
      and[word] = and[word]! & out[word]!;
      or[word] = or[word]! | out[word]!;
    }
  }
  assert.equal(seen.size, 100_000);
  assert.deepEqual([and[0], and[1], or[0]! >>> 0, or[1]! >>> 0], [0, 0, 0xffffffff, 0xffffffff]);
});
