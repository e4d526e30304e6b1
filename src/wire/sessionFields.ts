// One session in the hands of the hot path: a mutable view over somebody else's bytes (a netlink datagram, a
// batch of records), and the few facts about tuples that reading and writing share. The pivot between the
// record's layout (session.ts) and netlink's (conntrack.ts): both fill it, both write from it. Pure.

/** Status bits of a session that a record carries (include/uapi/linux/netfilter/nf_conntrack_common.h). */
export const IPS_EXPECTED = 0x001;
export const IPS_SEEN_REPLY = 0x002;
export const IPS_ASSURED = 0x004;
export const IPS_FIXED_TIMEOUT = 0x400;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_GRE = 47;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;
export const IPPROTO_UDPLITE = 136;

export const ProtocolKind = { Ports: 1, Icmp: 2, Portless: 3 } as const;
export type ProtocolKind = (typeof ProtocolKind)[keyof typeof ProtocolKind];

/** What the two 16-bit numbers of a tuple mean: ports (GRE: call keys), identifier and type/code, or nothing. */
export function protocolKind(family: number, protocol: number): ProtocolKind {
  switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_GRE:
    case IPPROTO_SCTP:
    case IPPROTO_UDPLITE:
      return ProtocolKind.Ports;
    case IPPROTO_ICMP:
      return family === 4 ? ProtocolKind.Icmp : ProtocolKind.Portless;
    case IPPROTO_ICMPV6:
      return family === 6 ? ProtocolKind.Icmp : ProtocolKind.Portless;
    default:
      return ProtocolKind.Portless;
  }
}

/** The type that answers an ICMP type, or -1 where connection tracking knows none (nf_conntrack_proto_icmp.c). */
export function icmpAnswer(family: number, type: number): number {
  if (family === 4) {
    if (type === 0 || type === 8) return 8 - type;
    if (type >= 13 && type <= 18) return type % 2 === 1 ? type + 1 : type - 1;
    return -1;
  }
  if (type === 128 || type === 129) return 257 - type;
  if (type === 139 || type === 140) return 279 - type;
  return -1;
}

/**
 * One session in the hands of the hot path: a mutable view that is filled anew for each session, so that none is
 * allocated. Addresses are offsets into `bytes` (a netlink datagram or a batch); where a reply address equals an
 * original one, both may be the same offset. `a` and `b`: source and destination port; for ICMP the identifier
 * and `type << 8 | code`; else 0.
 */
export class SessionFields {
  bytes: Uint8Array = new Uint8Array(0);
  operation: number = 0;
  family = 4;
  protocol = 0;
  originalSource = 0;
  originalDestination = 0;
  originalA = 0;
  originalB = 0;
  replySource = 0;
  replyDestination = 0;
  replyA = 0;
  replyB = 0;
  zone = 0;
  /** 0 none, 1 original, 2 reply, 3 both. */
  zoneDirections = 0;
  mark = 0;
  timeoutSeconds = 0;
  /** IPS_SEEN_REPLY, IPS_ASSURED, IPS_FIXED_TIMEOUT; a reader of netlink may leave further bits in. */
  status = 0;
  /** TCP_CONNTRACK_* or SCTP_CONNTRACK_*; 0 where the protocol has none, or where the event did not tell. */
  protocolState = 0;
  tagOriginal = 0;
  tagReply = 0;
  helperAt = 0;
  helperLength = 0;
  /** -1: no labels. */
  labelsAt = -1;
  /** Sequence adjustment: correction position, offset before, offset after; original then reply. */
  readonly adjust: Uint32Array = new Uint32Array(6);
  hasAdjustOriginal = false;
  hasAdjustReply = false;
  hasMaster = false;
  masterProtocol = 0;
  masterSource = 0;
  masterDestination = 0;
  masterA = 0;
  masterB = 0;

