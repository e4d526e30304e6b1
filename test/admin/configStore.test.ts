// Versions on disk: what was written is there for the next process, bounded, and a disk that refuses says so in words.

import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, test } from "node:test";
import { type ConfigStore, openConfigStore } from "../../src/admin/configStore.ts";
import { BoundaryError } from "../../src/base/errors.ts";
import { sha256Hex } from "../../src/base/sha256.ts";
import { versionAfter } from "../../src/core/configVersions.ts";
import type { VersionHeader } from "../../src/wire/messagesConfiguration.ts";

let directory: string;
let open: ConfigStore[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "understudy-store-"));
  open = [];
});
afterEach(() => {
  for (const store of open) store.close();
  rmSync(directory, { recursive: true, force: true });
});

const openStore = (limits?: { versions: number; bytes: number }): ConfigStore => {
  const store = openConfigStore(directory, limits);
  open.push(store);
  return store;
};

const version = (parent: VersionHeader | null, text: string): VersionHeader =>
  versionAfter(
    parent,
    {
      digest: sha256Hex(text),
      textDigest: sha256Hex(text),
      origin: "apply",
      author: "eve",
      message: "why: \u00fc",
      at: 7,
    },
    "a",
  );

const refusalOf = (work: () => unknown): BoundaryError => {
  let caught: unknown = null;
  try {
    work();
  } catch (error) {
    caught = error;
  }
  assert.ok(caught instanceof BoundaryError, String(caught));
  return caught;
};

test("a new store is empty, and private", () => {
  const store = openStore();
  assert.deepEqual([store.head(), store.pending(), store.history().size], [null, null, 0]);
  assert.equal(statSync(store.file).mode & 0o777, 0o600);
  assert.equal(store.text("00".repeat(32)), null);
});

test("what was written is there for the next process: versions, texts, what is in force, what is on its way", () => {
  const first = version(null, "one\n");
  const second = version(first, "two\n");
  const store = openStore();
  store.put(first, "one\n", false);
  store.keep(first.id);
  store.put(second, "two\n", true);
  const next = openConfigStore(directory);
  open.push(next);
  assert.deepEqual(next.head(), first);
  assert.deepEqual(next.pending(), second);
  assert.deepEqual([...next.history().values()], [first, second]);
  assert.equal(next.text(second.id), "two\n");
  next.keep(second.id);
  assert.deepEqual([store.head(), store.pending()], [second, null]);
});

test("putting twice changes nothing, dropping nothing succeeds, a version that was never put is not in force", () => {
  const first = version(null, "one");
  const store = openStore();
  store.put(first, "one", true);
  store.put(first, "something else", true);
  assert.equal(store.text(first.id), "one");
  store.drop();
  store.drop();
  assert.equal(store.pending(), null);
  assert.match(refusalOf(() => store.keep("ab".repeat(32))).code, /SQLITE/);
  assert.equal(store.head(), null);
});

test("what was on its way and is dropped is forgotten; what was kept before is not", () => {
  const store = openStore();
  const first = version(null, "one");
  const second = version(first, "two");
  store.put(first, "one", false);
  store.keep(first.id);
  store.put(second, "two", true);
  store.drop();
  assert.deepEqual([...store.history().keys()], [first.id]);
  store.put(second, "two", false);
  store.put(second, "two", true);
  store.drop();
  store.put(first, "one", true);
  store.drop();
  assert.deepEqual([...store.history().keys()], [first.id, second.id]);
  const third = version(second, "three");
  store.put(third, "three", true);
  store.keep(third.id);
  store.drop();
  assert.deepEqual(store.head(), third);
});

test("the oldest go where there are too many, or too much; never what is in force or on its way", () => {
  for (const limits of [
    { versions: 5, bytes: 1e9 },
    { versions: 1000, bytes: 5 * 10 },
  ]) {
    const store = openConfigStore(join(directory, `${limits.versions}`), limits);
    open.push(store);
    let last = version(null, "version 00");
    store.put(last, "version 00", false);
    store.keep(last.id);
    const first = last;
    for (let number = 1; number < 20; number += 1) {
      const text = `version ${String(number).padStart(2, "0")}`;
      last = version(last, text);
      store.put(last, text, number === 3);
    }
    const kept = [...store.history().values()].map(({ number }) => number);
    assert.deepEqual(kept, [1, 4, 18, 19, 20]);
    assert.deepEqual([store.head(), store.pending()?.number], [first, 4]);
  }
});

test("a file that is no store, or is damaged, is refused with its name and what to do", () => {
  writeFileSync(join(directory, "configurations.sqlite"), "x".repeat(5000));
  const refusal = refusalOf(() => openConfigStore(directory));
  assert.equal(refusal.code, "SQLITE_NOTADB");
  assert.match(refusal.message, /configurations\.sqlite: SQLITE_NOTADB.*\n.*Move the file away/s);
  rmSync(join(directory, "configurations.sqlite"));

  const store = openStore();
  store.put(version(null, "x".repeat(20_000)), "x".repeat(20_000), false);
  truncateSync(store.file, 8192);
  assert.match(refusalOf(() => openConfigStore(directory).history()).code, /SQLITE_(CORRUPT|IOERR)/);
});

test("a layout of a later program is refused, and not touched", () => {
  openConfigStore(directory).close();
  const file = join(directory, "configurations.sqlite");
  const database = new DatabaseSync(file);
  database.exec("PRAGMA user_version = 9");
  database.close();
  const before = readFileSync(file);
  assert.equal(refusalOf(() => openConfigStore(directory)).code, "LAYOUT");
  assert.deepEqual(readFileSync(file), before);
});

test("a full disk refuses a change as a whole, and the store goes on as it was", () => {
  const store = openStore();
  const first = version(null, "one");
  store.put(first, "one", false);
  store.keep(first.id);
  // A file that may not grow is what a full disk is to SQLite.
  const database = new DatabaseSync(store.file);
  const { page_count: pages } = database.prepare("PRAGMA page_count").get() as { page_count: number };
  database.close();
  const full = openConfigStore(directory, undefined, pages);
  open.push(full);
  const big = version(first, "y".repeat(100_000));
  const refusal = refusalOf(() => full.put(big, "y".repeat(100_000), true));
  assert.equal(refusal.code, "SQLITE_FULL");
  assert.match(refusal.message, /disk full/);
  assert.deepEqual([full.pending(), full.history().size], [null, 1]);
  full.drop();
  full.keep(first.id);
  assert.deepEqual(full.head(), first);
});

test("nothing but the store lies in the directory once a change is done", () => {
  const store = openStore();
  store.put(version(null, "one"), "one", true);
  assert.deepEqual(readdirSync(directory), ["configurations.sqlite"]);
});

test("a directory that cannot be made is a refusal with the system's words", () => {
  writeFileSync(join(directory, "file"), "");
  const refusal = refusalOf(() => openConfigStore(join(directory, "file", "state")));
  assert.equal(refusal.code, "ENOTDIR");
  chmodSync(directory, 0o700);
});
