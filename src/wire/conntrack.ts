// ctnetlink, read: one message of the kernel's connection tracking -> SessionFields, in place, without an object.
// Which of them are worth a record: sessionPolicy.ts. Writing: conntrackWrite.ts. Pure.
// Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c (6.18).

import { HOST_LITTLE_ENDIAN, NLMSG_HDRLEN } from "./netlink.ts";
import {
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  icmpAnswer,
  ProtocolKind,
  protocolKind,
  type SessionFields,
} from "./sessionFields.ts";

// The kernel's names kept verbatim.
export const NFNL_SUBSYS_CTNETLINK = 1;
export const IPCTNL_MSG_CT_NEW = 0;
export const IPCTNL_MSG_CT_GET = 1;
export const IPCTNL_MSG_CT_DELETE = 2;
export const IPCTNL_MSG_CT_GET_STATS = 5;
export const CTA_STATS_GLOBAL_ENTRIES = 1;
export const NFNLGRP_CONNTRACK_NEW = 1;
export const NFNLGRP_CONNTRACK_UPDATE = 2;
export const NFNLGRP_CONNTRACK_DESTROY = 3;
/** `struct nfgenmsg { u8 family; u8 version; be16 res_id; }` */
export const NFGENMSG_BYTES = 4;

export const CTA_TUPLE_ORIG = 1;
export const CTA_TUPLE_REPLY = 2;
export const CTA_STATUS = 3;
export const CTA_PROTOINFO = 4;
export const CTA_HELP = 5;
export const CTA_NAT_SRC = 6;
export const CTA_TIMEOUT = 7;
export const CTA_MARK = 8;
export const CTA_NAT_DST = 13;
export const CTA_TUPLE_MASTER = 14;
export const CTA_SEQ_ADJ_ORIG = 15;
export const CTA_SEQ_ADJ_REPLY = 16;
export const CTA_ZONE = 18;
export const CTA_MARK_MASK = 21;
export const CTA_LABELS = 22;
export const CTA_STATUS_MASK = 26;
export const CTA_TUPLE_IP = 1;
export const CTA_TUPLE_PROTO = 2;
export const CTA_TUPLE_ZONE = 3;
export const CTA_IP_V4_SRC = 1;
export const CTA_IP_V4_DST = 2;
export const CTA_IP_V6_SRC = 3;
export const CTA_IP_V6_DST = 4;
export const CTA_PROTO_NUM = 1;
export const CTA_PROTO_SRC_PORT = 2;
export const CTA_PROTO_DST_PORT = 3;
export const CTA_PROTO_ICMP_ID = 4;
export const CTA_PROTO_ICMP_TYPE = 5;
export const CTA_PROTO_ICMP_CODE = 6;
export const CTA_PROTO_ICMPV6_ID = 7;
export const CTA_PROTO_ICMPV6_TYPE = 8;
export const CTA_PROTO_ICMPV6_CODE = 9;
export const CTA_PROTOINFO_TCP = 1;
export const CTA_PROTOINFO_TCP_STATE = 1;
export const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL = 4;
export const CTA_PROTOINFO_TCP_FLAGS_REPLY = 5;
export const CTA_PROTOINFO_SCTP = 3;
export const CTA_PROTOINFO_SCTP_STATE = 1;
export const CTA_PROTOINFO_SCTP_VTAG_ORIGINAL = 2;
export const CTA_PROTOINFO_SCTP_VTAG_REPLY = 3;
export const CTA_HELP_NAME = 1;
export const CTA_SEQADJ_CORRECTION_POS = 1;
export const CTA_SEQADJ_OFFSET_BEFORE = 2;
export const CTA_SEQADJ_OFFSET_AFTER = 3;

const AF_INET = 2;
const AF_INET6 = 10;
export const TCP_CONNTRACK_ESTABLISHED = 3;
const LABELS_BYTES = 16;
const NLA_HEADER = 4;

