// The configuration of a pair as its two daemons keep it: orders, refusals, absences, files edited by hand and disks that refuse,
// with real files and real stores. What the machine does in every order of events is test/sim/config.ts's.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, test } from "node:test";
import { ConfigErrorCode } from "../../src/core/configTree.ts";
import type { ApplyReport } from "../../src/wire/controlConfiguration.ts";
import { FULL_PAIR } from "../core/configExamples.ts";
import { KeeperWorld } from "./keeperWorld.ts";

let world: KeeperWorld;
afterEach(() => world.end());

async function pair(texts?: { a: string; b: string }): Promise<KeeperWorld> {
  world = new KeeperWorld(texts);
  world.connect();
  await world.quiet();
  return world;
}

const heavier = FULL_PAIR.replace("weight: 3", "weight: 9");
const lighter = FULL_PAIR.replace("weight: 3", "weight: 1");
const states = ({ places }: ApplyReport) => places.map(({ node, state }) => `${node} ${state}`);
const headOf = (node: "a" | "b") => world.nodes[node].keeper.view().head;

test("two nodes with the same file have the same version from the start", async () => {
  const { nodes } = await pair();
  assert.equal(headOf("a").id, headOf("b").id);
  assert.equal(headOf("a").number, 1);
  assert.deepEqual([nodes.a.keeper.difference, nodes.b.keeper.difference], [null, null]);
});

test("an order on the active: the standby takes it first, then it is in force on both, on both disks and in both files", async () => {
  const { nodes } = await pair();
  const order: string[] = [];
  for (const node of ["a", "b"] as const)
    nodes[node].effect = () => {
      order.push(node);
      return { ok: true, words: [] };
    };
  const report = await nodes.a.apply(heavier);
  assert.equal(report.outcome, "done");
  assert.deepEqual(states(report), ["a in-force", "b in-force"]);
  assert.deepEqual(report.changes, ["link fibre: weight 9, was 3"]);
  assert.deepEqual(order, ["b", "a"]);
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [heavier, heavier]);
  assert.deepEqual([headOf("a"), headOf("b").id], [report.version, report.version?.id]);
  assert.deepEqual([report.version?.author, report.version?.message], ["eve", "why"]);
  nodes.b.restart();
  assert.equal(headOf("b").number, 2);
});

test("a disk that does not give a text any more: the peer is told that there is none, and everything goes on", async () => {
  const { nodes } = await pair();
  const store = new DatabaseSync(join(nodes.b.home, "state", "configurations.sqlite"));
  store.exec("ALTER TABLE version RENAME COLUMN text TO damaged");
  nodes.b.keeper.message({ kind: "configurationFetch", id: headOf("b").id });
  assert.match(nodes.b.lines.at(-1) ?? "", /read the versions in .*no such column/);
  store.exec("ALTER TABLE version RENAME COLUMN damaged TO text");
  store.close();
  assert.equal((await nodes.a.apply(heavier)).outcome, "done");
});

test("the version in force already: nothing is done, and it is said", async () => {
  const { nodes } = await pair();
  assert.equal((await nodes.a.apply(FULL_PAIR)).outcome, "unchanged");
  assert.deepEqual([nodes.a.effects, nodes.b.effects], [[], []]);
});

test("comments alone are a version, and nothing that a node would notice", async () => {
  const { nodes } = await pair();
  const report = await nodes.a.apply(`# office\n${FULL_PAIR}`);
  assert.deepEqual([report.outcome, report.changes], ["done", []]);
  await world.quiet();
  assert.deepEqual([nodes.a.effects, nodes.b.effects], [[], []]);
  assert.equal(nodes.b.text, `# office\n${FULL_PAIR}`);
});

test("a mistake is refused with line and column, and changes nothing anywhere", async () => {
  const { nodes } = await pair();
  const report = await nodes.a.apply(heavier.replace("weight: 9", "weight: many"));
  assert.deepEqual([report.outcome, states(report)], ["refused", ["a refused", "b unchanged"]]);
  assert.match(report.places[0].words[0]!, /^new\.yaml:\d+:13: links\[0\]\.weight: expected a whole number/);
  await world.quiet();
  for (const { text, effects } of Object.values(nodes)) assert.deepEqual([text, effects], [FULL_PAIR, []]);
  assert.equal(headOf("a").number, 1);
});

