// From a signing key to a key of agreement: Ed25519 to X25519 (RFC 7748 §4.1, the birational map between
// edwards25519 and curve25519), so that one key a node is enough for TLS and for datagrams. No secret passes
// through BigInt here: the private half is a hash (RFC 8032 §5.1.5), only public keys are mapped.

import { createHash, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";

const P = 2n ** 255n - 19n;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  let square = ((base % P) + P) % P;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

/** Fermat; 0 for 0. */
const inverse = (value: bigint): bigint => power(value, P - 2n);

function fromLittleEndian(raw: Uint8Array): bigint {
  let value = 0n;
  for (let index = raw.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(raw[index] ?? 0);
  return value;
}

/**
 * The X25519 public key of an Ed25519 one: u = (1 + y) / (1 - y) mod p. Null where the 32 bytes are no point of
 * the curve, not in their canonical form, or one of the eight points of small order, with which anybody can
 * compute the "secret".
 */
export function agreementPublicKey(ed25519: Uint8Array): Uint8Array | null {
  if (ed25519.length !== 32) return null;
  const y = fromLittleEndian(ed25519) & (2n ** 255n - 1n);
  if (y >= P || !isOnCurve(y)) return null;
  const u = ((1n + y) * inverse(P + 1n - y)) % P;
  const raw = new Uint8Array(32);
  for (let index = 0, rest = u; index < 32; index++, rest >>= 8n) raw[index] = Number(rest & 0xffn);
  return SMALL_ORDER.has(u) ? null : raw;
}

/** d of edwards25519: -121665 / 121666 (RFC 8032 §5.1). */
const D = (P - ((121665n * inverse(121666n)) % P)) % P;

/** x^2 = (y^2 - 1) / (d y^2 + 1) must have a root; its denominator is never 0, -1/d not being a square. */
function isOnCurve(y: bigint): boolean {
  const square = (y * y) % P;
  const x2 = ((square + P - 1n) * inverse((D * square + 1n) % P)) % P;
  return x2 === 0n || power(x2, (P - 1n) / 2n) === 1n;
}

/** u of the points of order 1, 2, 4 and 8 on curve25519: 0 stands for the point at infinity too, its y being 1. */
const SMALL_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/** PKCS #8 of a raw X25519 private key (RFC 8410 §7). */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");
/** SubjectPublicKeyInfo of a raw X25519 public key (RFC 8410 §4). */
const SPKI_X25519 = Buffer.from("302a300506032b656e032100", "hex");

/** The X25519 private key of an Ed25519 seed: the first half of its SHA-512; X25519 clamps it itself. */
export function agreementPrivateKey(seed: Uint8Array): KeyObject {
  const scalar = createHash("sha512").update(seed).digest().subarray(0, 32);
  return createPrivateKey({ key: Buffer.concat([PKCS8_X25519, scalar]), format: "der", type: "pkcs8" });
}

/** A key object of 32 raw bytes. */
export function agreementKeyObject(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_X25519, raw]), format: "der", type: "spki" });
}
