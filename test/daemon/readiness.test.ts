// What was done to a standby's table counts until something that began later has proven the table.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicatorEvidence } from "../../src/daemon/evidence.ts";
import { DamageWatch } from "../../src/daemon/readiness.ts";

const quiet: ReplicatorEvidence = { silentMs: 1, unreadMs: 1, ended: 5, changed: 2, lost: 1, snapshots: 3 };
const none = { ended: 0, changed: 0, uncertain: false };

test("what was there before this node was a standby is nobody's damage", () => {
  const watch = new DamageWatch();
  assert.deepEqual(watch.look(0, "active", quiet, null), none);
  assert.deepEqual(watch.look(100, "active", { ...quiet, ended: 9 }, null), none);
  assert.deepEqual(watch.look(200, "standby", { ...quiet, ended: 9 }, null), none);
  assert.deepEqual(watch.look(300, "standby", { ...quiet, ended: 10 }, null), { ...none, ended: 1 });
});

test("an audit makes it good if it began to read after it, and not before", () => {
  const watch = new DamageWatch();
  watch.look(0, "standby", quiet, null);
  const hurt = { ...quiet, ended: 8, changed: 4, lost: 2 };
  const damage = { ended: 3, changed: 2, uncertain: true };
  assert.deepEqual(watch.look(1000, "standby", hurt, null), damage);
  assert.deepEqual(watch.look(9000, "standby", hurt, 8500), damage, "it began at 500");
  assert.deepEqual(watch.look(9000, "standby", hurt, 8000), damage, "at that very moment");
  assert.deepEqual(watch.look(9000, "standby", hurt, 7000), none, "it began at 2000");
  assert.deepEqual(watch.look(9100, "standby", { ...hurt, changed: 5 }, 7100), { ...none, changed: 1 });
});

test("a snapshot that begins writes everything again; another role is another table", () => {
  const watch = new DamageWatch();
  watch.look(0, "standby", quiet, null);
  assert.equal(watch.look(100, "standby", { ...quiet, ended: 8 }, null).ended, 3);
  assert.equal(watch.look(200, "standby", { ...quiet, ended: 8, snapshots: 4 }, null).ended, 0);
  assert.equal(watch.look(300, "standby", { ...quiet, ended: 9, snapshots: 4 }, null).ended, 1);
  assert.equal(watch.look(400, "active", { ...quiet, ended: 9, snapshots: 4 }, null).ended, 0);
});
