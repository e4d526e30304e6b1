// A captured TLS 1.3 connection, opened with its secrets: records of both directions in, what the programs said to each other
// out. It follows the handshake only as far as it must to know which keys are in force; it checks no signature and no
// certificate, for it judges nobody: an authenticated record proves that the secrets are the connection's.
//
// Sources: RFC 8446 §4 (messages), §5 (records), §7.1-7.3 (keys); RFC 5869 §2.3 (HKDF-Expand).

import { type CipherGCMTypes, createDecipheriv, createHmac } from "node:crypto";
import type { KeyLog } from "./keyLog.ts";

export type Side = "client" | "server";

export type CaptureEvent =
  | { readonly kind: "data"; readonly side: Side; readonly bytes: Uint8Array }
  /** A side has said that it ends the connection, in order or with an alert. */
  | { readonly kind: "alert"; readonly side: Side; readonly words: string }
  /** The connection cannot be followed any further: why, and where in that side's stream of TLS. */
  | { readonly kind: "lost"; readonly side: Side; readonly reason: string; readonly offset: number };

interface Suite {
  readonly name: string;
  readonly cipher: CipherGCMTypes | "chacha20-poly1305";
  readonly hash: "sha256" | "sha384";
  readonly keyBytes: number;
}
/** RFC 8446 §B.4. */
const SUITES: Readonly<Record<number, Suite>> = {
  4865: { name: "AES-128-GCM", cipher: "aes-128-gcm", hash: "sha256", keyBytes: 16 },
  4866: { name: "AES-256-GCM", cipher: "aes-256-gcm", hash: "sha384", keyBytes: 32 },
  4867: { name: "ChaCha20-Poly1305", cipher: "chacha20-poly1305", hash: "sha256", keyBytes: 32 },
};

const RECORD_HEAD_BYTES = 5;
/** RFC 8446 §5.2. */
const RECORD_BYTES_MAX = 16_384 + 256;
const TAG_BYTES = 16;
const IV_BYTES = 12;
const ContentType = { ChangeCipherSpec: 20, Alert: 21, Handshake: 22, Application: 23 } as const;
const HandshakeType = { ClientHello: 1, ServerHello: 2, Finished: 20, KeyUpdate: 24 } as const;
const HANDSHAKE_BYTES_MAX = 1 << 18;
const CLOSE_NOTIFY = 0;
/** RFC 8446 §4.1.3: a ServerHello with this random asks for another ClientHello. */
const RETRY_RANDOM = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";

interface Keys {
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  /** Records opened with them: the nonce. */
  records: number;
}

/** What is known of one side: bytes that are no whole record yet, messages that are no whole one yet, keys in force. */
interface Flow {
  buffer: Uint8Array;
  offset: number;
  handshake: Uint8Array;
  secret: Uint8Array | null;
  keys: Keys | null;
  isLost: boolean;
}

const newFlow = (): Flow => ({
  buffer: new Uint8Array(0),
  offset: 0,
  handshake: new Uint8Array(0),
  secret: null,
  keys: null,
  isLost: false,
});

export class TlsCapture {
  readonly #keyLog: KeyLog;
  readonly #flows: Readonly<Record<Side, Flow>> = { client: newFlow(), server: newFlow() };
  #random: string | null = null;
  #suite: Suite | null = null;
  #events: CaptureEvent[] = [];

  constructor(keyLog: KeyLog) {
    this.#keyLog = keyLog;
  }

  /** Takes the next bytes of one side's stream, and gives out what follows from them. */
  push(side: Side, bytes: Uint8Array): readonly CaptureEvent[] {
    const flow = this.#flows[side];
    if (flow.isLost) return [];
    flow.buffer = joined(flow.buffer, bytes);
    // What one side says can make readable what the other has said before.
    this.#pump(side);
    this.#pump(side === "client" ? "server" : "client");
    return this.#events.splice(0);
  }

