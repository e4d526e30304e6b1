// Sealed datagrams (docs/protocol.md §3): what an attacker with every datagram that was ever sent can do with
// them, which is nothing.

import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { DATAGRAM_BYTES_MAX } from "../../src/base/limits.ts";
import type { NodeId } from "../../src/base/units.ts";
import { formatPublicKey, rawPublicKey } from "../../src/peer/identity.ts";
import { createSealer, type OpenResult, type Sealer } from "../../src/peer/sealed.ts";
import { BODY_BYTES_MAX, HEAD_BYTES, PROOF_BYTES, TAG_BYTES } from "../../src/wire/datagram.ts";
import { assertGolden } from "../golden/golden.ts";

/** A private key of 32 equal bytes: known to everybody, for tests alone. */
function keyOf(fill: number): KeyObject {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.alloc(32, fill)]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}
const publicOf = (key: KeyObject): string => formatPublicKey(rawPublicKey(key));
const keys = { a: keyOf(1), b: keyOf(2), bNext: keyOf(3), stranger: keyOf(4) };
const listed = { a: [publicOf(keys.a)], b: [publicOf(keys.b)] };

/** One start of a node's heart; `boot` makes its boot id. */
function start(node: NodeId, boot: number, privateKey: KeyObject = keys[node]): Sealer {
  const peerPublicKeys = node === "a" ? listed.b : listed.a;
  return createSealer({ privateKey, peerPublicKeys, node, bootId: new Uint8Array(16).fill(boot) });
}
const body = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (result: OpenResult): string =>
  result.ok ? new TextDecoder().decode(result.body) : result.reason;
/** `proven: text`, `unproven: text`, or the reason of a refusal. */
const verdict = (result: OpenResult): string =>
  result.ok ? `${result.proven ? "proven" : "unproven"}: ${textOf(result)}` : result.reason;

/** Lets both hear each other until each has established the other. */
function meet(left: Sealer, right: Sealer): void {
  for (let turn = 0; turn < 3; turn++) {
    right.open(left.seal(body("hello")));
    left.open(right.seal(body("hello")));
  }
}

test("two nodes prove themselves to each other within four datagrams", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  assert.equal(verdict(b.open(a.seal(body("1")))), "unproven: 1");
  // It names a's boot, but has not heard a naming it.
  assert.equal(verdict(a.open(b.seal(body("2")))), "unproven: 2");
  assert.equal(verdict(b.open(a.seal(body("3")))), "proven: 3");
  assert.equal(verdict(a.open(b.seal(body("4")))), "proven: 4");
  assert.equal(b.counters.boots, 1);
  assert.equal(a.counters.boots, 1);
});

test("each number of the established boot counts once, in whatever order it comes", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  meet(a, b);
  const [first, second] = [a.seal(body("first")), a.seal(body("second"))];
  assert.equal(verdict(b.open(second)), "proven: second");
  assert.equal(verdict(b.open(first)), "proven: first");
  assert.equal(verdict(b.open(first)), "replayed");
  assert.equal(verdict(b.open(second)), "replayed");
});

test("a recording of the peer's earlier boot is refused", () => {
  const a = start("a", 0xa1);
  const old = start("b", 0xb1);
  meet(a, old);
  const seen = old.seal(body("seen"));
  const withheld = old.seal(body("withheld"));
  assert.equal(verdict(a.open(seen)), "proven: seen");
  const next = start("b", 0xb2);
  meet(a, next);
  assert.equal(verdict(a.open(seen)), "stale-boot");
  assert.equal(verdict(a.open(withheld)), "stale-boot");
  assert.equal(verdict(a.open(next.seal(body("alive")))), "proven: alive");
});

test("a recording made for our own earlier boot is not fresh and displaces nobody", () => {
  const before = start("a", 0xa1);
  const b1 = start("b", 0xb1);
  meet(before, b1);
  const recordings = Array.from({ length: 50 }, () => b1.seal(body("old")));
  const a = start("a", 0xa2);
  const b2 = start("b", 0xb2);
  meet(a, b2);
  for (const recording of recordings) {
    assert.equal(verdict(a.open(recording)), "unproven: old");
    assert.equal(verdict(a.open(b2.seal(body("alive")))), "proven: alive");
    assert.equal(verdict(b2.open(a.seal(body("heard")))), "proven: heard");
  }
  assert.equal(a.counters.boots, 1);
});

