// The drill in virtual time: there and back, and every way in which it ends in the middle.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DRILL_BACK_MS_MAX,
  DRILL_OVER_MS_MAX,
  DRILL_STAY_MS,
  DRILL_SYNC_MS_MAX,
} from "../../src/base/limits.ts";
import { millis, type Role } from "../../src/base/units.ts";
import {
  createDrill,
  type DrillEffect,
  type DrillFacts,
  type DrillInput,
  deadline,
  describe,
  isScheduled,
  step,
} from "../../src/core/drill.ts";
import type { DrillReport } from "../../src/wire/controlReadiness.ts";

const serves: DrillFacts = {
  role: "active",
  cause: "election",
  peerHeard: true,
  peerRole: "standby",
  ready: true,
  peerReady: true,
  count: { a: 100, b: 100 },
};
const follows: DrillFacts = {
  ...serves,
  role: "standby",
  cause: "handover",
  peerRole: "active",
  count: { a: 90, b: 95 },
};
const servesAgain: DrillFacts = { ...serves, cause: "handover", count: { a: 97, b: 96 } };

class Bench {
  readonly state = createDrill("a");
  readonly done: DrillReport[] = [];
  readonly kept: boolean[] = [];
  readonly said: string[] = [];
  now = 1000;

  feed(input: DrillInput): this {
    const effects: DrillEffect[] = [];
    step(this.state, millis(this.now), input, effects);
    for (const effect of effects) {
      if (effect.kind === "done") {
        this.done.push(effect.report);
        this.kept.push(effect.kept);
      } else this.said.push(effect.kind === "probe" ? `probe ${effect.on ? "on" : "off"}` : effect.kind);
    }
    return this;
  }
  start(change: Partial<Extract<DrillInput, { kind: "start" }>> = {}): this {
    const at = "2026-11-20T03:00:00.000Z";
    return this.feed({
      kind: "start",
      at,
      scheduled: false,
      forced: false,
      notReady: null,
      facts: serves,
      ...change,
    });
  }
  facts(facts: DrillFacts): this {
    return this.feed({ kind: "facts", facts });
  }
  after(ms: number): this {
    this.now += ms;
    return this.feed({ kind: "turn" });
  }
  over(): this {
    return this.start()
      .after(60)
      .feed({ kind: "handed-over", number: 1, ok: true, words: "" })
      .facts(follows);
  }
  back(): this {
    return this.over().after(DRILL_STAY_MS);
  }
}

test("there and back, with what it cost", () => {
  const bench = new Bench().back();
  assert.deepEqual(bench.said, ["probe on", "hand-over", "ask-back"]);
  assert.equal(describe(bench.state), "a drill is under way: b hands back");
  bench.after(70).feed({ kind: "answered", number: 1, ok: true, words: "" }).facts(servesAgain).after(0);
  assert.deepEqual(bench.said.at(-1), "probe off");
  assert.deepEqual(bench.done, [
    {
      result: "passed",
      words: "b served for 3.1 s, and a serves again",
      node: "a",
      at: "2026-11-20T03:00:00.000Z",
      seconds: 3.1,
      scheduled: false,
      forced: false,
      sessions: { before: { a: 100, b: 100 }, away: { a: 90, b: 95 }, after: { a: 97, b: 96 } },
      switches: [
        { to: "b", ms: 60, gapMs: null },
        { to: "a", ms: 70, gapMs: null },
      ],
      probes: null,
    },
  ]);
  assert.deepEqual(bench.kept, [true]);
  assert.equal(describe(bench.state), null);
  assert.equal(deadline(bench.state), null);
});

test("it waits for this node to be a whole standby, and for the other one to be one again", () => {
  const bench = new Bench()
    .over()
    .facts({ ...follows, ready: false })
    .after(3 * DRILL_STAY_MS);
  assert.ok(!bench.said.includes("ask-back"));
  bench.facts(follows);
  assert.equal(bench.said.at(-1), "ask-back");
  bench.facts({ ...servesAgain, peerReady: false }).after(1000);
  assert.equal(bench.done.length, 0);
  bench.facts(servesAgain);
  assert.equal(bench.done[0]?.result, "passed");
});

for (const [what, change, words, result] of [
  [
    "not ready",
    { notReady: "NOT READY: the log is not connected" },
    "NOT READY: the log is not connected",
    "refused",
  ],
  ["not active", { facts: follows }, "a is not active: give the command on b", "refused"],
  [
    "not active, forced",
    { facts: follows, forced: true },
    "a is not active: give the command on b",
    "refused",
  ],
  ["scheduled, not ready", { notReady: "no", scheduled: true }, "no", "skipped"],
] as const)
  test(`nothing is begun: ${what}`, () => {
    const bench = new Bench().start(change);
    assert.deepEqual(bench.said, []);
    assert.equal(bench.done[0]?.words, words);
    assert.equal(bench.done[0]?.result, result);
    assert.deepEqual(bench.kept, [words === "no"]);
    assert.equal(bench.state.phase, "idle");
  });

test("force begins although the pair is not ready; a second drill does not disturb the first", () => {
  const bench = new Bench().start({ notReady: "no", forced: true });
  assert.deepEqual(bench.said, ["probe on", "hand-over"]);
  bench.start();
  assert.equal(bench.done[0]?.words, "a drill is under way");
  assert.deepEqual(bench.kept, [false]);
  assert.equal(bench.state.phase, "over");
  bench
    .feed({ kind: "handed-over", number: 1, ok: true, words: "" })
    .facts(follows)
    .after(DRILL_STAY_MS)
    .facts(servesAgain)
    .after(0);
  assert.equal(bench.done[1]?.result, "passed");
  assert.equal(bench.done[1]?.forced, true);
});

