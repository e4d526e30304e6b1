// The rules of docs/election.md, one by one, on the machine alone. What two machines do to each other is the business
// of the simulator (test/sim).

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { READINESS_FRESH_MS } from "../../src/base/limits.ts";
import { readinessIn } from "../../src/base/readiness.ts";
import { GateState, millis, Role, term } from "../../src/base/units.ts";
import { describe as draw, viewOf } from "../../src/core/election/describe.ts";
import { step } from "../../src/core/election/election.ts";
import { createElection } from "../../src/core/election/state.ts";
import type { ElectionEffect, ElectionInput } from "../../src/core/election/types.ts";
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
  words,
} from "./electionHarness.ts";

test("§3: the active renews first and speaks on the receipt", () => {
  const bench = active();
  bench.now += 10;
  const done = kinds(bench.turn()).filter((kind) => kind === "renew" || kind === "heartbeat");
  assert.deepEqual(done, ["renew", "heartbeat"]);
});

test("§2: a refused renewal shuts the gate, opens nothing, and asks for leave", () => {
  const bench = active();
  bench.renews = false;
  bench.now += 10;
  const done = bench.turn();
  assert.ok(kinds(done).indexOf("shut") > kinds(done).indexOf("renew"));
  assert.equal(opens(done), 0);
  const said = heartbeats(done).at(-1)!;
  assert.deepEqual([said.role, said.gate, said.candidate], ["active", "shut", true]);
});

test("§5: a lapsed active goes on in its term on a fresh word of a standby, and only on that", () => {
  const lapsed = (): Bench => {
    const bench = active();
    bench.renews = false;
    bench.now += 10;
    bench.turn();
    bench.renews = true;
    return bench;
  };
  const granted = lapsed();
  const before = viewOf(granted.state).term;
  granted.now += 1;
  assert.equal(opens(granted.hear(STANDBY)), 1);
  assert.deepEqual([viewOf(granted.state).gate, viewOf(granted.state).term], ["open", before]);

  const old = lapsed();
  old.now += 1;
  assert.equal(opens(old.hear({ ...STANDBY, echo: old.state.sequence - 1 })), 0, "sent before the lapse");
  const slow = lapsed();
  const asked = slow.state.sequence;
  slow.run(31);
  assert.equal(opens(slow.hear({ ...STANDBY, echo: asked })), 0, "the word is older than the promise lasts");
  const rival = lapsed();
  rival.now += 1;
  assert.equal(opens(rival.hear({ ...STANDBY, candidate: true })), 0, "it wants to open itself");
});

test("§3, §4: the standby opens `dead` after the last heartbeat, with probes unanswered and a witness heard", () => {
  const bench = standby();
  bench.hear();
  const heardAt = bench.now;
  assert.equal(opens(bench.run(49)), 0);
  const done = bench.run(10);
  assert.equal(opens(done), 1);
  const open = done.find((effect) => effect.kind === "open");
  assert.ok(open?.kind === "open" && open.notAfter <= heartbeats(done)[0]!.sequence + bench.now);
  const role = done.find((effect) => effect.kind === "role-changed" && effect.role === "active");
  assert.ok(role?.kind === "role-changed" && role.silenceMs >= 50 && role.silenceMs < 56 && role.term === 3);
  const probes = bench.done.filter((effect) => effect.kind === "probe");
  assert.ok(probes.length >= 4, "two on each segment");
  assert.ok(bench.now - heardAt < 61);
});

test("§4: no probe before the lease has ended: a dead heart's kernel would still answer", () => {
  const bench = standby();
  bench.hear();
  assert.ok(!kinds(bench.run(39.5)).includes("probe"));
  assert.ok(kinds(bench.run(3)).includes("probe"));
});

test("§4: a probe that was never sent is no probe without an answer; a segment that nobody witnesses waits for none", () => {
  const bench = standby();
  bench.mute = [1];
  bench.hear();
  assert.equal(opens(bench.run(500)), 0);
  assert.equal(bench.state.segments[1]!.unanswered, 0);
  bench.mute = [];
  assert.equal(opens(bench.run(20)), 1);

  const unwitnessed = standby();
  unwitnessed.witnesses = [0];
  unwitnessed.run(1500, () => ({}));
  unwitnessed.mute = [1];
  assert.equal(opens(unwitnessed.run(60)), 1, "the intent was told on the other segment");
});

test("§4: where nothing left, no intent was told", () => {
  const bench = standby();
  bench.mute = [0, 1];
  bench.hear();
  assert.equal(opens(bench.run(500)), 0);
  assert.equal(bench.state.intentSince, -1);
});

