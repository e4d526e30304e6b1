// The rescuer: what it concludes from what it sees, and that a thread which does not come back is moved for real.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { LATE_MS, LOOK_MS, NO_RESCUE, RescueJudge, startRescue } from "../../src/heart/rescue.ts";
import { confineTo, processors } from "../../src/kernel/libc.ts";

/** Looks every 2 ms from `from` until `until`; what was concluded, with its time. */
function looks(
  judge: RescueJudge,
  from: number,
  until: number,
  heart: (at: number) => { readonly turn: number; readonly restMs: number },
): readonly (readonly [number, string])[] {
  const verdicts: [number, string][] = [];
  for (let at = from; at < until; at += LOOK_MS) {
    const { turn, restMs } = heart(at);
    const verdict = judge.look(at, turn, restMs);
    if (verdict !== null) verdicts.push([at, verdict]);
  }
  return verdicts;
}

const beating = (at: number) => ({ turn: Math.floor(at / 10), restMs: 10 });

test("a heart that wakes when it meant to is left alone", () => {
  assert.deepEqual(looks(new RescueJudge(), 0, 2000, beating), []);
});

test("one that oversleeps is moved once, and goes home after the other processor was on time for a while", () => {
  const judge = new RescueJudge();
  looks(judge, 0, 100, beating);
  const held = looks(judge, 100, 120, () => ({ turn: 10, restMs: 10 }));
  assert.deepEqual(held, [[100 + 10 + LATE_MS + LOOK_MS, "away"]]);
  const after = looks(judge, 120, 1000, beating);
  assert.deepEqual(
    after.map(([, verdict]) => verdict),
    ["home"],
  );
  assert.ok(after[0]![0] >= 116 + 250, `home at ${after[0]![0]}`);
});

test("where the processor that it was moved to is held as well, it is moved back", () => {
  const judge = new RescueJudge();
  looks(judge, 0, 100, beating);
  const verdicts = looks(judge, 100, 130, () => ({ turn: 10, restMs: 0 }));
  assert.ok(verdicts.every(([, verdict]) => verdict === "away"));
  assert.ok(verdicts.length >= 3);
});

test("a rescuer that was late itself concludes nothing", () => {
  const judge = new RescueJudge();
  looks(judge, 0, 100, beating);
  assert.equal(judge.look(400, 9, 10), null);
  assert.equal(judge.look(400 + LOOK_MS, 9, 10), null);
});

test("a heart that has not begun to beat is not moved, whatever its start takes", () => {
  assert.deepEqual(
    looks(new RescueJudge(), 0, 5000, () => ({ turn: 0, restMs: 2_147_483 })),
    [],
  );
});

test("nobody rescues where nobody can", () => {
  NO_RESCUE.rests(10);
  NO_RESCUE.awake();
  NO_RESCUE.stop();
  assert.equal(NO_RESCUE.count, 0);
});

test("a thread that does not come back is moved to another processor", (t) => {
  const cpus = processors().slice(-2);
  if (cpus.length < 2) return t.skip("one processor only: there is nowhere to go");
  const allowed = (): string =>
    /Cpus_allowed_list:\s*(.*)/.exec(readFileSync("/proc/thread-self/status", "utf8"))![1]!;
  confineTo(cpus.slice(-1));
  const errors: Error[] = [];
  const rescue = startRescue(cpus, 1, (error) => errors.push(error));
  try {
    assert.equal(allowed(), String(cpus[1]));
    rescue.awake();
    // Busy, as far as the rescuer can tell: the thread says nothing any more.
    const until = performance.now() + 10_000;
    while (rescue.count === 0 && performance.now() < until);
    assert.deepEqual(errors, []);
    assert.ok(rescue.count >= 1, "not moved within 10 s");
    const seen = new Set<string>();
    while (!seen.has(String(cpus[0])) && performance.now() < until) seen.add(allowed());
    assert.ok(seen.has(String(cpus[0])), `only ever on ${[...seen].join(", ")}`);
  } finally {
    rescue.stop();
    processors();
  }
});
