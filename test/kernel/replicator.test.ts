// Replication between two real kernels: events and dump of one namespace's connection tracking arrive in another's,
// over the real connection; what a cut, a takeover, a restart and a different configuration do. The tables are
// compared as `conntrack -L` shows them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, type TestContext, test } from "node:test";
import { replicationTransport } from "../../src/daemon/replicationSockets.ts";
import * as libc from "../../src/kernel/libc.ts";
import { socketAddress } from "../../src/kernel/pathSocket.ts";
import { inNamespace } from "./namespace.ts";
import { makePair, type Node, type Pair, Traffic } from "./replicatorWorld.ts";
import { table } from "./sessionWorld.ts";

async function pairWith(t: TestContext, sessions: number): Promise<Pair & { traffic: Traffic }> {
  const pair = makePair();
  const traffic = new Traffic(pair.a);
  t.after(async () => {
    traffic.close();
    await pair.close();
  });
  traffic.open(0, sessions);
  return { ...pair, traffic };
}

/** a active in term 2, b its standby. */
async function follow({ a, b }: Pair): Promise<void> {
  a.setRole("active", 2, "standby");
  b.setRole("standby", 0, "active");
  await synchronised(b);
}

const synchronised = (node: Node): Promise<void> =>
  node.until(({ replicator }) => replicator.report().ready, "ready");

/** Everything a has produced is in b's kernel, and both tables are the same. */
async function assertEqual(active: Node, standby: Node): Promise<void> {
  assert.equal(await active.replicator.waitAcknowledged(5000), true, "acknowledged");
  assert.deepEqual(table(standby.space), table(active.space));
}