test("§4: while somebody answers there is no takeover, but an alarm; afterwards `dead` counts from the answer", () => {
  const bench = standby();
  bench.answers = [1];
  const done = bench.run(2000);
  assert.equal(opens(done), 0);
  assert.ok(
    done.some(
      (effect) =>
        effect.kind === "alarm" && effect.raised && effect.alarm.code === "heartbeats-lost-gate-answers",
    ),
  );
});

test("§4: a node that hears no third party never claims", () => {
  const bench = standby();
  bench.witnesses = [];
  assert.equal(opens(bench.run(30_000)), 0);
});

test("§4: an isolated active shuts its gate", () => {
  const bench = active();
  bench.witnesses = [];
  const done = bench.run(1500, () => ({ ...STANDBY, witnessed: 0 }));
  assert.ok(kinds(done).includes("shut"));
  assert.equal(viewOf(bench.state).gate, "shut");
});

test("§3: a turn that comes late restarts the silence clock", () => {
  const bench = standby();
  bench.hear();
  bench.now += 3000;
  assert.equal(opens(bench.turn()), 0);
  assert.equal(opens(bench.run(45)), 0);
});

test("§5: the long lease comes after a second alone, announced five times before it is taken", () => {
  const bench = active();
  bench.run(1400);
  const renewals = bench.done.filter((effect) => effect.kind === "renew" || effect.kind === "heartbeat");
  const first = renewals.findIndex((effect) => effect.kind === "renew" && effect.lease === "solo");
  assert.ok(first > 0);
  const announced = renewals
    .slice(0, first)
    .filter((effect) => effect.kind === "heartbeat" && effect.message.leaseMs === 10_000);
  assert.ok(announced.length >= 5);

  const done = bench.hear(STANDBY);
  const renew = done.findIndex((effect) => effect.kind === "renew" && effect.lease === "short");
  const said = done.findIndex((effect) => effect.kind === "heartbeat" && effect.message.leaseMs === 40);
  assert.ok(renew >= 0 && said > renew, "shortened first, announced then");
});

test("§5: against a long lease the standby waits it out", () => {
  const config = { ...CONFIG, segments: [...CONFIG.segments, { name: "modem", singleMac: true }] };
  const bench = standby(new Bench(config));
  bench.hear({ leaseMs: 10_000 });
  assert.equal(opens(bench.run(12_400)), 0);
  assert.equal(opens(bench.run(300)), 1);
});

test("§5: against a long lease, every segment witnessed and unanswered is enough", () => {
  const bench = standby();
  bench.hear({ leaseMs: 10_000 });
  assert.equal(opens(bench.run(300)), 1);
});

test("§5: a disk that refuses is an alarm and not ready, and never a reason not to take over", () => {
  const bench = new Bench();
  bench.disk = "refuses";
  standby(bench);
  assert.equal(viewOf(bench.state).ready, false);
  assert.ok(
    bench.done.some(
      (effect) => effect.kind === "alarm" && effect.raised && effect.alarm.code === "term-not-stored",
    ),
  );
  assert.equal(opens(bench.run(100)), 1);
});

test("§5: a standby reserves its next terms before it needs them", () => {
  const bench = standby();
  const stored = bench.done.findLast((effect) => effect.kind === "store-term");
  assert.ok(
    stored?.kind === "store-term" &&
      stored.current === 2 &&
      stored.reserved >= 3 &&
      stored.reserved % 2 === 1,
  );
});

test("§5: what an earlier life may have claimed is not claimed again", () => {
  const bench = new Bench(CONFIG, { stored: { current: term(2), reserved: term(9) } });
  bench.run(1500);
  assert.equal(viewOf(bench.state).term, 11);
});

test("§5: beside a disk that took nothing, a life claims terms that no other life claims", () => {
  const claimed = (skip: number): number => {
    const bench = new Bench(CONFIG, { stored: { current: term(2), reserved: term(9) }, skip });
    bench.disk = "refuses";
    bench.run(1500);
    assert.equal(viewOf(bench.state).role, "active");
    return viewOf(bench.state).term;
  };
  assert.deepEqual([claimed(1), claimed(2), claimed(1000)], [13, 15, 2011]);
});

test("§5: a heart that finds its own long lease goes on with it, another's it shuts", () => {
  const own = new Bench(CONFIG, {
    stored: { current: term(3), reserved: term(9) },
    adopted: { held: true, drained: false },
  });
  const done = own.turn();
  assert.ok(done.some((effect) => effect.kind === "renew" && effect.lease === "solo"));
  assert.equal(opens(done), 0);
  assert.deepEqual(
    [viewOf(own.state).role, viewOf(own.state).term, viewOf(own.state).gate],
    ["active", 3, "open"],
  );

  const foreign = new Bench(CONFIG, {
    stored: { current: term(2), reserved: term(9) },
    adopted: { held: true, drained: false },
  });
  assert.equal(kinds(foreign.turn())[0], "shut");
});

