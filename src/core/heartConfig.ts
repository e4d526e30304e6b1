// The configuration as the daemon hands it to heart: values instead of files, because reading files takes longer than a lease
// lasts, and because both must go by the same, whatever somebody has written into a file meanwhile. Heart believes nothing
// that it did not check, not even from its own daemon: what it goes by is looked at here. Pure.

import { canonicalAddress, parseMac } from "../base/addresses.ts";
import {
  ADDRESSES_PER_INTERFACE_MAX,
  DEAD_AFTER_MS_MAX,
  HEARTBEAT_MS_MAX,
  HEARTBEAT_MS_MIN,
  KEYS_PER_NODE_MAX,
  LEASE_MS_MIN,
  LINK_ID_MAX,
  LINK_ID_MIN,
  LINKS_MAX,
  PATHS_MAX,
  PRIORITY_MAX,
  SOLO_LEASE_MS_MAX,
  SOLO_LEASE_MS_MIN,
  WITNESSES_MAX,
} from "../base/limits.ts";
import type { Config } from "./config.ts";

export type HeartConfigRead =
  | { readonly ok: true; readonly config: Config }
  /** Where and what: `links.0.service.device: expected us-l1`. */
  | { readonly ok: false; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;

/** A value that is not as it should be; never leaves this file. */
class Mistake extends Error {}

function want(holds: boolean, path: string, expected: string): asserts holds {
  if (!holds) throw new Mistake(`${path}: expected ${expected}`);
}

function fields(value: unknown, path: string): Fields {
  want(typeof value === "object" && value !== null && !Array.isArray(value), path, "an object");
  return value as Fields;
}

function list(value: unknown, path: string, min: number, max: number): readonly unknown[] {
  const holds = Array.isArray(value) && value.length >= min && value.length <= max;
  want(holds, path, `a list of ${min} to ${max}`);
  return value;
}

function text(value: unknown, path: string, pattern: RegExp = /^[^\0]{1,4096}$/): string {
  want(typeof value === "string" && pattern.test(value), path, `a text like ${pattern.source}`);
  return value;
}

function whole(value: unknown, path: string, min: number, max: number): number {
  const holds = Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
  want(holds, path, `a whole number from ${min} to ${max}`);
  return value as number;
}

const flag = (value: unknown, path: string): void => want(typeof value === "boolean", path, "true or false");

/** IFNAMSIZ of <linux/if.h>, its terminating zero left out. */
const INTERFACE = /^[^\s/\0]{1,15}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const KEY = /^ed25519:[A-Za-z0-9+/]{43}=$/;

function address(value: unknown, path: string): 4 | 6 {
  const canonical = typeof value === "string" ? canonicalAddress(value) : null;
  want(canonical !== null, path, "an address");
  return canonical.includes(":") ? 6 : 4;
}

function service(value: unknown, path: string, id: number): void {
  const { addresses, witnesses, ...rest } = fields(value, path);
  const device = id === 0 ? "us-lan" : `us-l${id}`;
  want(rest.id === id, `${path}.id`, String(id));
  want(rest.device === device, `${path}.device`, device);
  text(rest.name, `${path}.name`);
  text(rest.port, `${path}.port`, INTERFACE);
  want(parseMac(text(rest.virtualMac, `${path}.virtualMac`)) !== null, `${path}.virtualMac`, "a MAC address");
  flag(rest.singleMac, `${path}.singleMac`);
  list(addresses, `${path}.addresses`, 1, ADDRESSES_PER_INTERFACE_MAX).forEach((each, index) => {
    const at = `${path}.addresses.${index}`;
    const shared = fields(each, at);
    const family = address(shared.address, `${at}.address`);
    want(shared.family === family, `${at}.family`, String(family));
    whole(shared.prefixLength, `${at}.prefixLength`, 1, family === 4 ? 32 : 128);
  });
  list(witnesses, `${path}.witnesses`, 0, WITNESSES_MAX).forEach((each, index) => {
    address(each, `${path}.witnesses.${index}`);
  });
}

/** The LAN, and the links in order of their ids: what numbers the segments. */
function segments(value: Fields): void {
  const lan = fields(value.lan, "lan");
  service(lan.service, "lan.service", 0);
  let before = LINK_ID_MIN - 1;
  list(value.links, "links", 0, LINKS_MAX).forEach((each, index) => {
    const link = fields(each, `links.${index}`);
    const id = whole(link.id, `links.${index}.id`, before + 1, LINK_ID_MAX);
    service(link.service, `links.${index}.service`, id);
    flag(link.enabled, `links.${index}.enabled`);
    before = id;
  });
}

function paths(value: unknown): void {
  // Those of the configuration before may stay beside for a while (configPlan.ts).
  list(value, "paths", 1, 2 * PATHS_MAX).forEach((each, index) => {
    const at = `paths.${index}`;
    const path = fields(each, at);
    text(path.name, `${at}.name`);
    text(path.device, `${at}.device`, INTERFACE);
    const family = address(path.local, `${at}.local`);
    want(address(path.remote, `${at}.remote`) === family, `${at}.remote`, "an address of the same family");
    flag(path.heartbeat, `${at}.heartbeat`);
    flag(path.replication, `${at}.replication`);
  });
}

/** The relations of configRules.ts hold as well: on them the election relies. */
function timers(value: unknown): void {
  const of = fields(value, "timers");
  const heartbeat = whole(of.heartbeatMs, "timers.heartbeatMs", HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX);
  const dead = whole(of.deadAfterMs, "timers.deadAfterMs", LEASE_MS_MIN + 1, DEAD_AFTER_MS_MAX);
  const lease = whole(of.leaseMs, "timers.leaseMs", LEASE_MS_MIN, DEAD_AFTER_MS_MAX);
  const solo = whole(of.soloLeaseMs, "timers.soloLeaseMs", SOLO_LEASE_MS_MIN, SOLO_LEASE_MS_MAX);
  want(heartbeat * 3 <= lease, "timers.heartbeatMs", "at most a third of the lease");
  want(lease < dead, "timers.leaseMs", "less than deadAfterMs");
  want(solo > dead, "timers.soloLeaseMs", "more than deadAfterMs");
}

/** What a heart keeps for its life. */
const FIXED = ["pair", "node", "keyFile", "stateDirectory", "runtimeDirectory"] as const;

/**
 * `value` as a configuration for heart. With `own`, the one that it has: which pair, which node, which key and which directories
 * must be the same. What heart does not go by (weights, gateways, what is sent) is not looked at.
 */
export function readHeartConfig(value: unknown, own: Config | null): HeartConfigRead {
  try {
    const config = fields(value, "configuration");
    for (const key of FIXED) {
      text(config[key], key);
      want(own === null || config[key] === own[key], key, String(own?.[key]));
    }
    want(config.node === "a" || config.node === "b", "node", "a or b");
    text(config.digest, "digest", DIGEST);
    const priority = fields(config.priority, "priority");
    for (const node of ["a", "b"]) whole(priority[node], `priority.${node}`, 0, PRIORITY_MAX);
    segments(config);
    paths(config.paths);
    timers(config.timers);
    list(config.peerKeys, "peerKeys", 1, KEYS_PER_NODE_MAX).forEach((key, index) => {
      text(key, `peerKeys.${index}`, KEY);
    });
    return { ok: true, config: value as Config };
  } catch (error) {
    if (error instanceof Mistake) return { ok: false, reason: error.message };
    throw error;
  }
}
