// What becomes of runs in the table: medians with their spread, and a verdict that is "no" where a bound is not held.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { FillResult } from "../../bench/fill.ts";
import type { ProductName } from "../../bench/products.ts";
import { drawReport, type Results, spreadOf, words } from "../../bench/report.ts";

const nothing: Results = {
  at: "2026-01-02",
  machine: {
    processor: "a processor",
    processors: 2,
    memoryGiB: 4,
    kernel: "6.1",
    node: "v26",
    conntrackd: "1.4.7",
    keepalived: "2.2.7",
    entriesMax: 4_000_000,
    buckets: 1_048_576,
  },
  fills: [],
  lags: [],
  crashes: [],
  firsts: [],
  overruns: [],
  saturated: [],
};

function filled(product: ProductName, cpuUs: number, more: Partial<FillResult> = {}): FillResult {
  const side = { cpuUs, kernelUs: cpuUs / 2, restingUs: 0, memory: cpuUs * 10 };
  return {
    product,
    protocol: "tcp",
    sessions: 1000,
    paced: true,
    rate: 10_000,
    repeated: 0,
    takeovers: 0,
    active: side,
    standby: side,
    wireBytes: cpuUs * 4,
    behindSeconds: 0,
    commitSeconds: 0,
    tables: { active: 1000, standby: 1000, missing: 0, extra: 0, wrong: 0 },
    floor: null,
    ...more,
  };
}

/** The cells of the row that begins with `figure`. */
function row(results: Results, figure: string): readonly string[] {
  const line = drawReport(results)
    .split("\n")
    .find((each) => each.startsWith(`| ${figure}`));
  assert.ok(line !== undefined, figure);
  return line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
}
const held = (results: Results, figure: string): string => row(results, figure).at(-1)!;

test("a median of an odd and of an even number of runs, with least and most", () => {
  assert.deepEqual(spreadOf([3, 1, 2]), { median: 2, least: 1, most: 3, runs: 3 });
  assert.deepEqual(spreadOf([4, 1, 2, 3]), { median: 2.5, least: 1, most: 4, runs: 4 });
  assert.equal(spreadOf([]), null);
  assert.equal(words(spreadOf([1, 2, 4]), "us"), "2.0 us (1.0-4.0, 3 runs)");
  assert.equal(words(spreadOf([7]), "ms", 0), "7 ms (1 run)");
  assert.equal(words(null, "ms"), "-");
});

test("what was not measured is said not to be", () => {
  for (const figure of ["processor time on the active", "lag", "missing in", "takeovers"])
    assert.equal(held(nothing, figure), "not measured");
});

test("processor time on the active is held against both the floor and conntrackd", () => {
  const base = [filled("cached", 18), filled("written", 20), filled("reader", 2)];
  const with_ = (cpuUs: number): Results => ({ ...nothing, fills: [...base, filled("understudy", cpuUs)] });
  assert.equal(held(with_(5), "processor time on the active"), "yes");
  // Over floor + 3, though a third of conntrackd's.
  assert.equal(held(with_(5.5), "processor time on the active"), "**no**");
  const cheap: Results = {
    ...nothing,
    fills: [filled("cached", 12), filled("reader", 2), filled("understudy", 4.5)],
  };
  // Under the floor + 3, though over a third of conntrackd's.
  assert.equal(held(cheap, "processor time on the active"), "**no**");
});

test("one session that is missing, or translated otherwise, is not held", () => {
  const fill = (missing: number, wrong: number): Results => ({
    ...nothing,
    fills: [
      filled("understudy", 5, { paced: false, tables: { active: 9, standby: 9, missing, extra: 0, wrong } }),
    ],
  });
  assert.equal(held(fill(0, 0), "missing in"), "yes");
  assert.equal(held(fill(1, 0), "missing in"), "**no**");
  assert.equal(held(fill(0, 1), "missing in"), "**no**");
});

test("a fill in which somebody took over is not held, and a lag in which nobody was ever behind says nothing", () => {
  const fills = [filled("understudy", 5, { paced: false, takeovers: 1 })];
  assert.equal(held({ ...nothing, fills }, "missing in"), "**no**");
  const lag = (max: number, takeovers: number): Results["lags"][number] => ({
    product: "understudy",
    rate: 20_000,
    takeovers,
    probes: 100,
    unanswered: 0,
    missing: 0,
    lagMs: { p50: Math.min(max, 1), p99: Math.min(max, 9), max },
  });
  assert.equal(held({ ...nothing, lags: [lag(30, 0)] }, "lag"), "yes");
  assert.equal(held({ ...nothing, lags: [lag(0, 0)] }, "lag"), "not measured");
  assert.equal(held({ ...nothing, lags: [lag(30, 1)] }, "lag"), "not measured");
  assert.ok(row({ ...nothing, lags: [lag(0, 0)] }, "lag").includes("1 void"));
});

test("a crash is held by who is alive, and by its gap against the empty table's", () => {
  const crash = (sessions: number, gapMs: number, survived = 200): Results["crashes"][number] => ({
    advertMs: null,
    sessions,
    gapMs,
    opened: 200,
    survived,
    stallMedianMs: 50,
    machineStallMs: 1,
  });
  const empty = [crash(0, 50), crash(0, 52), crash(0, 99)];
  assert.equal(held({ ...nothing, crashes: empty }, "crash of the active with an empty"), "yes");
  assert.equal(
    held({ ...nothing, crashes: [...empty, crash(0, 101)] }, "crash of the active with an empty"),
    "**no**",
  );
  const million = (gapMs: number, survived = 200): string =>
    held(
      { ...nothing, crashes: [...empty, crash(1e6, gapMs, survived)] },
      "crash of the active with 1000000",
    );
  assert.equal(million(62), "yes");
  assert.equal(million(63), "**no**");
  assert.equal(million(50, 199), "**no**");
});

test("an overrun that is never repaired is not held", () => {
  const seen = (repairedSeconds: number | null): Results => ({
    ...nothing,
    overruns: [
      {
        product: "understudy",
        sessions: 10,
        noticedSeconds: 0.1,
        repairedSeconds,
        tables: { active: 10, standby: 10, missing: 0, extra: 0, wrong: 0 },
      },
    ],
  });
  assert.equal(held(seen(3), "an overrun"), "yes");
  assert.equal(held(seen(11), "an overrun"), "**no**");
  assert.equal(held(seen(null), "an overrun"), "**no**");
});
