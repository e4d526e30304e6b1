// Protocol version 1 against today's code: byte for byte the same in both directions, for every message, every session
// record, every heartbeat and the preamble (docs/protocol.md §2.1). A pair is upgraded one node at a time, so what the
// other one speaks meanwhile is not ours to change.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { encodeFrame, FrameReader } from "../../src/wire/frames.ts";
import { decodeHeartbeat, encodeHeartbeat } from "../../src/wire/heartbeat.ts";
import { messageTables } from "../../src/wire/peer.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { validateRecords } from "../../src/wire/session.ts";
import { decodeRecord, encodeRecord } from "../../src/wire/sessionRecord.ts";
import { anyHeartbeat, oneOfEachKind } from "./v1/messageSamples.ts";
import * as v1 from "./v1/peer.ts";
import * as v1Preamble from "./v1/preamble.ts";
import * as v1Session from "./v1/session.ts";
import * as v1Record from "./v1/sessionRecord.ts";
import { anyRecord } from "./v1/sessionSamples.ts";

const VERSION = 1;

type Reading<T> =
  | { readonly ok: true; readonly record: T; readonly end: number }
  | { readonly ok: false; readonly reason: string };

/** All records of `raw`, as `decode` reads them. */
function recordsIn<T>(raw: Uint8Array, decode: (bytes: Uint8Array, offset: number) => Reading<T>): T[] {
  const records: T[] = [];
  for (let at = 0; at < raw.length; ) {
    const reading = decode(raw, at);
    assert.ok(reading.ok, JSON.stringify(reading));
    records.push(reading.record);
    at = reading.end;
  }
  return records;
}

test("what is frozen is frozen", () => {
  const folder = fileURLToPath(new URL("v1/", import.meta.url));
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).sort()) hash.update(name).update(readFileSync(folder + name));
  assert.equal(hash.digest("hex"), "0e4618fd6c249ea989fb69b6189b0ac101bcc1222692936b376ba9e5f24b9a3e");
});

test("the messages of version 1 are those that were frozen, under the same numbers", () => {
  const today = [...messageTables.values()].filter(({ since }) => since === VERSION);
  const frozen = [...v1.messageTables].map(([kind, { type, body }]) => ({
    kind,
    type,
    least: body.minBytes,
    most: body.maxBytes,
  }));
  assert.deepEqual(
    today.map(({ kind, type, body }) => ({ kind, type, least: body.minBytes, most: body.maxBytes })),
    frozen,
  );
});

test("every message: written alike by both, and read alike from the other's bytes", () => {
  fc.assert(
    fc.property(oneOfEachKind, (messages) => {
      const today = new FrameReader(VERSION);
      const frozen = new v1.FrameReader();
      for (const message of messages) {
        const raw = encodeFrame(message, VERSION);
        assert.deepEqual(raw, v1.encodeFrame(message));
        today.push(raw);
        frozen.push(raw);
        assert.deepEqual(today.next(), { kind: "message", message });
        assert.deepEqual(frozen.next(), { kind: "message", message });
      }
    }),
    { numRuns: 200 },
  );
});

test("any bytes at all are taken, or refused, by both alike", () => {
  const frames = oneOfEachKind.chain((messages) =>
    fc.tuple(
      fc.constantFrom(...messages).map((message) => v1.encodeFrame(message)),
      fc.nat({ max: 400 }),
      fc.nat({ max: 255 }),
    ),
  );
  fc.assert(
    fc.property(frames, ([raw, at, value]) => {
      // One byte of it is another: often refused, sometimes another message.
      const changed = raw.slice();
      changed[at % raw.length] = value;
      const today = new FrameReader(VERSION);
      const frozen = new v1.FrameReader();
      today.push(changed);
      frozen.push(changed);
      const [ours, theirs] = [today.next(), frozen.next()];
      // What version 1 knows nothing of is refused by both, in words of their own.
      if (ours.kind === "malformed" && theirs.kind === "malformed") return;
      assert.deepEqual(ours, theirs);
    }),
    { numRuns: 2000 },
  );
});

test("every session record: written alike by both, and read alike from the other's bytes", () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 8 }), (records) => {
      const raw = Uint8Array.from(records.flatMap((record) => [...encodeRecord(record)]));
      assert.deepEqual(raw, Uint8Array.from(records.flatMap((record) => [...v1Record.encodeRecord(record)])));
      assert.deepEqual(v1Session.validateRecords(raw), { ok: true, count: records.length });
      assert.deepEqual(validateRecords(raw), { ok: true, count: records.length });
      assert.deepEqual(recordsIn(raw, v1Record.decodeRecord), records);
      assert.deepEqual(recordsIn(raw, decodeRecord), records);
    }),
    { numRuns: 1000 },
  );
});

test("every heartbeat, and both preambles", () => {
  fc.assert(
    fc.property(anyHeartbeat, (message) => {
      const raw = encodeHeartbeat(message);
      assert.deepEqual(raw, v1.encodeHeartbeat(message));
      assert.deepEqual(decodeHeartbeat(raw), { ok: true, value: message });
      assert.deepEqual(v1.decodeHeartbeat(raw), { ok: true, value: message });
    }),
  );
  for (const kind of Object.values(v1Preamble.PreambleKind))
    assert.deepEqual(preamble(kind), v1Preamble.preamble(kind));
});
