// The kernel's dress: makes the kernel look as dressPlan.ts says, and takes it off again. In steps, because heart's gate
// goes between them (failover.md §1: gate first, interface up afterwards; forwarding last). Every step compares
// first: applied twice it changes nothing. What a crash left is adopted where it is right and replaced where not.
// Each step returns what it changed, a line a change, for the log.

import { formatAddress, parseAddress } from "../base/addresses.ts";
import { BoundaryError } from "../base/errors.ts";
import { INTERFACE_GROUP } from "../base/limits.ts";
import { type Config, type InterfaceAddress, servicesOf } from "../core/config.ts";
import {
  type DressPlan,
  forwardingSettings,
  IPV6_FORWARDING_EVERYWHERE,
  PORT_SETTING,
  plan,
  type ServicePlan,
  type Setting,
} from "./dressPlan.ts";
import {
  addAddress,
  createMacvlan,
  deleteAddress,
  deleteLink,
  isBridgeMacvlan,
  type LinkInfo,
  listAddresses,
  listLinks,
  openRouteSocket,
  setLinkMac,
  setLinkUp,
} from "./interfaces.ts";
import type { NetlinkSocket } from "./netlink.ts";
import { removePathRoutes } from "./pathRoutes.ts";
import {
  addRoute,
  addRule,
  deleteRoute,
  deleteRule,
  listRoutes,
  listRules,
  type Route,
  type Rule,
  replaceRoute,
  routeText,
  ruleText,
} from "./routes.ts";
import { listSettings, readSetting, SettingsKeeper, writeSetting } from "./settings.ts";

/**
 * Macvlans with virtual MACs and shared addresses, down where they are new. Nothing is changed where a port is
 * missing or a name is somebody else's; where the kernel refuses midway, what was made here is removed again.
 * @throws BoundaryError
 */
export function createInterfaces(config: Config): string[] {
  return withSocket((socket) => {
    const wanted = plan(config);
    const links = listLinks(socket);
    for (const service of wanted.services) refuseForeign(service, links);
    const changes: string[] = [];
    const keeper = new SettingsKeeper(config.stateDirectory);
    const created: string[] = [];
    const dressedBefore = links.some(isOurs);
    try {
      changes.push(...writeAll(keeper, wanted.settings), ...relaxReversePathFilter(keeper));
      changes.push(...removeLeftInterfaces(socket, links, wanted));
      for (const service of wanted.services)
        changes.push(...createService(socket, service, links, created), ...addressService(socket, service));
      changes.push(...releasePorts(keeper, wanted));
    } catch (error) {
      for (const device of created) deleteLink(socket, device);
      if (!dressedBefore) keeper.restore();
      throw error;
    }
    return changes;
  });
}

/** Takes down those of these service interfaces that are there: before whatever guards them goes. @throws KernelError */
export function lowerInterfaces(devices: readonly string[]): string[] {
  return withSocket((socket) =>
    listLinks(socket)
      .filter((link) => isOurs(link) && link.up && devices.includes(link.name))
      .map(({ name }) => {
        setLinkUp(socket, name, false);
        return `interface ${name}: down`;
      }),
  );
}

/** With the gate in place: interfaces up, routes, rules. @throws BoundaryError */
export function raiseInterfaces(config: Config): string[] {
  return withSocket((socket) => {
    const wanted = plan(config);
    const changes: string[] = [];
    const links = new Map(listLinks(socket).map((link) => [link.name, link]));
    for (const service of wanted.services) {
      if (!links.get(service.device)?.up) {
        setLinkUp(socket, service.device, true);
        changes.push(`interface ${service.device}: up`);
      }
      // A kernel that forgets addresses when an interface goes down has lost them by now.
      changes.push(...addressService(socket, service));
    }
    changes.push(...putRoutes(socket, wanted.routes), ...putRules(socket, wanted.rules));
    return changes;
  });
}

/** Last of all, with translation in place. @throws BoundaryError */
export function openForwarding(config: Config): string[] {
  const { trackingSettings } = plan(config);
  const keeper = new SettingsKeeper(config.stateDirectory);
  const changes = writeAll(keeper, trackingSettings);
  for (const service of servicesOf(config)) {
    const withV6 = service.addresses.some((address) => address.family === 6);
    for (const setting of forwardingSettings(service.device, withV6)) {
      if (readSetting(setting.path) === null && setting.path.endsWith("/force_forwarding"))
        changes.push(...forwardIpv6Everywhere(keeper));
      else if (writeSetting(setting)) changes.push(settingText(setting));
    }
  }
  return changes;
}

