// The first scenarios, each once in small size, with the real program on the real kernel: survival, equality of both
// kernels' tables, one claimant. No figure in milliseconds decides here; `make scenarios` is for those.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { holds, LAB_TIMEOUT_MS, lab } from "./labRun.ts";

const SMALL = ["--live", "50", "--background", "2000"];
const FIRST = ["crash", "power", "freeze", "handover", "placement"];

suite("scenarios in small size", { concurrency: 1 }, () => {
  for (const scenario of FIRST)
    test(scenario, { timeout: LAB_TIMEOUT_MS }, (t) => holds(t, scenario, ...SMALL));

  test("crash, with half of everything over IPv6", { timeout: LAB_TIMEOUT_MS }, (t) =>
    holds(t, "crash", ...SMALL, "--v6"),
  );

  test("more than the machine can hold is refused, not made smaller", async () => {
    const run = await lab("--scenario", "crash", "--background", "2000000", "--json");
    const result = JSON.parse(run.stdout) as { ok: boolean; why: readonly string[] };
    assert.deepEqual([run.code, result.ok], [ExitCode.NotPossible, false]);
    assert.match(run.stderr, /not possible on this machine as it is/);
  });

  test("a wrong use is explained and builds nothing", async () => {
    const run = await lab("--scenario", "earthquake");
    assert.equal(run.code, ExitCode.Usage);
    assert.match(run.stderr, /Allowed choices are crash, power, freeze, handover, placement, kill-heart/);
    assert.equal(run.stdout, "");
  });
});
