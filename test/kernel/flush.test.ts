// Somebody says `nft flush ruleset` to a node that serves. With tables of our own nothing happens; as on older kernels, the
// ruleset is gone until the daemon has put it back, and meanwhile nothing passes: not untranslated, not by a real
// port, and no answer of the node's own ends a session. Real packets, of sessions that exist and of new ones.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { computeSlots, linkOf, type PlacementTuple } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { applyRuleset, removeRuleset } from "../../src/kernel/rulesetTable.ts";
import { OwnTables } from "../../src/kernel/tables.ts";
import { config, gate, knowNeighbours, NOTHING, putOn, sendInto, sh, tuple } from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";
import { type Packet, TCP_PUSH_ACK, TCP_SYN, TCP_SYN_ACK } from "./packets.ts";

let tables: OwnTables;
let slots: Uint8Array;

if (inNamespace.skip === false) {
  before(() => {
    putOn();
    gate.open("solo");
    knowNeighbours();
    slots = computeSlots(config.links, config.placementSeed);
    tables = new OwnTables("inet");
    // The node's own way out, which no session of the pair's may take.
    sh("ip route add default via 10.20.0.254 dev lan");
  });
  after(() => tables.close());
}

/** A session through the node: what the LAN's host sends, what comes back to the link's address, and by which port. */
interface Session {
  readonly out: PlacementTuple;
  readonly back: PlacementTuple;
  readonly port: "wan1" | "wan2";
}

function session(protocol: number, family: 4 | 6, port: number): Session {
  const [host, server] = family === 4 ? ["10.20.5.5", "203.0.113.9"] : ["fd20::5", "2001:db8:ffff::9"];
  const out = tuple(host!, server!, protocol, [port, 443]);
  const link = linkOf(out, config.placementSeed, slots);
  const shared = family === 4 ? `198.51.${99 + link}.2` : `2001:db8:${link}::2`;
  return { out, back: tuple(server!, shared, protocol, [443, port]), port: link === 1 ? "wan1" : "wan2" };
}

const SESSIONS = (): Session[] =>
  [6, 17].flatMap((protocol) =>
    ([4, 6] as const).flatMap((family) =>
      [0, 1, 2].map((index) => session(protocol, family, 41_000 + protocol * 10 + family + index * 300)),
    ),
  );

const PUSH = { tcpFlags: TCP_PUSH_ACK };

function establish({ out, back, port }: Session): void {
  assert.equal(sendInto("lan", out, { tcpFlags: TCP_SYN })[port].length, 1);
  assert.equal(sendInto(port, back, { tcpFlags: TCP_SYN_ACK }).lan.length, 1);
}

/** Both ways: what leaves by its link is translated, what comes back reaches the host. */
function goesOn({ out, back, port }: Session): void {
  const text = (packet: Packet | undefined) => `${packet?.source} ${packet?.sourcePort}`;
  const [sent, ...more] = sendInto("lan", out, PUSH)[port];
  assert.equal(more.length, 0);
  assert.match(
    text(sent),
    port === "wan1" ? /^(198\.51\.100\.2|2001:db8:1:)/ : /^(198\.51\.101\.2|2001:db8:2:)/,
  );
  assert.equal(sent?.sourcePort, back.destinationPort, "the port that the server knows");
  assert.equal(sendInto(port, back, PUSH).lan.length, 1);
}

/** Sent by the host into a node without a ruleset: nothing leaves by a link, and the port towards the LAN forwards nothing. */
function isHeldBack(out: PlacementTuple, tcpFlags: number): void {
  const seen = sendInto("lan", out, { tcpFlags });
  assert.deepEqual([seen.wan1, seen.wan2], [[], []]);
  const told = seen.lan.filter(({ protocol }) => protocol !== 1 && protocol !== 58);
  assert.deepEqual(told, [], "at most an ICMP error to the host itself");
}

/**
 * From the server: the host hears nothing, and no reset ends the session. Of UDP the kernel says that nobody listens, in the
 * link's own name; whoever minds that is told so in docs/operations.md.
 */
function isNotAnswered(back: PlacementTuple, port: "wan1" | "wan2"): void {
  const seen = sendInto(port, back, PUSH);
  if (back.protocol === 6) {
    assert.deepEqual(seen, NOTHING);
    return;
  }
  assert.deepEqual(seen.lan, []);
  const answers = [...seen.wan1, ...seen.wan2];
  assert.ok(answers.every((packet) => packet.protocol === 1 || packet.protocol === 58));
  assert.ok(answers.every((packet) => /^(198\.51\.10[01]\.2|2001:db8:[12]:0:0:0:0:2)$/.test(packet.source)));
}

test(
  "as on older kernels: with the ruleset flushed nothing passes, then every session goes on",
  inNamespace,
  () => {
    const sessions = SESSIONS();
    sessions.forEach(establish);
    for (const harm of ["nft flush ruleset", "nft delete table inet understudy"]) {
      sh(harm);
      for (const { out, back, port } of sessions) {
        isHeldBack(out, TCP_PUSH_ACK);
        isNotAnswered(back, port);
      }
      isHeldBack(tuple("10.20.5.5", "203.0.113.9", 6, [45_000, 443]), TCP_SYN);
      isHeldBack(tuple("fd20::5", "2001:db8:ffff::9", 17, [45_000, 443]), TCP_SYN);
      assert.deepEqual(putOn(), ["ruleset"]);
      sessions.forEach(goesOn);
    }
  },
);

test("tables of our own: a flush takes nothing away, not for a packet", inNamespace, (t) => {
  if (!tables.areOwned) {
    t.skip("this kernel has no tables with an owner that persist");
    return;
  }
  removeRuleset();
  const text = compileRuleset(config, slots);
  assert.equal(applyRuleset(text, tables), true);
  assert.equal(applyRuleset(text, tables), false);
  const sessions = SESSIONS();
  sessions.forEach(establish);
  for (let round = 0; round < 20; round += 1) {
    sh("nft flush ruleset");
    goesOn(sessions[round % sessions.length]!);
  }
  assert.equal(applyRuleset(text, tables), false, "and nothing is there to be mended");
});