test("what the other node's machine does not have is refused by it, and changes nothing anywhere", async () => {
  const { nodes } = await pair();
  nodes.b.machineErrors = [
    {
      file: "node.yaml",
      line: 3,
      column: 1,
      path: "interfaces.wan9",
      code: ConfigErrorCode.Absent,
      expected: "an interface of this machine",
      found: 'no "wan9"',
    },
  ];
  const report = await nodes.a.apply(heavier);
  assert.deepEqual([report.outcome, states(report)], ["refused", ["a unchanged", "b refused"]]);
  assert.deepEqual(report.places[1].words, [
    'node.yaml:3:1: interfaces.wan9: expected an interface of this machine, found no "wan9"',
  ]);
  await world.quiet();
  for (const { text, effects, keeper } of Object.values(nodes)) {
    assert.deepEqual([text, effects], [FULL_PAIR, []]);
    assert.equal(keeper.view().pending, null);
    assert.equal(keeper.difference, null);
  }
});

for (const [failing, expected] of [
  ["b", ["a unchanged", "b failed"]],
  ["a", ["a failed", "b unchanged"]],
] as const) {
  test(`what ${failing}'s kernel refuses is put back on both`, async () => {
    const { nodes } = await pair();
    nodes[failing].effect = (next) =>
      next.links[0]!.weight === 9 ? { ok: false, words: ["nft: no"] } : { ok: true, words: [] };
    const report = await nodes.a.apply(heavier);
    assert.deepEqual([report.outcome, states(report)], ["failed", expected]);
    await world.quiet();
    for (const { text, running, keeper } of Object.values(nodes)) {
      assert.equal(text, FULL_PAIR);
      assert.equal(running.links[0]!.weight, 3);
      assert.deepEqual([keeper.view().head.number, keeper.view().pending], [1, null]);
      assert.equal(keeper.difference, null);
    }
  });
}

test("the other node is away: in force here, and there as soon as it is back", async () => {
  const { nodes } = await pair();
  world.disconnect();
  const report = await nodes.a.apply(heavier);
  assert.deepEqual([report.outcome, states(report)], ["partly", ["a in-force", "b absent"]]);
  assert.equal((await nodes.a.apply(lighter)).outcome, "partly");
  assert.equal(nodes.b.text, FULL_PAIR);
  nodes.b.restart();
  world.connect();
  await world.quiet();
  assert.equal(nodes.b.text, lighter);
  assert.equal(nodes.b.keeper.difference, null);
  // Its history, too: the version in between never was in force there.
  assert.equal(await nodes.b.shown("2"), heavier);
});

test("a node that was away and comes back to a new active brings it up to date, if it is the one that knows more", async () => {
  const { nodes } = await pair();
  world.disconnect();
  await nodes.a.apply(heavier);
  world.setRoles("standby", "active");
  world.connect();
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [heavier, heavier]);
});

test("a node with a new disk and an old file is brought up to date: what it has was in force once", async () => {
  const { nodes } = await pair();
  await nodes.a.apply(heavier);
  await world.quiet();
  await nodes.a.apply(lighter);
  await world.quiet();
  world.disconnect();
  nodes.b.keeper.close();
  rmSync(join(nodes.b.home, "state"), { recursive: true });
  writeFileSync(nodes.b.pairFile, heavier);
  nodes.b.start();
  world.connect();
  await world.quiet();
  assert.equal(nodes.b.text, lighter);
  assert.equal(headOf("b").number, 3);
});

