// The session writer against the real kernel: what stands in the way of a record, in which order records on one
// session count, what the kernel refuses; and the event socket's bounds. Entries are made by the writer itself,
// in a namespace of the test's own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, test } from "node:test";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import { countEntries } from "../../src/kernel/sessions.ts";
import { type ApplyResult, openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { encodeRecord, type SessionRecord } from "../../src/wire/sessionRecord.ts";
import { type Sample, sample, tuple } from "../wire/sessionSamples.ts";
import { inNamespace, makeNamespace, type Namespace } from "./namespace.ts";

const NOTHING = {
  created: 0,
  updated: 0,
  deleted: 0,
  replaced: 0,
  absent: 0,
  expected: 0,
  unexpected: 0,
  notExpected: 0,
  refused: {},
};

describe("the session writer", inNamespace, () => {
  let space: Namespace;
  let writer: SessionWriter;
  beforeEach(() => {
    space = makeNamespace();
    writer = space.run(() => openSessionWriter());
    // Without a rule there is no connection tracking here, hence no events.
    space.run(() =>
      nft("table inet t { chain c { type filter hook input priority 0; ct state new accept; }; }"),
    );
  });
  afterEach(() => {
    writer.close();
    space.close();
  });

  const applyAll = (records: readonly SessionRecord[], generation = 1): ApplyResult => {
    const bytes = new Uint8Array(Buffer.concat(records.map((record) => encodeRecord(record))));
    return writer.apply(bytes, records.length, generation);
  };
  const apply = (...samples: Sample[]): ApplyResult => applyAll(samples.map(sample));
  /** `SPORT->TRANSLATED STATE mark` of each entry. */
  const held = (): string[] =>
    space
      .run(() => run("conntrack", "-L", "-p", "tcp"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const found =
          /tcp +6 (?<time>\d+) (?<state>\w+) .* sport=(?<from>\d+) .* dport=(?<to>\d+) .*mark=(?<mark>\d+)/.exec(
            line,
          );
        const { state, from, to, mark } = found!.groups!;
        return `${from}->${to} ${state} ${Number(mark).toString(16)}`;
      })
      .sort();

  test("create, update, delete; the generation is in the mark", () => {
    assert.deepEqual(apply({ translated: 1024 }), { ...NOTHING, created: 1 });
    assert.deepEqual(held(), ["40000->1024 ESTABLISHED 10507103"]);
    const closing = {
      operation: "update",
      translated: 1024,
      state: { protocolState: 5, mark: 0x00517103 },
    } as const;
    assert.deepEqual(apply(closing), { ...NOTHING, updated: 1 });
    assert.deepEqual(held(), ["40000->1024 CLOSE_WAIT 10517103"]);
    assert.deepEqual(apply({ operation: "delete" }), { ...NOTHING, deleted: 1 });
    assert.deepEqual(apply({ operation: "delete" }), { ...NOTHING, absent: 1 });
    assert.deepEqual(held(), []);
  });

  test("an update that does not tell the state leaves it", () => {
    apply({ state: { protocolState: 7 } });
    assert.deepEqual(apply({ operation: "update", state: { protocolState: 0 } }), { ...NOTHING, updated: 1 });
    assert.deepEqual(held(), ["40000->40000 TIME_WAIT 10507103"]);
  });

  test("an entry outlives what an active refreshes in silence", () => {
    apply({ state: { timeoutSeconds: 30 } });
    const [, seconds] = /tcp +6 (\d+) /.exec(space.run(() => run("conntrack", "-L", "-p", "tcp")))!;
    assert.ok(Number(seconds) > 21_590 && Number(seconds) <= 21_600);
  });

  test("what is there already, with the same translation, is updated in place", () => {
    apply({ translated: 1024 });
    const again = apply({ translated: 1024, state: { protocolState: 4, mark: 0x00507105 } });
    assert.deepEqual(again, { ...NOTHING, updated: 1 });
    assert.deepEqual(held(), ["40000->1024 FIN_WAIT 10507105"]);
  });

  test("another translation is replaced", () => {
    apply({ translated: 1024 });
    assert.deepEqual(apply({ translated: 1025 }), { ...NOTHING, replaced: 1 });
    assert.deepEqual(held(), ["40000->1025 ESTABLISHED 10507103"]);
  });

  test("an entry of another session that holds the translated port goes", () => {
    apply({ port: 40000, translated: 1024 }, { port: 40001, translated: 1025 });
    assert.deepEqual(apply({ port: 40002, translated: 1024 }), { ...NOTHING, replaced: 1 });
    assert.deepEqual(held(), ["40001->1025 ESTABLISHED 10507103", "40002->1024 ESTABLISHED 10507103"]);
    // Both tuples taken, by two different sessions: both go.
    assert.deepEqual(apply({ port: 40001, translated: 1024 }), { ...NOTHING, replaced: 1 });
    assert.deepEqual(held(), ["40001->1024 ESTABLISHED 10507103"]);
  });

  test("an update of what is not there creates it", () => {
    const update = { operation: "update", translated: 1024, state: { protocolState: 0 } } as const;
    assert.deepEqual(apply(update), { ...NOTHING, created: 1 });
    assert.deepEqual(held(), ["40000->1024 ESTABLISHED 10507103"]);
  });

  test("the last word on a session wins, even where an earlier one had to be settled", () => {
    apply({ translated: 1024 });
    // The create clashes, is settled after the send, and must not undo what came behind it.
    apply({ translated: 1025 }, { operation: "delete" });
    assert.deepEqual(held(), []);
    apply({ translated: 1024 });
    const update = { operation: "update", translated: 1025, state: { protocolState: 5 } } as const;
    assert.deepEqual(apply({ translated: 1025 }, update, { port: 7 }), {
      ...NOTHING,
      created: 1,
      updated: 1,
      replaced: 1,
    });
    assert.deepEqual(held(), ["40000->1025 CLOSE_WAIT 10507103", "7->7 ESTABLISHED 10507103"]);
    apply({ operation: "delete" }, { translated: 1026 }, { operation: "delete" }, { translated: 1027 });
    assert.deepEqual(held(), ["40000->1027 ESTABLISHED 10507103", "7->7 ESTABLISHED 10507103"]);
  });

  test("what this kernel lacks (helper, labels, the master's entry) does not cost the session", () => {
    const optional = {
      helper: "no-such-helper",
      labels: new Uint8Array(16).fill(0xff),
      master: { protocol: 6, original: tuple("10.9.9.9", 1, "10.8.8.8", 21) },
    };
    assert.deepEqual(apply({ state: optional }), { ...NOTHING, created: 1 });
    assert.deepEqual(held(), ["40000->40000 ESTABLISHED 10507103"]);
  });

  test("sequence adjustment and zones arrive", () => {
    const adjustReply = { correctionPosition: 1, offsetBefore: 0, offsetAfter: 4 };
    const plain = sample({ state: { adjustReply } });
    assert.deepEqual(applyAll([plain, { ...plain, zone: { id: 5, directions: "both" } }]), {
      ...NOTHING,
      created: 2,
    });
    assert.equal(
      space.run(() => countEntries()),
      2,
    );
    const batch = new RecordBatch();
    const dump = space.run(() => openSessionDump());
    while (dump.next(batch));
    dump.close();
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
    assert.equal(batch.count, 2);
    assert.match(hex(batch.records()), /0e040c000000010000000000000004/);
    assert.match(hex(batch.records()), /9c4001bb030005/);
  });

  test("SCTP keeps its verification tags", () => {
    const verificationTags = { original: 0x11223344, reply: 0x55667788 };
    assert.deepEqual(apply({ protocol: 132, state: { protocolState: 4, verificationTags } }), {
      ...NOTHING,
      created: 1,
    });
    const batch = new RecordBatch();
    const dump = space.run(() => openSessionDump());
    while (dump.next(batch));
    dump.close();
    assert.match(Buffer.from(batch.records()).toString("hex"), /431122334455667788/);
  });

  test("insert: what is absent is added for its own time; nothing that is there is touched", () => {
    apply({ port: 1, translated: 1001 }, { port: 2, translated: 1002 }, { port: 3, translated: 1003 });
    const before = held();
    const lacking = { helper: "no-such-helper", labels: new Uint8Array(16).fill(0xff) };
    const offered = [
      // The same session, at another stage of its life.
      { port: 1, translated: 1001, state: { protocolState: 7 } },
      // Another translation; another link; another session on a port that is taken.
      { port: 2, translated: 2002 },
      { port: 3, translated: 1003, state: { mark: 0x00507104 } },
      { port: 4, translated: 1001 },
      { port: 5, translated: 1005, state: { timeoutSeconds: 30 } },
      { port: 6, translated: 1006, state: lacking },
    ];
    const records = offered.map((each) => encodeRecord(sample(each)));
    const bytes = new Uint8Array(Buffer.concat(records));
    const result = writer.insert(bytes, records.length);
    assert.deepEqual(result, { inserted: 2, same: 1, clashed: 3, refused: {} });
    const added = ["5->1005 ESTABLISHED 507103", "6->1006 ESTABLISHED 507103"];
    assert.deepEqual(held(), [...before, ...added].sort());
    const [, seconds] = /tcp +6 (\d+) .*sport=5 /.exec(space.run(() => run("conntrack", "-L", "-p", "tcp")))!;
    assert.ok(Number(seconds) > 0 && Number(seconds) <= 30);
    const silent = encodeRecord(sample({ protocol: 17, port: 9, state: { timeoutSeconds: 5000 } }));
    assert.equal(writer.insert(silent, 1).inserted, 1);
    const [, longest] = /udp +17 (\d+) /.exec(space.run(() => run("conntrack", "-L", "-p", "udp")))!;
    assert.ok(Number(longest) > 500 && Number(longest) <= 600);
    assert.deepEqual(writer.insert(bytes, records.length), { inserted: 0, same: 3, clashed: 3, refused: {} });
  });

  test("insert: more than one send holds", () => {
    const many = Array.from({ length: 200 }, (_, index) => sample({ port: index + 1 }));
    const bytes = new Uint8Array(Buffer.concat(many.map((record) => encodeRecord(record))));
    assert.deepEqual(writer.insert(bytes, 200), { inserted: 200, same: 0, clashed: 0, refused: {} });
    assert.deepEqual(writer.insert(bytes, 200), { inserted: 0, same: 200, clashed: 0, refused: {} });
  });

  test("more records than one send holds", () => {
    const many = Array.from({ length: 1000 }, (_, index) => ({ port: index + 1, translated: index + 2000 }));
    assert.deepEqual(apply(...many), { ...NOTHING, created: 1000 });
    assert.deepEqual(apply(...many), { ...NOTHING, updated: 1000 });
    // The order holds where the writer looks before it writes, too.
    const [first, second] = [
      { port: 1, translated: 2000 },
      { port: 2, translated: 2001 },
    ];
    apply(...many.slice(0, 500));
    assert.deepEqual(
      apply(
        { port: 1, operation: "delete" },
        first,
        second,
        { port: 2, operation: "delete" },
        ...many.slice(2, 40),
      ),
      { ...NOTHING, created: 1, updated: 39, deleted: 2 },
    );
    assert.deepEqual(apply(second), { ...NOTHING, created: 1 });
    // Every port shifted by one: each clashes with its neighbour.
    const shifted = many.map(({ port, translated }) => ({ port, translated: translated + 1 }));
    const result = apply(...shifted);
    assert.deepEqual([result.refused, space.run(() => countEntries())], [{}, 1000]);
    assert.equal(result.replaced + result.created, 1000);
  });

  test("events: a full batch loses nothing, a full socket says so, own writes can be left out", () => {
    const many = Array.from({ length: 3000 }, (_, index) => ({ port: index + 1 }));
    const deaf = space.run(() => openSessionEvents({ ignore: [writer.portId + 1, writer.portId] }));
    const events = space.run(() => openSessionEvents());
    const small = space.run(() => openSessionEvents({ receiveBytes: 4096 }));
    apply(...many);
    const batch = new RecordBatch();
    // Half full to begin with, so that it is full before the socket is empty.
    const other = encodeRecord(sample());
    for (let index = 0; index < 1000; index += 1) batch.copy(other, 0, other.length);
    let records = -1000;
    for (let more = true; more; ) {
      const drained = events.drain(batch);
      assert.equal(drained.overrun, false);
      more = drained.more;
      records += batch.count;
      batch.reset();
    }
    assert.equal(records, 3000);
    const lost = small.drain(batch);
    assert.deepEqual([lost.overrun, lost.more], [true, false]);
    assert.ok(batch.count > 0 && batch.count < 3000);
    batch.reset();
    assert.deepEqual(deaf.drain(batch), { more: false, overrun: false, events: 0 });
    // Somebody else's doing is still heard.
    space.run(() => run("conntrack", "-D", "-p", "tcp", "--orig-port-src", "77"));
    assert.equal(deaf.drain(batch).events, 1);
    assert.equal(batch.count, 1);
    apply({ port: 77 });
    events.discard();
    assert.equal(events.drain(batch).events, 0);
    for (const socket of [deaf, events, small]) socket.close();
  });

  test("a dump resumes where the batch was full, and filters by mark", () => {
    const many = Array.from({ length: 3000 }, (_, index) => ({
      port: index + 1,
      state: { mark: index % 3 === 0 ? 1 : 2 },
    }));
    apply(...many);
    const count = (mark?: { value: number; mask: number }): number => {
      const dump = space.run(() => openSessionDump(mark === undefined ? {} : { mark }));
      const batch = new RecordBatch();
      let records = 0;
      for (let more = true; more; ) {
        more = dump.next(batch);
        if (batch.count < 1000 && more) continue;
        records += batch.count;
        batch.reset();
      }
      dump.close();
      return records;
    };
    assert.equal(count(), 3000);
    assert.equal(count({ value: 1, mask: 0xff }), 1000);
    assert.equal(count({ value: 0, mask: 0xff }), 0);
  });
});

function run(program: string, ...words: string[]): string {
  return execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

function nft(text: string): void {
  execFileSync("nft", ["-f", "-"], { input: text.replaceAll("; ", ";\n").replaceAll("{ ", "{\n") });
}
