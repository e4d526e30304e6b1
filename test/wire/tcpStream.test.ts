// A TCP stream put together from segments in any order, repeated, overlapping, across the end of the sequence numbers; against
// a model that is as dumb as can be: a list of known bytes by their place.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TcpStream } from "../../src/wire/tcpStream.ts";

const contentOf = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 7) & 0xff);
const joined = (chunks: readonly Uint8Array[]): number[] => chunks.flatMap((chunk) => [...chunk]);

interface Piece {
  readonly from: number;
  readonly length: number;
}

test("whatever the order: bytes come out once, in order, up to the first gap, which is told", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.array(fc.record({ from: fc.nat({ max: 120 }), length: fc.integer({ min: 0, max: 40 }) }), {
        maxLength: 30,
      }),
      fc.boolean(),
      (initial, pieces: readonly Piece[], synFirst) => {
        const content = contentOf(200);
        const stream = new TcpStream();
        const out: number[] = [];
        const known = new Set<number>();
        // Without the first segment of all a capture begins where it begins: the model starts at 0 either way.
        if (synFirst) out.push(...joined(stream.push(initial, new Uint8Array(0), true)));
        else out.push(...joined(stream.push((initial + 1) >>> 0, content.subarray(0, 1), false)));
        if (!synFirst) known.add(0);
        for (const { from, length } of pieces) {
          const payload = content.subarray(from, from + length);
          out.push(...joined(stream.push((initial + 1 + from) >>> 0, payload, false)));
          for (let at = from; at < from + length; at += 1) known.add(at);
          let end = 0;
          while (known.has(end)) end += 1;
          assert.deepEqual(out, [...content.subarray(0, end)]);
          assert.equal(stream.offset, end);
          const beyond = [...known].filter((at) => at > end);
          assert.equal(stream.missing, beyond.length === 0 ? 0 : Math.min(...beyond) - end);
        }
        assert.equal(stream.fromStart, synFirst);
      },
    ),
    { numRuns: 1000 },
  );
});

test("a first segment with data (fast open), and a second SYN that means nothing", () => {
  const stream = new TcpStream();
  assert.deepEqual(joined(stream.push(99, Uint8Array.of(1, 2), true)), [1, 2]);
  assert.deepEqual(stream.push(99, Uint8Array.of(1, 2), true), []);
  assert.deepEqual(joined(stream.push(102, Uint8Array.of(3), false)), [3]);
});

test("segments of before the capture's beginning are nothing new", () => {
  const stream = new TcpStream();
  assert.deepEqual(joined(stream.push(1000, Uint8Array.of(1), false)), [1]);
  assert.deepEqual(stream.push(900, new Uint8Array(50), false), []);
  assert.equal(stream.missing, 0);
});
