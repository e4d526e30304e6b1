// The two machines of the log, step by step: what each rule of their invariants (S1-S5, R1-R5) looks like. Rounds over some
// buckets and refreshes are in rounds.test.ts and refresh.test.ts, whole runs with delays, losses and slow standbys in
// test/sim/log.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { millis } from "../../src/base/units.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import * as sender from "../../src/core/replication/sender.ts";
import { Receiver, Sender } from "./logMachines.ts";
import { batchOf, deletion } from "./records.ts";

const at = millis(0);

test("S5: nothing is sent while nobody subscribed, and positions advance all the same", () => {
  const active = new Sender();
  assert.deepEqual(active.events(1, 2), []);
  assert.equal(sender.produced(active.state), null);
  active.feed({ kind: "active", term: 2, relieved: false });
  assert.deepEqual(active.events(1, 2), []);
  assert.deepEqual(sender.produced(active.state), { term: 2, sequence: 2 });
});

test("a subscription opens a snapshot, chunks and changes share one numbering", () => {
  const active = new Sender();
  active.feed({ kind: "active", term: 2, relieved: false });
  active.events(1, 2, 3);
  assert.deepEqual(active.subscribe(3), ["begin 2/3 generation 3"]);
  assert.ok(sender.wantsChunk(active.state, at));
  assert.deepEqual(active.chunk([10, 11], true), ["snapshot 2/4-5"]);
  assert.deepEqual(active.events(20), ["change 2/6-6"]);
  assert.deepEqual(active.chunk([12], false), ["snapshot 2/7-7", "end 8 count 3"]);
  assert.deepEqual(active.events(21, 22), ["change 2/9-10"]);
  assert.equal(sender.isSynchronised(active.state), false);
  active.acknowledge(7);
  assert.equal(sender.isSynchronised(active.state), false);
  active.acknowledge(8);
  assert.equal(sender.isSynchronised(active.state), true);
});

test("S2: a snapshot record of a key that changed since the snapshot began is skipped", () => {
  const active = Sender.subscribed();
  active.events(11);
  const bytes = batchOf([deletion(13)]);
  active.feed({ kind: "events", bytes, count: 1 });
  assert.deepEqual(active.chunk([10, 11, 12, 13, 14], false), ["snapshot 2/3-5", "end 6 count 3"]);
  assert.equal(active.state.counters.skippedInRound, 2);
});

test("S2: what changed before the snapshot is not skipped", () => {
  const active = Sender.streaming();
  active.events(11);
  active.subscribe(2);
  assert.deepEqual(active.chunk([10, 11], false), ["snapshot 2/3-4", "end 5 count 2"]);
});

test("S3: an overrun in a snapshot marks everything, and the snapshot goes on to its end", () => {
  const active = Sender.subscribed();
  active.chunk([1, 2], true);
  assert.deepEqual(active.feed({ kind: "overrun" }), ["due 1"]);
  assert.deepEqual(active.feed({ kind: "overrun" }), []);
  assert.deepEqual(active.feed({ kind: "drained" }), []);
  assert.deepEqual(active.chunk([3], false), ["snapshot 2/3-3", "end 4 count 3"]);
  assert.equal(sender.isSynchronised(active.state), false);
  active.now = millis(1000);
  assert.deepEqual(active.acknowledge(4), []);
  assert.equal(sender.isSynchronised(active.state), false);
  assert.equal(sender.deadline(active.state), 1250);
  active.now = millis(1250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["begin 2/4 generation 1"]);
});

test("S3: more changed keys than the set holds: sent all the same, and their buckets are read again", () => {
  const active = Sender.subscribed({}, 2);
  assert.deepEqual(active.events(1, 2, 3), ["change 2/1-3", "due 1"]);
  assert.equal(active.state.counters.dirtyKeysFull, 1);
  assert.equal(active.state.dirty.size, 1);
});

test("S4: a snapshot waits for acknowledgements, changes do not", () => {
  const active = Sender.subscribed({ snapshotWindowBytes: 100 });
  active.chunk([1, 2, 3, 4], true);
  assert.equal(sender.wantsChunk(active.state, at), false);
  assert.deepEqual(active.events(9), ["change 2/5-5"]);
  active.acknowledge(5);
  assert.equal(sender.wantsChunk(active.state, at), true);
});

