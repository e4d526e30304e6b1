// The gate on a real kernel: failover.md §1, §2, §6. Reads like the table of what a mark does.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { createGate, type Gate, type GateOptions } from "../../src/kernel/gate.ts";
import * as libc from "../../src/kernel/libc.ts";
import { ETH_P_ALL_FRAMES, openTap, settle, type Tap } from "./frames.ts";
import { inNamespace } from "./namespace.ts";
import { frameOf } from "./packets.ts";

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });

const VIRTUAL_MAC = "02:00:00:00:00:01";
const PORT_MAC = "02:00:00:00:00:aa";
const HOST_MAC = "02:00:00:00:00:bb";
const OPTIONS: GateOptions = {
  services: [{ device: "us-lan", portMac: PORT_MAC }],
  leaseMs: 40,
  soloLeaseMs: 10_000,
};

/** The world: `host` is the cable's other end, `port` the node's, `us-lan` the service interface on it. */
function dress(): void {
  sh(`ip link add port address ${PORT_MAC} type veth peer name host address ${HOST_MAC}
    ip link add us-lan link port address ${VIRTUAL_MAC} type macvlan mode bridge
    sysctl -qw net.ipv6.conf.us-lan.disable_ipv6=1 net.ipv6.conf.host.disable_ipv6=1 net.ipv6.conf.port.disable_ipv6=1
    sysctl -qw net.ipv4.conf.port.arp_ignore=1
    ip address add 10.20.0.1/16 dev us-lan noprefixroute
    ip link set port up; ip link set host up`);
}

let gate: Gate;
let tap: Tap;

if (inNamespace.skip === false) {
  before(() => {
    dress();
    gate = createGate(OPTIONS);
    gate.install();
    sh("ip link set us-lan up");
    tap = openTap("host", ETH_P_ALL_FRAMES);
  });
  after(() => {
    gate.close();
    tap.close();
  });
}

/** Waits by asking the kernel, never by a clock of ours: `drain` asks for the lease without renewing it. */
function untilLapsed(): void {
  while (gate.drain());
}

/** The frames at the host's end after asking, by ARP, who has the shared address. */
function answersToArp(): readonly { readonly source: string; readonly senderMac: string }[] {
  tap.drain(() => {});
  tap.send(arpRequest());
  const answers: { source: string; senderMac: string }[] = [];
  for (let quiet = 0; quiet < 20 && answers.length === 0; quiet += 1) {
    tap.wait(1);
    tap.drain((frame) => {
      const type = (frame[12]! << 8) | frame[13]!;
      if (type === 0x0806 && frame[21] === 2)
        answers.push({ source: mac(frame.subarray(6, 12)), senderMac: mac(frame.subarray(22, 28)) });
    });
  }
  return answers;
}

const mac = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
const macBytes = (text: string): number[] => text.split(":").map((part) => Number.parseInt(part, 16));