const host16 = (bytes: Uint8Array, at: number): number =>
  HOST_LITTLE_ENDIAN ? bytes[at]! | (bytes[at + 1]! << 8) : (bytes[at]! << 8) | bytes[at + 1]!;
export const be16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
export const be32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
/** The attribute's type without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export const attributeType = (bytes: Uint8Array, at: number): number => host16(bytes, at + 2) & 0x3fff;
/** Length of the attribute at `at`, header included; 0 where it does not fit before `end`. */
export function attributeLength(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < NLA_HEADER) return 0;
  const length = host16(bytes, at);
  return length < NLA_HEADER || length > end - at ? 0 : length;
}
export const padded = (length: number): number => (length + 3) & ~3;

/** A tuple as it was read last; one is enough, for the parser copies out of it at once. */
export const tuple = { protocol: 0, source: -1, destination: -1, a: 0, b: 0, zone: -1, hasPorts: false };

/** Reads CTA_TUPLE_*'s content into `tuple`; false where it does not hold together. */
export function readTuple(bytes: Uint8Array, start: number, end: number, addressBytes: number): boolean {
  tuple.protocol = -1;
  tuple.source = -1;
  tuple.destination = -1;
  tuple.a = 0;
  tuple.b = 0;
  tuple.zone = -1;
  tuple.hasPorts = false;
  for (let at = start; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return false;
    const inner = at + NLA_HEADER;
    const type = attributeType(bytes, at);
    if (type === CTA_TUPLE_IP) readAddresses(bytes, inner, at + length, addressBytes);
    else if (type === CTA_TUPLE_PROTO) readProtocol(bytes, inner, at + length);
    else if (type === CTA_TUPLE_ZONE && length === 6) tuple.zone = be16(bytes, inner);
    at += padded(length);
  }
  return tuple.protocol >= 0 && tuple.source >= 0 && tuple.destination >= 0;
}

function readAddresses(bytes: Uint8Array, start: number, end: number, addressBytes: number): void {
  for (let at = start; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return;
    if (length === NLA_HEADER + addressBytes) {
      // CTA_IP_V4_SRC, CTA_IP_V6_SRC are odd, the destinations even.
      if ((attributeType(bytes, at) & 1) === 1) tuple.source = at + NLA_HEADER;
      else tuple.destination = at + NLA_HEADER;
    }
    at += padded(length);
  }
}

function readProtocol(bytes: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return;
    const inner = at + NLA_HEADER;
    switch (attributeType(bytes, at)) {
      case CTA_PROTO_NUM:
        tuple.protocol = bytes[inner]!;
        break;
      case CTA_PROTO_SRC_PORT:
        tuple.a = be16(bytes, inner);
        tuple.hasPorts = true;
        break;
      case CTA_PROTO_DST_PORT:
        tuple.b = be16(bytes, inner);
        tuple.hasPorts = true;
        break;
      case CTA_PROTO_ICMP_ID:
      case CTA_PROTO_ICMPV6_ID:
        tuple.a = be16(bytes, inner);
        break;
      case CTA_PROTO_ICMP_TYPE:
      case CTA_PROTO_ICMPV6_TYPE:
        tuple.b = (tuple.b & 0xff) | (bytes[inner]! << 8);
        break;
      case CTA_PROTO_ICMP_CODE:
      case CTA_PROTO_ICMPV6_CODE:
        tuple.b = (tuple.b & 0xff00) | bytes[inner]!;
        break;
    }
    at += padded(length);
  }
}

/**
 * Reads the ctnetlink message whose nlmsghdr is at `start` into `fields`. False where it is no session that a
 * record can carry: another family, a protocol with numbers of its own kind, something missing.
 */
