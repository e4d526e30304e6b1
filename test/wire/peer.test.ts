// The messages of port 1148 (docs/protocol.md §4, §5): golden bytes both ways, any value there and back, and
// streams cut anywhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BATCH_BYTES_MAX, MESSAGE_BYTES_MAX, NEIGHBOURS_PER_MESSAGE_MAX } from "../../src/base/limits.ts";
import { bytesToHex } from "../../src/wire/codec.ts";
import { encodeFrame, FrameReader, type FrameResult } from "../../src/wire/frames.ts";
import {
  decodeHeartbeat,
  encodeHeartbeat,
  HEARTBEAT_BYTES,
  type HeartbeatMessage,
} from "../../src/wire/heartbeat.ts";
import {
  commonVersion,
  type MessageKind,
  messageTables,
  type PeerMessage,
  PROTOCOL_VERSION,
  PROTOCOL_VERSION_LOWEST,
  TYPE_GROUPS,
} from "../../src/wire/peer.ts";
import { assertGolden, golden } from "../golden/golden.ts";
import { auditExamples } from "./auditSamples.ts";
import { configurationExamples } from "./configurationSamples.ts";
import { drillExamples, nodeExamples } from "./nodeSamples.ts";

const position = { term: 7, sequence: 0x0102030405 };
const digest = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/** One of each: the examples of docs/protocol.md §5. The compiler refuses a kind that was forgotten. */
const examples: { readonly [K in MessageKind]: Extract<PeerMessage, { kind: K }> } = {
  hello: {
    kind: "hello",
    versionLowest: 1,
    versionHighest: 2,
    node: "b",
    bootId: "b1".repeat(16),
    pair: "office",
    software: "understudy 0.1.0",
    configurationDigest: digest,
    role: "standby",
    term: 7,
  },
  refuse: { kind: "refuse", code: "wrong-key", text: "SHA256:abc is not listed" },
  ping: { kind: "ping", nonce: 0x01020304 },
  pong: { kind: "pong", nonce: 0x01020304 },
  roleChanged: { kind: "roleChanged", role: "active", term: 8 },
  subscribe: { kind: "subscribe", term: 7, generation: 2, own: true },
  snapshotBegin: { kind: "snapshotBegin", position, generation: 2 },
  snapshotEnd: { kind: "snapshotEnd", position, generation: 2, count: 200_000 },
  sessions: {
    kind: "sessions",
    origin: "snapshot",
    first: position,
    count: 2,
    records: Uint8Array.of(0xde, 0xad, 0xbe, 0xef),
  },
  acknowledge: { kind: "acknowledge", position },
  neighbours: {
    kind: "neighbours",
    part: "begin",
    neighbours: [
      {
        service: 0,
        removed: false,
        address: Uint8Array.of(10, 20, 0, 9),
        mac: Uint8Array.of(2, 0, 0, 0, 0, 9),
      },
      {
        service: 1,
        removed: true,
        address: Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, ...new Uint8Array(11), 1),
        mac: new Uint8Array(6),
      },
    ],
  },
  mergeRequest: { kind: "mergeRequest", term: 7, generation: 2 },
  mergeEnd: { kind: "mergeEnd", term: 7, generation: 2, count: 200_000 },
  mergeAcknowledge: { kind: "mergeAcknowledge", generation: 2, sequence: 0x0102030405 },
  roundBegin: {
    kind: "roundBegin",
    position,
    generation: 2,
    seed: 0x5eed0001,
    // Buckets 0, 9 and 4095.
    buckets: Uint8Array.from({ length: 512 }, (_, at) =>
      at === 0 ? 1 : at === 1 ? 2 : at === 511 ? 128 : 0,
    ),
  },
  roundEnd: { kind: "roundEnd", position, generation: 2, count: 200_000 },
  roundDue: { kind: "roundDue", generation: 2 },
  roundSwept: { kind: "roundSwept", position, generation: 2 },
  ...configurationExamples,
  ...nodeExamples,
  ...drillExamples,
  ...auditExamples,
};
const all: readonly PeerMessage[] = Object.values(examples);
const frameOf = (message: PeerMessage): Uint8Array => encodeFrame(message, PROTOCOL_VERSION);

