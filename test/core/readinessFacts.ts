// A pair that is well, seen from either node: what tests of readiness change one thing of.

import type { ReadinessFacts } from "../../src/core/readiness.ts";
import type { AuditPass } from "../../src/wire/controlAudit.ts";
import type { DrillReport } from "../../src/wire/controlReadiness.ts";

export const auditPass: AuditPass = {
  at: "2026-11-20T15:25:47.000Z",
  sessions: 20_216,
  missing: 0,
  extra: 0,
  wrong: 0,
  repaired: 0,
  seconds: 4,
  cpuMs: 70,
};

export const passedDrill: DrillReport = {
  result: "passed",
  words: "b served for 4 s, and a serves again",
  node: "a",
  at: "2026-11-16T03:00:00.000Z",
  seconds: 9,
  scheduled: true,
  forced: false,
  sessions: {
    before: { a: 20_216, b: 20_216 },
    away: { a: 20_216, b: 20_216 },
    after: { a: 20_216, b: 20_216 },
  },
  switches: [
    { to: "b", ms: 61, gapMs: 0 },
    { to: "a", ms: 70, gapMs: 12 },
  ],
  probes: { sent: 400, lost: 0 },
};

export const wellActive: ReadinessFacts = {
  node: "a",
  role: "active",
  peer: { heard: true, role: "standby", ready: true, readiness: 10_000, sessions: 20_300 },
  gateOpen: true,
  reasons: [],
  connected: true,
  synchronised: true,
  silentMs: 80,
  unreadMs: 20,
  behind: { records: 0, ms: 90 },
  difference: null,
  refused: 0,
  damage: { ended: 0, changed: 0, uncertain: false },
  audit: { provenAgeMs: 14_000, pass: auditPass, standing: 0, late: null },
  sessions: 20_300,
  tables: [
    { node: "a", entries: 20_310, max: 262_144 },
    { node: "b", entries: 20_300, max: 262_144 },
  ],
  drill: passedDrill,
  drilling: null,
};

export const wellStandby: ReadinessFacts = {
  ...wellActive,
  node: "b",
  role: "standby",
  peer: { heard: true, role: "active", ready: true, readiness: 10_000, sessions: 20_300 },
  gateOpen: false,
  behind: null,
};
