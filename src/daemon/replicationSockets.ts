// TCP sockets of the log, as the pair needs them and `node:net` cannot make them: bound to the path's own device, hop
// limit 255 out and demanded in (RFC 5082), little unsent in the kernel (replication §1: else nothing can
// collapse when the standby is slow), and a retransmission timeout fit for a cable instead of the Internet.

import type { Server } from "node:net";
import { Socket } from "node:net";
import {
  HOP_LIMIT,
  LOG_RECEIVE_BYTES,
  LOG_RTO_MIN_MS,
  LOG_UNACKNOWLEDGED_MS,
  LOG_UNSENT_BYTES,
  PORT,
} from "../base/limits.ts";
import type { PathConfig } from "../core/config.ts";
import * as libc from "../kernel/libc.ts";
import {
  hasRetransmissionOption,
  putPathRoute,
  removePathRoutes,
  TCP_RTO_MIN_US,
} from "../kernel/pathRoutes.ts";
import { socketAddress } from "../kernel/pathSocket.ts";
import type { Transport } from "../peer/pairLink.ts";

// <linux/tcp.h>
const TCP_USER_TIMEOUT = 18;
const TCP_NOTSENT_LOWAT = 25;
const IPV4_BYTES = 16;

function openSocket(path: PathConfig, local: Uint8Array, byOption: boolean, operation: string): number {
  const v4 = local.length === IPV4_BYTES;
  const family = v4 ? libc.AF_INET : libc.AF_INET6;
  const fd = libc.socket(family, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0, operation);
  try {
    libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1, operation);
    const device = new TextEncoder().encode(`${path.device}\0`);
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_BINDTODEVICE, device, operation);
    const [level, ttl, floor] = v4
      ? ([libc.IPPROTO_IP, libc.IP_TTL, libc.IP_MINTTL] as const)
      : ([libc.IPPROTO_IPV6, libc.IPV6_UNICAST_HOPS, libc.IPV6_MINHOPCOUNT] as const);
    libc.setsockoptInt(fd, level, ttl, HOP_LIMIT, operation);
    libc.setsockoptInt(fd, level, floor, HOP_LIMIT, operation);
    if (!v4) libc.setsockoptInt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, 1, operation);
    libc.setsockoptInt(fd, libc.IPPROTO_TCP, TCP_NOTSENT_LOWAT, LOG_UNSENT_BYTES, operation);
    // Kernel against kernel: a cut is told from a peer that is merely busy, which still acknowledges.
    libc.setsockoptInt(fd, libc.IPPROTO_TCP, TCP_USER_TIMEOUT, LOG_UNACKNOWLEDGED_MS, operation);
    // A full window for so long counts as unacknowledged too: room for what comes while the peer's daemon stalls.
    attempt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, LOG_RECEIVE_BYTES);
    attempt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, LOG_RECEIVE_BYTES);
    // Of this connection alone; else of what goes between the two addresses. Not by the sysctl of 6.11, which is everybody's.
    if (byOption) attempt(fd, libc.IPPROTO_TCP, TCP_RTO_MIN_US, LOG_RTO_MIN_MS * 1000);
    else routeQuickly(path);
    libc.bind(fd, local, operation);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** An option that some kernels or users have not got, and that the connection can do without. */
function attempt(fd: number, level: number, option: number, value: number): void {
  try {
    libc.setsockoptInt(fd, level, option, value, "set an option of the log's connection");
  } catch (error) {
    if (!(error instanceof libc.KernelError)) throw error;
  }
}

/** Without it the connection is slower after a loss, and nothing else: a device that is down has no route at all. */
function routeQuickly(path: PathConfig): void {
  try {
    putPathRoute(path, LOG_RTO_MIN_MS);
  } catch (error) {
    if (!(error instanceof libc.KernelError)) throw error;
  }
}

async function connected(path: PathConfig, byOption: boolean, timeoutMs: number): Promise<Socket> {
  const operation = `replication path ${path.name} (${path.local} to ${path.remote} on ${path.device})`;
  const fd = openSocket(path, socketAddress(path.local, 0), byOption, operation);
  try {
    startConnecting(fd, socketAddress(path.remote, PORT), operation);
    const ready = await libc.pollAsync(libc.pollVector([fd], libc.POLLOUT), 1, timeoutMs);
    if (ready <= 0) throw new libc.KernelError(operation, libc.errno.ETIMEDOUT!);
    const error = libc.getsockoptInt(fd, libc.SOL_SOCKET, libc.SO_ERROR);
    if (error !== 0) throw new libc.KernelError(operation, error);
    return new Socket({ fd, readable: true, writable: true });
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function startConnecting(fd: number, remote: Uint8Array, operation: string): void {
  try {
    libc.connect(fd, remote, operation);
  } catch (error) {
    if (!(error instanceof libc.KernelError) || error.errno !== libc.errno.EINPROGRESS) throw error;
  }
}

/**
 * Listens on TCP 1148 of each path. `listen` throws KernelError naming the path: EADDRINUSE (another program owns
 * the port), EADDRNOTAVAIL (the address is not there), ENODEV (the device is not), EPERM. `byOption`: whether sockets are
 * told their least retransmission timeout, as this kernel can, or routes.
 */
export function replicationTransport(byOption = hasRetransmissionOption()): Transport {
  return {
    listen: (path: PathConfig, server: Server) => {
      const operation = `replication path ${path.name} (${path.local} on ${path.device}, TCP ${PORT})`;
      const fd = openSocket(path, socketAddress(path.local, PORT), byOption, operation);
      // Now and here, so that a port in use is an error of the start and not an event of later.
      libc.listen(fd, 16, operation);
      server.listen({ fd });
      // A device that was taken down and up again has lost the route.
      if (!byOption) server.on("connection", () => routeQuickly(path));
    },
    dial: (path, timeoutMs) => connected(path, byOption, timeoutMs),
    close: () => {
      if (!byOption) removePathRoutes();
    },
  };
}
