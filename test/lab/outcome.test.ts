// Verdicts: the "must hold" column of every scenario, what voids a figure, and the JSON that others rely on.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { judge, type Outcome, resultOf } from "../../src/lab/outcome.ts";
import { reportOf } from "../../src/lab/report.ts";

const equal = { missing: 0, extra: 0, wrong: 0, samples: [] };
const good: Outcome = {
  scenario: "crash",
  seconds: 12.34,
  live: { opened: 200, survived: 200, stallMs: { p50: 55, p99: 90, max: 95 }, losses: new Map(), slow: 0 },
  asked: { live: 200, background: 20_000 },
  udp: { sent: 1700, lost: 24, gapMs: 54.321 },
  sessions: { active: 20_204, standby: 20_204 },
  differences: [{ when: "before the fault", ...equal }],
  takeover: { term: 3, silenceMs: 50, openMs: 0.2, from: "a", to: "b" },
  claimants: { overlapMs: 0, frames: 40_000 },
  machineStallMs: 3,
  namespaces: { a: 1, b: 2 },
  faults: [{ at: 8.5, what: "4 switch ports of a stop forwarding" }],
  handovers: null,
  unasked: 0,
  placement: null,
  kinds: [],
  audit: null,
  readiness: null,
  untranslated: 0,
  short: false,
  notes: [],
  late: [],
  problems: [],
};
const full = { figures: true, root: true };

