// Sealed datagrams: who sent a heartbeat, that nobody changed it, and that it is of now (docs/protocol.md §3).
// Used in heart's loop: synchronous, without sockets and without a clock. No state here outlives a start of
// heart, and none is needed: freshness is proved against our own random boot id, never against a stored number.
//
// What an attacker has: everything that was ever sent, by any boot of both nodes, and the power to withhold,
// repeat and reorder it. What that may do: nothing, but for one thing that costs nothing (a candidate, below).
// - Each datagram names the boot of the receiver that its sender has heard, and the number of the last datagram
//   of that boot that named the sender's. It is FRESH only if it names our current boot and such a number: its
//   sender has heard us, in this life of ours, answering to it, in this life of its own.
// - An authentic one that does not makes its sender's boot the *candidate*: we name it in our next datagrams,
//   and if it is alive it proves itself with one of its next. Nothing else follows from it.
// - A proven boot takes the place of the established one only with a number later than any proved before. A
//   dead boot's withheld datagrams cannot: whatever named it was sent in its lifetime, and what named its
//   successor was sent after that. No list of the dead is kept, and none is needed.
// - Of the established boot each number counts once (replayWindow.ts).
// Nothing here ever answers anything: no error is sent, refusals are counted by reason.

import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { assert } from "../base/assert.ts";
import { BoundaryError } from "../base/errors.ts";
import { KEYS_PER_NODE_MAX, PATHS_MAX } from "../base/limits.ts";
import { type NodeId, peerOf } from "../base/units.ts";
import { equalBytes } from "../wire/codec.ts";
import {
  BOOT_ID_BYTES,
  type DatagramParts,
  type DatagramRefusal,
  decodeInner,
  type Echo,
  encodeHead,
  encodeInner,
  NO_BOOT,
  NO_ECHO,
  nonceOf,
  splitDatagram,
  TAG_BYTES,
} from "../wire/datagram.ts";
import { agreementKeyObject, agreementPrivateKey, agreementPublicKey } from "./curve.ts";
import { fingerprintOf, parsePublicKey, rawPublicKey } from "./identity.ts";
import { ReplayWindow } from "./replayWindow.ts";

const CIPHER = "chacha20-poly1305";
const KEY_BYTES = 32;
/**
 * While a candidate uses another key than the established peer (rotation), every this-many-th datagram is
 * sealed for the candidate's. A prime above the number of paths, so that no path carries all of them.
 */
const CANDIDATE_KEY_EVERY = 11;
/** A candidate that sent nothing authentic while we sent this many is forgotten (a clock would be no better). */
const CANDIDATE_KEPT = 512;
assert(CANDIDATE_KEY_EVERY > PATHS_MAX, "no path carries only the candidate's datagrams");

/**
 * Why a datagram was refused. `unauthenticated`: sealed with no key that we know, or changed on its way.
 * `reflected`: our own. `replayed`: authentic, of the established boot, and seen before or too old to tell.
 * `stale-boot`: authentic and it names our boot, but of a sender's boot that was succeeded by another.
 */
export type OpenRefusal = DatagramRefusal | "reflected" | "unauthenticated" | "replayed" | "stale-boot";

export type OpenResult =
  | {
      readonly ok: true;
      /** Owned by the receiver of this. */
      readonly body: Uint8Array;
      /** Fresh. Where false, `body` is authentic but may be a recording of any age: decide nothing by it. */
      readonly proven: boolean;
      /** Counts the boots of the peer that were established, this one included; 0 where not proven. */
      readonly boot: number;
    }
  | { readonly ok: false; readonly reason: OpenRefusal };

export interface SealerOptions {
  /** Our Ed25519 key. */
  readonly privateKey: KeyObject;
  /** The peer's, as the configuration lists them: `ed25519:...`, one or two. */
  readonly peerPublicKeys: readonly string[];
  /** Which node we are. */
  readonly node: NodeId;
  /** 16 random bytes, new at each start of heart. */
  readonly bootId: Uint8Array;
}

export interface SealerCounters {
  sealed: number;
  /** Opened and fresh. */
  proven: number;
  /** Opened, authentic, not fresh. */
  unproven: number;
  /** Boots of the peer that were established. */
  boots: number;
  readonly refused: Record<OpenRefusal, number>;
}

