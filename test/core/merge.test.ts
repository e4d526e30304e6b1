// The merge, rule by rule (core/replication/merge.ts, M1-M5): both machines, one against the other or alone. Whole runs with
// splits, cuts and restarts are in test/sim/log.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GIVING_SILENT_MS, MERGE_WINDOW_BYTES, RELIEVED_MS_MAX } from "../../src/base/limits.ts";
import { type Millis, millis } from "../../src/base/units.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import {
  createReceiver,
  type ReceiverEffect,
  type ReceiverInput,
} from "../../src/core/replication/receiverState.ts";
import * as sender from "../../src/core/replication/sender.ts";
import { createSender, type SenderEffect, type SenderInput } from "../../src/core/replication/senderState.ts";
import { batchOf, deletion, session, TCP } from "./records.ts";

const subscription = { term: 4, generation: 1 };
const records = (ids: readonly number[]): Uint8Array =>
  batchOf(ids.map((id) => session(id, 0, "create", TCP)));

/** The active of term 4, and what it wants done. */
class Taker {
  readonly state = createSender();
  now: Millis = millis(0);
  constructor(relieved = false) {
    this.feed({ kind: "active", term: 4, relieved });
  }
  feed(input: SenderInput): string[] {
    const effects: SenderEffect[] = [];
    sender.step(this.state, this.now, input, effects);
    return effects.map((effect) => {
      switch (effect.kind) {
        case "insert":
          return `insert ${effect.count}`;
        case "merge-acknowledge":
          return `judged ${effect.sequence} of ${effect.generation}`;
        case "merge-request":
          return `request ${effect.subscription.term}/${effect.subscription.generation}`;
        case "fail":
          return `fail ${effect.reason}`;
        default:
          return effect.kind;
      }
    });
  }
  subscribe(own: boolean, term = 4): string[] {
    return this.feed({ kind: "subscribe", subscription: { term, generation: 1 }, own, knowsRounds: true });
  }
  sessions(first: number, ids: readonly number[]): string[] {
    const from = { term: 4, sequence: first };
    return this.feed({ kind: "merge-sessions", first: from, count: ids.length, bytes: records(ids) });
  }
  end(count: number): string[] {
    return this.feed({ kind: "merge-end", subscription, count });
  }
}

/** A former active that has yielded to the one of term 4. */
class Giver {
  readonly state = createReceiver();
  now: Millis = millis(0);
  constructor(own = true) {
    if (own) this.feed({ kind: "own" });
    this.feed({ kind: "role", standby: true });
    this.feed({ kind: "peer", role: "active", term: 4 });
  }
  feed(input: ReceiverInput): string[] {
    const effects: ReceiverEffect[] = [];
    receiver.step(this.state, this.now, input, effects);
    return effects.map((effect) => {
      switch (effect.kind) {
        case "subscribe":
          return `subscribe ${effect.subscription.generation}${effect.own ? " own" : ""}`;
        case "merge-sessions":
          return `give ${effect.first.term}/${effect.first.sequence} count ${effect.count}`;
        case "merge-end":
          return `given ${effect.count}`;
        case "fail":
          return `fail ${effect.reason}`;
        default:
          return effect.kind;
      }
    });
  }
  asked(): string[] {
    return this.feed({ kind: "merge-request", subscription });
  }
  chunk(count: number, more: boolean, bytes = new Uint8Array(0)): string[] {
    return this.feed({ kind: "merge-chunk", bytes, count, more });
  }
  judged(sequence: number, generation = 1): string[] {
    return this.feed({ kind: "merge-acknowledge", generation, sequence });
  }
  begin(generation = 1): string[] {
    return this.feed({ kind: "snapshot-begin", position: { term: 4, sequence: 0 }, generation });
  }
}

