// The audit's machines by hand: what a fold makes of a table, against a dumb model; pace, patience and restraint of the active's
// side. What both do together: test/sim/audit.test.ts, and test/kernel/audit.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AUDIT_LATE_MS, LOG_BUCKETS } from "../../src/base/limits.ts";
import { type Millis, millis } from "../../src/base/units.ts";
import { deadline, lateness, spend, step } from "../../src/core/audit/auditor.ts";
import {
  type AuditMessage,
  type AuditOutcome,
  type AuditorEffect,
  type AuditorState,
  createAuditor,
} from "../../src/core/audit/auditorState.ts";
import { bucketsIn, Fold, keysOf } from "../../src/core/audit/fold.ts";
import { Buckets, bucketOf } from "../../src/core/replication/buckets.ts";
import { ChangedKeys } from "../../src/core/replication/changedKeys.ts";

const ALL = new Buckets();
ALL.fill();

interface Entry {
  readonly key: number;
  readonly content: number;
}
/** Few keys in few buckets, so that they meet. */
const high = (key: number): number => (((key % 3) << 20) | key) >>> 0;
const low = (key: number): number => (key * 7 + 1) >>> 0;
const entries = fc.uniqueArray(fc.record({ key: fc.nat(30), content: fc.integer({ min: 1, max: 3 }) }), {
  selector: ({ key }) => key,
});

function foldOf(table: readonly Entry[], changed = new ChangedKeys(100), buckets = ALL.bits): Fold {
  const fold = new Fold();
  fold.begin(buckets);
  for (const { key, content } of table) fold.add(high(key), low(key), content);
  for (let bucket = 0; bucket < LOG_BUCKETS; bucket += 1) fold.close(bucket, changed);
  return fold;
}

test("two tables in any order have the same digests exactly where they are the same, but for what changed", () => {
  fc.assert(
    fc.property(entries, entries, fc.uniqueArray(fc.nat(30)), (one, other, changes) => {
      const changed = new ChangedKeys(100);
      for (const key of changes) changed.add(high(key), low(key));
      const [left, right] = [foldOf(one, changed), foldOf([...other].reverse(), changed)];
      const model = (table: readonly Entry[], bucket: number): string =>
        table
          .filter(({ key }) => bucketOf(high(key)) === bucket && !changes.includes(key))
          .map(({ key, content }) => `${key}=${content}`)
          .sort()
          .join();
      for (let bucket = 0; bucket < 3; bucket += 1) {
        const at = (fold: Fold): string => fold.digests.subarray(bucket * 8, bucket * 8 + 8).join();
        assert.equal(at(left) === at(right), model(one, bucket) === model(other, bucket));
      }
    }),
  );
});

test("what differs is told by kind, what is spared is not, and what is told twice is one", () => {
  fc.assert(
    fc.property(entries, entries, fc.uniqueArray(fc.nat(30)), (one, other, spared) => {
      const own = [...one, ...one.slice(0, 3)].map((each) =>
        spared.includes(each.key) ? { ...each, content: 0 } : each,
      );
      const [left, right] = [foldOf(own), foldOf(other)];
      const told = new Set<string>();
      const buckets = bucketsIn(ALL.bits);
      left.compare(buckets, keysOf(right, buckets), (kind, word) => told.add(`${kind} ${word & 0xfffff}`));
      const expected = new Set<string>();
      for (const { key, content } of one) {
        const there = other.find((each) => each.key === key);
        if (spared.includes(key)) continue;
        if (there === undefined) expected.add(`missing ${key}`);
        else if (there.content !== content) expected.add(`wrong ${key}`);
      }
      for (const { key } of other) if (!one.some((each) => each.key === key)) expected.add(`extra ${key}`);
      assert.deepEqual(told, expected);
    }),
  );
});

test("only the buckets that are asked for are taken, and no more than there is room for", () => {
  const some = new Buckets();
  some.add(1);
  const fold = foldOf(
    [0, 1, 2, 4].map((key) => ({ key, content: 1 })),
    new ChangedKeys(1),
    some.bits,
  );
  assert.equal(fold.size, 2);
  const small = new Fold(2);
  small.begin(ALL.bits);
  for (const key of [0, 1, 2]) small.add(high(key), low(key), 1);
  assert.ok(small.overflowed);
});

/** An active with one session, whose standby answers as it is told. */
class Active {
  readonly state: AuditorState;
  now: Millis = millis(1000);
  readonly sent: AuditMessage[] = [];
  readonly outcomes: AuditOutcome[] = [];
  dirty = 0;
  /** What the standby holds. */
  standby: readonly Entry[];

  constructor(standby: readonly Entry[]) {
    this.standby = standby;
    this.state = createAuditor({ seed: 0, salt: 1, intervalMs: 1000, delayMs: 10, settleMs: 10 });
  }

  input(input: Parameters<typeof step>[2]): void {
    const effects: AuditorEffect[] = [];
    step(this.state, this.now, input, effects);
    for (const effect of effects) {
      if (effect.kind === "send") this.#answer(effect.message);
      else if (effect.kind === "step") {
        this.state.fold.add(high(1), low(1), 5);
        this.input({ kind: "read", more: false });
      } else if (effect.kind === "drain") this.input({ kind: "drained", all: true });
      else if (effect.kind === "dirty") this.dirty += 1;
      else if (effect.kind === "done") this.outcomes.push(effect.outcome);
    }
  }

