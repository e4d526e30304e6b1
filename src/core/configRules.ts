// What keys must be together: rules over whole files, each with its sentence for the documentation. A rule sees
// what the check of single keys left over, so that it must live with anything being undefined, and reports every
// pair of values that cannot both be true at the later of the two. Pure.

import { familyOf, formatCidr, kindOfAddress, networkOf, overlaps, parseAddress } from "../base/addresses.ts";
import {
  DEAD_AFTER_MS_DEFAULT,
  HEARTBEAT_MS_DEFAULT,
  LEASE_MS_DEFAULT,
  SOLO_LEASE_MS_DEFAULT,
  WEIGHT_DEFAULT,
} from "../base/limits.ts";
import type { InterfaceAddress } from "./config.ts";
import { deviceOf, virtualMacOf } from "./configBuild.ts";
import { nearest } from "./configCheck.ts";
import type { NodeFile, PairFile } from "./configKeys.ts";
import { cidrOf, inNetworkOf, PORT_PROTOCOLS, protocolText } from "./configKinds.ts";
import { ConfigErrorCode, type Finding, type Located, quote } from "./configTree.ts";
import { helperText } from "./helpers.ts";

export interface Rule<File> {
  /** Stable name, for tests. */
  readonly name: string;
  /** For the documentation. */
  readonly text: string;
  readonly check: (file: File, conflict: Conflict) => void;
}

/** Reports that `at` cannot be as it is. */
type Conflict = (at: Omit<Located<unknown>, "value">, expected: string, found: string) => void;

type Link = NonNullable<PairFile["links"]>["value"][number];

const linksOf = (file: PairFile): readonly Link[] => file.links?.value ?? [];
const pathsOf = (file: PairFile) => file.paths?.value ?? [];
const itemsOf = <T>(list: Located<readonly T[]> | undefined): readonly T[] => list?.value ?? [];
const present = <T>(items: readonly (T | undefined)[]): readonly T[] =>
  items.filter((item) => item !== undefined);
const familyOfText = (address: string): 4 | 6 => parseAddress(address)!.family;

/** Calls `twice` for each value that was there before, with the first one. */
function eachTwice<T>(
  values: readonly Located<T>[],
  twice: (again: Located<T>, first: Located<T>) => void,
): void {
  const seen = new Map<T, Located<T>>();
  for (const value of values) {
    const first = seen.get(value.value);
    if (first === undefined) seen.set(value.value, value);
    else twice(value, first);
  }
}

const where = (at: Located<unknown>): string => `${at.path} on line ${at.place.line}`;

/** A segment that carries shared addresses, with the key that it comes from. */
interface Segment {
  readonly words: string;
  readonly interfaceName: Located<string> | undefined;
  readonly addresses: readonly Located<InterfaceAddress>[];
}

function segmentsOf(file: PairFile): readonly Segment[] {
  const lan = file.lan?.value;
  const links = linksOf(file).map(({ value, path }) => ({
    words: value.name === undefined ? path : `link ${value.name.value}`,
    interfaceName: value.interface,
    addresses: itemsOf(value.addresses),
  }));
  return [{ words: "the LAN", interfaceName: lan?.interface, addresses: itemsOf(lan?.addresses) }, ...links];
}

/** Every address that a node has of its own: both ends of each path. */
function ownAddressesOf(file: PairFile): readonly Located<string>[] {
  return pathsOf(file).flatMap(({ value }) => present([value.a, value.b]));
}

function sharedAddressesOf(file: PairFile): readonly Located<string>[] {
  return segmentsOf(file).flatMap(({ addresses }) =>
    addresses.map((located) => ({ ...located, value: located.value.address })),
  );
}

