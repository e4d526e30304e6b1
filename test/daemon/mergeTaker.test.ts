// The driver of a merge on the active's side: slices, what a standby that means ill may send, and that a merge which is
// void leaves no record behind.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_BYTES_MAX, MERGE_SLICE_RECORDS, MERGE_WINDOW_BYTES } from "../../src/base/limits.ts";
import type { Taking } from "../../src/core/replication/merge.ts";
import { type MergeMessage, MergeTaker } from "../../src/daemon/mergeTaker.ts";
import { batchOf, deletion, session } from "../core/records.ts";

class World {
  readonly calls: string[] = [];
  taking: Taking | null = { subscription: { term: 4, generation: 1 }, sequence: 0 };
  broken = false;
  readonly taker = new MergeTaker({
    insert: (_, count) => {
      if (this.broken) throw new Error("the kernel is out of memory");
      return { inserted: count - 2, same: 1, clashed: 1, refused: {} };
    },
    taking: () => this.taking,
    drain: () => this.calls.push("drain"),
    input: (input) => {
      if (input.kind === "merge-sessions") {
        this.calls.push(`${input.first.sequence} count ${input.count}`);
        this.taker.insert(input.bytes, input.count);
      } else this.calls.push(input.kind);
    },
    fail: (reason) => this.calls.push(`fail ${reason}`),
    log: () => {},
  });

  async turns(count = 8): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate);
  }
}

const sessions = (first: number, records: readonly Uint8Array[], count = records.length): MergeMessage => ({
  kind: "sessions",
  origin: "merge",
  first: { term: 4, sequence: first },
  count,
  records: batchOf(records),
});
const many = (count: number): Uint8Array[] => Array.from({ length: count }, (_, id) => session(id));
const END: MergeMessage = { kind: "mergeEnd", term: 4, generation: 1, count: 0 };

test("a message is taken in slices, each after the kernel's events, and the end behind the last of them", async () => {
  const world = new World();
  world.taker.push(sessions(1, many(MERGE_SLICE_RECORDS + 5)));
  world.taker.push(END);
  await world.turns();
  assert.deepEqual(world.calls, [
    "drain",
    `1 count ${MERGE_SLICE_RECORDS}`,
    "drain",
    `${MERGE_SLICE_RECORDS + 1} count 5`,
    "merge-end",
  ]);
  assert.deepEqual(world.taker.counters, {
    inserted: MERGE_SLICE_RECORDS + 5 - 4,
    same: 2,
    clashed: 2,
    refused: 0,
  });
});

test("a merge that is void between two slices: nothing more of it", async () => {
  const world = new World();
  world.taker.push(sessions(1, many(3 * MERGE_SLICE_RECORDS)));
  world.taker.push(END);
  // Another subscription of the same standby: another merge.
  world.taking = { subscription: { term: 4, generation: 2 }, sequence: 0 };
  await world.turns();
  assert.deepEqual(world.calls, ["drain", `1 count ${MERGE_SLICE_RECORDS}`, "drain"]);
});

test("records that are malformed, that end sessions, or that are fewer than said end the connection", async () => {
  const cases: readonly (readonly [MergeMessage, string])[] = [
    [sessions(1, [deletion(1)]), "fail sessions: a merge only creates"],
    [sessions(1, [session(1, 0, "update")]), "fail sessions: a merge only creates"],
    [sessions(1, [session(1)], 2), "fail sessions: count of records"],
    [sessions(1, []), "fail sessions: count of records"],
    [sessions(1, [session(1).subarray(0, 9)]), "fail sessions: truncated"],
  ];
  for (const [message, expected] of cases) {
    const world = new World();
    world.taker.push(message);
    await world.turns();
    assert.deepEqual(world.calls, [expected]);
  }
});

test("more than the window, unacknowledged, ends the connection", () => {
  const world = new World();
  const message = sessions(1, many(2000));
  const { length } = (message as Extract<MergeMessage, { kind: "sessions" }>).records;
  assert.ok(length < BATCH_BYTES_MAX);
  for (let sent = 0; sent <= MERGE_WINDOW_BYTES + 2 * BATCH_BYTES_MAX; sent += length)
    world.taker.push(message);
  assert.equal(world.calls.at(-1), "fail merge: more than was acknowledged");
});

test("a kernel that refuses costs sessions, which are counted, and not the daemon", async () => {
  const world = new World();
  world.broken = true;
  world.taker.push(sessions(1, many(10)));
  await world.turns();
  assert.equal(world.taker.counters.refused, 10);
});
