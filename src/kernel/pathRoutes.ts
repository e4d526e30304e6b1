// The least retransmission timeout of TCP towards the peer, on kernels whose sockets cannot be told (before 6.15): a route of
// our own to the peer's address on the path's device, with `rto_min` (RTAX_RTO_MIN, as `ip route ... rto_min 5ms`). It
// is in table main, because the log's packets are the node's own; nobody else's traffic but that between the two
// addresses of the path takes it. Ours by our protocol number; it never takes the place of somebody else's route.

import { formatAddress, parseAddress } from "../base/addresses.ts";
import { ROUTE_PROTOCOL } from "../base/limits.ts";
import {
  HOST_LITTLE_ENDIAN,
  MessageWriter,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  readAttributes,
  readU32,
} from "../wire/netlink.ts";
import { openRouteSocket, requireIndex } from "./interfaces.ts";
import {
  AF_INET,
  AF_INET6,
  close,
  errno,
  getsockoptInt,
  IPPROTO_TCP,
  KernelError,
  SOCK_STREAM,
  socket,
} from "./libc.ts";
import type { NetlinkSocket } from "./netlink.ts";

/** <linux/tcp.h>, Linux 6.15: in microseconds. */
export const TCP_RTO_MIN_US = 45;

// <linux/rtnetlink.h>
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_LOCK = 1;
const RTAX_RTO_MIN = 13;
const RT_TABLE_MAIN = 254;
const RTN_UNICAST = 1;
const RT_SCOPE_LINK = 253;
const RTMSG_BYTES = 12;
/** Behind whatever route to the peer somebody else has put there, and apart from it. */
const PRIORITY = 1148;

/** Whether this kernel lets one socket be told, which then is enough. */
export function hasRetransmissionOption(): boolean {
  const fd = socket(AF_INET, SOCK_STREAM, 0, "ask for TCP_RTO_MIN_US");
  try {
    getsockoptInt(fd, IPPROTO_TCP, TCP_RTO_MIN_US);
    return true;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return false;
  } finally {
    close(fd);
  }
}

/** One path as a node sees it; addresses of one family. */
export interface PathEnds {
  readonly device: string;
  readonly local: string;
  readonly remote: string;
}

/** Puts the route there, or again; twice is once. Throws KernelError (ENODEV, ENETDOWN: the device is not up). */
export function putPathRoute(path: PathEnds, rtoMinMs: number): void {
  const operation = `set the least retransmission timeout towards ${path.remote} on ${path.device}`;
  const [local, remote] = [parseAddress(path.local)!, parseAddress(path.remote)!];
  const header = new Uint8Array(RTMSG_BYTES);
  header[0] = remote.family === 4 ? AF_INET : AF_INET6;
  header[1] = remote.bytes.length * 8;
  header[4] = RT_TABLE_MAIN;
  header[5] = ROUTE_PROTOCOL;
  header[6] = remote.family === 4 ? RT_SCOPE_LINK : 0;
  header[7] = RTN_UNICAST;
  const message = new MessageWriter(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)
    .fixed(header)
    .attribute(RTA_DST, remote.bytes)
    .u32(RTA_OIF, requireIndex(operation, path.device))
    .u32(RTA_PRIORITY, PRIORITY)
    .attribute(RTA_PREFSRC, local.bytes)
    // What is not locked is the kernel's to overrule.
    .nested(RTA_METRICS, (metrics) => metrics.u32(RTAX_LOCK, 1 << RTAX_RTO_MIN).u32(RTAX_RTO_MIN, rtoMinMs));
  withSocket((socket) => socket.request(operation, message));
}

/** Removes every route of the kind from this namespace; returns what was removed, for people. */
export function removePathRoutes(): string[] {
  return withSocket((socket) => ([4, 6] as const).flatMap((family) => removeOf(socket, family)));
}

function removeOf(socket: NetlinkSocket, family: 4 | 6): string[] {
  const number = family === 4 ? AF_INET : AF_INET6;
  const header = new Uint8Array(RTMSG_BYTES);
  header[0] = number;
  // The kernel filters by protocol and table: a full feed of routes is not copied.
  header[4] = RT_TABLE_MAIN;
  header[5] = ROUTE_PROTOCOL;
  const request = new MessageWriter(RTM_GETROUTE).fixed(header);
  const removed: string[] = [];
  for (const { type, payload } of socket.dump(`list routes to the peer, IPv${family}`, request, {
    allow: [errno.EAFNOSUPPORT, errno.EOPNOTSUPP],
  })) {
    if (type !== RTM_NEWROUTE || payload.length < RTMSG_BYTES || payload[5] !== ROUTE_PROTOCOL) continue;
    const attributes = readAttributes(payload.subarray(RTMSG_BYTES));
    const destination = attributes?.get(RTA_DST);
    if (readU32(attributes?.get(RTA_TABLE)) !== RT_TABLE_MAIN || destination === undefined) continue;
    if (readU32(attributes?.get(RTA_PRIORITY)) !== PRIORITY) continue;
    const name = `route to the peer ${formatAddress(destination)}`;
    const head = Uint8Array.from(payload.subarray(0, RTMSG_BYTES));
    // Flags of the answer (RTNH_F_LINKDOWN and the like) are none of a request.
    new DataView(head.buffer).setUint32(8, 0, HOST_LITTLE_ENDIAN);
    const message = new MessageWriter(RTM_DELROUTE)
      .fixed(head)
      .attribute(RTA_DST, destination)
      .u32(RTA_PRIORITY, PRIORITY);
    if (socket.request(`remove the ${name}`, message, { allow: [errno.ESRCH] }) === 0)
      removed.push(`${name}: removed`);
  }
  return removed;
}

function withSocket<T>(body: (socket: NetlinkSocket) => T): T {
  const socket = openRouteSocket();
  try {
    return body(socket);
  } finally {
    socket.close();
  }
}
