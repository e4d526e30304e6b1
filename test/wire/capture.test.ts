// Capture files: pcap and pcapng as tcpdump and Wireshark write them, of either byte order, cut off anywhere, and any bytes at all.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isCapture, readCapture } from "../../src/wire/capture.ts";
import { type CaptureFile, pcap, pcapng } from "./captureFiles.ts";

const packets = [
  { at: 1_764_000_000_123_456, bytes: Uint8Array.of(1, 2, 3), onWire: 3 },
  { at: 1_764_000_001_000_007, bytes: Uint8Array.of(), onWire: 1500 },
  { at: 1_764_000_002_999_999, bytes: new Uint8Array(1501).fill(7), onWire: 1501 },
];
const expected = packets.map(({ at, bytes, onWire }, index) => ({
  number: index + 1,
  at,
  linkType: 1,
  bytes,
  cut: bytes.length < onWire,
}));

const files: readonly (readonly [string, (file: CaptureFile) => Uint8Array])[] = [
  ["pcap, little-endian, microseconds", (file) => pcap(file, { little: true, nanoseconds: false })],
  ["pcap, big-endian, microseconds", (file) => pcap(file, { little: false, nanoseconds: false })],
  ["pcap, little-endian, nanoseconds", (file) => pcap(file, { little: true, nanoseconds: true })],
  ["pcapng, little-endian", (file) => pcapng(file, { little: true, resolution: null })],
  ["pcapng, big-endian", (file) => pcapng(file, { little: false, resolution: null })],
  ["pcapng, nanoseconds", (file) => pcapng(file, { little: true, resolution: 9 })],
];

for (const [name, make] of files) {
  test(`${name}: every packet with its time`, () => {
    const result = readCapture(make({ linkType: 1, packets }));
    assert.deepEqual(result, { ok: true, packets: expected, keyLogs: [], incomplete: null });
  });

  test(`${name}: cut off anywhere, what is whole is read, and that something is missing is said`, () => {
    const raw = make({ linkType: 1, packets: packets.slice(0, 2) });
    const wholes = Array.from({ length: raw.length }, (_, length) => {
      const result = readCapture(raw.subarray(0, length));
      // Too short for a head: no capture yet.
      if (!result.ok) return length < 24 ? 0 : Number.NaN;
      assert.deepEqual(result.packets, expected.slice(0, result.packets.length));
      const last = result.packets.length;
      const isBoundary = make({ linkType: 1, packets: packets.slice(0, last) }).length === length;
      if (last > 0) assert.equal(result.incomplete === null, isBoundary, `${length} bytes`);
      if (!isBoundary && last > 0) assert.match(result.incomplete ?? "", /^the file ends in .* byte \d+$/);
      return last;
    });
    assert.ok(
      wholes.every((count, index) => count >= (wholes[index - 1] ?? 0)),
      "never fewer with more bytes",
    );
    assert.equal(wholes.at(-1), 1);
  });
}

test("a power of two as the unit of time, and an interface without any options", () => {
  const raw = pcapng(
    { linkType: 101, packets: [{ at: 4_000_000, bytes: Uint8Array.of(1), onWire: 1 }] },
    { little: true, resolution: 0x80 | 10 },
  );
  const result = readCapture(raw);
  assert.ok(result.ok);
  assert.deepEqual(
    result.packets.map(({ at, linkType }) => [at, linkType]),
    [[4_000_000, 101]],
  );
});

test("pcapng brings TLS keys along; blocks of other kinds are passed over", () => {
  const keyLog = "CLIENT_TRAFFIC_SECRET_0 00 11\n";
  const result = readCapture(
    pcapng({ linkType: 1, packets, keyLog, others: true }, { little: true, resolution: null }),
  );
  assert.ok(result.ok);
  assert.deepEqual([result.keyLogs, result.packets.length], [[keyLog], 3]);
});

test("a packet in a simple block has no time", () => {
  const raw = pcapng(
    { linkType: 1, packets: [], simple: Uint8Array.of(9, 8, 7) },
    { little: true, resolution: null },
  );
  const result = readCapture(raw);
  assert.ok(result.ok);
  assert.deepEqual(result.packets, [
    { number: 1, at: null, linkType: 1, bytes: Uint8Array.of(9, 8, 7), cut: false },
  ]);
});

test("lengths that cannot be are refused with their place", () => {
  const raw = pcap({ linkType: 1, packets }, { little: true, nanoseconds: false });
  new DataView(raw.buffer).setUint32(24 + 8, 0x7fffffff, true);
  assert.deepEqual(readCapture(raw), {
    ok: false,
    reason: "packet 1 at byte 24 says that it has 2147483647 bytes",
  });
  const next = pcapng({ linkType: 1, packets }, { little: true, resolution: null });
  new DataView(next.buffer).setUint32(28 + 4, 7, true);
  assert.deepEqual(readCapture(next), { ok: false, reason: "the block at byte 28 says that it has 7 bytes" });
  assert.deepEqual(readCapture(new TextEncoder().encode("GET / HTTP/1.1")), {
    ok: false,
    reason: "neither a pcap nor a pcapng file begins like this",
  });
});

test("any bytes: a result, never an exception", () => {
  const seeds = files.map(([, make]) => make({ linkType: 1, packets, keyLog: "x", others: true }));
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat({ max: 300 }), fc.nat({ max: 255 })), { maxLength: 6 }),
      fc.nat({ max: 400 }),
      (seed, changes, length) => {
        const raw = seed.slice(0, seed.length - length);
        for (const [at, value] of changes) raw[at % raw.length] = value;
        const result = readCapture(raw);
        assert.equal(typeof result.ok, "boolean");
        if (result.ok) assert.ok(isCapture(raw));
      },
    ),
    { numRuns: 2000 },
  );
});