export function readConntrack(bytes: Uint8Array, start: number, end: number, fields: SessionFields): boolean {
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
    const inner = at + NLA_HEADER;
    switch (attributeType(bytes, at)) {
      case CTA_TUPLE_ORIG:
        if (!takeOriginal(bytes, inner, at + length, fields)) return false;
        whole |= 1;
        break;
      case CTA_TUPLE_REPLY:
        if (!takeReply(bytes, inner, at + length, fields)) return false;
        whole |= 2;
        break;
      case CTA_STATUS:
        fields.status = be32(bytes, inner);
        break;
      case CTA_TIMEOUT:
        fields.timeoutSeconds = be32(bytes, inner);
        break;
      case CTA_MARK:
        fields.mark = be32(bytes, inner);
        break;
      case CTA_PROTOINFO:
        takeProtocolState(bytes, inner, at + length, fields);
        break;
      case CTA_ZONE:
        fields.zone = be16(bytes, inner);
        fields.zoneDirections = fields.zone === 0 ? 0 : 3;
        break;
      default:
        takeOptional(bytes, at, at + length, fields);
    }
    at += padded(length);
  }
  return whole === 3;
}

function takeOriginal(bytes: Uint8Array, start: number, end: number, fields: SessionFields): boolean {
  if (!readTuple(bytes, start, end, fields.addressBytes)) return false;
  fields.protocol = tuple.protocol;
  fields.originalSource = tuple.source;
  fields.originalDestination = tuple.destination;
  fields.originalA = tuple.a;
  fields.originalB = tuple.b;
  takeTupleZone(fields, 1);
  const kind = protocolKind(fields.family, tuple.protocol);
  // DCCP and whatever comes later has ports that a record of this version does not carry; nor has it room for the numbers of
  // one family's ICMP in the other.
  if (kind === ProtocolKind.Portless) return !tuple.hasPorts && (tuple.a | tuple.b) === 0;
  return kind !== ProtocolKind.Icmp || icmpAnswer(fields.family, tuple.b >> 8) >= 0;
}

function takeReply(bytes: Uint8Array, start: number, end: number, fields: SessionFields): boolean {
  if (!readTuple(bytes, start, end, fields.addressBytes)) return false;
  fields.replySource = tuple.source;
  fields.replyDestination = tuple.destination;
  fields.replyA = tuple.a;
  fields.replyB = tuple.b;
  takeTupleZone(fields, 2);
  return true;
}

function takeTupleZone(fields: SessionFields, direction: number): void {
  if (tuple.zone <= 0) return;
  fields.zone = tuple.zone;
  fields.zoneDirections |= direction;
}

/** CTA_PROTOINFO { CTA_PROTOINFO_TCP | _SCTP { state, ... } }: the kernel sends it only where the state changed. */
function takeProtocolState(bytes: Uint8Array, start: number, end: number, fields: SessionFields): void {
  const length = attributeLength(bytes, start, end);
  const type = length === 0 ? 0 : attributeType(bytes, start);
  if (type !== CTA_PROTOINFO_TCP && type !== CTA_PROTOINFO_SCTP) return;
  for (let at = start + NLA_HEADER; at < start + length; ) {
    const size = attributeLength(bytes, at, start + length);
    if (size === 0) return;
    const which = attributeType(bytes, at);
    // CTA_PROTOINFO_TCP_STATE and CTA_PROTOINFO_SCTP_STATE are both 1.
    if (which === CTA_PROTOINFO_TCP_STATE) fields.protocolState = bytes[at + NLA_HEADER]! & 0x0f;
    else if (type === CTA_PROTOINFO_SCTP && which === CTA_PROTOINFO_SCTP_VTAG_ORIGINAL)
      fields.tagOriginal = be32(bytes, at + NLA_HEADER);
    else if (type === CTA_PROTOINFO_SCTP && which === CTA_PROTOINFO_SCTP_VTAG_REPLY)
      fields.tagReply = be32(bytes, at + NLA_HEADER);
    at += padded(size);
  }
}

