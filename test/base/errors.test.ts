// What a refusal says: what was tried, the code, the refuser's words, what to do; nothing twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";

const said = (words?: string, advice?: string): string =>
  new BoundaryError({
    operation: "read /tmp",
    code: "EISDIR",
    ...(words === undefined ? {} : { words }),
    ...(advice === undefined ? {} : { advice }),
  }).message;

test("operation, code, words, and the advice on a line of its own", () => {
  assert.equal(said(), "read /tmp: EISDIR");
  assert.equal(
    said("it is a directory", "Name a file."),
    "read /tmp: EISDIR: it is a directory\n  Name a file.",
  );
});

test("the code stands once where the system's words begin with it; the words themselves stay as they came", () => {
  const words = "EISDIR: illegal operation on a directory, read";
  assert.equal(said(words), "read /tmp: EISDIR: illegal operation on a directory, read");
  const error = new BoundaryError({ operation: "read /tmp", code: "EISDIR", words });
  assert.equal(error.words, words);
  assert.equal(said("EISDIRECTORY: no"), "read /tmp: EISDIR: EISDIRECTORY: no");
});