  #pump(side: Side): void {
    const flow = this.#flows[side];
    while (!flow.isLost && flow.buffer.length >= RECORD_HEAD_BYTES) {
      const type = flow.buffer[0]!;
      const length = (flow.buffer[3]! << 8) | flow.buffer[4]!;
      if (type < ContentType.ChangeCipherSpec || type > ContentType.Application || flow.buffer[1] !== 3) {
        this.#lose(side, "this is no TLS record");
        return;
      }
      if (length > RECORD_BYTES_MAX) {
        this.#lose(side, `a TLS record of ${length} bytes`);
        return;
      }
      const end = RECORD_HEAD_BYTES + length;
      if (flow.buffer.length < end) return;
      if (type === ContentType.Application && !this.#hasKeys(side)) return;
      const record = flow.buffer.subarray(0, end);
      this.#onRecord(side, type, record);
      flow.buffer = flow.buffer.subarray(end);
      flow.offset += end;
    }
  }

  /** False: they follow from what the other side has not said yet, or they are not known at all (then it is lost). */
  #hasKeys(side: Side): boolean {
    const flow = this.#flows[side];
    if (flow.keys !== null) return true;
    if (this.#random === null) {
      this.#lose(side, "the capture begins after the connection did: nothing says which keys are its own");
      return false;
    }
    if (this.#suite === null) return false;
    const secrets = this.#keyLog.get(this.#random);
    if (secrets === undefined) {
      this.#lose(side, `no keys for the connection whose client random is ${this.#random}`);
      return false;
    }
    this.#use(side, side === "client" ? secrets.clientHandshake : secrets.serverHandshake);
    return true;
  }