test("S4: a log that is full marks buckets, takes no numbers, and is open again below a quarter", () => {
  const size = batchOf([deletion(1)]).length;
  const active = Sender.streaming({ logBytesMax: size * 8 });
  assert.deepEqual(active.deletes(1, 2, 3, 4, 5, 6), ["change 2/2-7"]);
  assert.deepEqual(active.deletes(7, 8, 9), ["due 1"]);
  assert.deepEqual(active.deletes(10), []);
  assert.equal(active.state.dirty.size, 4);
  assert.equal(active.state.counters.unsentLogFull, 4);
  assert.deepEqual(active.acknowledge(6), []);
  assert.deepEqual(active.deletes(11), [], "one of six is still on its way, with three it is full");
  assert.deepEqual(active.acknowledge(7), []);
  assert.deepEqual(active.deletes(12), ["change 2/8-8"]);
  active.now = millis(250);
  assert.deepEqual(active.feed({ kind: "turn" }), ["round of 5 from 2/8"]);
});

test("a subscription to another term, or to a node that is not active, is told what we are", () => {
  const node = new Sender();
  assert.deepEqual(node.subscribe(1), ["tell-role"]);
  node.feed({ kind: "active", term: 4, relieved: false });
  assert.deepEqual(node.subscribe(1), ["tell-role"]);
  assert.deepEqual(node.events(1), []);
});

test("a new term voids the log", () => {
  const active = Sender.streaming();
  active.events(1);
  active.feed({ kind: "active", term: 4, relieved: false });
  assert.deepEqual(sender.produced(active.state), { term: 4, sequence: 0 });
  assert.deepEqual(active.events(2), []);
  assert.deepEqual(active.acknowledge(1, 2), []);
});

test("an acknowledgement of what was never produced ends the connection; an old one changes nothing", () => {
  const active = Sender.streaming();
  active.events(1, 2);
  assert.deepEqual(active.acknowledge(99), ["fail acknowledge-beyond-produced"]);
  active.acknowledge(2);
  active.acknowledge(1);
  assert.equal(active.state.acknowledged, 2);
});

test("R3: a standby subscribes to a peer that says active, in either order, and to nobody else", () => {
  const first = new Receiver();
  assert.deepEqual(first.feed({ kind: "peer", role: "active", term: 2 }), []);
  assert.deepEqual(first.feed({ kind: "role", standby: true }), ["subscribe 2 generation 1"]);
  const second = new Receiver();
  assert.deepEqual(second.feed({ kind: "role", standby: true }), []);
  assert.deepEqual(second.feed({ kind: "peer", role: "standby", term: 2 }), []);
  assert.deepEqual(second.feed({ kind: "peer", role: "active", term: 4 }), ["subscribe 4 generation 1"]);
  assert.deepEqual(second.feed({ kind: "peer", role: "active", term: 4 }), []);
  assert.deepEqual(second.feed({ kind: "peer", role: "active", term: 6 }), ["subscribe 6 generation 2"]);
});

test("a whole snapshot: applied, acknowledged, swept, synchronised", () => {
  const standby = Receiver.waiting();
  assert.deepEqual(standby.begin(7), []);
  assert.deepEqual(standby.sessions(8, 3), ["apply 3 as 1"]);
  assert.deepEqual(standby.applied(3), ["acknowledge 2/10"]);
  assert.equal(receiver.isSynchronised(standby.state), false);
  assert.deepEqual(standby.end(11), ["sweep 1"]);
  assert.equal(receiver.isSynchronised(standby.state), false);
  assert.deepEqual(standby.feed({ kind: "swept" }), ["acknowledge 2/11"]);
  assert.equal(receiver.isSynchronised(standby.state), true);
  assert.deepEqual(standby.sessions(12, 1), ["apply 1 as 1"]);
});

test("R1: slices are acknowledged as they arrive in the kernel", () => {
  const standby = Receiver.streaming();
  standby.sessions(3, 10);
  assert.deepEqual(standby.applied(4), ["acknowledge 2/6"]);
  assert.deepEqual(standby.applied(6), ["acknowledge 2/12"]);
});

