// Messages and records in words: every example of docs/protocol.md as `understudy decode` prints it. The compiler refuses a
// message without words; this shows that they say something.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { READINESS_WHOLE, withReadiness } from "../../src/base/readiness.ts";
import { decodedPlain, decodedText, namedRecords } from "../../src/cli/decodeMessages.ts";
import { heartbeatText, messageText } from "../../src/views/messages.ts";
import { recordPlain, recordText } from "../../src/views/records.ts";
import { plainStyle } from "../../src/views/text.ts";
import { FrameReader } from "../../src/wire/frames.ts";
import { decodeHeartbeat } from "../../src/wire/heartbeat.ts";
import { messageTables, type PeerMessage, PROTOCOL_VERSION } from "../../src/wire/peer.ts";
import { encodeRecord } from "../../src/wire/sessionRecord.ts";
import { golden } from "../golden/golden.ts";
import { anyRecord } from "../wire/sessionSamples.ts";

function message(kind: string): PeerMessage {
  const reader = new FrameReader(PROTOCOL_VERSION);
  reader.push(golden(`message-${kind}`));
  const result = reader.next();
  assert.ok(result.kind === "message", JSON.stringify(result));
  return result.message;
}
const words = (kind: string): readonly string[] => messageText(message(kind), []);

test("the connection's own", () => {
  assert.deepEqual(words("hello"), [
    "hello from b of pair office: understudy 0.1.0, protocol 1 to 2, standby in term 7, configuration 00010203, boot b1b1b1b1",
  ]);
  assert.deepEqual(words("refuse"), ["refuse: wrong-key: SHA256:abc is not listed"]);
  assert.deepEqual([...words("ping"), ...words("pong")], ["ping 16909060", "pong 16909060"]);
  assert.deepEqual(words("roleChanged"), ["active in term 8 from now on"]);
});

test("the log's", () => {
  assert.deepEqual(words("subscribe"), ["subscribe to term 7 as number 2, with sessions of its own to give"]);
  assert.deepEqual(words("snapshotBegin"), ["snapshot for subscription 2 begins after 7/4328719365"]);
  assert.deepEqual(words("snapshotEnd"), [
    "snapshot for subscription 2 ends at 7/4328719365 with 200,000 records",
  ]);
  assert.deepEqual(words("acknowledge"), ["in the kernel up to 7/4328719365"]);
  assert.deepEqual(words("neighbours"), [
    "all neighbours: 2",
    "lan 10.20.0.9 is at 02:00:00:00:00:09",
    "link 1 2001:db8::1 is gone",
  ]);
  assert.deepEqual(words("mergeEnd"), ["merge: that was all, 200,000 records for term 7, subscription 2"]);
});

test("the node's", () => {
  assert.deepEqual(words("slots"), [
    "state 2: slots of term 7, seed 16909060: none: 1024, link 1: 2048, link 2: 1024",
  ]);
  assert.deepEqual(words("links"), [
    "state 3: links of term 7: 3",
    "link 1 up since 2025-11-24T16:00:00.000Z",
    "link 2 down (carrier) since 2025-11-24T16:01:00.000Z",
    "link 3 disabled (configuration) since 2025-11-24T16:00:00.000Z",
  ]);
  assert.deepEqual(words("nodeFacts"), [
    "state 1: understudy 0.1.0 on Linux 6.18.0 x86_64, 4 processors, 8192 MiB, at most 262144 sessions in 65536 buckets, nft 1.0.6, " +
      "booted 2025-11-24T13:13:20.000Z, clock 2025-11-24T16:00:00.000Z",
  ]);
});

test("the configuration's: versions by number and the beginning of their id, reasons line by line", () => {
  assert.match(
    words("configurationState")[0]!,
    /^configuration: version 1 \([0-9a-f]{8}, import on a\) in force, running 00010203, [0-9a-f]{8} is pending$/,
  );
  assert.match(
    words("configurationPropose")[0]!,
    /^configuration: exchange 7: from [0-9a-f]{8} to version 2 \([0-9a-f]{8}, apply on a by eve\): a third link, 24 bytes$/,
  );
  assert.deepEqual(words("configurationVerdict"), [
    "configuration: exchange 7: accepted: no",
    "pair.yaml:31:5: links[2].interface: expected an interface of this machine",
  ]);
  const state = message("configurationState");
  assert.ok(state.kind === "configurationState");
  const yours = (about: string, covers: boolean): string =>
    messageText({ ...state, pending: "0".repeat(64), about, covers }, [])[0].replace(/^.*; yours: /, "");
  assert.equal(yours(state.head.id, true), "the same");
  assert.equal(yours("ab".repeat(32), true), "abababab in my past");
  assert.equal(yours("ab".repeat(32), false), "abababab, which I do not know");
  assert.deepEqual(words("configurationDone"), ["configuration: exchange 7: in effect: yes"]);
});

