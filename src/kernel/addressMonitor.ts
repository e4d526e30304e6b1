// The addresses of a few devices, as rtnetlink tells of them: for heart, so synchronous and non-blocking. After the
// first dump it only listens: a dump may wait for the kernel's rtnl lock, and heart must not. One is asked for again
// only where messages were lost. It keeps what it heard and decides nothing.

import * as libc from "./libc.ts";

const NETLINK_ROUTE = 0;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV6_IFADDR = 9;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const NLM_F_REQUEST = 1;
const NLM_F_MULTI = 2;
const NLM_F_DUMP = 0x300;
const NLMSG_HEADER_BYTES = 16;
/** `struct ifaddrmsg` (linux/if_addr.h): family, prefixlen, flags, scope, u32 index. */
const IFADDRMSG_BYTES = 8;
const ATTRIBUTE_HEADER_BYTES = 4;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;

export interface AddressMonitor {
  readonly fd: number;
  /** Reads what is waiting; true where an address of a watched device came or went. */
  drain(): boolean;
  /** The addresses of `device`, 4 or 16 bytes each, the oldest first. */
  of(device: string): readonly Uint8Array[];
  close(): void;
}

/** Address by `INDEX HEX`. */
type Table = Map<string, { readonly index: number; readonly bytes: Uint8Array }>;

/** Watches `devices`; what they have now is there after the first drain. @throws KernelError */
export function openAddressMonitor(devices: readonly string[]): AddressMonitor {
  const operation = "watch addresses (rtnetlink)";
  const fd = libc.socket(libc.AF_NETLINK, libc.SOCK_RAW | libc.SOCK_NONBLOCK, NETLINK_ROUTE, operation);
  // struct sockaddr_nl: family, pad, pid, groups.
  const address = new Uint8Array(12);
  new DataView(address.buffer).setUint16(0, libc.AF_NETLINK, libc.LITTLE_ENDIAN);
  libc.bind(fd, address, operation);
  for (const group of [RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR])
    libc.setsockoptInt(fd, libc.SOL_NETLINK, libc.NETLINK_ADD_MEMBERSHIP, group, operation);
  libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, 1 << 20, operation);
  return new Monitor(fd, new Map(devices.map((device) => [device, libc.interfaceIndex(device)])));
}

class Monitor implements AddressMonitor {
  readonly fd: number;
  readonly #indices: ReadonlyMap<string, number>;
  readonly #watched: ReadonlySet<number>;
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #view = new DataView(this.#buffer.buffer);
  #table: Table = new Map();
  #isDumping = false;
  /**
   * What the dump under way has brought so far, and what was told since: it replaces the table at its end. Null until
   * its first message: what is told before that is older than the dump.
   */
  #dumped: Table | null = null;
  /** Messages were lost while a dump was under way: another one follows it. */
  #isStale = false;

  constructor(fd: number, indices: ReadonlyMap<string, number>) {
    this.fd = fd;
    this.#indices = indices;
    this.#watched = new Set(indices.values());
    this.#requestDump();
  }

  of(device: string): readonly Uint8Array[] {
    const wanted = this.#indices.get(device);
    return [...this.#table.values()].filter(({ index }) => index === wanted).map(({ bytes }) => bytes);
  }

  close(): void {
    libc.close(this.fd);
  }

  drain(): boolean {
    let changed = false;
    for (;;) {
      const length = libc.recv(this.fd, this.#buffer, libc.MSG_DONTWAIT);
      if (length === -libc.errno.ENOBUFS!) {
        if (this.#isDumping) this.#isStale = true;
        else this.#requestDump();
      } else if (length <= 0) return changed;
      else changed = this.#parse(length) || changed;
    }
  }

  #requestDump(): void {
    this.#isStale = false;
    this.#isDumping = true;
    const request = new Uint8Array(NLMSG_HEADER_BYTES + IFADDRMSG_BYTES);
    const header = new DataView(request.buffer);
    header.setUint32(0, request.length, libc.LITTLE_ENDIAN);
    header.setUint16(4, RTM_GETADDR, libc.LITTLE_ENDIAN);
    header.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, libc.LITTLE_ENDIAN);
    libc.send(this.fd, request);
  }

  #parse(length: number): boolean {
    let changed = false;
    for (let at = 0; at + NLMSG_HEADER_BYTES <= length; ) {
      const bytes = this.#view.getUint32(at, libc.LITTLE_ENDIAN);
      if (bytes < NLMSG_HEADER_BYTES || at + bytes > length) break;
      const kind = this.#view.getUint16(at + 4, libc.LITTLE_ENDIAN);
      const isDump = (this.#view.getUint16(at + 6, libc.LITTLE_ENDIAN) & NLM_F_MULTI) !== 0;
      if (isDump && this.#isDumping) this.#dumped ??= new Map();
      const isAddress = kind === RTM_NEWADDR || kind === RTM_DELADDR;
      if (kind === NLMSG_DONE || kind === NLMSG_ERROR)
        changed = this.#endDump(kind === NLMSG_DONE) || changed;
      else if (isAddress && bytes >= NLMSG_HEADER_BYTES + IFADDRMSG_BYTES)
        changed = this.#takeAddress(at, at + bytes, kind === RTM_NEWADDR) || changed;
      at += (bytes + 3) & ~3;
    }
    return changed;
  }

  #endDump(isComplete: boolean): boolean {
    if (isComplete && this.#dumped !== null) this.#table = this.#dumped;
    this.#dumped = null;
    this.#isDumping = false;
    if (this.#isStale) this.#requestDump();
    return isComplete;
  }

  #takeAddress(at: number, end: number, isThere: boolean): boolean {
    const index = this.#view.getUint32(at + NLMSG_HEADER_BYTES + 4, libc.LITTLE_ENDIAN);
    if (!this.#watched.has(index)) return false;
    const bytes = this.#addressIn(at + NLMSG_HEADER_BYTES + IFADDRMSG_BYTES, end);
    if (bytes === null || (bytes.length !== 4 && bytes.length !== 16)) return false;
    const key = `${index} ${Buffer.from(bytes).toString("hex")}`;
    const changed = this.#table.has(key) !== isThere;
    for (const table of this.#dumped === null ? [this.#table] : [this.#table, this.#dumped])
      if (isThere) table.set(key, { index, bytes });
      else table.delete(key);
    return changed;
  }

  /** The address in a message's attributes: the local end where there are two. */
  #addressIn(from: number, to: number): Uint8Array | null {
    let found: Uint8Array | null = null;
    for (let at = from; at + ATTRIBUTE_HEADER_BYTES <= to; ) {
      const bytes = this.#view.getUint16(at, libc.LITTLE_ENDIAN);
      const type = this.#view.getUint16(at + 2, libc.LITTLE_ENDIAN);
      if (bytes < ATTRIBUTE_HEADER_BYTES || at + bytes > to) return found;
      if (type === IFA_LOCAL || (type === IFA_ADDRESS && found === null))
        found = this.#buffer.slice(at + ATTRIBUTE_HEADER_BYTES, at + bytes);
      at += (bytes + 3) & ~3;
    }
    return found;
  }
}