const namesOnce: Rule<PairFile> = {
  name: "names once",
  text: "Link ids, link names and path names each stand for one thing. No link is called `lan`.",
  check(file, conflict) {
    const links = linksOf(file);
    const once = (values: readonly Located<string | number>[], what: string): void => {
      eachTwice(values, (again, first) => {
        const found = typeof again.value === "number" ? `${again.value}` : quote(again.value);
        conflict(again, `${what} of its own`, `${found}, as ${where(first)}`);
      });
    };
    once(present(links.map(({ value }) => value.id)), "an id");
    once(present(links.map(({ value }) => value.name)), "a name");
    once(present(pathsOf(file).map(({ value }) => value.name)), "a name");
    for (const { value } of links) {
      if (value.name?.value === "lan")
        conflict(value.name, 'a name other than that of the inside, "lan"', '"lan"');
    }
  },
};

const portsOnce: Rule<PairFile> = {
  name: "ports once",
  text: "The LAN and every link have a port of their own. (A path may share one of theirs.)",
  check(file, conflict) {
    eachTwice(present(segmentsOf(file).map((segment) => segment.interfaceName)), (again, first) => {
      conflict(again, "an interface of its own", `${quote(again.value)}, as ${where(first)}`);
    });
  },
};

const addressesOnce: Rule<PairFile> = {
  name: "addresses once",
  text: "An address is at one place: shared on one segment, or one node's own at one end of one path.",
  check(file, conflict) {
    eachTwice([...sharedAddressesOf(file), ...ownAddressesOf(file)], (again, first) => {
      conflict(again, "an address that is nowhere else", `${again.value}, as ${where(first)}`);
    });
  },
};

const networksApart: Rule<PairFile> = {
  name: "networks apart",
  text:
    "The networks of the LAN, of its routes and of the links do not overlap, and a path whose addresses are in one of " +
    "them uses that segment's port: else no route could tell them apart.",
  check(file, conflict) {
    const segments = segmentsOf(file);
    const routes = itemsOf(file.lan?.value.routes).map(({ value }) => present([value.network]));
    const groups = [...segments.map((segment) => segment.addresses), ...routes];
    for (const [i, group] of groups.entries()) {
      for (const later of group) {
        const clash = groups
          .slice(0, i)
          .flat()
          .find((earlier) => overlaps(cidrOf(earlier.value), cidrOf(later.value)));
        if (clash === undefined) continue;
        const [network, other] = [later, clash].map((at) => formatCidr(networkOf(cidrOf(at.value))));
        conflict(
          later,
          "a network apart from all others",
          `${network}, which overlaps ${other} (${where(clash)})`,
        );
      }
    }
    for (const { value: path } of pathsOf(file)) {
      for (const end of present([path.a, path.b])) {
        const segment = segments.find(({ addresses }) =>
          addresses.some((own) => inNetworkOf(own.value, end.value)),
        );
        const port = segment?.interfaceName;
        if (port === undefined || path.interface === undefined || port.value === path.interface.value)
          continue;
        conflict(
          end,
          `an address outside the network of ${segment?.words}, or interface ${quote(port.value)}`,
          `${end.value} on interface ${quote(path.interface.value)}`,
        );
      }
    }
  },
};

