// The merge between two real kernels (docs/protocol.md §5.4): what both sides of a split made is there after it heals; a
// former active is not swept down to the table of a standby that was not synchronised; cut off, it begins again; a
// handover needs none.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { TCP, UDP } from "../core/records.ts";
import { inNamespace } from "./namespace.ts";
import { makePair, type Node, type Pair, Traffic } from "./replicatorWorld.ts";
import { table } from "./sessionWorld.ts";

interface World extends Pair {
  readonly onA: Traffic;
  readonly onB: Traffic;
  part(): Promise<void>;
  heal(): void;
}

function world(t: TestContext): World {
  const pair = makePair();
  const [onA, onB] = [new Traffic(pair.a), new Traffic(pair.b)];
  t.after(async () => {
    onA.close();
    onB.close();
    await pair.close();
  });
  const down = (node: Node): boolean => !node.replicator.state().connected;
  return {
    ...pair,
    onA,
    onB,
    part: async () => {
      for (const path of ["sync", "spare"]) pair.cut(path);
      await Promise.all([pair.a, pair.b].map((node) => node.until(down, "no connection")));
    },
    heal: () => {
      for (const path of ["sync", "spare"]) pair.mend(path);
    },
  };
}

/** a active in term 2, b its synchronised standby. */
async function follow({ a, b }: Pair): Promise<void> {
  a.setRole("active", 2, "standby");
  b.setRole("standby", 0, "active");
  await synchronised(b);
}

const synchronised = (node: Node): Promise<void> =>
  node.until(({ replicator }) => replicator.report().ready, "ready");

/** Ids of the sessions by protocol, and that both kernels hold the same ones. */
async function heldByBoth(active: Node, standby: Node): Promise<readonly string[]> {
  assert.equal(await active.replicator.waitAcknowledged(5000), true, "acknowledged");
  const held = table(active.space);
  assert.deepEqual(table(standby.space), held);
  return held;
}

const merged = ({ replicator }: Node): Record<string, number> => {
  const { counters } = replicator.state();
  return Object.fromEntries(
    ["inserted", "same", "clashed", "refused"].map((name) => [name, counters[`merge.${name}`]!]),
  );
};

describe("the merge between two kernels", inNamespace, () => {
  test("a split heals: both sides' sessions are on both nodes, less the counted clashes", async (t) => {
    const pair = world(t);
    const { a, b, onA, onB } = pair;
    onA.open(0, 300);
    onA.open(400, 20, TCP);
    await follow(pair);
    await pair.part();
    b.setRole("active", 3, "idle");
    onA.open(1000, 100);
    onB.open(2000, 150);
    // Made on both sides alike, and three translated to a port that the other side gave to somebody else.
    onA.open(3000, 10);
    onB.open(3000, 10);
    onA.open(5000, 3);
    onB.open(69_000, 3);
    // Over there nobody heard that these ended: TCP said so itself, UDP was only silent here.
    onA.end(400, 5, TCP);
    onA.end(0, 7, UDP);
    pair.heal();
    a.setRole("active", 4, "active");
    b.setRole("standby", 3, "active");
    assert.equal(b.replicator.report().ready, false);
    await synchronised(b);
    const held = await heldByBoth(a, b);
    assert.equal(held.length, 300 + 15 + 100 + 150 + 10 + 3);
    assert.deepEqual(merged(a), { inserted: 150 + 7, same: 293 + 15 + 10, clashed: 3, refused: 0 });
    assert.equal(a.replicator.state().counters["sender.mergeEnded"], 5);
  });

  test("a standby that was not synchronised takes over: what the former active held is taken over", async (t) => {
    const pair = world(t);
    const { a, b, onA, onB } = pair;
    onA.open(0, 2500);
    await pair.part();
    a.setRole("active", 2, "idle");
    b.setRole("active", 3, "idle");
    onB.open(10_000, 40);
    a.setRole("standby", 2, "active");
    pair.heal();
    await synchronised(a);
    assert.equal((await heldByBoth(b, a)).length, 2540);
    assert.deepEqual(merged(b), { inserted: 2500, same: 0, clashed: 0, refused: 0 });
  });

  test("the same, and the former active's daemon is another one by then: its kernel remembers", async (t) => {
    const pair = world(t);
    const { a, b, onA } = pair;
    await pair.part();
    a.setRole("active", 2, "idle");
    onA.open(0, 200);
    b.setRole("active", 3, "idle");
    await a.restart();
    a.setRole("standby", 2, "active");
    pair.heal();
    await synchronised(a);
    assert.equal((await heldByBoth(b, a)).length, 200);
  });

  test("cut off in the middle, it is begun again on the next connection", async (t) => {
    const pair = world(t);
    const { a, b, onA } = pair;
    onA.open(0, 5000);
    await pair.part();
    a.setRole("active", 2, "idle");
    b.setRole("active", 3, "idle");
    a.setRole("standby", 2, "active");
    pair.heal();
    await b.until((node) => merged(node).inserted! > 0, "the merge has begun");
    await pair.part();
    const taken = merged(b).inserted!;
    pair.heal();
    const from = performance.now();
    await synchronised(a);
    t.diagnostic(
      `${taken} before the cut; the rest and the snapshot ${Math.round(performance.now() - from)} ms`,
    );
    assert.equal((await heldByBoth(b, a)).length, 5000);
    assert.deepEqual(merged(b), {
      inserted: 5000,
      same: merged(b).same!,
      clashed: 0,
      refused: 0,
    });
    assert.ok(merged(b).same! >= taken);
  });

  test("the taker yields in mid-merge: it takes no more, and gives what it has", async (t) => {
    const pair = world(t);
    const { a, b, onA, onB } = pair;
    onA.open(0, 5000);
    await pair.part();
    a.setRole("active", 2, "idle");
    b.setRole("active", 3, "idle");
    onB.open(30_000, 10);
    a.setRole("standby", 2, "active");
    pair.heal();
    await b.until((node) => merged(node).inserted! > 0, "the merge has begun");
    b.setRole("standby", 3, "active");
    const { inserted } = merged(b);
    a.setRole("active", 4, "standby");
    await synchronised(b);
    assert.equal(merged(b).inserted, inserted);
    assert.equal((await heldByBoth(a, b)).length, 5010);
    assert.equal(merged(a).inserted, 10);
  });

  test("a handover merges nothing", async (t) => {
    const pair = world(t);
    const { a, b, onA } = pair;
    onA.open(0, 500);
    await follow(pair);
    await heldByBoth(a, b);
    b.setRole("active", 3, "active");
    a.setRole("standby", 2, "active");
    await synchronised(a);
    assert.equal(b.replicator.state().counters["sender.mergesBegun"], 0);
    assert.equal((await heldByBoth(b, a)).length, 500);
    // And back, the other's word first.
    b.setRole("standby", 3, "active");
    await a.until(({ replicator }) => !replicator.report().ready, "its word has come");
    a.setRole("active", 4, "standby");
    await synchronised(b);
    assert.equal(a.replicator.state().counters["sender.mergesBegun"], 0);
    assert.equal((await heldByBoth(a, b)).length, 500);
  });
});
