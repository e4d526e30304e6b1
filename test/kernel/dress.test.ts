// The kernel's dress on a real kernel: put on, put on again, mended, taken off; and what it does with packets. The
// cables' other ends are taps: frames in, frames out, nothing of the program in between.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseAddress } from "../../src/base/addresses.ts";
import type { Config } from "../../src/core/config.ts";
import { computeSlots, linkOf, type PlacementTuple } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { createInterfaces, openForwarding, raiseInterfaces, undress } from "../../src/kernel/dress.ts";
import { createGate, type Gate } from "../../src/kernel/gate.ts";
import {
  installNeighbours,
  listNeighbours,
  openNeighbourMonitor,
  removeNeighbours,
} from "../../src/kernel/neighbours.ts";
import { applyRuleset, removeRuleset } from "../../src/kernel/nftables.ts";
import { pairConfig } from "../core/configFixture.ts";
import { ETH_P_ALL_FRAMES, openTap, settle, type Tap } from "./frames.ts";
import { inNamespace } from "./namespace.ts";
import {
  type FrameOptions,
  frameOf,
  macBytes,
  type Packet,
  packetOf,
  TCP_PUSH_ACK,
  TCP_SYN,
  TCP_SYN_ACK,
} from "./packets.ts";

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });
const setting = (path: string): string => readFileSync(`/proc/sys/net/${path}`, "utf8").trim();

const LAN_MAC = "02:00:00:00:00:01";
const PORT_MAC = "02:00:00:00:00:a0";
const HOST_MAC = "02:00:00:00:00:b0";
const GATEWAY_MAC = { 1: "02:00:00:00:00:c1", 2: "02:00:00:00:00:c2" } as const;

let config: Config;
let gate: Gate;
/** The node's own side of the LAN's cable. */
let inside: Tap;
const ends: Record<"lan" | "wan1" | "wan2", Tap> = {} as never;

/** Three cables: the ports `lan`, `wan1`, `wan2` are the node's, `far-*` are what hangs at them. */
function cables(): void {
  sh(`for port in lan wan1 wan2; do
      ip link add $port type veth peer name far-$port
      sysctl -qw net.ipv6.conf.far-$port.disable_ipv6=1 net.ipv6.conf.$port.disable_ipv6=1
      ip link set $port up; ip link set far-$port up
    done
    ip link set lan address ${PORT_MAC}
    ip address add 10.20.0.2/16 dev lan`);
}

function putOn(): string[] {
  const slots = computeSlots(config.links, config.placementSeed);
  const changes = createInterfaces(config);
  if (!gate.present()) gate.install();
  changes.push(...raiseInterfaces(config));
  if (applyRuleset(compileRuleset(config, slots))) changes.push("ruleset");
  changes.push(...openForwarding(config));
  return changes;
}

function knowNeighbours(): void {
  installNeighbours([
    { device: "us-lan", address: "10.20.5.5", mac: HOST_MAC },
    { device: "us-lan", address: "10.20.0.254", mac: "02:00:00:00:00:fe" },
    { device: "us-lan", address: "fd20::5", mac: HOST_MAC },
    { device: "us-l1", address: "198.51.100.1", mac: GATEWAY_MAC[1] },
    { device: "us-l2", address: "198.51.101.1", mac: GATEWAY_MAC[2] },
    { device: "us-l1", address: "2001:db8:1::1", mac: GATEWAY_MAC[1] },
    { device: "us-l2", address: "2001:db8:2::1", mac: GATEWAY_MAC[2] },
  ]);
}

if (inNamespace.skip === false) {
  before(() => {
    cables();
    config = pairConfig({ stateDirectory: mkdtempSync(join(tmpdir(), "understudy-dress-")) });
    gate = createGate({
      services: ["us-lan", "us-l1", "us-l2"].map((device) => ({ device, portMac: PORT_MAC })),
      leaseMs: 40,
      soloLeaseMs: 600_000,
    });
    inside = openTap("lan", ETH_P_ALL_FRAMES);
    for (const port of ["lan", "wan1", "wan2"] as const)
      ends[port] = openTap(`far-${port}`, ETH_P_ALL_FRAMES);
  });
  after(() => {
    for (const end of Object.values(ends)) end.close();
    inside.close();
    inside.close();
    gate.close();
    rmSync(config.stateDirectory, { recursive: true });
  });
}