export interface Sealer {
  /** The datagram around `body` (at most BODY_BYTES_MAX bytes). Each call has a number of its own: one call a path. */
  seal(body: Uint8Array): Uint8Array;
  /** Judges any bytes whatsoever; never throws. */
  open(datagram: Uint8Array): OpenResult;
  /**
   * From now on these are the peer's keys (`ed25519:...`, one or two). What was proven under one that stays goes on; a boot
   * under one that does not is forgotten. Throws as `createSealer` does, and changes nothing then.
   */
  trust(peerPublicKeys: readonly string[]): void;
  readonly counters: Readonly<SealerCounters>;
}

/** One of the peer's keys with what is derived from it and ours. */
interface Agreement {
  readonly peerPublicKey: string;
  readonly secret: KeyObject;
  /** Bound into every key that is derived: both public keys and the direction. */
  readonly infoOut: Buffer;
  readonly infoIn: Buffer;
  /** Our sending key under this agreement: of our boot, hence one for all of our life. */
  readonly sealKey: KeyObject;
}

/** A boot of the peer that sent something authentic. */
interface PeerBoot {
  readonly bootId: Uint8Array;
  readonly agreement: Agreement;
  readonly openKey: KeyObject;
  /** Highest number of an authentic datagram of it that named our boot; 0 where none did yet. */
  named: number;
}

/**
 * The state of sealing and opening for one start of heart. Raises BoundaryError `PEER_KEY_MALFORMED` for a
 * peer's key that is none, `PEER_KEY_IS_OURS` where the peer is listed with our own key.
 */
export function createSealer(options: SealerOptions): Sealer {
  return new SealerState(options);
}

class SealerState implements Sealer {
  readonly #bootId: Uint8Array;
  readonly #options: SealerOptions;
  #agreements: readonly Agreement[];
  #sequence = 0;
  #established: PeerBoot | null = null;
  #candidate: PeerBoot | null = null;
  /** Our number when the candidate was last heard. */
  #candidateHeardAt = 0;
  #window = new ReplayWindow();
  /** Latest number of ours that a proven datagram has echoed. */
  #provenEcho = 0;

  readonly counters: SealerCounters = {
    sealed: 0,
    proven: 0,
    unproven: 0,
    boots: 0,
    refused: {
      length: 0,
      magic: 0,
      version: 0,
      kind: 0,
      reserved: 0,
      malformed: 0,
      reflected: 0,
      unauthenticated: 0,
      replayed: 0,
      "stale-boot": 0,
    },
  };

  constructor(options: SealerOptions) {
    const { bootId, peerPublicKeys } = options;
    assert(
      bootId.length === BOOT_ID_BYTES && !equalBytes(bootId, NO_BOOT),
      "a boot id is 16 bytes, not all zero",
    );
    assert(
      peerPublicKeys.length >= 1 && peerPublicKeys.length <= KEYS_PER_NODE_MAX,
      "the peer has one or two keys",
    );
    this.#options = options;
    this.#bootId = bootId.slice();
    this.#agreements = peerPublicKeys.map((key) => agree(options, key));
  }

