// Handing over on purpose (docs/election.md §6), on the machine alone: by command, by comparison, on leaving.

import assert from "node:assert/strict";
import test from "node:test";
import { GateState } from "../../src/base/units.ts";
import { viewOf } from "../../src/core/election/describe.ts";
import type { ElectionEffect } from "../../src/core/election/types.ts";
import type { HeartbeatMessage } from "../../src/wire/heartbeat.ts";
import {
  active,
  Bench,
  CONFIG,
  heartbeats,
  kinds,
  opens,
  STANDBY,
  standby,
  withdrawn,
} from "./electionHarness.ts";

test("§6: handover drains, and shuts on the new active's first heartbeat", () => {
  const bench = active();
  const own = viewOf(bench.state).term;
  const drained = bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "handover", request: 7 });
  assert.ok(kinds(drained).indexOf("drain") >= 0);
  const said = heartbeats(drained).at(-1)!;
  assert.deepEqual([said.gate, said.handover], ["drain", true]);
  bench.now += 1;
  const done = bench.hear({ term: own + 1 });
  assert.ok(kinds(done).includes("shut"));
  const answer = done.find((effect) => effect.kind === "answer-command");
  assert.ok(answer?.kind === "answer-command" && answer.ok && answer.request === 7);
  assert.equal(viewOf(bench.state).role, "standby");
});

test("§6: an offer that nobody takes is withdrawn, and the gate opens again on the standby's word", () => {
  const bench = active();
  bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "handover", request: 7 });
  const done = bench.run(200, () => STANDBY);
  assert.equal(opens(done), 1);
  assert.equal(viewOf(bench.state).gate, "open");
  assert.ok(done.some((effect) => effect.kind === "answer-command" && !effect.ok));
});

test("§6: a reopening that comes too late lapses, and neither handover nor leaving is stuck behind it", () => {
  const { bench, word } = withdrawn();
  bench.opens = false;
  const done = bench.turn(word);
  assert.equal(opens(done), 1);
  assert.ok(kinds(done).indexOf("shut") > kinds(done).indexOf("open"));
  const said = heartbeats(done).at(-1)!;
  assert.deepEqual([said.gate, said.candidate], ["shut", true]);
  bench.opens = true;
  bench.now += 1;
  assert.equal(opens(bench.hear(STANDBY)), 1, "goes on with the standby's leave");
  const again = bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "handover", request: 8 });
  assert.ok(kinds(again).includes("drain"));
});

test("§6: draining without a handover is left at once", () => {
  const { bench } = withdrawn();
  bench.state.handover = null;
  const done = bench.turn();
  assert.ok(kinds(done).includes("shut"));
  assert.equal(viewOf(bench.state).gate, "shut");
});

test("§6: the standby takes a fresh offer at once, a stale one never", () => {
  const fresh = standby();
  const offer = { gate: GateState.Drain, handover: true } as const;
  assert.equal(opens(fresh.hear(offer)), 1);
  const stale = standby();
  const echo = stale.state.sequence;
  stale.run(45, () => ({}));
  assert.equal(opens(stale.hear({ ...offer, echo })), 0);
});

test("§6: a handover that cannot be is refused with the reason", () => {
  const bench = active();
  const command = { kind: "command", command: "handover", request: 1 } as const;
  const done = bench.turn(bench.heartbeat({ ...STANDBY, ready: false }), command);
  const answer = done.find((effect) => effect.kind === "answer-command");
  assert.ok(answer?.kind === "answer-command" && !answer.ok && answer.message.includes("does not hold"));
});

const answerOf = (done: readonly ElectionEffect[]): string => {
  const answer = done.find((effect) => effect.kind === "answer-command");
  return answer?.kind === "answer-command" ? `${answer.ok ? "done" : "refused"}: ${answer.message}` : "none";
};
const HANDOVER = { kind: "command", command: "handover", request: 1 } as const;

test("§6: a handover is refused with the reason that holds", () => {
  const orders = (change: Partial<HeartbeatMessage>): string => {
    const bench = active();
    return answerOf(bench.turn(bench.heartbeat({ ...STANDBY, ...change }), HANDOVER));
  };
  assert.equal(
    orders({ ready: false, configurationDigest: "1111111111111111" }),
    "refused: the two nodes have different configurations",
  );
  assert.match(orders({ ready: false }), /does not hold the whole state yet/);
  assert.match(orders({ witnessed: 2 }), /refused: the other node could not forward: .* on lan$/);
  assert.match(orders({ carrier: 2 }), /could not forward: .* on lan$/);
  assert.equal(orders({}), "none", "it is under way");
  const follower = standby();
  assert.equal(answerOf(follower.turn(HANDOVER)), "refused: a is active: give the command there");
  follower.run(51);
  assert.match(answerOf(follower.turn(HANDOVER)), /not heard/);
});

