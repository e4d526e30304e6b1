// Probes of a drill: what was lost while the other node served, and for how long nobody was seen to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ProbeTally } from "../../src/core/drillProbes.ts";

/** A question every 10 ms from `fromMs` to `toMs`; an answer 1 ms later where the other one answers. */
function probe(tally: ProbeTally, fromMs: number, toMs: number, answers: (atMs: number) => boolean): void {
  for (let at = fromMs; at < toMs; at += 10) {
    tally.asked(at);
    if (answers(at)) tally.answered(at + 1);
  }
}
const always = (): boolean => true;
const never = (): boolean => false;

test("there and back without a loss: gaps of one question at most", () => {
  const tally = new ProbeTally(100);
  probe(tally, 0, 500, never);
  tally.serves(false, 505);
  probe(tally, 510, 3500, always);
  tally.serves(true, 3495);
  probe(tally, 3500, 4000, never);
  tally.end(4000);
  assert.deepEqual(tally.gapsMs, [6, 4]);
  assert.equal(tally.lost, 0);
  assert.equal(tally.sent, 298, "from the first answer on");
});

test("an answer while both gates are open is none of the other one's alone", () => {
  const tally = new ProbeTally(100);
  tally.answered(100);
  tally.serves(false, 105);
  tally.serves(false, 106);
  tally.answered(111);
  assert.deepEqual(tally.gapsMs, [6]);
});

test("an outage at the change, and losses in between", () => {
  const tally = new ProbeTally(100);
  tally.serves(false, 0);
  probe(tally, 10, 1000, (at) => at >= 300 && (at < 600 || at >= 650));
  tally.serves(true, 1200);
  tally.end(1200);
  assert.equal(tally.gapsMs[0], 301);
  assert.equal(tally.gapsMs[1], 209);
  assert.equal(tally.lost, 5);
});

test("the other one is never seen: nothing was measured", () => {
  const tally = new ProbeTally(100);
  tally.serves(false, 0);
  probe(tally, 10, 500, never);
  tally.serves(true, 500);
  tally.end(600);
  assert.deepEqual([tally.gapsMs, tally.sent, tally.lost], [[null, null], 0, 0]);
});
