// What the kernel should look like for a configuration: interfaces, addresses, routes, rules, kernel settings, each with
// its reason. Says, and does nothing; dress.ts compares and applies. The same on both nodes (failover.md §1): only
// the gate differs.
//
// Forwarded traffic has tables of its own. From the LAN the session's mark picks its link's table; from a link the mark
// must be that link's, and the way goes to the LAN. Both marks are set by the ruleset: where that is gone, nothing
// is forwarded. The node's own traffic uses its real ports and table main, which nothing here touches.

import { formatAddress, formatCidr, networkOf, parseAddress, parseMac } from "../base/addresses.ts";
import { MARK_LINK_MASK, ROUTE_TABLE_BASE, RULE_PREFERENCE_BASE } from "../base/limits.ts";
import type { Config, InterfaceAddress, LinkConfig, ServiceConfig } from "../core/config.ts";
import { servicesOf } from "../core/config.ts";
import type { MacvlanRequest } from "./interfaces.ts";
import type { Route, Rule } from "./routes.ts";

/** A kernel setting under /proc/sys. */
export interface Setting {
  /** `net/ipv4/conf/eth0/arp_ignore` */
  readonly path: string;
  readonly value: string;
  readonly why: string;
}

export interface ServicePlan extends MacvlanRequest {
  readonly addresses: readonly InterfaceAddress[];
  /** Of the macvlan itself: they come and go with it. */
  readonly settings: readonly Setting[];
}

export interface DressPlan {
  readonly services: readonly ServicePlan[];
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
  /** Of the ports and of the namespace: what they were is kept and put back. */
  readonly settings: readonly Setting[];
  /** Connection tracking's, which exist once something uses it. */
  readonly trackingSettings: readonly Setting[];
}

/** Table of the routes from the links back to the LAN, and within it. */
export const SERVICE_TABLE = ROUTE_TABLE_BASE;
export const tableOf = (linkId: number): number => ROUTE_TABLE_BASE + linkId;

/** Steps of the rules, in the order in which they are asked. */
const FROM_LAN_TO_LAN = RULE_PREFERENCE_BASE;
const BY_MARK = RULE_PREFERENCE_BASE + 1;
const NO_RESETS = BY_MARK;
const OWN_ANSWERS = RULE_PREFERENCE_BASE + 2;
const NO_OTHER_WAY = RULE_PREFERENCE_BASE + 3;

const LINK_LOCAL_NETWORK = "fe80::/64";
const DEFAULT = { 4: "0.0.0.0/0", 6: "::/0" } as const;
const FAMILIES = [4, 6] as const;

export function plan(config: Config): DressPlan {
  return {
    services: servicesOf(config).map(servicePlan),
    routes: routesOf(config),
    rules: rulesOf(config),
    settings: portSettings(config),
    trackingSettings: TRACKING_SETTINGS,
  };
}

const hasFamily = (service: ServiceConfig, family: 4 | 6): boolean =>
  service.addresses.some((address) => address.family === family);

function servicePlan(service: ServiceConfig): ServicePlan {
  const withV6 = hasFamily(service, 6);
  return {
    device: service.device,
    port: service.port,
    mac: service.virtualMac,
    addresses: withV6 ? [...service.addresses, linkLocalOf(service.virtualMac)] : service.addresses,
    settings: serviceSettings(service.device, withV6),
  };
}

/**
 * The link-local address of a MAC (RFC 4291 appendix A). Given by us and not by the kernel, which would ask the segment
 * whether it is free: the other node has the same. Without one the kernel could ask no neighbour for its MAC.
 */
export function linkLocalOf(mac: string): InterfaceAddress {
  const bytes = parseMac(mac)!;
  const address = new Uint8Array(16);
  address.set([0xfe, 0x80], 0);
  address.set([bytes[0]! ^ 2, bytes[1]!, bytes[2]!, 0xff, 0xfe, bytes[3]!, bytes[4]!, bytes[5]!], 8);
  return { family: 6, address: formatAddress(address), prefixLength: 64 };
}

