// The first eight bytes: ours is recognised, everybody else by the first byte that differs (docs/protocol.md §1).

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  describeStranger,
  PREAMBLE_BYTES,
  PreambleKind,
  preamble,
  readPreamble,
} from "../../src/wire/preamble.ts";
import { assertGolden } from "../golden/golden.ts";

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

test("golden: the preambles of a stream and of a datagram", () => {
  assertGolden("preamble-stream", preamble(PreambleKind.Stream));
  assertGolden("preamble-datagram", preamble(PreambleKind.Datagram));
});

test("every beginning of the right one wants more, the whole is ok, and what follows is not looked at", () => {
  const ours = preamble(PreambleKind.Stream);
  for (let length = 0; length < PREAMBLE_BYTES; length++) {
    assert.deepEqual(readPreamble(ours.subarray(0, length), PreambleKind.Stream), { kind: "need-more" });
  }
  assert.deepEqual(readPreamble(ours, PreambleKind.Stream), { kind: "ok" });
  assert.deepEqual(readPreamble(Uint8Array.of(...ours, 0x16, 3, 1), PreambleKind.Stream), { kind: "ok" });
});

test("one wrong byte is a refusal as soon as it is there, with the reason of its place", () => {
  const reasons = ["magic", "magic", "magic", "magic", "magic", "version", "kind", "reserved"];
  for (const [offset, reason] of reasons.entries()) {
    const wrong = preamble(PreambleKind.Stream).subarray(0, offset + 1);
    wrong[offset] = (wrong[offset] ?? 0) ^ 0x55;
    assert.deepEqual(readPreamble(wrong, PreambleKind.Stream), { kind: "refused", reason });
  }
});

test("a datagram's preamble does not open a stream, nor the other way round", () => {
  const refused = { kind: "refused", reason: "kind" };
  assert.deepEqual(readPreamble(preamble(PreambleKind.Datagram), PreambleKind.Stream), refused);
  assert.deepEqual(readPreamble(preamble(PreambleKind.Stream), PreambleKind.Datagram), refused);
});

test("a stranger is told apart for the alarm by what it seems to speak", () => {
  assert.equal(describeStranger(Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc)), "TLS (1603010200010001)");
  assert.equal(describeStranger(ascii("GET / HTTP/1.1\r\n")), "HTTP (474554202f204854)");
  assert.equal(describeStranger(ascii("SSH-2.0-OpenSSH")), "SSH (5353482d322e302d)");
  assert.equal(describeStranger(ascii("hello")), "text (68656c6c6f)");
  assert.equal(describeStranger(Uint8Array.of(0, 1, 2)), "unknown bytes (000102)");
  assert.equal(describeStranger(new Uint8Array(0)), "nothing at all");
});
