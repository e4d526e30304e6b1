// Another configuration while the election goes on (core/election/configure.ts): nothing is opened, shut or handed over because of
// it, and two nodes of which only one has it yet compare no more than they can.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GateState, millis, Role } from "../../src/base/units.ts";
import { betweenConfigurations, changesTimers } from "../../src/core/election/configure.ts";
import { viewOf } from "../../src/core/election/describe.ts";
import {
  BETWEEN_CONFIGURATIONS,
  type ElectionConfig,
  type ElectionInput,
} from "../../src/core/election/types.ts";
import { active, Bench, CONFIG, heartbeats, kinds, opens, STANDBY, standby } from "./electionHarness.ts";

/** What the harness' daemon and peer say that they have. */
const OLD = "0000000000000000";
const NEW = "1111111111111111";
const digest = (of: string): Partial<ElectionConfig> => ({ digest: of });

const three: ElectionConfig = {
  ...CONFIG,
  segments: [...CONFIG.segments, { name: "wan2", singleMac: false }],
  ...digest(NEW),
};

const grown: ElectionInput = {
  kind: "configuration",
  config: three,
  origins: [0, 1, -1],
  carriers: [true, true, true],
};

test("a segment comes: the gate stays open in its term, and the newcomer counts once it was heard", () => {
  const bench = active();
  const { term } = bench.state;
  bench.witnesses = [0, 1];
  const before = bench.turn(grown);
  assert.deepEqual(
    kinds(before).filter((kind) => ["shut", "open", "drain", "role-changed"].includes(kind)),
    [],
  );
  const said = heartbeats(bench.run(300, () => STANDBY)).at(-1)!;
  assert.deepEqual(
    [said.carrier, said.witnessed, said.gate, said.term, said.configurationDigest],
    [7, 3, GateState.Open, term, NEW],
  );
  bench.witnesses = [0, 1, 2];
  assert.equal(heartbeats(bench.run(300, () => STANDBY)).at(-1)!.witnessed, 7);
});

test("a segment goes: those behind it move up with what is known of them", () => {
  const bench = active(new Bench({ ...three, digest: OLD }), 7);
  const last = bench.state.segments[2]!;
  const config = { ...three, segments: [three.segments[0]!, three.segments[2]!] };
  bench.turn({ kind: "configuration", config, origins: [0, 2], carriers: [true, true] });
  assert.equal(bench.state.segments[1], last);
  assert.equal(bench.state.segments.length, 2);
  const said = heartbeats(bench.run(50, () => STANDBY)).at(-1)!;
  assert.deepEqual([said.carrier, said.witnessed], [3, 3]);
});

test("a silence under way begins anew: no takeover comes sooner, and it still comes", () => {
  const bench = standby();
  bench.run(35);
  bench.turn({ ...grown, origins: [0, 1, -1] });
  assert.equal(opens(bench.run(45)), 0);
  assert.equal(opens(bench.run(60)), 1);
});

test("more segments on a node with another configuration are no reason to hand over; a LAN that only it has is", () => {
  const better = { ...STANDBY, carrier: 7, witnessed: 7 };
  const bench = active(new Bench({ ...CONFIG, ...digest(NEW) }));
  assert.equal(bench.state.handover, null);
  bench.run(1500, () => ({ ...better, configurationDigest: OLD }));
  assert.equal(bench.state.handover, null);
  assert.equal(viewOf(bench.state).gate, GateState.Open);
  // The same words of one with the same configuration are one.
  const equal = active(new Bench({ ...CONFIG, ...digest(NEW) }));
  const effects = equal.run(1500, () => ({ ...better, configurationDigest: NEW }));
  assert.ok(kinds(effects).includes("drain"));
  // Without its LAN it forwards nothing, whatever the bits behind it mean.
  bench.witnesses = [1];
  const unplugged = bench.run(3000, () => ({ ...better, configurationDigest: OLD }));
  assert.ok(kinds(unplugged).includes("drain"));
});

test("a grant of a node that may have other timers is worth no more than the shortest lease there is", () => {
  for (const [theirs, granted] of [
    [NEW, 1],
    [OLD, 0],
  ] as const) {
    const config = { ...CONFIG, ...digest(NEW), timers: { ...CONFIG.timers, leaseMs: millis(40) } };
    const bench = new Bench(config);
    const idle = {
      role: Role.Idle,
      gate: GateState.Shut,
      leaseMs: 0,
      term: 0,
      position: { term: 0, sequence: 0 },
      ready: false,
      priority: 0,
      configurationDigest: theirs,
    };
    // Until it asks; then nothing of it is echoed for 20 ms: within 0.75 leases of 40 ms, beyond those of 20.
    bench.run(3000, () => (bench.state.candidate ? null : { ...idle, echo: bench.state.sequence }));
    assert.equal(bench.state.candidate, true, theirs);
    const asked = bench.state.candidateSequence;
    bench.now = bench.state.sentAt[asked % bench.state.sentAt.length]! + 20;
    bench.state.late = false;
    assert.equal(opens(bench.hear({ ...idle, echo: asked })), granted, theirs);
  }
});

test("on the way from one to the other: the longer leases, the quicker heartbeats, comparable with nobody", () => {
  const next: ElectionConfig = {
    ...three,
    timers: {
      heartbeatMs: millis(20),
      deadAfterMs: millis(100),
      leaseMs: millis(80),
      soloLeaseMs: millis(5000),
    },
  };
  const between = betweenConfigurations(CONFIG, next);
  assert.deepEqual(between.timers, {
    heartbeatMs: 10,
    deadAfterMs: 100,
    leaseMs: 80,
    soloLeaseMs: 10_000,
  });
  assert.equal(between.digest, BETWEEN_CONFIGURATIONS);
  assert.deepEqual(between.segments, CONFIG.segments);
  assert.deepEqual([changesTimers(CONFIG, next), changesTimers(CONFIG, three)], [true, false]);
  // The longer lease is said before the kernel has it.
  const bench = active();
  const input = { kind: "configuration", config: between, origins: [0, 1], carriers: [true, true] } as const;
  bench.turn(input);
  assert.equal(heartbeats(bench.run(30, () => STANDBY)).at(-1)!.leaseMs, 80);
  assert.equal(viewOf(bench.state).gate, GateState.Open);
});

test("ready only while heart and daemon speak of one configuration", () => {
  const said = (of: string): boolean => {
    const bench = new Bench({ ...CONFIG, ...digest(of) });
    bench.run(1500, () => ({ configurationDigest: of }));
    return heartbeats(bench.run(30, () => ({ configurationDigest: of }))).at(-1)!.ready;
  };
  assert.deepEqual([said("2222222222222222"), said(OLD)], [false, true]);
});
