// Carrier of a few devices, as rtnetlink tells it: for heart, so synchronous, non-blocking, and parsed in place.
// Only `struct ifinfomsg` is read (linux/rtnetlink.h); everything else about interfaces is in interfaces.ts.

import * as libc from "./libc.ts";

const NETLINK_ROUTE = 0;
const RTNLGRP_LINK = 1;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const IFF_UP = 1;
const IFF_LOWER_UP = 0x10000;
const NLMSG_HEADER_BYTES = 16;

export interface CarrierMonitor {
  readonly fd: number;
  /** Reads what is waiting and reports each watched device's carrier as the kernel last told it. */
  drain(visit: (device: string, up: boolean) => void): void;
  close(): void;
}

/** Watches `devices`; their present carrier is reported by the first drain. @throws KernelError */
export function openCarrierMonitor(devices: readonly string[]): CarrierMonitor {
  const operation = "watch interfaces (rtnetlink)";
  const type = libc.SOCK_RAW | libc.SOCK_NONBLOCK;
  const fd = libc.socket(libc.AF_NETLINK, type, NETLINK_ROUTE, operation);
  // struct sockaddr_nl: family, pad, pid, groups.
  const address = new Uint8Array(12);
  new DataView(address.buffer).setUint16(0, libc.AF_NETLINK, libc.LITTLE_ENDIAN);
  libc.bind(fd, address, operation);
  libc.setsockoptInt(fd, libc.SOL_NETLINK, libc.NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK, operation);
  libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, 1 << 20, operation);
  const byIndex = new Map<number, string>();
  for (const device of devices) byIndex.set(libc.interfaceIndex(device), device);
  const requestDump = (): void => {
    const request = new Uint8Array(NLMSG_HEADER_BYTES + 16);
    const view = new DataView(request.buffer);
    view.setUint32(0, request.length, libc.LITTLE_ENDIAN);
    view.setUint16(4, RTM_GETLINK, libc.LITTLE_ENDIAN);
    view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, libc.LITTLE_ENDIAN);
    libc.send(fd, request);
  };
  requestDump();
  const buffer = new Uint8Array(64 * 1024);
  const view = new DataView(buffer.buffer);
  const parse = (length: number, visit: (device: string, up: boolean) => void): void => {
    for (let at = 0; at + NLMSG_HEADER_BYTES <= length; ) {
      const bytes = view.getUint32(at, libc.LITTLE_ENDIAN);
      if (bytes < NLMSG_HEADER_BYTES || at + bytes > length) return;
      const kind = view.getUint16(at + 4, libc.LITTLE_ENDIAN);
      if ((kind === RTM_NEWLINK || kind === RTM_DELLINK) && bytes >= NLMSG_HEADER_BYTES + 16) {
        const device = byIndex.get(view.getInt32(at + NLMSG_HEADER_BYTES + 4, libc.LITTLE_ENDIAN));
        const flags = view.getUint32(at + NLMSG_HEADER_BYTES + 8, libc.LITTLE_ENDIAN);
        const up = kind === RTM_NEWLINK && (flags & IFF_UP) !== 0 && (flags & IFF_LOWER_UP) !== 0;
        if (device !== undefined) visit(device, up);
      }
      at += (bytes + 3) & ~3;
    }
  };
  return {
    fd,
    drain: (visit) => {
      for (;;) {
        const length = libc.recv(fd, buffer, libc.MSG_DONTWAIT);
        // Overrun: what was missed is asked for again.
        if (length === -libc.errno.ENOBUFS!) requestDump();
        else if (length <= 0) return;
        else parse(length, visit);
      }
    },
    close: () => libc.close(fd),
  };
}