test("every message has words and a value for JSON, and none of them can move a cursor", () => {
  for (const kind of messageTables.keys()) {
    const decoded = {
      at: 1_764_000_000_123_456,
      direction: { from: "a", to: "b" },
      kind: "message",
      message: message(kind),
    } as const;
    const text = decodedText(decoded, plainStyle);
    assert.match(text, /^2025-11-24 16:00:00\.123456 a > b {2}\S.*\n/);
    assert.match(text, /^[\x20-\x7e\n]*$/);
    const plain = JSON.parse(JSON.stringify(decodedPlain(decoded))) as { kind: string; at: string };
    assert.deepEqual([plain.kind, plain.at], [kind, "2025-11-24T16:00:00.123456Z"]);
  }
});

test("a heartbeat", () => {
  const read = decodeHeartbeat(golden("heartbeat"));
  assert.ok(read.ok);
  assert.equal(
    heartbeatText(read.value),
    "heartbeat 1000 (heard 999): active in term 8, gate open, ready, 7/4328719365, 200,000 sessions, lease 40 ms, carrier 111, " +
      "witnessed 11, 2 alarms, priority 100, configuration 00010203, critical",
  );
  const carrier = withReadiness(0b101, READINESS_WHOLE - 1);
  assert.match(
    heartbeatText({ ...read.value, carrier }),
    /, 99\.\d+ % proven, lease 40 ms, carrier 101, witnessed 11,/,
  );
});

for (const [name, text] of [
  [
    "session-tcp",
    "create tcp 10.0.0.1:40000 > 198.51.100.7:443 as 192.0.2.1:40000 link 3 class 1 application 1287 ESTABLISHED 432000 s",
  ],
  [
    "session-tcp-port",
    "create tcp 10.0.0.1:40000 > 198.51.100.7:443 as 192.0.2.1:1024 link 3 class 1 application 1287 ESTABLISHED 432000 s",
  ],
  [
    "session-tcp-untranslated",
    "create tcp 10.0.0.1:40000 > 198.51.100.7:443 link 3 class 1 application 1287 ESTABLISHED 432000 s",
  ],
  ["session-delete", "delete tcp 10.0.0.1:40000 > 198.51.100.7:443"],
  [
    "session-icmpv6-zone",
    "update icmpv6 2001:db8::1 > 2001:db8::2 id 17185 type 128 link 1 zone 9 (both) REPLIED 30 s",
  ],
  [
    "session-udp-parts",
    "create udp 10.0.0.1:40000 > 198.51.100.7:443 link 3 class 1 application 1287 ASSURED 30 s, helper sip, labels 01010101010101010101010101010101",
  ],
] as const) {
  test(`${name} in words`, () => {
    const { records, fault } = namedRecords(golden(name));
    assert.deepEqual([records.map(recordText), fault], [[text], null]);
  });
}

for (const [name, text] of [
  [
    "expectation-ftp",
    "expect tcp 198.51.100.7:0 > 192.0.2.1:51210 for ftp of tcp 10.0.0.1:40000 > 198.51.100.7:21, translated as the reply of it to 0.0.0.0:51210, 300 s",
  ],
  ["expectation-delete", "expect no more tcp 198.51.100.7:0 > 192.0.2.1:51210"],
] as const) {
  test(`${name} in words`, () => {
    const { records, fault } = namedRecords(golden(name));
    assert.deepEqual([records.map(recordText), fault], [[text], null]);
  });
}

test("a destination that was translated says who answers", () => {
  const raw = encodeRecord({
    family: 4,
    protocol: 17,
    original: {
      source: Uint8Array.of(10, 0, 0, 1),
      destination: Uint8Array.of(192, 0, 2, 1),
      a: 5000,
      b: 53,
    },
    operation: "create",
    state: {
      reply: {
        source: Uint8Array.of(10, 0, 0, 53),
        destination: Uint8Array.of(10, 0, 0, 1),
        a: 5353,
        b: 5000,
      },
      mark: 2,
      timeoutSeconds: 30,
      status: 0,
      protocolState: 0,
    },
  });
  assert.deepEqual(namedRecords(raw).records.map(recordText), [
    "create udp 10.0.0.1:5000 > 192.0.2.1:53 by 10.0.0.53:5353 link 2 UNREPLIED 30 s",
  ]);
});

test("any record: one line, and a value for JSON with the addresses as text", () => {
  fc.assert(
    fc.property(anyRecord, (record) => {
      const { records, fault } = namedRecords(encodeRecord(record));
      assert.deepEqual([records.length, fault], [1, null]);
      assert.match(recordText(records[0]!), /^(create|update|delete) \S+ [\x20-\x7e]+$/);
      const plain = JSON.parse(JSON.stringify(recordPlain(records[0]!))) as { original: { source: string } };
      assert.match(plain.original.source, record.family === 4 ? /^\d+\.\d+\.\d+\.\d+$/ : /:/);
    }),
    { numRuns: 500 },
  );
});

test("records that cannot be read: those before them, and where it begins", () => {
  const good = golden("session-delete");
  const { records, fault } = namedRecords(Uint8Array.from([...good, 0xff, 0, 0]));
  assert.equal(records.length, 1);
  assert.match(fault ?? "", new RegExp(`^record 2 at byte ${good.length}: `));
});
