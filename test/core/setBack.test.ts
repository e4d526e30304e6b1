// Setting times back, in virtual time: when it begins, how fast it goes, that it leaves off with the role, and that it
// always comes to an end.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Millis, millis } from "../../src/base/units.ts";
import {
  createSetBack,
  deadline,
  describe as describeState,
  type SetBackEffect,
  type SetBackInput,
  step,
} from "../../src/core/replication/setBack.ts";

/** A table of `entries` that is read `perStep` at a time, each step taking `tookMs`; `fails` refuses a step. */
class Driver {
  readonly state = createSetBack();
  now = 0;
  busyMs = 0;
  /** `open`, `step`, `close`, `done ...` as they were asked for. */
  readonly seen: string[] = [];
  readonly stepsAt: number[] = [];
  #left = 0;
  readonly #options: { entries: number; perStep: number; tookMs: number; fails: () => boolean };

  constructor(options: Partial<Driver["options"]> = {}) {
    this.#options = { entries: 1000, perStep: 130, tookMs: 1, fails: () => false, ...options };
  }

  get options() {
    return this.#options;
  }

  input(input: SetBackInput): void {
    const effects: SetBackEffect[] = [];
    step(this.state, this.#time(), input, effects);
    for (const effect of effects) this.#perform(effect);
  }

  /** Goes on for as long as something is due, until `until`. */
  run(until = Number.POSITIVE_INFINITY): void {
    for (let at = deadline(this.state); at !== null && at <= until; at = deadline(this.state)) {
      this.now = Math.max(this.now, at);
      this.input({ kind: "turn" });
    }
  }

  #time(): Millis {
    return millis(this.now);
  }

  #perform(effect: SetBackEffect): void {
    this.seen.push(effect.kind === "done" ? `done ${effect.seen} ${effect.setBack}` : effect.kind);
    if (effect.kind === "open") this.#left = this.#options.entries;
    if (effect.kind !== "step") return;
    this.stepsAt.push(this.now);
    const { perStep, tookMs, fails } = this.#options;
    this.now += tookMs;
    this.busyMs += tookMs;
    if (fails()) {
      this.input({ kind: "failed" });
      return;
    }
    const seen = Math.min(perStep, this.#left);
    this.#left -= seen;
    // The first pass finds everything old, the second nothing.
    const setBack = this.state.pass === 1 ? seen : 0;
    this.input({ kind: "stepped", seen, setBack, refused: 0, more: this.#left > 0, tookMs });
  }
}

describe("a takeover", () => {
  test("a second later the table is walked twice, and what was done is told once", () => {
    const driver = new Driver({ entries: 300 });
    driver.input({ kind: "role", active: true });
    assert.equal(deadline(driver.state), 1000);
    driver.run();
    const walk = ["step", "step", "step", "close"];
    assert.deepEqual(driver.seen, ["open", ...walk, "open", ...walk, "done 300 300"]);
    assert.equal(driver.stepsAt[0], 1000);
    assert.equal(deadline(driver.state), null);
    assert.match(describeState(driver.state), /done, 300 seen, 300 set back/);
  });

  test("200,000 entries within a minute, and a tenth of a processor at most for as long as that allows it", () => {
    for (const [tookMs, share] of [
      [0.3, 0.1],
      [1.2, 0.1],
      [2.7, 0.1],
      [10, 10 / 35],
    ] as const) {
      const driver = new Driver({ entries: 200_000, tookMs });
      driver.input({ kind: "role", active: true });
      driver.run();
      const firstWalkMs = driver.now / 2;
      assert.ok(firstWalkMs < 60_000, `${tookMs} ms a step: ${firstWalkMs} ms`);
      // Behind the last step there is no pause.
      assert.ok(
        (driver.busyMs - tookMs) / (driver.now - 1000) <= share + 1e-9,
        `${tookMs} ms a step: ${driver.busyMs} ms busy`,
      );
      assert.equal(driver.state.phase, "done");
    }
  });

  test("another term of the same active begins nothing anew", () => {
    const driver = new Driver();
    for (let times = 0; times < 3; times += 1) driver.input({ kind: "role", active: true });
    driver.run();
    const { length } = driver.seen;
    driver.input({ kind: "role", active: true });
    driver.run();
    assert.equal(driver.seen.length, length);
  });

  test("a node that is standby, or becomes it at any moment, writes nothing", () => {
    const standby = new Driver();
    standby.input({ kind: "role", active: false });
    standby.input({ kind: "turn" });
    assert.deepEqual([standby.seen, deadline(standby.state)], [[], null]);
    const driver = new Driver({ entries: 1000 });
    driver.input({ kind: "role", active: true });
    driver.run(1030);
    const steps = driver.stepsAt.length;
    assert.ok(steps > 0);
    driver.input({ kind: "role", active: false });
    assert.equal(driver.seen.at(-1), "close");
    driver.input({ kind: "turn" });
    driver.run();
    assert.equal(driver.stepsAt.length, steps);
    // And the next takeover walks the whole table again.
    driver.input({ kind: "role", active: true });
    driver.run();
    assert.equal(driver.seen.at(-1), "done 1000 1000");
  });

  test("the role that is lost while a step is under way: its outcome counts for nothing", () => {
    const driver = new Driver();
    driver.input({ kind: "role", active: true });
    driver.run(1000);
    driver.input({ kind: "role", active: false });
    const before = { ...driver.state.counters };
    driver.input({ kind: "stepped", seen: 5, setBack: 5, refused: 0, more: false, tookMs: 1 });
    driver.input({ kind: "failed" });
    assert.deepEqual(driver.state.counters, before);
    assert.equal(driver.state.phase, "off");
  });

  test("a table that cannot be read is tried again from its beginning, five seconds later", () => {
    const outcomes = [false, true];
    const driver = new Driver({ entries: 300, fails: () => outcomes.shift() ?? false });
    driver.input({ kind: "role", active: true });
    driver.run();
    assert.deepEqual(driver.seen.slice(0, 5), ["open", "step", "step", "close", "open"]);
    assert.ok(driver.stepsAt[2]! - driver.stepsAt[1]! >= 5000);
    assert.equal(driver.state.phase, "done");
    assert.equal(driver.state.counters.failed, 1);
  });
});

test("whatever happens: only an active writes, walks are opened once and closed once, and it ends", () => {
  const anything = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant("role"), active: fc.boolean() } as const),
      fc.record({ kind: fc.constant("wait"), ms: fc.integer({ min: 0, max: 2000 }) } as const),
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(
      anything,
      fc.integer({ min: 0, max: 700 }),
      fc.array(fc.boolean(), { maxLength: 40 }),
      (inputs, entries, failures) => {
        const outcomes = failures.slice();
        const driver = new Driver({ entries, fails: () => outcomes.shift() ?? false });
        let active = false;
        for (const input of inputs) {
          const steps = driver.stepsAt.length;
          if (input.kind === "role") {
            active = input.active;
            driver.input(input);
          } else {
            const until = driver.now + input.ms;
            driver.run(until);
            driver.now = Math.max(driver.now, until);
          }
          if (!active) assert.equal(driver.stepsAt.length, steps);
        }
        driver.input({ kind: "role", active: true });
        driver.run();
        assert.equal(driver.state.phase, "done");
        let open = false;
        for (const word of driver.seen) {
          if (word === "open" || word === "close") {
            assert.equal(open, word === "close");
            open = word === "open";
          } else assert.equal(open, word === "step");
        }
        assert.equal(open, false);
      },
    ),
    { numRuns: 500 },
  );
});
