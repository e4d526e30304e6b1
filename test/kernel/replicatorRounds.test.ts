// Rounds and refreshes between two real kernels: an event socket that overruns, a log that is full, times that are said again.
// The tables are compared as `conntrack -L` shows them. And what the kernel does about an overrun, on which rounds rely.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, type TestContext, test } from "node:test";
import * as libc from "../../src/kernel/libc.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { batchOf, session } from "../core/records.ts";
import { inNamespace } from "./namespace.ts";
import { makePair, type Node, type Pair, Traffic, type Tuning } from "./replicatorWorld.ts";
import { table } from "./sessionWorld.ts";

const SMALL_BUFFER = 16 * 1024;

/** a active in term 2 with `sessions` of them, b its synchronised standby. */
async function follow(
  t: TestContext,
  sessions: number,
  tuning: Tuning,
): Promise<Pair & { traffic: Traffic }> {
  const pair = makePair({}, tuning);
  const traffic = new Traffic(pair.a);
  t.after(async () => {
    traffic.close();
    await pair.close();
  });
  traffic.open(0, sessions);
  pair.a.setRole("active", 2, "standby");
  pair.b.setRole("standby", 0, "active");
  await synchronised(pair);
  return { ...pair, traffic };
}

/** Both say so; a standby alone may not have heard yet. */
const synchronised = ({ a, b }: Pair): Promise<void> =>
  b.until(({ replicator }) => replicator.report().ready && a.replicator.state().synchronised, "synchronised");

const counterOf = (node: Node, name: string): number => node.replicator.state().counters[name] ?? 0;

async function assertEqual(pair: Pair): Promise<void> {
  assert.equal(await pair.a.replicator.waitAcknowledged(5000), true, "acknowledged");
  assert.deepEqual(table(pair.b.space), table(pair.a.space));
}

describe("rounds between two kernels", inNamespace, () => {
  test("the active's event socket overruns: the standby is told, and becomes equal on the same connection", async (t) => {
    const pair = await follow(t, 500, { receiveBytes: SMALL_BUFFER });
    // The sessions that were there before anybody followed overran it, too.
    const before = counterOf(pair.a, "sender.overruns");
    for (let storm = 1; storm <= 3; storm += 1) {
      pair.traffic.open(storm * 10_000, 1500);
      pair.traffic.end(storm * 10_000, 700);
      await pair.a.until((node) => counterOf(node, "sender.overruns") >= before + storm, "an overrun");
      assert.equal(pair.a.replicator.state().synchronised, false);
      await pair.b.until(({ replicator }) => !replicator.report().ready, "not ready");
      await synchronised(pair);
      await assertEqual(pair);
    }
    assert.equal(table(pair.b.space).length, 500 + 3 * 800);
    // No snapshot was begun in vain, none begun anew.
    const begun = counterOf(pair.a, "sender.snapshots") + counterOf(pair.a, "sender.partialRounds");
    assert.equal(counterOf(pair.a, "sender.roundsDone"), begun);
    assert.equal(counterOf(pair.b, "receiver.subscribed"), 1);
  });

  test("a log that is full: what found no room is read again, and nothing else", async (t) => {
    const pair = await follow(t, 3000, { limits: { logBytesMax: 8 * 1024, roundPaceMs: 20 } });
    const before = counterOf(pair.a, "sender.sent");
    // In one batch each, and more than the log holds.
    pair.traffic.open(10_000, 500);
    await pair.a.until((node) => counterOf(node, "sender.partialRounds") === 1, "a round");
    await synchronised(pair);
    await assertEqual(pair);
    pair.traffic.end(1000, 700);
    await pair.a.until((node) => counterOf(node, "sender.partialRounds") === 2, "another round");
    await synchronised(pair);
    await assertEqual(pair);
    assert.equal(table(pair.b.space).length, 3500 - 700);
    assert.equal(counterOf(pair.a, "sender.unsentLogFull"), 1200);
    assert.equal(counterOf(pair.b, "receiver.removed"), 700);
    assert.equal(counterOf(pair.a, "sender.snapshots"), 1);
    const sent = counterOf(pair.a, "sender.sent") - before;
    assert.ok(sent < 2000, `${sent} records: 500, and what shares a bucket with 1200 sessions`);
  });

  test("a standby that is behind all the while: bounded, and equal when it is over", async (t) => {
    const logBytesMax = 2 * 1024;
    const pair = await follow(t, 200, { limits: { logBytesMax, roundPaceMs: 5 } });
    for (let burst = 0; burst < 40; burst += 1) {
      pair.traffic.open(10_000 + burst * 60, 60);
      pair.traffic.end(10_000 + burst * 60, 30);
      await new Promise(setImmediate);
    }
    await synchronised(pair);
    await assertEqual(pair);
    assert.equal(table(pair.b.space).length, 200 + 40 * 30);
    assert.ok(counterOf(pair.a, "sender.unsentLogFull") > 0);
    assert.equal(counterOf(pair.b, "receiver.subscribed"), 1);
  });

  test("a round leaves alone what is not the pair's, and what lies in other buckets", async (t) => {
    const pair = await follow(t, 300, { limits: { logBytesMax: 8 * 1024, roundPaceMs: 20 } });
    pair.b.sh("conntrack -I -p udp -s 10.9.0.7 -d 10.9.0.8 --sport 7 --dport 8 --timeout 60");
    const alien = new Traffic(pair.b);
    t.after(() => alien.close());
    // Nobody has told the standby of these; a round over a part of the buckets finds those in it.
    alien.open(50_000, 100);
    pair.traffic.open(10_000, 400);
    await pair.a.until((node) => counterOf(node, "sender.partialRounds") === 1, "a round");
    await synchronised(pair);
    const left = table(pair.b.space);
    assert.equal(left.filter((line) => line.includes("src=10.9.0.7")).length, 1);
    const removed = counterOf(pair.b, "receiver.removed");
    assert.equal(left.length, 1 + 700 + 100 - removed);
    assert.ok(removed < 100 && removed > 0, `${removed} of 100 lay in some 400 of 4096 buckets`);
  });

  test("a refresh says the time again, costs no readiness, and makes no session anew", async (t) => {
    const pair = await follow(t, 400, { limits: { refreshRoundMs: 300 } });
    const line = /src=10\.0\.0\.5 /;
    const secondsOn = (node: Node): number => {
      const found = node
        .sh("conntrack -L -p udp 2>/dev/null")
        .split("\n")
        .find((each) => line.test(each));
      return Number(/^udp +17 (\d+) /.exec(found ?? "")?.[1]);
    };
    const given = secondsOn(pair.b);
    pair.b.sh("conntrack -U -p udp -s 10.0.0.5 --timeout 7");
    pair.b.sh("conntrack -D -p udp -s 10.0.0.6");
    assert.ok(secondsOn(pair.b) <= 7);
    let ready = true;
    await pair.b.until(({ replicator }) => {
      ready &&= replicator.report().ready;
      return counterOf(pair.a, "sender.refreshRounds") >= 3;
    }, "three refreshes");
    assert.ok(ready, "ready all the while");
    await assertEqual(pair);
    assert.ok(Math.abs(secondsOn(pair.b) - given) <= 5, `${secondsOn(pair.b)} s where ${given} s were given`);
    assert.ok(counterOf(pair.a, "sender.refreshSpared") > 0, "to them two rounds of 300 ms are a short time");
    assert.equal(counterOf(pair.a, "sender.snapshots"), 1);
    assert.equal(counterOf(pair.b, "kernel.replaced"), 0);
  });
});

