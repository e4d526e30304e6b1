// `show readiness`: a verdict that a person can act on, and its evidence.

import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, type ReadinessFacts } from "../../src/core/readiness.ts";
import { drillText, readinessText, renderReadiness } from "../../src/views/readiness.ts";
import { plainStyle } from "../../src/views/text.ts";
import type { ReadinessView } from "../../src/wire/controlReadiness.ts";
import { passedDrill, wellActive, wellStandby } from "../core/readinessFacts.ts";

const NOW = Date.parse("2026-11-20T15:26:01Z");
const viewOf = (facts: ReadinessFacts): ReadinessView => ({
  ...judge(facts).view,
  since: "2026-11-20T15:20:01.000Z",
  at: "2026-11-20T15:26:01.000Z",
});

for (const [what, facts, text] of [
  [
    "well, from the active",
    wellActive,
    "b could take over now: 20,300 of 20,300 sessions held, 0 behind, proven 14 s ago.",
  ],
  [
    "well, from the standby",
    wellStandby,
    "b could take over now: 20,300 of 20,300 sessions held, proven 14 s ago.",
  ],
  [
    "alone",
    { ...wellActive, peer: { ...wellActive.peer!, heard: false } },
    "NOT READY: a is alone: b is not heard.",
  ],
  [
    "some ended by hand",
    { ...wellStandby, damage: { ended: 1000, changed: 0, uncertain: false } },
    "NOT READY: 1000 ended here by somebody else (19,300 of 20,300 sessions held, 95.05 %).",
  ],
  [
    "not compared yet",
    { ...wellActive, audit: null },
    "NOT PROVEN that b could take over: the two tables have not been compared yet.",
  ],
] as const)
  test(`the verdict: ${what}`, () => {
    assert.equal(readinessText(viewOf(facts)), text);
  });

test("the whole page of a pair that has never drilled", () => {
  const page = renderReadiness(viewOf({ ...wellActive, drill: null }), { nowMs: NOW, style: plainStyle });
  assert.equal(
    page,
    `READY  b could take over now: 20,300 of 20,300 sessions held, 0 behind, proven 14 s ago.
    - drill: this pair has never drilled. \`understudy drill\` hands over and back, and tells what it
    cost.
Seen from node a, so since 2026-11-20 15:20:01 UTC, 6 min ago

  other node     ok    b is standby, and heard
  log            ok    connected, the whole state was sent                    80 ms old, at most 500 ms
  position       ok    0 records behind                                       90 ms old, at most 500 ms
  events         ok    what the kernel tells of sessions has been read        20 ms old, at most 500 ms
  configuration  ok    the same on both nodes
  sessions       ok    none is known to be lacking
  audit          ok    both kernels' tables were compared                     14 s old, at most 15 min
  this node      ok    its daemon, its heart and its interfaces are in order
  other's word   ok    b answers for all of it
  drill          note  this pair has never drilled
  Last drill  never
`,
  );
});

test("a drill in a line", () => {
  assert.equal(
    drillText(passedDrill, Date.parse("2026-11-16T03:01:00Z")),
    "passed, 2026-11-16 03:00:00 UTC, 1 min ago: b served for 4 s, and a serves again (switched in 61 ms and 70 ms, gaps 0 ms and 12 ms, 0 of 400 probes lost)",
  );
});
