// Terms on disk: what is written is what is read, the newest wins, a disk that refuses is a value, and a file that
// is not ours is never guessed at.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import { term } from "../../src/base/units.ts";
import { openTermStore, readTerms } from "../../src/heart/termStore.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "understudy-terms-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("no file is term 0", async () => {
  assert.deepEqual(await readTerms(directory), { current: 0, reserved: 0 });
});

test("what was stored is read back, and nothing else is left in the directory", async () => {
  const store = openTermStore(directory);
  store.store({ current: term(4), reserved: term(6) });
  await store.idle();
  assert.deepEqual(store.takeResult(), { ok: true, terms: { current: 4, reserved: 6 } });
  assert.equal(store.takeResult(), null);
  assert.deepEqual(await readTerms(directory), { current: 4, reserved: 6 });
  assert.deepEqual(readdirSync(directory), ["terms.json"]);
});

test("of many stores in a row the newest is on disk at the end", async () => {
  const store = openTermStore(directory);
  for (let each = 1; each <= 50; each += 1) store.store({ current: term(each), reserved: term(each + 2) });
  await store.idle();
  assert.deepEqual(await readTerms(directory), { current: 50, reserved: 52 });
});

test("a disk that refuses is a value with the disk's words", async () => {
  const store = openTermStore(join(directory, "not-there"));
  store.store({ current: term(2), reserved: term(4) });
  await store.idle();
  const result = store.takeResult();
  assert.ok(result !== null && !result.ok);
  assert.match(result.words, /ENOENT/);
});

test("a term counts as stored once its directory is on disk, too", async () => {
  const synced: string[] = [];
  const store = openTermStore(directory, async (path) => {
    // The new name stands already.
    synced.push(path, ...readdirSync(path));
    if (synced.length > 2) throw new Error("EIO: the directory");
  });
  store.store({ current: term(2), reserved: term(4) });
  await store.idle();
  assert.deepEqual(store.takeResult(), { ok: true, terms: { current: 2, reserved: 4 } });
  assert.deepEqual(synced, [directory, "terms.json"]);
  store.store({ current: term(4), reserved: term(6) });
  await store.idle();
  assert.deepEqual(store.takeResult(), { ok: false, words: "EIO: the directory" });
});

for (const text of ["", "{}", '{"current":-1,"reserved":2}', '{"current":1.5,"reserved":2}', "[1,2]", "null"])
  test(`a file that holds ${JSON.stringify(text)} is refused, with what to do`, async () => {
    writeFileSync(join(directory, "terms.json"), text);
    await assert.rejects(readTerms(directory), (error) => {
      assert.ok(error instanceof BoundaryError);
      assert.equal(error.code, "NOT_TERMS");
      assert.match(error.message, /Restore the file/);
      return true;
    });
  });
