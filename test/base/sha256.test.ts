// SHA-256 against node:crypto: the published function, or nothing.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { sha256, sha256Hex } from "../../src/base/sha256.ts";

const theirs = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");

test("every length around the block's end is digested as node:crypto does", () => {
  for (let length = 0; length <= 200; length++) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 255);
    assert.equal(sha256Hex(data), theirs(data), `${length} bytes`);
  }
});

test("any bytes and any text", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (data) => assert.equal(sha256Hex(data), theirs(data))),
  );
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => assert.equal(sha256Hex(text), theirs(text))),
  );
});

test("FIPS 180-4's example", () => {
  assert.equal(sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(sha256("").length, 32);
});
