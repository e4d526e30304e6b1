// Port 1148 before a start, where this node has not got the address of a path: told as that, and not as somebody else's
// doing. (A port that is taken is test/e2e/node.test.ts.)

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertPortsFree } from "../../src/daemon/ports.ts";
import { pairConfig } from "../core/configFixture.ts";

/** TEST-NET-3 (RFC 5737): on no interface of anybody. */
const ABSENT = "203.0.113.77";
const path = { name: "sync", device: "lo", local: ABSENT, remote: "203.0.113.78" };

for (const [what, use, pattern] of [
  ["replication", { replication: true, heartbeat: false }, /TCP 1148 \(path sync\)/],
  ["heartbeats", { replication: false, heartbeat: true }, /UDP 1148 \(path sync\)/],
] as const)
  test(`the address of a path for ${what} is not there`, async () => {
    const config = pairConfig({ paths: [{ ...path, ...use }], runtimeDirectory: "/nonexistent" });
    await assert.rejects(assertPortsFree(config), (error: Error) => {
      assert.match(error.message, pattern);
      assert.match(
        error.message,
        /203\.0\.113\.77 is on no interface of this node\n {2}Is the port configured\?/,
      );
      return true;
    });
  });
