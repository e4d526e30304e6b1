// The standby's driver over a model kernel: order, slices, backpressure, and every message of a peer that holds the
// right key and means ill: nothing throws, nothing unchecked reaches the kernel.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { APPLY_SLICE_RECORDS, BATCH_RECORDS_MAX, RECEIVE_QUEUE_BYTES_MAX } from "../../src/base/limits.ts";
import { isSynchronised } from "../../src/core/replication/receiver.ts";
import { LogReceiver } from "../../src/daemon/logReceiver.ts";
import type { PeerMessage } from "../../src/wire/peer.ts";
import { validateRecords } from "../../src/wire/session.ts";
import { batchOf, deletion, session } from "../core/records.ts";

class World {
  readonly calls: string[] = [];
  readonly sent: PeerMessage[] = [];
  readonly failures: string[] = [];
  refuse = 0;
  broken = false;
  sweepBroken = false;
  /** What a dump finds, one session a step; an error behind it. */
  table: number[] = [];
  readonly receiver: LogReceiver;

  constructor() {
    this.receiver = new LogReceiver({
      kernel: {
        writer: {
          apply: (bytes, count, generation) => {
            const verdict = validateRecords(bytes);
            assert.deepEqual(verdict, { ok: true, count });
            if (this.broken) throw new Error("the kernel is out of memory");
            this.calls.push(`apply ${count} as ${generation}`);
            const refused = Math.min(count, this.refuse);
            this.refuse -= refused;
            const none = { updated: 0, deleted: 0, replaced: 0, absent: 0 };
            const taken = { created: count - refused, expected: 0, unexpected: 0, notExpected: 0 };
            return { ...none, ...taken, refused: refused > 0 ? { ENOMEM: refused } : {} };
          },
          sweep: (linkIds, generation) => {
            if (this.sweepBroken) throw new Error("the kernel is out of memory");
            this.calls.push(`sweep link ${linkIds.join()} but ${generation}`);
            return 1;
          },
        },
        purge: (linkIds, generation) => this.calls.push(`purge links ${linkIds.join()} of ${generation}`),
        carriedGenerations: () => [],
        openDump: () => ({
          next: (batch) => {
            const step = this.table.shift();
            if (step === undefined) throw new Error("the kernel is out of memory");
            const record = session(step);
            batch.copy(record, 0, record.length);
            return this.table.length > 0;
          },
          close: () => this.calls.push("dump closed"),
        }),
        openKeyDump: () => ({
          next: (batch) => {
            const step = this.table.shift();
            if (step === undefined) throw new Error("the kernel is out of memory");
            const record = deletion(step);
            batch.copy(record, 0, record.length);
            return this.table.length > 0;
          },
          close: () => this.calls.push("walk closed"),
        }),
      },
      linkIds: () => [1, 2],
      // As the connection does: records are a view, and encoded at once.
      send: (message) =>
        this.sent.push(
          message.kind === "sessions" ? { ...message, records: message.records.slice() } : message,
        ),
      fail: (reason) => this.failures.push(reason),
      pause: () => this.calls.push("pause"),
      resume: () => this.calls.push("resume"),
      installNeighbours: ({ neighbours }) => this.calls.push(`install ${neighbours.length}`),
      onChange: () => {},
      log: () => {},
    });
  }

  follow(): this {
    this.receiver.input({ kind: "role", standby: true });
    this.receiver.input({ kind: "peer", role: "active", term: 2 });
    return this;
  }

  begin(generation = 1): this {
    this.receiver.push({ kind: "snapshotBegin", position: { term: 2, sequence: 0 }, generation });
    return this;
  }

  /** Until the queue is empty. */
  async idle(): Promise<void> {
    while (this.receiver.queuedBytes > 0) await new Promise(setImmediate);
  }
}

function sessions(first: number, count: number): PeerMessage {
  const records = batchOf(Array.from({ length: count }, (_, index) => session(first + index)));
  return { kind: "sessions", origin: "change", first: { term: 2, sequence: first }, count, records };
}

