// ctnetlink's expectations, read and written: what the helpers of connection tracking expect, in place, without knowing
// a record. Rare beside sessions. Pure.
// Source: ctnetlink_exp_dump_expect, ctnetlink_create_expect, ctnetlink_change_expect and nf_ct_expect_insert in
// net/netfilter/nf_conntrack_netlink.c and nf_conntrack_expect.c (6.18).

import { attributeLength, attributeType, be16, be32, padded, readTuple, tuple } from "./conntrack.ts";
import type { ConntrackBuffer } from "./conntrackBuffer.ts";
import type { ExpectationFields } from "./expectation.ts";
import { NLA_HDRLEN, NLM_F_CREATE, NLM_F_EXCL, NLMSG_HDRLEN } from "./netlink.ts";

// The kernel's names kept verbatim.
export const NFNL_SUBSYS_CTNETLINK_EXP = 2;
export const IPCTNL_MSG_EXP_NEW = 0;
export const IPCTNL_MSG_EXP_GET = 1;
export const IPCTNL_MSG_EXP_DELETE = 2;
export const NFNLGRP_CONNTRACK_EXP_NEW = 4;
export const NFNLGRP_CONNTRACK_EXP_DESTROY = 6;
const CTA_EXPECT_MASTER = 1;
const CTA_EXPECT_TUPLE = 2;
const CTA_EXPECT_MASK = 3;
const CTA_EXPECT_TIMEOUT = 4;
const CTA_EXPECT_HELP_NAME = 6;
const CTA_EXPECT_ZONE = 7;
const CTA_EXPECT_FLAGS = 8;
const CTA_EXPECT_CLASS = 9;
const CTA_EXPECT_NAT = 10;
const CTA_EXPECT_FN = 11;
const CTA_EXPECT_NAT_DIR = 1;
const CTA_EXPECT_NAT_TUPLE = 2;
const NF_CT_EXPECT_PERMANENT = 0x1;

const AF_INET = 2;
const AF_INET6 = 10;
const NFGENMSG_BYTES = 4;
/** Of a mask: everything. The kernel compares the destination wholly, whatever the mask says. */
const WHOLE_ADDRESS = new Uint8Array(16).fill(0xff);

/** PPTP's keeps what its calls' keys are, and how they are translated, where netlink does not reach. */
const UNTOLD_HELPER = "pptp";

/**
 * Reads the message whose nlmsghdr is at `start` into `fields`. False where it is none that could be made anew: another
 * family, a zone, a translation by a function that has no name, a helper that keeps more than the kernel tells.
 */
export function readExpectationMessage(
  bytes: Uint8Array,
  start: number,
  end: number,
  fields: ExpectationFields,
): boolean {
  const first = start + NLMSG_HDRLEN + NFGENMSG_BYTES;
  if (first > end) return false;
  const family = bytes[start + NLMSG_HDRLEN]!;
  if (family !== AF_INET && family !== AF_INET6) return false;
  fields.clear();
  fields.bytes = bytes;
  fields.family = family === AF_INET ? 4 : 6;
  let whole = 0;
  for (let at = first; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return false;
    const taken = take(bytes, at, length, fields);
    if (taken < 0) return false;
    whole |= taken;
    at += padded(length);
  }
  if (whole !== (TUPLE | MASK | MASTER)) return false;
  if (fields.hasTranslation && fields.functionLength === 0) return false;
  return !isNamed(fields, UNTOLD_HELPER);
}

const [TUPLE, MASK, MASTER] = [1, 2, 4];

/** Which of the necessary parts the attribute at `at` was; 0 for another one, -1 where it cannot be carried. */
function take(bytes: Uint8Array, at: number, length: number, fields: ExpectationFields): number {
  const inner = at + NLA_HDRLEN;
  const end = at + length;
  const size = fields.addressBytes;
  switch (attributeType(bytes, at)) {
    case CTA_EXPECT_TUPLE:
      if (!readTuple(bytes, inner, end, size)) return -1;
      fields.protocol = tuple.protocol;
      fields.source = tuple.source;
      fields.destination = tuple.destination;
      fields.a = tuple.a;
      fields.b = tuple.b;
      return TUPLE;
    case CTA_EXPECT_MASK:
      if (!readTuple(bytes, inner, end, size)) return -1;
      fields.sourceMask = tuple.source;
      fields.aMask = tuple.a;
      return MASK;
    case CTA_EXPECT_MASTER:
      if (!readTuple(bytes, inner, end, size)) return -1;
      fields.masterProtocol = tuple.protocol;
      fields.masterSource = tuple.source;
      fields.masterDestination = tuple.destination;
      fields.masterA = tuple.a;
      fields.masterB = tuple.b;
      return MASTER;
    case CTA_EXPECT_TIMEOUT:
      fields.timeoutSeconds = be32(bytes, inner);
      return 0;
    case CTA_EXPECT_FLAGS:
      // INACTIVE is left out: nothing tells when it ends. USERSPACE belongs to helpers that are programs.
      fields.permanent = (be32(bytes, inner) & NF_CT_EXPECT_PERMANENT) !== 0;
      return 0;
    case CTA_EXPECT_CLASS:
      fields.policyClass = be32(bytes, inner);
      return 0;
    case CTA_EXPECT_ZONE:
      return be16(bytes, inner) === 0 ? 0 : -1;
    case CTA_EXPECT_HELP_NAME:
      fields.helperAt = inner;
      fields.helperLength = length - NLA_HDRLEN - 1;
      return 0;
    case CTA_EXPECT_FN:
      fields.functionAt = inner;
      fields.functionLength = length - NLA_HDRLEN - 1;
      return 0;
    case CTA_EXPECT_NAT:
      return takeTranslation(bytes, inner, end, fields) ? 0 : -1;
    default:
      return 0;
  }
}

