// The audit's hashes: a session's key has the hash of its records, whichever way it was read; and what both kernels must hold
// alike changes the content's, while what may differ does not.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { keyHash, readRecord } from "../../src/wire/session.ts";
import { sessionContentHash, sessionKeyHash } from "../../src/wire/sessionDigest.ts";
import { SessionFields } from "../../src/wire/sessionFields.ts";
import { encodeRecord, type SessionState } from "../../src/wire/sessionRecord.ts";
import { anyRecord, sample, tuple } from "./sessionSamples.ts";

const fieldsOf = (record: Parameters<typeof encodeRecord>[0]): SessionFields => {
  const fields = new SessionFields();
  assert.ok(readRecord(encodeRecord(record), 0, fields) > 0);
  return fields;
};

test("a key's hash is that of any record of the session", () => {
  fc.assert(
    fc.property(anyRecord, fc.nat(), (record, seed) => {
      const [one, other] = [new Uint32Array(2), new Uint32Array(2)];
      keyHash(encodeRecord(record), 0, one, seed);
      sessionKeyHash(fieldsOf(record), other, seed);
      assert.deepEqual(other, one);
    }),
  );
});

const contentOf = (state: Partial<SessionState>, salt = 7): number =>
  sessionContentHash(fieldsOf(sample({ state })), salt);

test("translation, mark, answered, assured, state and helper make another content; so does another salt", () => {
  const { state } = sample() as { state: SessionState };
  const seen = [
    contentOf({}),
    contentOf({ reply: { ...state.reply, b: state.reply.b + 1 } }),
    contentOf({ reply: tuple("198.51.100.7", 443, "192.0.2.2", 40000) }),
    contentOf({ mark: state.mark + 1 }),
    contentOf({ status: 0x2 }),
    contentOf({ status: 0x4 }),
    contentOf({ protocolState: 4 }),
    contentOf({ helper: "ftp" }),
    contentOf({}, 8),
  ];
  assert.equal(new Set(seen).size, seen.length);
});

test("the time left, a fixed time, the mark's flags, master, labels and adjustments make none", () => {
  const { state } = sample() as { state: SessionState };
  const plain = contentOf({});
  for (const changes of [
    { timeoutSeconds: 5 },
    { status: state.status | 0x400 },
    { mark: (state.mark | 0x80000000) >>> 0 },
    { master: { protocol: 6, original: tuple("10.0.0.1", 1, "198.51.100.7", 21) } },
    { labels: new Uint8Array(16).fill(1) },
    { adjustReply: { correctionPosition: 1, offsetBefore: 2, offsetAfter: 3 } },
  ])
    assert.equal(contentOf(changes), plain, JSON.stringify(Object.keys(changes)));
  const generation = fieldsOf(sample());
  generation.mark = (generation.mark | 0x20000000) >>> 0;
  assert.equal(sessionContentHash(generation, 7), plain);
});

test("no content is 0, which stands for what is not compared", () => {
  fc.assert(
    fc.property(anyRecord, fc.nat(), (record, salt) => {
      if (record.operation !== "delete") assert.ok(sessionContentHash(fieldsOf(record), salt) > 0);
    }),
  );
});