const bytes = (address: string): Uint8Array => parseAddress(address)!.bytes;

function tuple(
  source: string,
  destination: string,
  protocol: number,
  ports: readonly [number, number],
): PlacementTuple {
  const [sourcePort, destinationPort] = ports;
  return {
    source: bytes(source),
    destination: bytes(destination),
    protocol,
    sourcePort,
    destinationPort,
    identifier: sourcePort,
  };
}

/** Sends a packet into a cable's far end; what then comes out of each far end, frames that are no IP left out. */
function sendInto(port: "lan" | "wan1" | "wan2", what: PlacementTuple, options: Partial<FrameOptions> = {}) {
  const macs = { lan: LAN_MAC, wan1: "02:00:00:00:01:01", wan2: "02:00:00:00:01:02" };
  for (const end of Object.values(ends)) end.drain(() => {});
  ends[port].send(frameOf(what, { destinationMac: macs[port], ...options }));
  settle(ends.lan, inside, 3);
  return { lan: out("lan"), wan1: out("wan1"), wan2: out("wan2") };
}

/** What came out of a cable's far end, IP only. */
function out(port: "lan" | "wan1" | "wan2"): Packet[] {
  const packets: Packet[] = [];
  ends[port].drain((frame) => {
    const packet = packetOf(frame);
    if (packet !== null) packets.push(packet);
  });
  return packets;
}

const NOTHING = { lan: [], wan1: [], wan2: [] };

test(
  "putting on: interfaces down first, everything after it, and a second time changes nothing",
  inNamespace,
  () => {
    const created = createInterfaces(config);
    assert.ok(created.includes(`interface us-lan: macvlan on lan, ${LAN_MAC}`));
    assert.match(sh("ip -d link show us-lan"), /state DOWN[\s\S]*macvlan mode bridge/);
    assert.deepEqual(createInterfaces(config), []);
    gate.install();
    assert.notEqual(putOn().length, 0);
    assert.deepEqual(putOn(), []);
  },
);

test("it reads like this", inNamespace, () => {
  assert.equal(
    sh("ip -br address show dev us-lan").replace(/\s+/g, " ").trim(),
    "us-lan@lan UP 10.20.0.1/16 fd20::1/64 fe80::ff:fe00:1/64",
  );
  assert.match(
    sh("ip address show dev us-lan"),
    /10\.20\.0\.1\/16 brd 10\.20\.255\.255 scope global noprefixroute/,
  );
  assert.match(sh("ip address show dev us-lan"), /fd20::1\/64 scope global nodad noprefixroute/);
  assert.equal(
    sh("ip rule").replaceAll(/\s+/g, " ").trim(),
    [
      "0: from all lookup local",
      "1148: from all iif us-lan lookup 114800 proto 148",
      "1149: from all fwmark 0x1/0xff iif us-lan lookup 114801 proto 148",
      "1149: from all fwmark 0x2/0xff iif us-lan lookup 114802 proto 148",
      "1149: from all fwmark 0x1/0xff iif us-l1 lookup 114800 proto 148",
      "1149: from all fwmark 0x2/0xff iif us-l2 lookup 114800 proto 148",
      "1150: from 10.20.0.1 lookup 114800 proto 148",
      "1150: from 198.51.100.2 lookup 114801 proto 148",
      "1150: from 198.51.101.2 lookup 114802 proto 148",
      "1151: from all iif us-lan unreachable proto 148",
      "1151: from all iif us-l1 blackhole proto 148",
      "1151: from all iif us-l2 blackhole proto 148",
      "1151: from 10.20.0.1 blackhole proto 148",
      "1151: from 198.51.100.2 blackhole proto 148",
      "1151: from 198.51.101.2 blackhole proto 148",
      "32766: from all lookup main",
      "32767: from all lookup default",
    ].join(" "),
  );
  assert.equal(
    sh("ip route show table 114801").replaceAll(/ +\n/g, "\n"),
    "default via 198.51.100.1 dev us-l1 proto 148 onlink\n198.51.100.0/24 dev us-l1 proto 148 scope link\n",
  );
  assert.match(
    sh("ip -6 route show table 114802"),
    /default via 2001:db8:2::1 dev us-l2 proto 148 metric 1024 onlink/,
  );
  assert.equal(
    sh("ip route show table main").trim(),
    "10.20.0.0/16 dev lan proto kernel scope link src 10.20.0.2",
  );
});

