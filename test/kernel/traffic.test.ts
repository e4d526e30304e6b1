// What the dressed kernel does with packets: places, translates, answers, and keeps silent.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { computeSlots, linkOf, type PlacementTuple } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { applyRuleset, removeRuleset } from "../../src/kernel/rulesetTable.ts";
import {
  config,
  ends,
  GATEWAY_MAC,
  gate,
  HOST_MAC,
  knowNeighbours,
  LAN_MAC,
  NOTHING,
  PORT_MAC,
  putOn,
  sendInto,
  sh,
  tuple,
} from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";
import { macBytes, TCP_PUSH_ACK, TCP_SYN, TCP_SYN_ACK } from "./packets.ts";

if (inNamespace.skip === false) {
  before(() => {
    putOn();
    gate.open("solo");
    knowNeighbours();
  });
}

test(
  "a LAN host's session leaves by the link that placement says, translated, in the virtual MAC's name",
  inNamespace,
  () => {
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
