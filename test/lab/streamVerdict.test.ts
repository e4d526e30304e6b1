// What a crash made of streams: who was old enough to be kept, who lives, and whose port was gone.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Crash, judgeStorm, livesAfter, type StreamSeen } from "../../src/lab/traffic/streamVerdict.ts";

const crash: Crash = { notBeforeMs: 1000, notAfterMs: 1012 };
const seen = (startedMs: number, lastMs: number, failure: string | null = null): StreamSeen => ({
  host: "h1",
  port: startedMs,
  startedMs,
  openedMs: startedMs + 1,
  failure,
  closed: false,
  answers: 1,
  heard: 0,
  lastMs,
});
const nobody = (): boolean => false;

suite("streams over a crash", () => {
  test("alive is who was answered when nobody but the new active can have let it through", () => {
    assert.equal(livesAfter(seen(0, 1042), crash), false);
    assert.equal(livesAfter(seen(0, 1043), crash), true);
    assert.equal(livesAfter(seen(0, 2000, "ECONNRESET"), crash), false);
  });

  test("the age counts to the earliest moment at which it may have happened", () => {
    const verdict = judgeStorm([seen(950, 0), seen(951, 0), seen(1012, 0), seen(1013, 0)], crash, 50, nobody);
    assert.deepEqual(
      { ...verdict, samples: [] },
      { old: 1, oldDead: 1, young: 2, youngDead: 2, collided: 0, later: 1, samples: [] },
    );
    assert.deepEqual(verdict.samples, [
      "h1 port 950, begun 50 ms before, opened 49 ms before, never answered: silent",
    ]);
  });

  test("a lost port excuses the young dead alone", () => {
    const collides = (): boolean => true;
    const streams = [seen(900, 0), seen(990, 2000), seen(991, 0, "ECONNRESET")];
    const { oldDead, youngDead, collided } = judgeStorm(streams, crash, 50, collides);
    assert.deepEqual({ oldDead, youngDead, collided }, { oldDead: 1, youngDead: 1, collided: 1 });
  });
});
