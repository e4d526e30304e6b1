// Key files and what follows from a key: its public line, its fingerprint, its certificate, its key of agreement.

import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import {
  fingerprintOf,
  identityOf,
  keygen,
  loadIdentity,
  parsePublicKey,
  rawPublicKey,
} from "../../src/peer/identity.ts";
import { assertGolden } from "../golden/golden.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-identity-"));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
const newFile = (): string => join(directory, `${files++}.key`);

function write(content: string, mode = 0o600): string {
  const file = newFile();
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

const pkcs8 = { type: "pkcs8", format: "pem" } as const;
const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof BoundaryError, String(error));
  assert.equal(error.code, expected);
  return true;
};

test("keygen writes a key that only its owner reads, and the same identity is read back", () => {
  const file = newFile();
  const made = keygen(file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.match(made.publicKey, /^ed25519:[A-Za-z0-9+/]{43}=$/);
  assert.match(made.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
  const loaded = loadIdentity(file);
  assert.equal(loaded.publicKey, made.publicKey);
  assert.equal(loaded.fingerprint, made.fingerprint);
});

test("keygen overwrites nothing: neither a key nor anything else, nor what a symbolic link names", () => {
  const file = write("precious");
  assert.throws(() => keygen(file), code("EEXIST"));
  assert.equal(readFileSync(file, "utf8"), "precious");
  const link = newFile();
  symlinkSync(newFile(), link);
  assert.throws(() => keygen(link), code("EEXIST"));
  assert.throws(() => keygen(join(directory, "missing", "node.key")), code("ENOENT"));
});

test("a key file that others can read is refused, whichever others", () => {
  const pem = generateKeyPairSync("ed25519").privateKey.export(pkcs8).toString();
  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666]) {
    assert.throws(() => loadIdentity(write(pem, mode)), code("KEY_READABLE_BY_OTHERS"), mode.toString(8));
  }
  for (const mode of [0o600, 0o400, 0o700]) assert.ok(loadIdentity(write(pem, mode)));
});

test("a key file that is none is refused with what it is", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export(pkcs8).toString();
  const x25519 = generateKeyPairSync("x25519").privateKey.export(pkcs8).toString();
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const locked = privateKey.export({ ...pkcs8, cipher: "aes-256-cbc", passphrase: "secret" }).toString();
  assert.throws(() => loadIdentity(write(rsa)), code("KEY_NOT_ED25519"));
  assert.throws(() => loadIdentity(write(x25519)), code("KEY_NOT_ED25519"));
  const malformed = ["", "not a key", locked, publicKey.export({ type: "spki", format: "pem" }).toString()];
  for (const content of [...malformed, "x".repeat(5000)]) {
    assert.throws(() => loadIdentity(write(content)), code("KEY_MALFORMED"), content.slice(0, 40));
  }
  assert.throws(() => loadIdentity(newFile()), code("ENOENT"));
  assert.throws(() => loadIdentity(directory), code("KEY_NOT_A_FILE"));
});

test("a public key is 32 bytes in canonical base64 that name a point with which secrets can be kept", () => {
  const { publicKey } = keygen(newFile());
  assert.ok(parsePublicKey(publicKey));
  const point = (raw: Uint8Array) => `ed25519:${Buffer.from(raw).toString("base64")}`;
  const first = (byte: number) => point(Uint8Array.of(byte, ...new Uint8Array(31)));
  const refused = {
    "no prefix": publicKey.slice(8),
    "another algorithm": publicKey.replace("ed25519", "rsa"),
    "a space": `${publicKey} `,
    "no padding": publicKey.replace("=", ""),
    base64url: point(new Uint8Array(32).fill(0xff)).replaceAll("/", "_"),
    "31 bytes": point(new Uint8Array(31).fill(9)),
    "33 bytes": point(new Uint8Array(33).fill(9)),
    "the neutral element": first(1),
    "order 2": point(Uint8Array.of(0xec, ...new Uint8Array(30).fill(0xff), 0x7f)),
    "order 4": first(0),
    "order 8": point(Buffer.from("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "hex")),
    "not canonical (p + 1)": point(Uint8Array.of(0xee, ...new Uint8Array(30).fill(0xff), 0x7f)),
    "no point of the curve": first(2),
  };
  for (const [what, text] of Object.entries(refused)) assert.equal(parsePublicKey(text), null, what);
});

test("the fingerprint is the SHA-256 of the 32 bytes, as sha256sum and base64 say it", () => {
  // printf '\0%.0s' $(seq 32) | openssl dgst -sha256 -binary | base64
  assert.equal(fingerprintOf(new Uint8Array(32)), "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU");
});

/** RFC 8032 §7.1, test 1. */
const rfc8032 = createPrivateKey({
  key: Buffer.from(
    "302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "hex",
  ),
  format: "der",
  type: "pkcs8",
});

test("the certificate names the key, is signed by it, and spans all of time", () => {
  const identity = identityOf(rfc8032);
  assert.equal(
    Buffer.from(rawPublicKey(rfc8032)).toString("hex"),
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
  );
  const certificate = new X509Certificate(identity.tls.cert);
  assert.ok(certificate.verify(createPublicKey(rfc8032)));
  assert.ok(certificate.checkPrivateKey(rfc8032));
  // Node shows the `+` of base64 escaped, as RFC 2253 has it.
  assert.equal(certificate.subject.replaceAll("\\", ""), `CN=understudy ${identity.fingerprint}`);
  assert.equal(certificate.issuer, certificate.subject);
  assert.equal(certificate.validFrom, "Jan  1 00:00:00 1970 GMT");
  assert.equal(certificate.validTo, "Dec 31 23:59:59 9999 GMT");
  assertGolden("certificate", certificate.raw);
});

test("the same key gives the same certificate; another key another serial", () => {
  assert.equal(identityOf(rfc8032).tls.cert, identityOf(rfc8032).tls.cert);
  const other = new X509Certificate(
    loadIdentity(write(generateKeyPairSync("ed25519").privateKey.export(pkcs8).toString())).tls.cert,
  );
  assert.notEqual(other.serialNumber, new X509Certificate(identityOf(rfc8032).tls.cert).serialNumber);
});
