// The pair's one connection over several paths: which path it takes, what a cut does, and that strangers neither
// disturb it nor fill its tables. Real TLS on loopback; cuts are made in the transport.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { HALF_OPEN_PER_SOURCE_MAX } from "../../src/base/limits.ts";
import { PairLink } from "../../src/peer/pairLink.ts";
import { introduction, Journal, Loopback, newIdentity, pathsOf } from "./loopback.ts";

const alice = newIdentity();
const bob = newIdentity();
const NAMES = ["sync", "lan"];

interface World {
  readonly loopback: Loopback;
  readonly a: { link: PairLink; journal: Journal };
  readonly b: { link: PairLink; journal: Journal };
}

function node(which: "a" | "b", loopback: Loopback, journal: Journal): PairLink {
  const own =
    which === "a" ? introduction("a", alice, [bob.publicKey]) : introduction("b", bob, [alice.publicKey]);
  return new PairLink({
    introduction: own,
    paths: pathsOf(which, NAMES),
    events: journal,
    log: () => {},
    transport: loopback.transport(),
    preferredRetryMs: 5,
  });
}

/** Both nodes; b starts dialling once a listens. */
async function world(t: TestContext, cut: readonly string[] = []): Promise<World> {
  const loopback = new Loopback();
  for (const name of cut) loopback.cut.add(name);
  const [ja, jb] = [new Journal(), new Journal()];
  const a = { journal: ja, link: node("a", loopback, ja) };
  t.after(() => a.link.close());
  const bothUp = Promise.all([ja.next("up"), jb.next("up")]);
  const b = { journal: jb, link: node("b", loopback, jb) };
  t.after(() => b.link.close());
  await bothUp;
  return { loopback, a, b };
}

function breakSockets(loopback: Loopback, path: string): void {
  for (const each of loopback.sockets) if (each.path === path) each.socket.destroy();
}

test("b dials the preferred path, a listens", async (t) => {
  const { loopback, a, b } = await world(t);
  assert.deepEqual(a.journal.entries, ["up b sync"]);
  assert.deepEqual(b.journal.entries, ["up a sync"]);
  assert.ok(loopback.dials.every((name) => name === "sync"));
  assert.deepEqual([a.link.state().path, b.link.state().path], ["sync", "sync"]);
});

test("messages pass, and stop without harm where nobody is there", async (t) => {
  const { a, b } = await world(t);
  const arrived = a.journal.next("message");
  b.link.send({ kind: "roleChanged", role: "active", term: 3 });
  await arrived;
  const down = b.journal.next("down");
  a.link.close();
  assert.equal(await down, "down refused-by-peer-stopping");
  b.link.send({ kind: "roleChanged", role: "active", term: 5 });
  assert.equal(a.journal.messages.length, 1);
});

test("a path that does not answer: the next one at once", async (t) => {
  const { b } = await world(t, ["sync"]);
  assert.deepEqual(b.journal.entries, ["up a lan"]);
});

test("a cut moves the connection to the other path, and it comes back when the preferred one answers", async (t) => {
  const { loopback, a, b } = await world(t);
  const moved = b.journal.next("up a lan");
  loopback.cut.add("sync");
  breakSockets(loopback, "sync");
  await moved;
  const back = Promise.all([a.journal.next("up b sync"), b.journal.next("up a sync")]);
  loopback.cut.delete("sync");
  await back;
  assert.deepEqual([a.link.state().path, b.link.state().path], ["sync", "sync"]);
  const order = b.journal.entries;
  assert.ok(order.indexOf("up a lan") < order.lastIndexOf("up a sync"));
  // Never two at once: each `up` follows a `down`.
  for (let index = 1; index < order.length; index += 1) {
    if (order[index]!.startsWith("up")) assert.match(order[index - 1]!, /^down/);
  }
});

test("a second proven connection takes the first one's place", async (t) => {
  const { loopback, a } = await world(t);
  const entered = a.journal.next("up b");
  const journal = new Journal();
  const second = node("b", loopback, journal);
  t.after(() => second.close());
  await entered;
  assert.deepEqual(a.journal.entries.slice(0, 3), ["up b sync", "down replaced", "up b sync"]);
});

async function strangersTo(loopback: Loopback, from: string, count: number): Promise<Socket[]> {
  const port = loopback.portOf("127.0.1.1")!;
  const sockets: Socket[] = [];
  for (let index = 0; index < count; index += 1) {
    const socket = createConnection({ host: "127.0.1.1", port, localAddress: from });
    socket.on("error", () => {});
    await once(socket, "connect");
    sockets.push(socket);
  }
  return sockets;
}

test("another source is dropped without a byte; the connection does not feel it", async (t) => {
  const { loopback, a } = await world(t);
  const sockets = await strangersTo(loopback, "127.0.1.77", 10);
  for (const socket of sockets) {
    socket.resume();
    if (!socket.closed) await once(socket, "close");
    assert.equal(socket.bytesRead, 0);
  }
  assert.equal(a.link.state().counters["stranger-address"], 10);
  assert.equal(a.link.state().connected, true);
});

test("connections that stay silent are bounded, for the peer's own address too", async (t) => {
  const { loopback, a } = await world(t);
  const sockets = await strangersTo(loopback, "127.0.1.2", HALF_OPEN_PER_SOURCE_MAX + 3);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const dropped = sockets.slice(-3);
  for (const socket of dropped) {
    socket.resume();
    if (!socket.closed) await once(socket, "close");
  }
  assert.equal(a.link.state().counters["half-open-full-source"], 3);
  assert.equal(a.link.state().connected, true);
});

test("a wrong key is counted by both, and never up", async (t) => {
  const loopback = new Loopback();
  const mallory = newIdentity();
  const [ja, jb] = [new Journal(), new Journal()];
  const lines: string[] = [];
  let told: (line: string) => void = () => {};
  const refused = new Promise<string>((resolve) => {
    told = resolve;
  });
  const a = node("a", loopback, ja);
  t.after(() => a.close());
  const b = new PairLink({
    introduction: introduction("b", mallory, [alice.publicKey]),
    paths: pathsOf("b", NAMES),
    events: jb,
    log: (line) => {
      lines.push(line);
      if (line.includes("refused-by-peer")) told(line);
    },
    transport: loopback.transport(),
  });
  t.after(() => b.close());
  assert.match(await refused, /wrong-key/);
  assert.deepEqual([ja.entries, jb.entries], [[], []]);
  assert.ok(a.state().counters["wrong-key"]! >= 1);
  assert.ok(b.state().counters["refused-by-peer-wrong-key"]! >= 1);
  assert.deepEqual(a.state().refusedKey, { by: "us", key: mallory.publicKey });
  assert.deepEqual(b.state().refusedKey, { by: "peer", key: null });
});

test("asked to connect anew, by either side: over the preferred path, once", async (t) => {
  for (const who of ["a", "b"] as const) {
    const { a, b } = await world(t);
    const both = Promise.all([a.journal.next("up"), b.journal.next("up")]);
    (who === "a" ? a : b).link.reconnect();
    assert.deepEqual(await both, ["up b sync", "up a sync"]);
    for (const { journal } of [a, b])
      assert.equal(journal.entries.filter((entry) => entry.startsWith("up")).length, 2);
    a.link.close();
    b.link.close();
  }
});
