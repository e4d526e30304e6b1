// Two hashes of one session in the hands of the audit (docs/protocol.md §5.8): of its key, the same as that of its records
// (`keyHash` of session.ts), and of what both nodes' kernels must hold alike under that key. Straight from a session's
// fields, where a netlink datagram left them, without a record and without an object. Pure.
//
// Of a session's content the hash takes what decides a packet's fate and can be the same on both: the translation, the mark
// without its flags (generation and what else a node keeps there for itself), answered and assured, the protocol's state (with
// SCTP's tags), and whether it has a helper. Not the time left (a standby's is longer on purpose), a fixed time (raises no
// event), the master (an active still names one that has ended, which a standby cannot), labels and sequence adjustment
// (a kernel without their users keeps none).

import { MARK_FLAGS_MASK } from "../base/limits.ts";
import { IPPROTO_SCTP, IPS_ASSURED, IPS_SEEN_REPLY, type SessionFields } from "./sessionFields.ts";

const HEAD_IPV6 = 0x04;
const HEAD_ZONE = 0x08;

let first = 0;
let second = 0;

function byte(value: number): void {
  first = Math.imul(first ^ value, 0x01000193);
  second = Math.imul((second << 5) ^ (second >>> 27) ^ value, 0xcc9e2d51);
}

function address(bytes: Uint8Array, start: number, size: number): void {
  for (let at = start; at < start + size; at += 1) byte(bytes[at]!);
}

function numbers(a: number, b: number): void {
  byte(a >>> 8);
  byte(a & 0xff);
  byte(b >>> 8);
  byte(b & 0xff);
}

/** Spreads every bit over the word (murmur3's finaliser). */
function mix(value: number): number {
  let word = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** The key's hash into `out[0]`, `out[1]`: what `keyHash` gives for a record of this session. */
export function sessionKeyHash(fields: SessionFields, out: Uint32Array, seed: number): void {
  const head = (fields.family === 6 ? HEAD_IPV6 : 0) | (fields.zoneDirections !== 0 ? HEAD_ZONE : 0);
  first = seed ^ 0x9e3779b9 ^ head;
  second = Math.imul(seed, 0x85ebca6b) ^ 0x7f4a7c15;
  byte(fields.protocol);
  const size = fields.addressBytes;
  address(fields.bytes, fields.originalSource, size);
  address(fields.bytes, fields.originalDestination, size);
  numbers(fields.originalA, fields.originalB);
  if (fields.zoneDirections !== 0) {
    byte(fields.zoneDirections);
    byte(fields.zone >>> 8);
    byte(fields.zone & 0xff);
  }
  out[0] = mix(first ^ (second >>> 15));
  out[1] = mix(second ^ Math.imul(first, 0xc2b2ae35));
}

/** 1..2^32 - 1: what the session comes to. 0 is kept for "not to be compared". */
export function sessionContentHash(fields: SessionFields, salt: number): number {
  first = salt ^ 0x2545f491;
  second = Math.imul(salt, 0xc2b2ae35) ^ 0x27d4eb2f;
  const size = fields.addressBytes;
  address(fields.bytes, fields.replySource, size);
  address(fields.bytes, fields.replyDestination, size);
  numbers(fields.replyA, fields.replyB);
  const mark = fields.mark & ~MARK_FLAGS_MASK;
  numbers((mark >>> 16) & 0xffff, mark & 0xffff);
  byte(
    ((fields.status & IPS_SEEN_REPLY) !== 0 ? 1 : 0) |
      ((fields.status & IPS_ASSURED) !== 0 ? 2 : 0) |
      (fields.helperLength > 0 ? 4 : 0) |
      (fields.protocolState << 4),
  );
  if (fields.protocol === IPPROTO_SCTP) {
    numbers(fields.tagOriginal >>> 16, fields.tagOriginal & 0xffff);
    numbers(fields.tagReply >>> 16, fields.tagReply & 0xffff);
  }
  const hash = mix(first ^ (second >>> 15) ^ Math.imul(second, 0x9e3779b1));
  return hash === 0 ? 1 : hash;
}
