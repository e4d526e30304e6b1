// ctnetlink, read and written, without a kernel: what is written reads back, arbitrary bytes do no harm, and the
// names of states. The real kernel has its say in test/kernel/session*.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_PROTO_ICMP_ID,
  CTA_PROTO_NUM,
  CTA_PROTOINFO,
  CTA_PROTOINFO_TCP,
  CTA_PROTOINFO_TCP_FLAGS_ORIGINAL,
  CTA_PROTOINFO_TCP_FLAGS_REPLY,
  CTA_TUPLE_IP,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_PROTO,
  CTA_TUPLE_REPLY,
  readConntrack,
  stateName,
} from "../../src/wire/conntrack.ts";
import { CONNTRACK_REQUEST_BYTES_MAX, ConntrackRequests } from "../../src/wire/conntrackWrite.ts";
import { MessageWriter, readAttributes, readBe32, readMessages } from "../../src/wire/netlink.ts";
import { readRecord, SessionOperation } from "../../src/wire/session.ts";
import { IPS_ASSURED, IPS_SEEN_REPLY, SessionFields } from "../../src/wire/sessionFields.ts";
import { encodeRecord, recordOf, type SessionRecord } from "../../src/wire/sessionRecord.ts";
import { anyRecord, sample } from "./sessionSamples.ts";
import { turned } from "./sessionSlow.ts";

const CTNETLINK_NEW = 1 << 8;

function fieldsOf(record: SessionRecord): SessionFields {
  const fields = new SessionFields();
  assert.ok(readRecord(encodeRecord(record), 0, fields) > 0);
  return fields;
}

/** What a standby gives an entry: six hours at least of an active that refreshes nothing, else fifteen minutes more. */
function standbySeconds(protocol: number, left: number, status: number, refreshed: boolean): number {
  // GRE's times are fixed ones.
  if (protocol === 47) return Math.max(left, 21_600);
  if ((status & 0x400) !== 0) return Math.max(left, 1);
  return refreshed ? Math.min(left + 900, 2_147_483) : Math.max(left, 21_600);
}

test("a create says all that the record says, over the untranslated reply tuple", () => {
  fc.assert(
    fc.property(anyRecord, fc.integer({ min: 0, max: 3 }), fc.boolean(), (record, generation, refreshed) => {
      if (record.operation === "delete") return;
      const requests = new ConntrackRequests(1);
      requests.refreshed = refreshed;
      requests.create(fieldsOf(record), 77, generation);
      assert.ok(requests.length <= CONNTRACK_REQUEST_BYTES_MAX);
      const messages = readMessages(requests.bytes.subarray(0, requests.length));
      assert.deepEqual(
        messages?.map((message) => message.sequence),
        [77],
      );
      const read = new SessionFields();
      assert.equal(readConntrack(requests.bytes, 0, requests.length, read), true);
      // The status has CONFIRMED in it, the time is the standby's, and a zero labels or adjustment is none.
      read.operation = record.operation === "create" ? SessionOperation.Create : SessionOperation.Update;
      read.status &= ~0x8;
      const found = recordOf(read);
      if (found.operation === "delete") throw new Error("a create came back as a delete");
      const { labels, adjustOriginal, adjustReply, ...rest } = record.state;
      const { labels: _labels, adjustOriginal: _original, adjustReply: _reply, ...foundRest } = found.state;
      const tcpUntold = record.protocol === 6 && rest.protocolState === 0;
      const sctpUntold = record.protocol === 132 && rest.protocolState === 0;
      assert.deepEqual(
        { ...found, state: foundRest },
        {
          ...record,
          state: {
            ...rest,
            reply: turned(record.family, record.protocol, record.original),
            mark: (rest.mark | (generation << 28)) >>> 0,
            status: rest.status | (record.protocol === 47 ? 0x400 : 0),
            timeoutSeconds: standbySeconds(record.protocol, rest.timeoutSeconds, rest.status, refreshed),
            protocolState: tcpUntold ? 3 : rest.protocolState,
            ...(sctpUntold ? { verificationTags: { original: 0, reply: 0 } } : {}),
          },
        },
      );
    }),
    { numRuns: 1000 },
  );
});

test("TCP windows are not enforced: nobody here knows them", () => {
  const requests = new ConntrackRequests(2);
  requests.create(fieldsOf(sample()), 1, 1);
  requests.update(fieldsOf(sample()), 2, 1);
  for (const { payload } of readMessages(requests.bytes.subarray(0, requests.length)) ?? []) {
    const protoinfo = readAttributes(payload.subarray(4))?.get(CTA_PROTOINFO);
    const tcp = readAttributes(readAttributes(protoinfo!)!.get(CTA_PROTOINFO_TCP)!)!;
    // SACK_PERM and BE_LIBERAL, value and mask, both ways.
    assert.deepEqual(tcp.get(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL), Uint8Array.of(0x0a, 0x0a));
    assert.deepEqual(tcp.get(CTA_PROTOINFO_TCP_FLAGS_REPLY), Uint8Array.of(0x0a, 0x0a));
  }
});