function serviceSettings(device: string, withV6: boolean): Setting[] {
  const v4 = (name: string, value: number, why: string): Setting => ({
    path: `net/ipv4/conf/${device}/${name}`,
    value: String(value),
    why,
  });
  const v6 = (name: string, value: number, why: string): Setting => ({
    path: `net/ipv6/conf/${device}/${name}`,
    value: String(value),
    why,
  });
  const always = [
    v4("rp_filter", 0, "the way back is in another table than the one the filter would ask"),
    v4("arp_ignore", 1, "a shared address is answered for by its own interface alone"),
    v4("arp_announce", 2, "questions carry the address of the segment they are asked in"),
    v4("accept_redirects", 0, "a neighbour does not move the pair's sessions"),
    v4("promote_secondaries", 1, "removing one address leaves the others of its network"),
  ];
  if (!withV6) return [...always, v6("disable_ipv6", 1, "no IPv6 is configured here: not a frame of it")];
  return [
    ...always,
    v6("disable_ipv6", 0, "IPv6 is configured here"),
    v6("addr_gen_mode", 1, "the link-local address is ours to give: both nodes have the same"),
    v6("accept_dad", 0, "both nodes carry the addresses; only the gate decides who shows them"),
    v6("dad_transmits", 0, "as above"),
    v6("accept_ra", 0, "a router's advertisement configures nothing here"),
    v6("autoconf", 0, "as above"),
    v6("router_solicitations", 0, "nothing is sent that was not asked for"),
    v6("accept_redirects", 0, "a neighbour does not move the pair's sessions"),
    v6("keep_addr_on_down", 1, "an interface that goes down and up has its addresses again"),
  ];
}

/** What opens forwarding on a service interface; last of all (failover §1). */
export function forwardingSettings(device: string, withV6: boolean): Setting[] {
  const why = "what comes in here may be forwarded";
  const v6 = [
    // IPv6 forwards by one switch for all interfaces, until 6.17 gave each its own.
    { path: `net/ipv6/conf/${device}/force_forwarding`, value: "1", why },
    {
      path: `net/ipv6/conf/${device}/forwarding`,
      value: "1",
      why: "we are a router: neighbours are told so",
    },
  ];
  return [{ path: `net/ipv4/conf/${device}/forwarding`, value: "1", why }, ...(withV6 ? v6 : [])];
}

/** For kernels without `force_forwarding`. */
export const IPV6_FORWARDING_EVERYWHERE: Setting = {
  path: "net/ipv6/conf/all/forwarding",
  value: "1",
  why: "this kernel forwards IPv6 on all interfaces or on none",
};

/** Paths of the settings that ports have because they carry a service. */
export const PORT_SETTING = /^net\/ipv4\/conf\/[^/]+\/arp_(ignore|announce)$/;

function portSettings(config: Config): Setting[] {
  const ports = [...new Set(servicesOf(config).map((service) => service.port))];
  const perPort = ports.flatMap((port) => [
    {
      path: `net/ipv4/conf/${port}/arp_ignore`,
      value: "1",
      why: "or the standby would answer for the shared addresses through its real port",
    },
    {
      path: `net/ipv4/conf/${port}/arp_announce`,
      value: "2",
      why: "or the node's own questions could carry a shared address",
    },
  ]);
  return [
    ...perPort,
    {
      path: "net/ipv4/icmp_errors_use_inbound_ifaddr",
      value: "1",
      why: "errors about a session come from the address of the side they go to",
    },
  ];
}

const TRACKING_SETTINGS: readonly Setting[] = [
  {
    path: "net/netfilter/nf_conntrack_events",
    value: "1",
    why: "the default, 2, tells nothing of sessions older than the listener",
  },
  {
    path: "net/netfilter/nf_conntrack_tcp_be_liberal",
    value: "1",
    why: "a replicated session's windows are not known to the node that takes it over",
  },
  {
    path: "net/netfilter/nf_conntrack_tcp_loose",
    value: "1",
    why: "a session too young to be replicated is picked up from its next packet",
  },
];

function routesOf(config: Config): Route[] {
  const { lan, links } = config;
  const routes = [
    ...connected(lan.service, SERVICE_TABLE),
    ...lan.routes.map(
      (route): Route => ({
        family: route.network.family,
        table: SERVICE_TABLE,
        destination: networkText(route.network),
        device: lan.service.device,
        via: route.via,
      }),
    ),
    ...links.flatMap((link) => [...connected(link.service, tableOf(link.id)), ...defaultsOf(link)]),
  ];
  // Two addresses of one network are one route.
  const seen = new Map(routes.map((route) => [`${route.table} ${route.destination}`, route]));
  return [...seen.values()];
}

