// Rounds over dirty buckets, rule by rule (core/replication/rounds.ts, D1-D5; receivedRound.ts, H1-H3), and that every round
// ends however much changes meanwhile. Whole runs with losses are in test/sim/log.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LOG_BUCKETS } from "../../src/base/limits.ts";
import { millis } from "../../src/base/units.ts";
import { BUCKET_SET_BYTES, Buckets, bucketOf, hasBucket } from "../../src/core/replication/buckets.ts";
import { visitKeys } from "../../src/core/replication/changedKeys.ts";
import { beginRound, hear, sweepChunk } from "../../src/core/replication/receivedRound.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import * as sender from "../../src/core/replication/sender.ts";
import { golden } from "../golden/golden.ts";
import { Receiver, Sender } from "./logMachines.ts";
import { batchOf, deletion, session } from "./records.ts";

const SEED = 0;

/** The buckets that hold these sessions. */
function bucketsOf(...ids: number[]): Uint8Array {
  const set = new Buckets();
  visitKeys(batchOf(ids.map((id) => session(id))), SEED, (high) => set.add(bucketOf(high)));
  return set.bits;
}

/** Synchronised, and the buckets of these sessions are to be read again. */
function due(ids: readonly number[], knowsRounds = true): Sender {
  const active = Sender.streaming({}, undefined, knowsRounds);
  active.now = millis(1000);
  active.feed({ kind: "dirty", buckets: bucketsOf(...ids) });
  return active;
}

/** As `due`, and the round has begun. */
function inRound(...ids: number[]): Sender {
  const active = due(ids);
  active.now = millis(1250);
  active.feed({ kind: "turn" });
  return active;
}

test("a set of buckets is a set", () => {
  const bucket = fc.nat({ max: LOG_BUCKETS - 1 });
  fc.assert(
    fc.property(fc.array(bucket), fc.array(bucket), (one, other) => {
      const [first, second] = [new Buckets(), new Buckets()];
      for (const each of one) first.add(each);
      for (const each of other) second.add(each);
      second.addAll(first.bits);
      const model = new Set([...one, ...other]);
      assert.equal(second.size, model.size);
      for (let each = 0; each < LOG_BUCKETS; each += 1)
        assert.equal(hasBucket(second.bits, each), model.has(each));
    }),
    { numRuns: 30 },
  );
  const all = new Buckets();
  all.fill();
  assert.equal(all.size, LOG_BUCKETS);
  assert.ok(hasBucket(all.bits, 0) && hasBucket(all.bits, LOG_BUCKETS - 1));
  all.clear();
  assert.equal(all.size, 0);
  assert.deepEqual(all.bits, new Uint8Array(BUCKET_SET_BYTES));
  assert.deepEqual([bucketOf(0), bucketOf(0xffffffff)], [0, LOG_BUCKETS - 1]);
});

test("the bucket of a session is that of docs/protocol.md §5.5", () => {
  visitKeys(golden("session-tcp"), 0x5eed0001, (high, low) =>
    assert.deepEqual([high, low, bucketOf(high)], [0x4e61d40d, 0x08677a0f, 1254]),
  );
  // The end of the same session has its key, and so its bucket.
  visitKeys(golden("session-delete"), 0x5eed0001, (high) => assert.equal(bucketOf(high), 1254));
});

test("D4: the standby hears at once that a round is due, and once; the round comes a moment later", () => {
  const active = due([]);
  assert.equal(sender.isSynchronised(active.state), true);
  assert.deepEqual(active.feed({ kind: "dirty", buckets: bucketsOf(7) }), ["due 1"]);
  assert.equal(sender.isSynchronised(active.state), false);
  assert.deepEqual(active.feed({ kind: "dirty", buckets: bucketsOf(8) }), []);
  assert.equal(sender.deadline(active.state), 1250);
  assert.equal(sender.wantsChunk(active.state, active.now), false);
  active.now = millis(1250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["round of 2 from 2/1"]);
  assert.equal(sender.wantsChunk(active.state, active.now), true);
});

test("a round sends what lies in its buckets and did not change since it began; changes go on beside it", () => {
  const active = inRound(7, 8, 9);
  assert.deepEqual(active.events(8, 20), ["change 2/2-3"]);
  assert.deepEqual(active.chunk([1, 7, 8], true), ["snapshot 2/4-4"]);
  assert.deepEqual(active.chunk([2, 9], false), ["snapshot 2/5-5", "round ends at 5 count 2"]);
  assert.deepEqual(active.events(30), ["change 2/6-6"]);
  active.acknowledge(6);
  assert.equal(sender.isSynchronised(active.state), false, "the standby has not swept yet");
  active.swept(4);
  active.swept(5, 2);
  assert.equal(sender.isSynchronised(active.state), false);
  assert.equal(active.state.counters.sweptIgnored, 2);
  active.swept(5);
  assert.equal(sender.isSynchronised(active.state), true);
});

