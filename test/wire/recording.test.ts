// Recorded files: an example by its bytes, any recording back as it was, cut off anywhere, and any bytes at all.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesToHex } from "../../src/wire/codec.ts";
import { encodeFrame } from "../../src/wire/frames.ts";
import { type PeerMessage, PROTOCOL_VERSION } from "../../src/wire/peer.ts";
import {
  encodeRecordingEntry,
  encodeRecordingHead,
  isRecording,
  type RecordingEntry,
  readRecording,
} from "../../src/wire/recording.ts";
import { assertGolden } from "../golden/golden.ts";

const ping: PeerMessage = { kind: "ping", nonce: 7 };
const pong: PeerMessage = { kind: "pong", nonce: 7 };
const STARTED = 1_764_000_000_000;

interface Said {
  readonly what: RecordingEntry["what"];
  readonly after: number;
  readonly message: PeerMessage | null;
}

function fileOf(said: readonly Said[], version = PROTOCOL_VERSION): Uint8Array {
  const parts = said.map(({ what, after, message }) => [
    ...encodeRecordingEntry({ what, version, after }),
    ...(message === null ? [] : encodeFrame(message, version)),
  ]);
  return Uint8Array.from([...encodeRecordingHead("a", STARTED), ...parts.flat()]);
}

const example: readonly Said[] = [
  { what: "connected", after: 0, message: null },
  { what: "sent", after: 1500, message: ping },
  { what: "received", after: 1_000_000, message: pong },
  { what: "disconnected", after: 60_000_000, message: null },
];

test("golden: a recording", () => {
  assertGolden("recording", fileOf(example));
});

test("what was recorded is read, with its time and its direction", () => {
  assert.deepEqual(readRecording(fileOf(example)), {
    ok: true,
    node: "a",
    messages: example.map(({ what, after, message }) => ({
      at: STARTED * 1000 + after,
      what,
      version: PROTOCOL_VERSION,
      message,
    })),
    incomplete: null,
  });
});

test("cut off anywhere: everything before, and where it ends", () => {
  const raw = fileOf(example);
  const starts = example.map((_, index) => fileOf(example.slice(0, index)).length);
  for (let length = starts[0]!; length < raw.length; length += 1) {
    const result = readRecording(raw.subarray(0, length));
    assert.ok(result.ok);
    const whole = starts.filter((start) => start <= length).length - 1;
    assert.equal(result.messages.length, whole);
    if (starts.includes(length)) assert.equal(result.incomplete, null);
    else
      assert.match(
        result.incomplete ?? "",
        /^at byte \d+: (truncated|what: truncated|version: truncated|after: truncated|the file ends)/,
      );
  }
  for (let length = 0; length < starts[0]!; length += 1)
    assert.equal(readRecording(raw.subarray(0, length)).ok, false);
});

test("what this program does not know ends it, and is told", () => {
  const newer = fileOf(example);
  const at = fileOf(example.slice(0, 1)).length;
  newer[at + 1] = 9;
  const result = readRecording(newer);
  assert.ok(result.ok);
  assert.equal(
    result.incomplete,
    `at byte ${at + 8}: protocol version 9, and this program knows ${PROTOCOL_VERSION}`,
  );
  // A message of version 2 in a recording that says version 1.
  const wrong = Uint8Array.from([
    ...encodeRecordingHead("a", STARTED),
    ...encodeRecordingEntry({ what: "sent", version: 1, after: 0 }),
    ...encodeFrame({ kind: "stateAcknowledge", number: 1 }, 2),
  ]);
  const second = readRecording(wrong);
  assert.ok(second.ok);
  assert.match(second.incomplete ?? "", /stateAcknowledge is of version 2, and version 1 is spoken/);
});

test("nothing else is taken for a recording", () => {
  assert.equal(isRecording(Uint8Array.of(0x55, 0x53, 0x54, 0x44, 0x59, 1, 1, 0)), false);
  assert.deepEqual(readRecording(new TextEncoder().encode("USTDY")), {
    ok: false,
    reason: "no recording begins like this",
  });
});

test("any bytes: a result, never an exception", () => {
  const raw = fileOf(example);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 5 }),
      fc.nat({ max: 30 }),
      (changes, cut) => {
        const changed = raw.slice(0, raw.length - cut);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        assert.equal(typeof readRecording(changed).ok, "boolean", bytesToHex(changed));
      },
    ),
    { numRuns: 1000 },
  );
});