for (const [what, run, words] of [
  [
    "the handover is refused",
    (bench: Bench) =>
      bench.start().feed({ kind: "handed-over", number: 1, ok: false, words: "the other node is not heard" }),
    "a could not hand over: the other node is not heard",
  ],
  [
    "the handover never ends",
    (bench: Bench) => bench.start().after(DRILL_OVER_MS_MAX),
    "a did not hand over in time",
  ],
  [
    "the other node dies while it serves",
    (bench: Bench) =>
      bench
        .over()
        .after(500)
        .facts({ ...serves, cause: "takeover", peerHeard: false }),
    "b ceased to serve, and a took over again (takeover)",
  ],
  [
    "it dies while it hands back",
    (bench: Bench) => bench.back().facts({ ...serves, cause: "takeover", peerHeard: false }),
    "b ceased to serve, and a took over again (takeover)",
  ],
  [
    "this node does not get ready",
    (bench: Bench) =>
      bench
        .over()
        .facts({ ...follows, ready: false })
        .after(DRILL_SYNC_MS_MAX),
    "b serves, and was not asked to hand back: a is not ready",
  ],
  [
    "it refuses to hand back",
    (bench: Bench) =>
      bench.back().feed({ kind: "answered", number: 1, ok: false, words: "a handover is under way" }),
    "b serves, and did not hand back: a handover is under way",
  ],
  [
    "it does not answer",
    (bench: Bench) => bench.back().after(DRILL_BACK_MS_MAX),
    "b serves, and did not hand back in time",
  ],
  [
    "the role is lost again",
    (bench: Bench) =>
      bench
        .back()
        .facts({ ...servesAgain, peerReady: false })
        .facts({ ...follows, cause: "yielded" }),
    "a had the role again, and lost it (yielded)",
  ],
  [
    "the other node does not catch up",
    (bench: Bench) =>
      bench
        .back()
        .facts({ ...servesAgain, peerReady: false })
        .after(DRILL_SYNC_MS_MAX),
    "a serves again, and b does not get ready",
  ],
  [
    "the daemon stops",
    (bench: Bench) => bench.over().feed({ kind: "stop" }),
    "the daemon of a was stopped in mid-drill",
  ],
] as const)
  test(`failed: ${what}`, () => {
    const bench = run(new Bench());
    assert.equal(bench.done.length, 1);
    assert.equal(bench.done[0]?.result, "failed");
    assert.equal(bench.done[0]?.words, words);
    assert.equal(bench.said.at(-1), "probe off");
    assert.equal(bench.state.phase, "idle");
  });

test("answers to an earlier drill are passed over", () => {
  const bench = new Bench().back().feed({ kind: "answered", number: 1, ok: false, words: "no" });
  bench.start().feed({ kind: "handed-over", number: 1, ok: true, words: "" }).facts(follows);
  assert.equal(bench.state.phase, "over");
  bench.feed({ kind: "answered", number: 1, ok: false, words: "no" });
  assert.equal(bench.done.length, 1);
});

test("L4: whatever is said, it ends in one report within its bounds", () => {
  const role = fc.constantFrom<Role>("active", "standby", "idle");
  const anyFacts: fc.Arbitrary<DrillFacts> = fc.record({
    role,
    cause: fc.constantFrom("handover", "takeover", "lapsed"),
    peerHeard: fc.boolean(),
    peerRole: fc.option(role),
    ready: fc.boolean(),
    peerReady: fc.boolean(),
    count: fc.constant({ a: 1, b: null }),
  });
  const anyInput: fc.Arbitrary<DrillInput> = fc.oneof(
    anyFacts.map((facts) => ({ kind: "facts" as const, facts })),
    fc.boolean().map((ok) => ({ kind: "handed-over" as const, number: 1, ok, words: "" })),
    fc.boolean().map((ok) => ({ kind: "answered" as const, number: 1, ok, words: "" })),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(anyInput, fc.nat({ max: 20_000 })), { maxLength: 30 }), (said) => {
      const bench = new Bench().start();
      for (const [input, ms] of said) bench.feed(input).after(ms);
      let turns = 0;
      for (let at = deadline(bench.state); at !== null; at = deadline(bench.state)) {
        turns += 1;
        assert.ok(turns < 10, "it does not turn on the spot");
        bench.after(Math.max(0, at - bench.now));
      }
      assert.equal(bench.done.length, 1);
      assert.equal(bench.said.filter((each) => each === "probe on").length, 1);
      assert.equal(bench.said.filter((each) => each === "probe off").length, 1);
      const last = bench.done[0]!;
      assert.ok(last.result === "passed" || last.result === "failed");
      if (last.result === "passed")
        assert.deepEqual(
          last.switches.map(({ to }) => to),
          ["b", "a"],
        );
      assert.ok(
        bench.now - 1000 <=
          said.reduce((sum, [, ms]) => sum + ms, 0) +
            DRILL_OVER_MS_MAX +
            DRILL_BACK_MS_MAX +
            2 * DRILL_SYNC_MS_MAX,
      );
    }),
  );
});

test("a schedule: a day of the week, or every day, to the minute", () => {
  const sunday = { day: 0, hour: 3, minute: 0 };
  assert.ok(isScheduled(sunday, { day: 0, hour: 3, minute: 0 }));
  for (const other of [
    { day: 1, hour: 3, minute: 0 },
    { day: 0, hour: 4, minute: 0 },
    { day: 0, hour: 3, minute: 1 },
  ])
    assert.ok(!isScheduled(sunday, other));
  assert.ok(isScheduled({ ...sunday, day: null }, { day: 5, hour: 3, minute: 0 }));
});