test("D1: what is lost in a round belongs to the next one", () => {
  const active = inRound(7);
  assert.deepEqual(active.feed({ kind: "dirty", buckets: bucketsOf(7, 8) }), ["due 1"]);
  active.chunk([7], false);
  active.swept(2);
  assert.equal(sender.isSynchronised(active.state), false);
  assert.deepEqual(active.feed({ kind: "turn" }), []);
  active.now = millis(active.now + 250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["round of 2 from 2/2"]);
});

test("D2: no round begins while the kernel may still drop events", () => {
  const active = Sender.streaming();
  assert.deepEqual(active.feed({ kind: "overrun" }), ["due 1"]);
  active.now = millis(10_000);
  assert.deepEqual(active.feed({ kind: "turn" }), []);
  assert.equal(sender.deadline(active.state), null);
  assert.deepEqual(active.feed({ kind: "drained" }), ["begin 2/1 generation 1"]);
});

test("D2: nor does the first one, of a standby that subscribes meanwhile", () => {
  const active = new Sender();
  active.feed({ kind: "active", term: 2, relieved: false });
  active.feed({ kind: "overrun" });
  assert.deepEqual(active.subscribe(1), []);
  assert.deepEqual(active.events(1), [], "it could not place it");
  assert.deepEqual(active.feed({ kind: "drained" }), ["begin 2/1 generation 1"]);
});

test("D3: a dump that fails is read again, in the same round", () => {
  const active = inRound(7, 8);
  active.chunk([7], true);
  active.events(8);
  assert.deepEqual(active.feed({ kind: "dump-failed" }), []);
  assert.equal(sender.wantsChunk(active.state, active.now), false);
  active.now = millis(active.now + 250);
  assert.equal(sender.wantsChunk(active.state, active.now), true);
  assert.deepEqual(active.chunk([7, 8], false), ["snapshot 2/4-4", "round ends at 4 count 2"]);
});

test("D3: a chunk of another round is dropped", () => {
  const active = inRound(7);
  const before = active.state.round!.number;
  active.chunk([], false);
  assert.deepEqual(active.chunk([7], false), [], "this one has ended");
  active.swept(1);
  active.feed({ kind: "dirty", buckets: bucketsOf(7) });
  active.now = millis(active.now + 250);
  active.feed({ kind: "turn" });
  assert.deepEqual(active.chunk([7], false, before), []);
  assert.deepEqual(active.chunk([7], false), ["snapshot 2/2-2", "round ends at 2 count 1"]);
});

test("of more than a quarter of the buckets a round is a snapshot", () => {
  for (const [buckets, wanted] of [
    [LOG_BUCKETS / 4, `round of ${LOG_BUCKETS / 4} from 2/1`],
    [LOG_BUCKETS / 4 + 1, "begin 2/1 generation 1"],
  ] as const) {
    const active = Sender.streaming();
    const set = new Buckets();
    for (let bucket = 0; bucket < buckets; bucket += 1) set.add(bucket);
    active.feed({ kind: "dirty", buckets: set.bits });
    active.now = millis(250);
    assert.deepEqual(active.feed({ kind: "turn" }), [wanted]);
  }
});

test("a peer of version 1 hears what it knows: a snapshot begins, and is never ended in vain", () => {
  const active = due([], false);
  assert.deepEqual(active.feed({ kind: "dirty", buckets: bucketsOf(7) }), ["begin 2/1 generation 1"]);
  active.now = millis(1250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["begin 2/1 generation 1"]);
  active.chunk([1], true);
  assert.deepEqual(active.feed({ kind: "dirty", buckets: null }), [], "it believes nothing anyway");
  assert.deepEqual(active.chunk([2], false), ["snapshot 2/3-3"]);
  assert.equal(active.state.counters.roundsInVain, 1);
  active.now = millis(active.now + 250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["begin 2/3 generation 1"]);
  assert.deepEqual(active.chunk([1, 2], false), ["snapshot 2/4-5", "end 6 count 2"]);
  // Its end may be believed in a moment.
  assert.deepEqual(active.feed({ kind: "dirty", buckets: bucketsOf(7) }), ["begin 2/6 generation 1"]);
});

