// Packets for tests: frames with a session's first packet in them, and what is in a frame that was captured. By hand
// and by offset, so that nothing of the program is checked against itself.

import type { PlacementTuple } from "../../src/core/placement.ts";

export interface FrameOptions {
  readonly destinationMac: string;
  readonly sourceMac?: string;
  /** IPv4 identification, or IPv6 flow label. */
  readonly index?: number;
  /** TCP flags of the packet; SYN where left out. */
  readonly tcpFlags?: number;
  /** Behind UDP's header. */
  readonly data?: readonly number[];
  /** All that is behind the IP header, instead; its checksum, where it has one, is put in. */
  readonly body?: readonly number[];
}

/** What a captured frame carries; ports are an ICMP echo's identifier where it is one. */
export interface Packet {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

export const TCP_SYN = 0x02;
export const TCP_SYN_ACK = 0x12;
export const TCP_PUSH_ACK = 0x18;

const be16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];

export const macText = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
export const macBytes = (text: string): number[] => text.split(":").map((part) => Number.parseInt(part, 16));

function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Where the checksum stands in the transport's header. */
const CHECKSUM_AT: Readonly<Record<number, number>> = { 1: 2, 6: 16, 17: 6, 58: 2 };

/** With the checksum in place: a host that is asked with a wrong one does not answer, and proves nothing. */
function withChecksum(tuple: PlacementTuple, body: number[]): number[] {
  const at = CHECKSUM_AT[tuple.protocol];
  if (at === undefined) return body;
  const pseudo = [...tuple.source, ...tuple.destination, 0, tuple.protocol, ...be16(body.length)];
  const sum = checksum([...(tuple.protocol === 1 ? [] : pseudo), ...body]);
  return [...body.slice(0, at), ...be16(sum), ...body.slice(at + 2)];
}

/** A packet that conntrack takes for a new session. Its own checksum is 0. */
function payload(tuple: PlacementTuple, tcpFlags: number, data: readonly number[]): number[] {
  const ports = [...be16(tuple.sourcePort ?? 0), ...be16(tuple.destinationPort ?? 0)];
  switch (tuple.protocol) {
    case 6:
      return [...ports, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcpFlags, 0xff, 0xff, 0, 0, 0, 0];
    case 17:
      return [...ports, ...be16(8 + data.length), 0, 0, ...data];
    case 132:
      // An INIT chunk; the verification tag of the packet that carries it is 0 (RFC 9260 §8.5.1).
      return [...ports, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    case 1:
      return [8, 0, 0, 0, ...be16(tuple.identifier ?? 0), 0, 1];
    case 58:
      return [128, 0, 0, 0, ...be16(tuple.identifier ?? 0), 0, 1];
    default:
      return [1, 2, 3, 4, 5, 6, 7, 8];
  }
}

/** An Ethernet frame with the tuple's packet in it. */
export function frameOf(tuple: PlacementTuple, options: FrameOptions): Uint8Array {
  const index = options.index ?? 1;
  const made = options.body ?? payload(tuple, options.tcpFlags ?? TCP_SYN, options.data ?? []);
  const body = withChecksum(tuple, [...made]);
  const ethernet = [
    ...macBytes(options.destinationMac),
    ...macBytes(options.sourceMac ?? "02:00:00:00:00:09"),
  ];
  if (tuple.source.length === 16) {
    const flow = [0x60, (index >> 16) & 0x0f, ...be16(index)];
    const header = [...flow, ...be16(body.length), tuple.protocol, 64, ...tuple.source, ...tuple.destination];
    return Uint8Array.from([...ethernet, 0x86, 0xdd, ...header, ...body]);
  }
  const fixed = [0x45, 0, ...be16(20 + body.length), ...be16(index), 0, 0, 64, tuple.protocol];
  const ends = [...tuple.source, ...tuple.destination];
  const sum = be16(checksum([...fixed, 0, 0, ...ends]));
  return Uint8Array.from([...ethernet, 0x08, 0x00, ...fixed, ...sum, ...ends, ...body]);
}

/** Null for what is no IP packet. IPv6 addresses come in full, without `::`. */
export function packetOf(frame: Uint8Array): Packet | null {
  const type = (frame[12]! << 8) | frame[13]!;
  if (type !== 0x0800 && type !== 0x86dd) return null;
  const isV4 = type === 0x0800;
  const at = isV4 ? 14 + (frame[14]! & 0x0f) * 4 : 54;
  const text = (start: number): string =>
    isV4
      ? frame.subarray(start, start + 4).join(".")
      : Array.from({ length: 8 }, (_, group) =>
          ((frame[start + group * 2]! << 8) | frame[start + group * 2 + 1]!).toString(16),
        ).join(":");
  const protocol = isV4 ? frame[23]! : frame[20]!;
  const isIcmp = protocol === 1 || protocol === 58;
  const port = (offset: number): number => (frame[at + offset]! << 8) | frame[at + offset + 1]!;
  return {
    sourceMac: macText(frame.subarray(6, 12)),
    destinationMac: macText(frame.subarray(0, 6)),
    source: text(isV4 ? 26 : 22),
    destination: text(isV4 ? 30 : 38),
    protocol,
    ttl: isV4 ? frame[22]! : frame[21]!,
    sourcePort: isIcmp ? port(4) : port(0),
    destinationPort: isIcmp ? port(4) : port(2),
    payload: frame.slice(at),
  };
}
