// DER, as little of it as one self-signed Ed25519 certificate needs (ITU-T X.690, RFC 5280, RFC 8410). TLS asks
// for a certificate and Node has no writer of any; a library for it brings a forest. Nothing in this
// certificate is believed by the peer but its public key, which it compares with the pinned one: names are for
// people and dates span all of time, because a dead clock must not split a pair. Writes only; reads nothing.

const TAG_INTEGER = 0x02;
const TAG_BIT_STRING = 0x03;
const TAG_OBJECT_ID = 0x06;
const TAG_UTF8_STRING = 0x0c;
const TAG_UTC_TIME = 0x17;
const TAG_GENERALIZED_TIME = 0x18;
const TAG_SEQUENCE = 0x30;
const TAG_SET = 0x31;
const TAG_EXPLICIT_0 = 0xa0;

/** X.690 §8.1.3: up to 127 as it is, above that one byte for how many bytes follow. */
function lengthBytes(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  return length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff);
}

function value(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Buffer.of(tag), lengthBytes(content.length), content]);
}

const sequence = (...contents: readonly Uint8Array[]): Buffer => value(TAG_SEQUENCE, ...contents);
/** No unused bits in the last byte. */
const bitString = (content: Uint8Array): Buffer => value(TAG_BIT_STRING, Buffer.of(0), content);

/** RFC 8410 §3: id-Ed25519, 1.3.101.112, without parameters. */
const ED25519 = sequence(value(TAG_OBJECT_ID, Buffer.of(0x2b, 0x65, 0x70)));
/** RFC 5280 appendix A: id-at-commonName, 2.5.4.3. */
const COMMON_NAME = value(TAG_OBJECT_ID, Buffer.of(0x55, 0x04, 0x03));
/** RFC 5280 §4.1.2.5: years before 2050 as UTCTime; 99991231235959Z for "no end". */
const ALL_OF_TIME = sequence(
  value(TAG_UTC_TIME, Buffer.from("700101000000Z")),
  value(TAG_GENERALIZED_TIME, Buffer.from("99991231235959Z")),
);
const VERSION_3 = value(TAG_EXPLICIT_0, value(TAG_INTEGER, Buffer.of(2)));

/**
 * A self-signed X.509 certificate, in PEM, always the same for the same key.
 * @param spki the public key's SubjectPublicKeyInfo, in DER.
 * @param serial at most 20 bytes, the first 1 to 127: positive, and in its shortest form.
 * @param sign signs with the private key that belongs to `spki` (64 bytes, RFC 8032).
 */
export function selfSignedCertificate(
  commonName: string,
  spki: Uint8Array,
  serial: Uint8Array,
  sign: (message: Uint8Array) => Uint8Array,
): string {
  const name = sequence(
    value(TAG_SET, sequence(COMMON_NAME, value(TAG_UTF8_STRING, Buffer.from(commonName)))),
  );
  const body = sequence(VERSION_3, value(TAG_INTEGER, serial), ED25519, name, ALL_OF_TIME, name, spki);
  const certificate = sequence(body, ED25519, bitString(sign(body)));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
