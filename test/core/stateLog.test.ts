// The node's state beside the log (core/replication/stateLog.ts): what is said when, what counts as heard, who is believed,
// and two machines joined by two ordered streams under any mixture of changes, roles, refusals and cuts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { STATE_UNACKNOWLEDGED_MAX } from "../../src/base/limits.ts";
import type { Role } from "../../src/base/units.ts";
import {
  createStateLog,
  isHeard,
  missing,
  type StateLogEffect,
  type StateLogInput,
  type StateLogState,
  type StateMessage,
  step,
} from "../../src/core/replication/stateLog.ts";
import type { NodeFacts } from "../../src/wire/messagesNode.ts";

const slotsOf = (value: number): Uint8Array => new Uint8Array(4).fill(value);
const factsOf = (value: number): NodeFacts => ({
  software: `understudy ${value}`,
  kernel: "6.18.0",
  machine: "x86_64",
  processors: 2,
  memoryBytes: 1,
  conntrackMax: value,
  conntrackBuckets: 1,
  nft: "",
  bootedAt: 0,
  clock: 0,
});
const linksOf = (value: number) => [
  { link: 1, state: "up" as const, reason: "none" as const, since: value, detail: "" },
];

/** One machine, what it would say now, and what it has put into its kernel. */
class Node {
  readonly state: StateLogState = createStateLog();
  readonly out: StateMessage[] = [];
  readonly failures: string[] = [];
  own = { slots: 1, links: 1, facts: 1 };
  kernel: number | null = null;
  refusing = false;

  input(input: StateLogInput): this {
    const effects: StateLogEffect[] = [];
    step(this.state, input, effects);
    for (const effect of effects) this.#perform(effect);
    return this;
  }

  #perform(effect: StateLogEffect): void {
    if (effect.kind === "fail") this.failures.push(effect.reason);
    else if (effect.kind === "acknowledge")
      this.out.push({ kind: "stateAcknowledge", number: effect.number });
    else if (effect.kind === "install-slots") {
      if (!this.refusing) this.kernel = effect.slots[0]!;
      this.input({ kind: "installed", words: this.refusing ? "out of memory" : "" });
    } else this.out.push(this.#message(effect));
  }

  #message({ subject, number, term }: Extract<StateLogEffect, { kind: "send" }>): StateMessage {
    if (subject === "slots") return { kind: "slots", number, term, seed: 7, slots: slotsOf(this.own.slots) };
    if (subject === "links") return { kind: "links", number, term, links: linksOf(this.own.links) };
    return { kind: "nodeFacts", number, facts: factsOf(this.own.facts) };
  }

  /** What it has said since the last call, in short. */
  said(): string[] {
    return this.out.splice(0).map((message) => `${message.kind} ${message.number}`);
  }

  role(role: Role, term: number): this {
    return this.input({ kind: "role", self: { role, term } });
  }

  up(version: number, role: Role, term: number): this {
    return this.input({ kind: "up", version, peer: { role, term } });
  }

  take(...messages: readonly StateMessage[]): this {
    for (const message of messages) this.input({ kind: "message", message });
    return this;
  }
}

const slots = (number: number, term: number, value = 9): StateMessage => ({
  kind: "slots",
  number,
  term,
  seed: 7,
  slots: slotsOf(value),
});
const heard = (number: number): StateMessage => ({ kind: "stateAcknowledge", number });
const active = (): Node => new Node().role("active", 2).up(2, "standby", 2);
const standby = (): Node => new Node().role("standby", 2).up(2, "active", 2);

test("both say what they are at once; slots and links go to who subscribed, and changes after that", () => {
  const a = active();
  assert.deepEqual(a.said(), ["nodeFacts 1"]);
  a.input({ kind: "changed", subject: "slots" });
  assert.deepEqual(a.said(), []);
  a.input({ kind: "subscribed" });
  assert.deepEqual(a.said(), ["slots 2", "links 3"]);
  a.input({ kind: "changed", subject: "links" }).input({ kind: "changed", subject: "nodeFacts" });
  assert.deepEqual(a.said(), ["links 4", "nodeFacts 5"]);
  const b = standby();
  b.input({ kind: "subscribed" }).input({ kind: "changed", subject: "slots" });
  assert.deepEqual(b.said(), ["nodeFacts 1"]);
});

