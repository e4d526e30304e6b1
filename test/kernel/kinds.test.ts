// Every kind of session through the dressed kernel, IPv4 and IPv6: placed as the hash says, translated, answered, told as a
// record by the default policy in the state that docs/protocol.md §9.4 names; written into another node that is dressed alike,
// it is the same session there, and the packets of both sides find their way.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { computeSlots, linkOf } from "../../src/core/placement.ts";
import { openSessionEvents, type SessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { decodeRecord } from "../../src/wire/sessionRecord.ts";
import { config, gate, knowNeighbours, NOTHING, putOn, sendInto, sh, tuple } from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";

type Body = readonly number[];

interface Kind {
  readonly name: string;
  readonly families: readonly (4 | 6)[];
  readonly protocol: number;
  /** Source and destination port; the identifier in the first for ICMP. */
  readonly ports: readonly [number, number];
  /** What passes, one after the other: from the LAN (`out`) or from the far side (`in`); ports as they are there. */
  readonly packets: readonly { readonly way: "out" | "in"; readonly body: (a: number, b: number) => Body }[];
  /** After how many of them the session is told. */
  readonly toldAfter: number;
  /** The operations that are told in all. */
  readonly told: readonly string[];
}

const be16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];
const ports = (a: number, b: number): number[] => [...be16(a), ...be16(b)];
const SYN = 0x02;
const ACK = 0x10;
const tcp =
  (sequence: number, acknowledged: number, flags: number) =>
  (a: number, b: number): Body => [
    ...ports(a, b),
    0,
    0,
    0,
    sequence,
    0,
    0,
    0,
    acknowledged,
    0x50,
    flags,
    0xff,
    0xff,
    0,
    0,
    0,
    0,
  ];
const udp = (a: number, b: number): Body => [...ports(a, b), 0, 9, 0, 0, 7];
/** A checksum of 0 is none, which UDP-Lite does not know (RFC 3828 §3.1). */
const udpLite = (a: number, b: number): Body => [...ports(a, b), 0, 0, 0xab, 0xcd, 7];
const echo =
  (type: number) =>
  (identifier: number): Body => [type, 0, 0, 0, ...be16(identifier), 0, 1];
/** Verification tags: 1 asks for by the LAN's end, 2 by the far one (RFC 9260 §8.5). */
const sctp =
  (tag: number, chunk: Body) =>
  (a: number, b: number): Body => [...ports(a, b), 0, 0, 0, tag, 0, 0, 0, 0, ...chunk];
const initiation = (type: number, tag: number): Body => [
  type,
  0,
  0,
  20,
  0,
  0,
  0,
  tag,
  0,
  0,
  16,
  0,
  0,
  1,
  0,
  1,
  0,
  0,
  0,
  1,
];
const INIT = sctp(0, initiation(1, 1));
const INIT_ACK = sctp(1, initiation(2, 2));
const COOKIE_ECHO = sctp(2, [10, 0, 0, 8, 9, 9, 9, 9]);
const COOKIE_ACK = sctp(1, [11, 0, 0, 4]);
const opaque = (): Body => [0, 0, 8, 0, 5, 6, 7, 8];

const portless = (name: string, protocol: number, families: readonly (4 | 6)[] = [4, 6]): Kind => ({
  name,
  families,
  protocol,
  ports: [0, 0],
  packets: [
    { way: "out", body: opaque },
    { way: "in", body: opaque },
  ],
  toldAfter: 2,
  told: ["create"],
});

const KINDS: readonly Kind[] = [
  {
    name: "TCP",
    families: [4, 6],
    protocol: 6,
    ports: [40_000, 443],
    packets: [
      { way: "out", body: tcp(1, 0, SYN) },
      { way: "in", body: tcp(1, 2, SYN | ACK) },
      { way: "out", body: tcp(2, 2, ACK) },
    ],
    toldAfter: 3,
    told: ["create"],
  },
  {
    name: "UDP",
    families: [4, 6],
    protocol: 17,
    ports: [40_001, 5060],
    packets: [
      { way: "out", body: udp },
      { way: "in", body: udp },
    ],
    toldAfter: 2,
    told: ["create"],
  },
  {
    name: "UDP-Lite",
    families: [4, 6],
    protocol: 136,
    ports: [40_002, 5061],
    packets: [
      { way: "out", body: udpLite },
      { way: "in", body: udpLite },
    ],
    toldAfter: 2,
    told: ["create"],
  },
  {
    name: "SCTP",
    families: [4, 6],
    protocol: 132,
    ports: [40_003, 2905],
    packets: [
      { way: "out", body: INIT },
      { way: "in", body: INIT_ACK },
      { way: "out", body: COOKIE_ECHO },
      { way: "in", body: COOKIE_ACK },
    ],
    toldAfter: 4,
    told: ["create"],
  },
  {
    name: "an echo",
    families: [4],
    protocol: 1,
    ports: [4321, 4321],
    packets: [
      { way: "out", body: echo(8) },
      { way: "in", body: echo(0) },
    ],
    toldAfter: 2,
    told: ["create"],
  },
  {
    name: "an echo",
    families: [6],
    protocol: 58,
    ports: [4321, 4321],
    packets: [
      { way: "out", body: echo(128) },
      { way: "in", body: echo(129) },
    ],
    toldAfter: 2,
    told: ["create"],
  },
  portless("GRE", 47),
  portless("ESP", 50),
  portless("AH", 51, [4]),
  portless("IP in IP", 4, [4]),
  portless("protocol 253", 253),
];