const heartbeatExample: HeartbeatMessage = {
  node: "a",
  role: "active",
  gate: "open",
  ready: true,
  handover: false,
  leaving: false,
  candidate: false,
  dressed: true,
  term: 8,
  sequence: 1000,
  echo: 999,
  leaseMs: 40,
  position,
  sessions: 200_000,
  configurationDigest: digest.slice(0, 16),
  priority: 100,
  carrier: 0b111,
  witnessed: 0b011,
  alarms: 2,
  critical: true,
};

/** All that a stream of chunks gives, until it wants more or is malformed. */
function readAll(chunks: readonly Uint8Array[]): FrameResult[] {
  const reader = new FrameReader(PROTOCOL_VERSION);
  const results: FrameResult[] = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    for (;;) {
      const result = reader.next();
      if (result.kind === "need-more") break;
      results.push(result);
      if (result.kind === "malformed") return results;
    }
  }
  return results;
}
const messagesOf = (results: readonly FrameResult[]): PeerMessage[] =>
  results.map((result) => {
    assert.equal(result.kind, "message", JSON.stringify(result));
    return (result as Extract<FrameResult, { kind: "message" }>).message;
  });
const malformedOf = (raw: Uint8Array): string => {
  const last = readAll([raw]).at(-1) ?? { kind: "need-more" };
  return last.kind === "malformed" ? last.reason : last.kind;
};

for (const message of all) {
  test(`golden: ${message.kind}, both ways`, () => {
    assertGolden(`message-${message.kind}`, frameOf(message));
    assert.deepEqual(messagesOf(readAll([golden(`message-${message.kind}`)])), [message]);
  });
}

test("golden: heartbeat, both ways", () => {
  assertGolden("heartbeat", encodeHeartbeat(heartbeatExample));
  assert.deepEqual(decodeHeartbeat(golden("heartbeat")), { ok: true, value: heartbeatExample });
  assert.equal(golden("heartbeat").length, HEARTBEAT_BYTES);
});

test("the numbers of messages are those of docs/protocol.md §5; none is another group's", () => {
  assert.deepEqual(Object.fromEntries([...messageTables].map(([kind, { type }]) => [kind, type])), {
    hello: 1,
    refuse: 2,
    ping: 3,
    pong: 4,
    roleChanged: 5,
    subscribe: 16,
    snapshotBegin: 17,
    snapshotEnd: 18,
    sessions: 19,
    acknowledge: 20,
    neighbours: 21,
    mergeRequest: 22,
    mergeEnd: 23,
    mergeAcknowledge: 24,
    roundBegin: 25,
    roundEnd: 26,
    roundDue: 27,
    roundSwept: 28,
    configurationState: 32,
    configurationPropose: 33,
    configurationVerdict: 34,
    configurationCommit: 35,
    configurationDone: 36,
    configurationFetch: 37,
    configurationVersion: 38,
    slots: 40,
    links: 41,
    nodeFacts: 42,
    stateAcknowledge: 43,
    drillReturn: 44,
    drillAnswer: 45,
    drillReport: 46,
    auditBegin: 64,
    auditFolded: 65,
    auditEnd: 66,
    auditDigests: 67,
    auditAsk: 68,
    auditKeys: 69,
    auditVoid: 70,
    auditResult: 71,
  });
  const known = new Set([...messageTables.values()].map(({ type }) => type));
  for (let type = 0; type < 256; type++) {
    if (!known.has(type))
      assert.equal(malformedOf(Uint8Array.of(0, 0, 0, 1, type)), `unknown message type ${type}`);
  }
  const groups = Object.values(TYPE_GROUPS);
  groups.forEach(({ first, last }, index) => {
    assert.ok(first <= last && first > (groups[index - 1]?.last ?? 0), "groups do not overlap");
  });
});

test("the version that is spoken is the highest of both, and there may be none", () => {
  assert.equal(commonVersion(1, 1), 1);
  assert.equal(commonVersion(1, 2), 2);
  assert.equal(commonVersion(2, 2), 2);
  assert.equal(commonVersion(2, 9), 2);
  assert.equal(commonVersion(3, 9), null);
  assert.equal(commonVersion(0, 0), null);
  // A peer that contradicts itself.
  assert.equal(commonVersion(2, 1), null);
  fc.assert(
    fc.property(fc.nat({ max: 255 }), fc.nat({ max: 255 }), (lowest, highest) => {
      const both = [1, 2].filter((version) => version >= lowest && version <= highest);
      assert.equal(commonVersion(lowest, highest), both.at(-1) ?? null);
    }),
  );
});

