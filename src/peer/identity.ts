// Who a node is: one Ed25519 key in a file, its public half as the configuration lists it, its fingerprint as
// people read it aloud, and the certificate that TLS wants around it (docs/protocol.md §7). There is no
// authority and no date: a peer is who holds one of the listed keys. A key file that others can read is
// refused, and none is ever overwritten.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { TLSSocket } from "node:tls";
import { BoundaryError } from "../base/errors.ts";
import { KEY_FILE_BYTES_MAX } from "../base/limits.ts";
import { agreementPublicKey } from "./curve.ts";
import { selfSignedCertificate } from "./der.ts";

const KEY_PREFIX = "ed25519:";
const KEY_BYTES = 32;

export interface PublicIdentity {
  /** As the configuration lists it: `ed25519:` and 32 bytes in base64. */
  readonly publicKey: string;
  /** `SHA256:` and 32 bytes in base64 without padding: SHA-256 of the 32 bytes of the key. For reading aloud. */
  readonly fingerprint: string;
}

export interface Identity extends PublicIdentity {
  readonly privateKey: KeyObject;
  /** What `node:tls` takes: `{ key, cert }`, both PEM. */
  readonly tls: { readonly key: string; readonly cert: string };
}

/** `ed25519:...` of 32 raw bytes. */
export function formatPublicKey(raw: Uint8Array): string {
  return KEY_PREFIX + Buffer.from(raw).toString("base64");
}

/**
 * The 32 raw bytes of `ed25519:<base64>`, or null where it is not that: another algorithm, another length,
 * base64 that is not in its one canonical form, or a point with which no secret can be kept.
 */
export function parsePublicKey(text: string): Uint8Array | null {
  if (!text.startsWith(KEY_PREFIX)) return null;
  const raw = Buffer.from(text.slice(KEY_PREFIX.length), "base64");
  if (raw.length !== KEY_BYTES || formatPublicKey(raw) !== text) return null;
  return agreementPublicKey(raw) === null ? null : new Uint8Array(raw);
}

/** `SHA256:...` of 32 raw bytes. */
export function fingerprintOf(raw: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(raw).digest("base64").replace(/=+$/, "")}`;
}

/** The raw public half of an Ed25519 key, private or public. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  const half = key.type === "private" ? createPublicKey(key) : key;
  // RFC 8410 §4: the 32 bytes end the SubjectPublicKeyInfo.
  return new Uint8Array(half.export({ format: "der", type: "spki" }).subarray(-KEY_BYTES));
}

/** Everything that follows from a private key. */
export function identityOf(privateKey: KeyObject): Identity {
  const raw = rawPublicKey(privateKey);
  const publicHalf = createPublicKey(privateKey);
  const serial = createHash("sha256").update(raw).digest().subarray(0, 16);
  // Positive, and in the shortest form that DER wants: a first byte of 64 to 127.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const cert = selfSignedCertificate(
    `understudy ${fingerprintOf(raw)}`,
    publicHalf.export({ format: "der", type: "spki" }),
    serial,
    (message) => sign(null, message, privateKey),
  );
  return {
    privateKey,
    publicKey: formatPublicKey(raw),
    fingerprint: fingerprintOf(raw),
    tls: { key: privateKey.export({ format: "pem", type: "pkcs8" }).toString(), cert },
  };
}

/**
 * Makes a key and writes it to `file` (PEM PKCS #8, mode 0600). Raises BoundaryError `EEXIST` where the file is
 * there already, whatever it holds, and the errno's name for any other refusal; leaves no half-written file.
 */
export function keygen(file: string): PublicIdentity {
  const operation = `write a new key to ${file}`;
  const { privateKey } = generateKeyPairSync("ed25519");
  const advice = {
    EEXIST: `a key that exists is never overwritten: \`understudy keygen --show ${file}\` prints its public half; to make another, move it away first`,
    ENOENT: `make the directory first: mkdir -m 700 ${dirname(file)}`,
  };
  const fd = boundary(operation, advice, () =>
    // O_EXCL: never over a key that is there, and never through a symbolic link.
    openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600),
  );
  try {
    boundary(operation, {}, () => {
      fchmodSync(fd, 0o600);
      writeSync(fd, privateKey.export({ format: "pem", type: "pkcs8" }).toString());
      fsyncSync(fd);
    });
  } catch (error) {
    unlinkSync(file);
    throw error;
  } finally {
    closeSync(fd);
  }
  const raw = rawPublicKey(privateKey);
  return { publicKey: formatPublicKey(raw), fingerprint: fingerprintOf(raw) };
}

