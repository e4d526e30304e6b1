// The laboratory's pair: its files are accepted by the program itself, its roles are read from what nodes say.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { readConfiguration } from "../../src/admin/configFiles.ts";
import { judgeRoles, writePairFiles } from "../../src/lab/pair.ts";
import { describeTopology } from "../../src/lab/topology.ts";
import type { PairView } from "../../src/wire/control.ts";

suite("pair", () => {
  test("writes what a user could have written, and the program accepts it on both nodes alike", () => {
    const directory = mkdtempSync(join(tmpdir(), "understudy-test-"));
    try {
      const topology = describeTopology(2);
      const files = writePairFiles({ topology, directory, pids: new Map(), environment: {}, seed: 7 });
      const [a, b] = [readConfiguration(files.a), readConfiguration(files.b)];
      assert.deepEqual([a.ok ? [] : a.errors, b.ok ? [] : b.errors], [[], []]);
      assert.ok(a.ok && b.ok);
      assert.equal(a.config.digest, b.config.digest);
      assert.equal(a.config.placementSeed, 7);
      assert.deepEqual(
        a.config.links.map(({ id, weight }) => [id, weight]),
        [
          [1, 3],
          [2, 1],
        ],
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  const view = (role: string, gate: string, ready: boolean): PairView =>
    ({
      ready,
      reasons: ready ? [] : ["the snapshot is under way"],
      heart: { role, gate, peer: { ready: true } },
      replication: { synchronised: ready },
    }) as unknown as PairView;

  test("ready: one active with an open gate, and a standby that holds everything", () => {
    const roles = judgeRoles({ a: view("standby", "shut", true), b: view("active", "open", true) });
    assert.deepEqual([roles.active, roles.ready, roles.reasons], ["b", true, []]);
  });

  test("what is not ready says why", () => {
    const reasons = (a: PairView | null, b: PairView | null): string =>
      judgeRoles({ a, b }).reasons.join("; ");
    assert.match(reasons(null, null), /a does not answer; b does not answer; no node is active/);
    assert.match(reasons(view("active", "open", true), view("active", "open", true)), /both nodes say/);
    assert.match(
      reasons(view("active", "open", true), view("standby", "shut", false)),
      /b is not ready: the snapshot is under way/,
    );
    assert.match(reasons(view("active", "drain", true), view("standby", "shut", true)), /no node is active/);
  });
});
