// A drill's report, to the other node and back: nothing of it changes on the way.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { laterOf, recordOf, reportIn } from "../../src/core/drillRecord.ts";
import { decode, encode } from "../../src/wire/codec.ts";
import type { DrillReport } from "../../src/wire/controlReadiness.ts";
import { DRILL_UNKNOWN, drillMessages } from "../../src/wire/messagesDrill.ts";
import { passedDrill } from "./readinessFacts.ts";

const anyNumber = fc.nat({ max: DRILL_UNKNOWN - 1 });
const anyCount = fc.record({ a: fc.option(anyNumber), b: fc.option(anyNumber) });
const node = fc.constantFrom("a" as const, "b" as const);
const anyReport: fc.Arbitrary<DrillReport> = fc.record({
  result: fc.constantFrom("passed" as const, "failed" as const, "skipped" as const),
  words: fc.stringMatching(/^[ -~]{0,160}$/),
  node,
  at: fc.nat({ max: 2 ** 31 - 1 }).map((ms) => new Date(ms * 1000).toISOString()),
  seconds: fc.nat({ max: 100_000 }).map((tenths) => tenths / 10),
  scheduled: fc.boolean(),
  forced: fc.boolean(),
  sessions: fc.tuple(fc.nat({ max: 3 }), anyCount, anyCount, anyCount).map(([many, before, away, after]) => ({
    before: many > 0 ? before : null,
    away: many > 1 ? away : null,
    after: many > 2 ? after : null,
  })),
  switches: fc.array(fc.record({ to: node, ms: anyNumber, gapMs: fc.option(anyNumber) }), { maxLength: 2 }),
  probes: fc.option(fc.record({ sent: anyNumber, lost: anyNumber })),
});

test("what one node tells the other knows", () => {
  fc.assert(
    fc.property(anyReport, (drawn) => {
      const report = JSON.parse(JSON.stringify(drawn)) as DrillReport;
      const record = recordOf(report)!;
      assert.deepEqual(reportIn(record), report);
      const { body } = drillMessages.drillReport;
      assert.deepEqual(decode(body, encode(body, { report: record })), {
        ok: true,
        value: { report: record },
      });
    }),
  );
});

test("a refusal is no drill; of two drills the later one counts", () => {
  assert.equal(recordOf({ ...passedDrill, result: "refused" }), null);
  const later = { ...passedDrill, at: "2026-11-23T03:00:00.000Z" };
  assert.equal(laterOf(passedDrill, later), later);
  assert.equal(laterOf(later, passedDrill), later);
  assert.equal(laterOf(null, passedDrill), passedDrill);
});
