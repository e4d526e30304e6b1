// The configuration's machine where time decides: answers that do not come, promises that end, refusals that are tried again. What
// holds in every order of events is test/sim/config.ts's; what the daemon makes of it is test/daemon/configKeeper.test.ts's.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import type { NodeId } from "../../src/base/units.ts";
import { createConfigLog, deadline, step } from "../../src/core/configLog.ts";
import { boundedReasons } from "../../src/core/configLogLead.ts";
import {
  type ConfigEffect,
  type ConfigInput,
  type ConfigLogState,
  describe,
  difference,
} from "../../src/core/configLogState.ts";
import { type Draft, NO_VERSION, versionAfter } from "../../src/core/configVersions.ts";
import type { VersionHeader } from "../../src/wire/messagesConfiguration.ts";
import type { MessageOf } from "../../src/wire/peer.ts";

const draft = (text: string, origin: Draft["origin"] = "apply"): Draft => ({
  digest: sha256Hex(text),
  textDigest: sha256Hex(text),
  origin,
  author: "eve",
  message: "",
  at: 1,
});
const first = versionAfter(null, draft("1", "import"), "a");

let machine: ConfigLogState;
let now: number;
/** Names of the effects since they were last asked for; logs left out. */
let effects: ConfigEffect[];

function start(node: NodeId, head: VersionHeader = first): void {
  now = 0;
  effects = [];
  machine = createConfigLog(node, { head, tentative: null, isImport: false }, new Map());
}

function give(...inputs: readonly ConfigInput[]): void {
  for (const input of inputs) step(machine, now, input, effects);
}

/** Time goes on until something is due. */
function wait(): number {
  const due = deadline(machine);
  assert.ok(due !== null, "something is waited for");
  const waited = due - now;
  now = due;
  give({ kind: "tick" });
  return waited;
}

function done(): string[] {
  const names = effects.flatMap((effect) => {
    if (effect.kind === "log") return [];
    return effect.kind === "send" ? [effect.message.kind] : [effect.kind];
  });
  effects = [];
  return names;
}
const reportOf = () => {
  const answer = effects.find((effect) => effect.kind === "answer");
  assert.ok(answer?.kind === "answer", JSON.stringify(effects.map(({ kind }) => kind)));
  const { outcome, places } = answer.report;
  return [outcome, ...places.map(({ state }) => state), ...places.flatMap(({ words }) => words)];
};

const message = (content: Extract<ConfigInput, { kind: "message" }>["message"]): ConfigInput => ({
  kind: "message",
  message: content,
});
const stateOf = (head: VersionHeader, part: Partial<MessageOf<"configurationState">> = {}): ConfigInput =>
  message({
    kind: "configurationState",
    head,
    running: head.digest,
    pending: NO_VERSION,
    about: machine.head.id,
    covers: head.id === machine.head.id,
    ...part,
  });
const order: ConfigInput = {
  kind: "apply",
  request: 7,
  draft: draft("2"),
  text: "2",
  changes: [],
  replace: false,
  base: null,
};
const second = versionAfter(first, draft("2"), "a");
const verdict = (accepted: boolean): ConfigInput =>
  message({ kind: "configurationVerdict", exchange: 1, accepted, reasons: accepted ? [] : ["no port"] });

/** An active that has asked its standby. */
function asked(): void {
  start("a");
  give({ kind: "role", role: "active", peerActive: false });
  give({ kind: "up", version: 2, role: "standby", running: first.digest }, stateOf(first));
  give(order, { kind: "prepared", id: second.id, reasons: [] });
}

/** A standby that has promised. */
function promised(): void {
  start("b");
  give({ kind: "role", role: "standby", peerActive: true });
  give({ kind: "up", version: 2, role: "active", running: first.digest });
  give(stateOf(first, { pending: second.id }));
  const content = new TextEncoder().encode("2");
  give(message({ kind: "configurationPropose", exchange: 1, from: first.id, header: second, content }));
  give({ kind: "prepared", id: second.id, reasons: [] });
}

beforeEach(() => start("a"));

test("nothing is waited for while nothing happens", () => {
  assert.equal(deadline(machine), null);
  give({ kind: "role", role: "active", peerActive: false });
  assert.equal(deadline(machine), null);
  assert.deepEqual(done(), []);
});

test("a standby that says nothing to a proposal: after 5 s the order has failed, and nothing was changed", () => {
  asked();
  assert.deepEqual(done(), [
    "configurationState",
    "configurationState",
    "prepare",
    "configurationState",
    "propose",
  ]);
  assert.equal(wait(), 5000);
  assert.deepEqual(reportOf().slice(0, 3), ["failed", "unchanged", "unchanged"]);
  assert.deepEqual(done(), ["drop", "answer", "configurationState"]);
  // Its answer comes all the same.
  give(verdict(true));
  assert.deepEqual(done(), []);
  assert.equal(machine.counters.late, 1);
});

test("a standby that was told, and says nothing for a minute: the order takes effect here, and it is said that there it is not known", () => {
  asked();
  give(verdict(true));
  done();
  assert.equal(wait(), 60_000);
  assert.deepEqual(done(), ["effect"]);
  give({ kind: "effected", id: second.id, ok: true, words: [] });
  assert.deepEqual(reportOf().slice(0, 3), ["partly", "in-force", "unconfirmed"]);
  // And it is offered at once.
  assert.deepEqual(done(), ["keep", "answer", "propose", "configurationState"]);
});