test("a boot that died before its datagrams were let through cannot displace its successor", () => {
  const a = start("a", 0xa1);
  const lost = start("b", 0xb1);
  // It hears us and names our boot, but all that it says is withheld.
  const withheld = Array.from({ length: 20 }, () => {
    lost.open(a.seal(body("?")));
    return lost.seal(body("withheld"));
  });
  // All but one, so that a names it and it can prove itself.
  assert.equal(verdict(a.open(lost.seal(body("one")))), "unproven: one");
  lost.open(a.seal(body("named")));
  withheld.push(lost.seal(body("proof")));
  const b = start("b", 0xb2);
  meet(a, b);
  assert.equal(verdict(a.open(withheld.pop() ?? body(""))), "stale-boot");
  for (const datagram of withheld) assert.equal(verdict(a.open(datagram)), "unproven: withheld");
  assert.equal(verdict(a.open(b.seal(body("alive")))), "proven: alive");
});

test("a restarted peer is established anew while the recordings of its past are played", () => {
  const a = start("a", 0xa1);
  const old = start("b", 0xb1);
  const before = start("a", 0xa0);
  meet(before, old);
  const recordings = Array.from({ length: 40 }, () => old.seal(body("old")));
  const b = start("b", 0xb2);
  let established = 0;
  for (const recording of recordings) {
    a.open(recording);
    b.open(a.seal(body("a")));
    if (verdict(a.open(b.seal(body("b")))).startsWith("proven")) established++;
  }
  assert.ok(established >= 38, `${established} of 40 proven`);
});

test("our own datagrams, sent back to us, are refused", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  meet(a, b);
  assert.equal(verdict(a.open(a.seal(body("mirror")))), "reflected");
  // Another start of the same node: another boot, but a direction that nobody sends to us in.
  assert.equal(verdict(a.open(start("a", 0xa7).seal(body("mirror")))), "unauthenticated");
});

test("a stranger is refused, whatever it claims to be", () => {
  const a = start("a", 0xa1);
  const stranger = createSealer({
    privateKey: keys.stranger,
    peerPublicKeys: listed.a,
    node: "b",
    bootId: new Uint8Array(16).fill(0xb1),
  });
  assert.equal(verdict(a.open(stranger.seal(body("b here")))), "unauthenticated");
  assert.equal(verdict(a.open(new Uint8Array(0))), "length");
  assert.equal(verdict(a.open(body("GET / HTTP/1.1\r\n\r\n"))), "magic");
  assert.equal(verdict(a.open(new Uint8Array(DATAGRAM_BYTES_MAX + 1).fill(0x16))), "magic");
  const datagram = start("b", 0xb1).seal(body("x"));
  const changed = (offset: number, value: number) =>
    Uint8Array.from(datagram).fill(value, offset, offset + 1);
  assert.equal(verdict(a.open(changed(5, 2))), "version");
  assert.equal(verdict(a.open(changed(6, 1))), "kind");
  assert.equal(verdict(a.open(changed(7, 1))), "reserved");
  assert.equal(verdict(a.open(Uint8Array.from(datagram).fill(0, 8, 24))), "malformed");
  assert.deepEqual(a.counters.refused, {
    length: 1,
    magic: 2,
    version: 1,
    kind: 1,
    reserved: 1,
    malformed: 1,
    reflected: 0,
    unauthenticated: 1,
    replayed: 0,
    "stale-boot": 0,
  });
  assert.equal(verdict(a.open(datagram)), "unproven: x");
});

test("every changed byte, every truncation and every extra byte is refused and changes nothing", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  meet(a, b);
  const datagram = b.seal(body("heartbeat"));
  for (let offset = 0; offset < datagram.length; offset++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const changed = Uint8Array.from(datagram);
      changed[offset] = (changed[offset] ?? 0) ^ flip;
      assert.equal(a.open(changed).ok, false, `byte ${offset} changed by ${flip}`);
    }
    assert.equal(a.open(datagram.slice(0, offset)).ok, false, `cut to ${offset} bytes`);
  }
  assert.equal(a.open(Uint8Array.of(...datagram, 0)).ok, false);
  assert.equal(verdict(a.open(datagram)), "proven: heartbeat");
});

test("any bytes whatsoever are refused without a throw", () => {
  const a = start("a", 0xa1);
  const opening = body("USTDY\x01\x02\x00");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (noise, withPreamble) => {
      assert.equal(a.open(withPreamble ? Uint8Array.of(...opening, ...noise) : noise).ok, false);
    }),
    { numRuns: 500 },
  );
  assert.equal(a.counters.boots, 0);
});