/**
 * Takes off everything that is ours, whatever configuration it came from, and nothing else. Taking off what is
 * not there succeeds. The ruleset and the gate have owners of their own.
 */
export function undress(config: Pick<Config, "stateDirectory">): string[] {
  return withSocket((socket) => {
    const links = listLinks(socket).filter(isOurs);
    const changes = [...putRules(socket, [])];
    for (const { name } of links) if (deleteLink(socket, name)) changes.push(`interface ${name}: removed`);
    changes.push(...putRoutes(socket, []), ...removePathRoutes());
    for (const path of new SettingsKeeper(config.stateDirectory).restore())
      changes.push(`setting ${path}: as it was`);
    return changes;
  });
}

function withSocket<T>(body: (socket: NetlinkSocket) => T): T {
  const socket = openRouteSocket();
  try {
    return body(socket);
  } finally {
    socket.close();
  }
}

/** Ours is what carries our group and a name of ours: the group alone could be somebody else's choice. */
function isOurs(link: LinkInfo): boolean {
  return link.kind === "macvlan" && link.group === INTERFACE_GROUP && link.name.startsWith("us-");
}

function refuseForeign(service: ServicePlan, links: readonly LinkInfo[]): void {
  const operation = `create macvlan ${service.device} on ${service.port}`;
  const port = links.find((link) => link.name === service.port);
  if (port === undefined) {
    const words = `there is no interface ${service.port}`;
    const advice = "See `interfaces` in the node's file, and `ip link`.";
    throw new BoundaryError({ operation, code: "ENODEV", words, advice });
  }
  const present = links.find((link) => link.name === service.device);
  if (present === undefined || isOurs(present)) return;
  throw new BoundaryError({
    operation,
    code: "NAME_TAKEN",
    words: `an interface ${service.device} exists that is not Understudy's (${present.kind || "hardware"}, group ${present.group})`,
    advice: "Rename it, or remove it if it is left over from something else.",
  });
}

/** Interfaces of ours that the configuration does not know (any more). */
function removeLeftInterfaces(
  socket: NetlinkSocket,
  links: readonly LinkInfo[],
  wanted: DressPlan,
): string[] {
  const names = new Set(wanted.services.map((service) => service.device));
  return links
    .filter((link) => isOurs(link) && !names.has(link.name))
    .filter((link) => deleteLink(socket, link.name))
    .map((link) => `interface ${link.name}: removed, not in the configuration`);
}

/** Settings of ports that the configuration does not know (any more): the only ones that come and go with it. */
function releasePorts(keeper: SettingsKeeper, wanted: DressPlan): string[] {
  const paths = new Set(wanted.settings.map(({ path }) => path));
  return keeper
    .restore((path) => PORT_SETTING.test(path) && !paths.has(path))
    .map((path) => `setting ${path}: as it was`);
}

function createService(
  socket: NetlinkSocket,
  service: ServicePlan,
  links: readonly LinkInfo[],
  created: string[],
): string[] {
  const changes: string[] = [];
  const port = links.find((link) => link.name === service.port)!;
  let present = links.find((link) => link.name === service.device);
  if (present !== undefined && (present.parentIndex !== port.index || !isBridgeMacvlan(present))) {
    deleteLink(socket, service.device);
    changes.push(`interface ${service.device}: removed, it was on another port`);
    present = undefined;
  }
  if (present === undefined) {
    createMacvlan(socket, service);
    created.push(service.device);
    changes.push(`interface ${service.device}: macvlan on ${service.port}, ${service.mac}`);
  } else if (present.mac !== service.mac) {
    setLinkMac(socket, service.device, service.mac);
    changes.push(`interface ${service.device}: MAC ${service.mac}, was ${present.mac}`);
  }
  // Settings before addresses: with IPv6 off there could be none.
  for (const setting of service.settings) {
    // A kernel without IPv6 has nothing to switch off.
    if (setting.path.endsWith("/disable_ipv6") && readSetting(setting.path) === null && setting.value === "1")
      continue;
    if (writeSetting(setting)) changes.push(settingText(setting));
  }
  return changes;
}

