// What live sessions say, and that whatever happens to a byte on its way is seen.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import {
  contentAt,
  ECHO_BYTES,
  echoStream,
  hello,
  isContent,
  nextEcho,
  readHello,
  takeEcho,
} from "../../src/lab/traffic/content.ts";

const seeds = fc.integer({ min: 1, max: 5000 });
const positions = fc.integer({ min: 0, max: 1 << 30 });

suite("content", () => {
  test("is the same however it is cut", () => {
    fc.assert(
      fc.property(
        seeds,
        positions,
        fc.integer({ min: 1, max: 1000 }),
        fc.nat(1000),
        (seed, at, length, cut) => {
          const first = Math.min(cut, length);
          assert.ok(isContent(contentAt(seed, at, length).slice(0, first), seed, at));
          assert.ok(isContent(contentAt(seed, at, length).slice(first), seed, at + first));
        },
      ),
    );
  });

  test("a wrong byte, a lost piece, a doubled one and another session's are seen", () => {
    fc.assert(
      fc.property(seeds, positions, fc.nat(511), (seed, at, place) => {
        const bytes = contentAt(seed, at, 512).slice();
        assert.ok(!isContent(contentAt(seed, at + 512, 512), seed, at));
        assert.ok(!isContent(contentAt(seed + 1, at, 512), seed, at));
        bytes[place] = bytes[place]! ^ 1;
        assert.ok(!isContent(bytes, seed, at));
      }),
    );
  });

  test("an echo stream takes what it sent, in order, once", () => {
    const sending = echoStream();
    const messages = Array.from({ length: 5 }, () => {
      const message = new Uint8Array(ECHO_BYTES);
      nextEcho(sending, 7, message);
      return message;
    });
    const takes = (...order: readonly number[]): readonly boolean[] => {
      const receiving = echoStream();
      return order.map((index) => takeEcho(receiving, 7, messages[index]!));
    };
    assert.deepEqual(takes(0, 1, 2, 3, 4), [true, true, true, true, true]);
    assert.deepEqual(takes(0, 2), [true, false]);
    assert.deepEqual(takes(0, 1, 1), [true, true, false]);
    assert.equal(takeEcho(echoStream(), 8, messages[0]!), false);
  });

  test("a hello says its seed, and nothing else is a hello", () => {
    assert.equal(readHello(hello(4_000_000_000)), 4_000_000_000);
    assert.equal(readHello(hello(5).slice(0, 7)), null);
    assert.equal(readHello(new Uint8Array(8)), null);
  });
});