test(
  "a LAN host's session leaves by the link that placement says, translated, in the virtual MAC's name",
  inNamespace,
  () => {
    gate.open("solo");
    knowNeighbours();
    const slots = computeSlots(config.links, config.placementSeed);
    const taken = { 1: 0, 2: 0 };
    for (let index = 0; index < 80; index += 1) {
      const isV6 = index % 2 === 1;
      const protocol = [6, 17, isV6 ? 58 : 1][index % 3]!;
      const what = isV6
        ? tuple("fd20::5", "2001:db8:ffff::9", protocol, [20_000 + index, 443])
        : tuple("10.20.5.5", "203.0.113.9", protocol, [20_000 + index, 443]);
      const link = linkOf(what, config.placementSeed, slots) as 1 | 2;
      const seen = sendInto("lan", what);
      const [packet, ...more] = link === 1 ? seen.wan1 : seen.wan2;
      assert.deepEqual([more, link === 1 ? seen.wan2 : seen.wan1, seen.lan], [[], [], []]);
      assert.equal(packet?.source, isV6 ? `2001:db8:${link}:0:0:0:0:2` : `198.51.${99 + link}.2`);
      assert.equal(packet?.sourcePort, 20_000 + index, "the port is kept where it is free");
      assert.equal(packet?.sourceMac, `02:00:00:00:01:0${link}`);
      assert.equal(packet?.destinationMac, GATEWAY_MAC[link]);
      assert.equal(packet?.ttl, 63);
      taken[link] += 1;
    }
    assert.ok(taken[1] > taken[2] && taken[2] > 0, JSON.stringify(taken));
  },
);

test(
  "the answer comes back to the host; the session stays on its link when the slots move",
  inNamespace,
  () => {
    const what = tuple("10.20.5.5", "203.0.113.9", 17, [30_000, 53]);
    const slots = computeSlots(config.links, config.placementSeed);
    const link = linkOf(what, config.placementSeed, slots);
    const port = link === 1 ? "wan1" : "wan2";
    assert.equal(sendInto("lan", what)[port].length, 1);
    const back = tuple("203.0.113.9", `198.51.${99 + link}.2`, 17, [53, 30_000]);
    const [answer] = sendInto(port, back).lan;
    assert.deepEqual(
      [answer?.destination, answer?.destinationPort, answer?.sourceMac],
      ["10.20.5.5", 30_000, LAN_MAC],
    );
    const others = config.links.map((one) => ({ ...one, enabled: one.id !== link }));
    const moved = computeSlots(others, config.placementSeed, slots);
    assert.equal(applyRuleset(compileRuleset(config, moved)), true);
    assert.equal(sendInto("lan", what)[port].length, 1, "an old session keeps its link");
    const fresh = tuple("10.20.5.5", "203.0.113.9", 17, [30_001, 53]);
    assert.equal(sendInto("lan", fresh)[link === 1 ? "wan2" : "wan1"].length, 1, "a new one takes the other");
    assert.equal(applyRuleset(compileRuleset(config, slots)), true);
  },
);

test("with no link in its slot a session is not forwarded, and the host is told", inNamespace, () => {
  applyRuleset(compileRuleset(config, new Uint8Array(4096)));
  const seen = sendInto("lan", tuple("10.20.5.5", "203.0.113.9", 17, [30_100, 53]));
  assert.deepEqual([seen.wan1, seen.wan2], [[], []]);
  assert.deepEqual(
    seen.lan.map((packet) => [packet.source, packet.destination, packet.protocol, packet.payload[0]]),
    [["10.20.0.1", "10.20.5.5", 1, 3]],
  );
  putOn();
});

