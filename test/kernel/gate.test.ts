// The gate on a real kernel: failover.md §1, §2, §6. Reads like the table of what a mark does. Whose table it is, and what
// others can do to it: gateOwner.test.ts; kernels without owned tables: gatePlain.test.ts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createGate, type Gate } from "../../src/kernel/gate.ts";
import * as libc from "../../src/kernel/libc.ts";
import { ETH_P_ALL_FRAMES, openTap, settle } from "./frames.ts";
import {
  answersToArp,
  OPTIONS,
  PORT_MAC,
  seenFromService,
  sh,
  tap,
  untilLapsed,
  VIRTUAL_MAC,
} from "./gateWorld.ts";
import { inNamespace } from "./namespace.ts";
import { frameOf } from "./packets.ts";

let gate: Gate;

if (inNamespace.skip === false) {
  before(() => {
    gate = createGate(OPTIONS);
    gate.install();
    sh("ip link set us-lan up");
  });
  after(() => gate.close());
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
    untilLapsed(gate);
  }
  for (let round = 0; round < 50; round += 1) {
    assert.equal(gate.open("solo"), true);
    assert.equal(gate.renew("solo"), true);
    // A set full of what has lapsed may refuse until it is swept; heart asks again each turn, and so does this.
    const deadline = performance.now() + 5000;
    while (!gate.shut()) assert.ok(performance.now() < deadline, "the gate cannot be shut");
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
