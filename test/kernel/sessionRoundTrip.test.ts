// Any record into the kernel and out of it again: what a dump says of an entry is what the record said. The record's bytes
// against the model: test/wire/session.test.ts; netlink without a kernel: test/wire/conntrack.test.ts.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, beforeEach, describe, test } from "node:test";
import fc from "fast-check";
import { openSessionScan } from "../../src/kernel/sessionDump.ts";
import { openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch, SessionOperation } from "../../src/wire/session.ts";
import { decodeRecord, encodeRecord, type SessionRecord } from "../../src/wire/sessionRecord.ts";
import { anyRecord, sample, tuple } from "../wire/sessionSamples.ts";
import { inNamespace, makeNamespace, type Namespace } from "./namespace.ts";

const FIXED_TIMEOUT = 0x400;

type Create = Exclude<SessionRecord, { operation: "delete" }>;

const GRE = 47;

/**
 * Records that one kernel can hold beside one another: numbered apart, since two may not share a tuple. The kernel
 * translates no call keys but PPTP's (nf_nat_l4proto_unique_tuple), and no port to 0.
 */
const together = fc.array(anyRecord, { minLength: 1, maxLength: 40 }).map((records) =>
  records.flatMap((record, index): Create[] => {
    if (record.operation === "delete") return [];
    // One family's ICMP in the other is tracked by no kernel.
    if (record.protocol === (record.family === 4 ? 58 : 1)) return [];
    // SCTP_CONNTRACK_HEARTBEAT_ACKED is no longer used (Linux 6.1), and refused by the youngest; no policy sends it.
    if (record.protocol === 132 && record.state.protocolState === 9) return [];
    const number = Uint8Array.of(index + 1);
    const apart = (address: Uint8Array): Uint8Array =>
      Uint8Array.from([...address.subarray(0, -1), ...number]);
    const { original, state } = record;
    const { helper: _helper, master: _master, ...rest } = state;
    const ends = { source: apart(original.source), destination: apart(original.destination) };
    const same = (one: Uint8Array, other: Uint8Array): boolean => one.join() === other.join();
    const replySource = same(state.reply.source, original.destination)
      ? ends.destination
      : apart(state.reply.source);
    const replyDestination = same(state.reply.destination, original.source)
      ? ends.source
      : apart(state.reply.destination);
    const [a, b] =
      record.protocol === GRE ? [original.b, original.a] : [state.reply.a || 1, state.reply.b || 1];
    const icmp = record.protocol === 1 || record.protocol === 58;
    const portless = !icmp && ![6, 17, GRE, 132, 136].includes(record.protocol);
    const numbers = portless ? { a: 0, b: 0 } : icmp ? { a: state.reply.a, b: state.reply.b } : { a, b };
    return [
      {
        ...record,
        operation: "create",
        original: { ...original, ...ends },
        state: { ...rest, reply: { source: replySource, destination: replyDestination, ...numbers } },
      },
    ];
  }),
);