test("a snapshot is applied in slices, swept link by link and acknowledged as it goes", async () => {
  const world = new World().follow().begin();
  const count = APPLY_SLICE_RECORDS + 10;
  world.receiver.push(sessions(1, count));
  world.receiver.push({
    kind: "snapshotEnd",
    position: { term: 2, sequence: count + 1 },
    generation: 1,
    count,
  });
  await world.idle();
  assert.deepEqual(world.calls, [
    `apply ${APPLY_SLICE_RECORDS} as 1`,
    "apply 10 as 1",
    "sweep link 1 but 1",
    "sweep link 2 but 1",
  ]);
  assert.deepEqual(world.sent, [
    { kind: "subscribe", term: 2, generation: 1, own: false },
    ...[APPLY_SLICE_RECORDS, count, count + 1].map((sequence) => ({
      kind: "acknowledge",
      position: { term: 2, sequence },
    })),
  ]);
  assert.equal(world.receiver.state.phase, "streaming");
  world.receiver.close();
});

test("a takeover between two slices: not one record more, and no sweep", async () => {
  const world = new World().follow().begin();
  world.receiver.push(sessions(1, 3 * APPLY_SLICE_RECORDS));
  world.receiver.push({
    kind: "snapshotEnd",
    position: { term: 2, sequence: 3 * APPLY_SLICE_RECORDS + 1 },
    generation: 1,
    count: 3,
  });
  await new Promise(setImmediate);
  const before = world.calls.length;
  assert.ok(before < 3);
  world.receiver.input({ kind: "role", standby: false });
  await world.idle();
  assert.equal(world.calls.length, before);
  world.receiver.close();
});

test("one malformed record: nothing of the message is applied, and the connection ends", async () => {
  const world = new World().follow().begin();
  const good = sessions(1, 5);
  assert.ok(good.kind === "sessions");
  const records = good.records.slice();
  records[records.length - 1] = 0xff;
  const cases = [
    { ...good, records: records.subarray(0, -1) },
    { ...good, count: 4 },
    { ...good, count: 6 },
  ];
  for (const message of cases) world.receiver.push(message);
  await world.idle();
  assert.deepEqual(world.calls, []);
  assert.equal(world.failures.length, 3);
  assert.equal(world.receiver.counters["malformed-records"], 3);
  world.receiver.close();
});

test("refused records, and a kernel that throws, are counted and withdraw readiness", async () => {
  const world = new World().follow().begin();
  world.refuse = 2;
  world.receiver.push(sessions(1, 5));
  await world.idle();
  assert.equal(world.receiver.counters["refused-ENOMEM"], 2);
  assert.equal(world.receiver.state.refused, 2);
  world.broken = true;
  world.receiver.push(sessions(6, 5));
  await world.idle();
  assert.equal(world.receiver.counters["kernel-refused-apply"], 1);
  assert.equal(world.receiver.state.refused, 7);
  world.receiver.close();
});

test("a sweep that fails completes no snapshot: nothing that follows counts, and another one is asked for", async () => {
  const world = new World().follow().begin();
  const { state } = world.receiver;
  world.sweepBroken = true;
  world.receiver.push(sessions(1, 5));
  world.receiver.push({ kind: "snapshotEnd", position: { term: 2, sequence: 6 }, generation: 1, count: 5 });
  world.receiver.push(sessions(7, 5));
  await world.idle();
  assert.equal(world.receiver.counters["kernel-refused-sweep"], 1);
  assert.notEqual(state.phase, "streaming");
  assert.equal(state.complete, 0);
  assert.ok(!world.sent.some((message) => message.kind === "acknowledge" && message.position.sequence > 5));
  assert.deepEqual(world.failures, []);
  assert.ok(state.retryAt !== null);
  world.receiver.close();
});