describe("kinds of session", inNamespace, () => {
  let events: SessionEvents;
  before(() => {
    putOn();
    gate.open("solo");
    knowNeighbours();
    // SCTP's checksum is none that these packets carry.
    sh("sysctl -qw net.netfilter.nf_conntrack_checksum=0 net.netfilter.nf_conntrack_events=1");
    events = openSessionEvents();
  });
  after(() => events.close());

  for (const kind of KINDS)
    for (const family of kind.families) test(`${kind.name}, IPv${family}`, () => play(kind, family));

  function play(kind: Kind, family: 4 | 6): void {
    const { protocol } = kind;
    const [host, server] = family === 4 ? ["10.20.5.5", "203.0.113.9"] : ["fd20::5", "2001:db8:ffff::9"];
    const [a, b] = kind.ports;
    const what = tuple(host, server, protocol, [a, b]);
    const link = linkOf(what, config.placementSeed, computeSlots(config.links, config.placementSeed));
    const own = link === 1 ? "wan1" : "wan2";
    const address = family === 4 ? `198.51.${99 + link}.2` : `2001:db8:${link}::2`;
    const send = ({ way, body }: Kind["packets"][number]): void => {
      const out = way === "out";
      const [from, to] = out ? [a, b] : [b, a];
      const seen = out
        ? sendInto("lan", what, { body: body(from, to) })
        : sendInto(own, tuple(server, address, protocol, [from, to]), { body: body(from, to) });
      // One packet, where it belongs, and nothing anywhere else.
      const expected = { ...NOTHING, [out ? own : "lan"]: [null] };
      assert.deepEqual(
        Object.entries(seen).map(([port, packets]) => [port, packets.length]),
        Object.entries(expected).map(([port, packets]) => [port, packets.length]),
        `${way} after ${kind.name}`,
      );
    };
    // Nobody at the cables' ends answers ARP: after seconds of a busy machine the kernel would ask, and keep the packet.
    knowNeighbours();
    events.discard();
    const batch = new RecordBatch();
    kind.packets.forEach((packet, index) => {
      send(packet);
      events.drain(batch);
      if (index + 1 < kind.toldAfter) assert.equal(batch.count, 0, "told too early");
    });
    const told: string[] = [];
    for (let offset = 0; offset < batch.length; ) {
      const decoded = decodeRecord(batch.bytes, offset);
      if (!decoded.ok || decoded.record.operation === "delete") throw new Error("a create");
      told.push(decoded.record.operation);
      assert.equal(decoded.record.state.mark, link);
      offset = decoded.end;
    }
    assert.deepEqual(told, kind.told);
    // Away with it, as on a node that never saw a packet of it, and in again from the record.
    const listed = (): string =>
      sh(
        `conntrack -L -f ipv${family} -p ${protocol} -s ${host} 2>/dev/null | sed -E 's/^([a-z0-9]+ +[0-9]+) [0-9]+/\\1/; s/ use=[0-9]+//; s/mark=[0-9]+//'`,
      );
    const before = listed();
    sh(`conntrack -D -f ipv${family} -p ${protocol} -s ${host} 2>/dev/null`);
    const writer = openSessionWriter();
    assert.equal(writer.apply(batch.records(), batch.count, 1).created, 1);
    writer.close();
    assert.equal(listed(), before);
    assert.notEqual(before, "");
    // The far side speaks first, which no placement could make good; then the LAN's end.
    for (const way of ["in", "out"] as const) {
      const last = kind.packets.findLast((packet) => packet.way === way);
      if (last !== undefined) send(last);
    }
    sh(`conntrack -D -f ipv${family} -p ${protocol} -s ${host} 2>/dev/null`);
  }
});
