// The guard of port 1148 on a real kernel, with real packets: this namespace is node a, another one its peer and everybody
// else. Sockets without any check of their own, so that nobody but the guard can refuse.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, beforeEach, test } from "node:test";
import type { PathConfig } from "../../src/core/config.ts";
import { droppedBy, type GuardReading } from "../../src/core/guard.ts";
import { applyGuard, GuardReader, removeGuard } from "../../src/kernel/guardTable.ts";
import * as libc from "../../src/kernel/libc.ts";
import { socketAddress } from "../../src/kernel/pathSocket.ts";
import { pairConfig } from "../core/configFixture.ts";
import { inNamespace, makeNamespace, type Namespace } from "./namespace.ts";

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });

const path = (name: string, device: string, local: string, remote: string): PathConfig => ({
  name,
  device,
  local,
  remote,
  heartbeat: true,
  replication: true,
});
const config = pairConfig({
  paths: [
    path("sync", "sync", "10.255.0.1", "10.255.0.2"),
    path("lan", "lan", "10.20.0.2", "10.20.0.3"),
    path("lan6", "lan", "fd20::2", "fd20::3"),
  ],
});
const peerConfig = pairConfig({
  node: "b",
  paths: config.paths.map(({ name, device, local, remote }) => path(name, `far-${device}`, remote, local)),
});

let outside: Namespace;
let reader: GuardReader;
let udp: Record<4 | 6, number>;
let listener: number;

function bound(family: 4 | 6, type: number, from: string, port: number): number {
  const fd = libc.socket(family === 4 ? libc.AF_INET : libc.AF_INET6, type | libc.SOCK_NONBLOCK, 0);
  if (family === 6) libc.setsockoptInt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, 1, "IPv6 only");
  libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1, "reuse the address");
  libc.bind(fd, socketAddress(from, port), `bind ${from}`);
  return fd;
}

interface Sent {
  readonly from: string;
  readonly to: string;
  readonly device: string;
  readonly hops?: number;
  readonly port?: number;
}

/** A socket outside, as it is described. */
function outsider(sent: Sent, type: number): number {
  const family = sent.to.includes(":") ? 6 : 4;
  return outside.run(() => {
    const fd = bound(family, type, sent.from, 0);
    const device = new TextEncoder().encode(`${sent.device}\0`);
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_BINDTODEVICE, device, "bind to a device");
    const [level, option] =
      family === 4 ? [libc.IPPROTO_IP, libc.IP_TTL] : [libc.IPPROTO_IPV6, libc.IPV6_UNICAST_HOPS];
    if (sent.hops !== undefined) libc.setsockoptInt(fd, level, option, sent.hops, "set the hop limit");
    return fd;
  });
}

function send(sent: Sent, times = 1): void {
  const fd = outsider(sent, libc.SOCK_DGRAM);
  const to = socketAddress(sent.to, sent.port ?? 1148);
  for (let time = 0; time < times; time += 1)
    assert.equal(libc.sendto(fd, Uint8Array.of(7), 1, libc.MSG_DONTWAIT, to), 1);
  libc.close(fd);
}

/** How many datagrams were received, waiting for the first. */
function received(family: 4 | 6, waitMs = 1000): number {
  let datagrams = 0;
  libc.poll(libc.pollVector([udp[family]]), 1, waitMs);
  while (libc.recv(udp[family], new Uint8Array(16), libc.MSG_DONTWAIT) > 0) datagrams += 1;
  return datagrams;
}

const read = (): GuardReading => {
  const reading = reader.read();
  assert.ok(reading);
  return reading;
};

/** Waits until the kernel has dropped as many packets as expected, by reason; names who it remembered. */
function dropped(reason: keyof ReturnType<typeof droppedBy>, packets: number): string[] {
  for (let turn = 0; turn < 200 && droppedBy(read())[reason] < packets; turn += 1)
    libc.poll(libc.pollVector([]), 0, 5);
  const reading = read();
  const others = Object.entries(droppedBy(reading)).filter(([each, count]) => each !== reason && count > 0);
  assert.deepEqual([droppedBy(reading)[reason], others], [packets, []]);
  return reading.offenders.map(({ reason: why, source, device }) => `${why}: ${source} on ${device}`);
}

