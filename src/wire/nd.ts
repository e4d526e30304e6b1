// Neighbour Discovery on Ethernet (RFC 4861) as whole frames: solicitations and advertisements, IPv6's half of
// what arp.ts does for IPv4 (failover §4, §7). What is received is judged as RFC 4861 §7.1 demands. Pure.

import { assert } from "../base/assert.ts";
import { HOP_LIMIT } from "../base/limits.ts";
import { ETHERNET_HEAD_BYTES, MAC_BYTES, MARK_BYTES, putEthernetHead, type SolicitOptions } from "./arp.ts";
import { plain, type Refusal } from "./codec.ts";

export const ETHERTYPE_IPV6 = 0x86dd;
const IPV6_HEAD_BYTES = 40;
const ICMPV6 = 58;
const ICMPV6_START = ETHERNET_HEAD_BYTES + IPV6_HEAD_BYTES;
/** Type, code, checksum, four bytes of flags or nothing, target: RFC 4861 §4.3 and §4.4 alike. */
const ND_BYTES_MIN = 24;

const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
const SOURCE_LINK_LAYER_ADDRESS = 1;
const TARGET_LINK_LAYER_ADDRESS = 2;
/** RFC 3971 §5.3.2; six bytes are its shortest. Receivers that do not know it pass over it. */
const NONCE = 14;
/** Type, length in units of eight bytes, six bytes. */
const OPTION_BYTES = 8;
const FLAG_ROUTER = 0x80;
const FLAG_SOLICITED = 0x40;
const FLAG_OVERRIDE = 0x20;