/** Unicast to the virtual MAC (failover §4: broadcast goes through macvlan's queue). */
function arpRequest(): Uint8Array {
  return Uint8Array.from([
    ...macBytes(VIRTUAL_MAC),
    ...macBytes(HOST_MAC),
    ...[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
    ...macBytes(HOST_MAC),
    ...[10, 20, 5, 5],
    ...[0, 0, 0, 0, 0, 0, 10, 20, 0, 1],
  ]);
}

/** A frame from the service interface, and what the other end sees of it. */
function seenFromService(): string[] {
  const service = openTap("us-lan", 0);
  tap.drain(() => {});
  const frame = new Uint8Array(60).fill(7);
  frame.set(macBytes(HOST_MAC), 0);
  frame.set(macBytes(VIRTUAL_MAC), 6);
  frame.set([0x88, 0xb6], 12);
  service.send(frame);
  service.close();
  const seen: string[] = [];
  tap.drain((received) => {
    if (received[12] === 0x88 && received[13] === 0xb6) seen.push(mac(received.subarray(6, 12)));
  });
  return seen;
}

test("shut at first: nothing is renewed, nothing answers, nothing leaves", inNamespace, () => {
  assert.equal(gate.present(), true);
  assert.equal(gate.renew("short"), false);
  assert.equal(gate.renew("solo"), false);
  assert.equal(gate.drain(), false);
  assert.deepEqual(answersToArp(), []);
  assert.deepEqual(seenFromService(), []);
});

test("what arrives reaches the node only while the gate is held, draining included", inNamespace, () => {
  sh(`nft 'table ip watch {
    chain arrivals { type filter hook prerouting priority raw; iifname "us-lan" ip protocol 253 counter; }
  }'`);
  const inside = openTap("port", ETH_P_ALL_FRAMES);
  const ends = { source: Uint8Array.of(10, 20, 5, 5), destination: Uint8Array.of(10, 20, 0, 1) };
  const arrivals = (): number => {
    tap.send(frameOf({ ...ends, protocol: 253 }, { destinationMac: VIRTUAL_MAC }));
    settle(tap, inside, 2);
    return Number(/packets (\d+)/.exec(sh("nft list chain ip watch arrivals"))?.[1]);
  };
  assert.equal(arrivals(), 0);
  gate.open("solo");
  assert.equal(arrivals(), 1);
  gate.drain();
  assert.equal(arrivals(), 2);
  gate.shut();
  assert.equal(arrivals(), 2);
  inside.close();
  sh("nft delete table ip watch");
});

test("open: the shared address is answered from the virtual MAC", inNamespace, () => {
  assert.equal(gate.open("solo"), true);
  assert.deepEqual(answersToArp(), [{ source: VIRTUAL_MAC, senderMac: VIRTUAL_MAC }]);
  assert.deepEqual(seenFromService(), [VIRTUAL_MAC]);
});

test("drain: claims nothing, what leaves carries the port's MAC; opening ends it", inNamespace, () => {
  assert.equal(gate.open("solo"), true);
  assert.equal(gate.drain(), true);
  assert.deepEqual(answersToArp(), []);
  assert.deepEqual(seenFromService(), [PORT_MAC]);
  assert.equal(gate.renew("solo"), true, "a draining gate is still held");
  assert.deepEqual(answersToArp(), [], "and renewing does not end the draining");
  assert.equal(gate.open("solo"), true);
  assert.equal(answersToArp().length, 1);
});

test("shut is at once, also after many lapses, and a renewal does not undo it", inNamespace, () => {
  for (let lapses = 0; lapses < 12; lapses += 1) {
    assert.equal(gate.open("short"), true);
    untilLapsed();
  }
  for (let round = 0; round < 50; round += 1) {
    assert.equal(gate.open("solo"), true);
    assert.equal(gate.renew("solo"), true);
    assert.equal(gate.shut(), true);
    assert.equal(gate.renew("short"), false);
    assert.equal(gate.renew("solo"), false);
    assert.equal(gate.drain(), false);
  }
  assert.deepEqual(answersToArp(), []);
  assert.deepEqual(seenFromService(), []);
});

test("a lapsed lease ends by itself, never late, and cannot be renewed", inNamespace, (t) => {
  const lasted: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    assert.equal(gate.open("short"), true);
    const start = performance.now();
    // The last instant at which it was seen held, so that a stall of this machine does not count as lateness.
    let last = start;
    for (let asked = start; gate.drain(); asked = performance.now()) last = asked;
    lasted.push(last - start);
    assert.equal(gate.renew("short"), false);
    assert.equal(gate.renew("solo"), false);
  }
  assert.deepEqual(answersToArp(), []);
  t.diagnostic(`lease of 40 ms seen held for at most ${Math.max(...lasted).toFixed(1)} ms`);
  assert.ok(Math.max(...lasted) <= 41, `held for ${Math.max(...lasted)} ms`);
});

test("a solo lease renewed as a short one ends as a short one", inNamespace, () => {
  assert.equal(gate.open("solo"), true);
  assert.equal(gate.renew("short"), true);
  const start = performance.now();
  let last = start;
  for (let asked = start; gate.drain(); asked = performance.now()) last = asked;
  assert.ok(last - start <= 41, `held for ${last - start} ms`);
});

