// Lines: what the reader hands out is what a dumb split of the whole would, however the bytes were cut.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createLineReader } from "../../src/wire/lines.ts";

const encoder = new TextEncoder();

test("lines come out whole, however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ unit: "grapheme", maxLength: 20 }).map((line) => line.replaceAll("\n", "")),
        { maxLength: 12 },
      ),
      fc.array(fc.nat(9), { minLength: 1, maxLength: 30 }),
      (lines, cuts) => {
        const bytes = encoder.encode(lines.map((line) => `${line}\n`).join(""));
        const reader = createLineReader(1000);
        const out: string[] = [];
        for (let offset = 0, turn = 0; offset < bytes.length; turn += 1) {
          const size = cuts[turn % cuts.length]! + 1;
          const fed = reader.feed(bytes.subarray(offset, offset + size));
          assert.equal(fed.kind, "lines");
          if (fed.kind === "lines") out.push(...fed.lines);
          offset += size;
        }
        assert.deepEqual(out, lines);
        assert.equal(reader.pendingBytes, 0);
      },
    ),
  );
});

test("a line at the bound passes, one byte more is refused, complete or not", () => {
  const line = (length: number): Uint8Array => encoder.encode("x".repeat(length));
  assert.deepEqual(createLineReader(8).feed(encoder.encode(`${"x".repeat(8)}\n`)), {
    kind: "lines",
    lines: ["x".repeat(8)],
  });
  assert.deepEqual(createLineReader(8).feed(encoder.encode(`${"x".repeat(9)}\n`)), {
    kind: "refused",
    reason: "line-too-long",
  });
  const reader = createLineReader(8);
  assert.equal(reader.feed(line(8)).kind, "lines");
  assert.deepEqual(reader.feed(line(1)), { kind: "refused", reason: "line-too-long" });
});

test("bytes that are not UTF-8 are refused", () => {
  assert.deepEqual(createLineReader(8).feed(new Uint8Array([0xff, 10])), {
    kind: "refused",
    reason: "not-utf8",
  });
});

test("a buffer that its owner uses again does not change what is pending", () => {
  const reader = createLineReader(8);
  const buffer = encoder.encode("ab");
  reader.feed(buffer);
  buffer.fill(0x7a);
  assert.deepEqual(reader.feed(encoder.encode("c\n")), { kind: "lines", lines: ["abc"] });
});