/** Helper, master, sequence adjustment, labels: rare, so apart from the switch of the common ones. */
function takeOptional(bytes: Uint8Array, start: number, end: number, fields: SessionFields): void {
  const inner = start + NLA_HEADER;
  const type = attributeType(bytes, start);
  if (type === CTA_LABELS) {
    if (end - inner === LABELS_BYTES && !allZero(bytes, inner, end)) fields.labelsAt = inner;
  } else if (type === CTA_HELP) {
    const length = attributeLength(bytes, inner, end);
    if (length < NLA_HEADER + 2 || attributeType(bytes, inner) !== CTA_HELP_NAME) return;
    fields.helperAt = inner + NLA_HEADER;
    // Without the terminating zero.
    fields.helperLength = length - NLA_HEADER - 1;
  } else if (type === CTA_TUPLE_MASTER) {
    if (!readTuple(bytes, inner, end, fields.addressBytes)) return;
    fields.hasMaster = true;
    fields.masterProtocol = tuple.protocol;
    fields.masterSource = tuple.source;
    fields.masterDestination = tuple.destination;
    fields.masterA = tuple.a;
    fields.masterB = tuple.b;
  } else if (type === CTA_SEQ_ADJ_ORIG || type === CTA_SEQ_ADJ_REPLY) {
    const reply = type === CTA_SEQ_ADJ_REPLY;
    const adjusted = takeAdjustment(bytes, inner, end, fields.adjust, reply ? 3 : 0);
    if (reply) fields.hasAdjustReply = adjusted;
    else fields.hasAdjustOriginal = adjusted;
  }
}

/** False where nothing is adjusted: the kernel tells both directions where one is. */
function takeAdjustment(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Uint32Array,
  from: number,
): boolean {
  into.fill(0, from, from + 3);
  for (let at = start; at < end; ) {
    const length = attributeLength(bytes, at, end);
    if (length === 0) return false;
    const which = attributeType(bytes, at);
    if (which >= CTA_SEQADJ_CORRECTION_POS && which <= CTA_SEQADJ_OFFSET_AFTER && length === 8)
      into[from + which - 1] = be32(bytes, at + NLA_HEADER);
    at += padded(length);
  }
  return (into[from]! | into[from + 1]! | into[from + 2]!) !== 0;
}

function allZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if (bytes[at] !== 0) return false;
  return true;
}

/** TCP_CONNTRACK_*, as `conntrack -L` names them. */
const TCP_STATES = [
  "NONE",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSE",
  "SYN_SENT2",
];
const SCTP_STATES = [
  "NONE",
  "CLOSED",
  "COOKIE_WAIT",
  "COOKIE_ECHOED",
  "ESTABLISHED",
  "SHUTDOWN_SENT",
  "SHUTDOWN_RECD",
  "SHUTDOWN_ACK_SENT",
  "HEARTBEAT_SENT",
  "HEARTBEAT_ACKED",
];

/** A word for the session's state: the protocol's own, else how far it came. */
export function stateName(fields: SessionFields): string {
  if (fields.protocol === IPPROTO_TCP) return TCP_STATES[fields.protocolState] ?? "NONE";
  if (fields.protocol === IPPROTO_SCTP) return SCTP_STATES[fields.protocolState] ?? "NONE";
  if ((fields.status & IPS_ASSURED) !== 0) return "ASSURED";
  return (fields.status & IPS_SEEN_REPLY) !== 0 ? "REPLIED" : "UNREPLIED";
}

/** The protocol's usual name, or its number as text. */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES.get(protocol) ?? String(protocol);
}
const PROTOCOL_NAMES = new Map([
  [1, "icmp"],
  [IPPROTO_TCP, "tcp"],
  [IPPROTO_UDP, "udp"],
  [47, "gre"],
  [50, "esp"],
  [51, "ah"],
  [58, "icmpv6"],
  [IPPROTO_SCTP, "sctp"],
  [136, "udplite"],
]);
/** Every name that `protocolName` gives. */
export const PROTOCOLS_NAMED: readonly string[] = [...PROTOCOL_NAMES.values()];
