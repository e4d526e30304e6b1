// Address resolution, both families behind one face: ask who holds an address, announce that we do, and read
// what the segment says (failover §4, §7). ARP is arp.ts, ND is nd.ts; what an answer is worth is the election's
// business. Pure.

import type { NodeId } from "../base/units.ts";
import {
  ArpOperation,
  arpRequest,
  decodeArp,
  ETHERNET_HEAD_BYTES,
  ETHERTYPE_ARP,
  gratuitousArp,
  MARK_BYTES,
  type SolicitOptions,
} from "./arp.ts";
import { equalBytes, type Refusal } from "./codec.ts";
import { decodeNd, ETHERTYPE_IPV6, neighbourSolicitation, unsolicitedAdvertisement } from "./nd.ts";
import { MAGIC } from "./preamble.ts";

/** What one frame says. Addresses have 4 or 16 bytes. */
export interface Resolution {
  readonly family: 4 | 6;
  /** `ask`: an ARP request or a solicitation. `answer`: an ARP reply or an advertisement. */
  readonly kind: "ask" | "answer";
  /** Of the Ethernet frame: who sent it, as the switch learns it. */
  readonly sourceMac: Uint8Array;
  /** `ask`: who asks (`::` for nobody yet). `answer`: the address that is said to be at `mac`. */
  readonly address: Uint8Array;
  /**
   * The MAC that the frame itself names for `address`; null where it names none: Linux's answer to a *unicast*
   * solicitation does not (RFC 4861 §7.2.4). Who answered is `sourceMac`.
   */
  readonly mac: Uint8Array | null;
  /** `ask`: the address that is asked for. `answer`: whom it is told to. */
  readonly targetAddress: Uint8Array;
  /** Announced by its holder, unasked. */
  readonly gratuitous: boolean;
  /** A probe of this node of a pair, by its mark (any pair's: the mark carries none). */
  readonly probeOf: NodeId | null;
}

const markOf = (node: NodeId): Uint8Array => Uint8Array.of(...MAGIC, node === "a" ? 0x61 : 0x62);
const marks: readonly (readonly [NodeId, Uint8Array])[] = [
  ["a", markOf("a")],
  ["b", markOf("b")],
];

export interface AskOptions extends Omit<SolicitOptions, "mark"> {
  /** Marks the frame as a probe of this node, so that the other one knows it. */
  readonly probeOf?: NodeId;
}

/** "Who has `targetAddress`?" Both addresses of one family; ND wants a sender's address (failover §4). */
export function askFrame(options: AskOptions): Uint8Array {
  const { probeOf, ...solicit } = options;
  const marked = { ...solicit, mark: probeOf === undefined ? new Uint8Array(MARK_BYTES) : markOf(probeOf) };
  return options.targetAddress.length === 4 ? arpRequest(marked) : neighbourSolicitation(marked);
}

/** The frames that announce `address` at `mac`: for IPv4 both forms of gratuitous ARP, for IPv6 one unsolicited NA. */
export function announceFrames(mac: Uint8Array, address: Uint8Array): readonly Uint8Array[] {
  if (address.length === 16) return [unsolicitedAdvertisement(mac, address)];
  return [gratuitousArp(mac, address, ArpOperation.Request), gratuitousArp(mac, address, ArpOperation.Reply)];
}

/** Reads any frame; a refusal for what is neither ARP nor ND, or is malformed. */
export function readResolution(
  frame: Uint8Array,
): { readonly ok: true; readonly value: Resolution } | Refusal {
  if (frame.length < ETHERNET_HEAD_BYTES) return { ok: false, reason: "truncated", offset: frame.length };
  const etherType = ((frame[12] ?? 0) << 8) + (frame[13] ?? 0);
  if (etherType === ETHERTYPE_ARP) return readArp(frame);
  if (etherType === ETHERTYPE_IPV6) return readNd(frame);
  return { ok: false, reason: "neither ARP nor IPv6", offset: 12 };
}

function readArp(frame: Uint8Array): { readonly ok: true; readonly value: Resolution } | Refusal {
  const decoded = decodeArp(frame);
  if (!decoded.ok) return decoded;
  const arp = decoded.value;
  const gratuitous = equalBytes(arp.senderAddress, arp.targetAddress);
  return {
    ok: true,
    value: {
      family: 4,
      kind: arp.operation === ArpOperation.Reply || gratuitous ? "answer" : "ask",
      sourceMac: arp.sourceMac,
      address: arp.senderAddress,
      mac: arp.senderMac,
      targetAddress: arp.targetAddress,
      gratuitous,
      probeOf: probeOf(arp.mark),
    },
  };
}

function readNd(frame: Uint8Array): { readonly ok: true; readonly value: Resolution } | Refusal {
  const decoded = decodeNd(frame);
  if (!decoded.ok) return decoded;
  const nd = decoded.value;
  const isAsk = nd.message === "solicitation";
  return {
    ok: true,
    value: {
      family: 6,
      kind: isAsk ? "ask" : "answer",
      sourceMac: nd.sourceMac,
      address: isAsk ? nd.sourceAddress : nd.targetAddress,
      mac: nd.linkLayerAddress,
      targetAddress: isAsk ? nd.targetAddress : nd.destinationAddress,
      gratuitous: !isAsk && !nd.solicited,
      probeOf: probeOf(nd.mark),
    },
  };
}

function probeOf(mark: Uint8Array): NodeId | null {
  return marks.find(([, known]) => equalBytes(known, mark))?.[0] ?? null;
}