const gatewaysReachable: Rule<PairFile> = {
  name: "gateways reachable",
  text:
    "A link's gateway lies in the network of one of its addresses (a link-local IPv6 one excepted), is no address of ours, " +
    "and there is at most one of each family, of which the link has an address.",
  check(file, conflict) {
    const ours = [...sharedAddressesOf(file), ...ownAddressesOf(file)];
    for (const { value: link } of linksOf(file)) {
      const addresses = itemsOf(link.addresses);
      for (const gateway of itemsOf(link.gateway)) {
        const bytes = parseAddress(gateway.value)!.bytes;
        const family = familyOf(bytes);
        const clash = ours.find((own) => own.value === gateway.value);
        const sameFamily = addresses.filter((own) => own.value.family === family);
        const linkLocal = family === 6 && kindOfAddress(bytes) === "linkLocal";
        if (clash !== undefined) {
          conflict(gateway, "the provider's router", `${gateway.value}, our own (${where(clash)})`);
        } else if (link.addresses !== undefined && sameFamily.length === 0) {
          conflict(
            gateway,
            `a gateway of the family of the link's addresses`,
            `${gateway.value}, IPv${family}`,
          );
        } else if (
          !linkLocal &&
          sameFamily.length > 0 &&
          !sameFamily.some((own) => inNetworkOf(own.value, gateway.value))
        ) {
          const networks = sameFamily.map((own) => formatCidr(networkOf(cidrOf(own.value)))).join(" or ");
          conflict(gateway, `an address in ${networks}`, gateway.value);
        }
      }
      eachTwice(
        itemsOf(link.gateway).map((gateway) => ({ ...gateway, value: familyOfText(gateway.value) })),
        (again) => conflict(again, "one gateway of each family", `a second IPv${again.value} gateway`),
      );
    }
  },
};

const lanHosts: Rule<PairFile> = {
  name: "LAN hosts",
  text:
    "Witnesses and the routers of LAN routes lie in one of the LAN's networks and are third parties: no address of ours. A " +
    "witness is named once, a router is of its network's family.",
  check(file, conflict) {
    const lan = file.lan?.value;
    const addresses = itemsOf(lan?.addresses);
    const ours = [...sharedAddressesOf(file), ...ownAddressesOf(file)];
    const routes = itemsOf(lan?.routes);
    for (const host of [...itemsOf(lan?.witnesses), ...present(routes.map(({ value }) => value.via))]) {
      const clash = ours.find((own) => own.value === host.value);
      if (clash !== undefined) {
        conflict(host, "a third party", `${host.value}, our own (${where(clash)})`);
      } else if (addresses.length > 0 && !addresses.some((own) => inNetworkOf(own.value, host.value))) {
        const networks = addresses.map((own) => formatCidr(networkOf(cidrOf(own.value)))).join(" or ");
        conflict(host, `an address in ${networks}`, host.value);
      }
    }
    eachTwice(itemsOf(lan?.witnesses), (again, first) => {
      conflict(again, "each witness once", `${again.value}, as ${where(first)}`);
    });
    for (const { value: route } of routes) {
      if (route.via === undefined || route.network === undefined) continue;
      if (familyOfText(route.via.value) === route.network.value.family) continue;
      conflict(route.via, `an IPv${route.network.value.family} router, as its network`, route.via.value);
    }
  },
};

const macsOnce: Rule<PairFile> = {
  name: "virtual MACs once",
  text: "No two segments have the same virtual MAC, derived ones included.",
  check(file, conflict) {
    const { pair, lan } = file;
    if (pair === undefined) return;
    const of = (
      id: number,
      at: Located<{ readonly virtualMac?: Located<string> | undefined }>,
    ): Located<string> => at.value.virtualMac ?? { ...at, value: virtualMacOf(pair.value, id) };
    const links = linksOf(file).flatMap((link) =>
      link.value.id === undefined ? [] : [of(link.value.id.value, link)],
    );
    eachTwice([...(lan === undefined ? [] : [of(0, lan)]), ...links], (again, first) => {
      conflict(again, "a virtual MAC of its own", `${again.value}, as ${where(first)}`);
    });
  },
};

const keysOnce: Rule<PairFile> = {
  name: "keys once",
  text: "Each public key belongs to one node and is named once.",
  check(file, conflict) {
    const { a, b } = file.nodes?.value ?? {};
    eachTwice([...itemsOf(a?.value.keys), ...itemsOf(b?.value.keys)], (again, first) => {
      conflict(again, "a key of its own for each node", `the key of ${where(first)}`);
    });
  },
};

