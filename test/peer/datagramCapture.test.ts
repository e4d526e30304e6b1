// Captured heartbeats, opened with either node's key: both directions, every boot, keys in rotation; and the examples of
// docs/protocol.md §3.4.

import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { DatagramCapture } from "../../src/peer/datagramCapture.ts";
import { identityOf } from "../../src/peer/identity.ts";
import { createSealer } from "../../src/peer/sealed.ts";
import { bytesToHex } from "../../src/wire/codec.ts";
import { golden } from "../golden/golden.ts";
import { newIdentity } from "./loopback.ts";

const [alice, bob, mallory] = [newIdentity(), newIdentity(), newIdentity()];
const sealerOf = (node: "a" | "b", boot: number) =>
  createSealer({
    privateKey: (node === "a" ? alice : bob).privateKey,
    peerPublicKeys: [(node === "a" ? bob : alice).publicKey],
    node,
    bootId: new Uint8Array(16).fill(boot),
  });
const captures = [
  new DatagramCapture(alice.privateKey, [mallory.publicKey, bob.publicKey]),
  new DatagramCapture(bob.privateKey, [alice.publicKey]),
];

test("either key opens both directions, whatever the boot", () => {
  for (const capture of captures) {
    for (const [node, boot] of [
      ["a", 1],
      ["b", 2],
      ["a", 3],
      ["a", 1],
    ] as const) {
      const sealer = sealerOf(node, boot);
      for (const number of [1, 2]) {
        const opened = capture.open(sealer.seal(Uint8Array.of(boot, number)));
        assert.ok(opened.ok, JSON.stringify(opened));
        const { sender, bootId, sequence, body } = opened.datagram;
        assert.deepEqual(
          [sender, bootId, sequence, [...body]],
          [node, bytesToHex(new Uint8Array(16).fill(boot)), number, [boot, number]],
        );
      }
    }
  }
});

test("the examples of the protocol's document", () => {
  // RFC 8410 §7: a key from its seed.
  const keyOf = (seed: number) =>
    identityOf(
      createPrivateKey({
        key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.alloc(32, seed)]),
        format: "der",
        type: "pkcs8",
      }),
    );
  const capture = new DatagramCapture(keyOf(2).privateKey, [keyOf(1).publicKey]);
  const said = ["first", "second", "third"].map((name) => {
    const opened = capture.open(golden(`datagram-${name}`));
    assert.ok(opened.ok);
    const { sender, sequence, proof, body } = opened.datagram;
    return [sender, sequence, proof.candidate.sequence, new TextDecoder().decode(body)];
  });
  assert.deepEqual(said, [
    ["a", 1, 0, "understudy"],
    ["b", 1, 0, "standby"],
    ["a", 2, 1, "active"],
  ]);
});

test("what another key sealed, what was changed, and any bytes stay shut with a reason", () => {
  const datagram = sealerOf("a", 1).seal(Uint8Array.of(1));
  const stranger = new DatagramCapture(mallory.privateKey, [
    alice.publicKey,
    bob.publicKey,
    "ed25519:nonsense",
  ]);
  assert.deepEqual(stranger.open(datagram), { ok: false, reason: "no key that was given opens it" });
  fc.assert(
    fc.property(fc.nat({ max: 400 }), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, by, warm) => {
      const capture = new DatagramCapture(bob.privateKey, [alice.publicKey]);
      if (warm) assert.ok(capture.open(datagram).ok);
      const changed = datagram.slice();
      changed[at % changed.length]! ^= by;
      const opened = capture.open(changed);
      assert.ok(!opened.ok && opened.reason.length > 0);
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (raw) => {
      assert.equal(captures[0]!.open(raw).ok, false);
    }),
  );
});
