// Who claimed a segment, and when two did: judged from runs of frames as a capture writes them down.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type ClaimRun, type DeadWindow, judgeClaims } from "../../src/lab/claimants.ts";

const run = (node: string, firstMs: number, lastMs: number, segment = "lan"): ClaimRun => ({
  segment,
  node,
  firstMs,
  lastMs,
  frames: 2,
});

suite("claimants", () => {
  test("one after the other is no overlap", () => {
    assert.equal(judgeClaims([run("a", 0, 1000), run("b", 1047, 3000)], []).overlapMs, 0);
  });

  test("interleaved frames overlap from the first of one to the last of the other", () => {
    const runs = [run("a", 0, 1000), run("b", 1010, 1010), run("a", 1020, 1100), run("b", 1110, 3000)];
    assert.deepEqual(judgeClaims(runs, []), {
      overlapMs: 90,
      overlaps: [{ segment: "lan", atMs: 1010, forMs: 90 }],
    });
  });

  test("a single frame in the midst of the other's counts, though it has no length", () => {
    const runs = [run("a", 0, 1000), run("b", 1001, 1001), run("a", 1002, 3000)];
    assert.equal(judgeClaims(runs, []).overlapMs, 0.1);
  });

  test("there and back after a silence is two times of one claimant", () => {
    const runs = [run("a", 0, 1000), run("b", 1001, 2000), run("a", 2001, 3000)];
    assert.equal(judgeClaims(runs, []).overlapMs, 0);
  });

  test("frames into dead ports are on no segment", () => {
    const runs = [run("a", 0, 1030), run("b", 1050, 1050), run("a", 1051, 1090), run("b", 1091, 3000)];
    const dead: DeadWindow[] = [{ node: "a", fromMs: 1000, untilMs: Infinity }];
    assert.equal(judgeClaims(runs, dead).overlapMs, 0);
    assert.equal(judgeClaims(runs, []).overlapMs, 40);
  });

  test("a dead port takes frames from its own segment alone", () => {
    const dead: DeadWindow[] = [{ node: "a", segments: ["lan"], fromMs: 500, untilMs: Infinity }];
    assert.equal(judgeClaims([run("a", 0, 1000), run("b", 600, 900)], dead).overlapMs, 0);
    assert.equal(judgeClaims([run("a", 0, 1000, "wan1"), run("b", 600, 900, "wan1")], dead).overlapMs, 300);
  });

  test("ports that came alive again count again", () => {
    const runs = [run("a", 0, 1000), run("b", 1050, 5000), run("a", 3000, 4000)];
    const dead: DeadWindow[] = [{ node: "a", fromMs: 1000, untilMs: 3500 }];
    assert.equal(judgeClaims(runs, dead).overlapMs, 500);
  });

  test("segments are judged apart, and the worst counts", () => {
    const runs = [
      run("a", 0, 1000),
      run("b", 900, 2000),
      run("a", 0, 1000, "wan1"),
      run("b", 700, 2000, "wan1"),
    ];
    assert.equal(judgeClaims(runs, []).overlapMs, 300);
  });

  test("which node is called what changes nothing", () => {
    const runs = fc.array(
      fc.record({ node: fc.constantFrom("a", "b"), firstMs: fc.nat(5000), forMs: fc.nat(300) }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(runs, (specs) => {
        const some = specs.map(({ node, firstMs, forMs }) => run(node, firstMs, firstMs + forMs));
        const swapped = some.map((one) => ({ ...one, node: one.node === "a" ? "b" : "a" }));
        assert.equal(judgeClaims(some, []).overlapMs, judgeClaims(swapped, []).overlapMs);
      }),
    );
  });
});