describe("replication between two kernels", inNamespace, () => {
  test("a snapshot, then changes as they happen", async (t) => {
    const pair = await pairWith(t, 2500);
    await follow(pair);
    await assertEqual(pair.a, pair.b);
    assert.equal(table(pair.b.space).length, 2500);
    pair.traffic.open(10_000, 300);
    pair.traffic.end(0, 200);
    await assertEqual(pair.a, pair.b);
    assert.equal(table(pair.b.space).length, 2600);
    const [sending, receiving] = [pair.a.replicator.state(), pair.b.replicator.state()];
    assert.deepEqual([sending.direction, receiving.direction], ["sending", "receiving"]);
    assert.deepEqual(receiving.applied, sending.produced);
    assert.equal(sending.path, "sync");
  });

  test("slots and links go to the standby, facts both ways, and changes of them", async (t) => {
    const pair = await pairWith(t, 100);
    const { a, b } = pair;
    await follow(pair);
    assert.deepEqual([a.state.adopted, b.state.adopted], [null, 1]);
    assert.deepEqual(b.replicator.stateLog.told().links, a.state.links());
    assert.equal(a.replicator.stateLog.told().links, null);
    assert.equal(b.replicator.stateLog.told().facts?.software, "understudy of a");
    assert.equal(a.replicator.stateLog.told().facts?.software, "understudy of b");
    assert.deepEqual([a.replicator.state().version, b.replicator.state().version], [2, 2]);
    a.state.link = 7;
    for (const subject of ["slots", "links"] as const) a.replicator.stateLog.changed(subject);
    assert.equal(await a.replicator.waitAcknowledged(5000), true);
    assert.equal(b.state.adopted, 7);
    assert.deepEqual(b.replicator.stateLog.told().links, a.state.links());
    // A takeover: the new active goes on with what it was told, and the other one is told that.
    b.state.link = b.state.adopted;
    b.setRole("active", 3, "active");
    a.setRole("standby", 3, "active");
    await synchronised(a);
    assert.deepEqual([a.state.adopted, a.replicator.stateLog.told().links?.[0]?.detail], [7, "b"]);
  });

  test("a standby whose kernel does not take the slots is not ready, and holds up a handover", async (t) => {
    const pair = await pairWith(t, 100);
    const { a, b } = pair;
    await follow(pair);
    b.state.refusal = "no memory";
    a.replicator.stateLog.changed("slots");
    await b.until(({ replicator }) => !replicator.report().ready, "not ready");
    assert.deepEqual(b.replicator.report().reasons, [
      "the active's slots are not in this node's kernel: no memory",
    ]);
    assert.deepEqual([a.replicator.state().synchronised, b.replicator.state().synchronised], [false, false]);
    assert.equal(await a.replicator.waitAcknowledged(50), false);
    const waits = a.replicator.waitAcknowledged(8000);
    b.state.refusal = "";
    assert.equal(await waits, true);
    assert.equal(b.replicator.report().ready, true);
  });

  test("changes while the snapshot is under way", async (t) => {
    const pair = await pairWith(t, 5000);
    pair.a.setRole("active", 2, "standby");
    pair.b.setRole("standby", 0, "active");
    await pair.a.until(({ replicator }) => replicator.state().direction === "sending", "sending");
    for (let round = 0; round < 20; round += 1) {
      pair.traffic.open(20_000 + round * 50, 50);
      pair.traffic.end(round * 100, 40);
      await new Promise(setImmediate);
    }
    await synchronised(pair.b);
    await assertEqual(pair.a, pair.b);
  });

  test("what the standby holds and the active does not is swept; the node's own sessions are not", async (t) => {
    const pair = await pairWith(t, 100);
    const old = new Traffic(pair.b);
    t.after(() => old.close());
    old.open(50_000, 70);
    pair.b.sh("conntrack -I -p udp -s 10.9.0.7 -d 10.9.0.8 --sport 7 --dport 8 --timeout 60");
    await follow(pair);
    const sessions = table(pair.b.space);
    assert.equal(sessions.length, 101);
    assert.equal(sessions.filter((line) => line.includes("src=10.9.0.7")).length, 1);
  });

  test("a takeover: the new active continues from its own kernel, the old one becomes equal to it", async (t) => {
    const pair = await pairWith(t, 500);
    await follow(pair);
    await assertEqual(pair.a, pair.b);
    pair.b.setRole("active", 3, "standby");
    pair.a.setRole("standby", 2, "active");
    const onB = new Traffic(pair.b);
    t.after(() => onB.close());
    onB.open(60_000, 100);
    onB.end(0, 50);
    await synchronised(pair.a);
    await assertEqual(pair.b, pair.a);
    assert.equal(table(pair.a.space).length, 550);
    assert.deepEqual(pair.a.replicator.report().position, pair.b.replicator.report().position);
  });

  test("a cut of the preferred path: replication goes on over the other within a second", async (t) => {
    const pair = await pairWith(t, 200);
    await follow(pair);
    const cutAt = performance.now();
    pair.cut("sync");
    await pair.b.until(({ replicator }) => replicator.state().path === "spare", "the other path");
    const tookMs = performance.now() - cutAt;
    pair.traffic.open(30_000, 100);
    await synchronised(pair.b);
    await assertEqual(pair.a, pair.b);
    t.diagnostic(`moved ${Math.round(tookMs)} ms after the cut`);
  });

  test("a restarted standby becomes equal again, whatever generation it left behind", async (t) => {
    const pair = await pairWith(t, 300);
    await follow(pair);
    for (let round = 0; round < 4; round += 1) {
      await pair.b.restart();
      pair.traffic.end(round * 10, 10);
      pair.traffic.open(40_000 + round * 10, 10);
      pair.b.setRole("standby", 0, "active");
      await synchronised(pair.b);
      await assertEqual(pair.a, pair.b);
    }
  });

  test("a restarted active sends everything again", async (t) => {
    const pair = await pairWith(t, 300);
    await follow(pair);
    await pair.a.restart();
    pair.traffic.end(0, 100);
    pair.a.setRole("active", 2, "standby");
    await pair.b.until(
      ({ replicator }) => replicator.state().counters["receiver.snapshotsDone"] === 2,
      "second snapshot",
    );
    await synchronised(pair.b);
    await assertEqual(pair.a, pair.b);
  });

  test("neighbours of service interfaces are there before a takeover, and follow changes", async (t) => {
    const pair = await pairWith(t, 0);
    pair.a.sh("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:50 dev us-lan nud reachable");
    await follow(pair);
    const has = (address: string, mac: string) => (node: Node) =>
      node.sh(`ip neigh show dev us-lan`).includes(`${address} lladdr ${mac} STALE`);
    await pair.b.until(has("10.9.0.50", "02:00:00:00:00:50"), "the first neighbour");
    pair.a.sh("ip neigh replace 10.9.0.51 lladdr 02:00:00:00:00:51 dev us-lan nud stale");
    pair.a.sh("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:99 dev us-lan nud reachable");
    await pair.b.until(has("10.9.0.51", "02:00:00:00:00:51"), "a new neighbour");
    await pair.b.until(has("10.9.0.50", "02:00:00:00:00:99"), "a changed neighbour");
    pair.a.sh("ip neigh del 10.9.0.51 dev us-lan");
    await pair.b.until((node) => !has("10.9.0.51", "02:00:00:00:00:51")(node), "a removed neighbour");
  });

  test("another configuration: sessions flow, the standby is not ready and says why", async (t) => {
    const pair = makePair({ b: { digest: "cd".repeat(32) } });
    t.after(() => pair.close());
    const traffic = new Traffic(pair.a);
    t.after(() => traffic.close());
    traffic.open(0, 50);
    pair.a.setRole("active", 2, "standby");
    pair.b.setRole("standby", 0, "active");
    await pair.b.until(({ replicator }) => replicator.state().synchronised, "synchronised");
    const { ready, reasons } = pair.b.replicator.report();
    assert.equal(ready, false);
    assert.deepEqual(reasons, ["the two nodes have different configurations: another digest"]);
    assert.equal(table(pair.b.space).length, 50);
  });

  test("a port in use is one clear error, and nothing is left open", async (t) => {
    const pair = await pairWith(t, 0);
    const { id, space, config } = pair.a;
    await pair.a.replicator.close();
    const squatter = space.run(() => libc.socket(libc.AF_INET, libc.SOCK_STREAM, 0));
    libc.bind(squatter, socketAddress("10.255.1.1", 1148));
    libc.listen(squatter, 1);
    await assert.rejects(pair.a.restart(), (error: Error) => {
      assert.match(error.message, /replication path sync .*10\.255\.1\.1.*TCP 1148.*EADDRINUSE/s);
      return true;
    });
    libc.close(squatter);
    await pair.a.restart();
    assert.deepEqual([id, config.node], ["a", "a"]);
  });

  test("a stranger on the path learns nothing and changes nothing", async (t) => {
    const pair = await pairWith(t, 10);
    await follow(pair);
    // From the peer's own address, device and hop limit: as near as a stranger can come.
    const path = pair.b.config.paths[0]!;
    const socket = await pair.b.space.run(() => replicationTransport().dial(path, 1000));
    socket.on("error", () => {});
    socket.resume();
    socket.write("SSH-2.0-OpenSSH_9.2\r\n");
    if (!socket.closed) await once(socket, "close");
    assert.equal(socket.bytesRead, 0);
    assert.equal(pair.a.replicator.state().counters["link.preamble-magic"], 1);
    assert.ok(
      pair.a.lines.some((line) => line.includes("SSH")),
      pair.a.lines.join("\n"),
    );
    await assertEqual(pair.a, pair.b);
    assert.equal(pair.b.replicator.report().ready, true);
  });
});
