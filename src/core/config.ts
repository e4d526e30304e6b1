// The configuration as the rest of the program sees it: validated, resolved, read-only. Reading YAML, finding
// every error and saying where it stands is the business of configCheck.ts and its siblings. Pure: types only.

import type { LinkId, Millis, NodeId } from "../base/units.ts";
import type { SendingPolicy } from "../wire/sessionPolicy.ts";
import type { DrillSchedule } from "./drill.ts";
import type { HelperConfig } from "./helpers.ts";

/** An address with its prefix length, as text in canonical form: `192.0.2.1/24`, `fd00::1/64`. */
export interface InterfaceAddress {
  readonly family: 4 | 6;
  readonly address: string;
  readonly prefixLength: number;
}

/** One service interface of the pair: a macvlan with a virtual MAC on a port, carrying the shared addresses. */
export interface ServiceConfig {
  /** `lan`, or the link's name. */
  readonly name: string;
  /** 0 for the LAN, else the link's id. */
  readonly id: number;
  /** Name of the macvlan: `us-lan`, `us-l1`. */
  readonly device: string;
  /** The node's own device below it: `eth0`. Node-local. */
  readonly port: string;
  /** Locally administered: `02:xx:xx:xx:xx:xx` (failover §1). */
  readonly virtualMac: string;
  readonly addresses: readonly InterfaceAddress[];
  /** Third parties on this segment that prove the cable (failover §4): gateways and configured hosts. */
  readonly witnesses: readonly string[];
  /** Behind a modem or port security: no probes from the real MAC. */
  readonly singleMac: boolean;
}

export interface LinkConfig {
  readonly id: LinkId;
  readonly name: string;
  readonly service: ServiceConfig;
  readonly gateway: { readonly v4?: string; readonly v6?: string };
  /** Share of new sessions relative to the other links; 0 takes none. */
  readonly weight: number;
  /** bit/s, as the ISP sells it. */
  readonly capacity: { readonly up?: number; readonly down?: number };
  readonly enabled: boolean;
}

export interface LanConfig {
  readonly service: ServiceConfig;
  /** Networks behind further routers of the LAN. */
  readonly routes: readonly { readonly network: InterfaceAddress; readonly via: string }[];
}

/** One way from node to node, in order of preference. */
export interface PathConfig {
  readonly name: string;
  /** The node's own device: node-local name resolved. */
  readonly device: string;
  readonly local: string;
  readonly remote: string;
  readonly heartbeat: boolean;
  readonly replication: boolean;
}

export interface TimersConfig {
  readonly heartbeatMs: Millis;
  readonly deadAfterMs: Millis;
  readonly leaseMs: Millis;
  readonly soloLeaseMs: Millis;
}

/** Everything that node `node` needs to know. */
export interface Config {
  /** The pair's id, in every file name and in the derivation of virtual MACs: `office`. */
  readonly pair: string;
  readonly node: NodeId;
  /** Higher wins where two nodes are equal otherwise. */
  readonly priority: { readonly a: number; readonly b: number };
  readonly lan: LanConfig;
  readonly links: readonly LinkConfig[];
  readonly paths: readonly PathConfig[];
  readonly timers: TimersConfig;
  /** Seed of the placement hash, 0..2^32-1; the same on both nodes. */
  readonly placementSeed: number;
  /** Helpers of connection tracking for the LAN's sessions, in order of name and port, each once. */
  readonly helpers: readonly HelperConfig[];
  /** When drills are; null: only by command. */
  readonly drill: DrillSchedule | null;
  /** Which sessions the standby is told of. */
  readonly sending: SendingPolicy;
  /** Public keys of the peer that are accepted, at most two (rotation): `ed25519:<base64>`. */
  readonly peerKeys: readonly string[];
  /** Our own public keys as the pair's file lists them. */
  readonly ownKeys: readonly string[];
  /** Node-local paths. */
  readonly keyFile: string;
  readonly stateDirectory: string;
  readonly runtimeDirectory: string;
  /** SHA-256 over the pair's file in canonical form, hex: both nodes must have the same. */
  readonly digest: string;
  /** The files it was read from. */
  readonly files: { readonly pair: string; readonly node: string };
}

/** Every service interface, LAN first, links in order of id. */
export function servicesOf(config: Config): readonly ServiceConfig[] {
  return [config.lan.service, ...config.links.map((link) => link.service)];
}
