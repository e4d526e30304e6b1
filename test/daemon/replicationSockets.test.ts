// The log's sockets on a line that loses packets: a least retransmission timeout of 5 ms, by the socket's own option or,
// as on older kernels, by a route to the peer; what it buys, against a plain connection on the same line in the same run;
// and that nothing of it stays behind.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import { describe, test } from "node:test";
import type { PathConfig } from "../../src/core/config.ts";
import { replicationTransport } from "../../src/daemon/replicationSockets.ts";
import * as libc from "../../src/kernel/libc.ts";
import { hasRetransmissionOption, putPathRoute, removePathRoutes } from "../../src/kernel/pathRoutes.ts";
import { socketAddress } from "../../src/kernel/pathSocket.ts";
import type { Transport } from "../../src/peer/pairLink.ts";
import { inNamespace, makeNamespace, type Namespace } from "../kernel/namespace.ts";

const PLAIN_PORT = 2000;
const MESSAGE_BYTES = 64;

interface Line {
  readonly a: Namespace;
  readonly b: Namespace;
  path(node: "a" | "b", family?: 4 | 6): PathConfig;
  /** Of each hundred segments of TCP, both ways. */
  lose(percent: number): void;
  close(): void;
}

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });

/** Two nodes on one cable, 10.255.0.1 and .2, fd00:255::1 and ::2. */
function makeLine(): Line {
  const [a, b] = [makeNamespace(), makeNamespace()];
  // Made inside a, its other end moved to b by the descriptor that this process holds of it.
  a.run(() =>
    sh(`ip link add sync type veth peer name peer; ip link set peer netns /proc/${process.pid}/fd/${b.fd}`),
  );
  const dress = (name: string, last: number): string =>
    sh(`ip link set ${name} name sync 2>/dev/null || true; ip addr add 10.255.0.${last}/24 dev sync
        ip addr add fd00:255::${last}/64 dev sync nodad; ip link set sync up`);
  a.run(() => dress("sync", 1));
  b.run(() => dress("peer", 2));
  const ends = { 4: ["10.255.0.1", "10.255.0.2"], 6: ["fd00:255::1", "fd00:255::2"] } as const;
  return {
    a,
    b,
    path: (node, family = 4) => {
      const [one, other] = ends[family];
      const [local, remote] = node === "a" ? [one, other] : [other, one];
      return { name: "sync", device: "sync", local, remote, heartbeat: true, replication: true };
    },
    lose: (percent) => {
      const rules = `table inet loss { chain in { type filter hook input priority -400; policy accept;
        meta l4proto tcp numgen random mod 100 < ${percent} drop\n }\n }\n`;
      for (const space of [a, b]) space.run(() => execFileSync("nft", ["-f", "-"], { input: rules }));
    },
    close: () => {
      a.close();
      b.close();
    },
  };
}

interface Connected {
  readonly dialled: Socket;
  readonly accepted: Socket;
  close(): void;
}

async function connectTuned(line: Line, transport: Transport, family: 4 | 6 = 4): Promise<Connected> {
  const server = createServer({ noDelay: true });
  line.a.run(() => transport.listen(line.path("a", family), server));
  const accepted = once(server, "connection");
  const dialled = await line.b.run(() => transport.dial(line.path("b", family), 2000));
  dialled.setNoDelay(true);
  return connection(server, dialled, await accepted);
}

/** As any program's. */
async function connectPlain(line: Line): Promise<Connected> {
  const server = line.a.run(() => createServer({ noDelay: true }).listen(PLAIN_PORT));
  const accepted = once(server, "connection");
  const fd = line.b.run(() => libc.socket(libc.AF_INET, libc.SOCK_STREAM, 0));
  line.b.run(() => libc.connect(fd, socketAddress(line.path("b").remote, PLAIN_PORT)));
  const dialled = new Socket({ fd, readable: true, writable: true });
  dialled.setNoDelay(true);
  return connection(server, dialled, await accepted);
}

function connection(server: Server, dialled: Socket, [accepted]: readonly Socket[]): Connected {
  assert.ok(accepted !== undefined);
  for (const socket of [dialled, accepted]) socket.on("error", () => {});
  return {
    dialled,
    accepted,
    close: () => {
      dialled.destroy();
      accepted.destroy();
      server.close();
    },
  };
}

/** The retransmission timeout of the node's connections to or from this port, in ms, as `ss -ti` tells it. */
function timeoutsOf(space: Namespace, port: number): number[] {
  const text = space.run(() => sh(`ss -Htin "sport = :${port} or dport = :${port}"`));
  return [...text.matchAll(/\brto:([\d.]+)/g)].map(([, ms]) => Number(ms));
}

/** So often that a slow beginning (the first question for a neighbour) is forgotten by the estimate. */
async function exchange({ dialled, accepted }: Connected): Promise<void> {
  for (let round = 0; round < 300; round += 1) {
    dialled.write("over");
    await once(accepted, "data");
    accepted.write("and back");
    await once(dialled, "data");
  }
}

const routes = (space: Namespace, family: 4 | 6): string =>
  space.run(() => sh(`ip -${family} route show proto 148`)).trim();

