// From files that hold to the Config that everything else reads: defaults put in, names resolved, what is
// derived derived, and the digest by which two nodes know that they have the same. Called only where no error
// was found. Pure.

import { formatMac } from "../base/addresses.ts";
import {
  DEAD_AFTER_MS_DEFAULT,
  HEARTBEAT_MS_DEFAULT,
  LEASE_MS_DEFAULT,
  PRIORITY_DEFAULT,
  SOLO_LEASE_MS_DEFAULT,
  WEIGHT_DEFAULT,
} from "../base/limits.ts";
import { sha256, sha256Hex } from "../base/sha256.ts";
import { linkId, millis, type NodeId, peerOf } from "../base/units.ts";
import type { SendingPolicy } from "../wire/sessionPolicy.ts";
import type { Config, InterfaceAddress, LinkConfig, PathConfig, ServiceConfig } from "./config.ts";
import type { NodeFile, PairFile } from "./configKeys.ts";
import type { Located } from "./configTree.ts";
import { type HelperConfig, helperText } from "./helpers.ts";

/** What is sent where the file says nothing (the same as wire/sessionPolicy.ts has it, which may not be imported here). */
export const SENDING_DEFAULT: SendingPolicy = {
  tcp: "established",
  udp: "reply",
  others: "reply",
  except: [],
};

/** The paths that a node's file resolves to, and the names of both files: absolute. */
export interface ConfigPaths {
  readonly keyFile: string;
  readonly stateDirectory: string;
  readonly runtimeDirectory: string;
  readonly pairFile: string;
  readonly nodeFile: string;
}

/**
 * The virtual MAC of a segment that has none configured: `02:` and the first five bytes of
 * SHA-256("understudy virtual-mac PAIR ID"), ID in decimal, 0 for the LAN. Both nodes derive the same; two pairs on
 * one segment differ because their names do.
 */
export function virtualMacOf(pair: string, id: number): string {
  const bytes = sha256(`understudy virtual-mac ${pair} ${id}`).subarray(0, 5);
  return `02:${formatMac(bytes)}`;
}

/** The placement seed of a pair that has none configured: the first 32 bits of SHA-256("understudy placement PAIR"). */
export function placementSeedOf(pair: string): number {
  const bytes = sha256(`understudy placement ${pair}`);
  return new DataView(bytes.buffer).getUint32(0);
}

/** The node's device for an interface of the pair's file: mapped, or of the same name. */
export function deviceOf(node: NodeFile, name: string): string {
  return node.interfaces?.value.find((entry) => entry.name.value === name)?.value.value ?? name;
}

/** The pair's file with its defaults, as plain values; everything that both nodes must agree on. */
export type PairValues = ReturnType<typeof pairValues>;

/** What is required was checked to be there. */
function need<T>(located: Located<T> | undefined): T {
  if (located === undefined) throw new Error("built from a configuration that does not hold");
  return located.value;
}

const valuesOf = <T>(located: Located<readonly Located<T>[]> | undefined): readonly T[] =>
  located?.value.map((item) => item.value) ?? [];

export function pairValues(file: PairFile) {
  const pair = need(file.pair);
  const nodes = need(file.nodes);
  const nodeValues = (id: NodeId) => {
    const node = need(nodes[id]);
    return { keys: valuesOf(node.keys), priority: node.priority?.value ?? PRIORITY_DEFAULT };
  };
  const lan = need(file.lan);
  const links = need(file.links).map(({ value: link }) => ({
    id: need(link.id),
    name: need(link.name),
    interface: need(link.interface),
    gateway: valuesOf(link.gateway),
    addresses: valuesOf(link.addresses),
    weight: link.weight?.value ?? WEIGHT_DEFAULT,
    capacity: { up: link.capacity?.value.up?.value, down: link.capacity?.value.down?.value },
    singleMac: link.singleMac?.value ?? false,
    virtualMac: link.virtualMac?.value ?? virtualMacOf(pair, need(link.id)),
    enabled: link.enabled?.value ?? true,
  }));
  const paths = need(file.paths).map(({ value: path }) => ({
    name: need(path.name),
    interface: need(path.interface),
    a: need(path.a),
    b: need(path.b),
    heartbeat: path.use === undefined || valuesOf(path.use).includes("heartbeat"),
    replication: path.use === undefined || valuesOf(path.use).includes("replication"),
  }));
  const timers = file.timers?.value;
  return {
    version: need(file.version),
    pair,
    nodes: { a: nodeValues("a"), b: nodeValues("b") },
    lan: {
      interface: need(lan.interface),
      addresses: valuesOf(lan.addresses),
      witnesses: valuesOf(lan.witnesses),
      routes: valuesOf(lan.routes).map((route) => ({ network: need(route.network), via: need(route.via) })),
      virtualMac: lan.virtualMac?.value ?? virtualMacOf(pair, 0),
    },
    // Their order in the file says nothing; that of the paths is their preference.
    links: links.sort((one, other) => one.id - other.id),
    paths,
    timers: {
      heartbeatMs: timers?.heartbeat?.value ?? millis(HEARTBEAT_MS_DEFAULT),
      deadAfterMs: timers?.dead?.value ?? millis(DEAD_AFTER_MS_DEFAULT),
      leaseMs: timers?.lease?.value ?? millis(LEASE_MS_DEFAULT),
      soloLeaseMs: timers?.soloLease?.value ?? millis(SOLO_LEASE_MS_DEFAULT),
    },
    helpers: helperValues(file),
    replication: sendingValues(file),
    // Undefined where there is none, for the reason that `sendingValues` has.
    drill: file.drill?.value.at?.value,
    placement: { seed: file.placement?.value.seed?.value ?? placementSeedOf(pair) },
  };
}

