// Helpers in the dressed kernel: who gets one, that what it expects is let in and goes by its master's link, and by no
// other; and that what is not expected is a stranger still.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { computeSlots, linkOf } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { applyRuleset } from "../../src/kernel/rulesetTable.ts";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { SessionPolicy } from "../../src/wire/sessionPolicy.ts";
import { config, gate, knowNeighbours, NOTHING, putOn, sendInto, sh, tuple } from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";

const SERVER = "203.0.113.9";
const SERVER_6 = "2001:db8:ffff::9";
/** What asks for a file (RFC 1350), and what carries one. */
const READ_REQUEST = [0, 1, 0x66, 0, 0x6f, 0x63, 0x74, 0x65, 0x74, 0];
const DATA = [0, 3, 0, 1, 0x2a];

const slots = () => computeSlots(config.links, config.placementSeed);
const marks = (filter: string): number[] =>
  [...sh(`conntrack -L ${filter} 2>/dev/null || true`).matchAll(/mark=(\d+)/g)].map(([, mark]) =>
    Number(mark),
  );

if (inNamespace.skip === false) {
  before(() => {
    putOn();
    gate.open("solo");
    knowNeighbours();
  });
}

test(
  "without being asked the kernel reads nothing: an answer from another port is a stranger's",
  inNamespace,
  () => {
    const what = tuple("10.20.5.5", SERVER, 17, [3000, 69]);
    const link = linkOf(what, config.placementSeed, slots());
    assert.equal(sendInto("lan", what, { data: READ_REQUEST })[link === 1 ? "wan1" : "wan2"].length, 1);
    const answer = tuple(SERVER, `198.51.${99 + link}.2`, 17, [50_000, 3000]);
    assert.deepEqual(sendInto(link === 1 ? "wan1" : "wan2", answer, { data: DATA }), NOTHING);
  },
);

test(
  "TFTP, IPv4 and IPv6: the answer from another port is let in, by its master's link only",
  inNamespace,
  () => {
    const helpers = [
      { name: "tftp" },
      { name: "ftp" },
      { name: "sip" },
      { name: "h323" },
      { name: "irc" },
      { name: "pptp" },
    ] as const;
    assert.equal(applyRuleset(compileRuleset({ ...config, helpers }, slots())), true);
    assert.equal(
      applyRuleset(compileRuleset({ ...config, helpers }, slots())),
      false,
      "twice changes nothing",
    );
    for (const isV6 of [false, true])
      for (let port = 3001; port < 3009; port += 1) {
        const [host, server] = isV6 ? ["fd20::5", SERVER_6] : ["10.20.5.5", SERVER];
        const what = tuple(host, server, 17, [port, 69]);
        const link = linkOf(what, config.placementSeed, slots());
        const [own, other] = link === 1 ? (["wan1", "wan2"] as const) : (["wan2", "wan1"] as const);
        const [request] = sendInto("lan", what, { data: READ_REQUEST })[own];
        assert.ok(request, `${host} ${port}`);
        const address = isV6 ? `2001:db8:${link}::2` : `198.51.${99 + link}.2`;
        const answer = tuple(server, address, 17, [50_000 + port, request.sourcePort]);
        knowNeighbours();
        // From somebody else: not expected. By the other link: its address is not there.
        const stranger = isV6 ? "2001:db8:ffff::66" : "203.0.113.66";
        assert.deepEqual(
          sendInto(own, tuple(stranger, address, 17, [50_000 + port, request.sourcePort]), { data: DATA }),
          NOTHING,
        );
        const [data, ...more] = sendInto(own, answer, { data: DATA }).lan;
        assert.deepEqual([data?.destinationPort, data?.sourcePort, more.length], [port, 50_000 + port, 0]);
        // And back: the host's acknowledgement leaves by the same link, translated.
        const back = tuple(host, server, 17, [port, 50_000 + port]);
        const seen = sendInto("lan", back, { data: [0, 4, 0, 1] });
        assert.deepEqual([seen[own].length, seen[other].length], [1, 0]);
        const family = isV6 ? "-f ipv6" : "";
        assert.deepEqual(marks(`${family} -p udp --orig-port-src ${50_000 + port}`), [link]);
      }
  },
);

test("the generation of a master that came by replication is not inherited", inNamespace, () => {
  const what = tuple("10.20.5.5", SERVER, 17, [3100, 69]);
  const link = linkOf(what, config.placementSeed, slots());
  const own = link === 1 ? "wan1" : "wan2";
  sendInto("lan", what, { data: READ_REQUEST });
  // As it stands on a node that took over: every session of the table came with generation 2.
  const batch = new RecordBatch();
  const dump = openSessionDump({
    policy: new SessionPolicy({ tcp: "opening", udp: "first-packet", others: "reply", except: [] }),
  });
  while (dump.next(batch));
  dump.close();
  const writer = openSessionWriter();
  const { updated, refused } = writer.apply(batch.records(), batch.count, 2);
  writer.close();
  assert.deepEqual([updated, refused], [batch.count, {}]);
  const answer = tuple(SERVER, `198.51.${99 + link}.2`, 17, [51_000, 3100]);
  assert.equal(sendInto(own, answer, { data: DATA }).lan.length, 1);
  assert.deepEqual(marks("-p udp --orig-port-src 51000"), [link]);
  assert.deepEqual(marks("-p udp --orig-port-src 3100"), [0x20000000 + link]);
});
