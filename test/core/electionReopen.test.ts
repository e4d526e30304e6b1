// Reopening alone, after the gate's table was removed and put back (docs/election.md, hole 6): the segments are asked
// first, and only a question that was put and not answered lets the gate open.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Phase } from "../../src/core/election/state.ts";
import { Bench, kinds } from "./electionHarness.ts";

/** Alone for long enough to hold the long lease; then the table is gone for a moment. Returns what follows in 20 ms. */
function flushAlone(change: (bench: Bench) => void): {
  readonly bench: Bench;
  readonly openedAfterMs: number | null;
} {
  const bench = new Bench();
  bench.run(20_000);
  assert.equal(bench.state.phase, Phase.Active);
  assert.equal(bench.state.leaseKind, "solo");
  bench.turn({ kind: "gate-missing" });
  assert.equal(bench.state.phase, Phase.Lapsed);
  change(bench);
  const from = bench.now;
  bench.turn({ kind: "gate-restored" });
  while (bench.now < from + 20) {
    bench.now += 0.5;
    if (kinds(bench.turn()).includes("open")) return { bench, openedAfterMs: bench.now - from };
  }
  return { bench, openedAfterMs: null };
}

test("nobody answers: it goes on in its term, 5 ms later", () => {
  const { bench, openedAfterMs } = flushAlone(() => undefined);
  assert.equal(openedAfterMs, 5);
  assert.equal(bench.state.phase, Phase.Active);
});

test("somebody answers for the shared addresses: it does not", () => {
  const { bench, openedAfterMs } = flushAlone((each) => {
    each.answers = [1];
  });
  assert.equal(openedAfterMs, null);
  assert.notEqual(bench.state.phase, Phase.Active);
});

test("a question that did not leave is not one without an answer: it does not", () => {
  const { bench, openedAfterMs } = flushAlone((each) => {
    each.mute = [0];
  });
  assert.equal(openedAfterMs, null);
  assert.notEqual(bench.state.phase, Phase.Active);
});