test("strangers at a shared WAN address get no answer of any kind", inNamespace, () => {
  const at = (protocol: number, ports: readonly [number, number]): PlacementTuple =>
    tuple("203.0.113.66", "198.51.100.2", protocol, ports);
  const v6 = (protocol: number): PlacementTuple =>
    tuple("2001:db8:ffff::66", "2001:db8:1::2", protocol, [4000, 22]);
  assert.deepEqual(sendInto("wan1", at(6, [4000, 22])), NOTHING, "SYN: no RST");
  assert.deepEqual(
    sendInto("wan1", at(6, [443, 5000]), { tcpFlags: TCP_SYN_ACK }),
    NOTHING,
    "unknown SYN-ACK",
  );
  assert.deepEqual(
    sendInto("wan1", at(6, [443, 5001]), { tcpFlags: TCP_PUSH_ACK }),
    NOTHING,
    "data of a session not known",
  );
  assert.deepEqual(sendInto("wan1", at(17, [4000, 9])), NOTHING, "UDP: no port unreachable");
  assert.deepEqual(sendInto("wan1", at(1, [7, 7])), NOTHING, "echo request");
  assert.deepEqual(sendInto("wan1", at(47, [0, 0])), NOTHING, "no protocol unreachable");
  for (const protocol of [6, 17, 58]) assert.deepEqual(sendInto("wan1", v6(protocol)), NOTHING);
  assert.equal(sh("conntrack -L -s 203.0.113.66 2>/dev/null || true"), "", "and leave no session behind");
});

test(
  "nothing comes in by a link that no session asked for, and no link's session comes in by another",
  inNamespace,
  () => {
    assert.deepEqual(sendInto("wan1", tuple("203.0.113.66", "10.20.5.5", 17, [1, 1])), NOTHING);
    const what = tuple("10.20.5.5", "203.0.113.9", 17, [30_200, 53]);
    const slots = computeSlots(config.links, config.placementSeed);
    const link = linkOf(what, config.placementSeed, slots);
    sendInto("lan", what);
    const back = tuple("203.0.113.9", `198.51.${99 + link}.2`, 17, [53, 30_200]);
    assert.equal(sendInto(link === 1 ? "wan2" : "wan1", back).lan.length, 0);
    assert.equal(sendInto(link === 1 ? "wan1" : "wan2", back).lan.length, 1);
  },
);

test("a session that is not known is picked up in mid-stream, on its link and port", inNamespace, () => {
  const what = tuple("10.20.5.5", "203.0.113.9", 6, [31_000, 443]);
  const slots = computeSlots(config.links, config.placementSeed);
  const link = linkOf(what, config.placementSeed, slots);
  const port = link === 1 ? "wan1" : "wan2";
  assert.equal(sendInto("lan", what, { tcpFlags: TCP_SYN })[port].length, 1);
  sh("conntrack -F 2>/dev/null");
  const [packet] = sendInto("lan", what, { tcpFlags: TCP_PUSH_ACK })[port];
  assert.deepEqual([packet?.source, packet?.sourcePort], [`198.51.${99 + link}.2`, 31_000]);
});

test(
  "from LAN to a network behind another router: passed on, and no session of the pair's",
  inNamespace,
  () => {
    const seen = sendInto("lan", tuple("10.20.5.5", "10.30.1.1", 17, [31_100, 53]));
    assert.deepEqual([seen.wan1, seen.wan2], [[], []]);
    const passed = seen.lan.filter((packet) => packet.destination === "10.30.1.1");
    assert.deepEqual(
      passed.map((packet) => [packet.source, packet.destinationMac]),
      [["10.20.5.5", "02:00:00:00:00:fe"]],
    );
    assert.equal(sh("conntrack -L -d 10.30.1.1 2>/dev/null || true"), "");
  },
);

test(
  "the LAN's shared address answers through the service interface; the node's own through its port",
  inNamespace,
  () => {
    const [answer] = sendInto("lan", tuple("10.20.5.5", "10.20.0.1", 1, [9, 9])).lan;
    assert.deepEqual([answer?.source, answer?.sourceMac], ["10.20.0.1", LAN_MAC]);
    sh(`ip neighbour replace 10.20.5.5 lladdr ${HOST_MAC} dev lan`);
    const own = tuple("10.20.5.5", "10.20.0.2", 1, [10, 10]);
    const [other] = sendInto("lan", own, { destinationMac: PORT_MAC }).lan;
    assert.deepEqual([other?.source, other?.sourceMac], ["10.20.0.2", PORT_MAC]);
  },
);

test(
  "the port does not answer for the shared address, nor the service interface for the port's",
  inNamespace,
  () => {
    gate.shut();
    assert.deepEqual(whoHas([10, 20, 0, 1]), []);
    assert.deepEqual(whoHas([10, 20, 0, 2]), [PORT_MAC]);
    gate.open("solo");
    assert.deepEqual(whoHas([10, 20, 0, 1]), [LAN_MAC]);
    assert.deepEqual(whoHas([10, 20, 0, 2]), [PORT_MAC]);
  },
);

