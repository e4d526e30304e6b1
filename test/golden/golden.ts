// Golden vectors: bytes that were once judged right and must never change without being judged again. One file
// each, hexadecimal, broken into lines at will, `#` to the end of a line a comment. To write what a changed codec
// gives now, run the tests once with GOLDEN=write, and judge the difference before it is committed.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bytesToHex, hexToBytes } from "../../src/wire/codec.ts";

const fileOf = (name: string): string => fileURLToPath(new URL(`${name}.hex`, import.meta.url));

/** The bytes of `test/golden/NAME.hex`. */
export function golden(name: string): Uint8Array {
  return hexToBytes(readFileSync(fileOf(name), "utf8").replace(/#.*|\s/g, ""));
}

/** Asserts that `actual` is what `test/golden/NAME.hex` holds. */
export function assertGolden(name: string, actual: Uint8Array): void {
  if (process.env.GOLDEN === "write") write(name, actual);
  assert.equal(bytesToHex(actual), bytesToHex(golden(name)), `test/golden/${name}.hex`);
}

/** Keeps the comment at the head of the file. */
function write(name: string, actual: Uint8Array): void {
  const before = existsSync(fileOf(name)) ? readFileSync(fileOf(name), "utf8") : `# ${name}\n`;
  const head = before.split("\n").filter((line) => line.startsWith("#"));
  const lines = bytesToHex(actual).match(/.{1,32}/g) ?? [];
  writeFileSync(
    fileOf(name),
    `${[...head, ...lines.map((line) => line.replace(/(..)(?=.)/g, "$1 "))].join("\n")}\n`,
  );
}
