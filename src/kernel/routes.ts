// Routes and policy rules over rtnetlink: what is ours, and putting there what should be. Ours are routes with our
// protocol number in our tables, and rules with our protocol number at our preferences: nothing else is read, changed or
// removed. Which ones should be there is dressPlan.ts's business. Structures: linux/rtnetlink.h, linux/fib_rules.h.

import { formatAddress, parseAddress, parseCidr } from "../base/addresses.ts";
import { LINK_ID_MAX, ROUTE_PROTOCOL, ROUTE_TABLE_BASE, RULE_PREFERENCE_BASE } from "../base/limits.ts";
import {
  HOST_LITTLE_ENDIAN,
  type Message,
  MessageWriter,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  readAttributes,
  readText,
  readU8,
  readU32,
} from "../wire/netlink.ts";
import { requireIndex } from "./interfaces.ts";
import { AF_INET, AF_INET6, errno } from "./libc.ts";
import type { NetlinkSocket } from "./netlink.ts";

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_TABLE = 15;
const RTN_UNICAST = 1;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTNH_F_ONLINK = 4;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_PROTOCOL = 21;
const FRA_IP_PROTO = 22;
const IPPROTO_TCP = 6;
const FR_ACT_TO_TBL = 1;
const FR_ACT_BLACKHOLE = 6;
const FR_ACT_UNREACHABLE = 7;
const RTMSG_BYTES = 12;
const RULE_HEADER_BYTES = 12;
/** IPv6 routes carry a metric; 1024 is what the kernel gives where none is asked for. */
const IPV6_METRIC = 1024;
/** Preferences from RULE_PREFERENCE_BASE on that are ours. */
export const RULE_STEPS = 5;

/** A route of ours: in one of our tables, through one of our devices. */
export interface Route {
  readonly family: 4 | 6;
  readonly table: number;
  /** Canonical `NETWORK/LENGTH`; `0.0.0.0/0` or `::/0` is the default route. */
  readonly destination: string;
  readonly device: string;
  /** Next hop; taken as reachable on the device, whatever the tables say (`onlink`). */
  readonly via?: string;
}

/** A policy rule of ours. */
export interface Rule {
  readonly family: 4 | 6;
  readonly preference: number;
  readonly action: "lookup" | "blackhole" | "unreachable";
  /** Where the action is `lookup`. */
  readonly table?: number;
  /** Incoming device. */
  readonly from?: string;
  /** Source address. */
  readonly source?: string;
  readonly mark?: { readonly value: number; readonly mask: number };
  /** Packets of this transport protocol alone. */
  readonly protocol?: "tcp";
}

/** As `ip route` would say it. Equal texts are equal routes. */
export function routeText(route: Route): string {
  const via = route.via === undefined ? "" : ` via ${route.via}`;
  return `route ${route.destination}${via} dev ${route.device} table ${route.table}`;
}

/** As `ip rule` would say it. Equal texts are equal rules. */
export function ruleText(rule: Rule): string {
  const hex = (value: number): string => `0x${value.toString(16)}`;
  return [
    `rule${rule.family === 6 ? " -6" : ""} ${rule.preference}:`,
    ...(rule.source === undefined ? [] : [`from ${rule.source}`]),
    ...(rule.from === undefined ? [] : [`iif ${rule.from}`]),
    ...(rule.mark === undefined ? [] : [`fwmark ${hex(rule.mark.value)}/${hex(rule.mark.mask)}`]),
    ...(rule.protocol === undefined ? [] : [`ipproto ${rule.protocol}`]),
    rule.action === "lookup" ? `lookup ${rule.table}` : rule.action,
  ].join(" ");
}

const isOurTable = (table: number): boolean =>
  table >= ROUTE_TABLE_BASE && table <= ROUTE_TABLE_BASE + LINK_ID_MAX;
const isOurPreference = (preference: number): boolean =>
  preference >= RULE_PREFERENCE_BASE && preference < RULE_PREFERENCE_BASE + RULE_STEPS;