test("everything may be asked for: another policy, an operator", () => {
  const active = Sender.streaming();
  assert.deepEqual(active.feed({ kind: "dirty", buckets: null }), ["due 1"]);
  active.now = millis(250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["begin 2/1 generation 1"]);
  // Nobody follows: the next snapshot says it all.
  active.feed({ kind: "unsubscribe" });
  assert.deepEqual(active.feed({ kind: "dirty", buckets: null }), []);
});

/** Synchronised in term 2 at 2/2, and in a round over these sessions' buckets. */
function standbyInRound(...ids: number[]): Receiver {
  const standby = Receiver.streaming();
  standby.feed({ kind: "round-due", generation: 1 });
  standby.feed({
    kind: "round-begin",
    position: { term: 2, sequence: 2 },
    generation: 1,
    seed: SEED,
    buckets: bucketsOf(...ids),
  });
  return standby;
}

function hears(standby: Receiver, first: number, ...records: Uint8Array[]): void {
  const bytes = batchOf(records);
  standby.feed({ kind: "sessions", first: { term: 2, sequence: first }, count: records.length, bytes });
  standby.applied(records.length);
}

const ends = (standby: Receiver, sequence: number): string[] =>
  standby.feed({ kind: "round-end", position: { term: 2, sequence }, generation: 1 });

/** One step through the standby's table, which holds these sessions. */
const walks = (standby: Receiver, ids: readonly number[], more: boolean): string[] =>
  standby.feed({
    kind: "round-chunk",
    bytes: batchOf(ids.map((id) => deletion(id))),
    count: ids.length,
    more,
  });

test("R5: from the word that a round is due until its sweep a standby is not synchronised", () => {
  const standby = Receiver.streaming();
  assert.equal(receiver.isSynchronised(standby.state), true);
  standby.feed({ kind: "round-due", generation: 2 });
  assert.equal(receiver.isSynchronised(standby.state), true, "the word of another subscription");
  standby.feed({ kind: "round-due", generation: 1 });
  assert.equal(receiver.isSynchronised(standby.state), false);
  const inside = standbyInRound(7);
  assert.equal(receiver.isSynchronised(inside.state), false);
  assert.equal(receiver.wantsSweep(inside.state), false);
  assert.deepEqual(ends(inside, 2), []);
  assert.equal(receiver.isSynchronised(inside.state), false);
  assert.equal(receiver.wantsSweep(inside.state), true);
  assert.deepEqual(walks(inside, [], false), ["swept 2/2"]);
  assert.equal(receiver.isSynchronised(inside.state), true);
  // Another loss within the round outlives it.
  const again = standbyInRound(7);
  again.feed({ kind: "round-due", generation: 1 });
  ends(again, 2);
  walks(again, [], false);
  assert.equal(receiver.isSynchronised(again.state), false);
});

test("H1, H2: what lies in the buckets and was not heard of goes, changes and ends count as heard", () => {
  const standby = standbyInRound(7, 8, 9, 10);
  hears(standby, 3, session(7), deletion(8));
  ends(standby, 4);
  assert.deepEqual(walks(standby, [1, 7, 8, 9, 50], true), ["remove 1"]);
  const [effect] = standby.effects;
  assert.deepEqual(effect?.kind === "remove" ? effect.bytes : null, deletion(9));
  // A session that begins while the table is walked stays.
  hears(standby, 5, session(10));
  assert.deepEqual(walks(standby, [10], false), ["swept 2/4"]);
  assert.equal(standby.state.counters.removed, 1);
});

test("H3: where more was heard of than is remembered nothing is removed", () => {
  const round = beginRound(SEED, bucketsOf(1, 2, 3), 2);
  hear(round, batchOf([session(1), session(2)]));
  assert.equal(round.overflowed, false);
  hear(round, batchOf([session(3)]));
  assert.equal(round.overflowed, true);
  const standby = standbyInRound(7);
  standby.state.round!.overflowed = true;
  assert.deepEqual(ends(standby, 2), ["subscribe 2 generation 2"]);
  assert.equal(standby.state.counters.roundsTooLarge, 1);
  assert.deepEqual(walks(standby, [7], false), []);
});

test("a sweep keeps exactly what was heard of, or lies elsewhere", () => {
  const ids = fc.uniqueArray(fc.nat({ max: 60 }), { maxLength: 30 });
  fc.assert(
    fc.property(ids, ids, ids, (inside, heard, held) => {
      const round = beginRound(SEED, bucketsOf(...inside));
      hear(round, batchOf(heard.map((id) => session(id))));
      const table = batchOf(held.map((id) => deletion(id)));
      const kept = sweepChunk(round, table);
      const gone = held.filter((id) => inside.includes(id) && !heard.includes(id));
      assert.deepEqual(table.slice(0, kept.length), batchOf(gone.map((id) => deletion(id))));
      assert.equal(kept.count, gone.length);
    }),
    { numRuns: 200 },
  );
});

