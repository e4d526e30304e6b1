// Versions of the configuration and their history: what an id says, who is behind whom, what a person means by a number, and what
// a node makes at a start of what lies on its disk.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sha256Hex } from "../../src/base/sha256.ts";
import {
  chainOf,
  covers,
  type Draft,
  findVersion,
  gapOf,
  headerFault,
  NO_VERSION,
  startOf,
  versionAfter,
} from "../../src/core/configVersions.ts";
import type { VersionHeader } from "../../src/wire/messagesConfiguration.ts";

const draft = (text: string, part: Partial<Draft> = {}): Draft => ({
  digest: sha256Hex(text.split("#")[0]!),
  textDigest: sha256Hex(text),
  origin: "apply",
  author: "eve",
  message: "",
  at: 1000,
  ...part,
});
const found = (text: string): Draft => draft(text, { origin: "import", author: "", at: 5 });

/** One version after the other; the first was found on disk. */
function chain(...texts: readonly string[]): VersionHeader[] {
  const versions: VersionHeader[] = [];
  for (const text of texts)
    versions.push(
      versions.length === 0
        ? versionAfter(null, found(text), "a")
        : versionAfter(versions.at(-1)!, draft(text), "a"),
    );
  return versions;
}
const historyOf = (versions: readonly VersionHeader[]) => new Map(versions.map((each) => [each.id, each]));

test("an id says all that a version is: contents, past, who, why and when", () => {
  const [first, second] = chain("1", "2");
  assert.deepEqual([first!.number, first!.parent], [1, NO_VERSION]);
  assert.deepEqual([second!.number, second!.parent], [2, first!.id]);
  const others = [
    versionAfter(second!, draft("2"), "a"),
    versionAfter(first!, draft("3"), "a"),
    versionAfter(first!, draft("2#"), "a"),
    versionAfter(first!, draft("2", { author: "bob" }), "a"),
    versionAfter(first!, draft("2", { message: "why" }), "a"),
    versionAfter(first!, draft("2", { at: 1001 }), "a"),
    versionAfter(first!, draft("2", { origin: "rollback" }), "a"),
    versionAfter(first!, draft("2"), "b"),
  ];
  assert.equal(new Set([second, ...others].map((version) => version!.id)).size, 9);
});

test("the same file given to both nodes by hand is the same version, whenever and with whatever comments", () => {
  const a = versionAfter(null, found("1"), "a");
  const b = versionAfter(null, { ...found("1# a comment"), at: 999 }, "b");
  assert.equal(a.id, b.id);
  assert.notEqual(a.id, versionAfter(a, found("1"), "a").id);
});

test("a header that was changed on its way, or goes with another text, is noticed", () => {
  const [, second] = chain("1", "2");
  assert.equal(headerFault(second!, "2"), null);
  assert.match(headerFault(second!, "3") ?? "", /text/);
  for (const part of [
    { parent: NO_VERSION },
    { author: "bob" },
    { at: 1 },
    { digest: "00".repeat(32) },
  ] as const)
    assert.match(headerFault({ ...second!, ...part }, "2") ?? "", /id/);
});

test("a version covers its past, by id; whoever knows nothing of the past, by contents", () => {
  const versions = chain("1", "2", "3");
  const [first, second, third] = versions;
  const history = historyOf(versions);
  for (const past of [first, second, third]) assert.ok(covers(history, third!, past!));
  assert.ok(!covers(history, second!, third!));
  // A new disk, with a file of long ago.
  assert.ok(covers(history, third!, versionAfter(null, found("2"), "b")));
  assert.ok(!covers(history, third!, versionAfter(null, found("4"), "b")));
  // Somebody who knows what came after, and put the old file back by hand.
  assert.ok(!covers(history, third!, versionAfter(third!, found("2"), "b")));
  // Known by its id alone: the parent of the oldest that is kept.
  assert.ok(covers(historyOf([third!]), third!, second!));
  assert.ok(!covers(historyOf([third!]), third!, first!));
});

test("the gap in a history is the version that comes next, one after the other", () => {
  const [first, second, third] = chain("1", "2", "3");
  assert.equal(gapOf(historyOf([third!]), third!), second!.id);
  assert.equal(gapOf(historyOf([third!, second!]), third!), first!.id);
  assert.equal(gapOf(historyOf([third!, second!, first!]), third!), null);
  assert.equal(chainOf(historyOf([third!, first!]), third!).length, 1);
});

test("a number means the chain in force; what is aside is named by its id", () => {
  const versions = chain("1", "2", "3");
  const aside = versionAfter(versions[0]!, draft("x"), "b");
  const history = historyOf([...versions, aside]);
  const head = versions[2]!;
  const ask = (reference: string) => findVersion(history, head, reference);
  assert.deepEqual(ask("2"), { ok: true, header: versions[1] });
  assert.deepEqual(ask(aside.id.slice(0, 8)), { ok: true, header: aside });
  assert.deepEqual(ask("4"), { ok: false, reason: "there is no version 4; there are 1 to 3" });
  assert.deepEqual(findVersion(historyOf([versions[0]!]), versions[0]!, "4"), {
    ok: false,
    reason: "there is no version 4; only version 1 is kept",
  });
  assert.equal(ask("abc").ok, false);
  assert.equal(ask("ffffff").ok, false);
  assert.equal(ask("../etc").ok, false);
});

test("any chain: each version covers exactly itself and those before it", () => {
  const texts = fc.uniqueArray(fc.nat({ max: 50 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(texts, fc.nat(), fc.nat(), (numbers, one, other) => {
      const versions = chain(...numbers.map(String));
      const [i, j] = [one % versions.length, other % versions.length];
      // The first one was found on disk: its contents are enough.
      assert.equal(covers(historyOf(versions), versions[i]!, versions[j]!), j <= i);
    }),
    { numRuns: 100 },
  );
});

const start = (file: string, head: VersionHeader | null, pending: VersionHeader | null = null) =>
  startOf({
    node: "a",
    history: new Map(),
    head,
    pending,
    file: { digest: sha256Hex(file.split("#")[0]!), textDigest: sha256Hex(file) },
    nowMs: 77,
  });

test("a start: what lies on disk is what this node runs with, whatever the store says", () => {
  const [first, second, third] = chain("1", "2", "3");
  const unknown = start("1", null);
  assert.deepEqual([unknown.isImport, unknown.head.number, unknown.head.parent], [true, 1, NO_VERSION]);
  assert.deepEqual(start("2", second!), { head: second, tentative: null, isImport: false });
  assert.deepEqual(start("2# a comment", second!).head, second);
  // It ended before the version on its way was taken, or after.
  assert.deepEqual(start("2", second!, third!), { head: second, tentative: null, isImport: false });
  assert.deepEqual(start("3", second!, third!), { head: second, tentative: third, isImport: false });
  // Edited by hand, back to what was once in force: a version of its own all the same.
  const edited = start("1", second!, third!);
  assert.deepEqual([edited.isImport, edited.tentative, edited.head.parent], [true, null, second!.id]);
  assert.notEqual(edited.head.id, first!.id);
});

test("a start with a version on its way that differs in comments alone", () => {
  const [, second] = chain("1", "2");
  const commented = versionAfter(second!, draft("2# a comment"), "a");
  assert.equal(start("2", second!, commented).tentative, null);
  assert.equal(start("2# a comment", second!, commented).tentative, commented);
  assert.equal(start("2# another", second!, commented).tentative, null);
  // Word for word the same: whether it was taken makes no difference.
  assert.equal(start("2", second!, versionAfter(second!, draft("2"), "b")).tentative, null);
});
