// Who is who on a segment, frame by frame: what a forged mark may not do, above all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddress, parseMac } from "../../src/base/addresses.ts";
import type { NodeId } from "../../src/base/units.ts";
import { PEER_MAC_MS, SegmentParties } from "../../src/heart/segmentParties.ts";
import type { Resolution } from "../../src/wire/resolution.ts";

const mac = (last: number): Uint8Array => parseMac(`02:00:00:00:00:${last.toString(16).padStart(2, "0")}`)!;
const ip = (text: string): Uint8Array => parseAddress(text)!.bytes;
const [VIRTUAL, PORT, PEER, GATEWAY, HOST] = [1, 2, 3, 4, 5].map(mac) as [Uint8Array, ...Uint8Array[]];
const SHARED = "10.0.0.1";
const GATEWAY_ADDRESS = "10.0.0.254";

const parties = (): SegmentParties =>
  new SegmentParties({
    node: "a",
    portMac: PORT!,
    virtualMac: VIRTUAL,
    shared: [ip(SHARED)],
    nodes: [ip("10.0.0.2"), ip("10.0.0.3")],
    witnesses: [ip(GATEWAY_ADDRESS)],
  });

interface Frame {
  readonly source: Uint8Array;
  readonly address: string;
  readonly target?: string;
  readonly kind?: "ask" | "answer";
  readonly probeOf?: NodeId | null;
}
const frame = ({ source, address, target = SHARED, kind = "ask", probeOf = null }: Frame): Resolution => ({
  family: 4,
  kind,
  sourceMac: source,
  address: ip(address),
  mac: source,
  targetAddress: ip(target),
  gratuitous: false,
  probeOf,
});
const marked = (source: Uint8Array, target = SHARED, probeOf: NodeId = "b"): Resolution =>
  frame({ source, address: "10.0.0.3", target, probeOf });

test("the virtual MAC answers, the other node contends, third parties witness, the pair's own frames do not", () => {
  const segment = parties();
  segment.setOwn([ip("10.0.0.77")]);
  const answer = frame({ source: VIRTUAL, address: SHARED, kind: "answer" });
  assert.equal(segment.hear(answer, 0), "answer");
  assert.equal(segment.hear(frame({ source: VIRTUAL, address: SHARED }), 0), null);
  assert.equal(segment.hear(marked(PEER!), 0), "contender");
  assert.equal(segment.hear(frame({ source: GATEWAY!, address: GATEWAY_ADDRESS }), 0), "witness");
  assert.equal(segment.hear(frame({ source: HOST!, address: "10.0.0.9" }), 0), "witness");
  assert.equal(segment.hear(frame({ source: HOST!, address: SHARED }), 0), null);
  assert.equal(segment.hear(frame({ source: HOST!, address: "10.0.0.3" }), 0), null);
  assert.equal(segment.hear(frame({ source: HOST!, address: "10.0.0.77" }), 0), null);
  assert.equal(segment.hear(frame({ source: PORT!, address: "10.0.0.9" }), 0), null);
});

test("the other node's MAC proves nothing for a while after its mark, then it is anybody's", () => {
  const segment = parties();
  segment.hear(marked(PEER!), 0);
  const unmarked = frame({ source: PEER!, address: "10.0.0.66" });
  assert.equal(segment.hear(unmarked, PEER_MAC_MS - 1), null);
  assert.equal(segment.hear(unmarked, PEER_MAC_MS), "witness");
  // Its questions to witnesses count as well.
  segment.hear(marked(PEER!, GATEWAY_ADDRESS), PEER_MAC_MS);
  assert.equal(segment.hear(unmarked, PEER_MAC_MS + 1), null);
});

test("forged marks of many MACs disqualify one at most", () => {
  const segment = parties();
  for (let host = 16; host < 256; host += 1) segment.hear(marked(mac(host)), 0);
  const silenced = Array.from({ length: 240 }, (_, index) =>
    segment.hear(frame({ source: mac(16 + index), address: `10.0.1.${index}` }), 1),
  ).filter((judgement) => judgement === null);
  assert.equal(silenced.length, 1);
});

test("no mark silences a configured witness, heard before it or not", () => {
  const said = frame({ source: GATEWAY!, address: GATEWAY_ADDRESS, kind: "answer" });
  const other = frame({ source: GATEWAY!, address: "10.0.0.253" });
  const unheard = parties();
  unheard.hear(marked(GATEWAY!), 0);
  assert.equal(unheard.hear(said, 1), "witness");
  const heard = parties();
  heard.hear(said, 0);
  heard.hear(marked(GATEWAY!), 1);
  assert.equal(heard.hear(said, 2), "witness");
  assert.equal(heard.hear(other, 2), "witness");
});

test("a mark counts from the other node only, and only where it asks what that one asks", () => {
  const forged = [
    marked(HOST!, SHARED, "a"),
    marked(HOST!, "10.0.0.200"),
    { ...marked(HOST!), kind: "answer" as const },
  ];
  for (const each of forged) {
    const segment = parties();
    assert.equal(segment.hear(each, 0), null);
    assert.equal(segment.hear(frame({ source: HOST!, address: "10.0.0.9" }), 1), "witness");
  }
});

test("those to ask: the configured ones always, of the learned ones the newest", () => {
  const segment = parties();
  for (let host = 10; host < 100; host += 1) segment.learn(ip(`10.0.0.${host}`));
  for (const never of [SHARED, "10.0.0.3", "0.0.0.0"]) segment.learn(ip(never));
  const known = segment.witnesses.map((address) => address.join("."));
  assert.equal(known.length, 33);
  assert.deepEqual([known[0], known.at(-1)], [GATEWAY_ADDRESS, "10.0.0.99"]);
});