test("edited by hand on one node: both say so and show it, nothing is guessed, and an order settles it", async () => {
  const { nodes } = await pair();
  world.disconnect();
  nodes.b.keeper.close();
  writeFileSync(nodes.b.pairFile, heavier);
  nodes.b.start();
  world.connect();
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [FULL_PAIR, heavier]);
  for (const { keeper } of Object.values(nodes))
    assert.match(
      keeper.difference ?? "",
      /version 1 .*, with which a was set up; .*version 2 \([0-9a-f]{8}\), written by hand on b: which|version 2 \([0-9a-f]{8}\), written by hand on b; .*version 1 .*, with which a was set up: which/,
    );
  assert.equal(await nodes.a.shown(null, "peer"), heavier);
  await assert.rejects(nodes.a.apply(lighter), /which one is right.*diff peer.*--replace-peer/s);
  assert.equal((await nodes.a.apply({ kind: "in-force" }, { replace: true })).outcome, "done");
  await world.quiet();
  assert.deepEqual(
    [nodes.b.text, nodes.b.keeper.difference, nodes.a.keeper.difference],
    [FULL_PAIR, null, null],
  );
  assert.equal(headOf("b").id, headOf("a").id);
});

test("or the other way: what the standby has is taken", async () => {
  const { nodes } = await pair({ a: FULL_PAIR, b: heavier });
  assert.match(nodes.a.keeper.difference ?? "", /which one is right/);
  assert.equal((await nodes.a.apply({ kind: "peer" })).outcome, "done");
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [heavier, heavier]);
  assert.equal(headOf("b").id, headOf("a").id);
});

test("an order on the standby is refused, with the node where it belongs", async () => {
  const { nodes } = await pair();
  await assert.rejects(nodes.b.apply(heavier), /a is active: a configuration is applied there/);
  assert.equal(nodes.b.text, FULL_PAIR);
});

test("one order at a time; one that was made from another version is refused", async () => {
  const { nodes } = await pair();
  const first = nodes.a.apply(heavier);
  await assert.rejects(nodes.a.apply(lighter), /version 2 .* is on its way/);
  assert.equal((await first).outcome, "done");
  await world.quiet();
  await assert.rejects(nodes.a.apply(lighter, { base: "1" }), /made from another version.*version 2/);
  assert.equal((await nodes.a.apply(lighter, { base: "2" })).outcome, "done");
});

test("rolled back to a version: its text, as a new version; one that is not there is refused", async () => {
  const { nodes } = await pair();
  await nodes.a.apply(heavier);
  await world.quiet();
  const report = await nodes.a.apply({ kind: "version", version: "1" });
  assert.deepEqual([report.outcome, report.version?.number, report.version?.origin], ["done", 3, "rollback"]);
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [FULL_PAIR, FULL_PAIR]);
  await assert.rejects(
    nodes.a.apply({ kind: "version", version: "9" }),
    /there is no version 9; there are 1 to 3/,
  );
  const list = nodes.b.keeper.versions({ kind: "versions", request: 1, limit: 2 });
  assert.ok(list.kind === "versions");
  assert.deepEqual(
    list.versions.map(({ header, inForce }) => [header.number, inForce]),
    [
      [3, true],
      [2, false],
    ],
  );
  assert.equal(list.total, 3);
});

test("a peer of protocol version 1: in force here, and it is said that it is not carried", async () => {
  world = new KeeperWorld();
  world.version = 1;
  world.connect();
  await world.quiet();
  const { nodes } = world;
  const report = await nodes.a.apply(heavier);
  assert.deepEqual([report.outcome, states(report)], ["partly", ["a in-force", "b old-protocol"]]);
  assert.match(nodes.a.keeper.difference ?? "", /version 1 of the protocol/);
});

test("a disk that keeps no versions: the node serves, says so, and takes no orders", async () => {
  world = new KeeperWorld();
  const { a } = world.nodes;
  a.keeper.close();
  rmSync(join(a.home, "state"), { recursive: true });
  writeFileSync(join(a.home, "state"), "a file where a directory should be");
  a.start();
  assert.match(a.keeper.storeFault ?? "", /state.*EEXIST|ENOTDIR/s);
  const report = await a.apply(heavier);
  assert.equal(report.outcome, "failed");
  assert.match(report.places[0].words.join(), /EEXIST|ENOTDIR/);
  assert.equal(a.text, FULL_PAIR);
});

