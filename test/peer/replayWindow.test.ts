// The replay window against the dumbest model there is: a set of all numbers ever seen.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { REPLAY_WINDOW_BITS } from "../../src/base/limits.ts";
import { ReplayWindow, WINDOW } from "../../src/peer/replayWindow.ts";

class SlowWindow {
  readonly seen = new Set<number>();
  newest = 0;

  accept(sequence: number): boolean {
    if (sequence < 1 || sequence <= this.newest - WINDOW || this.seen.has(sequence)) return false;
    this.seen.add(sequence);
    this.newest = Math.max(this.newest, sequence);
    return true;
  }
}

function agrees(sequences: Iterable<number>): void {
  const fast = new ReplayWindow();
  const slow = new SlowWindow();
  let step = 0;
  for (const sequence of sequences) {
    assert.equal(fast.accept(sequence), slow.accept(sequence), `step ${step}: ${sequence}`);
    assert.equal(fast.newest, slow.newest);
    step++;
  }
}

/** Numbers where words, windows, 32-bit arithmetic and 48 bits end. */
const edges = [
  0,
  31,
  32,
  33,
  63,
  64,
  65,
  WINDOW - 1,
  WINDOW,
  WINDOW + 1,
  REPLAY_WINDOW_BITS,
  2 ** 31,
  2 ** 32,
  2 ** 48 - 1,
];

test("steps, jumps of words and of windows, and everything behind them, as the set says", () => {
  const jump = fc.oneof(
    fc.integer({ min: -2 * REPLAY_WINDOW_BITS, max: 2 * REPLAY_WINDOW_BITS }),
    fc.integer({ min: -3, max: 3 }),
    fc.constantFrom(...edges, ...edges.map((edge) => -edge)),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(1, 32, ...edges),
      fc.array(jump, { minLength: 20, maxLength: 200, size: "max" }),
      (start, jumps) => {
        let at = start;
        const sequences = [at];
        for (const each of jumps) {
          at = Math.min(Math.max(at + each, 0), 2 ** 48 - 1);
          sequences.push(at, at);
        }
        agrees(sequences);
      },
    ),
    { numRuns: 300 },
  );
});

for (const stride of [1, 31, 32, 33, 63, 64, 65, WINDOW, REPLAY_WINDOW_BITS, 2 ** 32]) {
  test(`jumps of exactly ${stride}, each followed by the whole neighbourhood`, () => {
    const sequences: number[] = [];
    for (let step = 1; step <= 12; step++) {
      const top = step * stride;
      sequences.push(top, top, top - 1, top - 32, top - 64, top - WINDOW + 1, top - WINDOW, top - WINDOW - 1);
    }
    agrees(sequences);
  });
}

test("the whole window back from the newest is accepted once, nothing before it", () => {
  const window = new ReplayWindow();
  const newest = 10 * REPLAY_WINDOW_BITS + 7;
  assert.ok(window.accept(newest));
  for (let back = 1; back < WINDOW; back++) assert.ok(window.accept(newest - back), `${back} back`);
  for (let back = 0; back < WINDOW + 64; back++)
    assert.ok(!window.accept(newest - back), `${back} back, again`);
});
