// Heart's control requests: each kind passes whole, and no key may be missing, wrong or unknown.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeartRequest } from "../../src/wire/control.ts";
import { readHeartRequest } from "../../src/wire/heartRequests.ts";

const requests: readonly HeartRequest[] = [
  {
    kind: "daemon",
    ready: true,
    dressed: true,
    reasons: [],
    position: { term: 2, sequence: 7 },
    sessions: 3,
    configurationDigest: "ab".repeat(32),
    alarms: 2,
    critical: true,
  },
  { kind: "witnesses", segment: 1, addresses: ["192.0.2.1"] },
  { kind: "daemon-restarting" },
  { kind: "subscribe" },
  { kind: "state", request: 1 },
  { kind: "handover", request: 2 },
  { kind: "leave", request: 3 },
];

for (const request of requests) {
  test(`${request.kind} passes as it is`, () => {
    assert.deepEqual(readHeartRequest(request), { ok: true, request });
  });
  test(`${request.kind} with a key too many is refused by its name`, () => {
    const read = readHeartRequest({ ...request, surplus: 1 });
    assert.ok(!read.ok);
    assert.match(read.reason, /^surplus: not a key/);
  });
  for (const key of Object.keys(request).filter((each) => each !== "kind")) {
    test(`${request.kind} without ${key}, or with another type, is refused by its name`, () => {
      const { [key as keyof HeartRequest]: _, ...without } = request;
      for (const broken of [without, { ...without, [key]: { a: 1 } }, { ...without, [key]: null }]) {
        const read = readHeartRequest(broken);
        assert.ok(!read.ok, JSON.stringify(broken));
        assert.ok(read.reason.startsWith(`${key}: expected`), read.reason);
      }
    });
  }
}

for (const value of [null, 1, "x", [], {}, { kind: "toString" }, { kind: "reboot" }])
  test(`${JSON.stringify(value)} is no request`, () => {
    assert.equal(readHeartRequest(value).ok, false);
  });

test("readiness is a share in ten-thousandths, or nothing is known", () => {
  for (const readiness of [0, 9999, 10_000, null]) {
    const request = { kind: "readiness", readiness } as const;
    assert.deepEqual(readHeartRequest(request), { ok: true, request });
  }
  for (const readiness of [10_001, -1, 0.5, "1", undefined]) {
    const read = readHeartRequest({ kind: "readiness", readiness });
    assert.ok(!read.ok);
    assert.match(read.reason, /^readiness: expected 0 to 10000, or null/);
  }
});