test("more than the queue holds: the connection is paused, and read again when there is room", async () => {
  const world = new World().follow().begin();
  let first = 1;
  while (world.receiver.queuedBytes <= RECEIVE_QUEUE_BYTES_MAX) {
    world.receiver.push(sessions(first, BATCH_RECORDS_MAX / 2));
    first += BATCH_RECORDS_MAX / 2;
  }
  assert.ok(world.calls.includes("pause"));
  await world.idle();
  assert.equal(world.calls.filter((call) => call === "pause").length, 1);
  assert.equal(world.calls.filter((call) => call === "resume").length, 1);
  assert.deepEqual(world.failures, []);
  world.receiver.close();
});

const position = fc.record({ term: fc.constantFrom(0, 2, 3), sequence: fc.nat({ max: 12 }) });
const generation = fc.integer({ min: 1, max: 3 });
const anyMessage: fc.Arbitrary<PeerMessage> = fc.oneof(
  fc.record({ kind: fc.constant("snapshotBegin" as const), position, generation }),
  fc.record({ kind: fc.constant("snapshotEnd" as const), position, generation, count: fc.nat() }),
  fc.record({
    kind: fc.constant("roleChanged" as const),
    role: fc.constantFrom("idle", "standby", "active"),
    term: fc.nat(4),
  }),
  fc.record({
    kind: fc.constant("neighbours" as const),
    part: fc.constantFrom("begin", "more"),
    neighbours: fc.constant([]),
  }),
  fc.record({ kind: fc.constant("pong" as const), nonce: fc.nat() }),
  fc.tuple(fc.nat({ max: 12 }), fc.nat({ max: 4 })).map(([first, count]) => sessions(first, count)),
  fc.record({
    kind: fc.constant("sessions" as const),
    origin: fc.constantFrom("change", "snapshot"),
    first: position,
    count: fc.nat({ max: 5 }),
    records: fc.uint8Array({ maxLength: 90 }),
  }),
);

test("whatever messages come, in whatever order: no exception, and only checked records reach the kernel", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyMessage, { maxLength: 30 }), fc.boolean(), async (messages, standby) => {
      const world = new World();
      if (standby) world.follow();
      for (const message of messages) world.receiver.push(message);
      await world.idle();
      assert.equal(world.receiver.counters.defect, undefined);
      if (!standby) assert.deepEqual(world.calls, []);
      world.receiver.disconnected();
      world.receiver.close();
    }),
    { numRuns: 300 },
  );
});

test("a merge: the table is given a step a turn, and its dump is closed", async () => {
  const world = new World().follow();
  world.table = [7, 8, 9];
  world.receiver.push({ kind: "mergeRequest", term: 2, generation: 1 });
  for (let turn = 0; turn < 6; turn += 1) await new Promise(setImmediate);
  const given = [7, 8, 9].map((id, index) => ({
    kind: "sessions",
    origin: "merge",
    first: { term: 2, sequence: index + 1 },
    count: 1,
    records: session(id),
  }));
  assert.deepEqual(world.sent.slice(1), [...given, { kind: "mergeEnd", term: 2, generation: 1, count: 3 }]);
  assert.deepEqual(world.calls, ["dump closed"]);
  world.receiver.push({ kind: "mergeAcknowledge", generation: 1, sequence: 3 });
  await world.idle();
  assert.equal(world.receiver.state.phase, "waiting");
  world.receiver.close();
});

test("a merge is given up where this node takes over, or where its table cannot be read", async () => {
  const taken = new World().follow();
  taken.table = [1, 2, 3, 4, 5, 6, 7, 8];
  taken.receiver.push({ kind: "mergeRequest", term: 2, generation: 1 });
  await new Promise(setImmediate);
  taken.receiver.input({ kind: "role", standby: false });
  const sent = taken.sent.length;
  for (let turn = 0; turn < 6; turn += 1) await new Promise(setImmediate);
  assert.equal(taken.sent.length, sent);
  taken.receiver.close();
  const broken = new World().follow();
  broken.receiver.push({ kind: "mergeRequest", term: 2, generation: 1 });
  for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
  assert.deepEqual(broken.failures, ["merge: this node's table cannot be read"]);
  broken.receiver.close();
});

