// The neighbours (address -> MAC) of the service interfaces: read, installed, watched. The standby gets the active's
// as STALE entries: with them a takeover sends its first packet at once, without them each destination waits a
// second for resolution (failover.md §7). Over rtnetlink; structures: linux/neighbour.h.

import { formatAddress, formatMac, parseAddress, parseMac } from "../base/addresses.ts";
import { NEIGHBOURS_MAX } from "../base/limits.ts";
import {
  HOST_LITTLE_ENDIAN,
  type Message,
  MessageWriter,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  readAttributes,
} from "../wire/netlink.ts";
import { openRouteSocket } from "./interfaces.ts";
import { AF_INET, AF_INET6, errno, interfaceIndex } from "./libc.ts";
import { NetlinkSocket } from "./netlink.ts";

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const RTNLGRP_NEIGH = 3;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NUD_REACHABLE = 0x02;
const NUD_STALE = 0x04;
const NUD_DELAY = 0x08;
const NUD_PROBE = 0x10;
/** States in which the MAC is one that was heard, and may still be true. */
const NUD_KNOWN = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
const NDMSG_BYTES = 12;
const ETHERNET_ADDRESS_BYTES = 6;
const MONITOR_BYTES = 1 << 20;

/** One neighbour. */
export interface Neighbour {
  /** `us-lan` */
  readonly device: string;
  readonly address: string;
  readonly mac: string;
}

/** A change of one neighbour. `mac` is empty where it is gone, or not resolved any more. */
export type NeighbourChange = Neighbour;

export interface NeighbourMonitor {
  /** Readable when something is there to drain. */
  readonly fd: number;
  /**
   * Hands over what changed since the last call, without waiting. False: notifications were lost (list again).
   */
  drain(visit: (change: NeighbourChange) => void): boolean;
  close(): void;
}

/** The known neighbours of `devices`, at most NEIGHBOURS_MAX. A device that is not there has none. */
export function listNeighbours(devices: readonly string[]): Neighbour[] {
  const byIndex = indexed(devices);
  const socket = openRouteSocket();
  try {
    const request = new MessageWriter(RTM_GETNEIGH).fixed(new Uint8Array(NDMSG_BYTES));
    const known: Neighbour[] = [];
    for (const message of socket.dump("list neighbours", request)) {
      const change = readNeighbour(message, byIndex);
      if (change === null || change.mac === "") continue;
      known.push(change);
      if (known.length === NEIGHBOURS_MAX) break;
    }
    return known;
  } finally {
    socket.close();
  }
}

/**
 * Installs neighbours as STALE: used at once, confirmed by the kernel when used. One of a device that is not there, and
 * one that the kernel refuses (an address of our own), is left out. Returns how many were installed.
 */
export function installNeighbours(neighbours: readonly Neighbour[]): number {
  const socket = openRouteSocket();
  let installed = 0;
  try {
    for (const neighbour of neighbours.slice(0, NEIGHBOURS_MAX)) {
      const message = neighbourRequest(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, neighbour);
      const mac = parseMac(neighbour.mac);
      if (message === null || mac === null) continue;
      const operation = `install neighbour ${neighbour.address} of ${neighbour.device}`;
      const allow = { allow: [errno.EINVAL, errno.ENODEV, errno.ENETDOWN] };
      if (socket.request(operation, message.attribute(NDA_LLADDR, mac), allow) === 0) installed += 1;
    }
  } finally {
    socket.close();
  }
  return installed;
}

/** Removes neighbours; removing the absent succeeds. Returns how many were there. */
export function removeNeighbours(neighbours: readonly Omit<Neighbour, "mac">[]): number {
  const socket = openRouteSocket();
  let removed = 0;
  try {
    for (const neighbour of neighbours) {
      const message = neighbourRequest(RTM_DELNEIGH, 0, neighbour);
      if (message === null) continue;
      const operation = `remove neighbour ${neighbour.address} of ${neighbour.device}`;
      const allow = { allow: [errno.ENOENT, errno.EINVAL, errno.ENODEV] };
      if (socket.request(operation, message, allow) === 0) removed += 1;
    }
  } finally {
    socket.close();
  }
  return removed;
}

/** Watches the neighbours of `devices` from now on. A device that is made anew later is recognised by its name. */
export function openNeighbourMonitor(devices: readonly string[]): NeighbourMonitor {
  const socket = new NetlinkSocket(NETLINK_ROUTE, { groups: [RTNLGRP_NEIGH], receiveBytes: MONITOR_BYTES });
  return {
    fd: socket.fd,
    drain: (visit) => {
      const byIndex = indexed(devices);
      for (;;) {
        const { messages, overrun } = socket.receive();
        for (const message of messages) {
          const change = readNeighbour(message, byIndex);
          if (change !== null) visit(change);
        }
        if (overrun) return false;
        if (messages.length === 0) return true;
      }
    },
    close: () => socket.close(),
  };
}

function indexed(devices: readonly string[]): Map<number, string> {
  const byIndex = new Map<number, string>();
  for (const device of devices) {
    const index = interfaceIndex(device);
    if (index !== 0) byIndex.set(index, device);
  }
  return byIndex;
}

/** `struct ndmsg { u8 family; u8 pad; u16 pad; s32 ifindex; u16 state; u8 flags; u8 type; }` */
function neighbourRequest(
  type: number,
  flags: number,
  neighbour: Omit<Neighbour, "mac">,
): MessageWriter | null {
  const index = interfaceIndex(neighbour.device);
  const address = parseAddress(neighbour.address);
  if (index === 0 || address === null) return null;
  const header = new Uint8Array(NDMSG_BYTES);
  const view = new DataView(header.buffer);
  header[0] = address.family === 4 ? AF_INET : AF_INET6;
  view.setInt32(4, index, HOST_LITTLE_ENDIAN);
  if (type === RTM_NEWNEIGH) view.setUint16(8, NUD_STALE, HOST_LITTLE_ENDIAN);
  return new MessageWriter(type, flags).fixed(header).attribute(NDA_DST, address.bytes);
}

/** Null where it is no neighbour of a watched device. */
function readNeighbour(message: Message, byIndex: ReadonlyMap<number, string>): NeighbourChange | null {
  const { payload, type } = message;
  if ((type !== RTM_NEWNEIGH && type !== RTM_DELNEIGH) || payload.length < NDMSG_BYTES) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const device = byIndex.get(view.getInt32(4, HOST_LITTLE_ENDIAN));
  const attributes = readAttributes(payload.subarray(NDMSG_BYTES));
  const address = attributes?.get(NDA_DST);
  if (device === undefined || address === undefined) return null;
  if (address.length !== 4 && address.length !== 16) return null;
  const state = view.getUint16(8, HOST_LITTLE_ENDIAN);
  const mac = attributes?.get(NDA_LLADDR);
  const isKnown =
    type === RTM_NEWNEIGH && (state & NUD_KNOWN) !== 0 && mac?.length === ETHERNET_ADDRESS_BYTES;
  return { device, address: formatAddress(address), mac: isKnown && mac !== undefined ? formatMac(mac) : "" };
}