test("bodies of every length that fits come back as they were, from a Buffer too", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  meet(a, b);
  for (const length of [0, 1, 63, 64, 65, BODY_BYTES_MAX]) {
    const sent = new Uint8Array(length).fill(length & 0xff);
    const buffer = Buffer.from(a.seal(sent));
    assert.equal(buffer.length, HEAD_BYTES + PROOF_BYTES + length + TAG_BYTES);
    const result = b.open(buffer);
    buffer.fill(0);
    assert.ok(result.ok && result.proven);
    assert.deepEqual(new Uint8Array(result.body), sent);
  }
  assert.throws(() => a.seal(new Uint8Array(BODY_BYTES_MAX + 1)), /fits a datagram/);
});

test("a receive buffer that is used again does not show through what was learnt from it", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  const receive = Buffer.alloc(DATAGRAM_BYTES_MAX);
  const through = (datagram: Uint8Array, to: Sealer): OpenResult => {
    receive.fill(0xee).set(datagram);
    return to.open(receive.subarray(0, datagram.length));
  };
  assert.equal(verdict(through(a.seal(body("1")), b)), "unproven: 1");
  assert.equal(verdict(through(b.seal(body("2")), a)), "unproven: 2");
  assert.equal(verdict(through(a.seal(body("3")), b)), "proven: 3");
  assert.equal(verdict(through(b.seal(body("4")), a)), "proven: 4");
});

test("rotation: the peer is found under either of its two keys, and found again when it changes over", () => {
  const peerPublicKeys = [publicOf(keys.b), publicOf(keys.bNext)];
  for (const privateKey of [keys.b, keys.bNext]) {
    const a = createSealer({
      privateKey: keys.a,
      peerPublicKeys,
      node: "a",
      bootId: new Uint8Array(16).fill(0xa1),
    });
    const b = start("b", 0xb1, privateKey);
    const heard = converse(a, b, 40);
    assert.ok(heard.a >= 38 && heard.b >= 20, JSON.stringify(heard));
    const other = start("b", 0xb2, privateKey === keys.b ? keys.bNext : keys.b);
    const again = converse(a, other, 60);
    assert.ok(again.a >= 30 && again.b >= 30, JSON.stringify(again));
    assert.equal(a.counters.boots, 2);
  }
});

/** Both say `turns` things; how many of them the other found proven. */
function converse(a: Sealer, b: Sealer, turns: number): { a: number; b: number } {
  const heard = { a: 0, b: 0 };
  for (let turn = 0; turn < turns; turn++) {
    if (verdict(b.open(a.seal(body("a")))).startsWith("proven")) heard.b++;
    if (verdict(a.open(b.seal(body("b")))).startsWith("proven")) heard.a++;
  }
  return heard;
}

test("rotation: a recording under the other key costs the established peer one datagram in eleven, not more", () => {
  const peerPublicKeys = [publicOf(keys.b), publicOf(keys.bNext)];
  const a = createSealer({
    privateKey: keys.a,
    peerPublicKeys,
    node: "a",
    bootId: new Uint8Array(16).fill(0xa1),
  });
  const recording = start("b", 0xb0, keys.b).seal(body("old"));
  const b = start("b", 0xb1, keys.bNext);
  converse(a, b, 40);
  let proven = 0;
  for (let turn = 0; turn < 110; turn++) {
    a.open(recording);
    if (verdict(b.open(a.seal(body("a")))).startsWith("proven")) proven++;
    assert.equal(verdict(a.open(b.seal(body("b")))), "proven: b");
  }
  assert.ok(proven >= 100, `${proven} of 110`);
  // The recording stops: its boot is forgotten, and every datagram is the established peer's again.
  for (let turn = 0; turn < 600; turn++) b.open(a.seal(body("a")));
  for (let turn = 0; turn < 22; turn++) assert.equal(verdict(b.open(a.seal(body("a")))), "proven: a");
});

