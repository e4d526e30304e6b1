// The active's driver over a model kernel: what is read in which order, which dump is open when, and that a round or a refresh
// that is due comes by itself.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { BUCKET_SET_BYTES } from "../../src/core/replication/buckets.ts";
import type { SenderLimits } from "../../src/core/replication/senderState.ts";
import { LogSender } from "../../src/daemon/logSender.ts";
import type { PeerMessage } from "../../src/wire/peer.ts";
import type { RecordBatch } from "../../src/wire/session.ts";
import { decodeRecord } from "../../src/wire/sessionRecord.ts";
import { session } from "../core/records.ts";

const DAY_MS = 86_400_000;

/** A dump of one session a step. */
class ModelDump {
  readonly name: string;
  closed = false;
  #left: number[];
  constructor(name: string, table: readonly number[]) {
    this.name = name;
    this.#left = [...table];
  }
  next(batch: RecordBatch): boolean {
    const id = this.#left.shift();
    if (id !== undefined) append(batch, id);
    return this.#left.length > 0;
  }
  close(): void {
    this.closed = true;
  }
}

function append(batch: RecordBatch, id: number): void {
  const record = session(id);
  batch.copy(record, 0, record.length);
}

class World {
  /** What was done to the kernel and said to the standby, in order. */
  readonly calls: string[] = [];
  table: number[] = [];
  dumps: ModelDump[] = [];
  dumpBroken = false;
  /** Sessions of which events wait. */
  events: number[] = [];
  overrun = false;
  eventsBroken = false;
  discarded = 0;
  /** What somebody did to the table of a standby since it was last asked. */
  disturbance = { ended: 0, changed: 0, lost: false };
  readonly failures: string[] = [];
  readonly sender: LogSender;

  constructor(t: TestContext, limits: Partial<SenderLimits> = {}) {
    t.after(() => this.close());
    this.sender = new LogSender({
      kernel: {
        events: {
          fd: -1,
          expectations: false,
          drain: (batch) => this.#drain(batch),
          discard: () => {
            this.discarded += 1;
            this.events = [];
            this.overrun = false;
            return this.disturbance;
          },
          close: () => {},
        },
        openDump: () => {
          if (this.dumpBroken) throw new Error("the kernel is out of memory");
          const dump = new ModelDump(`dump ${this.dumps.length + 1}`, this.table);
          this.calls.push(`open ${dump.name}`);
          this.dumps.push(dump);
          return dump;
        },
      },
      send: (message) => this.calls.push(textOf(message)),
      fail: (reason) => this.failures.push(reason),
      tellRole: () => this.calls.push("role"),
      insert: () => {},
      onSnapshot: () => this.calls.push("neighbours"),
      onChange: () => {},
      log: () => {},
      limits: { roundPaceMs: 1, refreshRoundMs: DAY_MS, ...limits },
      seed: 1,
    });
  }

  /** One event a call, so that what is read first is seen. */
  #drain(batch: RecordBatch): { more: boolean; overrun: boolean; events: number } {
    if (this.eventsBroken) throw new Error("the kernel is out of memory");
    const id = this.events.shift();
    const { overrun } = this;
    this.overrun = false;
    if (id !== undefined) append(batch, id);
    if (id !== undefined) this.calls.push(`event ${id}`);
    return { more: this.events.length > 0, overrun, events: id === undefined ? 0 : 1 };
  }

  active(): this {
    this.sender.input({ kind: "active", term: 2, relieved: false });
    return this;
  }

  subscribe(generation = 1): this {
    const subscription = { term: 2, generation };
    this.sender.input({ kind: "subscribe", subscription, own: false, knowsRounds: true });
    return this;
  }

  acknowledge(): void {
    this.sender.input({ kind: "acknowledge", position: { term: 2, sequence: this.sender.state.sequence } });
  }

  doubt(): void {
    const buckets = new Uint8Array(BUCKET_SET_BYTES);
    buckets[0] = 1;
    this.sender.input({ kind: "dirty", buckets });
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + 5000;
    while (!condition()) {
      assert.ok(performance.now() < end, `in vain: ${what}\n${this.calls.join("\n")}`);
      await new Promise(setImmediate);
    }
  }

  /** Everything is read, and acknowledged. */
  async synchronised(): Promise<this> {
    await this.until(
      () => this.sender.state.round === null || this.sender.state.round.end !== null,
      "a round's end",
    );
    this.acknowledge();
    this.calls.length = 0;
    return this;
  }

  close(): void {
    this.sender.close();
  }
}

function textOf(message: PeerMessage): string {
  if (message.kind !== "sessions") return message.kind;
  const ids: number[] = [];
  for (let at = 0; at < message.records.length; ) {
    const decoded = decodeRecord(message.records, at);
    assert.ok(decoded.ok);
    ids.push(decoded.record.original.source.at(-1)!);
    at = decoded.end;
  }
  return `${message.origin} ${ids.join(" ")}`;
}

test("a new active reads its events first, and dumps when somebody subscribes", (t) => {
  const world = new World(t);
  world.table = [1, 2];
  // While it was a standby: what its own kernel told is nobody's business, and must not fill the socket.
  world.events = [9];
  world.overrun = true;
  world.sender.turn();
  assert.equal(world.discarded, 1);
  world.active();
  world.events = [3];
  world.sender.turn();
  assert.deepEqual(world.calls, ["event 3"], "heard, not said, and no dump");
  assert.equal(world.sender.state.sequence, 1);
  world.events = [4];
  world.subscribe();
  world.sender.turn();
  assert.deepEqual(world.calls.slice(1), [
    "snapshotBegin",
    "neighbours",
    "open dump 1",
    "event 4",
    "change 4",
    "snapshot 1",
  ]);
  world.close();
  assert.ok(world.dumps[0]?.closed);
});