test("a takeover, a lost connection or a new subscription ends a round without a removal", () => {
  for (const end of [
    (standby: Receiver) => standby.feed({ kind: "role", standby: false }),
    (standby: Receiver) => standby.feed({ kind: "disconnected" }),
    (standby: Receiver) => standby.feed({ kind: "peer", role: "active", term: 4 }),
  ]) {
    const standby = standbyInRound(7);
    ends(standby, 2);
    end(standby);
    assert.equal(receiver.wantsSweep(standby.state), false);
    assert.deepEqual(walks(standby, [7], false), []);
  }
});

test("a sweep that fails claims nothing: a snapshot is asked for", () => {
  const standby = standbyInRound(7);
  ends(standby, 2);
  assert.deepEqual(standby.feed({ kind: "round-sweep-failed" }), []);
  assert.equal(receiver.isSynchronised(standby.state), false);
  standby.now = receiver.deadline(standby.state)!;
  assert.deepEqual(standby.feed({ kind: "turn" }), ["subscribe 2 generation 2"]);
});

test("what is out of place in a round ends the connection", () => {
  const at = (sequence: number) => ({ position: { term: 2, sequence }, generation: 1 });
  const begin = (sequence: number) =>
    ({ kind: "round-begin", ...at(sequence), seed: SEED, buckets: bucketsOf(1) }) as const;
  assert.deepEqual(Receiver.streaming().feed(begin(3)), ["fail position-gap"]);
  assert.deepEqual(standbyInRound(7).feed(begin(2)), ["fail round-within-round"]);
  assert.deepEqual(standbyInRound(7).feed({ kind: "round-end", ...at(3) }), ["fail position-gap"]);
  assert.deepEqual(Receiver.streaming().feed({ kind: "round-end", ...at(2) }), ["fail round-end-unasked"]);
  assert.deepEqual(Receiver.streaming().feed({ ...begin(2), generation: 3 }), [
    "fail round-of-another-subscription",
  ]);
  const early = Receiver.waiting();
  early.begin(0);
  assert.deepEqual(early.feed(begin(0)), ["fail round-within-snapshot"]);
  // Nobody's standby: passed over.
  assert.deepEqual(Receiver.waiting().feed(begin(0)), []);
});

test("D3: rounds end under endless pressure, and nothing grows beyond its bound", () => {
  const limits = { logBytesMax: 3000, snapshotWindowBytes: 300, roundPaceMs: 50 };
  const active = Sender.subscribed(limits, 50);
  const ids = Array.from({ length: 200 }, (_, id) => id);
  const sent: { sequence: number; sweeps: number | null }[] = [];
  let at = 0;
  let drawn = 1;
  const take = (): void => {
    for (const effect of active.effects) {
      if (effect.kind === "sessions")
        for (let index = 0; index < effect.count; index += 1)
          sent.push({ sequence: effect.first.sequence + index, sweeps: null });
      if (effect.kind === "snapshot-end") sent.push({ sequence: effect.position.sequence, sweeps: null });
      if (effect.kind === "round-end")
        sent.push({ sequence: effect.position.sequence, sweeps: effect.position.sequence });
    }
  };
  const rounds: number[] = [];
  for (let ms = 1; ms <= 20_000; ms += 1) {
    active.now = millis(ms);
    // Ten changes a millisecond; the standby takes four records.
    const changed = Array.from({ length: 10 }, () => {
      drawn = (Math.imul(drawn, 1103515245) + 12345) >>> 0;
      return (drawn >>> 8) % 200;
    });
    active.events(...changed);
    take();
    if (sender.wantsChunk(active.state, active.now)) {
      active.chunk(ids.slice(at, at + 5), at + 5 < 200);
      take();
      at = at + 5 < 200 ? at + 5 : 0;
    }
    for (const { sequence, sweeps } of sent.splice(0, 4)) {
      if (sweeps === null) active.acknowledge(sequence);
      else active.swept(sweeps);
      take();
    }
    const { changesInFlight, readInFlight } = active.state;
    assert.ok(changesInFlight.bytes <= limits.logBytesMax && readInFlight.bytes <= 300 + 5 * 28);
    rounds.push(active.state.counters.roundsDone);
  }
  const done = rounds.at(-1)!;
  assert.ok(done >= 5, `${done} rounds in 20 s`);
  assert.ok(rounds[9_999]! < done, "and they go on ending");
  assert.ok(active.state.counters.unsentLogFull > 1000, "there was pressure");
});