  /** Forgets the optional things, which a reader only sets where they occur. */
  clear(): void {
    this.zone = 0;
    this.zoneDirections = 0;
    this.mark = 0;
    this.timeoutSeconds = 0;
    this.status = 0;
    this.protocolState = 0;
    this.tagOriginal = 0;
    this.tagReply = 0;
    this.helperLength = 0;
    this.labelsAt = -1;
    this.hasAdjustOriginal = false;
    this.hasAdjustReply = false;
    this.hasMaster = false;
  }

  get addressBytes(): number {
    return this.family === 4 ? 4 : 16;
  }
}

/** True where `count` bytes at both places are equal. */
export function sameBytes(
  left: Uint8Array,
  leftAt: number,
  right: Uint8Array,
  rightAt: number,
  count: number,
): boolean {
  for (let index = 0; index < count; index += 1)
    if (left[leftAt + index] !== right[rightAt + index]) return false;
  return true;
}

/** The `b` that the reply tuple has where nothing translates: the inverse ICMP type, or the source port. */
export function derivedReplyB(fields: SessionFields, kind: ProtocolKind): number {
  if (kind !== ProtocolKind.Icmp) return fields.originalA;
  return (icmpAnswer(fields.family, fields.originalB >> 8) << 8) | (fields.originalB & 0xff);
}

/** Parts of a reply tuple that differ from the original one turned round. */
export const REPLY_SOURCE = 0x01;
export const REPLY_DESTINATION = 0x02;
export const REPLY_A = 0x04;
export const REPLY_B = 0x08;

/** Which parts of the reply tuple are not those of the original turned round: REPLY_*. */
export function replyShape(fields: SessionFields): number {
  const { bytes, addressBytes } = fields;
  const kind = protocolKind(fields.family, fields.protocol);
  let shape = 0;
  if (!sameBytes(bytes, fields.replySource, bytes, fields.originalDestination, addressBytes))
    shape |= REPLY_SOURCE;
  if (!sameBytes(bytes, fields.replyDestination, bytes, fields.originalSource, addressBytes))
    shape |= REPLY_DESTINATION;
  if (fields.replyA !== (kind === ProtocolKind.Icmp ? fields.originalA : fields.originalB)) shape |= REPLY_A;
  if (fields.replyB !== derivedReplyB(fields, kind)) shape |= REPLY_B;
  return shape;
}

/** True where the source is translated: answers go to another address, port or identifier. */
export function isSourceTranslated(fields: SessionFields): boolean {
  const icmp = protocolKind(fields.family, fields.protocol) === ProtocolKind.Icmp;
  return (replyShape(fields) & (REPLY_DESTINATION | (icmp ? REPLY_A : REPLY_B))) !== 0;
}

/** True where the destination is translated: answers come from another address or port. */
export function isDestinationTranslated(fields: SessionFields): boolean {
  const icmp = protocolKind(fields.family, fields.protocol) === ProtocolKind.Icmp;
  return (replyShape(fields) & (REPLY_SOURCE | (icmp ? 0 : REPLY_A))) !== 0;
}

/** True where both are the same session with the same translation; the bytes behind them may differ. */
export function sameTuples(left: SessionFields, right: SessionFields): boolean {
  if (left.family !== right.family || left.protocol !== right.protocol) return false;
  if (left.zone !== right.zone || left.zoneDirections !== right.zoneDirections) return false;
  if (left.originalA !== right.originalA || left.originalB !== right.originalB) return false;
  if (left.replyA !== right.replyA || left.replyB !== right.replyB) return false;
  const count = left.addressBytes;
  return (
    sameBytes(left.bytes, left.originalSource, right.bytes, right.originalSource, count) &&
    sameBytes(left.bytes, left.originalDestination, right.bytes, right.originalDestination, count) &&
    sameBytes(left.bytes, left.replySource, right.bytes, right.replySource, count) &&
    sameBytes(left.bytes, left.replyDestination, right.bytes, right.replyDestination, count)
  );
}
