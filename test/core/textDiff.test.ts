// The line difference against a dumb model (the longest common subsequence, by dynamic programming) and against its own
// purpose: what it says, done to the old text, gives the new one.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { unifiedDiff } from "../../src/core/textDiff.ts";

const names = ["a", "b"] as const;
const diff = (before: string, after: string): string => unifiedDiff({ old: before, new: after, names });
const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

test("equal texts have no difference", () => {
  assert.equal(diff("x\n", "x\n"), "");
  assert.equal(diff("", ""), "");
});

test("a change with three lines around it, as diff -u writes it", () => {
  const before = text(["1", "2", "3", "4", "weight: 1", "6", "7", "8", "9"]);
  const after = text(["1", "2", "3", "4", "weight: 2", "6", "7", "8", "9"]);
  assert.equal(
    diff(before, after),
    "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-weight: 1\n+weight: 2\n 6\n 7\n 8\n",
  );
});

test("changes far apart are two hunks, near ones are one", () => {
  const lines = Array.from({ length: 30 }, (_, index) => `${index}`);
  const far = lines.with(2, "x").with(25, "y");
  assert.equal(diff(text(lines), text(far)).match(/^@@/gm)?.length, 2);
  const near = lines.with(2, "x").with(8, "y");
  assert.equal(diff(text(lines), text(near)).match(/^@@/gm)?.length, 1);
});

test("from nothing, to nothing, and a missing line feed at the end", () => {
  assert.equal(diff("", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
  assert.equal(diff("x\n", ""), "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n");
  assert.equal(diff("x\n", "x"), "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n");
});

/** Applies a unified difference, believing every line of it. */
function patch(before: string, difference: string): string {
  const old = before.split("\n").slice(0, -1);
  const out: string[] = [];
  let at = 0;
  for (const line of difference.split("\n").slice(2, -1)) {
    const head = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@$/.exec(line);
    if (head !== null) {
      const start = head[2] === "0" ? Number(head[1]) : Number(head[1]) - 1;
      while (at < start) out.push(old[at++]!);
      assert.equal(out.length, head[4] === "0" ? Number(head[3]) : Number(head[3]) - 1, line);
    } else if (line.startsWith("+")) out.push(line.slice(1));
    else assert.equal(old[at++], line.slice(1), "a line that stays or goes is the old one");
    if (head === null && line.startsWith(" ")) out.push(line.slice(1));
  }
  while (at < old.length) out.push(old[at++]!);
  return text(out);
}

/** Length of the longest common subsequence. */
function common(one: readonly string[], other: readonly string[]): number {
  const table = Array.from({ length: one.length + 1 }, () => new Array<number>(other.length + 1).fill(0));
  for (let i = one.length - 1; i >= 0; i -= 1)
    for (let j = other.length - 1; j >= 0; j -= 1)
      table[i]![j] =
        one[i] === other[j] ? table[i + 1]![j + 1]! + 1 : Math.max(table[i + 1]![j]!, table[i]![j + 1]!);
  return table[0]![0]!;
}

test("done to the old text it gives the new one, and nothing shorter would", () => {
  const lines = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 40 });
  fc.assert(
    fc.property(lines, lines, (old, next) => {
      const difference = diff(text(old), text(next));
      if (difference === "") {
        assert.deepEqual(old, next);
        return;
      }
      assert.equal(patch(text(old), difference), text(next));
      const edits = difference
        .split("\n")
        .slice(2)
        .filter((line) => /^[+-]/.test(line)).length;
      assert.equal(edits, old.length + next.length - 2 * common(old, next));
    }),
    { numRuns: 300 },
  );
});

test("texts with nothing in common are one change, in bounded time", () => {
  const old = Array.from({ length: 20_000 }, (_, index) => `old ${index}`);
  const next = Array.from({ length: 20_000 }, (_, index) => `new ${index}`);
  assert.equal(patch(text(old), diff(text(old), text(next))), text(next));
});