if (inNamespace.skip === false) {
  before(() => {
    outside = makeNamespace();
    // Both cables end in the other namespace: the peer's addresses and a stranger's on each.
    sh(`for port in sync lan; do ip link add $port type veth peer name far-$port; done
      for each in all default sync lan; do echo 0 >/proc/sys/net/ipv4/conf/$each/rp_filter; done
      ip address add 10.255.0.1/24 dev sync; ip address add 10.20.0.2/16 dev lan
      ip address add fd20::2/64 dev lan nodad; ip link set sync up; ip link set lan up`);
    sh(`for port in sync lan; do ip link set far-$port netns /proc/${process.pid}/fd/${outside.fd}; done`);
    outside.run(() =>
      sh(`ip address add 10.255.0.2/24 dev far-sync; ip address add 10.255.0.9/24 dev far-sync
        ip address add 10.20.0.3/16 dev far-lan; ip address add 10.20.0.66/16 dev far-lan
        ip address add fd20::3/64 dev far-lan nodad; ip address add fd20::66/64 dev far-lan nodad
        ip link set far-sync up; ip link set far-lan up
        ip route add 10.20.0.2/32 dev far-sync metric 5 table 7; ip rule add oif far-sync table 7`),
    );
    udp = {
      4: bound(4, libc.SOCK_DGRAM, "0.0.0.0", 1148),
      6: bound(6, libc.SOCK_DGRAM, "::", 1148),
    };
    listener = bound(4, libc.SOCK_STREAM, "0.0.0.0", 1148);
    libc.listen(listener, 16);
    reader = new GuardReader();
    assert.equal(reader.read(), null);
  });
  beforeEach(() => {
    removeGuard();
    applyGuard(config);
  });
  after(() => {
    reader.close();
    for (const fd of [udp[4], udp[6], listener]) libc.close(fd);
    outside.close();
  });
}

const SYNC: Sent = { from: "10.255.0.2", to: "10.255.0.1", device: "far-sync", hops: 255 };
const LAN: Sent = { from: "10.20.0.3", to: "10.20.0.2", device: "far-lan", hops: 255 };
const LAN6: Sent = { from: "fd20::3", to: "fd20::2", device: "far-lan", hops: 255 };

test("the peer, on each path: let in", inNamespace, () => {
  for (const sent of [SYNC, LAN]) {
    send(sent);
    assert.equal(received(4), 1, sent.device);
  }
  send(LAN6);
  assert.equal(received(6), 1);
  dropped("foreign-source", 0);
});

test("a stranger on the LAN, over both families: dropped, counted, remembered", inNamespace, () => {
  send({ ...LAN, from: "10.20.0.66" }, 3);
  assert.deepEqual(dropped("foreign-source", 3), ["foreign-source: 10.20.0.66 on lan"]);
  send({ ...LAN6, from: "fd20::66" });
  assert.deepEqual(dropped("foreign-source", 4), [
    "foreign-source: 10.20.0.66 on lan",
    "foreign-source: fd20::66 on lan",
  ]);
  assert.equal(received(4, 0) + received(6, 0), 0);
});

test(
  "the peer's address on another path's device, or towards another address: wrong interface",
  inNamespace,
  () => {
    send({ ...SYNC, from: "10.20.0.3" });
    assert.deepEqual(dropped("wrong-interface", 1), ["wrong-interface: 10.20.0.3 on sync"]);
    send({ ...SYNC, to: "10.20.0.2" });
    dropped("wrong-interface", 2);
    // Both addresses are those of the path by the LAN.
    send({ ...SYNC, from: "10.20.0.3", to: "10.20.0.2" });
    dropped("wrong-interface", 3);
    assert.equal(received(4, 0), 0);
  },
);

test("a hop limit that was touched, over both families: dropped", inNamespace, () => {
  send({ ...SYNC, hops: 254 });
  assert.deepEqual(dropped("wrong-hop-limit", 1), ["wrong-hop-limit: 10.255.0.2 on sync"]);
  send({ ...LAN6, hops: 64 });
  dropped("wrong-hop-limit", 2);
  assert.equal(received(4, 0) + received(6, 0), 0);
});