test("an opening under way is taken back where the gate shuts in the same turn", () => {
  const ends: readonly ((bench: Bench) => readonly ElectionInput[])[] = [
    () => [{ kind: "gate-missing" }],
    (bench) => {
      bench.state.leaseUntil = bench.now;
      return [];
    },
    (bench) => {
      // Nobody has been heard for a second, and nobody answers: isolated.
      for (const segment of bench.state.segments) segment.witnessAt = bench.now - 2000;
      bench.state.phaseSince = bench.now - 2000;
      return [];
    },
  ];
  for (const end of ends) {
    const { bench, word } = withdrawn();
    const effects: ElectionEffect[] = [];
    step(bench.state, bench.time, word, effects);
    assert.equal(opens(effects), 1);
    for (const input of [...end(bench), { kind: "turn" } as const])
      step(bench.state, bench.time, input, effects);
    assert.equal(opens(effects), 0);
    assert.ok(kinds(effects).includes("shut"));
    assert.equal(viewOf(bench.state).gate, "shut");
  }
});

test("§4: whoever asked for a handover is told when isolation ends it", () => {
  const bench = active();
  bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "handover", request: 7 });
  for (const segment of bench.state.segments) segment.witnessAt = bench.now - 2000;
  bench.state.phaseSince = bench.now - 2000;
  const answer = bench.turn().find((effect) => effect.kind === "answer-command");
  assert.ok(answer?.kind === "answer-command" && !answer.ok && answer.request === 7);
});

test("§5: of two actives the one with fewer witnessed segments drains, whatever its term", () => {
  const bench = active();
  bench.witnesses = [1];
  bench.run(450, () => null);
  const done = bench.hear({ term: 2, witnessed: 3 });
  assert.ok(kinds(done).includes("drain"));
  const stays = active();
  assert.ok(!kinds(stays.hear({ term: 200, witnessed: 1 })).includes("drain"));
});

test("§7: the winner announces though the loser has yielded before it was heard as active, and again once it is shut", () => {
  const bench = active();
  bench.run(1500, () => null);
  const drained = bench.hear({ term: 2, gate: GateState.Drain });
  assert.ok(kinds(drained).includes("announce"));
  bench.now += 10;
  assert.ok(kinds(bench.hear({ ...STANDBY })).includes("announce"));
  const asked = active();
  asked.run(1500, () => STANDBY);
  assert.ok(!kinds(asked.hear({ term: 2, gate: GateState.Drain, handover: true })).includes("announce"));
});

test("an opening is dropped where a later word of the same turn forbids it, and where the driver comes too late", () => {
  const bench = active();
  bench.renews = false;
  bench.now += 10;
  bench.turn();
  bench.now += 1;
  const grant = bench.heartbeat(STANDBY);
  const claims = bench.heartbeat({ term: 99 });
  assert.equal(opens(bench.turn(grant, claims)), 0);
  assert.equal(viewOf(bench.state).role, "standby");

  const late = standby();
  const effects: ElectionEffect[] = [];
  late.hear();
  late.run(49.5);
  late.now += 4;
  step(late.state, late.time, { kind: "turn" }, effects);
  if (effects.some(({ kind }) => kind === "open"))
    step(
      late.state,
      millis(late.now + 50),
      { kind: "opened", ok: false, at: millis(late.now + 50) },
      effects,
    );
  assert.equal(viewOf(late.state).gate, "shut");
});

test("§8: a node without the state lets the one that holds it gather itself, for a moment", () => {
  const facts = {
    ready: false,
    dressed: true,
    position: { term: 0, sequence: 0 },
    sessions: 0,
    configurationDigest: "0000000000000000",
  };
  const bench = new Bench();
  bench.turn({ kind: "daemon", facts });
  const holder = { role: Role.Idle, gate: GateState.Shut, leaseMs: 0, witnessed: 0 } as const;
  const said = heartbeats(bench.run(150, () => holder));
  assert.ok(said.every(({ candidate }) => !candidate));
  const without = new Bench();
  without.turn({ kind: "daemon", facts });
  const empty = { ...holder, position: { term: 0, sequence: 0 } };
  assert.ok(heartbeats(without.run(150, () => empty)).some(({ candidate }) => candidate));
});

