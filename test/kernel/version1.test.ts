// A pair in mid-upgrade: today's node over a real kernel, and beside it a node that speaks version 1 (test/frozen), over the
// real connection. Whichever is active: the other one gets every session and gives its own, and is sent nothing that it
// does not know (docs/protocol.md §2.1).

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { NodeId } from "../../src/base/units.ts";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { encodeExpectation } from "../../src/wire/expectationRecord.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { IPS_ASSURED, IPS_SEEN_REPLY } from "../../src/wire/sessionFields.ts";
import { encodeRecord } from "../../src/wire/sessionRecord.ts";
import { batchOf, session, TCP } from "../core/records.ts";
import type { SessionRecord } from "../frozen/v1/sessionRecord.ts";
import { recordsOf, V1Peer } from "../frozen/v1Peer.ts";
import { FTP_DATA } from "../wire/expectationSamples.ts";
import { inNamespace } from "./namespace.ts";
import { makePair, type Node, Traffic, transportIn } from "./replicatorWorld.ts";

interface World {
  readonly today: Node;
  readonly old: V1Peer;
  readonly traffic: Traffic;
}

/** A pair in which `id` was not upgraded. */
async function pairWithOld(t: TestContext, id: NodeId): Promise<World> {
  const pair = makePair();
  const [today, replaced] = id === "a" ? [pair.b, pair.a] : [pair.a, pair.b];
  const traffic = new Traffic(today);
  await replaced.replicator.close();
  const { config, identity, space } = replaced;
  const old = new V1Peer({ config, identity, transport: transportIn(space) });
  t.after(async () => {
    old.close();
    traffic.close();
    await pair.close();
  });
  return { today, old, traffic };
}

/** What version 1 knows of a session, without what is not replicated: the time that is left, the generation of the mark. */
const plain = (record: SessionRecord): string => {
  if (record.operation === "delete") throw new Error("a table has no deletions");
  const { timeoutSeconds: _, mark, ...state } = record.state;
  return JSON.stringify({ ...record, operation: "create", state: { ...state, mark: mark & 0x0fffffff } });
};

/** The kernel's table, as its dump writes it and version 1 reads it. */
function inKernel({ space }: Node): string[] {
  const dump = space.run(() => openSessionDump());
  const batch = new RecordBatch();
  const records: SessionRecord[] = [];
  for (let more = true; more; ) {
    batch.reset();
    more = dump.next(batch);
    records.push(...recordsOf(batch.bytes.slice(0, batch.length)));
  }
  dump.close();
  return records.map(plain).sort();
}
const inMemory = ({ table }: V1Peer): string[] =>
  [...table.values()].map(({ record }) => plain(record)).sort();
const sessions = (from: number, count: number): SessionRecord[] =>
  recordsOf(batchOf(Array.from({ length: count }, (_, index) => session(from + index))));

/** Nothing that it was sent was beyond it, and the connection is the first one still. */
function assertUnderstood({ old, today }: World): void {
  assert.deepEqual(old.endings, []);
  assert.deepEqual(today.replicator.state().version, 1);
  const { counters } = today.replicator.state();
  assert.deepEqual([counters["link.connected"], counters["link.protocol"]], [1, undefined]);
}

/** Everything that either has is in the other one. */
async function equal({ old, today }: World): Promise<void> {
  await today.until(() => {
    const [kernel, memory] = [inKernel(today), inMemory(old)];
    return kernel.length === memory.length && kernel.every((each, index) => each === memory[index]);
  }, "the same sessions on both");
}