test("M2: who owns sessions is asked for them, and the snapshot comes after the last of them", () => {
  const active = new Taker();
  assert.deepEqual(active.subscribe(true), ["request 4/1"]);
  assert.equal(sender.isSynchronised(active.state), false);
  assert.equal(sender.wantsChunk(active.state, active.now), false);
  assert.deepEqual(active.sessions(1, [1, 2]), ["insert 2", "judged 2 of 1"]);
  // What happens meanwhile is not said: the snapshot will say it.
  assert.deepEqual(active.feed({ kind: "events", bytes: records([9]), count: 1 }), []);
  assert.deepEqual(active.feed({ kind: "overrun" }), []);
  assert.deepEqual(active.feed({ kind: "drained" }), []);
  assert.deepEqual(active.sessions(3, [3]), ["insert 1", "judged 3 of 1"]);
  assert.deepEqual(active.end(3), ["snapshot-begin"]);
  assert.equal(active.state.counters.mergesDone, 1);
});

test("who owns nothing is not asked, nor who was relieved a moment ago by its synchronised standby", () => {
  assert.deepEqual(new Taker().subscribe(false), ["snapshot-begin"]);
  const relieved = new Taker(true);
  relieved.now = millis(RELIEVED_MS_MAX);
  assert.deepEqual(relieved.subscribe(true), ["snapshot-begin"]);
  // It went on being active for longer than that: a split.
  relieved.now = millis(RELIEVED_MS_MAX + 1);
  assert.deepEqual(relieved.subscribe(true), ["request 4/1"]);
});

test("who relieves whom: a synchronised standby, also where the other's word came first, for a moment", () => {
  const standby = new Giver(false);
  standby.begin();
  standby.feed({ kind: "snapshot-end", position: { term: 4, sequence: 1 }, generation: 1 });
  assert.equal(receiver.relieves(standby.state, millis(0)), false);
  standby.feed({ kind: "swept" });
  assert.equal(receiver.relieves(standby.state, millis(0)), true);
  standby.feed({ kind: "peer", role: "standby", term: 4 });
  assert.equal(receiver.isSynchronised(standby.state), false);
  assert.equal(receiver.relieves(standby.state, millis(RELIEVED_MS_MAX)), true);
  assert.equal(receiver.relieves(standby.state, millis(RELIEVED_MS_MAX + 1)), false);
  // Nobody can say what it did when it was not heard.
  standby.feed({ kind: "disconnected" });
  assert.equal(receiver.relieves(standby.state, millis(0)), false);
});

test("M1: records that belong to no merge are passed over, a standby's and those of a void one alike", () => {
  const active = new Taker();
  assert.deepEqual(active.sessions(1, [1]), []);
  active.subscribe(true);
  active.feed({ kind: "inactive" });
  assert.deepEqual(active.sessions(1, [1]), []);
  assert.deepEqual(active.end(1), []);
  assert.deepEqual(active.subscribe(true), ["tell-role"]);
  assert.equal(active.state.counters.mergeIgnored, 3);
});

test("M1: a raised term and a lost connection void the merge; the next one begins with its first record", () => {
  const active = new Taker();
  active.subscribe(true);
  active.sessions(1, [1, 2]);
  active.feed({ kind: "unsubscribe" });
  assert.deepEqual(active.subscribe(true), ["request 4/1"]);
  assert.deepEqual(active.sessions(3, [3]), ["fail merge-gap"]);
  active.feed({ kind: "active", term: 6, relieved: false });
  assert.deepEqual(active.sessions(1, [1]), []);
  assert.deepEqual(active.subscribe(true, 6), ["request 6/1"]);
});

test("a gap, another term or a false count end the connection", () => {
  const fresh = (): Taker => {
    const active = new Taker();
    active.subscribe(true);
    return active;
  };
  assert.deepEqual(fresh().sessions(2, [1]), ["fail merge-gap"]);
  assert.deepEqual(fresh().end(1), ["fail merge-end-of-another-merge"]);
  const first = { term: 2, sequence: 1 };
  const other = { kind: "merge-sessions", first, count: 1, bytes: records([1]) } as const;
  assert.deepEqual(fresh().feed(other), ["fail merge-gap"]);
});

test("M4: what ended here does not come back, not by a second merge and not under a raised term", () => {
  const active = new Taker();
  const ends = (id: number): string[] =>
    active.feed({ kind: "events", bytes: batchOf([deletion(id, TCP)]), count: 1 });
  ends(1);
  active.subscribe(true);
  assert.deepEqual(active.sessions(1, [1, 2]), ["insert 1", "judged 2 of 1"]);
  ends(2);
  active.feed({ kind: "active", term: 6, relieved: false });
  active.subscribe(true, 6);
  const first = { term: 6, sequence: 1 };
  assert.deepEqual(active.feed({ kind: "merge-sessions", first, count: 3, bytes: records([1, 2, 3]) }), [
    "insert 1",
    "judged 3 of 1",
  ]);
  assert.equal(active.state.counters.mergeEnded, 3);
});

