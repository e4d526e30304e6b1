// The shapes of readable views: numbers that do not flatter, durations that fit a glance, columns that stay straight.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import {
  colourStyle,
  count,
  duration,
  moment,
  percent,
  plainStyle,
  plural,
  printable,
  table,
  wrap,
} from "../../src/views/text.ts";

test("counts are grouped", () => {
  assert.deepEqual([0, 7, 999, 1000, 20_412, 1_234_567, -4321].map(count), [
    "0",
    "7",
    "999",
    "1,000",
    "20,412",
    "1,234,567",
    "-4,321",
  ]);
  assert.equal(plural(1, "session"), "1 session");
  assert.equal(plural(0, "session"), "0 sessions");
});

test("a count without its commas is the number", () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      assert.equal(Number(count(value).replaceAll(",", "")), value);
    }),
  );
});

test("a share never rounds up to all of it, nor down to nothing", () => {
  assert.equal(percent(20_000, 20_000), "100 %");
  assert.equal(percent(0, 0), "100 %");
  assert.equal(percent(199_999, 200_000), "99.9 %");
  assert.equal(percent(1, 200_000), "0.1 %");
  assert.equal(percent(0, 5), "0.0 %");
  assert.equal(percent(3072, 4096), "75.0 %");
});

test("durations have two units at most", () => {
  for (const [ms, text] of [
    [0, "0 ms"],
    [0.42, "0.4 ms"],
    [9.96, "10 ms"],
    [51.2, "51 ms"],
    [999.9, "999 ms"],
    [1234, "1.2 s"],
    [14_900, "14 s"],
    [60_000, "1 min"],
    [185_000, "3 min 5 s"],
    [7_440_000, "2 h 4 min"],
    [273_600_000, "3 d 4 h"],
    [-50, "-50 ms"],
  ] as const)
    assert.equal(duration(ms), text);
});

test("moments are in UTC, with their age; what is no moment is shown as it is", () => {
  const now = Date.parse("2026-11-20T15:26:01Z");
  assert.equal(moment("2026-11-20T13:22:01.123Z", now), "2026-11-20 13:22:01 UTC, 2 h 3 min ago");
  assert.equal(moment("2026-11-20T17:00:00+01:00", now), "2026-11-20 16:00:00 UTC");
  assert.equal(moment("soon", now), "soon");
});

test("tables are straight, without spaces at the end of a line, coloured or not", () => {
  const rows = [
    ["a", { text: "ACTIVE", tone: "good" }, "1"],
    ["bb", "", "1,000"],
  ] as const;
  const columns = [{ title: "" }, { title: "role" }, { title: "n", align: "right" }] as const;
  assert.equal(
    table(columns, rows, plainStyle, 1),
    "     role        n\n a   ACTIVE      1\n bb          1,000",
  );
  const coloured = table(columns, rows, colourStyle, 1);
  assert.ok(coloured.includes("\u001b[32mACTIVE\u001b[0m"));
  assert.equal(stripVTControlCharacters(coloured), table(columns, rows, plainStyle, 1));
});

test("control characters from elsewhere never reach the terminal", () => {
  assert.equal(printable("a\u001b[2Jb\u0007\u009b"), "a?[2Jb??");
  assert.equal(table([{ title: "" }], [["x\u001b[31m"]], colourStyle), "x?[31m");
});

test("wrapped text keeps its words and its width", () => {
  assert.equal(wrap("one two three", 9, 2), "  one two\n  three");
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { minLength: 1, maxLength: 40 }), (words) => {
      const lines = wrap(words.join(" "), 20, 4).split("\n");
      assert.ok(lines.every((line) => line.length <= 20));
      assert.deepEqual(
        lines.flatMap((line) => line.trim().split(" ")),
        words,
      );
    }),
  );
});