/** The networks that an interface is on. */
function connected(service: ServiceConfig, table: number): Route[] {
  const on = (family: 4 | 6, destination: string): Route => ({
    family,
    table,
    destination,
    device: service.device,
  });
  const networks = service.addresses.map((address) => on(address.family, networkText(address)));
  return hasFamily(service, 6) ? [...networks, on(6, LINK_LOCAL_NETWORK)] : networks;
}

function defaultsOf(link: LinkConfig): Route[] {
  return FAMILIES.flatMap((family): Route[] => {
    const gateway = family === 4 ? link.gateway.v4 : link.gateway.v6;
    if (gateway === undefined || !hasFamily(link.service, family)) return [];
    const via = formatAddress(parseAddress(gateway)!.bytes);
    return [
      { family, table: tableOf(link.id), destination: DEFAULT[family], device: link.service.device, via },
    ];
  });
}

function rulesOf(config: Config): Rule[] {
  // Without an IPv6 address anywhere IPv6 is off on the service interfaces, and a kernel without it is no obstacle.
  return FAMILIES.filter((family) =>
    servicesOf(config).some((service) => hasFamily(service, family)),
  ).flatMap((family) => rulesOfFamily(config, family));
}

function rulesOfFamily(config: Config, family: 4 | 6): Rule[] {
  const lan = config.lan.service;
  const links = config.links.filter((link) => hasFamily(link.service, family));
  const ofLink = (link: LinkConfig) => ({ value: Number(link.id), mask: MARK_LINK_MASK });
  const lookup = (preference: number, table: number, rest: Partial<Rule>): Rule => ({
    family,
    preference,
    action: "lookup",
    table,
    ...rest,
  });
  const answers = (service: ServiceConfig, table: number): Rule[] =>
    [...service.addresses, ...(hasFamily(service, 6) ? [linkLocalOf(service.virtualMac)] : [])]
      .filter((address) => address.family === family)
      .map((address) => lookup(OWN_ANSWERS, table, { source: canonical(address.address) }));
  return [
    lookup(FROM_LAN_TO_LAN, SERVICE_TABLE, { from: lan.device }),
    ...links.map((link) => lookup(BY_MARK, tableOf(link.id), { from: lan.device, mark: ofLink(link) })),
    ...links.map((link) => lookup(BY_MARK, SERVICE_TABLE, { from: link.service.device, mark: ofLink(link) })),
    // While somebody has flushed our rules, answers to translated sessions arrive here as if they were our own, and this
    // node's TCP would reset them all. It has none of its own by these addresses.
    ...config.links
      .flatMap((link) => link.service.addresses)
      .filter((address) => address.family === family)
      .map(
        (address): Rule => ({
          family,
          preference: NO_RESETS,
          action: "blackhole",
          source: canonical(address.address),
          protocol: "tcp",
        }),
      ),
    ...answers(lan, SERVICE_TABLE),
    ...config.links.flatMap((link) => answers(link.service, tableOf(link.id))),
    // Whatever found no way above must not find one in table main: not untranslated, not by a real port.
    { family, preference: NO_OTHER_WAY, action: "unreachable", from: lan.device },
    ...config.links.map(
      (link): Rule => ({
        family,
        preference: NO_OTHER_WAY,
        action: "blackhole",
        from: link.service.device,
      }),
    ),
    ...[lan, ...config.links.map((link) => link.service)]
      .flatMap((service) => service.addresses)
      .filter((address) => address.family === family)
      .map(
        (address): Rule => ({
          family,
          preference: NO_OTHER_WAY,
          action: "blackhole",
          source: canonical(address.address),
        }),
      ),
  ];
}

const canonical = (address: string): string => formatAddress(parseAddress(address)!.bytes);

function networkText(address: InterfaceAddress): string {
  return formatCidr(networkOf({ ...address, bytes: parseAddress(address.address)!.bytes }));
}
