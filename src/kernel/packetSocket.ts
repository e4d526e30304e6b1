// Raw frames on one device: ARP and neighbour discovery for the arbiter and the witnesses on a real port, and
// announcements on a service interface (where they pass the gate's egress like everything else: a shut gate
// announces nothing). Synchronous and non-blocking. It moves bytes and decides nothing.

import * as libc from "./libc.ts";

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_IPV6 = 0x86dd;

export interface PacketSocket {
  readonly device: string;
  readonly fd: number;
  /** Sends one whole Ethernet frame; false where the kernel refused (device down, queue full). */
  send(frame: Uint8Array): boolean;
  /** Hands every waiting frame to `visit`; the bytes are valid during the call. */
  drain(visit: (frame: Uint8Array) => void): void;
  close(): void;
}

const BATCH = 32;
const DRAIN_MAX = 512;
const FRAME_BYTES_MAX = 128;

/** Classic BPF (linux/filter.h): of IPv6, neighbour solicitations and advertisements alone. */
export const NEIGHBOUR_DISCOVERY: readonly libc.FilterInstruction[] = [
  [0x30, 0, 0, 20], // ldb [20]: IPv6 next header
  [0x15, 0, 4, 58], // jeq ICMPv6, else drop
  [0x30, 0, 0, 54], // ldb [54]: ICMPv6 type
  [0x15, 1, 0, 135], // jeq solicitation: keep
  [0x15, 0, 1, 136], // jeq advertisement, else drop
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];

/**
 * Opens a packet socket that receives `protocol` frames of `device` (0: none, for sending only), those that
 * `filter` lets pass.
 * @throws KernelError naming the device: ENODEV, EPERM (CAP_NET_RAW).
 */
export function openPacketSocket(
  device: string,
  protocol: number,
  filter?: readonly libc.FilterInstruction[],
): PacketSocket {
  const operation = `packet socket on ${device}`;
  const index = libc.interfaceIndex(device);
  if (index === 0) throw new libc.KernelError(operation, libc.errno.ENODEV!, "Does `ip link` show it?");
  const wireProtocol = ((protocol & 0xff) << 8) | (protocol >> 8);
  // Protocol 0 until it is bound: a packet socket receives from every device before that.
  const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, operation);
  // struct sockaddr_ll: family, protocol (network order), ifindex, hatype, pkttype, halen, addr[8].
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
  view.setUint16(2, wireProtocol, libc.LITTLE_ENDIAN);
  view.setInt32(4, index, libc.LITTLE_ENDIAN);
  try {
    if (protocol !== 0)
      libc.setsockoptInt(
        fd,
        libc.SOL_PACKET,
        libc.PACKET_IGNORE_OUTGOING,
        1,
        `${operation}: ignore outgoing`,
      );
    // Before it is bound: not one frame too many is queued.
    if (filter !== undefined) libc.attachFilter(fd, filter, operation);
    libc.bind(fd, address, operation);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  const vector = libc.messageVector(protocol === 0 ? 1 : BATCH, FRAME_BYTES_MAX);
  return {
    device,
    fd,
    send: (frame) => libc.send(fd, frame, frame.length, libc.MSG_DONTWAIT) > 0,
    drain: (visit) => {
      for (let taken = 0; taken < DRAIN_MAX; ) {
        const count = libc.recvmmsg(fd, vector.headers, BATCH, libc.MSG_DONTWAIT);
        if (count <= 0) return;
        for (let slot = 0; slot < count; slot += 1) {
          const at = slot * vector.slotBytes;
          visit(vector.buffer.subarray(at, at + vector.length(slot)));
        }
        taken += count;
        if (count < BATCH) return;
      }
    },
    close: () => libc.close(fd),
  };
}
