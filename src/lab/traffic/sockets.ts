// Sockets of the traffic processes: opened inside any namespace of the laboratory, always non-blocking. The calling
// thread visits the namespace and comes back; the socket stays there.

import { openSync } from "node:fs";
import { parseAddress } from "../../base/addresses.ts";
import * as libc from "../../kernel/libc.ts";

const TCP_NODELAY = 1;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const home = openSync("/proc/thread-self/ns/net", "r");
const entered = new Map<number, number>();

/** Runs `action` inside the network namespace of process `pid` (0: our own). */
export function inside<T>(pid: number, action: () => T): T {
  if (pid === 0) return action();
  let fd = entered.get(pid);
  if (fd === undefined) {
    fd = openSync(`/proc/${pid}/ns/net`, "r");
    entered.set(pid, fd);
  }
  libc.setns(fd);
  try {
    return action();
  } finally {
    libc.setns(home);
  }
}

/** `struct sockaddr_in` or `struct sockaddr_in6`. */
export function socketAddress(address: string, port: number): Uint8Array {
  const parsed = parseAddress(address);
  if (parsed === null) throw new Error(`not an address: ${address}`);
  const bytes = new Uint8Array(parsed.family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, parsed.family === 4 ? libc.AF_INET : libc.AF_INET6, libc.LITTLE_ENDIAN);
  view.setUint16(2, port);
  bytes.set(parsed.bytes, parsed.family === 4 ? 4 : 8);
  return bytes;
}

const familyOf = (address: Uint8Array): number => (address.length === 16 ? libc.AF_INET : libc.AF_INET6);

/** A bound UDP socket with room for a burst. */
export function openUdp(pid: number, local: Uint8Array): number {
  return inside(pid, () => {
    const fd = libc.socket(familyOf(local), libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0);
    libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, 1 << 20, "size a receive buffer");
    libc.bind(fd, local, "bind a traffic socket");
    return fd;
  });
}

/**
 * A datagram or raw socket of any protocol, from `local` to `remote` and nobody else; `remote` null: to whoever asks.
 * @throws KernelError EPROTONOSUPPORT where this kernel has no such sockets.
 */
export function openSocket(
  pid: number,
  what: { readonly type: number; readonly protocol: number },
  [local, remote]: readonly [Uint8Array, Uint8Array | null],
): number {
  return inside(pid, () => {
    const operation = `open a socket for IP protocol ${what.protocol}`;
    const fd = libc.socket(familyOf(local), what.type | libc.SOCK_NONBLOCK, what.protocol, operation);
    libc.bind(fd, local, operation);
    if (remote !== null) libc.connect(fd, remote, operation);
    return fd;
  });
}

/** A ping socket (ICMP echo; the kernel gives it the identifier of its own): a session of its own. */
export function openIcmp(pid: number, local: Uint8Array): number {
  return inside(pid, () => {
    const isV4 = familyOf(local) === libc.AF_INET;
    const type = libc.SOCK_DGRAM | libc.SOCK_NONBLOCK;
    const fd = libc.socket(familyOf(local), type, isV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    libc.bind(fd, local, "bind a ping socket");
    return fd;
  });
}

export function listenTcp(pid: number, local: Uint8Array): number {
  return inside(pid, () => {
    const fd = libc.socket(familyOf(local), libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0);
    libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1, "reuse a listening address");
    libc.bind(fd, local, "bind a listening socket");
    libc.listen(fd, 8192);
    return fd;
  });
}

/** Starts to connect; POLLOUT says when it is decided, `connectError` how. */
export function connectTcp(pid: number, remote: Uint8Array): number {
  return connectTcpFrom(pid, null, remote);
}

/** As `connectTcp`, from a port that is given and shared by connections to other ends; null: from any. */
export function connectTcpFrom(pid: number, local: Uint8Array | null, remote: Uint8Array): number {
  return inside(pid, () => {
    const fd = libc.socket(familyOf(remote), libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0);
    setNoDelay(fd);
    try {
      if (local !== null) {
        libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1, "share a source port");
        libc.bind(fd, local, "bind a source port");
      }
      libc.connect(fd, remote, "connect a session");
    } catch (error) {
      if (!(error instanceof libc.KernelError) || error.errno !== libc.errno.EINPROGRESS) {
        libc.close(fd);
        throw error;
      }
    }
    return fd;
  });
}

export function setNoDelay(fd: number): void {
  libc.setsockoptInt(fd, libc.IPPROTO_TCP, TCP_NODELAY, 1, "send without delay");
}

/** How `close` ends a connection: with a reset after `seconds` 0. */
export function setLinger(fd: number, seconds: number): void {
  const SO_LINGER = 13;
  // struct linger { int l_onoff; int l_linger; }
  const value = new Uint8Array(new Int32Array([1, seconds]).buffer);
  libc.setsockopt(fd, libc.SOL_SOCKET, SO_LINGER, value, "say how a connection ends");
}

/** The errno that a connection attempt ended with; 0: it stands. */
export function connectError(fd: number): number {
  return libc.getsockoptInt(fd, libc.SOL_SOCKET, libc.SO_ERROR);
}
