// What heart remembers of its role: changes in either direction, and its own promotions for the lab's figures.

import assert from "node:assert/strict";
import { test } from "node:test";
import { term } from "../../src/base/units.ts";
import type { ElectionEffect } from "../../src/core/election/types.ts";
import { Notices } from "../../src/heart/state.ts";

type RoleChanged = Extract<ElectionEffect, { kind: "role-changed" }>;

const changed = (change: Partial<RoleChanged>): RoleChanged => ({
  kind: "role-changed",
  role: "active",
  term: term(2),
  gate: "open",
  cause: "takeover",
  silenceMs: 51,
  openMs: 0.4,
  ...change,
});

test("the last change is the last one of the role, whatever is told of it in between", () => {
  const notices = new Notices(() => {});
  assert.equal(notices.lastChange, null);
  notices.roleChanged(changed({}));
  notices.roleChanged(changed({ gate: "drain", cause: "draining", silenceMs: 0 }));
  const { from, to, cause } = notices.lastChange!;
  assert.deepEqual([from, to, cause], ["idle", "active", "takeover"]);
  notices.roleChanged(
    changed({ role: "standby", gate: "shut", cause: "handover", term: term(3), silenceMs: 0 }),
  );
  const { at, ...last } = notices.lastChange!;
  assert.deepEqual(last, {
    from: "active",
    to: "standby",
    cause: "handover",
    term: 3,
    silenceMs: 0,
    openMs: 0.4,
  });
  assert.ok(!Number.isNaN(Date.parse(at)));
  assert.equal(notices.lastTakeover?.kind, "takeover", "the last promotion stays what it was");
});