test("any bytes: read or not, but never a throw, and never beyond the end", () => {
  const requests = new ConntrackRequests(1);
  const broken = fc
    .tuple(anyRecord, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }))
    .map(([record, changes]) => {
      requests.reset();
      requests.create(fieldsOf(record.operation === "delete" ? sample() : record), 1, 1);
      const bytes = requests.bytes.slice(0, requests.length);
      for (const [at, value] of changes) bytes[16 + (at % (bytes.length - 16))] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      const fields = new SessionFields();
      if (!readConntrack(bytes, 0, bytes.length, fields)) return;
      const size = fields.addressBytes;
      for (const at of [fields.originalSource, fields.originalDestination, fields.replySource])
        assert.ok(at + size <= bytes.length);
    }),
    { numRuns: 2000 },
  );
});

test("numbers where a protocol has none are no session that a record can carry", () => {
  // ICMP over IPv4 has an identifier; the same numbers over IPv6 would make a record that every peer refuses.
  const entry = (protocol: number): Uint8Array => {
    const message = new MessageWriter(CTNETLINK_NEW).fixed(Uint8Array.of(10, 0, 0, 0));
    for (const side of [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY])
      message.nested(side, (outer) => {
        outer.nested(CTA_TUPLE_IP, (inner) =>
          inner.attribute(CTA_IP_V6_SRC, new Uint8Array(16)).attribute(CTA_IP_V6_DST, new Uint8Array(16)),
        );
        outer.nested(CTA_TUPLE_PROTO, (inner) =>
          inner.u8(CTA_PROTO_NUM, protocol).be16(CTA_PROTO_ICMP_ID, 5),
        );
      });
    return message.finish();
  };
  const read = (bytes: Uint8Array): boolean => readConntrack(bytes, 0, bytes.length, new SessionFields());
  assert.deepEqual([read(entry(1)), read(entry(50))], [false, false]);
});

const SEEN = IPS_SEEN_REPLY;
const BOTH = IPS_SEEN_REPLY | IPS_ASSURED;
/** Protocol, protocol state (0: the event did not tell), status, its name. */
const names: readonly (readonly [number, number, number, string])[] = [
  [6, 1, 0, "SYN_SENT"],
  [6, 2, SEEN, "SYN_RECV"],
  [6, 3, BOTH, "ESTABLISHED"],
  [6, 3, 0, "ESTABLISHED"],
  [6, 4, BOTH, "FIN_WAIT"],
  [6, 5, BOTH, "CLOSE_WAIT"],
  [6, 6, BOTH, "LAST_ACK"],
  [6, 7, BOTH, "TIME_WAIT"],
  [6, 8, BOTH, "CLOSE"],
  [6, 8, 0, "CLOSE"],
  [6, 9, SEEN, "SYN_SENT2"],
  [6, 0, BOTH, "NONE"],
  [6, 0, SEEN, "NONE"],
  [17, 0, 0, "UNREPLIED"],
  [17, 0, SEEN, "REPLIED"],
  [17, 0, BOTH, "ASSURED"],
  [1, 0, 0, "UNREPLIED"],
  [1, 0, SEEN, "REPLIED"],
  [58, 0, SEEN, "REPLIED"],
  [50, 0, SEEN, "REPLIED"],
  [47, 0, BOTH, "ASSURED"],
  [132, 3, SEEN, "COOKIE_ECHOED"],
  [132, 4, BOTH, "ESTABLISHED"],
  [132, 5, BOTH, "SHUTDOWN_SENT"],
];
for (const [protocol, state, status, name] of names)
  test(`its name: protocol ${protocol}, state ${state}, status ${status}: ${name}`, () => {
    const fields = new SessionFields();
    Object.assign(fields, { protocol, protocolState: state, status });
    assert.equal(stateName(fields), name);
  });

test("a new time is all that is asked for, of the entry by its original tuple and zone", () => {
  fc.assert(
    fc.property(anyRecord, fc.integer({ min: 1, max: 2_147_483 }), (record, seconds) => {
      const requests = new ConntrackRequests(1);
      const fields = fieldsOf(record);
      requests.retime(fields, 9, seconds);
      const [message] = readMessages(requests.bytes.subarray(0, requests.length)) ?? [];
      const attributes = readAttributes(message!.payload.subarray(4))!;
      const expected = [...(fields.zoneDirections === 3 ? [18] : []), 1, 7];
      assert.deepEqual([...attributes.keys()], expected);
      assert.equal(readBe32(attributes.get(7)), seconds);
    }),
  );
});