/** Our routes of one family. `names`: devices by index. */
export function listRoutes(
  socket: NetlinkSocket,
  family: 4 | 6,
  names: ReadonlyMap<number, string>,
): Route[] {
  const header = new Uint8Array(RTMSG_BYTES);
  header[0] = familyNumber(family);
  // The kernel filters by protocol (strict checking): a table with a full feed of routes is not copied.
  header[5] = ROUTE_PROTOCOL;
  const request = new MessageWriter(RTM_GETROUTE).fixed(header);
  const allow = family === 6 ? { allow: [errno.EAFNOSUPPORT, errno.EOPNOTSUPP] } : {};
  return socket
    .dump(`list IPv${family} routes`, request, allow)
    .map((message) => readRoute(message, names))
    .filter((route) => route !== null);
}

/** In the place of the route to the same destination in the same table: at no moment is there none. */
export function replaceRoute(socket: NetlinkSocket, route: Route): void {
  const operation = `replace by ${routeText(route)}`;
  socket.request(operation, routeRequest(operation, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route));
}

export function addRoute(socket: NetlinkSocket, route: Route): void {
  const operation = `add ${routeText(route)}`;
  const message = routeRequest(operation, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route);
  socket.request(operation, message, { allow: [errno.EEXIST] });
}

/** Deleting the absent succeeds. */
export function deleteRoute(socket: NetlinkSocket, route: Route): void {
  const operation = `delete ${routeText(route)}`;
  const message = routeRequest(operation, RTM_DELROUTE, 0, route);
  socket.request(operation, message, { allow: [errno.ESRCH] });
}

/** Our rules of one family, in the kernel's order. */
export function listRules(socket: NetlinkSocket, family: 4 | 6): Rule[] {
  const header = new Uint8Array(RULE_HEADER_BYTES);
  header[0] = familyNumber(family);
  const request = new MessageWriter(RTM_GETRULE).fixed(header);
  const allow = family === 6 ? { allow: [errno.EAFNOSUPPORT, errno.EOPNOTSUPP] } : {};
  return socket
    .dump(`list IPv${family} rules`, request, allow)
    .map((message) => readRule(message, family))
    .filter((rule) => rule !== null);
}

