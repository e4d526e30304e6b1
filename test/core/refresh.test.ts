// Refresh rounds, rule by rule (core/replication/refresh.ts, F1-F4). That nothing expires on a standby while it lives on the
// active is shown in whole runs, by test/sim/log.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { REFRESH_STEP_MS } from "../../src/base/limits.ts";
import { millis } from "../../src/base/units.ts";
import * as sender from "../../src/core/replication/sender.ts";
import { Sender } from "./logMachines.ts";
import { batchOf, session } from "./records.ts";

const ROUND_MS = 40_000;
const LONG_SECONDS = (2 * ROUND_MS) / 1000;

/** Synchronised, over a table of `chunks` steps. */
function streaming(chunks: number, refreshKeysMax = 100): Sender {
  const active = Sender.subscribed({ refreshRoundMs: ROUND_MS, refreshKeysMax });
  for (let chunk = 1; chunk <= chunks; chunk += 1) active.chunk([], chunk < chunks);
  active.acknowledge(1);
  return active;
}

function step(active: Sender, ids: readonly number[], more: boolean, version = 0): string[] {
  const bytes = batchOf(ids.map((id) => session(id, version)));
  const refresh = active.state.refresh?.number ?? 0;
  const said = active.feed({ kind: "refresh-chunk", refresh, bytes, count: ids.length, more });
  return said;
}

/** As a driver does: waits until a step is wanted. Returns when that was. */
function waitForStep(active: Sender): number {
  active.feed({ kind: "turn" });
  while (!sender.wantsRefresh(active.state, active.now)) {
    const at = sender.deadline(active.state);
    assert.ok(at !== null && at > active.now, sender.describe(active.state));
    active.now = millis(at);
    active.feed({ kind: "turn" });
  }
  return active.now;
}

const acknowledgeAll = (active: Sender): string[] => active.acknowledge(active.state.sequence);

test("F1: a pass begins a while after the snapshot, and every round after that; its steps are spread", () => {
  const active = streaming(4);
  const at: number[] = [];
  for (let pass = 0; pass < 3; pass += 1)
    for (let chunk = 0; chunk < 4; chunk += 1) {
      at.push(waitForStep(active));
      step(active, [chunk], chunk < 3);
      acknowledgeAll(active);
    }
  const begin = ROUND_MS / 4;
  const spread = ROUND_MS * 0.75;
  const pass = [0, spread / 4, spread / 2, (spread * 3) / 4].map((each) => begin + each);
  assert.deepEqual(
    at,
    [0, 1, 2].flatMap((number) => pass.map((each) => each + number * ROUND_MS)),
  );
  assert.equal(active.state.counters.refreshRounds, 3);
  assert.equal(sender.isSynchronised(active.state), true);
});

test("F1: a table that has grown is read in a hurry, so that the pass ends in time", () => {
  const active = streaming(2);
  const begin = waitForStep(active);
  let last = begin;
  for (let chunk = 0; chunk < 500; chunk += 1) {
    last = waitForStep(active);
    step(active, [], chunk < 499);
  }
  assert.ok(last - begin <= ROUND_MS * 0.75 + 500 * REFRESH_STEP_MS, `${last - begin} ms`);
  // The next one knows.
  const again = waitForStep(active);
  assert.equal(again, begin + ROUND_MS);
  step(active, [], true);
  assert.equal(waitForStep(active), begin + ROUND_MS + (ROUND_MS * 0.75) / 500);
});

test("F1: what ends soon is sent in every pass, anything else in every second one, half of it in each", () => {
  const active = streaming(1);
  const ids = Array.from({ length: 100 }, (_, id) => id);
  // `session` lives 30 s and its version.
  const passes = [0, 1, 2, 3].map(() => {
    waitForStep(active);
    step(active, ids, false, LONG_SECONDS - 30);
    acknowledgeAll(active);
    const long = active.effects.length;
    const sent = active.state.counters.refreshed;
    waitForStep(active);
    step(active, ids, false, LONG_SECONDS - 31);
    acknowledgeAll(active);
    assert.equal(active.state.counters.refreshed - sent, 100, "those below the mark");
    return long;
  });
  assert.equal(passes.length, 4);
  const two = streaming(1);
  const halves = [0, 1].map(() => {
    waitForStep(two);
    const said = two.state.counters.refreshed;
    step(two, ids, false, LONG_SECONDS - 30);
    const [effect] = two.effects;
    const bytes = effect?.kind === "sessions" ? effect.bytes.slice() : new Uint8Array(0);
    acknowledgeAll(two);
    return { count: two.state.counters.refreshed - said, bytes };
  });
  assert.equal(halves[0]!.count + halves[1]!.count, 100);
  assert.ok(
    halves.every(({ count }) => count > 25),
    JSON.stringify(halves.map(({ count }) => count)),
  );
  assert.equal(two.state.counters.refreshSpared, 100);
});