  #answer(message: AuditMessage): void {
    this.sent.push(message);
    const { look } = message;
    const fold = foldOf(this.standby);
    if (message.kind === "auditBegin")
      this.input({ kind: "message", message: { kind: "auditFolded", look, sessions: 1 } });
    else if (message.kind === "auditEnd")
      this.input({
        kind: "message",
        message: { kind: "auditDigests", look, cpuMicros: 40_000, digests: fold.digests },
      });
    else if (message.kind === "auditAsk") {
      const keys = keysOf(fold, bucketsIn(message.buckets))[0]!;
      this.input({ kind: "message", message: { kind: "auditKeys", look, more: false, keys } });
    }
  }

  /** Lets time pass until a pass is over. */
  pass(): AuditOutcome {
    const before = this.outcomes.length;
    for (let turns = 0; turns < 100 && this.outcomes.length === before; turns += 1) {
      const at = deadline(this.state);
      assert.ok(at !== null, this.state.phase);
      this.now = millis(Math.max(this.now, at));
      this.input({ kind: "turn" });
    }
    return this.outcomes.at(-1)!;
  }

  /** The round that was asked for is done. */
  mend(stretch: number): void {
    this.input({ kind: "log", followed: true, stretch: null });
    this.input({ kind: "log", followed: true, stretch });
  }
}

const SAME = [{ key: 1, content: 5 }];

test("a pass takes one look where nothing differs, two where something does, and tells both times of a repair", () => {
  const active = new Active(SAME);
  active.input({ kind: "log", followed: true, stretch: 1 });
  assert.deepEqual(active.pass().missing, 0);
  assert.equal(active.state.look, 1);
  active.standby = [];
  assert.equal(active.pass().missing, 1);
  assert.equal(active.state.look, 3);
  assert.equal(active.state.phase, "repairing");
  active.mend(2);
  assert.deepEqual(
    active.outcomes.map(({ repaired }) => repaired),
    [0, 0, 1],
  );
  const results = active.sent.filter(({ kind }) => kind === "auditResult");
  assert.equal(results.length, 3);
});

test("the rest after a pass is paid by the node that needed more", () => {
  const active = new Active(SAME);
  active.input({ kind: "log", followed: true, stretch: 1 });
  active.pass();
  // 40 ms of the standby's processor at 2 %.
  assert.equal(deadline(active.state), active.state.startedAt + 2000);
  assert.equal(active.state.cpuMs, 0);
});

test("what a step took is paid for before the next one, at five times the share", () => {
  const active = new Active(SAME);
  active.input({ kind: "log", followed: true, stretch: 1 });
  active.now = millis(1010);
  active.input({ kind: "turn" });
  assert.equal(active.state.phase, "reading");
  spend(active.state, active.now, 3);
  assert.equal(deadline(active.state), 1010 + 27);
});

test("what is found again after its repair is told each time, and repaired ever more seldom", () => {
  const active = new Active([]);
  active.input({ kind: "log", followed: true, stretch: 1 });
  let stretch = 1;
  const repairs: number[] = [];
  for (let pass = 1; pass <= 16; pass += 1) {
    assert.equal(active.pass().missing, 1);
    if (active.state.phase !== "repairing") continue;
    repairs.push(pass);
    stretch += 1;
    active.mend(stretch);
  }
  assert.deepEqual(repairs, [1, 2, 4, 8, 16]);
  active.standby = SAME;
  active.pass();
  active.standby = [];
  active.pass();
  assert.equal(active.state.phase, "repairing", "it was well in between");
});

test("a log that is interrupted ends the look; what is asked of an earlier look is not heard", () => {
  const active = new Active(SAME);
  active.input({ kind: "log", followed: true, stretch: 1 });
  active.now = millis(1010);
  active.input({ kind: "turn" });
  active.input({ kind: "log", followed: true, stretch: null });
  assert.equal(active.state.phase, "waiting");
  assert.equal(deadline(active.state), null, "until it is whole again");
  assert.equal(active.sent.at(-1)!.kind, "auditVoid");
  active.input({ kind: "message", message: { kind: "auditFolded", look: 1, sessions: 1 } });
  assert.equal(active.state.phase, "waiting");
  assert.equal(active.state.totals.abandoned, 1);
});

test("keys that were not asked for, or are no keys, end the look and are no difference", () => {
  for (const keys of [keysOf(foldOf([{ key: 2, content: 1 }]), [2])[0]!, new Uint8Array(7)]) {
    const active = new Active(SAME);
    active.input({ kind: "log", followed: true, stretch: 1 });
    active.state.phase = "comparing";
    active.state.look = 9;
    active.state.asked = [1];
    active.input({ kind: "message", message: { kind: "auditKeys", look: 9, more: false, keys } });
    assert.equal(active.state.phase, "waiting");
    assert.match(active.state.trouble, /other keys/);
  }
});

test("a pass that does not come to its end is late, and why is said", () => {
  const active = new Active(SAME);
  active.input({ kind: "log", followed: true, stretch: null });
  assert.equal(lateness(active.state, millis(active.now + AUDIT_LATE_MS)), null);
  assert.match(lateness(active.state, millis(active.now + AUDIT_LATE_MS + 1))!, /301 s|300 s/);
  active.input({ kind: "log", followed: false, stretch: null });
  assert.equal(lateness(active.state, millis(active.now + 10 * AUDIT_LATE_MS)), null, "nobody is there");
});