describe("any session", inNamespace, () => {
  let space: Namespace;
  let writer: SessionWriter;
  before(() => {
    space = makeNamespace();
    // Labels are kept only where a rule speaks of them.
    space.run(() =>
      execFileSync("nft", ["-f", "-"], {
        input:
          "table inet t {\n chain c {\n type filter hook input priority 0\n ct state new ct label set 127\n }\n}\n",
      }),
    );
    writer = space.run(() => openSessionWriter());
  });
  after(() => {
    writer.close();
    space.close();
  });

  const empty = (): void => {
    space.run(() => execFileSync("conntrack", ["-F"], { stdio: "ignore" }));
  };
  beforeEach(empty);
  const apply = (records: readonly SessionRecord[]) => {
    const bytes = new Uint8Array(Buffer.concat(records.map((record) => encodeRecord(record))));
    return writer.apply(bytes, records.length, 1);
  };
  const dumped = (): Create[] => {
    const batch = new RecordBatch();
    // Whatever its state: a dump would leave out what no policy sends.
    const scan = space.run(() => openSessionScan());
    while (scan.next((fields) => batch.append(SessionOperation.Create, fields)));
    scan.close();
    const found: Create[] = [];
    for (let offset = 0; offset < batch.length; ) {
      const decoded = decodeRecord(batch.bytes, offset);
      if (!decoded.ok || decoded.record.operation === "delete") throw new Error("no create");
      found.push(decoded.record);
      offset = decoded.end;
    }
    return found;
  };
  /** What is compared: all but the time, which runs, and what the kernel knows better. */
  const essence = (record: Create): string => {
    const { timeoutSeconds: _time, labels, ...state } = record.state;
    const text = (value: unknown): string =>
      JSON.stringify(value, (_key, each) =>
        each instanceof Uint8Array ? Buffer.from(each).toString("hex") : each,
      );
    const isZero = (adjustment: object | undefined): boolean =>
      adjustment === undefined || Object.values(adjustment).every((word) => word === 0);
    const { adjustOriginal, adjustReply, ...plain } = state;
    // The kernel tells both directions where it adjusts one; a record leaves out what is zero.
    const adjusts = [adjustOriginal, adjustReply].map((each) => (isZero(each) ? null : each));
    const untold = (record.protocol === 6 || record.protocol === 132) && state.protocolState === 0;
    const zone = record.zone;
    return text([
      record.family,
      record.protocol,
      [record.original.source, record.original.destination, record.original.a, record.original.b],
      [plain.reply.source, plain.reply.destination, plain.reply.a, plain.reply.b],
      zone === undefined ? null : [zone.id, zone.directions],
      plain.mark,
      // GRE is written with a fixed time: its own come with its first packet only (wire/conntrackWrite.ts).
      (plain.status & 0x406) | (record.protocol === GRE ? FIXED_TIMEOUT : 0),
      untold ? (record.protocol === 6 ? 3 : 0) : plain.protocolState,
      untold ? null : (plain.verificationTags ?? null),
      adjusts,
      labels === undefined || labels.every((byte) => byte === 0) ? null : labels,
    ]);
  };

  test("into the kernel and out of it: the same", () => {
    fc.assert(
      fc.property(together, (records) => {
        empty();
        const result = apply(records);
        assert.deepEqual(result.refused, {});
        assert.deepEqual(dumped().map(essence).sort(), records.map(essence).sort());
        const ends = records.map(
          ({ state: _state, ...key }): SessionRecord => ({ ...key, operation: "delete" }),
        );
        assert.equal(apply(ends).deleted, records.length);
        assert.equal(dumped().length, 0);
      }),
      { numRuns: 60 },
    );
  });

  test("labels: kept, and changed by an update", () => {
    const labels = new Uint8Array(16).fill(0x11);
    apply([sample({ state: { labels } })]);
    assert.deepEqual(dumped()[0]?.state.labels, labels);
    const other = new Uint8Array(16).fill(0x22);
    assert.equal(apply([sample({ operation: "update", state: { labels: other } })]).updated, 1);
    assert.deepEqual(dumped()[0]?.state.labels, other);
    apply([sample({ operation: "delete" })]);
  });

  test("a master that comes later is no reason to refuse, nor one that never comes", () => {
    const master = { protocol: 6, original: tuple("10.0.0.1", 40_000, "198.51.100.7", 443) };
    const child = sample({ port: 40_001, state: { master } });
    assert.equal(apply([child]).created, 1);
    assert.equal(dumped()[0]?.state.master, undefined);
    // Once it is there, the next word that has to make the entry anew brings it in.
    apply([sample({ operation: "delete", port: 40_001 }), sample(), child]);
    const found = dumped().find(({ original }) => original.a === 40_001);
    assert.deepEqual(found?.state.master, master);
    // An entry that was expected is updated where it stands: its status is not like any other's.
    const closing = sample({ operation: "update", port: 40_001, state: { protocolState: 4 } });
    assert.deepEqual([apply([closing]).updated, apply([child]).updated], [1, 1]);
    assert.deepEqual(dumped().find(({ original }) => original.a === 40_001)?.state.master, master);
    apply([sample({ operation: "delete", port: 40_001 }), sample({ operation: "delete" })]);
  });

  test("an entry without the record's helper is made anew with it; with it, it is updated in place", () => {
    const helped = sample({ state: { helper: "ftp" } });
    assert.equal(apply([sample()]).created, 1);
    assert.equal(apply([helped]).replaced, 1);
    assert.equal(dumped()[0]?.state.helper, "ftp");
    assert.equal(apply([helped]).updated, 1);
    assert.equal(
      apply([sample({ operation: "update", state: { helper: "ftp", protocolState: 4 } })]).updated,
      1,
    );
    assert.equal(dumped()[0]?.state.helper, "ftp");
    // A helper that this kernel lacks: found out once, and the entry is not torn down for it again.
    const lacking = sample({ port: 7, state: { helper: "no-such-helper" } });
    assert.equal(apply([lacking]).created, 1);
    assert.equal(apply([lacking]).updated, 1);
    apply([sample({ operation: "delete" }), sample({ operation: "delete", port: 7 })]);
  });
});
