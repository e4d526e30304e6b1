// One session event of the kernel (ctnetlink), read for three things alone: the ports of an IPv4 session, and whether it
// was answered. The laboratory's own reader, for an oracle shares no line with what it judges. Pure.

export interface ProbeEvent {
  /** Source port * 65536 + destination port, of the original direction. */
  readonly ports: number;
  readonly replied: boolean;
}

// linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h
const CTA_TUPLE_ORIG = 1;
const CTA_STATUS = 3;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const IPS_SEEN_REPLY = 2;
/** struct nlmsghdr and struct nfgenmsg. */
const HEADERS_BYTES = 20;
const ATTRIBUTE_BYTES = 4;
const TYPE_MASK = 0x3fff;

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Where the value of attribute `type` lies between `from` and `end`: [start, end], or null. */
function find(view: DataView, from: number, end: number, type: number): readonly [number, number] | null {
  for (let at = from; at + ATTRIBUTE_BYTES <= end; ) {
    const length = view.getUint16(at, LITTLE);
    if (length < ATTRIBUTE_BYTES || at + length > end) return null;
    if ((view.getUint16(at + 2, LITTLE) & TYPE_MASK) === type) return [at + ATTRIBUTE_BYTES, at + length];
    at += (length + 3) & ~3;
  }
  return null;
}

/** Null where it is no session with ports. */
export function readProbeEvent(message: Uint8Array): ProbeEvent | null {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message.length < HEADERS_BYTES) return null;
  const end = Math.min(message.length, view.getUint32(0, LITTLE));
  const tuple = find(view, HEADERS_BYTES, end, CTA_TUPLE_ORIG);
  const protocol = tuple === null ? null : find(view, ...tuple, CTA_TUPLE_PROTO);
  if (protocol === null) return null;
  const source = find(view, ...protocol, CTA_PROTO_SRC_PORT);
  const destination = find(view, ...protocol, CTA_PROTO_DST_PORT);
  const status = find(view, HEADERS_BYTES, end, CTA_STATUS);
  if (source === null || destination === null) return null;
  return {
    ports: (view.getUint16(source[0]) * 65536 + view.getUint16(destination[0])) >>> 0,
    replied: status !== null && (view.getUint32(status[0]) & IPS_SEEN_REPLY) !== 0,
  };
}
