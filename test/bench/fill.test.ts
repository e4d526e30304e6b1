// The generator through a running pair: what it says it made is what both kernels have, translated, and nothing was counted
// that did not pass.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fill } from "../../bench/fill.ts";

const skip = process.getuid?.() === 0 ? false : "frames of any shape are for root to send";

for (const protocol of ["tcp", "udp"] as const)
  test(`600 ${protocol} sessions pass the active and are in both kernels`, { skip }, async () => {
    const made = await fill("understudy", { protocol, sessions: 600, rate: 3000, floor: protocol === "tcp" });
    assert.equal(made.sessions, 600);
    assert.deepEqual(made.tables, { active: 600, standby: 600, missing: 0, extra: 0, wrong: 0 });
    assert.ok(made.active !== null && made.active.cpuUs > 0);
    assert.ok(made.standby !== null && made.standby.cpuUs > 0);
    // Thirty bytes of record and their share of what carries them.
    assert.ok(made.wireBytes > 20 && made.wireBytes < 400, String(made.wireBytes));
    if (protocol === "tcp") assert.ok(made.floor !== null && made.floor.sessions >= 600);
  });
