// What survival of a live session means, at its bounds, and the figures of stalls against the dumb definition.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { judgeLive, type LiveSession, lossOf, percentile } from "../../src/lab/traffic/survival.ts";

const alive: LiveSession = {
  kind: "echo",
  host: "h1",
  port: 20_001,
  connected: true,
  failure: null,
  stallMs: 60,
  silentMs: 12,
  movedMs: 3000,
  bytes: 7200,
};

suite("survival", () => {
  test("moves a second of right data, stands still for no more than half a second", () => {
    assert.equal(lossOf(alive), null);
    assert.equal(lossOf({ ...alive, stallMs: 500 }), null);
    assert.equal(lossOf({ ...alive, stallMs: 501 }), "stood still for too long, and went on");
    assert.equal(lossOf({ ...alive, stallMs: 900, silentMs: 501 }), "silent ever since");
    assert.equal(lossOf({ ...alive, movedMs: 900 }), "moved data for less than 1000 ms");
    assert.equal(lossOf({ ...alive, failure: "wrong content" }), "wrong content");
    assert.equal(lossOf({ ...alive, connected: false }), "never connected");
  });

  test("figures are of all sessions, the lost ones too", () => {
    const sessions = [alive, { ...alive, stallMs: 90 }, { ...alive, stallMs: 800 }];
    const { losses, ...figures } = judgeLive(sessions);
    assert.deepEqual(figures, { opened: 3, survived: 2, slow: 1, stallMs: { p50: 90, p99: 800, max: 800 } });
    assert.deepEqual([...losses], [["echo: stood still for too long, and went on", 1]]);
  });

  test("a percentile is a value that was there, by the dumb definition", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1000), { minLength: 1 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, share) => {
          const sorted = [...values].sort((one, other) => one - other);
          const found = percentile(sorted, share);
          const atMost = sorted.filter((value) => value <= found).length;
          assert.ok(sorted.includes(found));
          assert.ok(atMost >= sorted.length * share - 1e-9);
        },
      ),
    );
    assert.equal(percentile([], 0.5), 0);
  });
});