/** ff02::1 */
const ALL_NODES = Uint8Array.of(0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

export interface NdFrame {
  readonly destinationMac: Uint8Array;
  /** Of the Ethernet frame: who really sent it, as the switch sees it. */
  readonly sourceMac: Uint8Array;
  readonly sourceAddress: Uint8Array;
  readonly destinationAddress: Uint8Array;
  readonly message: "solicitation" | "advertisement";
  readonly targetAddress: Uint8Array;
  /** Of an advertisement; all false for a solicitation. */
  readonly router: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
  /** The source's (solicitation) or the target's (advertisement) link-layer address; null where not said. */
  readonly linkLayerAddress: Uint8Array | null;
  /** Six bytes of a Nonce option; all zeros for none. */
  readonly mark: Uint8Array;
}

/** 33:33 and the last four bytes of a multicast address (RFC 2464 §7). */
function multicastMac(address: Uint8Array): Uint8Array {
  return Uint8Array.of(0x33, 0x33, ...address.subarray(12));
}

/** ff02::1:ff and the last three bytes of a unicast address (RFC 4291 §2.7.1). */
export function solicitedNodeAddress(address: Uint8Array): Uint8Array {
  return Uint8Array.of(0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...address.subarray(13));
}

/** Ones' complement sum (RFC 1071) over the pseudo-header (RFC 8200 §8.1) and `message`; 0 over a correct one. */
export function icmpv6Checksum(source: Uint8Array, destination: Uint8Array, message: Uint8Array): number {
  let sum = message.length + ICMPV6;
  for (const part of [source, destination, message]) {
    for (let index = 0; index < part.length; index += 2) {
      sum += ((part[index] ?? 0) << 8) + (part[index + 1] ?? 0);
    }
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const isZero = (raw: Uint8Array): boolean => raw.every((byte) => byte === 0);
const isMulticast = (address: Uint8Array): boolean => address[0] === 0xff;

export function encodeNd(nd: NdFrame): Uint8Array {
  for (const each of [nd.sourceAddress, nd.destinationAddress, nd.targetAddress]) {
    assert(each.length === 16, "ND is for IPv6");
  }
  const isSolicitation = nd.message === "solicitation";
  const options: number[] = [];
  if (nd.linkLayerAddress !== null) {
    const type = isSolicitation ? SOURCE_LINK_LAYER_ADDRESS : TARGET_LINK_LAYER_ADDRESS;
    options.push(type, 1, ...nd.linkLayerAddress);
  }
  if (!isZero(nd.mark)) options.push(NONCE, 1, ...nd.mark);
  assert(options.length % OPTION_BYTES === 0, "a MAC and a mark have 6 bytes");
  const frame = new Uint8Array(ICMPV6_START + ND_BYTES_MIN + options.length);
  const view = new DataView(frame.buffer);
  putEthernetHead(frame, nd.destinationMac, nd.sourceMac, ETHERTYPE_IPV6);
  frame[14] = 6 << 4;
  view.setUint16(18, ND_BYTES_MIN + options.length);
  frame[20] = ICMPV6;
  frame[21] = HOP_LIMIT;
  frame.set(nd.sourceAddress, 22);
  frame.set(nd.destinationAddress, 38);
  const message = frame.subarray(ICMPV6_START);
  message[0] = isSolicitation ? NEIGHBOR_SOLICITATION : NEIGHBOR_ADVERTISEMENT;
  message[4] =
    (nd.router ? FLAG_ROUTER : 0) | (nd.solicited ? FLAG_SOLICITED : 0) | (nd.override ? FLAG_OVERRIDE : 0);
  message.set(nd.targetAddress, 8);
  message.set(options, ND_BYTES_MIN);
  view.setUint16(ICMPV6_START + 2, icmpv6Checksum(nd.sourceAddress, nd.destinationAddress, message));
  return frame;
}

/** A solicitation or advertisement as received. What follows the IPv6 packet is Ethernet's padding. */
export function decodeNd(raw: Uint8Array): { readonly ok: true; readonly value: NdFrame } | Refusal {
  const frame = plain(raw);
  if (frame.length < ICMPV6_START + ND_BYTES_MIN) return refuse("truncated", frame.length);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== ETHERTYPE_IPV6) return refuse("not IPv6", 12);
  if ((frame[14] ?? 0) >> 4 !== 6) return refuse("not version 6", 14);
  if (frame[20] !== ICMPV6) return refuse("not ICMPv6", 20);
  const end = ICMPV6_START + view.getUint16(18);
  if (end > frame.length || end < ICMPV6_START + ND_BYTES_MIN) return refuse("payload length", 18);
  const type = frame[ICMPV6_START];
  if (type !== NEIGHBOR_SOLICITATION && type !== NEIGHBOR_ADVERTISEMENT)
    return refuse("not ND", ICMPV6_START);
  // RFC 4861 §7.1: 255 proves that no router has forwarded it.
  if (frame[21] !== HOP_LIMIT) return refuse("hop limit", 21);
  const sourceAddress = frame.slice(22, 38);
  const destinationAddress = frame.slice(38, 54);
  const message = frame.subarray(ICMPV6_START, end);
  if (icmpv6Checksum(sourceAddress, destinationAddress, message) !== 0)
    return refuse("checksum", ICMPV6_START + 2);
  if (message[1] !== 0) return refuse("code", ICMPV6_START + 1);
  const isSolicitation = type === NEIGHBOR_SOLICITATION;
  const options = readOptions(message.subarray(ND_BYTES_MIN), isSolicitation);
  if (options === null) return refuse("options", ICMPV6_START + ND_BYTES_MIN);
  const flags = isSolicitation ? 0 : (message[4] ?? 0);
  const value: NdFrame = {
    destinationMac: frame.slice(0, 6),
    sourceMac: frame.slice(6, 12),
    sourceAddress,
    destinationAddress,
    message: isSolicitation ? "solicitation" : "advertisement",
    targetAddress: message.slice(8, 24),
    router: (flags & FLAG_ROUTER) !== 0,
    solicited: (flags & FLAG_SOLICITED) !== 0,
    override: (flags & FLAG_OVERRIDE) !== 0,
    ...options,
  };
  const wrong = addressesWrong(value);
  return wrong === null ? { ok: true, value } : refuse(wrong, ICMPV6_START);
}

/** RFC 4861 §7.1.1 and §7.1.2, what they say about addresses. */
function addressesWrong(nd: NdFrame): string | null {
  if (isMulticast(nd.targetAddress)) return "multicast target";
  if (nd.message === "advertisement") {
    return nd.solicited && isMulticast(nd.destinationAddress) ? "solicited, but to everybody" : null;
  }
  if (!isZero(nd.sourceAddress)) return null;
  if (nd.linkLayerAddress !== null) return "no source, but its link-layer address";
  return isSolicitedNode(nd.destinationAddress) ? null : "no source, but not to the solicited-node address";
}

function isSolicitedNode(address: Uint8Array): boolean {
  return solicitedNodeAddress(address).every((byte, index) => byte === address[index]);
}

interface Options {
  readonly linkLayerAddress: Uint8Array | null;
  readonly mark: Uint8Array;
}

/** RFC 4861 §4.6: unknown options are passed over, an option without length is a refusal. */
function readOptions(raw: Uint8Array, isSolicitation: boolean): Options | null {
  const wanted = isSolicitation ? SOURCE_LINK_LAYER_ADDRESS : TARGET_LINK_LAYER_ADDRESS;
  let linkLayerAddress: Uint8Array | null = null;
  let mark: Uint8Array = new Uint8Array(MARK_BYTES);
  let offset = 0;
  while (offset < raw.length) {
    const length = OPTION_BYTES * (raw[offset + 1] ?? 0);
    if (length === 0 || offset + length > raw.length) return null;
    if (length === OPTION_BYTES && raw[offset] === wanted)
      linkLayerAddress = raw.slice(offset + 2, offset + 8);
    if (length === OPTION_BYTES && raw[offset] === NONCE) mark = raw.slice(offset + 2, offset + 8);
    offset += length;
  }
  return { linkLayerAddress, mark };
}

function refuse(reason: string, offset: number): Refusal {
  return { ok: false, reason, offset };
}

/** "Who has `targetAddress`?": unicast to one MAC (as RFC 4861 §7.3.3 probes), else to the solicited-node address. */
export function neighbourSolicitation(options: SolicitOptions): Uint8Array {
  const { destinationMac, targetAddress } = options;
  assert(options.senderMac.length === MAC_BYTES, "a MAC has 6 bytes");
  const destinationAddress =
    destinationMac === undefined ? solicitedNodeAddress(targetAddress) : targetAddress;
  return encodeNd({
    destinationMac: destinationMac ?? multicastMac(destinationAddress),
    sourceMac: options.senderMac,
    sourceAddress: options.senderAddress,
    destinationAddress,
    message: "solicitation",
    targetAddress,
    router: false,
    solicited: false,
    override: false,
    linkLayerAddress: options.senderMac,
    mark: options.mark ?? new Uint8Array(MARK_BYTES),
  });
}

/** "`address` is at `mac`, and it is a router", to all nodes, unasked (RFC 4861 §7.2.6): Router and Override set. */
export function unsolicitedAdvertisement(mac: Uint8Array, address: Uint8Array): Uint8Array {
  return encodeNd({
    destinationMac: multicastMac(ALL_NODES),
    sourceMac: mac,
    sourceAddress: address,
    destinationAddress: ALL_NODES,
    message: "advertisement",
    targetAddress: address,
    router: true,
    solicited: false,
    override: true,
    linkLayerAddress: mac,
    mark: new Uint8Array(MARK_BYTES),
  });
}
