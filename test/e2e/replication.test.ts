// The scenarios about what the standby knows, each once, small and with long times played shorter: after every kind of
// interruption both kernels hold the same sessions, what was acknowledged survives, and nobody claims to be ready who is not.

import { suite, test } from "node:test";
import { holds, LAB_TIMEOUT_MS, REPLICATION } from "./labRun.ts";

const SMALL = ["--live", "20", "--background", "500", "--short"];

suite("scenarios of replication in small size", { concurrency: 1 }, () => {
  for (const scenario of REPLICATION)
    test(scenario, { timeout: LAB_TIMEOUT_MS }, (t) => holds(t, scenario, ...SMALL));
});