test("a peer that speaks version 1 is told nothing, and nothing is missed of it", () => {
  const a = new Node().role("active", 2).up(1, "standby", 2).input({ kind: "subscribed" });
  a.input({ kind: "changed", subject: "nodeFacts" });
  assert.deepEqual(a.said(), []);
  assert.equal(isHeard(a.state), true);
  assert.equal(missing(new Node().role("standby", 2).up(1, "active", 2).state), null);
});

test("heard is what was acknowledged, all of it", () => {
  const a = active().input({ kind: "subscribed" });
  assert.equal(isHeard(a.state), false);
  a.take(heard(1), heard(2));
  assert.equal(isHeard(a.state), false);
  a.take(heard(3));
  assert.equal(isHeard(a.state), true);
  a.take(heard(3));
  assert.deepEqual(a.failures, []);
  assert.deepEqual(active().take(heard(2)).failures, ["acknowledged state that was not sent"]);
  assert.deepEqual(a.take(heard(2)).failures, ["acknowledged state that was not sent"]);
});

test("with many on their way a change waits, and is said once", () => {
  const a = active().input({ kind: "subscribed" });
  for (let change = 0; change < 100; change += 1) a.input({ kind: "changed", subject: "slots" });
  assert.equal(a.said().length, STATE_UNACKNOWLEDGED_MAX);
  assert.equal(isHeard(a.state), false);
  a.own.slots = 5;
  a.take(heard(1));
  assert.deepEqual(
    a.out,
    [slots(STATE_UNACKNOWLEDGED_MAX + 1, 2, 5)].map((each) => ({ ...a.out[0], ...each })),
  );
  a.said();
  a.take(heard(STATE_UNACKNOWLEDGED_MAX + 1));
  assert.deepEqual(a.said(), []);
  assert.equal(isHeard(a.state), true);
});

test("a standby is not ready before the slots are in its kernel", () => {
  const b = standby();
  b.said();
  assert.equal(missing(b.state), "the active's slots have not arrived");
  b.refusing = true;
  b.take(slots(1, 2));
  assert.equal(missing(b.state), "the active's slots are not in this node's kernel: out of memory");
  assert.deepEqual(b.said(), []);
  // What comes behind is known, and acknowledged with them.
  b.take({ kind: "nodeFacts", number: 2, facts: factsOf(3) });
  assert.deepEqual(b.said(), []);
  assert.equal(b.state.facts?.conntrackMax, 3);
  b.refusing = false;
  b.input({ kind: "retry" });
  assert.deepEqual([b.kernel, missing(b.state)], [9, null]);
  assert.deepEqual(b.said(), ["stateAcknowledge 2"]);
  b.input({ kind: "retry" });
  assert.deepEqual(b.said(), []);
});

test("another connection, another term, another role: slots are asked for anew, facts and links are kept", () => {
  const changes: readonly ((b: Node) => Node)[] = [
    (b) => b.input({ kind: "down" }).up(2, "active", 2),
    (b) => b.input({ kind: "peer", peer: { role: "active", term: 4 } }),
    (b) =>
      b
        .role("active", 3)
        .role("standby", 4)
        .input({ kind: "peer", peer: { role: "active", term: 4 } }),
  ];
  for (const change of changes) {
    const b = standby().take(slots(1, 2), { kind: "links", number: 2, term: 2, links: linksOf(5) });
    assert.equal(missing(b.state), null);
    change(b);
    assert.equal(missing(b.state), "the active's slots have not arrived");
    assert.deepEqual(b.state.links, linksOf(5));
  }
  // Heart says the same role again, or another term of a standby: nothing has changed.
  const b = standby().take(slots(1, 2)).role("standby", 2).role("standby", 3);
  assert.equal(missing(b.state), null);
});

