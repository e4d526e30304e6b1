// The judge of what a pair says of its readiness: what speaks against a claim, and what speaks against nobody.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Table } from "../../src/lab/conntrackText.ts";
import { TruthKeeper } from "../../src/lab/truth.ts";

const BOUND_MS = 700;
const tableOf = (keys: readonly string[], reply = "r", mark = 1): Table =>
  new Map(keys.map((key) => [key, { reply, mark, state: "" }]));
const MANY = Array.from({ length: 100 }, (_, index) => `s${index}`);

interface Told {
  readonly active?: (atMs: number) => Table;
  readonly standby?: (atMs: number) => Table;
  readonly proven: number;
}

/** Both tables are read in turns for 3 s, 100 ms a reading; one claim is made at 2 s. */
function keeperOf({
  active = () => tableOf(MANY),
  standby = () => tableOf(MANY),
  proven,
}: Told): TruthKeeper {
  const keeper = new TruthKeeper(BOUND_MS);
  for (let atMs = 0; atMs < 3000; atMs += 200) {
    if (atMs === 2000) keeper.claim({ fromMs: 2000, untilMs: 2010, node: "a", proven });
    const later = atMs === 2000 ? 20 : 0;
    keeper.reading("active", { fromMs: atMs + later, untilMs: atMs + 100, table: active(atMs) });
    keeper.reading("standby", { fromMs: atMs + 100, untilMs: atMs + 200, table: standby(atMs + 100) });
  }
  return keeper;
}

const without = (...gone: readonly string[]): Table => tableOf(MANY.filter((key) => !gone.includes(key)));

suite("truth", () => {
  test("all of it is held: whatever is said is not above", () => {
    for (const proven of [0, 0.5, 1]) {
      const { above, judged, lackingMax } = keeperOf({ proven }).report;
      assert.deepEqual({ above, judged, lackingMax }, { above: 0, judged: 1, lackingMax: 0 });
    }
  });

  test("a session that is lacking before and after speaks against the whole, and against no less than is held", () => {
    const standby = (): Table => without("s7");
    const { above, lackingMax, samples } = keeperOf({ standby, proven: 1 }).report;
    assert.deepEqual({ above, lackingMax }, { above: 1, lackingMax: 1 });
    assert.match(samples[0]!, /a said 1, and 1 of 100 sessions were lacking: s7/);
    assert.equal(keeperOf({ standby, proven: 0.991 }).report.above, 1);
    for (const proven of [0.99, 0.5, 0]) assert.equal(keeperOf({ standby, proven }).report.above, 0);
  });

  test("another translation or link is as good as none; a flag in the mark is nothing", () => {
    const of = (reply: string, mark: number) => (): Table =>
      new Map([...tableOf(MANY), ["s1", { reply, mark, state: "" }]]);
    assert.equal(keeperOf({ standby: of("other", 1), proven: 1 }).report.above, 1);
    assert.equal(keeperOf({ standby: of("r", 2), proven: 1 }).report.above, 1);
    assert.equal(keeperOf({ standby: of("r", 0x1000_0001), proven: 1 }).report.above, 0);
  });

  for (const [name, told] of [
    [
      "came back before the next reading",
      { standby: (at: number) => (at < 2000 ? without("s1") : tableOf(MANY)) },
    ],
    ["was there in the last one", { standby: (at: number) => (at > 2000 ? without("s1") : tableOf(MANY)) }],
    [
      "is younger than the bound on the active",
      { active: (at: number) => (at < 1400 ? without("s1") : tableOf(MANY)), standby: () => without("s1") },
    ],
    [
      "is gone from the active after it",
      { active: (at: number) => (at > 1999 ? without("s1") : tableOf(MANY)), standby: () => without("s1") },
    ],
    [
      "was made anew on the active in between",
      { active: (at: number) => (at === 1600 ? without("s1") : tableOf(MANY)), standby: () => without("s1") },
    ],
  ] as const)
    test(`a session that ${name} speaks against nobody`, () => {
      assert.equal(keeperOf({ ...told, proven: 1 }).report.above, 0);
      assert.equal(keeperOf({ ...told, proven: 1 }).report.judged, 1);
    });

  test("one that is just older than the bound does", () => {
    const active = (at: number): Table => (at < 1200 ? without("s1") : tableOf(MANY));
    assert.equal(keeperOf({ active, standby: () => without("s1"), proven: 1 }).report.above, 1);
  });

  test("while nobody can take over, and a bound later, nothing may be claimed", () => {
    const keeper = new TruthKeeper(BOUND_MS);
    const inability = keeper.unable("b stood still", 1000);
    const claim = (fromMs: number, proven: number): void =>
      keeper.claim({ fromMs, untilMs: fromMs + 10, node: "a", proven });
    claim(1600, 1);
    assert.equal(keeper.report.above, 0, "within the bound");
    claim(1800, 0);
    assert.deepEqual([keeper.report.above, keeper.report.judged], [0, 1]);
    claim(1900, 0.5);
    assert.equal(keeper.report.above, 1);
    inability.untilMs = 3000;
    claim(2995, 1);
    assert.equal(keeper.report.above, 1, "answered after it was over");
    claim(3100, 1);
    assert.equal(keeper.report.above, 1);
  });

  test("without a reading on both sides nothing is judged; what changed its roles is forgotten", () => {
    const keeper = new TruthKeeper(BOUND_MS);
    keeper.claim({ fromMs: 100, untilMs: 110, node: "a", proven: 1 });
    keeper.reading("active", { fromMs: 200, untilMs: 210, table: tableOf(MANY) });
    keeper.reading("standby", { fromMs: 220, untilMs: 230, table: without("s1") });
    keeper.claim({ fromMs: 3000, untilMs: 3010, node: "a", proven: 1 });
    keeper.forget();
    keeper.reading("active", { fromMs: 3100, untilMs: 3110, table: tableOf(MANY) });
    keeper.reading("standby", { fromMs: 3120, untilMs: 3130, table: without("s1") });
    assert.deepEqual([keeper.report.judged, keeper.report.claims, keeper.report.whole], [0, 2, 2]);
  });
});
