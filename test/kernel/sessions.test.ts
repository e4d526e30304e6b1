// Sessions between two kernels: made by real packets in one namespace, read as events or as a dump, written into
// another, compared by what `conntrack -L` shows of both. Nothing here touches the machine's own table.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { close } from "../../src/kernel/libc.ts";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionEvents, type SessionEvents } from "../../src/kernel/sessionEvents.ts";
import { countEntries, countSessions, listSessions } from "../../src/kernel/sessions.ts";
import { openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import {
  forEachRecord,
  RecordBatch,
  recordOperation,
  SessionOperation,
  validateRecords,
} from "../../src/wire/session.ts";
import { IPS_ASSURED } from "../../src/wire/sessionFields.ts";
import { decodeRecord, encodeRecord } from "../../src/wire/sessionRecord.ts";
import { inNamespace } from "./namespace.ts";
import {
  acceptTcp,
  exchangeUdp,
  listenTcp,
  makeWorld,
  openTcp,
  ping,
  reset,
  say,
  table,
  type World,
} from "./sessionWorld.ts";

const PAIRS = /mark=5271811$/;
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

/** `create 6 40001`: operation, protocol, source port (identifier) of each record. */
function summary(batch: RecordBatch): string[] {
  const found: string[] = [];
  forEachRecord(batch.records(), (offset) => {
    const decoded = decodeRecord(batch.bytes, offset);
    if (!decoded.ok) throw new Error(decoded.reason);
    const { operation, protocol, original } = decoded.record;
    found.push(`${operation} ${protocol} ${original.a}`);
  });
  return found;
}

function drained(events: SessionEvents): RecordBatch {
  const batch = new RecordBatch();
  assert.equal(events.drain(batch).overrun, false);
  assert.deepEqual(validateRecords(batch.records()), { ok: true, count: batch.count });
  return batch;
}

function dumped(world: World): RecordBatch {
  const batch = new RecordBatch();
  const dump = world.active.run(() => openSessionDump());
  while (dump.next(batch));
  dump.close();
  return batch;
}

for (const translate of [true, false])
  describe(`sessions, ${translate ? "translated" : "untranslated"}`, inNamespace, () => {
    let world: World;
    let events: SessionEvents;
    let writer: SessionWriter;
    const descriptors: number[] = [];
    const apply = (batch: RecordBatch, generation: number) =>
      writer.apply(batch.records(), batch.count, generation);
    const same = () =>
      assert.deepEqual(
        table(world.standby),
        table(world.active).filter((line) => PAIRS.test(line)),
      );

    before(() => {
      world = makeWorld({ translate });
      events = world.active.run(() => openSessionEvents());
      writer = world.standby.run(() => openSessionWriter());
      for (const port of [80, 81]) descriptors.push(listenTcp(world, "192.0.2.2", port));
      descriptors.push(listenTcp(world, "2001:db8::2", 443));
    });
    after(() => {
      for (const fd of descriptors) close(fd);
      events.close();
      writer.close();
      world.close();
    });

    test("events of TCP, UDP and ICMP, IPv4 and IPv6, reproduce the table", () => {
      descriptors.push(openTcp(world, "10.9.0.2", 40001, "192.0.2.2", 80));
      descriptors.push(openTcp(world, "fd09::2", 40002, "2001:db8::2", 443));
      exchangeUdp(world, ["10.9.0.2", 40003], ["192.0.2.2", 53], 1);
      exchangeUdp(world, ["fd09::2", 40004], ["2001:db8::2", 4500], 1);
      ping(world, "10.9.0.2", "192.0.2.2", 1234);
      ping(world, "fd09::2", "2001:db8::2", 4321);
      const batch = drained(events);
      assert.deepEqual(summary(batch), [
        "create 6 40001",
        "create 6 40002",
        "create 17 40003",
        "create 17 40004",
        "create 1 1234",
        "create 58 4321",
      ]);
      assert.deepEqual(apply(batch, 1), { ...NOTHING, created: 6 });
      same();
    });

    test("translation that had to choose another port or identifier, and of destinations", () => {
      // The second host's source port and identifier are taken where both are translated to one address.
      descriptors.push(openTcp(world, "10.9.0.3", 40001, "192.0.2.2", 80));
      exchangeUdp(world, ["fd09::3", 40004], ["2001:db8::2", 4500], 1);
      ping(world, "10.9.0.3", "192.0.2.2", 1234);
      descriptors.push(openTcp(world, "10.9.0.2", 40005, "192.0.2.9", 8080));
      exchangeUdp(world, ["fd09::2", 40006], ["2001:db8::9", 8080], 1, ["2001:db8::2", 81]);
      const batch = drained(events);
      assert.equal(batch.count, 5);
      assert.deepEqual(apply(batch, 1), { ...NOTHING, created: 5 });
      same();
      if (translate) {
        const ports = table(world.standby).filter((line) => /tcp .* src=10.9.0.3 .* sport=40001/.test(line));
        assert.equal(ports.length, 1);
        assert.doesNotMatch(ports[0]!, /dport=40001/);
      }
    });

    test("a dump says the same, and over a table in good order it only updates", () => {
      const batch = dumped(world);
      assert.equal(batch.count, 11);
      assert.deepEqual(apply(batch, 2), { ...NOTHING, updated: 11 });
      same();
    });

    test("the table is listed with filters, and counted", async () => {
      const { sessions, total } = await world.standby.run(() =>
        listSessions({ link: 3, protocol: "tcp", address: "10.9.0.2", port: 80 }, 10),
      );
      assert.equal(total, 1);
      const { timeoutSeconds, ...rest } = sessions[0]!;
      assert.ok(timeoutSeconds > 400_000);
      assert.deepEqual(rest, {
        protocol: "tcp",
        family: 4,
        source: "10.9.0.2",
        destination: "192.0.2.2",
        sourcePort: 40001,
        destinationPort: 80,
        translatedSource: translate ? "192.0.2.1" : "10.9.0.2",
        translatedPort: 40001,
        link: 3,
        state: "ESTABLISHED",
      });
      const short = await world.standby.run(() => listSessions({ family: 6 }, 2));
      assert.deepEqual([short.sessions.length, short.total, short.truncated], [2, 5, true]);
      assert.deepEqual(await world.standby.run(() => countSessions()), { 3: 11 });
      assert.equal(
        world.standby.run(() => countEntries()),
        11,
      );
    });

    test("UDP becomes assured, TCP closes: updates; what ends is deleted", () => {
      // By itself the kernel calls UDP assured only two seconds after its first packet.
      assure(world, 40003);
      world.active.run(() => conntrack("-D", "-p", "tcp", "--orig-port-src", "40002"));
      reset(descriptors.pop()!);
      const batch = drained(events);
      assert.deepEqual(summary(batch), ["update 17 40003", "delete 6 40002", "update 6 40005"]);
      assert.deepEqual(apply(batch, 2), { ...NOTHING, updated: 2, deleted: 1 });
      assert.match(table(world.standby).join("\n"), /tcp +6 CLOSE .*sport=40005/);
      same();
      // A delete of what is gone succeeds.
      const gone = new RecordBatch();
      forEachRecord(batch.records(), (offset, end) => {
        if (recordOperation(batch.bytes, offset) === SessionOperation.Delete)
          gone.copy(batch.bytes, offset, end);
      });
      assert.deepEqual(apply(gone, 2), { ...NOTHING, absent: 1 });
    });

    test("a snapshot is a set: a sweep ends what has another generation", () => {
      const count = table(world.standby).length;
      const own = world.standby.run(() =>
        conntrack(
          "-I",
          "-p",
          "udp",
          "-s",
          "1.1.1.1",
          "-d",
          "2.2.2.2",
          "--sport",
          "1",
          "--dport",
          "2",
          "-t",
          "600",
        ),
      );
      assert.equal(own, "");
      assert.equal(
        world.standby.run(() => writer.sweep([1, 3, 4], 2)),
        0,
      );
      assert.equal(
        world.standby.run(() => writer.sweep([1, 2], 1)),
        0,
      );
      assert.equal(
        world.standby.run(() => writer.sweep([3], 1)),
        count,
      );
      // The node's own session has no link and stays.
      assert.deepEqual(table(world.standby).length, 1);
      world.standby.run(() => conntrack("-D", "-s", "1.1.1.1"));
    });
  });

test("connections go on through the other node, whichever side speaks first", inNamespace, () => {
  const world = makeWorld({ translate: true });
  const descriptors: number[] = [];
  try {
    const events = world.active.run(() => openSessionEvents());
    const writer = world.standby.run(() => openSessionWriter());
    descriptors.push(events.fd);
    const listeners = { 4: listenTcp(world, "192.0.2.2", 80), 6: listenTcp(world, "2001:db8::2", 80) };
    descriptors.push(listeners[4], listeners[6]);
    // Both LAN hosts use one source port, so one of the two is translated to another.
    const ends = (["10.9.0.2", "10.9.0.3", "fd09::2", "fd09::3"] as const).map((from) => {
      const six = from.includes(":");
      const client = openTcp(world, from, 40001, six ? "2001:db8::2" : "192.0.2.2", 80);
      const server = acceptTcp(listeners[six ? 6 : 4]);
      descriptors.push(client, server);
      return { from, client, server };
    });
    for (const { from, client, server } of ends)
      assert.equal(say(client, server, `before ${from}`), `before ${from}`);
    const batch = drained(events);
    assert.deepEqual(writer.apply(batch.records(), batch.count, 1), { ...NOTHING, created: 4 });
    writer.close();
    world.takeOver();
    for (const [index, { from, client, server }] of ends.entries()) {
      // A download is the hard case: the first packet comes from outside, and only the entry knows where it goes.
      const [first, second] = index % 2 === 0 ? [server, client] : [client, server];
      assert.equal(say(first, second, `after ${from}`), `after ${from}`);
      assert.equal(say(second, first, `answer ${from}`), `answer ${from}`);
    }
    // They went through the entries that were written: same ports, and no entry but these.
    assert.equal(table(world.standby).filter((line) => PAIRS.test(line)).length, 4);
  } finally {
    for (const fd of descriptors) close(fd);
    world.close();
  }
});

/** Sets ASSURED on the active's UDP session with this source port, as the kernel would. */
function assure(world: World, port: number): void {
  const onActive = world.active.run(() => openSessionWriter());
  const all = dumped(world);
  forEachRecord(all.records(), (offset) => {
    const decoded = decodeRecord(all.bytes, offset);
    if (!decoded.ok || decoded.record.operation === "delete" || decoded.record.original.a !== port) return;
    const { state } = decoded.record;
    const record = {
      ...decoded.record,
      operation: "update",
      state: { ...state, status: state.status | IPS_ASSURED },
    } as const;
    assert.equal(onActive.apply(encodeRecord(record), 1, 0).updated, 1);
  });
  onActive.close();
}

function conntrack(...words: string[]): string {
  return execFileSync("conntrack", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}