test("renewals cost microseconds", inNamespace, (t) => {
  assert.equal(gate.open("solo"), true);
  const costs = new Float64Array(5000);
  for (let index = 0; index < costs.length; index += 1) {
    const start = performance.now();
    assert.equal(gate.renew("solo"), true);
    costs[index] = (performance.now() - start) * 1000;
  }
  costs.sort();
  const at = (share: number): string => costs[Math.floor(costs.length * share)]!.toFixed(1);
  t.diagnostic(`renewal: p50 ${at(0.5)} us, p99 ${at(0.99)} us, worst ${at(0.9999)} us`);
});

test("a removed or altered gate is noticed; other tables are nobody's business", inNamespace, () => {
  const harm = [
    "nft flush ruleset",
    "nft delete table netdev understudy-gate",
    "nft delete chain netdev understudy-gate in-us-lan",
    "nft flush chain netdev understudy-gate out-us-lan",
    "nft insert rule netdev understudy-gate in-us-lan accept",
    "nft flush chain netdev understudy-gate renew",
    "nft add table netdev understudy-gate '{ flags dormant; }'",
  ];
  for (const command of harm) {
    gate.install();
    assert.equal(gate.present(), true);
    sh(command);
    assert.equal(gate.present(), false, command);
  }
  gate.install();
  sh("nft add table inet somebody; nft add chain inet somebody theirs");
  assert.equal(gate.present(), true);
  sh("nft delete table inet somebody");
  assert.equal(gate.present(), true);
  assert.equal(gate.renew("short"), false, "installed anew means shut");
});

test("without its table nothing is claimed to have been done", inNamespace, () => {
  sh("nft flush ruleset");
  assert.equal(gate.open("short"), false);
  assert.equal(gate.renew("short"), false);
  assert.equal(gate.shut(), false);
  gate.install();
  assert.equal(gate.shut(), true);
});

test(
  "a service interface made anew is behind the gate, or the gate knows that it is not",
  inNamespace,
  () => {
    gate.install();
    sh(`ip link delete us-lan
    ip link add us-lan link port address ${VIRTUAL_MAC} type macvlan mode bridge
    sysctl -qw net.ipv6.conf.us-lan.disable_ipv6=1
    ip address add 10.20.0.1/16 dev us-lan noprefixroute`);
    if (!gate.present()) gate.install();
    sh("ip link set us-lan up");
    assert.deepEqual(answersToArp(), []);
    assert.deepEqual(seenFromService(), []);
    gate.open("solo");
    assert.equal(answersToArp().length, 1);
  },
);

test(
  "a new heart adopts what it finds: lease and draining stay, the old heart's marks are void",
  inNamespace,
  () => {
    gate.install();
    gate.open("solo");
    gate.drain();
    const next = createGate(OPTIONS);
    assert.deepEqual(next.adopt(), { held: true, drained: true });
    assert.equal(gate.open("solo"), false);
    assert.equal(gate.renew("solo"), false);
    assert.equal(next.renew("solo"), true);
    assert.equal(next.present(), true);
    assert.equal(gate.present(), false);
    next.shut();
    next.close();
    assert.deepEqual(gate.adopt(), { held: false, drained: false });
    sh("nft delete table netdev understudy-gate");
    assert.equal(gate.adopt(), null, "nothing there");
    gate.install();
    const other = createGate({ ...OPTIONS, services: [{ device: "us-lan", portMac: "02:00:00:00:00:cc" }] });
    assert.equal(other.adopt(), null, "another port's MAC: another gate");
    other.close();
  },
);

test("no gate without its interface, no interface without the gate", inNamespace, () => {
  const missing = createGate({ ...OPTIONS, services: [{ device: "us-l9", portMac: PORT_MAC }] });
  assert.throws(() => missing.install(), /there is no interface us-l9/);
  missing.close();
  gate.remove();
  assert.doesNotMatch(sh("ip -br link show us-lan"), /UP/);
  assert.equal(sh("nft list tables netdev"), "");
  gate.remove();
});

test("`lo` that is down is named", inNamespace, () => {
  sh("ip link set lo down");
  assert.throws(() => gate.install(), /GATE_SILENT[\s\S]*Is the interface lo up/);
  sh("ip link set lo up");
  gate.install();
  assert.equal(libc.interfaceIndex("us-lan") > 0 && gate.present(), true);
});