test("slots and links of who is not this standby's active are passed over, and acknowledged", () => {
  const cases: readonly (readonly [string, Node, number])[] = [
    ["not standby", active(), 2],
    ["the peer is not active", new Node().role("standby", 2).up(2, "standby", 2), 2],
    ["another term", standby(), 3],
  ];
  for (const [name, node, term] of cases) {
    node.said();
    node.take(slots(1, term), { kind: "links", number: 2, term, links: linksOf(1) });
    assert.deepEqual([node.kernel, node.state.links, node.state.counters.ignored], [null, null, 2], name);
    assert.deepEqual(node.said(), ["stateAcknowledge 1", "stateAcknowledge 2"], name);
  }
});

test("a new term is a new log: what changes is not said before it was subscribed to", () => {
  const a = active().input({ kind: "subscribed" });
  a.said();
  a.role("active", 4)
    .input({ kind: "changed", subject: "slots" })
    .input({ kind: "changed", subject: "links" });
  assert.deepEqual(a.said(), []);
  a.input({ kind: "subscribed" });
  assert.deepEqual(a.said(), ["slots 4", "links 5"]);
  assert.ok(a.state.sent === 5 && a.state.due.size === 0);
});

test("what waited for room does not outlive its connection or its term", () => {
  const full = (): Node => {
    const a = active().input({ kind: "subscribed" });
    for (let change = 0; change < 20; change += 1) a.input({ kind: "changed", subject: "slots" });
    a.said();
    return a;
  };
  assert.deepEqual(full().input({ kind: "down" }).up(2, "standby", 2).said(), ["nodeFacts 1"]);
  assert.deepEqual(full().role("active", 4).take(heard(8)).said(), []);
});

test("slots that the kernel refused hold nothing back once they are nobody's", () => {
  for (const change of [
    (b: Node) => b.role("active", 3),
    (b: Node) => b.input({ kind: "peer", peer: { role: "standby", term: 2 } }),
  ]) {
    const b = standby();
    b.refusing = true;
    b.take(slots(1, 2));
    b.said();
    change(b);
    assert.deepEqual(b.said(), ["stateAcknowledge 1"]);
    b.refusing = false;
    b.input({ kind: "retry" });
    assert.equal(b.kernel, null);
  }
});

test("numbers have no gap", () => {
  for (const number of [0, 2, 3]) assert.deepEqual(standby().take(slots(number, 2)).failures, ["state-gap"]);
  assert.deepEqual(standby().take(slots(1, 2), slots(1, 2)).failures, ["state-gap"]);
});

type Action =
  | {
      readonly what: "change";
      readonly of: "slots" | "links" | "facts";
      readonly node: 0 | 1;
      readonly value: number;
    }
  | { readonly what: "deliver"; readonly to: 0 | 1; readonly count: number }
  | { readonly what: "refuse"; readonly node: 0 | 1; readonly refusing: boolean }
  | { readonly what: "roles"; readonly active: 0 | 1 }
  | { readonly what: "cut" }
  | { readonly what: "subscribe" }
  | { readonly what: "retry" };

const side = fc.constantFrom(0 as const, 1 as const);
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    what: fc.constant("change" as const),
    of: fc.constantFrom("slots" as const, "links" as const, "facts" as const),
    node: side,
    value: fc.integer({ min: 1, max: 250 }),
  }),
  fc.record({ what: fc.constant("deliver" as const), to: side, count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ what: fc.constant("refuse" as const), node: side, refusing: fc.boolean() }),
  fc.record({ what: fc.constant("roles" as const), active: side }),
  fc.constant({ what: "cut" as const }),
  fc.constant({ what: "subscribe" as const }),
  fc.constant({ what: "retry" as const }),
);

type Parcel = StateMessage | { readonly kind: "role"; readonly role: Role; readonly term: number };

/** Two nodes, a stream each way; roles travel in the stream as they do on the connection. */
class Pair {
  readonly nodes = [new Node(), new Node()] as const;
  readonly wires: readonly [Parcel[], Parcel[]] = [[], []];
  active: 0 | 1 = 0;
  term = 0;