test("§6: a handover to a node with fewer links is refused, but not where this one is worse off", () => {
  const config = { ...CONFIG, segments: [...CONFIG.segments, { name: "wan2", singleMac: false }] };
  const bench = active(new Bench(config), 7);
  const fewer = bench.turn(bench.heartbeat({ ...STANDBY, carrier: 7, witnessed: 3 }), HANDOVER);
  assert.match(answerOf(fewer), /would hand back at once: .* on wan2$/);
  const worse = active(new Bench(config), 7);
  worse.witnesses = [1];
  worse.run(390, () => ({ ...STANDBY, carrier: 7, witnessed: 3 }));
  const order = worse.turn(worse.heartbeat({ ...STANDBY, carrier: 7, witnessed: 2 }), HANDOVER);
  assert.ok(kinds(order).includes("drain"));
});

test("§6: a standby that could not forward is not ready, while the active forwards", () => {
  const blind = (bench: Bench, effects: readonly ElectionEffect[]): boolean =>
    !heartbeats(effects).at(-1)!.ready && bench.state.alarms.has("standby-blind");
  const bench = standby();
  bench.witnesses = [1];
  assert.ok(
    blind(
      bench,
      bench.run(1000, () => ({})),
    ),
  );
  assert.deepEqual(viewOf(bench.state).reasons, ["this node could not forward: nobody answers it on lan"]);
  bench.witnesses = [0, 1];
  assert.ok(
    !blind(
      bench,
      bench.run(500, () => ({})),
    ),
  );
  assert.equal(viewOf(bench.state).ready, true);
  const both = standby();
  both.witnesses = [1];
  assert.ok(
    !blind(
      both,
      both.run(1000, () => ({ witnessed: 2 })),
    ),
    "a fault outside the pair",
  );
});

test("§6: a daemon that hangs is not relieved by a node that could not forward; leaving still leaves", () => {
  const bench = active();
  bench.daemon = "silent";
  const blind = { ...STANDBY, ready: false, witnessed: 2 };
  bench.run(500, () => STANDBY);
  assert.ok(!kinds(bench.run(13_000, () => blind)).includes("drain"));
  const leave = { kind: "command", command: "leave", request: 2 } as const;
  assert.ok(kinds(bench.turn(bench.heartbeat(blind), leave)).includes("exit"));
});

test("§6: the active hands over where the standby is better off, twice in a row", () => {
  const bench = active();
  bench.witnesses = [1];
  const done = bench.run(1000, () => STANDBY);
  assert.ok(kinds(done).includes("drain"));
  const equal = active();
  equal.witnesses = [1];
  assert.ok(!kinds(equal.run(1000, () => ({ ...STANDBY, witnessed: 2 }))).includes("drain"));
});

test("§6: a daemon that hangs takes the standby's readiness along, and is relieved all the same", () => {
  const bench = active();
  bench.daemon = "silent";
  bench.run(3000, () => STANDBY);
  const unready = { ...STANDBY, ready: false };
  assert.ok(!kinds(bench.run(6500, () => unready)).includes("drain"));
  assert.ok(kinds(bench.run(1500, () => unready)).includes("drain"));
});

test("§6: a standby that was not ready, or has started anew since, does not relieve a daemon that hangs", () => {
  for (const boot of [1, 2]) {
    const bench = active();
    const unready = { ...STANDBY, ready: false };
    if (boot === 1) bench.run(500, () => unready);
    bench.daemon = "silent";
    bench.boot = boot;
    assert.ok(!kinds(bench.run(13_000, () => unready)).includes("drain"), `boot ${boot}`);
  }
});

test("§6: leaving hands over first, then tells, then ends", () => {
  const bench = active();
  const own = viewOf(bench.state).term;
  assert.ok(
    kinds(bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "leave", request: 2 })).includes(
      "drain",
    ),
  );
  bench.now += 1;
  const done = bench.hear({ term: own + 1 });
  assert.equal(kinds(done).at(-1), "exit");
  assert.ok(heartbeats(done).at(-1)!.leaving);
});