/** Exactly the addresses that are wanted. Those that are wrong go first: deleting may take others with it. */
function addressService(socket: NetlinkSocket, service: ServicePlan): string[] {
  const changes: string[] = [];
  const wanted = new Map(service.addresses.map((address) => [addressText(address), address]));
  for (const address of listAddresses(socket, service.device)) {
    const text = addressText(address);
    if (wanted.has(text) && address.noPrefixRoute) continue;
    deleteAddress(socket, service.device, address);
    changes.push(`address ${text} of ${service.device}: removed`);
  }
  const present = new Set(listAddresses(socket, service.device).map(addressText));
  for (const [text, address] of wanted) {
    if (present.has(text)) continue;
    addAddress(socket, service.device, address);
    changes.push(`address ${text} of ${service.device}: added`);
  }
  return changes;
}

function addressText(address: InterfaceAddress): string {
  return `${formatAddress(parseAddress(address.address)!.bytes)}/${address.prefixLength}`;
}

function putRoutes(socket: NetlinkSocket, wanted: readonly Route[]): string[] {
  const names = new Map(listLinks(socket).map((link) => [link.index, link.name]));
  const present = ([4, 6] as const).flatMap((family) => listRoutes(socket, family, names));
  const place = (route: Route): string => `${route.family} ${route.table} ${route.destination}`;
  const wantedAt = new Set(wanted.map(place));
  const presentAt = new Set(present.map(place));
  return put(wanted, present, {
    text: (route) => `${route.family === 6 ? "-6 " : ""}${routeText(route)}`,
    add: (route) => (presentAt.has(place(route)) ? replaceRoute : addRoute)(socket, route),
    // One that another takes the place of is gone by then.
    remove: (route) => {
      if (!wantedAt.has(place(route))) deleteRoute(socket, route);
    },
  });
}

function putRules(socket: NetlinkSocket, wanted: readonly Rule[]): string[] {
  const present = ([4, 6] as const).flatMap((family) => listRules(socket, family));
  return put(wanted, present, {
    text: ruleText,
    add: (rule) => addRule(socket, rule),
    remove: (rule) => deleteRule(socket, rule),
  });
}

interface Putter<T> {
  readonly text: (item: T) => string;
  readonly add: (item: T) => void;
  readonly remove: (item: T) => void;
}

/** Adds what is missing, then removes what is too much; what is right is not touched. */
function put<T>(wanted: readonly T[], present: readonly T[], putter: Putter<T>): string[] {
  const [have, want] = [new Set(present.map(putter.text)), new Set(wanted.map(putter.text))];
  const missing = wanted.filter((item) => !have.has(putter.text(item)));
  const surplus = present.filter((item) => !want.has(putter.text(item)));
  missing.forEach(putter.add);
  surplus.forEach(putter.remove);
  return [
    ...surplus.map((item) => `${putter.text(item)}: removed`),
    ...missing.map((item) => `${putter.text(item)}: added`),
  ];
}

const settingText = (setting: Setting): string =>
  `setting ${setting.path} = ${setting.value}: ${setting.why}`;

function writeAll(keeper: SettingsKeeper, settings: readonly Setting[]): string[] {
  return settings.filter((setting) => keeper.write(setting)).map(settingText);
}

/**
 * The filter in force is the greater of the interface's value and that for `all`: a service interface can only be
 * exempt where `all` is 0. The other interfaces get the value of `all` for themselves first, and stay as strict.
 */
function relaxReversePathFilter(keeper: SettingsKeeper): string[] {
  const root = "net/ipv4/conf";
  const all = readSetting(`${root}/all/rp_filter`);
  if (all === null || all === "0") return [];
  const why = "the value of `all`, which has to be 0 for the service interfaces";
  const others = listSettings(root)
    .filter((name) => name !== "all")
    .map((name) => ({ path: `${root}/${name}/rp_filter`, value: all, why }))
    .filter((setting) => Number(readSetting(setting.path) ?? all) < Number(all));
  const off = {
    path: `${root}/all/rp_filter`,
    value: "0",
    why: "or it would overrule the service interfaces",
  };
  return writeAll(keeper, [...others, off]);
}

/**
 * On a kernel without a switch for each interface. The switch for all writes those of the interfaces too: what they
 * were is remembered by writing them first.
 */
function forwardIpv6Everywhere(keeper: SettingsKeeper): string[] {
  const root = "net/ipv6/conf";
  const { why } = IPV6_FORWARDING_EVERYWHERE;
  const each = listSettings(root)
    .filter((name) => name !== "all")
    .map((name) => ({ path: `${root}/${name}/forwarding`, value: "1", why }));
  return writeAll(keeper, [...each, IPV6_FORWARDING_EVERYWHERE]);
}