/** Asks by broadcast; the MACs that answer. Broadcasts go through macvlan's queue, hence the bounded wait. */
function whoHas(address: readonly number[]): string[] {
  ends.lan.drain(() => {});
  const request = [...macBytes("ff:ff:ff:ff:ff:ff"), ...macBytes(HOST_MAC), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
  ends.lan.send(
    Uint8Array.from([...request, ...macBytes(HOST_MAC), 10, 20, 5, 5, 0, 0, 0, 0, 0, 0, ...address]),
  );
  const answers: string[] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    ends.lan.wait(3);
    ends.lan.drain((frame) => {
      if (frame[12] === 8 && frame[13] === 6 && frame[21] === 2)
        answers.push(
          Array.from(frame.subarray(22, 28), (byte) => byte.toString(16).padStart(2, "0")).join(":"),
        );
    });
  }
  return answers;
}

test("without the ruleset nothing is forwarded, either way, though forwarding is open", inNamespace, () => {
  removeRuleset();
  const seen = sendInto("lan", tuple("10.20.5.5", "203.0.113.9", 17, [32_000, 53]));
  assert.deepEqual([seen.wan1, seen.wan2], [[], []]);
  assert.deepEqual(sendInto("wan1", tuple("203.0.113.66", "10.20.5.5", 17, [1, 1])), NOTHING);
  assert.deepEqual(putOn(), ["ruleset"]);
});

test("neighbours: installed as STALE, listed, watched, removed", inNamespace, () => {
  const monitor = openNeighbourMonitor(["us-lan"]);
  const seen: string[] = [];
  const drain = (): boolean =>
    monitor.drain((change) => seen.push(`${change.device} ${change.address} ${change.mac}`));
  const neighbour = { device: "us-lan", address: "10.20.7.7", mac: "02:00:00:00:07:07" };
  assert.equal(installNeighbours([neighbour, { ...neighbour, device: "nowhere" }]), 1);
  assert.match(sh("ip neighbour show dev us-lan"), /10\.20\.7\.7 lladdr 02:00:00:00:07:07 STALE/);
  assert.ok(
    listNeighbours(["us-lan", "nowhere"]).some(
      (one) => one.address === "10.20.7.7" && one.mac === neighbour.mac,
    ),
  );
  assert.equal(
    listNeighbours(["us-l1"]).some((one) => one.address === "10.20.7.7"),
    false,
  );
  assert.equal(removeNeighbours([neighbour]), 1);
  assert.equal(removeNeighbours([neighbour]), 0);
  assert.equal(drain(), true);
  assert.equal(seen[0], "us-lan 10.20.7.7 02:00:00:00:07:07");
  assert.equal(seen.at(-1), "us-lan 10.20.7.7 ");
  monitor.close();
});

test("what a crash left, or somebody changed, is put right, and only that", inNamespace, () => {
  const harm: readonly (readonly [string, RegExp])[] = [
    ["ip link set us-lan address 02:00:00:00:99:99", /us-lan: MAC 02:00:00:00:00:01, was 02:00:00:00:99:99/],
    ["ip address add 10.20.9.9/16 dev us-lan", /10\.20\.9\.9\/16 of us-lan: removed/],
    ["ip address delete 10.20.0.1/16 dev us-lan", /10\.20\.0\.1\/16 of us-lan: added/],
    ["ip -6 address delete fd20::1/64 dev us-lan", /fd20::1\/64 of us-lan: added/],
    ["ip link set us-l1 down", /us-l1: up/],
    [
      "ip route delete default table 114801",
      /0\.0\.0\.0\/0 via 198\.51\.100\.1 dev us-l1 table 114801: added/,
    ],
    [
      "ip route replace default via 198.51.100.77 dev us-l1 onlink table 114801 proto 148",
      /198\.51\.100\.77.*: removed/,
    ],
    ["ip rule delete preference 1148", /1148: iif us-lan lookup 114800: added/],
    [
      "ip rule add preference 1150 from 192.0.2.1 lookup 114801 proto 148",
      /192\.0\.2\.1 lookup 114801: removed/,
    ],
    ["sysctl -qw net.ipv4.conf.us-l1.forwarding=0", /us-l1\/forwarding = 1/],
    ["sysctl -qw net.ipv4.conf.lan.arp_ignore=0", /lan\/arp_ignore = 1/],
    [
      "ip link delete us-l2; ip link add us-l2 link lan type macvlan mode bridge; ip link set us-l2 group 1148",
      /us-l2: removed, it was on another port/,
    ],
    [
      "ip link add us-l9 link wan1 type macvlan mode bridge; ip link set us-l9 group 1148",
      /us-l9: removed, not in the configuration/,
    ],
  ];
  for (const [command, change] of harm) {
    sh(command);
    assert.match(putOn().join("\n"), change, command);
    assert.deepEqual(putOn(), [], command);
  }
});