test("R6: a standby owns what it held as active until a snapshot begins, over any number of connections", () => {
  const standby = new Giver();
  assert.equal(standby.state.own, true);
  standby.feed({ kind: "disconnected" });
  assert.deepEqual(standby.feed({ kind: "peer", role: "active", term: 4 }), ["subscribe 2 own"]);
  standby.begin(2);
  standby.feed({ kind: "disconnected" });
  assert.deepEqual(standby.feed({ kind: "peer", role: "active", term: 4 }), ["subscribe 3"]);
  // A kernel in which this node made entries says so to a daemon that knows of nothing.
  const restarted = createReceiver();
  receiver.step(restarted, millis(0), { kind: "carried", generations: [0, 2] }, []);
  assert.deepEqual([restarted.own, restarted.carried], [true, [false, false, true, false]]);
});

test("M1: a standby gives only in answer to its subscription in force", () => {
  const standby = new Giver();
  standby.feed({ kind: "merge-request", subscription: { term: 4, generation: 2 } });
  standby.feed({ kind: "merge-request", subscription: { term: 2, generation: 1 } });
  assert.equal(receiver.wantsChunk(standby.state), false);
  standby.asked();
  assert.equal(receiver.wantsChunk(standby.state), true);
  assert.equal(receiver.deadline(standby.state), GIVING_SILENT_MS);
  // It becomes active itself: not one record more.
  standby.feed({ kind: "role", standby: false });
  assert.equal(receiver.wantsChunk(standby.state), false);
  assert.deepEqual(standby.chunk(1, false), []);
});

test("M5: the giver waits for acknowledgements; when all is judged it waits for the snapshot, and not for ever", () => {
  const standby = new Giver();
  standby.asked();
  assert.deepEqual(standby.chunk(2, true, new Uint8Array(MERGE_WINDOW_BYTES)), ["give 4/1 count 2"]);
  assert.equal(receiver.wantsChunk(standby.state), false);
  standby.judged(2);
  assert.equal(receiver.wantsChunk(standby.state), true);
  assert.deepEqual(standby.chunk(1, false), ["give 4/3 count 1", "given 3"]);
  assert.equal(standby.state.phase, "giving");
  standby.judged(3);
  assert.equal(standby.state.phase, "waiting");
  assert.notEqual(receiver.deadline(standby.state), null);
  assert.equal(receiver.isSynchronised(standby.state), false);
  standby.begin();
  assert.deepEqual([standby.state.phase, standby.state.own], ["snapshot", false]);
});

test("a merge that goes on in neither direction is begun anew", () => {
  const giver = new Giver();
  giver.asked();
  giver.now = millis(GIVING_SILENT_MS - 1);
  assert.deepEqual(giver.feed({ kind: "turn" }), []);
  giver.feed({ kind: "merge-chunk", bytes: records([1]), count: 1, more: true });
  giver.now = millis(GIVING_SILENT_MS + 1);
  assert.deepEqual(giver.feed({ kind: "turn" }), [], "a step is progress");
  giver.now = millis(2 * GIVING_SILENT_MS);
  assert.deepEqual(giver.feed({ kind: "turn" }), ["subscribe 2 own"]);
});

test("an empty table is given in one message", () => {
  const standby = new Giver();
  standby.asked();
  assert.deepEqual(standby.chunk(0, false), ["given 0"]);
  assert.equal(standby.state.phase, "waiting");
});

test("an active that breaks the rules loses the connection, and the standby not one session", () => {
  const early = new Giver();
  early.asked();
  assert.deepEqual(early.begin(), ["fail snapshot-before-merge-end"]);
  assert.equal(early.state.own, true);
  const liar = new Giver();
  liar.asked();
  liar.chunk(1, true);
  assert.deepEqual(liar.judged(9), ["fail merge-acknowledge-beyond-sent"]);
  assert.equal(liar.state.giving, null);
});