for (const id of ["b", "a"] as const) {
  describe(`node ${id} was not upgraded`, inNamespace, () => {
    test("as standby it gets the table, and every change", async (t) => {
      const world = await pairWithOld(t, id);
      const { today, old, traffic } = world;
      traffic.open(0, 1500);
      today.setRole("active", 2, "standby");
      old.setRole("standby", 0);
      await today.until(({ replicator }) => replicator.state().synchronised && old.ready, "synchronised");
      assert.equal(old.table.size, 1500);
      traffic.open(5000, 300);
      traffic.end(0, 200);
      assert.equal(await today.replicator.waitAcknowledged(5000), true);
      await equal(world);
      assert.equal(old.table.size, 1600);
      assertUnderstood(world);
      const known = [
        "hello",
        "roleChanged",
        "ping",
        "pong",
        "snapshotBegin",
        "snapshotEnd",
        "sessions",
        "neighbours",
      ];
      assert.deepEqual(new Set(old.heard).difference(new Set(known)), new Set());
      // What only version 2 carries is not waited for.
      assert.equal(today.state.adopted, null);
    });

    test("what a helper expects is not told to it, in a snapshot nor afterwards; the sessions around it are", async (t) => {
      const world = await pairWithOld(t, id);
      const { today, old } = world;
      const write = (from: number): void => {
        const records = [master(from), expected(from)];
        const writer = today.space.run(() => openSessionWriter());
        const result = writer.apply(batchOf(records), records.length, 0);
        writer.close();
        assert.deepEqual(result.refused, {});
      };
      write(40_000);
      assert.match(today.sh("conntrack -L expect 2>&1"), /dport=51210/);
      today.setRole("active", 2, "standby");
      old.setRole("standby", 0);
      await today.until(({ replicator }) => replicator.state().synchronised && old.ready, "synchronised");
      write(40_001);
      assert.equal(await today.replicator.waitAcknowledged(5000), true);
      await equal(world);
      assert.equal(old.table.size, 2);
      assertUnderstood(world);
    });

    test("as active it gives the table, and every change", async (t) => {
      const world = await pairWithOld(t, id);
      const { today, old } = world;
      old.change(sessions(0, 1500));
      old.setRole("active", 2);
      today.setRole("standby", 0, "active");
      await today.until(({ replicator }) => replicator.report().ready && old.synchronised, "ready");
      old.change(sessions(5000, 300));
      old.change(sessions(0, 200).map(({ operation: _, ...key }) => deletionOf(key)));
      await equal(world);
      assert.equal(inKernel(today).length, 1600);
      assertUnderstood(world);
    });

    test("after a split, and over a change of roles, nothing is lost either way", async (t) => {
      const world = await pairWithOld(t, id);
      const { today, old, traffic } = world;
      // Both made sessions of their own: each gives them to whoever is active.
      old.change(sessions(0, 400));
      old.setRole("active", 2);
      traffic.open(1000, 400);
      today.setRole("active", 3, "active");
      old.setRole("standby", 3);
      await today.until(({ replicator }) => replicator.state().synchronised && old.ready, "synchronised");
      await equal(world);
      assert.equal(old.table.size, 800);
      today.setRole("standby", 4, "active");
      old.setRole("active", 4);
      await today.until(({ replicator }) => replicator.report().ready && old.synchronised, "ready");
      old.change(sessions(2000, 50));
      await equal(world);
      assert.equal(old.table.size, 850);
      assertUnderstood(world);
    });
  });
}

if (FTP_DATA.operation !== "create") throw new Error("the sample is a create");
const { expected: dataTuple, state: dataState } = FTP_DATA;

/** A control connection of FTP from port `from`, with its helper, and the data connection that it expects. */
const master = (from: number): Uint8Array =>
  encodeRecord({
    family: 4,
    protocol: TCP,
    original: { ...dataState.master.original, a: from },
    operation: "create",
    state: {
      reply: { source: dataTuple.source, destination: dataTuple.destination, a: 21, b: from },
      mark: 1,
      timeoutSeconds: 300,
      status: IPS_SEEN_REPLY | IPS_ASSURED,
      protocolState: 3,
      helper: "ftp",
    },
  });
const expected = (from: number): Uint8Array =>
  encodeExpectation({
    family: 4,
    protocol: TCP,
    operation: "create",
    expected: { ...dataTuple, b: 51_210 + from - 40_000 },
    state: {
      ...dataState,
      master: { ...dataState.master, original: { ...dataState.master.original, a: from } },
    },
  });

const deletionOf = ({ family, protocol, original }: Omit<SessionRecord, "operation">): SessionRecord => ({
  family,
  protocol,
  original,
  operation: "delete",
});
