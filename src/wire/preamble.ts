// The first eight bytes of everything on port 1148, TCP and UDP alike (docs/protocol.md §1): our magic and
// version before anything else, so that another speaker on an IANA-assigned port (elfiq-repl, a scanner, a
// browser) is recognised by its first byte that differs, refused, and never answered. Pure.

import { bytesToHex } from "./codec.ts";

/** `USTDY`, in ASCII. */
export const MAGIC: Uint8Array = Uint8Array.of(0x55, 0x53, 0x54, 0x44, 0x59);
/** Version of the outer layer: preamble, framing, sealing. What is inside has versions of its own (hello). */
export const OUTER_VERSION = 1;
export const PREAMBLE_BYTES = 8;
const VERSION_OFFSET = 5;
const KIND_OFFSET = 6;

function refusalAt(offset: number): PreambleRefusal {
  if (offset < VERSION_OFFSET) return "magic";
  if (offset === VERSION_OFFSET) return "version";
  return offset === KIND_OFFSET ? "kind" : "reserved";
}

/** What the preamble opens: a stream (TCP: TLS follows), one sealed datagram (UDP), or a recorded file. */
export const PreambleKind = { Stream: 1, Datagram: 2, Recording: 3 } as const;
export type PreambleKind = (typeof PreambleKind)[keyof typeof PreambleKind];

export type PreambleResult =
  | { readonly kind: "need-more" }
  | { readonly kind: "ok" }
  | { readonly kind: "refused"; readonly reason: PreambleRefusal };

/** `magic`: a stranger. The others: Understudy, but not one that can be understood here. */
export type PreambleRefusal = "magic" | "version" | "kind" | "reserved";

/** The eight bytes that open a stream or a datagram. A new array each time: nobody shares it. */
export function preamble(kind: PreambleKind): Uint8Array {
  const raw = new Uint8Array(PREAMBLE_BYTES);
  raw.set(MAGIC);
  raw[VERSION_OFFSET] = OUTER_VERSION;
  raw[KIND_OFFSET] = kind;
  return raw;
}

/**
 * Judges what has arrived so far, from its first byte on: a stranger is known by the first byte that differs
 * and need not be waited for. `need-more` only where everything so far is right and fewer than eight bytes.
 */
export function readPreamble(raw: Uint8Array, kind: PreambleKind): PreambleResult {
  const wanted = preamble(kind);
  for (let index = 0; index < PREAMBLE_BYTES; index++) {
    if (index >= raw.length) return { kind: "need-more" };
    if (raw[index] !== wanted[index]) return { kind: "refused", reason: refusalAt(index) };
  }
  return { kind: "ok" };
}

/**
 * What a stranger seems to speak, for the alarm that names it: told from its first bytes alone, never by
 * answering. The hexadecimal digits are those of at most its first eight bytes.
 */
export function describeStranger(raw: Uint8Array): string {
  const first = bytesToHex(raw.subarray(0, PREAMBLE_BYTES));
  const opening = String.fromCharCode(...raw.subarray(0, PREAMBLE_BYTES));
  if (raw.length === 0) return "nothing at all";
  // RFC 8446 §5.1: handshake (22), legacy version 3.x.
  if (raw[0] === 0x16 && (raw[1] === 0x03 || raw.length === 1)) return `TLS (${first})`;
  if (/^(?:GET|HEAD|POST|PUT|OPTIONS|CONNECT|PRI) /.test(opening)) return `HTTP (${first})`;
  if (opening.startsWith("SSH-")) return `SSH (${first})`;
  if (/^[\x20-\x7e\r\n\t]*$/.test(opening)) return `text (${first})`;
  return `unknown bytes (${first})`;
}