function takeTranslation(bytes: Uint8Array, start: number, end: number, fields: ExpectationFields): boolean {
  for (let at = start; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return false;
    const inner = at + NLA_HDRLEN;
    if (attributeType(bytes, at) === CTA_EXPECT_NAT_DIR) fields.direction = be32(bytes, inner);
    else if (attributeType(bytes, at) === CTA_EXPECT_NAT_TUPLE) {
      if (!readTuple(bytes, inner, at + length, fields.addressBytes)) return false;
      fields.hasTranslation = true;
      fields.translatedAddress = tuple.source;
      fields.translatedNumber = tuple.a;
    }
    at += padded(length);
  }
  return fields.hasTranslation && fields.direction <= 1;
}

function isNamed(fields: ExpectationFields, name: string): boolean {
  if (fields.helperLength !== name.length) return false;
  for (let index = 0; index < name.length; index += 1)
    if (fields.bytes[fields.helperAt + index] !== name.charCodeAt(index)) return false;
  return true;
}

const type = (message: number): number => (NFNL_SUBSYS_CTNETLINK_EXP << 8) | message;

function expectedTuple(buffer: ConntrackBuffer, fields: ExpectationFields): void {
  const { family, bytes, protocol, source, destination, a, b } = fields;
  const nest = buffer.nest(CTA_EXPECT_TUPLE);
  buffer.tuple(family, bytes, protocol, source, destination, a, b);
  buffer.end(nest);
}

function maskTuple(buffer: ConntrackBuffer, fields: ExpectationFields): void {
  // One array behind both addresses: the mask's own source, or all ones.
  const size = fields.addressBytes;
  const bytes = new Uint8Array(2 * size).fill(0xff);
  if (fields.sourceMask >= 0) bytes.set(fields.bytes.subarray(fields.sourceMask, fields.sourceMask + size));
  else bytes.set(WHOLE_ADDRESS.subarray(0, size));
  const nest = buffer.nest(CTA_EXPECT_MASK);
  buffer.tuple(fields.family, bytes, fields.protocol, 0, size, fields.aMask, 0xffff);
  buffer.end(nest);
}

function masterTuple(buffer: ConntrackBuffer, fields: ExpectationFields): void {
  const { family, bytes, masterProtocol, masterSource, masterDestination, masterA, masterB } = fields;
  const nest = buffer.nest(CTA_EXPECT_MASTER);
  buffer.tuple(family, bytes, masterProtocol, masterSource, masterDestination, masterA, masterB);
  buffer.end(nest);
}

/**
 * A new expectation of a session that is there and has a helper; ENOENT or EOPNOTSUPP where not, EEXIST or EBUSY where
 * something is expected there. It lasts as long as the helper says: see `setExpectationTimeout`.
 *
 * The helper's name, where it is given, becomes the expected session's helper too, and without it the kernel takes class
 * 0. The kernel tells the master's alone, and only SIP's means it for both: calls that follow a registration.
 */
export function createExpectation(
  buffer: ConntrackBuffer,
  fields: ExpectationFields,
  sequence: number,
): void {
  const { family } = fields;
  buffer.begin(type(IPCTNL_MSG_EXP_NEW), NLM_F_CREATE | NLM_F_EXCL, family, sequence);
  masterTuple(buffer, fields);
  expectedTuple(buffer, fields);
  maskTuple(buffer, fields);
  // Refused where it is missing, and not looked at otherwise.
  buffer.be32(CTA_EXPECT_TIMEOUT, fields.timeoutSeconds);
  buffer.be32(CTA_EXPECT_FLAGS, fields.permanent ? NF_CT_EXPECT_PERMANENT : 0);
  if (fields.policyClass !== 0 || isNamed(fields, "sip")) {
    buffer.be32(CTA_EXPECT_CLASS, fields.policyClass);
    buffer.name(CTA_EXPECT_HELP_NAME, fields.bytes, fields.helperAt, fields.helperLength);
  }
  if (fields.hasTranslation) {
    const nest = buffer.nest(CTA_EXPECT_NAT);
    buffer.be32(CTA_EXPECT_NAT_DIR, fields.direction);
    const inner = buffer.nest(CTA_EXPECT_NAT_TUPLE);
    // As the kernel tells it: the master's protocol, the source alone.
    const size = fields.addressBytes;
    const bytes = new Uint8Array(2 * size);
    bytes.set(fields.bytes.subarray(fields.translatedAddress, fields.translatedAddress + size));
    buffer.tuple(family, bytes, fields.masterProtocol, 0, size, fields.translatedNumber, 0);
    buffer.end(inner);
    buffer.end(nest);
  }
  if (fields.functionLength > 0)
    buffer.name(CTA_EXPECT_FN, fields.bytes, fields.functionAt, fields.functionLength);
  buffer.finish();
}

/** Sets the time that is left to an expectation; ENOENT where there is none. */
export function setExpectationTimeout(
  buffer: ConntrackBuffer,
  fields: ExpectationFields,
  sequence: number,
  seconds: number,
): void {
  buffer.begin(type(IPCTNL_MSG_EXP_NEW), 0, fields.family, sequence);
  masterTuple(buffer, fields);
  expectedTuple(buffer, fields);
  maskTuple(buffer, fields);
  buffer.be32(CTA_EXPECT_TIMEOUT, seconds);
  buffer.finish();
}

/** Ends an expectation; ENOENT where there is none. */
export function deleteExpectation(
  buffer: ConntrackBuffer,
  fields: ExpectationFields,
  sequence: number,
): void {
  buffer.begin(type(IPCTNL_MSG_EXP_DELETE), 0, fields.family, sequence);
  expectedTuple(buffer, fields);
  buffer.finish();
}