export function addRule(socket: NetlinkSocket, rule: Rule): void {
  const message = ruleRequest(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  socket.request(`add ${ruleText(rule)}`, message, { allow: [errno.EEXIST] });
}

/** Deleting the absent succeeds. */
export function deleteRule(socket: NetlinkSocket, rule: Rule): void {
  const message = ruleRequest(RTM_DELRULE, 0, rule);
  socket.request(`delete ${ruleText(rule)}`, message, { allow: [errno.ENOENT] });
}

const familyNumber = (family: 4 | 6): number => (family === 4 ? AF_INET : AF_INET6);

/** `struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; }` */
function routeRequest(operation: string, type: number, flags: number, route: Route): MessageWriter {
  const destination = parseCidr(route.destination);
  if (destination === null) throw new Error(`not a network: ${route.destination}`);
  const header = new Uint8Array(RTMSG_BYTES);
  header[0] = familyNumber(route.family);
  header[1] = destination.prefixLength;
  header[5] = ROUTE_PROTOCOL;
  header[6] = route.family === 4 && route.via === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  header[7] = RTN_UNICAST;
  if (route.via !== undefined) new DataView(header.buffer).setUint32(8, RTNH_F_ONLINK, HOST_LITTLE_ENDIAN);
  const message = new MessageWriter(type, flags)
    .fixed(header)
    .u32(RTA_TABLE, route.table)
    .u32(RTA_OIF, requireIndex(operation, route.device));
  if (destination.prefixLength > 0) message.attribute(RTA_DST, destination.bytes);
  if (route.via !== undefined) message.attribute(RTA_GATEWAY, parseAddress(route.via)!.bytes);
  if (route.family === 6) message.u32(RTA_PRIORITY, IPV6_METRIC);
  return message;
}

function readRoute(message: Message, names: ReadonlyMap<number, string>): Route | null {
  const { payload, type } = message;
  if (type !== RTM_NEWROUTE || payload.length < RTMSG_BYTES || payload[5] !== ROUTE_PROTOCOL) return null;
  const attributes = readAttributes(payload.subarray(RTMSG_BYTES));
  const table = readU32(attributes?.get(RTA_TABLE)) ?? 0;
  if (!isOurTable(table)) return null;
  const family = payload[0] === AF_INET ? 4 : 6;
  const network = attributes?.get(RTA_DST) ?? new Uint8Array(family === 4 ? 4 : 16);
  const gateway = attributes?.get(RTA_GATEWAY);
  return {
    family,
    table,
    destination: `${formatAddress(network)}/${payload[1]}`,
    device: names.get(readU32(attributes?.get(RTA_OIF)) ?? 0) ?? "",
    ...(gateway === undefined ? {} : { via: formatAddress(gateway) }),
  };
}

/** `struct fib_rule_hdr { u8 family, dst_len, src_len, tos, table, res1, res2, action; u32 flags; }` */
function ruleRequest(type: number, flags: number, rule: Rule): MessageWriter {
  const header = new Uint8Array(RULE_HEADER_BYTES);
  header[0] = familyNumber(rule.family);
  header[7] = { lookup: FR_ACT_TO_TBL, blackhole: FR_ACT_BLACKHOLE, unreachable: FR_ACT_UNREACHABLE }[
    rule.action
  ];
  const source = rule.source === undefined ? null : parseAddress(rule.source);
  if (source !== null) header[2] = source.bytes.length * 8;
  const message = new MessageWriter(type, flags)
    .fixed(header)
    .u32(FRA_PRIORITY, rule.preference)
    .u8(FRA_PROTOCOL, ROUTE_PROTOCOL);
  if (source !== null) message.attribute(FRA_SRC, source.bytes);
  if (rule.from !== undefined) message.text(FRA_IIFNAME, rule.from);
  if (rule.mark !== undefined) message.u32(FRA_FWMARK, rule.mark.value).u32(FRA_FWMASK, rule.mark.mask);
  if (rule.protocol !== undefined) message.u8(FRA_IP_PROTO, IPPROTO_TCP);
  if (rule.table !== undefined) message.u32(FRA_TABLE, rule.table);
  return message;
}

function readRule(message: Message, family: 4 | 6): Rule | null {
  const { payload, type } = message;
  if (type !== RTM_NEWRULE || payload.length < RULE_HEADER_BYTES) return null;
  const attributes = readAttributes(payload.subarray(RULE_HEADER_BYTES));
  const preference = readU32(attributes?.get(FRA_PRIORITY)) ?? 0;
  if (!isOurPreference(preference) || readU8(attributes?.get(FRA_PROTOCOL)) !== ROUTE_PROTOCOL) return null;
  const [source, from] = [attributes?.get(FRA_SRC), attributes?.get(FRA_IIFNAME)];
  const mark = readU32(attributes?.get(FRA_FWMARK));
  const table = readU32(attributes?.get(FRA_TABLE));
  const action =
    payload[7] === FR_ACT_BLACKHOLE
      ? "blackhole"
      : payload[7] === FR_ACT_UNREACHABLE
        ? "unreachable"
        : "lookup";
  return {
    family,
    preference,
    action,
    ...(action !== "lookup" || table === undefined ? {} : { table }),
    ...(from === undefined ? {} : { from: readText(from) }),
    ...(source === undefined ? {} : { source: formatAddress(source) }),
    ...(readU8(attributes?.get(FRA_IP_PROTO)) === IPPROTO_TCP ? { protocol: "tcp" as const } : {}),
    ...(mark === undefined
      ? {}
      : { mark: { value: mark, mask: readU32(attributes?.get(FRA_FWMASK)) ?? 0xffffffff } }),
  };
}