/** Synchronised at 2/1, and in a round over all buckets at that position. */
async function inRound(): Promise<World> {
  const world = new World().follow().begin();
  world.receiver.push({ kind: "snapshotEnd", position: { term: 2, sequence: 1 }, generation: 1, count: 0 });
  const position = { term: 2, sequence: 1 };
  world.receiver.push({ kind: "roundDue", generation: 1 });
  const buckets = new Uint8Array(512).fill(0xff);
  world.receiver.push({ kind: "roundBegin", position, generation: 1, seed: 1, buckets });
  await world.idle();
  assert.equal(isSynchronised(world.receiver.state), false);
  world.calls.length = 0;
  world.sent.length = 0;
  return world;
}

const roundEnd = (sequence: number): PeerMessage => ({
  kind: "roundEnd",
  position: { term: 2, sequence },
  generation: 1,
  count: 1,
});

/** Until the walk through the table is over. */
async function swept({ receiver }: World): Promise<void> {
  while (receiver.state.round !== null) await new Promise(setImmediate);
}

test("the end of a round: the table is walked step by step, what was not heard of goes, and that is said", async () => {
  const world = await inRound();
  world.table = [50, 2, 51, 3];
  world.receiver.push(sessions(2, 2));
  world.receiver.push(roundEnd(3));
  await world.idle();
  await swept(world);
  assert.deepEqual(world.calls, [
    "apply 2 as 1",
    // 50 and 51, each in a step of its own.
    ...["apply 1 as 1", "apply 1 as 1", "walk closed"],
  ]);
  assert.deepEqual(world.sent, [
    { kind: "acknowledge", position: { term: 2, sequence: 3 } },
    { kind: "roundSwept", position: { term: 2, sequence: 3 }, generation: 1 },
  ]);
  assert.equal(isSynchronised(world.receiver.state), true);
  world.receiver.close();
});

test("the log goes on while the table is walked", async () => {
  const world = await inRound();
  world.table = Array.from({ length: 20 }, () => 50);
  world.receiver.push(roundEnd(1));
  await world.idle();
  world.receiver.push(sessions(2, 3));
  await world.idle();
  assert.ok(world.table.length > 0, "not at its end yet");
  assert.deepEqual(world.sent, [{ kind: "acknowledge", position: { term: 2, sequence: 4 } }]);
  await swept(world);
  assert.equal(world.sent.at(-1)?.kind, "roundSwept");
  world.receiver.close();
});

test("a takeover in mid-walk: the walk is left, and nothing more is removed", async () => {
  const world = await inRound();
  world.table = Array.from({ length: 50 }, () => 50);
  world.receiver.push(roundEnd(1));
  await world.idle();
  await new Promise(setImmediate);
  world.receiver.input({ kind: "role", standby: false });
  const calls = world.calls.length;
  assert.equal(world.calls.at(-1), "walk closed");
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.equal(world.calls.length, calls);
  assert.deepEqual(world.sent, []);
  world.receiver.close();
});

test("a table that cannot be walked, a session that stays: nothing is claimed, a snapshot is asked for", async () => {
  for (const spoil of [
    // Read beyond its end, the model fails.
    (world: World) => {
      world.table = [];
    },
    (world: World) => {
      world.table = [50, 51];
      world.refuse = 1;
    },
    // In the last step of the walk.
    (world: World) => {
      world.table = [50];
      world.refuse = 1;
    },
  ]) {
    const world = await inRound();
    spoil(world);
    world.receiver.push(roundEnd(1));
    await world.idle();
    await swept(world);
    assert.deepEqual(world.sent, []);
    assert.equal(isSynchronised(world.receiver.state), false);
    assert.equal(world.receiver.counters["round-sweep-failed"], 1);
    assert.notEqual(world.receiver.state.retryAt, null);
    world.receiver.close();
  }
});