test("a standby that has it in effect is not asked again: it waits for the word alone", () => {
  asked();
  give(verdict(true), message({ kind: "configurationDone", exchange: 1, ok: true, reasons: [] }));
  give(stateOf(first, { running: second.digest, pending: second.id }));
  done();
  give({ kind: "effected", id: second.id, ok: true, words: [] });
  assert.deepEqual(done(), ["keep", "answer", "configurationState"]);
});

test("the connection goes while the standby takes it: 5 s for it to come back and say how it ended", () => {
  for (const [state, outcome] of [
    [stateOf(first, { running: second.digest, pending: second.id }), ["effect", "configurationState"]],
    [stateOf(first), ["drop", "answer", "configurationState"]],
    [stateOf(first, { pending: second.id }), ["configurationState"]],
  ] as const) {
    asked();
    give(verdict(true));
    done();
    give({ kind: "down" });
    assert.equal(deadline(machine), 5000);
    give({ kind: "up", version: 2, role: "standby", running: first.digest });
    done();
    give(state);
    assert.deepEqual(done(), outcome);
  }
});

test("a refusal of the standby's is not asked for again before 30 s, or before it connects anew", () => {
  start("a", second);
  machine.history.set(first.id, first);
  give({ kind: "role", role: "active", peerActive: false });
  give({ kind: "up", version: 2, role: "standby", running: first.digest }, stateOf(first));
  assert.ok(done().includes("propose"));
  give(verdict(false));
  assert.deepEqual(done(), []);
  assert.equal(difference(machine), "b does not take it: no port");
  give(stateOf(first, { covers: false }));
  assert.deepEqual(done(), []);
  assert.equal(wait(), 30_000);
  assert.deepEqual(done(), ["propose"]);
  give(message({ kind: "configurationVerdict", exchange: 2, accepted: false, reasons: ["no port"] }));
  give({ kind: "down" }, { kind: "up", version: 2, role: "standby", running: first.digest }, stateOf(first));
  assert.ok(done().includes("propose"));
});

test("a promise ends after a minute, with the connection, when the leader gives the version up, and with the follower's own election", () => {
  for (const end of [
    () => assert.equal(wait(), 60_000),
    () => give({ kind: "down" }),
    () => give(stateOf(first)),
    () => give({ kind: "peer-role", role: "standby" }, { kind: "role", role: "active", peerActive: false }),
  ]) {
    promised();
    assert.match(describe(machine), /follow version 2 .*, promised/);
    done();
    end();
    assert.ok(done().includes("drop"));
    give(message({ kind: "configurationCommit", exchange: 1 }));
    assert.deepEqual(
      done().filter((name) => name === "effect"),
      [],
    );
    assert.equal(machine.job, null);
  }
});

test("in effect at the leader's order: it waits for the word, and goes back where the leader has given it up", () => {
  promised();
  give(message({ kind: "configurationCommit", exchange: 1 }));
  give({ kind: "effected", id: second.id, ok: true, words: [] });
  assert.equal(machine.tentative?.id, second.id);
  assert.equal(difference(machine), null, "the leader is a step behind, and that is as it should be");
  done();
  give(stateOf(first, { pending: second.id }));
  assert.deepEqual(done(), []);
  give(stateOf(first));
  assert.deepEqual(done(), ["effect"]);
  give({ kind: "effected", id: first.id, ok: false, words: ["nft: no"] });
  assert.equal(difference(machine), `b could not go back to version 1 (${first.id.slice(0, 8)}): nft: no`);
  done();
  assert.equal(wait(), 30_000);
  assert.deepEqual(done(), ["effect"]);
  give({ kind: "effected", id: first.id, ok: true, words: [] });
  assert.deepEqual(done(), ["drop", "configurationState"]);
  assert.equal(difference(machine), null);
});

test("whoever becomes active with a version in effect puts it into force", () => {
  promised();
  give(message({ kind: "configurationCommit", exchange: 1 }));
  give({ kind: "effected", id: second.id, ok: true, words: [] });
  done();
  give({ kind: "down" }, { kind: "role", role: "active", peerActive: false });
  assert.deepEqual(done(), ["keep"]);
  assert.equal(machine.head.id, second.id);
});

test("both say that they are active: nobody leads, and nobody follows", () => {
  asked();
  give({ kind: "peer-role", role: "active" });
  assert.deepEqual(reportOf().slice(0, 3), ["failed", "unchanged", "unchanged"]);
  done();
  give(order);
  assert.deepEqual(done(), ["refuse"]);
  const content = new Uint8Array(0);
  give(message({ kind: "configurationPropose", exchange: 3, from: first.id, header: second, content }));
  assert.equal(machine.job, null);
});

test("so many reasons as a message has room for, and how many more there are", () => {
  const reasons = Array.from({ length: 100 }, (_, index) => `line ${index}`);
  assert.deepEqual(boundedReasons(reasons.slice(0, 64)), reasons.slice(0, 64));
  assert.deepEqual(boundedReasons(reasons).slice(-2), ["line 62", "and 37 more"]);
  assert.equal(boundedReasons(reasons).length, 64);
});
