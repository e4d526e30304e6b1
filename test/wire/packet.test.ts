// Captured packets down to their payload: every link layer that tcpdump writes here, both families, tags, extension headers; and
// any bytes at all.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readPacket } from "../../src/wire/packet.ts";
import { ethernet, ipPacket, RST, type Segment, SYN } from "./captureFiles.ts";

const v4: Segment = {
  source: [10, 255, 1, 2],
  destination: [10, 255, 1, 1],
  sourcePort: 43_210,
  destinationPort: 1148,
  payload: Uint8Array.of(1, 2, 3),
  tcp: { sequence: 0xfffffffe },
};
const v6: Segment = {
  ...v4,
  source: [0xfd, ...new Array(14).fill(0), 2],
  destination: [0xfd, ...new Array(14).fill(0), 1],
};
const endsOf = ({ source, destination, sourcePort, destinationPort, payload }: Segment) => ({
  source: Uint8Array.from(source),
  destination: Uint8Array.from(destination),
  sourcePort,
  destinationPort,
  payload,
});
const tcp = { kind: "tcp", sequence: 0xfffffffe, syn: false, fin: false, reset: false };

for (const [name, segment] of [
  ["IPv4", v4],
  ["IPv6", v6],
] as const) {
  const packet = ipPacket(segment);
  const version = name === "IPv4" ? 0x0800 : 0x86dd;
  const ofType = [version >> 8, version & 0xff];
  const layers: readonly (readonly [string, number, Uint8Array])[] = [
    ["Ethernet", 1, ethernet(packet)],
    ["Ethernet with a VLAN", 1, ethernet(packet, 100)],
    ["nothing (raw)", 101, packet],
    ["nothing (of that family)", name === "IPv4" ? 228 : 229, packet],
    ["a loopback's four bytes", 0, Uint8Array.of(2, 0, 0, 0, ...packet)],
    ["`any` (SLL)", 113, Uint8Array.of(...new Array(14).fill(0), ...ofType, ...packet)],
    ["`any` (SLL2)", 276, Uint8Array.of(...ofType, ...new Array(18).fill(0), ...packet)],
    // A short frame is filled up.
    ["Ethernet with padding", 1, Uint8Array.of(...ethernet(packet), 0, 0, 0, 0)],
  ];
  for (const [layer, linkType, bytes] of layers) {
    test(`${name} in ${layer}`, () => {
      assert.deepEqual(readPacket(bytes, linkType), { ...tcp, ...endsOf(segment) });
    });
  }

  test(`${name}: UDP, and flags of TCP`, () => {
    const { tcp: _, ...udp } = segment;
    assert.deepEqual(readPacket(ipPacket(udp), 101), { kind: "udp", ...endsOf(segment) });
    const packets = [SYN, RST].map((flags) =>
      readPacket(ipPacket({ ...segment, tcp: { sequence: 1, flags } }), 101),
    );
    assert.deepEqual(
      packets.map((each) => (each.kind === "tcp" ? [each.syn, each.reset] : [])),
      [
        [true, false],
        [false, true],
      ],
    );
  });
}

test("a length of 0, as the sending machine captures what its card will cut", () => {
  const packet = ipPacket(v4);
  packet.fill(0, 2, 4);
  assert.deepEqual(readPacket(packet, 101), { ...tcp, ...endsOf(v4) });
  const next = ipPacket(v6);
  next.fill(0, 4, 6);
  assert.deepEqual(readPacket(next, 101), { ...tcp, ...endsOf(v6) });
});

test("extension headers of IPv6 are passed over, fragments are told", () => {
  const packet = ipPacket(v6);
  const withHeader = (type: number): Uint8Array => {
    const header = [6, 0, 0, 0, 0, 0, 0, 0];
    const grown = Uint8Array.of(...packet.subarray(0, 40), ...header, ...packet.subarray(40));
    grown[6] = type;
    grown[5]! += 8;
    return grown;
  };
  for (const type of [0, 43, 60])
    assert.deepEqual(readPacket(withHeader(type), 101), { ...tcp, ...endsOf(v6) });
  assert.deepEqual(readPacket(withHeader(44), 101), { kind: "other", why: "a fragment" });
  const fragment = ipPacket(v4);
  fragment[6] = 0x20;
  assert.deepEqual(readPacket(fragment, 101), { kind: "other", why: "a fragment" });
});

test("what is none of these says why", () => {
  const arp = ethernet(ipPacket(v4));
  arp.set([0x08, 0x06], 12);
  assert.deepEqual(readPacket(arp, 1), { kind: "other", why: "not IP" });
  const icmp = ipPacket(v4);
  icmp[9] = 1;
  assert.deepEqual(readPacket(icmp, 101), { kind: "other", why: "neither TCP nor UDP" });
  assert.deepEqual(readPacket(ipPacket(v4), 147), {
    kind: "other",
    why: "packets of link type 147 are not known here",
  });
  assert.equal(readPacket(new Uint8Array(0), 101).kind, "other");
});

test("any bytes: a packet or a reason, and never more payload than there is", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(ipPacket(v4), ipPacket(v6), ethernet(ipPacket(v6), 7)),
      fc.array(fc.tuple(fc.nat({ max: 80 }), fc.nat({ max: 255 })), { maxLength: 5 }),
      fc.nat({ max: 80 }),
      fc.constantFrom(0, 1, 101, 113, 228, 229, 276, 999),
      (seed, changes, cut, linkType) => {
        const raw = seed.slice(0, Math.max(0, seed.length - cut));
        for (const [at, value] of changes) if (at < raw.length) raw[at] = value;
        const packet = readPacket(raw, linkType);
        if (packet.kind !== "other") assert.ok(packet.payload.length <= raw.length);
      },
    ),
    { numRuns: 2000 },
  );
});
