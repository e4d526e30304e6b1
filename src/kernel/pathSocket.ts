// One heartbeat socket a path: UDP 1148, bound to the path's address and device, so that a flood on one segment
// cannot silence another. Synchronous and non-blocking: heart drains it in its own turn. It moves bytes and
// decides nothing.

import { parseAddress } from "../base/addresses.ts";
import { BoundaryError } from "../base/errors.ts";
import { DATAGRAM_BYTES_MAX, HEART_REFUSED_PER_TURN_MAX, HOP_LIMIT, PORT } from "../base/limits.ts";
import * as libc from "./libc.ts";

export interface PathSocketOptions {
  readonly name: string;
  readonly device: string;
  readonly local: string;
  readonly remote: string;
}

export interface PathSocket {
  readonly name: string;
  readonly fd: number;
  /** Sends to the peer; false where the kernel refused (no route, cable out): the next one may pass. */
  send(datagram: Uint8Array): boolean;
  /**
   * Hands every waiting datagram to `visit`, which says whether it was of use; the bytes are valid during the call.
   * At most `DRAIN_MAX`, and no further batch after HEART_REFUSED_PER_TURN_MAX that were of none: what is beyond waits
   * for the next turn. (A backlog of real heartbeats is taken whole: silence is judged after it.)
   */
  drain(visit: (datagram: Uint8Array, fromPeer: boolean) => boolean): void;
  /** The peer has another address from now on, of the same family: two sockets cannot have one end. */
  retarget(remote: string): void;
  close(): void;
}

const BATCH = 32;
const DRAIN_MAX = 512;

/** `struct sockaddr_in` or `struct sockaddr_in6` of an address and a port. */
export function socketAddress(address: string, port: number): Uint8Array {
  const parsed = parseAddress(address);
  if (parsed === null) throw new BoundaryError({ operation: `use address ${address}`, code: "EINVAL" });
  const v4 = parsed.family === 4;
  const result = new Uint8Array(v4 ? 16 : 28);
  const view = new DataView(result.buffer);
  view.setUint16(0, v4 ? libc.AF_INET : libc.AF_INET6, libc.LITTLE_ENDIAN);
  view.setUint16(2, port);
  result.set(parsed.bytes, v4 ? 4 : 8);
  return result;
}

/**
 * Opens the socket of one path.
 * @throws KernelError naming the path: EADDRINUSE (another program owns UDP 1148), EADDRNOTAVAIL, ENODEV, EPERM.
 */
export function openPathSocket(options: PathSocketOptions): PathSocket {
  const { name, device, local, remote } = options;
  let remoteAddress = socketAddress(remote, PORT);
  const localAddress = socketAddress(local, PORT);
  const v4 = localAddress.length === 16;
  const operation = `heartbeat path ${name} (${local} on ${device}, UDP ${PORT})`;
  const fd = libc.socket(
    v4 ? libc.AF_INET : libc.AF_INET6,
    libc.SOCK_DGRAM | libc.SOCK_NONBLOCK,
    0,
    operation,
  );
  try {
    libc.setsockopt(
      fd,
      libc.SOL_SOCKET,
      libc.SO_BINDTODEVICE,
      new TextEncoder().encode(`${device}\0`),
      operation,
    );
    const [level, ttl, floor] = v4
      ? ([libc.IPPROTO_IP, libc.IP_TTL, libc.IP_MINTTL] as const)
      : ([libc.IPPROTO_IPV6, libc.IPV6_UNICAST_HOPS, libc.IPV6_MINHOPCOUNT] as const);
    // RFC 5082 §3: what a router forwarded is nobody's heartbeat.
    libc.setsockoptInt(fd, level, ttl, HOP_LIMIT, operation);
    libc.setsockoptInt(fd, level, floor, HOP_LIMIT, operation);
    // CS6: network control.
    if (v4) libc.setsockoptInt(fd, libc.IPPROTO_IP, 1, 0xc0, operation);
    libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_PRIORITY, 6, operation);
    libc.bind(fd, localAddress, operation);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  const vector = libc.messageVector(BATCH, DATAGRAM_BYTES_MAX + 1, true);
  const addressAt = v4 ? 4 : 8;
  const bytesOf = (address: Uint8Array): Uint8Array => address.subarray(addressAt, v4 ? 8 : 24);
  let peerBytes = bytesOf(remoteAddress);
  const isPeer = (slot: number): boolean => {
    const at = slot * libc.ADDRESS_BYTES + addressAt;
    for (let index = 0; index < peerBytes.length; index += 1)
      if (vector.addresses[at + index] !== peerBytes[index]) return false;
    return true;
  };
  return {
    name,
    fd,
    send: (datagram) => libc.sendto(fd, datagram, datagram.length, libc.MSG_DONTWAIT, remoteAddress) > 0,
    drain: (visit) => {
      for (let taken = 0, refused = 0; taken < DRAIN_MAX && refused < HEART_REFUSED_PER_TURN_MAX; ) {
        vector.reset();
        const count = libc.recvmmsg(fd, vector.headers, BATCH, libc.MSG_DONTWAIT);
        if (count <= 0) return;
        for (let slot = 0; slot < count; slot += 1) {
          const at = slot * vector.slotBytes;
          if (!visit(vector.buffer.subarray(at, at + vector.length(slot)), isPeer(slot))) refused += 1;
        }
        taken += count;
        if (count < BATCH) return;
      }
    },
    retarget: (address) => {
      remoteAddress = socketAddress(address, PORT);
      peerBytes = bytesOf(remoteAddress);
    },
    close: () => libc.close(fd),
  };
}
