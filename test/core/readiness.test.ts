// Readiness is 1 only where everything is proven, and each thing that is not so takes it away.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { READINESS_AUDIT_MS_MAX, READINESS_PROOF_MS_MAX } from "../../src/base/limits.ts";
import { READINESS_WHOLE } from "../../src/base/readiness.ts";
import { judge, LevelTracker, nearlyFull, type ReadinessFacts } from "../../src/core/readiness.ts";
import { auditPass, passedDrill, wellActive, wellStandby } from "./readinessFacts.ts";

const audit = wellActive.audit!;
const peerOfActive = wellActive.peer!;
const peerOfStandby = wellStandby.peer!;
const late = READINESS_PROOF_MS_MAX + 1;

test("a pair that is well is ready, by either node's word", () => {
  for (const facts of [wellActive, wellStandby]) {
    const { own, view } = judge(facts);
    assert.equal(own, READINESS_WHOLE);
    assert.equal(view.verdict, "ready");
    assert.equal(view.proven, 1);
    assert.equal(view.successor, "b");
    assert.deepEqual(
      view.parts.filter(({ state }) => state !== "good"),
      [],
    );
  }
  const { total, held, provenAgeMs } = judge(wellActive).view;
  assert.deepEqual({ total, held, provenAgeMs }, { total: 20_300, held: 20_300, provenAgeMs: 14_000 });
});

type Change = readonly [
  what: string,
  facts: ReadinessFacts,
  part: string,
  state: string,
  verdict: string,
  own: number | null,
];

const changes: readonly Change[] = [
  ["alone", { ...wellActive, peer: { ...peerOfActive, heard: false } }, "other node", "bad", "not-ready", 0],
  ["no heart", { ...wellActive, peer: null }, "other node", "bad", "not-ready", 0],
  [
    "two actives",
    { ...wellActive, peer: { ...peerOfActive, role: "active" } },
    "other node",
    "bad",
    "not-ready",
    0,
  ],
  [
    "nobody active",
    { ...wellStandby, peer: { ...peerOfStandby, role: "standby" } },
    "other node",
    "bad",
    "not-ready",
    0,
  ],
  ["drains", { ...wellActive, gateOpen: false }, "other node", "bad", "not-ready", 0],
  ["no connection", { ...wellActive, connected: false, silentMs: null }, "log", "bad", "not-ready", 0],
  ["in a snapshot", { ...wellStandby, synchronised: false }, "log", "bad", "not-ready", 0],
  ["a silent log", { ...wellStandby, silentMs: late }, "log", "unknown", "unknown", null],
  ["nothing ever heard", { ...wellStandby, silentMs: null }, "log", "unknown", "unknown", null],
  ["a stuck standby", { ...wellActive, behind: { records: 7, ms: late } }, "position", "bad", "not-ready", 0],
  ["never level", { ...wellActive, behind: { records: 0, ms: null } }, "position", "bad", "not-ready", 0],
  ["nobody follows", { ...wellActive, behind: null }, "position", "unknown", "unknown", null],
  ["events wait", { ...wellActive, unreadMs: late }, "events", "unknown", "unknown", null],
  ["own events wait", { ...wellStandby, unreadMs: null }, "events", "unknown", "unknown", null],
  ["configurations differ", { ...wellActive, difference: "b has 4" }, "configuration", "bad", "not-ready", 0],
  ["no audit", { ...wellActive, audit: null }, "audit", "unknown", "unknown", null],
  [
    "not compared yet",
    { ...wellActive, audit: { ...audit, provenAgeMs: null } },
    "audit",
    "unknown",
    "unknown",
    null,
  ],
  [
    "an old comparison",
    { ...wellActive, audit: { ...audit, provenAgeMs: READINESS_AUDIT_MS_MAX + 1 } },
    "audit",
    "unknown",
    "unknown",
    null,
  ],
  [
    "a late audit",
    { ...wellActive, audit: { ...audit, late: "no pass for 5 min" } },
    "audit",
    "unknown",
    "unknown",
    null,
  ],
  [
    "not dressed",
    { ...wellStandby, reasons: ["forwarding is not set up yet"] },
    "this node",
    "bad",
    "not-ready",
    0,
  ],
  [
    "the active finds 16 of 20,216 differing",
    { ...wellActive, audit: { ...audit, standing: 16 } },
    "sessions",
    "bad",
    "not-ready",
    9_992,
  ],
  ["one refused of 20,216", { ...wellStandby, refused: 1 }, "sessions", "bad", "not-ready", 9_999],
  [
    "20 ended and 10 changed by hand",
    { ...wellStandby, damage: { ended: 20, changed: 10, uncertain: false } },
    "sessions",
    "bad",
    "not-ready",
    9_985,
  ],
  [
    "own events lost",
    { ...wellStandby, damage: { ended: 0, changed: 0, uncertain: true } },
    "sessions",
    "unknown",
    "unknown",
    null,
  ],
  [
    "the other one not ready",
    { ...wellActive, peer: { ...peerOfActive, ready: false } },
    "other's word",
    "bad",
    "not-ready",
    READINESS_WHOLE,
  ],
  [
    "an older other one",
    { ...wellActive, peer: { ...peerOfActive, readiness: null } },
    "other's word",
    "unknown",
    "unknown",
    READINESS_WHOLE,
  ],
  [
    "the other one answers for less",
    { ...wellActive, peer: { ...peerOfActive, readiness: 9_505 } },
    "other's word",
    "bad",
    "not-ready",
    READINESS_WHOLE,
  ],
];