test("a pair's file that cannot be written: nothing is changed, on either node", async (t) => {
  if (process.getuid?.() === 0) {
    // Root may write everywhere: a directory in the way of the new file is what it cannot get past.
    const { nodes } = await pair();
    mkdirSync(join(nodes.a.home, ".pair.yaml.new"));
    const report = await nodes.a.apply(heavier);
    assert.deepEqual([report.outcome, states(report)], ["failed", ["a failed", "b unchanged"]]);
    assert.match(report.places[0].words[0]!, /replace .*pair\.yaml: EISDIR/);
    await world.quiet();
    assert.deepEqual([nodes.a.text, nodes.b.text], [FULL_PAIR, FULL_PAIR]);
    return;
  }
  world = new KeeperWorld();
  chmodSync(world.nodes.a.home, 0o500);
  t.after(() => chmodSync(world.nodes.a.home, 0o700));
  assert.equal((await world.nodes.a.apply(heavier)).outcome, "failed");
});

test("what somebody wrote into the file meanwhile is not lost when a version takes its place", async () => {
  const { nodes } = await pair();
  writeFileSync(nodes.b.pairFile, lighter);
  assert.equal((await nodes.a.apply(heavier)).outcome, "done");
  await world.quiet();
  assert.equal(nodes.b.text, heavier);
  const aside = nodes.b.lines.map((line) => /kept as ([0-9a-f]{8})$/.exec(line)?.[1]).find(Boolean);
  assert.equal(await nodes.b.shown(aside ?? "none"), lighter);
});

test("the standby's daemon ends between the order and the word: it starts with what it had taken, and hears that it is in force", async () => {
  const { nodes } = await pair();
  let restarted = false;
  nodes.a.effect = () => {
    // The standby has it in effect by now.
    if (!restarted) nodes.b.restart();
    restarted = true;
    return { ok: true, words: [] };
  };
  const report = await nodes.a.apply(heavier);
  assert.deepEqual(states(report), ["a in-force", "b in-force"]);
  assert.notEqual(nodes.b.keeper.view().pending, null);
  world.connect();
  await world.quiet();
  assert.deepEqual(
    [nodes.b.keeper.view().pending, headOf("b").number, nodes.b.keeper.difference],
    [null, 2, null],
  );
});

test("the active's daemon ends in the middle of its own order: both have the version, whoever is active then", async () => {
  for (const [a, b] of [
    ["active", "standby"],
    ["standby", "active"],
  ] as const) {
    const { nodes } = await pair();
    nodes.a.effect = () => new Promise(() => undefined);
    const order = nodes.a.apply(heavier);
    await world.quiet();
    assert.equal(nodes.b.running.links[0]!.weight, 9);
    world.setRoles(a, b);
    nodes.a.restart();
    await assert.rejects(order, /this daemon ends/);
    world.connect();
    await world.quiet();
    for (const { keeper, text, running } of Object.values(nodes)) {
      assert.deepEqual(
        [keeper.view().head.number, keeper.view().pending, keeper.difference],
        [2, null, null],
      );
      assert.deepEqual([text, running.links[0]!.weight], [heavier, 9]);
    }
    world.end();
  }
  world = new KeeperWorld();
});

test("an effect that throws is a defect, and all the same everything is as it was", async () => {
  const { nodes } = await pair();
  nodes.a.effect = () => {
    throw new Error("nobody thought of this");
  };
  const report = await nodes.a.apply(heavier);
  assert.deepEqual([report.outcome, report.places[0].words], ["failed", ["defect: nobody thought of this"]]);
  await world.quiet();
  assert.deepEqual([nodes.a.text, nodes.b.text], [FULL_PAIR, FULL_PAIR]);
});

test("texts of the peer that are not what their header says are refused", async () => {
  const { nodes } = await pair();
  const { head } = nodes.a.keeper.view();
  nodes.b.keeper.message({
    kind: "configurationPropose",
    exchange: 9,
    from: head.id,
    header: { ...head, number: 2, parent: head.id },
    content: new TextEncoder().encode(heavier),
  });
  await world.quiet();
  assert.equal(nodes.b.keeper.view().pending, null);
  assert.deepEqual([nodes.b.text, nodes.b.effects], [FULL_PAIR, []]);
});