/** In an order of their own; undefined where there are none, for the reason that `sendingValues` has. */
function helperValues(file: PairFile): readonly HelperConfig[] | undefined {
  const helpers = valuesOf(file.helpers);
  if (helpers.length === 0) return undefined;
  return [...helpers].sort((one, other) => (helperText(one) < helperText(other) ? -1 : 1));
}

/**
 * Undefined where it is all as by default: digests of files without the key are those of versions that did not know
 * it, so that a pair can be upgraded one node at a time and stay ready.
 */
function sendingValues(file: PairFile): SendingPolicy | undefined {
  const { tcp, udp, others, except } = file.replication?.value ?? {};
  const policy: SendingPolicy = {
    tcp: tcp?.value ?? SENDING_DEFAULT.tcp,
    udp: udp?.value ?? SENDING_DEFAULT.udp,
    others: others?.value ?? SENDING_DEFAULT.others,
    except: valuesOf(except).map(({ protocol, port, network }) => ({
      ...(protocol === undefined ? {} : { protocol: protocol.value }),
      ...(port === undefined ? {} : { port: port.value }),
      ...(network === undefined ? {} : { network: network.value }),
    })),
  };
  return canonicalJson(policy) === canonicalJson(SENDING_DEFAULT) ? undefined : policy;
}

/** JSON with the keys of every object in order and nothing undefined: equal values, equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}

/**
 * The configuration's digest, 64 hexadecimal digits: SHA-256 over the pair's values in canonical JSON. Comments,
 * order, spelling and defaults written out do not change it.
 */
export function digestOf(values: PairValues): string {
  return sha256Hex(canonicalJson(values));
}

/** Everything that node `node.node` needs to know. Both files must hold. */
export function buildConfig(pairFile: PairFile, node: NodeFile, paths: ConfigPaths): Config {
  const values = pairValues(pairFile);
  const self = need(node.node);
  const peer = peerOf(self);
  const pathConfigs = values.paths.map(
    (path): PathConfig => ({
      name: path.name,
      device: deviceOf(node, path.interface),
      local: path[self],
      remote: path[peer],
      heartbeat: path.heartbeat,
      replication: path.replication,
    }),
  );
  return {
    pair: values.pair,
    node: self,
    priority: { a: values.nodes.a.priority, b: values.nodes.b.priority },
    lan: { service: lanService(values, node), routes: values.lan.routes },
    links: values.links.map((link) => linkConfig(link, node)),
    paths: pathConfigs,
    timers: values.timers,
    placementSeed: values.placement.seed,
    helpers: values.helpers ?? [],
    drill: values.drill ?? null,
    sending: values.replication ?? SENDING_DEFAULT,
    peerKeys: values.nodes[peer].keys,
    ownKeys: values.nodes[self].keys,
    keyFile: paths.keyFile,
    stateDirectory: paths.stateDirectory,
    runtimeDirectory: paths.runtimeDirectory,
    digest: digestOf(values),
    files: { pair: paths.pairFile, node: paths.nodeFile },
  };
}

function lanService({ lan }: PairValues, node: NodeFile): ServiceConfig {
  return {
    name: "lan",
    id: 0,
    device: "us-lan",
    port: deviceOf(node, lan.interface),
    virtualMac: lan.virtualMac,
    addresses: lan.addresses,
    witnesses: lan.witnesses,
    singleMac: false,
  };
}

function linkConfig(link: PairValues["links"][number], node: NodeFile): LinkConfig {
  const v4 = link.gateway.find((address) => !address.includes(":"));
  const v6 = link.gateway.find((address) => address.includes(":"));
  const { up, down } = link.capacity;
  return {
    id: linkId(link.id),
    name: link.name,
    service: {
      name: link.name,
      id: link.id,
      device: `us-l${link.id}`,
      port: deviceOf(node, link.interface),
      virtualMac: link.virtualMac,
      addresses: link.addresses satisfies readonly InterfaceAddress[],
      witnesses: link.gateway,
      singleMac: link.singleMac,
    },
    gateway: { ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }) },
    weight: link.weight,
    capacity: { ...(up === undefined ? {} : { up }), ...(down === undefined ? {} : { down }) },
    enabled: link.enabled,
  };
}