describe("events are heard before anybody is active", inNamespace, () => {
  test("the socket of each node is bound, and sized, with its daemon's start", async (t) => {
    const pair = makePair();
    t.after(() => pair.close());
    for (const { space } of [pair.a, pair.b]) {
      // Protocol 12 is netfilter; groups 1 to 3 are new, update and destroy.
      const sockets = space.run(() => readFileSync("/proc/thread-self/net/netlink", "utf8")).split("\n");
      const bound = sockets
        .map((line) => line.trim().split(/\s+/))
        .filter(([, protocol]) => protocol === "12");
      assert.ok(
        bound.some((fields) => (Number.parseInt(fields[3] ?? "", 16) & 7) === 7),
        sockets.join("\n"),
      );
    }
    // What happens from here on waits in it: heard first, once there is somebody to tell.
    const traffic = new Traffic(pair.a);
    t.after(() => traffic.close());
    traffic.open(0, 50);
    pair.a.setRole("active", 2, "standby");
    pair.b.setRole("standby", 0, "active");
    await synchronised(pair);
    await assertEqual(pair);
    assert.equal(table(pair.b.space).length, 50);
  });
});

describe("what the kernel does when an event socket overruns", inNamespace, () => {
  test("it says so once, drops everything until the socket was read empty, and what waits in it is older", () => {
    const events = openSessionEvents({ receiveBytes: SMALL_BUFFER });
    const writer = openSessionWriter();
    const open = (from: number, count: number): void => {
      const ids = Array.from({ length: count }, (_, index) => from + index);
      const { created } = writer.apply(batchOf(ids.map((id) => session(id))), count, 0);
      assert.equal(created, count);
    };
    const room = new Uint8Array(4096);
    const read = (): number => libc.recv(events.fd, room, libc.MSG_DONTWAIT);
    try {
      open(0, 500);
      assert.equal(read(), -libc.errno.ENOBUFS!, "first of all");
      assert.ok(read() > 0, "then what was in the socket before");
      // There is room again, and the kernel knows of the loss; these are lost in silence all the same.
      open(1000, 20);
      let waiting = 0;
      let last = read();
      for (; last > 0; last = read()) waiting += 1;
      assert.equal(last, -libc.errno.EAGAIN!, "without a further word");
      assert.ok(waiting < 500);
      // Read empty: from here on everything is told again.
      open(2000, 3);
      const batch = new RecordBatch();
      const { events: told, overrun } = events.drain(batch);
      assert.deepEqual({ told, overrun }, { told: 3, overrun: false });
    } finally {
      writer.close();
      events.close();
    }
  });
});
