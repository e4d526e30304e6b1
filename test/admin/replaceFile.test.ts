// A file replaced as a whole: the new text or the old one, with the mode and the owner that it had.

import assert from "node:assert/strict";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { replaceFile } from "../../src/admin/replaceFile.ts";
import { BoundaryError } from "../../src/base/errors.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "understudy-replace-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("the text is another, mode and owner are not; nothing else is left", () => {
  const file = join(directory, "pair.yaml");
  writeFileSync(file, "old");
  chmodSync(file, 0o640);
  const before = statSync(file);
  replaceFile(file, "n\u00fc\n".repeat(50_000));
  const after = statSync(file);
  assert.equal(readFileSync(file, "utf8"), "n\u00fc\n".repeat(50_000));
  assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
  assert.notEqual(after.ino, before.ino);
  assert.deepEqual(readdirSync(directory), ["pair.yaml"]);
});

test("a symbolic link goes on leading to the file, which is replaced where it lies", () => {
  mkdirSync(join(directory, "real"));
  const real = join(directory, "real", "office.yaml");
  writeFileSync(real, "old");
  symlinkSync(real, join(directory, "pair.yaml"));
  replaceFile(join(directory, "pair.yaml"), "new");
  assert.ok(lstatSync(join(directory, "pair.yaml")).isSymbolicLink());
  assert.equal(readFileSync(real, "utf8"), "new");
});

test("what a power cut left behind is in nobody's way", () => {
  const file = join(directory, "pair.yaml");
  writeFileSync(file, "old");
  writeFileSync(join(directory, ".pair.yaml.new"), "half a te");
  replaceFile(file, "new");
  assert.equal(readFileSync(file, "utf8"), "new");
  assert.deepEqual(readdirSync(directory), ["pair.yaml"]);
});

test("where it cannot be done, the file is as it was, and the system's words say why", () => {
  const file = join(directory, "pair.yaml");
  writeFileSync(file, "old");
  mkdirSync(join(directory, ".pair.yaml.new"));
  assert.throws(
    () => replaceFile(file, "new"),
    (error) => error instanceof BoundaryError && error.code === "EISDIR",
  );
  assert.equal(readFileSync(file, "utf8"), "old");
  assert.throws(
    () => replaceFile(join(directory, "none.yaml"), "new"),
    (error) => error instanceof BoundaryError && error.code === "ENOENT",
  );
});
