// The board of alarms: raised once, cleared once, with the delays of the table; and what heart and the daemon count.

import assert from "node:assert/strict";
import { test } from "node:test";
import { millis, term } from "../../src/base/units.ts";
import { ALARMS, AlarmBoard, alarmOf, countAlarms, inOrder } from "../../src/core/alarms.ts";
import { setAlarm } from "../../src/core/election/alarms.ts";
import { heartbeatOf } from "../../src/core/election/speak.ts";
import { createElection } from "../../src/core/election/state.ts";
import { pairConfig } from "./configFixture.ts";

/** 2026-11-20 15:26:00 UTC and `seconds` later, on a machine that has been up for a day. */
const at = (seconds: number) => ({
  monotonicMs: 86_400_000 + seconds * 1000,
  wallMs: Date.parse("2026-11-20T15:26:00Z") + seconds * 1000,
});

test("raised once, with its time; cleared once", () => {
  const board = new AlarmBoard();
  assert.match(board.observe("heart-gone", "", at(0)) ?? "", /^alarm critical heart-gone: Heart, .*\(.*log/);
  assert.equal(board.observe("heart-gone", "", at(7)), null);
  assert.deepEqual(board.raised, [{ ...alarmOf("heart-gone"), since: "2026-11-20T15:26:00.000Z" }]);
  assert.equal(board.observe("heart-gone", null, at(8)), "alarm cleared: heart-gone");
  assert.equal(board.observe("heart-gone", null, at(9)), null);
  assert.deepEqual(board.raised, []);
});

test("what passes within its delay is never told; what lasts is, since it began", () => {
  const board = new AlarmBoard();
  assert.equal(ALARMS["replication-down"].afterMs, 5000);
  assert.equal(board.observe("replication-down", "", at(0)), null);
  assert.equal(board.observe("replication-down", "", at(4)), null);
  assert.equal(board.observe("replication-down", null, at(4.5)), null);
  assert.equal(board.observe("replication-down", "", at(6)), null, "a new spell");
  assert.equal(board.observe("replication-down", "", at(10.9)), null);
  assert.equal(board.raised.length, 0);
  assert.match(board.observe("replication-down", "", at(11)) ?? "", /replication-down/);
  assert.equal(board.raised[0]?.since, "2026-11-20T15:26:06.000Z");
});

test("cleared after a quiet time, during which it may come again without a word", () => {
  const board = new AlarmBoard();
  assert.equal(ALARMS["foreign-traffic-1148"].quietMs, 60_000);
  assert.match(
    board.observe("foreign-traffic-1148", "10.0.0.9 on lan", at(0)) ?? "",
    /\[10\.0\.0\.9 on lan\]/,
  );
  assert.equal(board.observe("foreign-traffic-1148", null, at(50)), null);
  assert.equal(board.observe("foreign-traffic-1148", "10.0.0.9 on lan", at(55)), null);
  assert.equal(board.observe("foreign-traffic-1148", null, at(114)), null);
  assert.equal(board.raised.length, 1);
  assert.equal(
    board.observe("foreign-traffic-1148", null, at(115)),
    "alarm cleared: foreign-traffic-1148 (last: 10.0.0.9 on lan)",
  );
});

test("another detail shows at once, and is logged once a minute", () => {
  const board = new AlarmBoard();
  board.observe("foreign-traffic-1148", "10.0.0.1 on lan", at(0));
  const lines = Array.from({ length: 120 }, (_, second) =>
    board.observe("foreign-traffic-1148", `10.0.0.${second} on lan`, at(second)),
  ).filter((line) => line !== null);
  assert.deepEqual(lines, ["alarm warning foreign-traffic-1148 goes on: [10.0.0.60 on lan]"]);
  assert.equal(board.raised[0]?.detail, "10.0.0.119 on lan");
});

test("a wall clock that is set changes nothing but what is shown", () => {
  const board = new AlarmBoard();
  board.observe("replication-down", "", { monotonicMs: 1000, wallMs: 0 });
  assert.equal(
    board.observe("replication-down", "", { monotonicMs: 2000, wallMs: Date.parse("2026-11-20") }),
    null,
  );
});

test("counted, and in order: the most severe first, then the oldest", () => {
  assert.deepEqual(countAlarms([]), { alarms: 0, critical: false });
  assert.deepEqual(countAlarms(["peer-silent", "flood-1148"]), { alarms: 2, critical: false });
  assert.deepEqual(countAlarms(["peer-silent", "isolated"]), { alarms: 2, critical: true });
  const raised = (
    [
      ["replication-segment-shared", "01"],
      ["flood-1148", "03"],
      ["peer-silent", "02"],
      ["isolated", "04"],
    ] as const
  ).map(([code, since]) => ({ ...alarmOf(code), since }));
  assert.deepEqual(
    inOrder(raised).map(({ code }) => code),
    ["isolated", "peer-silent", "flood-1148", "replication-segment-shared"],
  );
});

test("what heart says once is told at once and taken back at once: its delays are the election's", () => {
  for (const [code, spec] of Object.entries(ALARMS))
    if (spec.raisedBy === "heart") assert.ok(!("afterMs" in spec) && !("quietMs" in spec), code);
});

test("a heartbeat counts the alarms of both processes, the daemon's while it speaks", () => {
  const { node, priority, timers } = pairConfig();
  const state = createElection(
    { node, priority, timers, segments: [{ name: "lan", singleMac: false }] },
    { now: millis(0), stored: { current: term(0), reserved: term(0) }, adopted: null, carriers: [true] },
  );
  const told = (now: number) => {
    const { alarms, critical } = heartbeatOf(state, now);
    return { alarms, critical };
  };
  assert.deepEqual(told(0), { alarms: 0, critical: false });
  setAlarm(state, "peer-silent", true, []);
  assert.deepEqual(told(0), { alarms: 1, critical: false });
  state.daemonAt = 0;
  state.daemon = {
    ready: true,
    dressed: true,
    position: { term: 0, sequence: 0 },
    sessions: 0,
    configurationDigest: "0000000000000000",
    alarms: 300,
    critical: true,
  };
  assert.deepEqual(told(10), { alarms: 255, critical: true });
  assert.deepEqual(told(60_000), { alarms: 1, critical: false });
});