const pathsWhole: Rule<PairFile> = {
  name: "paths whole",
  text: "Both ends of a path are of one family. One path at least carries heartbeats, one replication; `use` names each once.",
  check(file, conflict) {
    const paths = pathsOf(file);
    const closed = linksOf(file).filter(({ value }) => value.singleMac?.value === true);
    for (const { value: path } of paths) {
      const { a, b, use } = path;
      const link = closed.find(({ value }) => value.interface?.value === path.interface?.value);
      if (link !== undefined && path.interface !== undefined) {
        conflict(
          path.interface,
          "a port that accepts the node's own MAC",
          `that of ${link.path}, which is singleMac`,
        );
      }
      if (a !== undefined && b !== undefined && familyOfText(a.value) !== familyOfText(b.value)) {
        conflict(b, `an IPv${familyOfText(a.value)} address, as the other end (${a.value})`, b.value);
      }
      eachTwice(itemsOf(use), (again) => conflict(again, "each use once", `${quote(again.value)} again`));
    }
    if (file.paths === undefined || paths.length === 0) return;
    for (const use of ["heartbeat", "replication"] as const) {
      const carries = paths.some(
        ({ value }) => value.use === undefined || value.use.value.some((u) => u.value === use),
      );
      if (!carries) conflict(file.paths, `a path that carries ${use}`, "none");
    }
  },
};

const somewhereToGo: Rule<PairFile> = {
  name: "somewhere to go",
  text: "One link at least is enabled and has a weight above 0.",
  check(file, conflict) {
    const links = linksOf(file);
    if (file.links === undefined || links.length === 0) return;
    const usable = links.some(
      ({ value }) => (value.enabled?.value ?? true) && (value.weight?.value ?? WEIGHT_DEFAULT) > 0,
    );
    if (!usable) conflict(file.links, "one link at least that is enabled, with a weight above 0", "none");
  },
};

const timersAgree: Rule<PairFile> = {
  name: "timers agree",
  text:
    "Three heartbeats fit into a lease, a lease ends well before `dead` (a tenth: clocks may differ by 5 % each way), and " +
    "`soloLease` is longer than `dead`.",
  check(file, conflict) {
    const timers = file.timers;
    if (timers === undefined) return;
    const { heartbeat, dead, lease, soloLease } = timers.value;
    const heartbeatMs = heartbeat?.value ?? HEARTBEAT_MS_DEFAULT;
    const deadMs = dead?.value ?? DEAD_AFTER_MS_DEFAULT;
    const leaseMs = lease?.value ?? LEASE_MS_DEFAULT;
    const soloMs = soloLease?.value ?? SOLO_LEASE_MS_DEFAULT;
    if (heartbeatMs * 3 > leaseMs) {
      const most = Math.floor(leaseMs / 3);
      conflict(
        heartbeat ?? lease ?? timers,
        `a heartbeat of at most ${most}ms, a third of the lease`,
        `${heartbeatMs}ms`,
      );
    }
    if (leaseMs * 10 > deadMs * 9) {
      const most = Math.floor((deadMs * 9) / 10);
      conflict(lease ?? dead ?? timers, `a lease of at most ${most}ms, nine tenths of dead`, `${leaseMs}ms`);
    }
    if (soloMs <= deadMs) {
      conflict(soloLease ?? dead ?? timers, `a soloLease above dead, ${deadMs}ms`, `${soloMs}ms`);
    }
  },
};

const exceptionsWhole: Rule<PairFile> = {
  name: "exceptions whole",
  text:
    "An exception from replication says something, and not what another one says already; one with a port is about a " +
    `protocol that has ports (${PORT_PROTOCOLS.join(", ")}), or about all of them.`,
  check(file, conflict) {
    const seen = new Map<string, Located<unknown>>();
    for (const exception of itemsOf(file.replication?.value.except)) {
      const { protocol, port, network } = exception.value;
      if (protocol === undefined && port === undefined && network === undefined) {
        conflict(exception, "a protocol, a port or a network", "none of them");
        continue;
      }
      if (
        port !== undefined &&
        protocol !== undefined &&
        !PORT_PROTOCOLS.includes(protocolText(protocol.value))
      ) {
        conflict(port, `no port beside ${protocolText(protocol.value)}, which has none`, `${port.value}`);
        continue;
      }
      const said = JSON.stringify([protocol?.value, port?.value, network?.value]);
      const first = seen.get(said);
      if (first === undefined) seen.set(said, exception);
      else conflict(exception, "each exception once", `the same as ${where(first)}`);
    }
  },
};