test("F2: what changed since the step before was read is not said again", () => {
  const active = streaming(3);
  waitForStep(active);
  active.deletes(1);
  assert.deepEqual(step(active, [0, 1], true), ["snapshot 2/3-3"]);
  active.deletes(2);
  acknowledgeAll(active);
  waitForStep(active);
  active.deletes(3);
  // Read when the step before it was, and so older than all three.
  assert.deepEqual(step(active, [1, 2, 3, 4], true), ["snapshot 2/6-6"]);
  acknowledgeAll(active);
  waitForStep(active);
  // 1 ended before the step before that: if it is there, it is there again.
  assert.deepEqual(step(active, [1, 2, 3], false), ["snapshot 2/7-7"]);
  assert.equal(active.state.counters.refreshChanged, 6);
});

test("F2: where more changed than is remembered two steps are dropped", () => {
  const active = streaming(4, 2);
  waitForStep(active);
  assert.deepEqual(step(active, [0], true), ["snapshot 2/2-2"]);
  active.deletes(1, 2, 3);
  acknowledgeAll(active);
  waitForStep(active);
  assert.deepEqual(step(active, [9], true), []);
  waitForStep(active);
  assert.deepEqual(step(active, [9], true), []);
  waitForStep(active);
  assert.deepEqual(step(active, [9], false), ["snapshot 2/6-6"]);
  assert.equal(active.state.counters.refreshDoubted, 2);
});

test("F3: a refresh waits for acknowledgements, rounds and a full log, and goes on behind them", () => {
  const active = streaming(4);
  waitForStep(active);
  step(active, [1], true);
  active.now = millis(active.now + ROUND_MS / 2);
  assert.equal(sender.wantsRefresh(active.state, active.now), false, "not acknowledged");
  acknowledgeAll(active);
  assert.equal(sender.wantsRefresh(active.state, active.now), true);
  const set = new Uint8Array(512);
  set[0] = 1;
  active.feed({ kind: "dirty", buckets: set });
  assert.equal(sender.wantsRefresh(active.state, active.now), false, "a round is due");
  active.now = millis(active.now + 250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["round of 1 from 2/2"]);
  assert.equal(sender.wantsRefresh(active.state, active.now), false, "a round");
  for (let chunk = 1; chunk <= 4; chunk += 1) active.chunk([], chunk < 4);
  active.swept(2);
  assert.equal(sender.wantsRefresh(active.state, active.now), true);
  assert.deepEqual(step(active, [2], true), ["snapshot 2/3-3"], "the same pass");
});

test("F4: a loss drops the pass, and the snapshot after it counts as one", () => {
  const active = streaming(4);
  waitForStep(active);
  const { number } = active.state.refresh!;
  step(active, [1], true);
  acknowledgeAll(active);
  active.feed({ kind: "overrun" });
  assert.equal(active.state.counters.refreshesDropped, 1);
  assert.deepEqual(
    active.feed({ kind: "refresh-chunk", refresh: number, bytes: session(2), count: 1, more: true }),
    [],
  );
  active.feed({ kind: "drained" });
  active.now = millis(active.now + 250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["begin 2/2 generation 1"]);
  active.chunk([], false);
  const ended = active.now;
  acknowledgeAll(active);
  assert.equal(waitForStep(active), ended + ROUND_MS / 4);
});

test("F1: after a pass that missed something the next one leaves nothing out", () => {
  const ids = Array.from({ length: 50 }, (_, id) => id);
  const active = streaming(2, 2);
  waitForStep(active);
  active.deletes(100, 101, 102);
  assert.deepEqual(step(active, ids, true, LONG_SECONDS), []);
  acknowledgeAll(active);
  waitForStep(active);
  step(active, [], false);
  waitForStep(active);
  const before = active.state.counters.refreshed;
  step(active, ids, false, LONG_SECONDS);
  assert.equal(active.state.counters.refreshed - before, 50);
  acknowledgeAll(active);
  waitForStep(active);
  step(active, ids, false, LONG_SECONDS);
  assert.ok(active.state.counters.refreshSpared > 0, "and the one after that does again");
});

test("a pass whose dump fails is taken up again, from its beginning", () => {
  const active = streaming(4);
  const begin = waitForStep(active);
  step(active, [1], true);
  acknowledgeAll(active);
  active.feed({ kind: "refresh-failed" });
  assert.equal(waitForStep(active), begin + ROUND_MS / 16);
  assert.equal(active.state.counters.refreshRounds, 0);
});

test("nobody subscribed, nothing is refreshed", () => {
  const active = streaming(1);
  active.feed({ kind: "unsubscribe" });
  active.now = millis(10 * ROUND_MS);
  active.feed({ kind: "turn" });
  assert.equal(sender.wantsRefresh(active.state, active.now), false);
  assert.equal(sender.deadline(active.state), null);
});