/**
 * The identity in `file`. Raises BoundaryError: an errno's name (`ENOENT`, `EACCES`), `KEY_NOT_A_FILE`,
 * `KEY_READABLE_BY_OTHERS`, `KEY_MALFORMED`, `KEY_NOT_ED25519`. Mode and content are read from one open file.
 */
export function loadIdentity(file: string): Identity {
  const operation = `read the key ${file}`;
  const advice = { ENOENT: `make one with: understudy keygen --out ${file}` };
  const pem = boundary(operation, advice, () => {
    // O_NONBLOCK: a pipe in the key's place must not hold up the start.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return readKeyFile(fd, file, operation);
    } finally {
      closeSync(fd);
    }
  });
  return identityOf(parsePrivateKey(pem, operation));
}

function readKeyFile(fd: number, file: string, operation: string): string {
  const { mode, size, uid } = fstatSync(fd);
  if ((mode & constants.S_IFMT) !== constants.S_IFREG) {
    throw new BoundaryError({ operation, code: "KEY_NOT_A_FILE", words: "not a regular file" });
  }
  if ((mode & 0o077) !== 0) {
    throw new BoundaryError({
      operation,
      code: "KEY_READABLE_BY_OTHERS",
      words: `mode ${(mode & 0o777).toString(8).padStart(4, "0")}, 0600 expected`,
      advice: `if nobody can have read it: chmod 600 ${file}; else make another and list that one instead`,
    });
  }
  if (uid !== 0 && uid !== process.geteuid?.()) {
    throw new BoundaryError({
      operation,
      code: "KEY_READABLE_BY_OTHERS",
      words: `it belongs to user ${uid}, who can read it`,
      advice: `chown it to the user that understudy runs as, if nobody can have read it`,
    });
  }
  if (size > KEY_FILE_BYTES_MAX) {
    throw new BoundaryError({ operation, code: "KEY_MALFORMED", words: `${size} bytes are no key file` });
  }
  const raw = Buffer.alloc(KEY_FILE_BYTES_MAX);
  return raw.toString("latin1", 0, readSync(fd, raw, 0, raw.length, 0));
}

function parsePrivateKey(pem: string, operation: string): KeyObject {
  const advice = "expected: a PEM file with an unencrypted Ed25519 key, as `understudy keygen` writes it";
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem" });
  } catch (cause) {
    // OpenSSL's own words say nothing here that a reader could use (`DECODER routines::unsupported`).
    const words = "no private key in PEM";
    throw new BoundaryError({ operation, code: "KEY_MALFORMED", words, advice }, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") {
    const words = `a key of type ${key.asymmetricKeyType}`;
    throw new BoundaryError({ operation, code: "KEY_NOT_ED25519", words, advice });
  }
  return key;
}

/** Runs `work`, and turns an errno of the file system into a BoundaryError, with the advice for that errno. */
function boundary<T>(operation: string, advices: Readonly<Record<string, string>>, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof BoundaryError || !("code" in cause)) throw cause;
    const code = String(cause.code);
    const advice = advices[code];
    // Without the code, the call and the path that Node puts around the system's words.
    const words = /^[A-Z0-9]+: ([^,]+)/.exec(cause.message)?.[1] ?? cause.message;
    throw new BoundaryError(
      { operation, code, words, ...(advice === undefined ? {} : { advice }) },
      { cause },
    );
  }
}

/**
 * The public key that the other end of a TLS 1.3 connection has proved to hold, as `ed25519:...`; null where it
 * sent no certificate or one with another kind of key. To be asked after the handshake (`secureConnect` or
 * `secureConnection`), which checked the signature of it even with `rejectUnauthorized: false`: that switch
 * leaves out names, chains and dates, nothing else.
 */
export function peerKeyOf(socket: TLSSocket): string | null {
  const key = socket.getPeerX509Certificate()?.publicKey;
  return key?.asymmetricKeyType === "ed25519" ? formatPublicKey(rawPublicKey(key)) : null;
}
