// Ed25519 keys as X25519 keys: against known values, and each half against the other through OpenSSL.

import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { agreementKeyObject, agreementPrivateKey, agreementPublicKey } from "../../src/peer/curve.ts";
import { rawPublicKey } from "../../src/peer/identity.ts";

const hex = (raw: Uint8Array | null): string => Buffer.from(raw ?? []).toString("hex");
const privateOf = (seed: Uint8Array) =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]),
    format: "der",
    type: "pkcs8",
  });
/** The public half of an X25519 private key, by OpenSSL's own scalar multiplication. */
const publicOf = (seed: Uint8Array): string => hex(rawPublicKey(createPublicKey(agreementPrivateKey(seed))));

test("the published pair: an Ed25519 seed and its X25519 halves", () => {
  const seed = Buffer.from("421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee", "hex");
  const secret = agreementPrivateKey(seed).export({ format: "der", type: "pkcs8" }).subarray(-32);
  // Published clamped (RFC 7748 §5); ours is clamped by X25519 itself.
  const clamped = Buffer.from(secret);
  clamped[0] = (clamped[0] ?? 0) & 248;
  clamped[31] = ((clamped[31] ?? 0) & 127) | 64;
  assert.equal(hex(clamped), "8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166");
  const known = "f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50";
  assert.equal(hex(agreementPublicKey(rawPublicKey(privateOf(seed)))), known);
  assert.equal(publicOf(seed), known);
});

test("RFC 7748 §4.1: the base point of one curve is that of the other, u = 9", () => {
  const base = Buffer.from(`58${"66".repeat(31)}`, "hex");
  assert.equal(hex(agreementPublicKey(base)), `09${"00".repeat(31)}`);
});

test("for any key, mapping the public half and multiplying the private one give the same point", () => {
  for (let index = 0; index < 64; index++) {
    const seed = Buffer.alloc(32, index * 5 + 1);
    assert.equal(hex(agreementPublicKey(rawPublicKey(privateOf(seed)))), publicOf(seed));
  }
});

test("both sides agree on one secret, and it is nobody else's", () => {
  const sides = ["a", "b", "c"].map(() => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const seed = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
    const point = agreementPublicKey(rawPublicKey(privateKey));
    assert.ok(point);
    return { privateKey: agreementPrivateKey(seed), publicKey: agreementKeyObject(point) };
  });
  const [a, b, c] = sides;
  assert.ok(a && b && c);
  const secret = (one: typeof a, other: typeof a) =>
    hex(diffieHellman({ privateKey: one.privateKey, publicKey: other.publicKey }));
  assert.equal(secret(a, b), secret(b, a));
  assert.notEqual(secret(a, b), secret(c, b));
});