suite("outcome", () => {
  test("all held", () => {
    assert.deepEqual(judge(good, full), { ok: true, why: [], void: false, timingOnly: false });
  });

  for (const [name, change, why] of [
    [
      "a lost session",
      { live: { ...good.live!, survived: 199, losses: new Map([["echo: ECONNRESET", 1]]) } },
      /1 of 200 live sessions were lost/,
    ],
    [
      "a session that never opened",
      { live: { ...good.live!, opened: 199, survived: 199 } },
      /could not be opened/,
    ],
    ["a missing entry", { differences: [{ when: "before the fault", ...equal, missing: 1 }] }, /1 missing/],
    ["a table that never held them", { sessions: { active: 150, standby: 150 } }, /held 150 of 20200/],
    [
      "two claimants beyond any pause",
      { claimants: { overlapMs: 131, frames: 9 } },
      /claimed a segment at once/,
    ],
    ["a problem beside", { problems: ["b did not take over"] }, /did not take over/],
    [
      "a handover that was not done",
      { scenario: "handover", handovers: { asked: 20, done: 19 } },
      /19 of 20/,
    ],
  ] as const)
    test(`${name} is no timing verdict: it decides in every size, void or not`, () => {
      const outcome = { ...good, machineStallMs: 90, ...change } as Outcome;
      const verdict = judge(outcome, { figures: false, root: false });
      assert.equal(verdict.ok, false);
      assert.match(verdict.why.join("\n"), why);
      assert.equal(judge(outcome, full).timingOnly, false);
    });

  test("two claimants: excused, and tried again, for as long as the machine stood still and one lease", () => {
    const claimants = { overlapMs: 129, frames: 9 };
    const paused = judge({ ...good, machineStallMs: 90, claimants } as Outcome, full);
    assert.equal(paused.ok, false);
    assert.equal(paused.timingOnly, true);
    const awake = judge(
      { ...good, machineStallMs: 0, claimants: { overlapMs: 0.1, frames: 9 } } as Outcome,
      full,
    );
    assert.equal(awake.ok, false);
    assert.equal(awake.timingOnly, false);
  });

  test("the gap decides in full size only, by the scenario's bound, wider without root", () => {
    const gap = (gapMs: number, scenario: Outcome["scenario"], figures: boolean, root: boolean): boolean =>
      judge({ ...good, scenario, udp: { sent: 1, lost: 0, gapMs } }, { figures, root }).ok;
    assert.deepEqual([gap(100, "crash", true, true), gap(100.1, "crash", true, true)], [true, false]);
    assert.deepEqual([gap(60, "freeze", true, true), gap(61, "freeze", true, true)], [true, false]);
    assert.deepEqual([gap(250, "freeze", true, false), gap(251, "crash", true, false)], [true, false]);
    assert.equal(gap(900, "crash", false, true), true);
  });

  test("a lost ping in a handover, a takeover that nobody asked for: decide unless the machine stood still", () => {
    const lossy = { ...good, scenario: "handover", handovers: { asked: 20, done: 20 }, unasked: 1 } as const;
    const why = ["24 of 1700 pings were lost", "1 takeover that nobody asked for"];
    assert.deepEqual(judge(lossy, { figures: false, root: true }).why, why);
    assert.equal(judge({ ...lossy, machineStallMs: 40 }, { figures: false, root: true }).ok, true);
    const voided = judge({ ...lossy, machineStallMs: 40 }, full);
    assert.deepEqual([voided.ok, voided.void, voided.timingOnly], [false, true, true]);
  });

  test("sessions that went on too late are lost; void where the machine stood still, in every size", () => {
    const late = { ...good, live: { ...good.live!, survived: 150, slow: 50 } };
    const verdict = judge(late, { figures: false, root: false });
    assert.deepEqual([verdict.ok, verdict.void, verdict.timingOnly], [false, false, true]);
    const voided = judge({ ...late, machineStallMs: 80 }, { figures: false, root: false });
    assert.deepEqual([voided.ok, voided.void, voided.timingOnly], [false, true, true]);
  });

  test("a gap on a machine that stood still is void, a good one is not", () => {
    const bad = { ...good, machineStallMs: 16, udp: { sent: 1, lost: 0, gapMs: 130 } };
    const verdict = judge(bad, full);
    assert.deepEqual([verdict.ok, verdict.void, verdict.timingOnly], [false, true, true]);
    assert.match(verdict.why.at(-1)!, /^void/);
    assert.deepEqual(
      [judge({ ...good, machineStallMs: 16 }, full).ok, judge(good, full).void],
      [true, false],
    );
  });

  test("placement: within a point and a half, nobody moves, both alike", () => {
    const placement = { seed: 1, sessions: 20_000, share: 75.4, expected: 75, moved: 0, unlike: 0 };
    const verdict = (change: object): boolean =>
      judge(
        {
          ...good,
          scenario: "placement",
          live: null,
          sessions: null,
          placement: [{ ...placement, ...change }],
        },
        full,
      ).ok;
    assert.deepEqual(
      [verdict({}), verdict({ share: 76.6 }), verdict({ moved: 1 }), verdict({ unlike: 1 })],
      [true, false, false, false],
    );
    assert.deepEqual(
      [verdict({ sessions: 2000, share: 77.2 }), verdict({ sessions: 2000, share: 79 })],
      [true, false],
      "2,000 sessions scatter by a point by themselves",
    );
  });

  test("the JSON object has the shape that others rely on", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(resultOf(good, judge(good, full)))), {
      scenario: "crash",
      ok: true,
      why: [],
      seconds: 12.3,
      live: { opened: 200, survived: 200, stallMs: { p50: 55, p99: 90, max: 95 } },
      udp: { sent: 1700, lost: 24, gapMs: 54.3 },
      sessions: { active: 20_204, standby: 20_204 },
      difference: { missing: 0, extra: 0, wrong: 0 },
      takeover: { term: 3, silenceMs: 50, openMs: 0.2, from: "a", to: "b" },
      claimants: { overlapMs: 0 },
      machine: { stallMs: 3, void: false },
      namespaces: { a: 1, b: 2 },
      faults: [{ at: 8.5, what: "4 switch ports of a stop forwarding" }],
      untranslated: 0,
    });
  });

  test("a later equality does not undo a difference", () => {
    const differences = [
      { when: "before the fault", ...equal, missing: 3 },
      { when: "after the boot", ...equal },
    ];
    const outcome = { ...good, differences };
    assert.deepEqual(resultOf(outcome, judge(outcome, full)).difference, { missing: 3, extra: 0, wrong: 0 });
  });

  test("the report says what ran, what died, what survived, the gap, and what next", () => {
    const text = reportOf(good, judge(good, full), { hosts: 20, v6: false, root: true });
    for (const part of [
      "It held.",
      "20 hosts",
      "200 live sessions",
      "no difference",
      "Every cable of the active node went dead",
      "b heard nothing of a for 50 ms",
      "200 of 200",
      "54.3 ms",
      "What to try next",
    ])
      assert.ok(text.includes(part), part);
    const options = { hosts: 20, v6: false, root: true };
    const verdict = { ok: true, why: [], void: false, timingOnly: false };
    const late = reportOf({ ...good, udp: { sent: 1700, lost: 460, gapMs: 928 } }, verdict, options);
    assert.doesNotMatch(late, /It held\./);
    assert.match(late, /Traffic stood still for 928 ms, the takeover accounts for 50\.2 of them/);
    assert.match(reportOf({ ...good, unasked: 1 }, verdict, options), /changed 1 time more than was due/);
    const bad = { ...good, problems: ["b did not take over"] };
    assert.match(
      reportOf(bad, judge(bad, full), { hosts: 20, v6: false, root: true }),
      /What did not hold\n {2}b did not/,
    );
  });
});