test("R2: a gap, a repetition or another term ends the connection", () => {
  assert.deepEqual(Receiver.streaming().sessions(4, 1), ["fail position-gap"]);
  assert.deepEqual(Receiver.streaming().sessions(2, 1), ["fail position-gap"]);
  assert.deepEqual(Receiver.streaming().sessions(3, 1, 4), ["fail sessions-of-another-term"]);
  assert.deepEqual(Receiver.streaming().end(3), ["fail snapshot-end-unasked"]);
  const midway = Receiver.waiting();
  midway.begin(0);
  assert.deepEqual(midway.end(5), ["fail position-gap"]);
});

test("what still belongs to an earlier subscription is ignored", () => {
  const standby = Receiver.streaming();
  standby.feed({ kind: "peer", role: "active", term: 4 });
  assert.deepEqual(standby.sessions(3, 1), []);
  assert.deepEqual(standby.begin(9, 1, 2), []);
  assert.deepEqual(standby.begin(0, 2, 4), []);
  assert.deepEqual(standby.sessions(1, 1, 4), ["apply 1 as 2"]);
  assert.equal(standby.state.counters.ignored, 2);
});

test("R4: each snapshot writes a generation that nothing carries; the oldest unfinished one gives way", () => {
  const standby = Receiver.streaming();
  assert.equal(standby.state.complete, 1);
  assert.deepEqual(standby.unfinished(), ["apply 1 as 2"]);
  assert.deepEqual(standby.unfinished(), ["apply 1 as 3"]);
  assert.deepEqual(standby.unfinished(), ["purge 2", "apply 1 as 2"]);
  assert.deepEqual(standby.unfinished(), ["purge 3", "apply 1 as 3"]);
  standby.end(2);
  standby.feed({ kind: "swept" });
  assert.deepEqual(standby.unfinished(), ["apply 1 as 1"]);
});

test("R4: what a daemon before us left in the kernel is not taken for ours", () => {
  const standby = new Receiver();
  standby.feed({ kind: "carried", generations: [1, 2] });
  standby.feed({ kind: "role", standby: true });
  standby.feed({ kind: "peer", role: "active", term: 2 });
  assert.deepEqual(standby.unfinished(), ["apply 1 as 3"]);
});

test("R4: a takeover in the middle sweeps nothing", () => {
  const standby = Receiver.waiting();
  standby.begin(0);
  standby.sessions(1, 1);
  standby.feed({ kind: "role", standby: false });
  assert.deepEqual(standby.applied(1), []);
  assert.deepEqual(standby.end(2), []);
  assert.deepEqual(standby.feed({ kind: "swept" }), []);
  assert.equal(standby.state.phase, "off");
});

test("R5: refused records withdraw readiness until a later snapshot brings them, asked for ever more rarely", () => {
  const standby = Receiver.streaming();
  standby.sessions(3, 2);
  assert.deepEqual(standby.applied(2, 1), ["acknowledge 2/4"]);
  assert.equal(receiver.isSynchronised(standby.state), false);
  const due = receiver.deadline(standby.state)!;
  standby.now = millis(due - 1);
  assert.deepEqual(standby.feed({ kind: "turn" }), []);
  standby.now = due;
  assert.deepEqual(standby.feed({ kind: "turn" }), ["subscribe 2 generation 2"]);
  standby.begin(9);
  standby.sessions(10, 1);
  standby.applied(1, 1);
  assert.ok(receiver.deadline(standby.state)! - due > due);
  standby.end(11);
  standby.feed({ kind: "swept" });
  assert.equal(receiver.isSynchronised(standby.state), false);
  standby.now = receiver.deadline(standby.state)!;
  standby.feed({ kind: "turn" });
  standby.begin(20);
  standby.end(21);
  standby.feed({ kind: "swept" });
  assert.equal(receiver.isSynchronised(standby.state), true);
});

test("a subscription that nobody answers is asked again", () => {
  const standby = Receiver.waiting();
  standby.now = receiver.deadline(standby.state)!;
  assert.deepEqual(standby.feed({ kind: "turn" }), ["subscribe 2 generation 2"]);
});

test("both machines describe themselves in a line", () => {
  assert.match(sender.describe(Sender.subscribed().state), /term 2 .* snapshot of 0/);
  assert.match(sender.describe(Sender.streaming().state), /streaming/);
  assert.match(receiver.describe(Receiver.streaming().state), /streaming, applied 2\/2/);
});