describe("the log's sockets", inNamespace, () => {
  for (const [name, byOption, family] of [
    ["the socket's option", true, 4],
    ["a route, IPv4", false, 4],
    ["a route, IPv6", false, 6],
  ] as const)
    test(`by ${name}: both ends repeat what was lost after milliseconds`, async (t) => {
      if (byOption && !hasRetransmissionOption()) {
        t.skip("this kernel's sockets cannot be told (TCP_RTO_MIN_US, Linux 6.15)");
        return;
      }
      const line = makeLine();
      // One of each node: what they put into the kernel is their own namespace's.
      const [ofA, ofB] = [
        line.a.run(() => inside(line.a, byOption)),
        line.b.run(() => inside(line.b, byOption)),
      ];
      const both: Transport = { listen: ofA.listen, dial: ofB.dial };
      const tuned = await connectTuned(line, both, family);
      await exchange(tuned);
      for (const space of [line.a, line.b]) {
        const timeouts = timeoutsOf(space, 1148);
        assert.equal(timeouts.length, 1);
        assert.ok(timeouts[0]! < 100, `${timeouts[0]} ms`);
      }
      if (family === 4) {
        // Whoever else connects two nodes has the usual 200 ms, unless the route is what says it.
        const plain = await connectPlain(line);
        await exchange(plain);
        for (const space of [line.a, line.b])
          for (const ms of timeoutsOf(space, PLAIN_PORT)) assert.equal(ms >= 200, byOption, `${ms} ms`);
        plain.close();
      }
      tuned.close();
      if (!byOption) assert.match(routes(line.b, family), /dev sync .*metric 1148 rto_min (lock )?5ms/);
      for (const transport of [ofA, ofB]) transport.close?.();
      for (const space of [line.a, line.b]) assert.equal(routes(space, family), "");
      line.close();
    });

  test("where packets are lost, what a plain connection delivers late the log's does not", async () => {
    const line = makeLine();
    const transport = replicationTransport();
    const tuned = await connectTuned(line, transport);
    const plain = await connectPlain(line);
    // Much: so that in some seconds no chance decides. At 1 % it is the same, seldom.
    line.lose(5);
    const messages = 1500;
    const [arrivedTuned, arrivedPlain] = [arrivals(tuned, messages), arrivals(plain, messages)];
    await everyMillisecond(messages, (message) => {
      tuned.dialled.write(message);
      plain.dialled.write(message);
    });
    const [ofTuned, ofPlain] = await Promise.all([arrivedTuned, arrivedPlain]);
    // Message by message: what delays this process delays both.
    const later = (one: readonly number[], other: readonly number[]): number =>
      one.filter((at, index) => at - other[index]! > 50).length;
    const [plainLater, tunedLater] = [later(ofPlain, ofTuned), later(ofTuned, ofPlain)];
    assert.ok(plainLater >= 20, `${plainLater} of ${messages} later on the plain connection`);
    assert.ok(
      tunedLater * 5 <= plainLater,
      `${tunedLater} later on the log's, ${plainLater} on the plain one`,
    );
    tuned.close();
    plain.close();
    line.close();
  });

  test("a route to the peer is ours alone: put twice it is one, and somebody else's stays and goes first", () => {
    const space = makeNamespace();
    space.run(() => {
      sh("ip link add sync type veth peer name far; ip link set far up");
      const path = { device: "sync", local: "10.255.0.1", remote: "10.255.0.2" };
      assert.throws(() => putPathRoute({ ...path, device: "gone" }, 5), /gone/);
      // A device that is down has no routes.
      assert.throws(() => putPathRoute(path, 5), /ENETDOWN|EINVAL/);
      sh(
        "ip addr add 10.255.0.1/24 dev sync; ip link set sync up; ip route add 10.255.0.2/32 dev sync metric 7",
      );
      putPathRoute(path, 5);
      putPathRoute(path, 5);
      assert.equal(
        sh("ip route show 10.255.0.2").replaceAll(/ +\n/g, "\n"),
        "10.255.0.2 dev sync scope link metric 7\n" +
          "10.255.0.2 dev sync proto 148 scope link src 10.255.0.1 metric 1148 rto_min lock 5ms\n",
      );
      // A route of ours that is none to a peer is none of this file's.
      sh("ip route add 10.77.0.0/16 dev sync proto 148 table main");
      assert.deepEqual(removePathRoutes(), ["route to the peer 10.255.0.2: removed"]);
      assert.deepEqual(removePathRoutes(), []);
      assert.equal(sh("ip route show 10.255.0.2").trim(), "10.255.0.2 dev sync scope link metric 7");
      assert.match(sh("ip route show proto 148"), /10\.77\.0\.0\/16/);
    });
    space.close();
  });
});

/** A transport whose every doing in the kernel happens inside `space`. */
function inside(space: Namespace, byOption: boolean): Transport {
  const transport = replicationTransport(byOption);
  return {
    listen: (path, server) => {
      transport.listen(path, server);
      // Its listeners act outside of our steps, where the thread is elsewhere.
      server.removeAllListeners("connection");
    },
    dial: transport.dial,
    close: () => space.run(() => transport.close?.()),
  };
}

/** When each of the numbered messages came, in ms. */
async function arrivals({ accepted }: Connected, messages: number): Promise<number[]> {
  const at: number[] = [];
  let bytes = 0;
  while (at.length < messages) {
    const [data] = (await once(accepted, "data")) as [Uint8Array];
    bytes += data.length;
    while (at.length < Math.floor(bytes / MESSAGE_BYTES)) at.push(performance.now());
  }
  return at;
}

/** Calls `send` for each message when it is due, whatever delays the timer. */
function everyMillisecond(messages: number, send: (message: Uint8Array) => void): Promise<void> {
  return new Promise((resolve) => {
    const began = performance.now();
    let sent = 0;
    const timer = setInterval(() => {
      for (const due = performance.now() - began; sent < due && sent < messages; sent += 1)
        send(new Uint8Array(MESSAGE_BYTES));
      if (sent < messages) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
}