test(
  "a flood with the peer's address: what is beyond the limit is dropped, on that path alone",
  inNamespace,
  () => {
    const slots = 4000;
    send(LAN, slots);
    for (let turn = 0; turn < 200 && droppedBy(read()).flood === 0; turn += 1)
      libc.poll(libc.pollVector([]), 0, 5);
    const { counters } = read();
    assert.ok(counters["flood-1"]! > 0, "some of them");
    assert.equal(counters["flood-0"], 0);
    received(4);
    send(SYNC, 100);
    assert.equal(received(4), 100, "the other path has a limit of its own");
  },
);

test("other ports, and what this node says to itself, are none of its business", inNamespace, () => {
  send({ ...LAN, from: "10.20.0.66", port: 1149, hops: 64 });
  const fd = bound(4, libc.SOCK_DGRAM, "127.0.0.1", 0);
  libc.sendto(fd, Uint8Array.of(7), 1, 0, socketAddress("10.20.0.2", 1148));
  libc.close(fd);
  assert.equal(received(4), 1);
  dropped("foreign-source", 0);
});

/** Whether a connection is made within a moment. */
function connects(sent: Sent): boolean {
  const fd = outsider(sent, libc.SOCK_STREAM);
  try {
    libc.connect(fd, socketAddress(sent.to, 1148));
  } catch (error) {
    if (!(error instanceof libc.KernelError) || error.code !== "EINPROGRESS") throw error;
  }
  const ready = libc.poll(libc.pollVector([fd], libc.POLLOUT), 1, 100);
  libc.close(fd);
  return ready > 0;
}

test("TCP alike: the peer connects, a stranger and a far one do not", inNamespace, () => {
  assert.equal(connects(SYNC), true);
  assert.equal(connects({ ...LAN, from: "10.20.0.66" }), false);
  assert.equal(connects({ ...SYNC, hops: 64 }), false);
  const { offenders } = read();
  assert.deepEqual(
    offenders.map(({ reason, source }) => `${reason}: ${source}`),
    ["foreign-source: 10.20.0.66", "wrong-hop-limit: 10.255.0.2"],
  );
});

test(
  "what the kernel sends in our name leaves with 255; without that it is stray, and no reason for an alarm",
  inNamespace,
  () => {
    outside.run(() => applyGuard(peerConfig));
    send({ ...SYNC, hops: 64 });
    assert.equal(received(4), 1, "lifted to 255 on its way out");
    outside.run(() => removeGuard());
    const fd = outsider({ ...SYNC, hops: 255 }, libc.SOCK_STREAM);
    try {
      libc.connect(fd, socketAddress(SYNC.to, 1148));
    } catch (error) {
      if (!(error instanceof libc.KernelError) || error.code !== "EINPROGRESS") throw error;
    }
    assert.equal(libc.poll(libc.pollVector([fd], libc.POLLOUT), 1, 1000), 1);
    // As the kernel of a node that has just stopped sends what belongs to no socket any more.
    libc.setsockoptInt(fd, libc.IPPROTO_IP, libc.IP_TTL, 64, "set the hop limit");
    libc.send(fd, Uint8Array.of(1));
    assert.deepEqual(dropped("stray-segment", 1), []);
    libc.close(fd);
  },
);

test("put in place once; mended where somebody touched it; removed, twice", inNamespace, () => {
  assert.equal(applyGuard(config), false);
  const before = sh("nft -s list table inet understudy-guard");
  for (const harm of [
    "nft flush chain inet understudy-guard port",
    "nft insert rule inet understudy-guard arriving accept",
    "nft delete table inet understudy-guard",
    "nft flush ruleset",
  ]) {
    sh(harm);
    assert.equal(applyGuard(config), true, harm);
    assert.equal(sh("nft -s list table inet understudy-guard"), before);
    assert.equal(applyGuard(config), false);
  }
  removeGuard();
  removeGuard();
  assert.equal(sh("nft list tables"), "");
  assert.equal(reader.read(), null);
});