test("S2: a chunk is read before the events, and said after them", (t) => {
  const world = new World(t).active();
  world.table = [7];
  world.events = [5, 6, 7];
  world.subscribe();
  world.sender.turn();
  assert.deepEqual(world.calls, [
    ...["snapshotBegin", "neighbours", "open dump 1"],
    ...["event 5", "change 5", "event 6", "change 6", "event 7", "change 7"],
    // The change of 7 is the newer word.
    "snapshotEnd",
  ]);
});

test("D2: after an overrun no dump is opened before the socket was found empty", async (t) => {
  const world = await new World(t).active().subscribe().synchronised();
  world.events = [1, 2];
  world.overrun = true;
  world.table = [3];
  world.sender.turn();
  assert.equal(world.sender.state.losing, false);
  await world.until(() => world.calls.includes("snapshotEnd"), "the round");
  assert.deepEqual(world.calls, [
    ...["event 1", "change 1", "roundDue", "event 2", "change 2"],
    ...["snapshotBegin", "neighbours", "open dump 2", "snapshot 3", "snapshotEnd"],
  ]);
});

test("D2: a socket that cannot be read has lost what it held, and is not empty", async (t) => {
  const world = await new World(t).active().subscribe().synchronised();
  world.eventsBroken = true;
  world.sender.turn();
  assert.deepEqual(world.calls, ["roundDue"]);
  assert.equal(world.sender.state.losing, true);
  world.eventsBroken = false;
  world.sender.turn();
  assert.equal(world.sender.state.losing, false);
  await world.until(() => world.calls.includes("snapshotEnd"), "the round");
});

test("a dump that cannot be opened is tried again by itself, in the same round", async (t) => {
  const world = new World(t).active();
  world.table = [1];
  world.dumpBroken = true;
  world.subscribe();
  await world.until(() => world.sender.state.counters.dumpsFailed >= 2, "two failures");
  world.dumpBroken = false;
  await world.until(() => world.calls.includes("snapshotEnd"), "the end");
  assert.equal(world.calls.filter((call) => call === "snapshotBegin").length, 1);
});

test("a round comes by itself, beside the dump of a refresh, which goes on after it", async (t) => {
  const world = new World(t, { refreshRoundMs: 100 }).active();
  world.table = Array.from({ length: 60 }, (_, id) => id);
  await world.subscribe().synchronised();
  await world.until(() => (world.sender.state.refresh?.chunks ?? 0) > 0, "a refresh");
  const refresh = world.dumps.at(-1)!;
  const { number } = world.sender.state.refresh!;
  world.doubt();
  await world.until(() => world.calls.includes("roundEnd"), "a round");
  assert.deepEqual([refresh.closed, world.dumps.at(-1)?.closed], [false, true]);
  assert.equal(world.sender.state.refresh?.number, number);
  const chunks = world.sender.state.refresh?.chunks ?? 0;
  const position = { term: 2, sequence: world.sender.state.round!.end! };
  world.acknowledge();
  world.sender.input({ kind: "round-swept", position, generation: 1 });
  await world.until(() => (world.sender.state.refresh?.chunks ?? 99) > chunks, "the refresh goes on");
  world.close();
  assert.ok(refresh.closed);
});

test("another subscription, or none, closes what was read for the one before", async (t) => {
  const world = new World(t).active();
  world.table = [1, 2, 3];
  world.subscribe();
  world.sender.turn();
  const [first] = world.dumps;
  world.subscribe(2);
  assert.ok(first?.closed);
  world.sender.turn();
  const second = world.dumps[1];
  assert.equal(second?.closed, false);
  world.sender.input({ kind: "unsubscribe" });
  assert.ok(second?.closed);
});

test("an acknowledgement that is waited for: of what the kernel had told, and of the round", async (t) => {
  const world = await new World(t).active().subscribe().synchronised();
  world.events = [1, 2];
  const done = world.sender.waitAcknowledged(5000);
  assert.deepEqual(world.calls, ["event 1", "change 1", "event 2", "change 2"]);
  world.acknowledge();
  assert.equal(await done, true);
  world.doubt();
  const early = await world.sender.waitAcknowledged(0);
  assert.equal(early, false, "everything is acknowledged, but some of it is in doubt");
});

test("what somebody does to a standby's table is counted; what was left of being active is not", (t) => {
  const world = new World(t);
  world.disturbance = { ended: 7, changed: 1, lost: true };
  world.sender.turn();
  assert.deepEqual(world.sender.disturbed, { ended: 0, changed: 0, lost: 0 });
  world.disturbance = { ended: 2, changed: 1, lost: true };
  world.sender.turn();
  world.sender.turn();
  assert.deepEqual(world.sender.disturbed, { ended: 4, changed: 2, lost: 2 });
  world.active();
  world.sender.input({ kind: "inactive" });
  world.sender.turn();
  assert.deepEqual(world.sender.disturbed, { ended: 4, changed: 2, lost: 2 });
});