test("§5: of two idle nodes with the same position the one that is ready asks, whatever the preference", () => {
  const idle = { role: Role.Idle, gate: GateState.Shut, leaseMs: 0 } as const;
  const asks = (ready: boolean): boolean =>
    heartbeats(new Bench().run(150, () => ({ ...idle, ready }))).some(({ candidate }) => candidate);
  assert.deepEqual([asks(false), asks(true)], [true, false]);
});

test("words that were heard before, or overtaken, change nothing", () => {
  const bench = standby();
  const input = bench.heartbeat();
  bench.turn(input);
  bench.run(20);
  const before = bench.state.peer.heardAt;
  bench.turn(input);
  assert.equal(bench.state.peer.heardAt, before);
});

test("a drawing names the node, its phase and every segment", () => {
  const text = draw(standby().state);
  for (const part of ["b: standby", "lan", "wan1", "peer heard"]) assert.ok(text.includes(part), part);
});

/** Any input at all, sensible or not. */
const anyInput: fc.Arbitrary<ElectionInput> = fc.oneof(
  fc.record({
    kind: fc.constant("heartbeat" as const),
    path: fc.nat(1),
    boot: fc.nat(2),
    message: fc
      .record({
        role: fc.constantFrom(Role.Idle, Role.Standby, Role.Active),
        gate: fc.constantFrom(GateState.Shut, GateState.Open, GateState.Drain),
        handover: fc.boolean(),
        leaving: fc.boolean(),
        candidate: fc.boolean(),
        term: fc.nat(12),
        sequence: fc.nat(400),
        echo: fc.nat(400),
        leaseMs: fc.constantFrom(0, 40, 10_000),
        witnessed: fc.nat(3),
      })
      .map((change) => words(change)),
  }),
  fc.record({ kind: fc.constant("answer" as const), segment: fc.nat(2), sentAt: fc.nat(5000).map(millis) }),
  fc.record({ kind: fc.constant("witness" as const), segment: fc.nat(2) }),
  fc.record({ kind: fc.constant("contender" as const), segment: fc.nat(2) }),
  fc.record({ kind: fc.constant("carrier" as const), segment: fc.nat(2), up: fc.boolean() }),
  fc.constantFrom<ElectionInput>(
    { kind: "gate-missing" },
    { kind: "gate-restored" },
    { kind: "daemon-gone" },
  ),
  fc.record({
    kind: fc.constant("command" as const),
    command: fc.constantFrom("handover" as const, "leave" as const),
    request: fc.nat(9),
  }),
);

test("whatever comes: no word that says shut behind an `open`, no gate after leaving, terms of its own only", () => {
  const plan = fc.array(
    fc.record({
      pauseMs: fc.double({ min: 0, max: 60, noNaN: true }),
      inputs: fc.array(anyInput, { maxLength: 3 }),
    }),
    { maxLength: 120 },
  );
  fc.assert(
    fc.property(plan, (turns) => {
      const bench = new Bench();
      let left = false;
      for (const { pauseMs, inputs } of turns) {
        bench.now += pauseMs;
        const done = bench.turn(...inputs);
        const open = kinds(done).indexOf("open");
        const next = kinds(done).indexOf("heartbeat", open);
        if (open >= 0) {
          assert.ok(!left, "opened after leaving");
          assert.ok(next < 0 || heartbeats(done).at(-1)!.gate !== GateState.Shut);
        }
        left ||= kinds(done).includes("exit");
        const { gate, term: own } = viewOf(bench.state);
        if (gate === GateState.Open) assert.equal(own % 2, 1, "terms of b are odd");
      }
    }),
    { numRuns: 300 },
  );
});

test("a machine that was just made wants a turn at once", () => {
  const start = {
    now: millis(5),
    stored: { current: term(0), reserved: term(0) },
    adopted: null,
    carriers: [true, true],
  };
  const state = createElection(CONFIG, start);
  assert.equal(state.dueAt, 5);
});

test("the daemon's word on readiness goes out with every heartbeat while it is young, and not after", () => {
  const bench = new Bench();
  bench.turn({ kind: "readiness", readiness: 9_999 });
  const said = heartbeats(bench.run(2 * READINESS_FRESH_MS)).map(({ carrier }) => readinessIn(carrier));
  assert.equal(said[0], 9_999);
  const silentFrom = said.indexOf(null);
  assert.ok(silentFrom > 0);
  assert.ok(said.slice(silentFrom).every((readiness) => readiness === null));
  assert.ok(said.slice(0, silentFrom).every((readiness) => readiness === 9_999));
  // One every 10 ms.
  assert.ok(Math.abs(silentFrom - READINESS_FRESH_MS / 10) <= 1, `${silentFrom}`);
});
