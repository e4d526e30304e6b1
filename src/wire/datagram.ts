// The sealed datagram of UDP 1148, as bytes (docs/protocol.md §3): a head in clear that is authenticated with
// the rest, and the proof of freshness that stands before the body inside. Sealing itself, keys and what is
// believed of all this are in peer/sealed.ts. Pure.

import { assert } from "../base/assert.ts";
import { DATAGRAM_BYTES_MAX } from "../base/limits.ts";
import { bytes, decode, encode, equalBytes, type Field, plain, struct, u48, type ValueOf } from "./codec.ts";
import { PREAMBLE_BYTES, PreambleKind, type PreambleRefusal, preamble, readPreamble } from "./preamble.ts";

export const BOOT_ID_BYTES = 16;
/** What a boot id is never: "none" inside a proof. */
export const NO_BOOT: Uint8Array = new Uint8Array(BOOT_ID_BYTES);
export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;

/** In clear, authenticated. */
export const head = struct({
  preamble: bytes(PREAMBLE_BYTES),
  /** Of the sender: random, 16 bytes, new at each start of its heart. */
  bootId: bytes(BOOT_ID_BYTES),
  /** From 1 on, never used twice by one boot: it is the nonce. */
  sequence: u48,
});

/**
 * A boot of the receiver's that the sender has heard, and the highest number of an authentic datagram of it
 * that named the sender's boot in turn (0: none yet). Twice in each datagram: of the boot that the sender has
 * established, and of a candidate that is not proven yet; `NO_BOOT` and 0 for none.
 */
const echo = struct({ bootId: bytes(BOOT_ID_BYTES), sequence: u48 });
export type Echo = ValueOf<typeof echo>;
export const proof = struct({ established: echo, candidate: echo });
export type Proof = ValueOf<typeof proof>;

export const HEAD_BYTES: number = sizeOf(head);
export const PROOF_BYTES: number = sizeOf(proof);
/** Longest body that fits a datagram. */
export const BODY_BYTES_MAX: number = DATAGRAM_BYTES_MAX - HEAD_BYTES - PROOF_BYTES - TAG_BYTES;
const DATAGRAM_BYTES_MIN = HEAD_BYTES + PROOF_BYTES + TAG_BYTES;

export const NO_ECHO: Echo = { bootId: NO_BOOT, sequence: 0 };

function sizeOf(field: Field<unknown>): number {
  assert(field.minBytes === field.maxBytes, "a layout of fixed size");
  return field.maxBytes;
}

export interface DatagramParts {
  readonly bootId: Uint8Array;
  readonly sequence: number;
  /** The head's bytes: authenticated with the rest (AAD). A view of the datagram. */
  readonly head: Uint8Array;
  /** Proof and body, enciphered. A view. */
  readonly sealed: Uint8Array;
  /** A view. */
  readonly tag: Uint8Array;
}

/** `length` before all others, so that no other check reads past the end. */
export type DatagramRefusal = "length" | PreambleRefusal | "malformed";

/** The parts of a datagram as it came, nothing of it believed; or why it cannot be one of ours. */
export function splitDatagram(
  datagram: Uint8Array,
):
  | { readonly ok: true; readonly parts: DatagramParts }
  | { readonly ok: false; readonly reason: DatagramRefusal } {
  const raw = plain(datagram);
  const opening = readPreamble(raw, PreambleKind.Datagram);
  // A stranger's bytes are called a stranger's whatever their number; only then is the length judged.
  if (opening.kind === "refused") return { ok: false, reason: opening.reason };
  if (raw.length < DATAGRAM_BYTES_MIN || raw.length > DATAGRAM_BYTES_MAX)
    return { ok: false, reason: "length" };
  const headBytes = raw.subarray(0, HEAD_BYTES);
  const decoded = decode(head, headBytes);
  if (!decoded.ok) return { ok: false, reason: "malformed" };
  const { bootId, sequence } = decoded.value;
  if (sequence === 0 || equalBytes(bootId, NO_BOOT)) return { ok: false, reason: "malformed" };
  const tagStart = raw.length - TAG_BYTES;
  return {
    ok: true,
    parts: {
      bootId,
      sequence,
      head: headBytes,
      sealed: raw.subarray(HEAD_BYTES, tagStart),
      tag: raw.subarray(tagStart),
    },
  };
}

/** The head in clear of datagram number `sequence` of a boot. */
export function encodeHead(bootId: Uint8Array, sequence: number): Uint8Array {
  assert(sequence > 0 && !equalBytes(bootId, NO_BOOT), "a datagram has a boot and a number");
  return encode(head, { preamble: preamble(PreambleKind.Datagram), bootId, sequence });
}

/** Six zero bytes and the sequence number: RFC 8439 §2.3 wants 12 that never repeat under one key. */
export function nonceOf(sequence: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce.set(encode(u48, sequence), NONCE_BYTES - u48.maxBytes);
  return nonce;
}

/** What is enciphered: the proof, then the body. */
export function encodeInner(value: Proof, body: Uint8Array): Uint8Array {
  assert(body.length <= BODY_BYTES_MAX, `a body of ${body.length} bytes fits a datagram`);
  const inner = new Uint8Array(PROOF_BYTES + body.length);
  inner.set(encode(proof, value));
  inner.set(body, PROOF_BYTES);
  return inner;
}

/** The proof and the body of an authentic datagram, or null where it cannot be read. The body is a view. */
export function decodeInner(raw: Uint8Array): { readonly proof: Proof; readonly body: Uint8Array } | null {
  const inner = plain(raw);
  const decoded = decode(proof, inner.subarray(0, PROOF_BYTES));
  return decoded.ok ? { proof: decoded.value, body: inner.subarray(PROOF_BYTES) } : null;
}