test("what the version that is spoken does not have is not sent, and ends the stream where it is received", () => {
  for (const message of all) {
    const since = messageTables.get(message.kind)!.since;
    for (let version = PROTOCOL_VERSION_LOWEST; version <= PROTOCOL_VERSION; version++) {
      const reader = new FrameReader(version);
      reader.push(frameOf(message));
      if (version >= since) {
        assert.deepEqual(encodeFrame(message, version), frameOf(message));
        assert.deepEqual(reader.next(), { kind: "message", message });
      } else {
        assert.throws(() => encodeFrame(message, version), /is not sent to a peer that speaks version/);
        const reason = `${message.kind} is of version ${since}, and version ${version} is spoken`;
        assert.deepEqual(reader.next(), { kind: "malformed", reason });
        reader.speak(PROTOCOL_VERSION);
        assert.equal(reader.next().kind, "malformed");
      }
    }
  }
  // Before the hello was read nothing but the lowest version is understood.
  const version1 = [...messageTables.values()].filter(({ since }) => since === 1).map(({ kind }) => kind);
  assert.ok(version1.includes("hello") && version1.includes("refuse"));
});

/** Objects like those that a decoder makes. */
const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(fields, { noNullPrototype: true }) as fc.Arbitrary<T>;
const u48 = fc.maxSafeNat().map((value) => value % 2 ** 48);
const anyPosition = record({ term: u48, sequence: u48 });
const anyHeartbeat: fc.Arbitrary<HeartbeatMessage> = record({
  node: fc.constantFrom("a", "b"),
  role: fc.constantFrom("idle", "standby", "active"),
  gate: fc.constantFrom("shut", "open", "drain"),
  ready: fc.boolean(),
  handover: fc.boolean(),
  leaving: fc.boolean(),
  candidate: fc.boolean(),
  dressed: fc.boolean(),
  term: u48,
  sequence: u48,
  echo: u48,
  leaseMs: fc.nat({ max: 2 ** 31 - 1 }),
  position: anyPosition,
  sessions: fc.nat({ max: 2 ** 31 - 1 }),
  configurationDigest: fc.uint8Array({ minLength: 8, maxLength: 8 }).map(bytesToHex),
  priority: fc.nat({ max: 65535 }),
  carrier: fc.nat({ max: 2 ** 31 - 1 }),
  witnessed: fc.nat({ max: 2 ** 31 - 1 }),
  alarms: fc.nat({ max: 255 }),
  critical: fc.boolean(),
});

test("any heartbeat comes back; every truncation and every extra byte is refused", () => {
  fc.assert(
    fc.property(anyHeartbeat, (message) => {
      const raw = encodeHeartbeat(message);
      assert.deepEqual(decodeHeartbeat(raw), { ok: true, value: message });
      for (let length = 0; length < raw.length; length++)
        assert.equal(decodeHeartbeat(raw.slice(0, length)).ok, false);
      assert.equal(decodeHeartbeat(Uint8Array.of(...raw, 0)).ok, false);
    }),
    { numRuns: 50 },
  );
});

const anyMessage: fc.Arbitrary<PeerMessage> = fc.oneof(
  fc.constantFrom(...all),
  record({
    kind: fc.constant("sessions" as const),
    origin: fc.constantFrom("change" as const, "snapshot" as const, "merge" as const),
    first: anyPosition,
    count: fc.nat({ max: 65535 }),
    records: fc.uint8Array({ maxLength: 3000, size: "max" }),
  }),
  record({
    kind: fc.constant("acknowledge" as const),
    position: anyPosition,
  }),
);

test("a stream gives the same messages however it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(anyMessage, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 5000 })),
      (sent, cuts) => {
        const stream = Uint8Array.from(sent.flatMap((message) => [...frameOf(message)]));
        const chunks: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) {
          chunks.push(stream.subarray(at, at + cut));
          at += cut;
        }
        chunks.push(stream.subarray(Math.min(at, stream.length)));
        assert.deepEqual(messagesOf(readAll(chunks)), sent);
      },
    ),
    { numRuns: 100 },
  );
});

