// The scenarios about what the pair proves, each once, small and with long times played shorter: what is found of its own accord is
// told and put right, and what is said of readiness is never above what both kernels hold.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { holds, LAB_TIMEOUT_MS, playedOut } from "./labRun.ts";

const SMALL = ["--live", "20", "--background", "500", "--short"];

interface Audited {
  readonly audit: {
    readonly missing: number;
    readonly extra: number;
    readonly wrong: number;
    readonly repaired: number;
  };
  readonly readiness: { readonly verdict: string; readonly polled: Readonly<Record<string, number>> | null };
}

suite("scenarios of proof in small size", { concurrency: 1 }, () => {
  test("audit", { timeout: LAB_TIMEOUT_MS }, async (t) => {
    const result = (await playedOut(t, "audit", ...SMALL)) as Audited | null;
    if (result === null) return;
    const { missing, extra, wrong, repaired } = result.audit;
    assert.deepEqual(
      { missing, extra, wrong, repaired },
      { missing: 100, extra: 100, wrong: 10, repaired: 210 },
    );
  });

  test("overrun", { timeout: LAB_TIMEOUT_MS }, async (t) => {
    const result = (await playedOut(t, "overrun", ...SMALL)) as Audited | null;
    if (result === null) return;
    const { missing, extra, wrong } = result.audit;
    assert.deepEqual({ missing, extra, wrong }, { missing: 0, extra: 0, wrong: 0 }, "a round was enough");
  });

  test("readiness", { timeout: LAB_TIMEOUT_MS }, async (t) => {
    const result = (await playedOut(t, "readiness", ...SMALL)) as Audited | null;
    if (result === null) return;
    const { whole = 0, nothing = 0, lackingMax = 0, above } = result.readiness.polled!;
    assert.equal(above, 0);
    assert.ok(whole > 0 && nothing > 0 && lackingMax > 0, "all of it was put to the test");
  });

  test("soak", { timeout: LAB_TIMEOUT_MS }, (t) => holds(t, "soak", ...SMALL));
});
