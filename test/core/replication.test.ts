// The two machines of the log, step by step: what each rule of their invariants (S1-S5, R1-R5) looks like. Whole
// runs with delays, losses and slow standbys are in test/sim/log.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { millis } from "../../src/base/units.ts";
import { ChangedKeys } from "../../src/core/replication/changedKeys.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import * as sender from "../../src/core/replication/sender.ts";
import { batchOf, deletion, session } from "./records.ts";

const at = millis(0);

class Sender {
  readonly state: sender.SenderState;
  now = at;
  constructor(limits: Partial<sender.SenderLimits> = {}, keysMax?: number) {
    this.state = sender.createSender(limits, new ChangedKeys(keysMax));
  }
  feed(input: sender.SenderInput): string[] {
    const effects: sender.SenderEffect[] = [];
    sender.step(this.state, this.now, input, effects);
    return effects.map(text);
  }
  events(...ids: number[]): string[] {
    const bytes = batchOf(ids.map((id) => session(id)));
    return this.feed({ kind: "events", bytes, count: ids.length });
  }
  chunk(ids: readonly number[], more: boolean, snapshot = sender.snapshotNumber(this.state)): string[] {
    const bytes = batchOf(ids.map((id) => session(id)));
    return this.feed({ kind: "chunk", snapshot, bytes, count: ids.length, more });
  }
  acknowledge(sequence: number, term = 2): string[] {
    return this.feed({ kind: "acknowledge", position: { term, sequence } });
  }
  /** Active in term 2, subscribed. */
  static subscribed(limits: Partial<sender.SenderLimits> = {}, keysMax?: number): Sender {
    const result = new Sender(limits, keysMax);
    result.feed({ kind: "active", term: 2, relieved: false });
    result.feed({ kind: "subscribe", subscription: { term: 2, generation: 1 }, own: false });
    return result;
  }
  static streaming(limits: Partial<sender.SenderLimits> = {}): Sender {
    const result = Sender.subscribed(limits);
    result.chunk([], false);
    return result;
  }
}

function text(effect: sender.SenderEffect): string {
  switch (effect.kind) {
    case "sessions": {
      const last = effect.first.sequence + effect.count - 1;
      return `${effect.snapshot ? "snapshot" : "change"} ${effect.first.term}/${effect.first.sequence}-${last}`;
    }
    case "snapshot-begin":
      return `begin ${effect.position.term}/${effect.position.sequence} generation ${effect.generation}`;
    case "snapshot-end":
      return `end ${effect.position.sequence} count ${effect.count}`;
    case "fail":
      return `fail ${effect.reason}`;
    default:
      return effect.kind;
  }
}

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
  assert.deepEqual(active.feed({ kind: "subscribe", subscription: { term: 2, generation: 3 }, own: false }), [
    "begin 2/3 generation 3",
  ]);
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
  assert.equal(active.state.counters.skippedInSnapshot, 2);
});

test("S2: what changed before the snapshot is not skipped", () => {
  const active = Sender.streaming();
  active.events(11);
  active.feed({ kind: "subscribe", subscription: { term: 2, generation: 2 }, own: false });
  assert.deepEqual(active.chunk([10, 11], false), ["snapshot 2/3-4", "end 5 count 2"]);
});

test("S3: an overrun begins the snapshot anew, paced, and changes go on meanwhile", () => {
  const active = Sender.streaming({ restartPaceMs: 250 });
  assert.deepEqual(active.feed({ kind: "overrun" }), ["begin 2/1 generation 1"]);
  assert.equal(sender.wantsChunk(active.state, at), false);
  assert.equal(sender.deadline(active.state), 250);
  assert.deepEqual(active.events(5), ["change 2/2-2"]);
  assert.equal(sender.wantsChunk(active.state, millis(250)), true);
  assert.deepEqual(active.chunk([5, 6], false), ["snapshot 2/3-3", "end 4 count 1"]);
});

test("S3: a chunk of a snapshot that began anew since it was read is dropped", () => {
  const active = Sender.subscribed();
  const number = sender.snapshotNumber(active.state);
  active.feed({ kind: "overrun" });
  assert.deepEqual(active.chunk([1], false, number), []);
  assert.deepEqual(active.chunk([1], false), ["snapshot 2/1-1", "end 2 count 1"]);
});