test("one byte at a time", () => {
  const stream = Uint8Array.from(all.flatMap((message) => [...frameOf(message)]));
  assert.deepEqual(messagesOf(readAll([...stream].map((byte) => Uint8Array.of(byte)))), all);
});

test("the largest messages that are allowed pass, also one after another", () => {
  const largest: PeerMessage[] = [
    {
      kind: "sessions",
      origin: "change",
      first: position,
      count: 1,
      records: new Uint8Array(BATCH_BYTES_MAX).fill(7),
    },
    {
      kind: "neighbours",
      part: "more",
      neighbours: Array.from({ length: NEIGHBOURS_PER_MESSAGE_MAX }, () => ({
        service: 250,
        removed: false,
        address: new Uint8Array(16).fill(6),
        mac: new Uint8Array(6).fill(2),
      })),
    },
  ];
  const frames = [...largest, ...largest].map(frameOf);
  for (const frame of frames) assert.ok(frame.length <= MESSAGE_BYTES_MAX);
  assert.deepEqual(messagesOf(readAll(frames)), [...largest, ...largest]);
});

test("every truncation wants more; every body that is too short or too long for its length is malformed", () => {
  for (const message of all) {
    const frame = frameOf(message);
    for (let length = 0; length < frame.length; length++) {
      assert.deepEqual(readAll([frame.subarray(0, length)]), [], `${message.kind} cut to ${length}`);
    }
    for (const change of [-1, 1]) {
      const view = new DataView(frame.slice().buffer);
      view.setUint32(0, frame.length - 4 + change);
      const body = new Uint8Array(view.buffer);
      const raw = change < 0 ? body.subarray(0, -1) : Uint8Array.of(...body, 0);
      assert.equal(readAll([raw]).at(-1)?.kind, "malformed", `${message.kind} ${change}`);
    }
  }
});

test("a length that no message of the type has is refused before the body is waited for", () => {
  assert.equal(
    malformedOf(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 19)),
    "sessions: 4294967294 bytes, 19 to 65555 expected",
  );
  assert.equal(malformedOf(Uint8Array.of(0, 0, 0, 0, 3)), "ping: -1 bytes, 4 expected");
  assert.equal(malformedOf(Uint8Array.of(0, 0, 0, 6, 3)), "ping: 5 bytes, 4 expected");
  assert.equal(malformedOf(Uint8Array.of(0, 0, 0, 1, 0)), "unknown message type 0");
});

test("malformed is final: what comes after it is not read", () => {
  const reader = new FrameReader(PROTOCOL_VERSION);
  reader.push(Uint8Array.of(0, 0, 0, 9, 16, 0, 0, 0, 0, 0, 7, 4, 0));
  const first = reader.next();
  assert.deepEqual(first, { kind: "malformed", reason: "subscribe: generation: generation 4 (at byte 6)" });
  reader.push(frameOf(examples.ping));
  assert.equal(reader.next(), first);
  assert.equal(reader.buffered, 0);
});

test("messages own their bytes: neither a reused chunk nor the next message shows through", () => {
  const reader = new FrameReader(PROTOCOL_VERSION);
  const chunk = Buffer.from(frameOf(examples.sessions));
  reader.push(chunk);
  chunk.fill(0xee);
  const [message] = messagesOf([reader.next()]);
  reader.push(new Uint8Array(100_000).fill(0xcc));
  assert.deepEqual(message, examples.sessions);
});

test("any bytes are read without a throw, in bounded room", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), fc.boolean(), (chunks, fitting) => {
      // Half of them begin as a frame does, so that bodies are reached.
      const opened = fitting ? [frameOf(examples.hello).subarray(0, 5), ...chunks] : chunks;
      const reader = new FrameReader(PROTOCOL_VERSION);
      for (const chunk of opened) {
        reader.push(chunk);
        for (let result = reader.next(); result.kind === "message"; result = reader.next());
        assert.ok(reader.buffered <= MESSAGE_BYTES_MAX + 5);
      }
    }),
    { numRuns: 500 },
  );
});