  trust(peerPublicKeys: readonly string[]): void {
    assert(
      peerPublicKeys.length >= 1 && peerPublicKeys.length <= KEYS_PER_NODE_MAX,
      "the peer has one or two keys",
    );
    this.#agreements = peerPublicKeys.map(
      (key) => this.#agreements.find((known) => known.peerPublicKey === key) ?? agree(this.#options, key),
    );
    const isTrusted = (boot: PeerBoot | null): boolean =>
      boot === null || this.#agreements.includes(boot.agreement);
    if (!isTrusted(this.#established)) this.#established = null;
    if (!isTrusted(this.#candidate)) this.#candidate = null;
  }

  seal(body: Uint8Array): Uint8Array {
    this.#sequence++;
    if (this.#sequence - this.#candidateHeardAt > CANDIDATE_KEPT) this.#candidate = null;
    const head = encodeHead(this.#bootId, this.#sequence);
    const proof = { established: echoOf(this.#established), candidate: echoOf(this.#candidate) };
    const inner = encodeInner(proof, body);
    const cipher = createCipheriv(CIPHER, this.#sealKey(), nonceOf(this.#sequence), {
      authTagLength: TAG_BYTES,
    });
    cipher.setAAD(head, { plaintextLength: inner.length });
    const sealed = cipher.update(inner);
    cipher.final();
    const datagram = new Uint8Array(head.length + sealed.length + TAG_BYTES);
    datagram.set(head);
    datagram.set(sealed, head.length);
    datagram.set(cipher.getAuthTag(), head.length + sealed.length);
    this.counters.sealed++;
    return datagram;
  }

  open(datagram: Uint8Array): OpenResult {
    const result = this.#judge(datagram);
    if (!result.ok) this.counters.refused[result.reason]++;
    else if (result.proven) this.counters.proven++;
    else this.counters.unproven++;
    return result;
  }

  #judge(datagram: Uint8Array): OpenResult {
    const split = splitDatagram(datagram);
    if (!split.ok) return split;
    const { parts } = split;
    if (equalBytes(parts.bootId, this.#bootId)) return { ok: false, reason: "reflected" };
    const opened = this.#authenticate(parts);
    if (opened === null) return { ok: false, reason: "unauthenticated" };
    const { boot } = opened;
    const inner = decodeInner(opened.inner);
    if (inner === null) return { ok: false, reason: "malformed" };
    const { established, candidate } = inner.proof;
    const namesUs = [established, candidate].filter((each) => equalBytes(each.bootId, this.#bootId));
    const echoed = Math.max(0, ...namesUs.map((each) => each.sequence));
    // Only a defect of the peer's could echo what was not sent yet; believed, it would keep every successor out.
    if (echoed > this.#sequence) return { ok: false, reason: "malformed" };
    const { body } = inner;
    if (boot === this.#established) {
      if (!this.#window.accept(parts.sequence)) return { ok: false, reason: "replayed" };
      if (namesUs.length > 0) boot.named = Math.max(boot.named, parts.sequence);
      // Sent before it had heard us, and withheld or overtaken since.
      if (echoed === 0) return { ok: true, body, proven: false, boot: 0 };
      this.#provenEcho = Math.max(this.#provenEcho, echoed);
      return { ok: true, body, proven: true, boot: this.counters.boots };
    }
    if (echoed > this.#provenEcho) {
      this.#establish(boot, parts.sequence, echoed);
      return { ok: true, body, proven: true, boot: this.counters.boots };
    }
    if (echoed > 0) return { ok: false, reason: "stale-boot" };
    if (namesUs.length > 0) boot.named = Math.max(boot.named, parts.sequence);
    this.#nominate(boot);
    return { ok: true, body, proven: false, boot: 0 };
  }

  #establish(boot: PeerBoot, sequence: number, echoed: number): void {
    this.#established = boot;
    boot.named = Math.max(boot.named, sequence);
    this.#window = new ReplayWindow();
    this.#window.accept(sequence);
    this.#provenEcho = echoed;
    if (this.#candidate !== null && equalBytes(this.#candidate.bootId, boot.bootId)) this.#candidate = null;
    this.counters.boots++;
  }

  /**
   * The latest is the candidate, but none that does not name us displaces one that does: the recordings of
   * earlier lives of ours cannot, and it takes one moment without them for a living peer to be named for good.
   */
  #nominate(boot: PeerBoot): void {
    if (boot.named === 0 && this.#candidate !== null && this.#candidate.named > 0) return;
    this.#candidate = boot;
    this.#candidateHeardAt = this.#sequence;
  }

  /** The boot that sealed it and what it sealed; null where no key of the peer's opens it. */
  #authenticate(parts: DatagramParts): { readonly boot: PeerBoot; readonly inner: Uint8Array } | null {
    for (const boot of [this.#established, this.#candidate]) {
      if (boot === null || !equalBytes(boot.bootId, parts.bootId)) continue;
      const inner = decipher(boot.openKey, parts);
      // A boot id is random: it belongs to the one key with which it was first authenticated.
      return inner === null ? null : { boot, inner };
    }
    for (const agreement of this.#agreements) {
      const openKey = deriveKey(agreement.secret, parts.bootId, agreement.infoIn);
      const inner = decipher(openKey, parts);
      if (inner === null) continue;
      return { boot: { bootId: parts.bootId.slice(), agreement, openKey, named: 0 }, inner };
    }
    return null;
  }

  /**
   * For which of the peer's keys to seal: it holds one of the two, and which one shows in what it sends. As
   * long as it was never heard, both in turn, over all paths.
   */
  #sealKey(): KeyObject {
    const established = this.#established?.agreement;
    const candidate = this.#candidate?.agreement;
    const candidatesTurn = this.#sequence % CANDIDATE_KEY_EVERY === 0;
    if (established !== undefined) return (candidatesTurn && candidate ? candidate : established).sealKey;
    const inTurn = this.#agreements[Math.floor(this.#sequence / PATHS_MAX) % this.#agreements.length];
    assert(inTurn !== undefined, "the peer has a key");
    return (candidatesTurn ? inTurn : (candidate ?? inTurn)).sealKey;
  }
}

function agree(options: SealerOptions, peerPublicKey: string): Agreement {
  const ours = rawPublicKey(options.privateKey);
  const theirs = parsePublicKey(peerPublicKey);
  const agreementKey = theirs === null ? null : agreementPublicKey(theirs);
  const operation = `agree on a key with the peer's ${peerPublicKey}`;
  if (theirs === null || agreementKey === null) {
    const advice = "list the line that `understudy keygen` printed on the peer";
    throw new BoundaryError({ operation, code: "PEER_KEY_MALFORMED", advice });
  }
  if (equalBytes(ours, theirs)) {
    const words = `${fingerprintOf(ours)} is this node's own key`;
    const advice = "each node has a key of its own; run `understudy keygen` on the other one";
    throw new BoundaryError({ operation, code: "PEER_KEY_IS_OURS", words, advice });
  }
  const secret = createSecretKey(
    diffieHellman({
      privateKey: agreementPrivateKey(seedOf(options.privateKey)),
      publicKey: agreementKeyObject(agreementKey),
    }),
  );
  const infoOut = infoFor(options.node, ours, theirs);
  const infoIn = infoFor(peerOf(options.node), theirs, ours);
  const sealKey = deriveKey(secret, options.bootId, infoOut);
  return { peerPublicKey, secret, infoOut, infoIn, sealKey };
}

/** RFC 8410 §7: the 32 bytes of the seed end the PKCS #8 structure. */
export function seedOf(privateKey: KeyObject): Uint8Array {
  return privateKey.export({ format: "der", type: "pkcs8" }).subarray(-KEY_BYTES);
}

/** What a key is for: this protocol, this direction, and this pair of keys in this order. */
export function infoFor(sender: NodeId, senderKey: Uint8Array, receiverKey: Uint8Array): Buffer {
  const label = Buffer.from(`understudy datagram 1 ${sender}>${peerOf(sender)} `, "latin1");
  return Buffer.concat([label, senderKey, receiverKey]);
}

/** The key of one boot of one sender (RFC 5869): a new one each start, so that numbers may begin at 1 again. */
export function deriveKey(secret: KeyObject, bootId: Uint8Array, info: Buffer): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync("sha256", secret, bootId, info, KEY_BYTES)));
}

/** What a datagram's sender sealed, proof and body; null where it does not open with `key`. */
export function decipher(key: KeyObject, parts: DatagramParts): Uint8Array | null {
  const decipher = createDecipheriv(CIPHER, key, nonceOf(parts.sequence), { authTagLength: TAG_BYTES });
  decipher.setAAD(parts.head, { plaintextLength: parts.sealed.length });
  decipher.setAuthTag(parts.tag);
  const inner = decipher.update(parts.sealed);
  try {
    decipher.final();
  } catch {
    // The only way in which `node:crypto` says that the tag does not fit.
    return null;
  }
  return inner;
}

function echoOf(boot: PeerBoot | null): Echo {
  return boot === null ? NO_ECHO : { bootId: boot.bootId, sequence: boot.named };
}