test("whatever is withheld, repeated and reordered, nothing counts twice and no dead boot is believed", () => {
  // Model: every datagram ever sent is in the attacker's hands; what is proven must be of the peer's living
  // boot or of one that died without a proven successor, must name our living boot, and must be new.
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("send" as const), from: fc.constantFrom("a", "b") }),
    },
    { weight: 8, arbitrary: fc.record({ do: fc.constant("deliver" as const), pick: fc.nat() }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant("boot" as const), node: fc.constantFrom("a", "b") }),
    },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150, size: "max" }), (steps) => {
      let boots = 1;
      const life = { a: 1, b: 1 };
      const nodes = { a: start("a", 1), b: start("b", 2) };
      const successor = { a: 0, b: 0 };
      const sent: { from: NodeId; life: number; datagram: Uint8Array; counted: Set<number> }[] = [];
      for (const each of steps) {
        if (each.do === "send") {
          const from = each.from as NodeId;
          sent.push({ from, life: life[from], datagram: nodes[from].seal(body("x")), counted: new Set() });
        } else if (each.do === "boot") {
          const node = each.node as NodeId;
          boots++;
          life[node] = boots;
          nodes[node] = start(node, 10 + boots);
          successor[node] = 0;
        } else if (sent.length > 0) {
          const message = sent[each.pick % sent.length];
          assert.ok(message);
          const to = message.from === "a" ? "b" : "a";
          const result = nodes[to].open(message.datagram);
          if (!result.ok || !result.proven) continue;
          assert.ok(!message.counted.has(life[to]), "counted twice in one life");
          message.counted.add(life[to]);
          assert.ok(message.life >= successor[to], "a dead boot was believed after its successor");
          successor[to] = message.life;
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("a peer's key that is none, or our own, is an error that names it", () => {
  const make = (key: string) => () =>
    createSealer({
      privateKey: keys.a,
      peerPublicKeys: [key],
      node: "a",
      bootId: new Uint8Array(16).fill(1),
    });
  assert.throws(make("ed25519:AAAA"), { code: "PEER_KEY_MALFORMED" });
  // y = 1: the neutral element, with which everybody agrees on the same "secret".
  assert.throws(make(`ed25519:${Buffer.from([1, ...new Uint8Array(31)]).toString("base64")}`), {
    code: "PEER_KEY_MALFORMED",
  });
  assert.throws(make(publicOf(keys.a)), { code: "PEER_KEY_IS_OURS" });
});

test("two random keys agree", () => {
  const pair = { a: generateKeyPairSync("ed25519").privateKey, b: generateKeyPairSync("ed25519").privateKey };
  const sealer = (node: NodeId, peer: NodeId) =>
    createSealer({
      privateKey: pair[node],
      peerPublicKeys: [publicOf(pair[peer])],
      node,
      bootId: new Uint8Array(16).fill(node === "a" ? 1 : 2),
    });
  const [a, b] = [sealer("a", "b"), sealer("b", "a")];
  meet(a, b);
  assert.equal(verdict(a.open(b.seal(body("agreed")))), "proven: agreed");
});

test("golden: the datagrams of docs/protocol.md §3", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  const first = a.seal(body("understudy"));
  assertGolden("datagram-first", first);
  b.open(first);
  const second = b.seal(body("standby"));
  assertGolden("datagram-second", second);
  a.open(second);
  const third = a.seal(body("active"));
  assertGolden("datagram-third", third);
  assert.equal(verdict(b.open(third)), "proven: active");
});

test("keys are changed under way: what was proven under one that stays goes on, under one that goes it ends", () => {
  const a = start("a", 0xa1);
  const b = start("b", 0xb1);
  meet(a, b);
  a.trust([...listed.b, publicOf(keys.bNext)]);
  assert.equal(verdict(a.open(b.seal(body("still")))), "proven: still");
  const next = start("b", 0xb2, keys.bNext);
  // Every eleventh datagram is sealed for another key than the established one.
  for (let turn = 0; turn < 8; turn++) meet(a, next);
  assert.equal(verdict(a.open(next.seal(body("next")))), "proven: next");
  a.trust([publicOf(keys.bNext)]);
  assert.equal(verdict(a.open(next.seal(body("alone")))), "proven: alone");
  assert.equal(verdict(a.open(start("b", 0xb3).seal(body("former")))), "unauthenticated");
  assert.throws(() => a.trust(["ed25519:nonsense"]), { code: "PEER_KEY_MALFORMED" });
  assert.equal(verdict(a.open(next.seal(body("as before")))), "proven: as before");
  a.trust(listed.b);
  assert.equal(verdict(a.open(next.seal(body("gone")))), "unauthenticated");
  const again = start("b", 0xb4);
  for (let turn = 0; turn < 8; turn++) meet(a, again);
  assert.equal(verdict(a.open(again.seal(body("back")))), "proven: back");
});