test("undressing takes off all of it and nothing else; twice is no error", inNamespace, () => {
  sh(`ip rule add preference 1149 from 192.0.2.7 lookup 99
    ip route add 192.0.2.0/24 dev lan table 114801 proto static
    ip link add theirs link lan type macvlan mode bridge
    nft add table inet theirs`);
  gate.remove();
  assert.notEqual(undress(config).length, 0);
  removeRuleset();
  assert.deepEqual(undress(config), []);
  removeRuleset();
  assert.deepEqual(sh("ip -br link | cut -d@ -f1 | cut -d' ' -f1 | sort").trim().split("\n"), [
    ...["far-lan", "far-wan1", "far-wan2", "lan", "lo", "theirs", "wan1", "wan2"],
  ]);
  assert.match(sh("ip rule"), /1149:\s+from 192\.0\.2\.7 lookup 99/);
  assert.doesNotMatch(
    sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all"),
    /proto 148/,
  );
  assert.match(sh("ip route show table 114801"), /192\.0\.2\.0\/24 dev lan/);
  assert.equal(sh("nft list tables").trim(), "table inet theirs");
  assert.equal(setting("ipv4/conf/lan/arp_ignore"), "0");
  assert.equal(setting("ipv4/icmp_errors_use_inbound_ifaddr"), "0");
  assert.equal(setting("netfilter/nf_conntrack_tcp_be_liberal"), "0");
});

test(
  "a strict filter for all interfaces: ours are exempt, the others stay as strict, and it comes back",
  inNamespace,
  () => {
    sh(
      "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.lan.rp_filter=0 net.ipv4.conf.wan1.rp_filter=2",
    );
    putOn();
    const filters = (): string[] =>
      ["all", "us-lan", "lan", "wan1"].map((name) => setting(`ipv4/conf/${name}/rp_filter`));
    assert.deepEqual(filters(), ["0", "0", "1", "2"]);
    undress(config);
    assert.deepEqual([setting("ipv4/conf/all/rp_filter"), setting("ipv4/conf/lan/rp_filter")], ["1", "0"]);
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan1.rp_filter=0");
  },
);

test(
  "a name that is somebody else's, a port that is not there: named, and nothing is changed",
  inNamespace,
  () => {
    const world = (): string =>
      sh("ip -o link | sort; ip rule; ip route show table all; ip address; sysctl net.ipv4.conf 2>/dev/null");
    sh("ip link add us-l2 link wan2 type macvlan mode bridge");
    const before = world();
    assert.throws(
      () => createInterfaces(config),
      /create macvlan us-l2 on wan2: NAME_TAKEN: an interface us-l2 exists/,
    );
    assert.equal(world(), before);
    sh("ip link delete us-l2");
    const [first, second] = config.links;
    const elsewhere = { ...second!, service: { ...second!.service, port: "nowhere" } };
    const clean = world();
    assert.throws(
      () => createInterfaces({ ...config, links: [first!, elsewhere] }),
      /there is no interface nowhere/,
    );
    assert.equal(world(), clean);
  },
);

test("a kernel that refuses midway leaves nothing behind", inNamespace, () => {
  const [first, second] = config.links;
  // No macvlan on loopback: the kernel's own refusal, after others were made.
  const refused = { ...second!, service: { ...second!.service, port: "lo" } };
  const names = sh("ip -br link");
  assert.throws(
    () => createInterfaces({ ...config, links: [first!, refused] }),
    /create macvlan us-l2 on lo/,
  );
  assert.equal(sh("ip -br link"), names);
  assert.equal(setting("ipv4/conf/lan/arp_ignore"), "0");
});
