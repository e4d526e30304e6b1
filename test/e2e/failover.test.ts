// The scenarios of the safety core, each once, small and with long times played shorter: no takeover without a reason,
// one where there is a reason, never two claimants, every session alive. A variant of another's, and what takes longer than
// a test may, is left to `make scenarios`.

import { suite, test } from "node:test";
import { SCENARIOS } from "../../src/lab/catalogue.ts";
import { holds, LAB_TIMEOUT_MS, REPLICATION } from "./labRun.ts";

const SMALL = ["--live", "20", "--background", "500", "--short"];
const FIRST = ["crash", "power", "freeze", "handover", "placement"];
/** With what each has to have found: proof.test.ts. */
const PROOF = ["audit", "overrun", "readiness", "soak"];
const ELSEWHERE: readonly string[] = [...FIRST, "kinds", "kinds-handover", ...REPLICATION, ...PROOF];
const VARIANTS = ["deaf-wan-both", "unplug-standby-ports", "read-only-disk"];
const LONGER = ["damaged"];

suite("scenarios of the safety core in small size", { concurrency: 1 }, () => {
  for (const scenario of SCENARIOS.filter((name) => ![...ELSEWHERE, ...VARIANTS, ...LONGER].includes(name)))
    test(scenario, { timeout: LAB_TIMEOUT_MS }, (t) => holds(t, scenario, ...SMALL));
});
