// Interfaces and their addresses over rtnetlink: read, create macvlans, address, raise, delete. One function a
// request, each an error that names its object. What should exist is dress.ts's business.
// Structures: linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h; the kernel's names are kept verbatim.

import { formatAddress, formatMac, lastOf, parseAddress, parseMac } from "../base/addresses.ts";
import { INTERFACE_GROUP } from "../base/limits.ts";
import type { InterfaceAddress } from "../core/config.ts";
import {
  HOST_LITTLE_ENDIAN,
  type Message,
  MessageWriter,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  readAttributes,
  readText,
  readU32,
} from "../wire/netlink.ts";
import { AF_INET, AF_INET6, errno, interfaceIndex, KernelError } from "./libc.ts";
import { NetlinkSocket } from "./netlink.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_LINK = 5;
const IFLA_LINKINFO = 18;
const IFLA_GROUP = 27;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_MACVLAN_MODE = 1;
const MACVLAN_MODE_BRIDGE = 4;
const IFF_UP = 1;
const IFF_LOWER_UP = 0x10000;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const IFINFOMSG_BYTES = 16;
const IFADDRMSG_BYTES = 8;

/** An interface as the kernel has it. */
export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** `macvlan`, `veth`...; empty for hardware. */
  readonly kind: string;
  /** Index of the interface below it; 0 where none. */
  readonly parentIndex: number;
  readonly mac: string;
  readonly group: number;
  /** IFLA_MACVLAN_MODE; 0 where it is no macvlan. */
  readonly macvlanMode: number;
  readonly up: boolean;
  readonly carrier: boolean;
}

/** An address of an interface as the kernel has it. */
export interface AddressInfo extends InterfaceAddress {
  readonly noPrefixRoute: boolean;
}

export interface MacvlanRequest {
  readonly device: string;
  readonly port: string;
  readonly mac: string;
}

export const openRouteSocket = (): NetlinkSocket => new NetlinkSocket(NETLINK_ROUTE);

/** Every interface of this namespace. */
export function listLinks(socket: NetlinkSocket): LinkInfo[] {
  const request = new MessageWriter(RTM_GETLINK).fixed(new Uint8Array(IFINFOMSG_BYTES));
  return socket
    .dump("list interfaces", request)
    .filter((message) => message.type === RTM_NEWLINK)
    .map(readLink);
}

/** A macvlan in bridge mode, down, marked as ours by its group: all in one request, so that no half of it is left. */
export function createMacvlan(socket: NetlinkSocket, wanted: MacvlanRequest): void {
  const operation = `create macvlan ${wanted.device} on ${wanted.port} with ${wanted.mac}`;
  const message = new MessageWriter(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
    .fixed(new Uint8Array(IFINFOMSG_BYTES))
    .text(IFLA_IFNAME, wanted.device)
    .u32(IFLA_LINK, requireIndex(operation, wanted.port))
    .attribute(IFLA_ADDRESS, macBytes(wanted.mac))
    .u32(IFLA_GROUP, INTERFACE_GROUP)
    .nested(IFLA_LINKINFO, (info) => {
      info.text(IFLA_INFO_KIND, "macvlan");
      info.nested(IFLA_INFO_DATA, (data) => data.u32(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE));
    });
  socket.request(operation, message, {
    advice: `Is ${wanted.port} an Ethernet interface, and not itself a macvlan or a port of a bridge?`,
  });
}

export const isBridgeMacvlan = (link: LinkInfo): boolean =>
  link.kind === "macvlan" && link.macvlanMode === MACVLAN_MODE_BRIDGE;

export function setLinkMac(socket: NetlinkSocket, device: string, mac: string): void {
  const operation = `set the MAC of ${device} to ${mac}`;
  const header = linkHeader(requireIndex(operation, device), 0, 0);
  socket.request(
    operation,
    new MessageWriter(RTM_NEWLINK).fixed(header).attribute(IFLA_ADDRESS, macBytes(mac)),
  );
}

export function setLinkUp(socket: NetlinkSocket, device: string, up: boolean): void {
  const operation = `set ${device} ${up ? "up" : "down"}`;
  const header = linkHeader(requireIndex(operation, device), up ? IFF_UP : 0, IFF_UP);
  socket.request(operation, new MessageWriter(RTM_NEWLINK).fixed(header));
}

/** False where there is none. */
export function deleteLink(socket: NetlinkSocket, device: string): boolean {
  const index = interfaceIndex(device);
  if (index === 0) return false;
  const message = new MessageWriter(RTM_DELLINK).fixed(linkHeader(index, 0, 0));
  return socket.request(`delete ${device}`, message, { allow: [errno.ENODEV] }) === 0;
}

/** The addresses of one interface, both families. */
export function listAddresses(socket: NetlinkSocket, device: string): AddressInfo[] {
  const index = requireIndex(`list the addresses of ${device}`, device);
  const header = new Uint8Array(IFADDRMSG_BYTES);
  new DataView(header.buffer).setUint32(4, index, HOST_LITTLE_ENDIAN);
  return socket
    .dump(`list the addresses of ${device}`, new MessageWriter(RTM_GETADDR).fixed(header))
    .filter((message) => message.type === RTM_NEWADDR)
    .map((message) => readAddress(message, index))
    .filter((address) => address !== null);
}

/**
 * Adds an address without a prefix route (the routes are ours to give) and without duplicate address detection
 * (both nodes carry it, and only the gate decides who shows it).
 */
export function addAddress(socket: NetlinkSocket, device: string, address: InterfaceAddress): void {
  const operation = `add address ${address.address}/${address.prefixLength} to ${device}`;
  const bytes = addressBytes(address.address);
  const isV4 = address.family === 4;
  const message = new MessageWriter(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)
    .fixed(addressHeader(address, requireIndex(operation, device)))
    .attribute(IFA_LOCAL, bytes)
    .attribute(IFA_ADDRESS, bytes)
    .u32(IFA_FLAGS, isV4 ? IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE | IFA_F_NODAD);
  // With it, a broadcast of the segment is recognised as one, and not routed on.
  if (isV4 && address.prefixLength < 31) message.attribute(IFA_BROADCAST, lastOf({ ...address, bytes }));
  socket.request(operation, message);
}

/** Deleting the absent succeeds: false. */
export function deleteAddress(socket: NetlinkSocket, device: string, address: InterfaceAddress): boolean {
  const operation = `delete address ${address.address}/${address.prefixLength} of ${device}`;
  const bytes = addressBytes(address.address);
  const message = new MessageWriter(RTM_DELADDR)
    .fixed(addressHeader(address, requireIndex(operation, device)))
    .attribute(IFA_LOCAL, bytes)
    .attribute(IFA_ADDRESS, bytes);
  return socket.request(operation, message, { allow: [errno.EADDRNOTAVAIL] }) === 0;
}

/** The interface's index. @throws KernelError ENODEV naming it */
export function requireIndex(operation: string, device: string): number {
  const index = interfaceIndex(device);
  if (index === 0) throw new KernelError(operation, errno.ENODEV!, `There is no interface ${device}.`);
  return index;
}

/** `struct ifinfomsg { u8 family; u8 pad; u16 type; s32 index; u32 flags; u32 change; }` */
function linkHeader(index: number, flags: number, change: number): Uint8Array {
  const bytes = new Uint8Array(IFINFOMSG_BYTES);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, HOST_LITTLE_ENDIAN);
  view.setUint32(8, flags, HOST_LITTLE_ENDIAN);
  view.setUint32(12, change, HOST_LITTLE_ENDIAN);
  return bytes;
}