  constructor() {
    this.roles(0);
    this.connect();
  }

  roles(active: 0 | 1): void {
    this.term += 1;
    this.active = active;
    this.nodes.forEach((node, index) => {
      const role = index === active ? "active" : "standby";
      node.role(role, this.term);
      this.wires[index === 0 ? 1 : 0].push({ kind: "role", role, term: this.term });
    });
    this.carry();
  }

  connect(): void {
    for (const wire of this.wires) wire.length = 0;
    for (const node of this.nodes) node.input({ kind: "down" }).out.length = 0;
    this.nodes.forEach((node, index) => {
      const { role, term } = this.nodes[index === 0 ? 1 : 0].state.self;
      node.up(2, role, term);
    });
    this.carry();
    this.subscribe();
  }

  subscribe(): void {
    this.nodes[this.active].input({ kind: "subscribed" });
    this.carry();
  }

  carry(): void {
    this.nodes.forEach((node, index) => {
      this.wires[index === 0 ? 1 : 0].push(...node.out.splice(0));
    });
  }

  deliver(to: 0 | 1, count: number): void {
    for (const parcel of this.wires[to].splice(0, count)) {
      if (parcel.kind === "role") this.nodes[to].input({ kind: "peer", peer: parcel });
      else this.nodes[to].take(parcel);
    }
    this.carry();
  }

  act(act: Action): void {
    switch (act.what) {
      case "change": {
        const node = this.nodes[act.node];
        node.own = { ...node.own, [act.of]: act.value };
        node.input({ kind: "changed", subject: act.of === "facts" ? "nodeFacts" : act.of });
        this.carry();
        return;
      }
      case "deliver":
        this.deliver(act.to, act.count);
        return;
      case "refuse":
        this.nodes[act.node].refusing = act.refusing;
        return;
      case "roles":
        this.roles(act.active);
        this.subscribe();
        return;
      case "cut":
        this.connect();
        return;
      case "subscribe":
        this.subscribe();
        return;
      case "retry":
        for (const node of this.nodes) node.input({ kind: "retry" });
        this.carry();
    }
  }

  /** T1 at every moment: what the active believes to be in force over there is. */
  check(): void {
    const [active, standby] = [this.nodes[this.active], this.nodes[this.active === 0 ? 1 : 0]];
    assert.deepEqual([...active.failures, ...standby.failures], []);
    for (const { state } of this.nodes)
      assert.ok(state.sent - state.acknowledged <= STATE_UNACKNOWLEDGED_MAX);
    if (active.state.subscribed && isHeard(active.state)) {
      assert.equal(standby.kernel, active.own.slots, "slots");
      assert.deepEqual(standby.state.links, linksOf(active.own.links), "links");
      assert.deepEqual(standby.state.facts, factsOf(active.own.facts), "facts");
    }
    if (
      this.wires.every((wire) => wire.length === 0) &&
      active.state.subscribed &&
      missing(standby.state) === null
    )
      assert.equal(standby.kernel, active.own.slots);
  }

  settle(): void {
    for (const node of this.nodes) node.refusing = false;
    while (this.wires.some((wire) => wire.length > 0)) for (const to of [0, 1] as const) this.deliver(to, 1);
    this.act({ what: "retry" });
    while (this.wires.some((wire) => wire.length > 0)) for (const to of [0, 1] as const) this.deliver(to, 1);
  }
}

test("whatever happens in between: what counts as heard is in force, and after quiet all of it is", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const pair = new Pair();
      for (const each of actions) {
        pair.act(each);
        pair.check();
      }
      pair.settle();
      pair.check();
      const active = pair.nodes[pair.active];
      const standby = pair.nodes[pair.active === 0 ? 1 : 0];
      assert.equal(isHeard(active.state), true);
      assert.equal(missing(standby.state), null);
      assert.equal(standby.kernel, active.own.slots);
      assert.deepEqual(active.state.facts, factsOf(standby.own.facts));
    }),
    { numRuns: 2000 },
  );
});