  #use(side: Side, secret: Uint8Array): void {
    const suite = this.#suite!;
    const flow = this.#flows[side];
    flow.secret = secret;
    flow.keys = {
      key: expandLabel(suite, secret, "key", suite.keyBytes),
      iv: expandLabel(suite, secret, "iv", IV_BYTES),
      records: 0,
    };
  }

  #onRecord(side: Side, type: number, record: Uint8Array): void {
    const flow = this.#flows[side];
    const body = record.subarray(RECORD_HEAD_BYTES);
    // RFC 8446 §5: sent for old middleboxes' sake, and means nothing.
    if (type === ContentType.ChangeCipherSpec) return;
    if (type !== ContentType.Application) {
      this.#onContent(side, type, body);
      return;
    }
    const inner = decipher(this.#suite!, flow.keys!, record);
    if (inner === null) {
      this.#lose(side, `record ${flow.keys!.records} does not open with the keys given`);
      return;
    }
    flow.keys!.records += 1;
    // RFC 8446 §5.4: zeros, and before them the type.
    let end = inner.length;
    while (end > 0 && inner[end - 1] === 0) end -= 1;
    if (end === 0) this.#lose(side, "a record without a content");
    else this.#onContent(side, inner[end - 1]!, inner.subarray(0, end - 1));
  }

  #onContent(side: Side, type: number, content: Uint8Array): void {
    if (type === ContentType.Application) this.#events.push({ kind: "data", side, bytes: content });
    else if (type === ContentType.Handshake) this.#onHandshake(side, content);
    else if (type === ContentType.Alert) {
      const words =
        content[1] === CLOSE_NOTIFY ? "close notify" : `alert ${content[1] ?? "without a number"}`;
      this.#events.push({ kind: "alert", side, words });
    } else this.#lose(side, `a record of type ${type} inside`);
  }

  /** Messages may span records, and one record may hold several. */
  #onHandshake(side: Side, bytes: Uint8Array): void {
    const flow = this.#flows[side];
    flow.handshake = joined(flow.handshake, bytes);
    while (!flow.isLost && flow.handshake.length >= 4) {
      const [type, high, middle, low] = flow.handshake as unknown as [number, number, number, number];
      const length = (high << 16) | (middle << 8) | low;
      if (length > HANDSHAKE_BYTES_MAX) {
        this.#lose(side, `a handshake message of ${length} bytes`);
        return;
      }
      if (flow.handshake.length < 4 + length) return;
      const body = flow.handshake.subarray(4, 4 + length);
      flow.handshake = flow.handshake.subarray(4 + length);
      this.#onMessage(side, type, body);
    }
  }

  #onMessage(side: Side, type: number, body: Uint8Array): void {
    if (type === HandshakeType.ClientHello && side === "client") this.#random = hex(body.subarray(2, 34));
    else if (type === HandshakeType.ServerHello && side === "server") this.#onServerHello(body);
    else if (type === HandshakeType.Finished && this.#random !== null) {
      const secrets = this.#keyLog.get(this.#random);
      if (secrets !== undefined)
        this.#use(side, side === "client" ? secrets.clientTraffic : secrets.serverTraffic);
    } else if (type === HandshakeType.KeyUpdate) {
      const flow = this.#flows[side];
      if (flow.secret === null || this.#suite === null) {
        this.#lose(side, "a key update without keys");
        return;
      }
      this.#use(side, expandLabel(this.#suite, flow.secret, "traffic upd", flow.secret.length));
    }
  }

  #onServerHello(body: Uint8Array): void {
    if (hex(body.subarray(2, 34)) === RETRY_RANDOM) return;
    const suiteAt = 35 + (body[34] ?? 0);
    const number = ((body[suiteAt] ?? 0) << 8) | (body[suiteAt + 1] ?? 0);
    this.#suite = SUITES[number] ?? null;
    if (this.#suite === null)
      this.#lose("server", `cipher suite 0x${number.toString(16)} is none of TLS 1.3's`);
  }

  #lose(side: Side, reason: string): void {
    const flow = this.#flows[side];
    flow.isLost = true;
    this.#events.push({ kind: "lost", side, reason, offset: flow.offset });
    flow.buffer = new Uint8Array(0);
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  if (one.length === 0) return other;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/** RFC 8446 §7.1: HKDF-Expand-Label with an empty context, for what one block of the hash is enough for. */
export function expandLabel(
  { hash }: Pick<Suite, "hash">,
  secret: Uint8Array,
  label: string,
  length: number,
): Uint8Array {
  const name = Buffer.from(`tls13 ${label}`, "latin1");
  const info = Buffer.concat([
    Buffer.from([length >> 8, length & 0xff, name.length]),
    name,
    Buffer.from([0]),
  ]);
  const block = createHmac(hash, secret).update(info).update(Uint8Array.of(1)).digest();
  return new Uint8Array(block.subarray(0, length));
}

/** What the record holds, its type still at its end; null where it does not open. */
function decipher(suite: Suite, keys: Keys, record: Uint8Array): Uint8Array | null {
  const sealed = record.subarray(RECORD_HEAD_BYTES);
  if (sealed.length < TAG_BYTES) return null;
  const nonce = keys.iv.slice();
  // RFC 8446 §5.3: the number of the record, 64 bits, into the last bytes of the iv. 2^53 records are never reached.
  let rest = keys.records;
  for (let at = IV_BYTES - 1; rest > 0; at -= 1) {
    nonce[at]! ^= rest % 256;
    rest = Math.floor(rest / 256);
  }
  const text = sealed.subarray(0, sealed.length - TAG_BYTES);
  // The types of the two families of ciphers differ; their calls do not.
  const opener = createDecipheriv(suite.cipher as CipherGCMTypes, keys.key, nonce, {
    authTagLength: TAG_BYTES,
  });
  opener.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  opener.setAAD(record.subarray(0, RECORD_HEAD_BYTES), { plaintextLength: text.length });
  const opened = opener.update(text);
  try {
    opener.final();
  } catch {
    return null;
  }
  return new Uint8Array(opened.buffer, opened.byteOffset, opened.length);
}
