// A captured packet down to its TCP or UDP payload: link layer, IPv4 or IPv6, ports. Only what decoding a capture of port 1148
// needs. Checksums are not looked at: on the machine that sends, the network card has not written them yet. Pure.

/** LINKTYPE_* of https://www.tcpdump.org/linktypes.html */
const LINK_NULL = 0;
const LINK_ETHERNET = 1;
const LINK_RAW = 101;
const LINK_LINUX_SLL = 113;
const LINK_IPV4 = 228;
const LINK_IPV6 = 229;
const LINK_LINUX_SLL2 = 276;

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPES_VLAN = [0x8100, 0x88a8];
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** IPv6 headers of options, of routing, and of a fragment (RFC 8200 §4). */
const IPV6_OPTIONS = [0, 43, 60];
const IPV6_FRAGMENT = 44;
const IPV4_FRAGMENT = 0x3fff;

interface Ends {
  /** 4 or 16 bytes; views. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** A view. */
  readonly payload: Uint8Array;
}

export type Packet =
  | ({
      readonly kind: "tcp";
      readonly sequence: number;
      readonly syn: boolean;
      readonly fin: boolean;
      readonly reset: boolean;
    } & Ends)
  | ({ readonly kind: "udp" } & Ends)
  /** Anything else, or too short for what it says to be. */
  | { readonly kind: "other"; readonly why: string };

const other = (why: string): Packet => ({ kind: "other", why });

/** What `bytes`, a packet that begins as `linkType` says, carries. */
export function readPacket(bytes: Uint8Array, linkType: number): Packet {
  const network = networkOf(bytes, linkType);
  if (typeof network === "string") return other(network);
  const version = network[0] === undefined ? 0 : network[0] >> 4;
  if (version === 4) return readIpv4(network);
  return version === 6 ? readIpv6(network) : other("neither IPv4 nor IPv6");
}

/** The packet from its IP header on, or why there is none. */
function networkOf(bytes: Uint8Array, linkType: number): Uint8Array | string {
  switch (linkType) {
    case LINK_RAW:
    case LINK_IPV4:
    case LINK_IPV6:
      return bytes;
    case LINK_NULL:
      return bytes.subarray(4);
    case LINK_ETHERNET:
      return behindEthertype(bytes, 12);
    case LINK_LINUX_SLL:
      return behindEthertype(bytes, 14);
    case LINK_LINUX_SLL2:
      return ipOf(be16(bytes, 0), bytes.subarray(20));
    default:
      return `packets of link type ${linkType} are not known here`;
  }
}

function behindEthertype(bytes: Uint8Array, offset: number): Uint8Array | string {
  let at = offset;
  while (ETHERTYPES_VLAN.includes(be16(bytes, at))) at += 4;
  return ipOf(be16(bytes, at), bytes.subarray(at + 2));
}

const ipOf = (ethertype: number, rest: Uint8Array): Uint8Array | string =>
  ethertype === ETHERTYPE_IPV4 || ethertype === ETHERTYPE_IPV6 ? rest : "not IP";

/** 0 beyond the end. */
const be16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

function readIpv4(bytes: Uint8Array): Packet {
  const headBytes = (bytes[0]! & 0x0f) * 4;
  // 0: the card is to cut it into packets, and will write their lengths (segmentation offload).
  const length = be16(bytes, 2) || bytes.length;
  if (headBytes < 20 || bytes.length < headBytes || length < headBytes) return other("a short IPv4 header");
  if ((be16(bytes, 6) & IPV4_FRAGMENT) !== 0) return other("a fragment");
  const payload = bytes.subarray(headBytes, Math.min(length, bytes.length));
  return readTransport(bytes[9]!, bytes.subarray(12, 16), bytes.subarray(16, 20), payload);
}

function readIpv6(bytes: Uint8Array): Packet {
  if (bytes.length < 40) return other("a short IPv6 header");
  const length = be16(bytes, 4);
  const end = length === 0 ? bytes.length : Math.min(bytes.length, 40 + length);
  let next = bytes[6]!;
  let at = 40;
  while (IPV6_OPTIONS.includes(next)) {
    if (at + 8 > end) return other("a short IPv6 extension header");
    next = bytes[at]!;
    at += (bytes[at + 1]! + 1) * 8;
  }
  if (next === IPV6_FRAGMENT) return other("a fragment");
  return readTransport(next, bytes.subarray(8, 24), bytes.subarray(24, 40), bytes.subarray(at, end));
}

function readTransport(
  protocol: number,
  source: Uint8Array,
  destination: Uint8Array,
  bytes: Uint8Array,
): Packet {
  const ends = { source, destination, sourcePort: be16(bytes, 0), destinationPort: be16(bytes, 2) };
  if (protocol === IPPROTO_UDP) {
    const length = be16(bytes, 4);
    if (bytes.length < 8 || length < 8) return other("a short UDP header");
    return { kind: "udp", ...ends, payload: bytes.subarray(8, length) };
  }
  if (protocol !== IPPROTO_TCP) return other("neither TCP nor UDP");
  const headBytes = ((bytes[12] ?? 0) >> 4) * 4;
  if (headBytes < 20 || bytes.length < headBytes) return other("a short TCP header");
  const flags = bytes[13]!;
  return {
    kind: "tcp",
    ...ends,
    sequence: ((be16(bytes, 4) << 16) | be16(bytes, 6)) >>> 0,
    syn: (flags & 0x02) !== 0,
    fin: (flags & 0x01) !== 0,
    reset: (flags & 0x04) !== 0,
    payload: bytes.subarray(headBytes),
  };
}
