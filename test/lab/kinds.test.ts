// The table of kinds: what a session went through is put into the words of the promise, and both ways of breaking a
// promise are seen. The documents show the same table.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { SCENARIOS } from "../../src/lab/catalogue.ts";
import { cellOf, fateOf, KINDS, type KindSession, kindOf, promiseRows } from "../../src/lab/kinds.ts";

const lived: KindSession = {
  kind: "tcp-echo",
  family: 4,
  host: "h1",
  opened: true,
  failure: null,
  stallMs: 70,
  silentMs: 20,
  movedMs: 3000,
};
const slow = { ...lived, stallMs: 1030 };
const dead = { ...lived, silentMs: 3000, stallMs: 3000 };

suite("fate of a session", () => {
  test("survives, stalls, dies: silence decides, and a failure", () => {
    const fates = [
      lived,
      slow,
      dead,
      { ...lived, failure: "wrong content" },
      { ...lived, opened: false },
      { ...lived, movedMs: 400 },
    ].map((session) => [fateOf(session).is, fateOf(session).why]);
    assert.deepEqual(fates, [
      ["survives", null],
      ["stalls", null],
      ["dies", "silent ever since"],
      ["dies", "wrong content"],
      ["dies", "never opened"],
      ["dies", "spoke for less than 1000 ms"],
    ]);
  });
});

suite("cell of the table", () => {
  test("the worst session is what the cell shows", () => {
    assert.deepEqual(cellOf([lived, dead, slow], "crash").found?.is, "dies");
    assert.deepEqual(cellOf([lived, { ...lived, stallMs: 90 }], "crash").found?.stallMs, 90);
    assert.deepEqual(cellOf([slow, { ...lived, stallMs: 1100 }, lived], "crash").found?.stallMs, 1100);
  });

  test("what is promised to survive and dies is wrong; where it only stalls it is late", () => {
    const { wrong, late } = cellOf([lived, dead, slow], "crash");
    assert.deepEqual(wrong, ["tcp-echo over IPv4 (h1) dies: silent ever since; promised: survives"]);
    assert.deepEqual(late, ["tcp-echo over IPv4 (h1) stalls 1030 ms; promised: survives"]);
  });

  test("what is promised to die and lives is wrong as well", () => {
    const [silent, spoke] = [dead, slow].map((session) => ({ ...session, kind: "udp-unanswered" as const }));
    assert.deepEqual(cellOf([silent!], "crash").wrong, []);
    assert.deepEqual(cellOf([silent!, spoke!], "handover").wrong, [
      "udp-unanswered over IPv4 (h1) stalls 1030 ms; promised: dies",
    ]);
  });

  test("what is promised to stall: within its bound, longer, not at all", () => {
    const of = (stallMs: number) => cellOf([{ ...slow, kind: "tcp-syn-sent", stallMs }], "crash");
    assert.deepEqual([of(1030).wrong, of(1030).late], [[], []]);
    assert.deepEqual(of(4100).late, [
      "tcp-syn-sent over IPv4 (h1) stalls 4100 ms; promised: stalls, at most 4 s",
    ]);
    assert.deepEqual(of(100).wrong, [
      "tcp-syn-sent over IPv4 (h1) went on without a stall; promised: stalls, at most 4 s",
    ]);
  });
});

suite("documents", () => {
  test("docs/laboratory.md shows the table as the scenarios enforce it", () => {
    const text = readFileSync(new URL("../../docs/laboratory.md", import.meta.url), "utf8");
    const begin = text.indexOf("## What becomes of each kind of session");
    const end = text.indexOf("\n## ", begin + 1);
    const section = text.slice(begin, end < 0 ? undefined : end);
    const [, , ...rows] = section.split("\n").filter((line) => line.startsWith("| "));
    assert.deepEqual(rows, promiseRows());
  });

  test("every kind says what happens in it, and no kind has a scenario's name", () => {
    for (const name of KINDS) assert.notEqual(kindOf(name).about, "", name);
    assert.deepEqual(
      KINDS.filter((name) => (SCENARIOS as readonly string[]).includes(name)),
      [],
    );
  });
});