for (const [what, facts, part, state, verdict, own] of changes) {
  test(`not ready: ${what}`, () => {
    const judged = judge(facts);
    assert.equal(judged.view.parts.find((each) => each.part === part)?.state, state);
    assert.equal(judged.view.verdict, verdict);
    assert.ok(judged.view.proven < 1);
    assert.equal(judged.own, own);
  });
}

test("the share is the least of both nodes' words, and rounds down", () => {
  const less = judge({ ...wellActive, peer: { ...peerOfActive, readiness: 9_505 } });
  assert.equal(less.view.proven, 0.9505);
  const one = judge({
    ...wellStandby,
    refused: 1,
    audit: { ...audit, pass: { ...auditPass, sessions: 3_000_000 } },
  });
  assert.equal(one.view.proven, 0.9999);
});

test("an empty pair is wholly proven; of nothing, something can be lacking", () => {
  const empty = { ...wellStandby, audit: { ...audit, pass: { ...auditPass, sessions: 0 } } };
  assert.equal(judge(empty).view.proven, 1);
  assert.equal(judge({ ...empty, refused: 3 }).view.proven, 0);
});

test("never above what is lacking, whatever else is known", () => {
  const anyFacts = fc.record({
    refused: fc.nat({ max: 500 }),
    ended: fc.nat({ max: 500 }),
    changed: fc.nat({ max: 500 }),
    total: fc.nat({ max: 100_000 }),
    word: fc.option(fc.nat({ max: READINESS_WHOLE })),
  });
  fc.assert(
    fc.property(anyFacts, ({ refused, ended, changed, total, word }) => {
      const { own, view } = judge({
        ...wellStandby,
        refused,
        damage: { ended, changed, uncertain: false },
        audit: { ...audit, pass: { ...auditPass, sessions: total } },
        peer: { ...peerOfStandby, readiness: word },
      });
      const lacking = refused + ended + changed;
      const truth = total === 0 ? (lacking === 0 ? 1 : 0) : Math.max(0, total - lacking) / total;
      assert.ok(view.proven <= truth);
      assert.ok(view.proven <= (word ?? 0) / READINESS_WHOLE);
      assert.ok((own ?? 0) / READINESS_WHOLE <= truth);
      assert.equal(view.verdict === "ready", lacking === 0 && word === READINESS_WHOLE);
    }),
  );
});

test("what takes nothing from a takeover is said, and takes nothing", () => {
  const remarked = judge({
    ...wellActive,
    drill: null,
    tables: [{ node: "b", entries: 236_000, max: 262_144 }],
  }).view;
  assert.equal(remarked.verdict, "ready");
  assert.deepEqual(
    remarked.parts.filter(({ state }) => state === "warn").map(({ part, words }) => [part, words]),
    [
      ["table", "b: 236000 of 262144 sessions"],
      ["drill", "this pair has never drilled"],
    ],
  );
  const failed = judge({
    ...wellActive,
    drill: { ...passedDrill, result: "failed", words: "b was lost" },
  }).view;
  assert.equal(failed.parts.at(-1)?.words, "the last drill failed: b was lost");
  assert.equal(failed.verdict, "ready");
});

test("a table is nearly full from nine tenths on; one whose size is not known is not", () => {
  assert.equal(nearlyFull([{ node: "a", entries: 89, max: 100 }]), null);
  assert.equal(nearlyFull([{ node: "a", entries: 90, max: 100 }]), "a: 90 of 100 sessions");
  assert.equal(nearlyFull([{ node: "a", entries: 90, max: 0 }]), null);
});

test("how far behind: since the last moment of which everything is confirmed", () => {
  const tracker = new LevelTracker();
  const at = (sequence: number, term = 4) => ({ term, sequence });
  assert.equal(tracker.look(0, null, null), null);
  assert.deepEqual(tracker.look(100, at(10), at(10)), { records: 0, ms: 0 });
  assert.deepEqual(tracker.look(200, at(20), at(10)), { records: 10, ms: 100 });
  assert.deepEqual(tracker.look(300, at(30), at(15)), { records: 15, ms: 200 });
  assert.deepEqual(tracker.look(400, at(40), at(20)), { records: 20, ms: 200 }, "level with what was at 200");
  assert.deepEqual(tracker.look(500, at(40), at(40)), { records: 0, ms: 0 });
  for (let now = 600; now <= 60_000; now += 100) tracker.look(now, at(41), at(40));
  assert.deepEqual(tracker.look(60_100, at(41), at(40)), { records: 1, ms: 59_600 });
  tracker.look(60_200, at(41), at(41));
  assert.deepEqual(tracker.look(60_300, at(41), at(41)), { records: 0, ms: 0 });
  assert.deepEqual(
    tracker.look(60_400, at(1, 5), at(0, 5)),
    { records: 1, ms: null },
    "a new log is a new beginning",
  );
});
