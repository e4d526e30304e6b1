// ARP on Ethernet (RFC 826, RFC 5227) as whole frames, bytes in and bytes out: how the standby asks the segment
// who holds the shared addresses, and how a new active tells it (failover §4, §7). Pure.

import { assert } from "../base/assert.ts";
import { equalBytes, plain, type Refusal } from "./codec.ts";

export const ETHERNET_HEAD_BYTES = 14;
/** Shortest Ethernet frame without its checksum (IEEE 802.3 §4A.4.2); what is shorter is padded on its way. */
export const ETHERNET_BYTES_MIN = 60;
export const ETHERTYPE_ARP = 0x0806;
export const MAC_BYTES = 6;
export const BROADCAST_MAC: Uint8Array = new Uint8Array(MAC_BYTES).fill(0xff);
const NO_MAC = new Uint8Array(MAC_BYTES);

const ARP_BYTES = 28;
const ARP_END = ETHERNET_HEAD_BYTES + ARP_BYTES;
/** `ar$hrd` Ethernet, `ar$pro` IPv4, `ar$hln` 6, `ar$pln` 4: the only ARP there is here. */
const ARP_HEAD = Uint8Array.of(0x00, 0x01, 0x08, 0x00, 6, 4);

/**
 * Six bytes in the padding (ARP) or in a Nonce option (ND) by which a node's probes are known to the other: both
 * ask for the same addresses at the same time only if both are about to claim them. Advisory: some equipment
 * may replace padding.
 */
export const MARK_BYTES = 6;

/** RFC 826's `ar$op`. */
export const ArpOperation = { Request: 1, Reply: 2 } as const;
export type ArpOperation = (typeof ArpOperation)[keyof typeof ArpOperation];

/** RFC 826's fields, with those of the Ethernet frame around them. MACs 6 bytes, addresses 4. */
export interface ArpFrame {
  readonly destinationMac: Uint8Array;
  /** Of the Ethernet frame: who really sent it, as the switch sees it. */
  readonly sourceMac: Uint8Array;
  readonly operation: ArpOperation;
  /** `ar$sha`, `ar$spa`: who the sender says it is. */
  readonly senderMac: Uint8Array;
  readonly senderAddress: Uint8Array;
  /** `ar$tha`, `ar$tpa`. */
  readonly targetMac: Uint8Array;
  readonly targetAddress: Uint8Array;
  /** First six bytes of the padding; all zeros for none. */
  readonly mark: Uint8Array;
}

/** Destination, source, type. */
export function putEthernetHead(
  frame: Uint8Array,
  destination: Uint8Array,
  source: Uint8Array,
  etherType: number,
): void {
  assert(destination.length === MAC_BYTES && source.length === MAC_BYTES, "a MAC has 6 bytes");
  frame.set(destination, 0);
  frame.set(source, MAC_BYTES);
  frame[12] = etherType >> 8;
  frame[13] = etherType & 0xff;
}

/** The frame, padded to 60 bytes. */
export function encodeArp(arp: ArpFrame): Uint8Array {
  assert(arp.senderAddress.length === 4 && arp.targetAddress.length === 4, "ARP is for IPv4");
  assert(arp.senderMac.length === MAC_BYTES && arp.targetMac.length === MAC_BYTES, "a MAC has 6 bytes");
  assert(arp.mark.length === MARK_BYTES, "a mark has 6 bytes");
  const frame = new Uint8Array(ETHERNET_BYTES_MIN);
  putEthernetHead(frame, arp.destinationMac, arp.sourceMac, ETHERTYPE_ARP);
  frame.set(ARP_HEAD, 14);
  frame[21] = arp.operation;
  frame.set(arp.senderMac, 22);
  frame.set(arp.senderAddress, 28);
  frame.set(arp.targetMac, 32);
  frame.set(arp.targetAddress, 38);
  frame.set(arp.mark, ARP_END);
  return frame;
}

/** An ARP frame as received. Whatever follows the 28 bytes is Ethernet's padding and not judged. */
export function decodeArp(raw: Uint8Array): { readonly ok: true; readonly value: ArpFrame } | Refusal {
  const frame = plain(raw);
  if (frame.length < ARP_END) return refuse(`truncated: ${frame.length} of ${ARP_END} bytes`, frame.length);
  if (((frame[12] ?? 0) << 8) + (frame[13] ?? 0) !== ETHERTYPE_ARP) return refuse("not ARP", 12);
  if (!equalBytes(frame.subarray(14, 20), ARP_HEAD)) return refuse("not Ethernet and IPv4", 14);
  const operation = ((frame[20] ?? 0) << 8) + (frame[21] ?? 0);
  if (operation !== ArpOperation.Request && operation !== ArpOperation.Reply) {
    return refuse(`operation ${operation}`, 20);
  }
  const mark = new Uint8Array(MARK_BYTES);
  mark.set(frame.subarray(ARP_END, ARP_END + MARK_BYTES));
  return {
    ok: true,
    value: {
      destinationMac: frame.slice(0, 6),
      sourceMac: frame.slice(6, 12),
      operation,
      senderMac: frame.slice(22, 28),
      senderAddress: frame.slice(28, 32),
      targetMac: frame.slice(32, 38),
      targetAddress: frame.slice(38, 42),
      mark,
    },
  };
}

function refuse(reason: string, offset: number): Refusal {
  return { ok: false, reason, offset };
}

export interface SolicitOptions {
  /** Our own MAC and address: the answer comes back there. */
  readonly senderMac: Uint8Array;
  readonly senderAddress: Uint8Array;
  /** The address that is asked for. */
  readonly targetAddress: Uint8Array;
  /** Unicast to this MAC; everybody on the segment where absent. */
  readonly destinationMac?: Uint8Array;
  /** 6 bytes; see MARK_BYTES. */
  readonly mark?: Uint8Array;
}

/** "Who has `targetAddress`?" */
export function arpRequest(options: SolicitOptions): Uint8Array {
  return encodeArp({
    destinationMac: options.destinationMac ?? BROADCAST_MAC,
    sourceMac: options.senderMac,
    operation: ArpOperation.Request,
    senderMac: options.senderMac,
    senderAddress: options.senderAddress,
    targetMac: NO_MAC,
    targetAddress: options.targetAddress,
    mark: options.mark ?? new Uint8Array(MARK_BYTES),
  });
}

/**
 * "`address` is at `mac`", to everybody: sender and target are the same address. As a request it is RFC 5227 §3's
 * announcement; as a reply it reaches equipment that learns from replies alone. A new active sends both.
 */
export function gratuitousArp(mac: Uint8Array, address: Uint8Array, operation: ArpOperation): Uint8Array {
  return encodeArp({
    destinationMac: BROADCAST_MAC,
    sourceMac: mac,
    operation,
    senderMac: mac,
    senderAddress: address,
    targetMac: operation === ArpOperation.Reply ? mac : NO_MAC,
    targetAddress: address,
    mark: new Uint8Array(MARK_BYTES),
  });
}