/** `struct ifaddrmsg { u8 family; u8 prefixlen; u8 flags; u8 scope; u32 index; }` */
function addressHeader(address: InterfaceAddress, index: number): Uint8Array {
  const bytes = new Uint8Array(IFADDRMSG_BYTES);
  bytes[0] = address.family === 4 ? AF_INET : AF_INET6;
  bytes[1] = address.prefixLength;
  bytes[3] = address.address.startsWith("fe80:") ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  new DataView(bytes.buffer).setUint32(4, index, HOST_LITTLE_ENDIAN);
  return bytes;
}

function readLink(message: Message): LinkInfo {
  const view = new DataView(message.payload.buffer, message.payload.byteOffset, message.payload.length);
  const flags = view.getUint32(8, HOST_LITTLE_ENDIAN);
  const attributes =
    readAttributes(message.payload.subarray(IFINFOMSG_BYTES)) ?? new Map<number, Uint8Array>();
  const info = readAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(0));
  const kind = info?.get(IFLA_INFO_KIND);
  const data = kind === undefined ? null : readAttributes(info?.get(IFLA_INFO_DATA) ?? new Uint8Array(0));
  const kindName = kind === undefined ? "" : readText(kind);
  return {
    index: view.getInt32(4, HOST_LITTLE_ENDIAN),
    name: readText(attributes.get(IFLA_IFNAME) ?? new Uint8Array(0)),
    kind: kindName,
    parentIndex: readU32(attributes.get(IFLA_LINK)) ?? 0,
    mac: formatMac(attributes.get(IFLA_ADDRESS) ?? new Uint8Array(0)),
    group: readU32(attributes.get(IFLA_GROUP)) ?? 0,
    macvlanMode: kindName === "macvlan" ? (readU32(data?.get(IFLA_MACVLAN_MODE)) ?? 0) : 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
  };
}

/** Null for another interface's: a kernel before 4.20 ignores the index that was asked for. */
function readAddress(message: Message, index: number): AddressInfo | null {
  const { payload } = message;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (view.getUint32(4, HOST_LITTLE_ENDIAN) !== index) return null;
  const attributes = readAttributes(payload.subarray(IFADDRMSG_BYTES));
  const bytes = attributes?.get(IFA_LOCAL) ?? attributes?.get(IFA_ADDRESS);
  if (bytes === undefined) return null;
  return {
    family: payload[0] === AF_INET ? 4 : 6,
    address: formatAddress(bytes),
    prefixLength: payload[1]!,
    noPrefixRoute: ((readU32(attributes?.get(IFA_FLAGS)) ?? 0) & IFA_F_NOPREFIXROUTE) !== 0,
  };
}

function macBytes(text: string): Uint8Array {
  const bytes = parseMac(text);
  if (bytes === null) throw new Error(`not a MAC address: ${text}`);
  return bytes;
}

function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === null) throw new Error(`not an address: ${text}`);
  return address.bytes;
}