test("S3: more changed keys than the set holds: sent all the same, and the snapshot begins anew", () => {
  const active = Sender.subscribed({}, 2);
  assert.deepEqual(active.events(1, 2, 3), ["change 2/1-3", "begin 2/3 generation 1"]);
  assert.equal(active.state.counters.restartsKeysFull, 1);
});

test("S3: a dump that fails begins anew", () => {
  const active = Sender.subscribed();
  assert.deepEqual(active.feed({ kind: "dump-failed" }), ["begin 2/0 generation 1"]);
});

test("S4: a snapshot waits for acknowledgements, changes do not", () => {
  const active = Sender.subscribed({ snapshotWindowBytes: 100 });
  active.chunk([1, 2, 3, 4], true);
  assert.equal(sender.wantsChunk(active.state, at), false);
  assert.deepEqual(active.events(9), ["change 2/5-5"]);
  active.acknowledge(5);
  assert.equal(sender.wantsChunk(active.state, at), true);
});

test("S4: a log that is full stops, tells so in its own order, and begins anew when the standby has caught up", () => {
  const size = batchOf([session(1)]).length;
  const active = Sender.streaming({ logBytesMax: size * 4 });
  active.acknowledge(1);
  assert.deepEqual(active.events(1, 2, 3, 4), ["change 2/2-5"]);
  assert.deepEqual(active.events(5), ["begin 2/5 generation 1"]);
  assert.deepEqual(active.events(6, 7), []);
  assert.equal(sender.wantsChunk(active.state, at), false);
  assert.deepEqual(active.acknowledge(4), []);
  assert.deepEqual(active.acknowledge(5), ["begin 2/8 generation 1"]);
  assert.equal(sender.wantsChunk(active.state, at), true);
  assert.deepEqual(active.events(8), ["change 2/9-9"]);
  assert.equal(active.state.counters.unsent, 3);
});

test("a subscription to another term, or to a node that is not active, is told what we are", () => {
  const node = new Sender();
  const subscribe = { kind: "subscribe", subscription: { term: 2, generation: 1 }, own: false } as const;
  assert.deepEqual(node.feed(subscribe), ["tell-role"]);
  node.feed({ kind: "active", term: 4, relieved: false });
  assert.deepEqual(node.feed(subscribe), ["tell-role"]);
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

class Receiver {
  readonly state = receiver.createReceiver();
  now = at;
  feed(input: receiver.ReceiverInput): string[] {
    const effects: receiver.ReceiverEffect[] = [];
    receiver.step(this.state, this.now, input, effects);
    return effects.map((effect) => {
      switch (effect.kind) {
        case "subscribe":
          return `subscribe ${effect.subscription.term} generation ${effect.subscription.generation}`;
        case "apply":
          return `apply ${effect.count} as ${effect.generation}`;
        case "acknowledge":
          return `acknowledge ${effect.position.term}/${effect.position.sequence}`;
        case "fail":
          return `fail ${effect.reason}`;
        case "merge-sessions":
          return `give ${effect.first.term}/${effect.first.sequence} count ${effect.count}`;
        case "merge-end":
          return `given ${effect.count}`;
        default:
          return `${effect.kind} ${effect.generation}`;
      }
    });
  }
  begin(sequence: number, generation = this.state.subscription.generation, term = 2): string[] {
    return this.feed({ kind: "snapshot-begin", position: { term, sequence }, generation });
  }
  sessions(sequence: number, count: number, term = 2): string[] {
    return this.feed({ kind: "sessions", first: { term, sequence }, count, bytes: new Uint8Array(0) });
  }
  applied(count: number, refused = 0): string[] {
    return this.feed({ kind: "applied", count, refused });
  }
  end(sequence: number, generation = this.state.subscription.generation): string[] {
    return this.feed({ kind: "snapshot-end", position: { term: 2, sequence }, generation });
  }
  /** Begins a snapshot that writes one record and is never finished. */
  unfinished(): string[] {
    const effects = [...this.begin(0), ...this.sessions(1, 1)];
    this.applied(1);
    return effects;
  }
  static waiting(): Receiver {
    const result = new Receiver();
    result.feed({ kind: "role", standby: true });
    result.feed({ kind: "peer", role: "active", term: 2 });
    return result;
  }
  static streaming(): Receiver {
    const result = Receiver.waiting();
    result.unfinished();
    result.end(2);
    result.feed({ kind: "swept" });
    return result;
  }
}

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