const helpersOnce: Rule<PairFile> = {
  name: "helpers once",
  text: "A helper is named once for each port; `sip:5060` is `sip`.",
  check(file, conflict) {
    const seen = new Map<string, Located<unknown>>();
    for (const helper of itemsOf(file.helpers)) {
      const said = helperText(helper.value);
      const first = seen.get(said);
      if (first === undefined) seen.set(said, helper);
      else conflict(helper, "each helper once for each port", `the same as ${where(first)}`);
    }
  },
};

/** The rules of the pair's file, in the order of the documentation. */
export const PAIR_RULES: readonly Rule<PairFile>[] = [
  namesOnce,
  portsOnce,
  addressesOnce,
  networksApart,
  gatewaysReachable,
  lanHosts,
  macsOnce,
  keysOnce,
  pathsWhole,
  somewhereToGo,
  timersAgree,
  exceptionsWhole,
  helpersOnce,
];

/** Both files together; findings belong to the node's file. */
export interface NodeOfPair {
  readonly node: NodeFile;
  readonly pair: PairFile;
}

/** Every interface that the pair's file names. */
export function interfacesOf(pair: PairFile): readonly string[] {
  const paths = pathsOf(pair).map(({ value }) => value.interface);
  const named = present([...segmentsOf(pair).map((segment) => segment.interfaceName), ...paths]);
  return [...new Set(named.map((located) => located.value))];
}

const namesKnown: Rule<NodeOfPair> = {
  name: "names known",
  text:
    "`interfaces` may name more than the pair's file uses (a link comes and goes, the machine's ports stay). A name that is nearly one " +
    "which the pair's file uses, and which is not named itself, is a mistake.",
  check({ node, pair }, conflict) {
    const known = interfacesOf(pair);
    const named = itemsOf(node.interfaces).map(({ name }) => name.value);
    const left = known.filter((name) => !named.includes(name));
    for (const { name } of itemsOf(node.interfaces)) {
      const near = known.includes(name.value) ? undefined : nearest(name.value, left);
      if (near !== undefined)
        conflict(name, quote(near), `${quote(name.value)}, which the pair's file does not use`);
    }
  },
};

const devicesOnce: Rule<NodeOfPair> = {
  name: "devices once",
  text: "Two interfaces of the pair's file are two devices of the machine.",
  check({ node, pair }, conflict) {
    const users = new Map<string, string>();
    for (const name of interfacesOf(pair)) {
      const device = deviceOf(node, name);
      const other = users.get(device);
      if (other === undefined) {
        users.set(device, name);
        continue;
      }
      const mapped = itemsOf(node.interfaces);
      const at =
        mapped.find((entry) => entry.name.value === name) ??
        mapped.find((entry) => entry.name.value === other);
      if (at !== undefined) conflict(at.value, "a device of its own", `${quote(device)}, as ${quote(other)}`);
    }
  },
};

/** The rules of the node's file, which need the pair's. */
export const NODE_RULES: readonly Rule<NodeOfPair>[] = [namesKnown, devicesOnce];

/** Applies every rule. */
export function applyRules<File>(rules: readonly Rule<File>[], file: File): Finding[] {
  const findings: Finding[] = [];
  for (const rule of rules) {
    rule.check(file, ({ place, path }, expected, found) => {
      findings.push({ place, path, code: ConfigErrorCode.Conflict, expected, found });
    });
  }
  return findings;
}
