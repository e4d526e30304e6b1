// What lies between two configurations of one pair, for a node that runs: what differs, in words, and what of the
// kernel's dress, of heart and of the log it touches. It says what has to be done and does nothing; the order is
// daemon/reconfigure.ts's. Pure.

import type { Config, LinkConfig, PathConfig, ServiceConfig } from "./config.ts";
import { servicesOf } from "./config.ts";
import { canonicalJson } from "./configBuild.ts";
import { wordsOf } from "./configWords.ts";

/** What it takes to go from one configuration to another on a node that runs. */
export interface EffectPlan {
  /**
   * `nothing`: both mean the same. `live`: it takes effect while traffic flows. `refused`: another pair, another node or
   * another directory is not a change of this one; `refusals` says which, and nothing must be done.
   */
  readonly kind: "nothing" | "live" | "refused";
  /** One sentence a difference, for people: `link cable: weight 2, was 1`. */
  readonly changes: readonly string[];
  readonly refusals: readonly string[];
  /** Links that are on both sides, on another port each: their interfaces are made anew. */
  readonly moved: readonly LinkConfig[];
  readonly removed: readonly LinkConfig[];
  /** The LAN's interface is made anew: nothing is forwarded for that moment, whatever is done. */
  readonly movesLan: boolean;
  /** The log's connection is made anew, and the standby takes a snapshot: paths, keys, or what is sent at all. */
  readonly renewsLog: boolean;
  /** Sessions that cannot go on, by link. */
  readonly ends: readonly EndedSessions[];
}

/** Sessions of `link` end, those excepted that are translated to one of `keeps` (addresses in canonical form). */
export interface EndedSessions {
  readonly link: LinkConfig;
  /** Empty: the link is gone, and all of its sessions with it. */
  readonly keeps: readonly string[];
}

const same = (one: unknown, other: unknown): boolean =>
  canonicalJson(one ?? null) === canonicalJson(other ?? null);

/** What a node cannot change while it runs, with the name under which its user knows it. */
const FIXED = [
  ["pair", "the pair's name"],
  ["node", "which node this is"],
  ["keyFile", "the file of the private key"],
  ["stateDirectory", "the state directory"],
  ["runtimeDirectory", "the runtime directory"],
] as const;

/** What takes effect without the log's connection being made anew. Keys that are not known here renew it. */
const WITHOUT_THE_LOG: ReadonlySet<string> = new Set([
  ...["priority", "lan", "links", "timers", "placementSeed", "digest", "files", "ownKeys"],
  ...["pair", "node", "keyFile", "stateDirectory", "runtimeDirectory", "paths"],
  // What they make of sessions is in each session's record; who has none yet gets one when it begins.
  "helpers",
  "drill",
]);

/** What has to be done on a node that runs with `now` so that it runs with `next`. */
export function planEffect(now: Config, next: Config): EffectPlan {
  const refusals = FIXED.filter(([key]) => now[key] !== next[key]).map(
    ([key, name]) => `${name} is ${now[key]} and cannot become ${next[key]} while the node runs`,
  );
  const changes = wordsOf(now, next);
  const isSame = changes.length === 0 && now.digest === next.digest;
  const former = (link: LinkConfig): LinkConfig | undefined => next.links.find(({ id }) => id === link.id);
  const removed = now.links.filter((link) => former(link) === undefined);
  const moved = next.links.filter(({ id, service }) =>
    now.links.some((link) => link.id === id && link.service.port !== service.port),
  );
  return {
    kind: refusals.length > 0 ? "refused" : isSame ? "nothing" : "live",
    changes,
    refusals,
    moved,
    removed,
    movesLan: now.lan.service.port !== next.lan.service.port,
    renewsLog: renewsLog(now, next),
    ends: endsOf(now, next),
  };
}

const carryingLog = (config: Config): readonly PathConfig[] =>
  config.paths.filter(({ replication }) => replication);

function renewsLog(now: Config, next: Config): boolean {
  if (!same(carryingLog(now), carryingLog(next))) return true;
  const keys = new Set([...Object.keys(now), ...Object.keys(next)]) as Set<keyof Config>;
  return [...keys].some((key) => !WITHOUT_THE_LOG.has(key) && !same(now[key], next[key]));
}

/**
 * A session goes on for as long as its link is configured, disabled or not, and has the address that the session is
 * translated to. Otherwise no packet of it could pass any more: it is ended, so that its hosts begin another.
 */
function endsOf(now: Config, next: Config): EndedSessions[] {
  return now.links.flatMap((link) => {
    const after = next.links.find(({ id }) => id === link.id);
    if (after === undefined) return [{ link, keeps: [] }];
    const keeps = after.service.addresses.map(({ address }) => address);
    return link.service.addresses.every(({ address }) => keeps.includes(address)) ? [] : [{ link, keeps }];
  });
}

/** `config` without the links of these ids: what is in force while their interfaces are taken away. */
export function withoutLinks(config: Config, ids: readonly number[]): Config {
  return { ...config, links: config.links.filter(({ id }) => !ids.includes(id)) };
}

/**
 * `next` with those paths of `now` beside its own that it has not: for as long as the peer may still speak by them. Its own
 * come first, which is their order of preference.
 */
export function withPathsOf(now: Config, next: Config): Config {
  const left = now.paths.filter((path) => !next.paths.some((other) => sameEnd(path, other)));
  return left.length === 0 ? next : { ...next, paths: [...next.paths, ...left] };
}

/** One socket can serve one of them alone. */
const sameEnd = (one: PathConfig, other: PathConfig): boolean =>
  one.device === other.device && one.local === other.local;

/**
 * What is in force for placement while links of `now` go or move: those that stay, with what `next` gives them. Null where
 * none of them takes sessions: a new session on a link that goes is no worse off than one without a link.
 */
export function whileLeaving(now: Config, next: Config): Config | null {
  const links = next.links.filter(({ id, service }) =>
    now.links.some((link) => link.id === id && link.service.port === service.port),
  );
  if (!links.some(({ enabled, weight }) => enabled && weight > 0)) return null;
  return { ...next, links, placementSeed: now.placementSeed };
}

/** For each service of `next`, in its order: the index of the same interface on the same port in `now`, or -1. */
export function originOf(now: Config, next: Config): readonly number[] {
  const before = servicesOf(now);
  return servicesOf(next).map((service) => before.findIndex((other) => isSameSegment(service, other)));
}

/** One and the same cable for heart: what was heard on it before still counts. */
export const isSameSegment = (one: ServiceConfig, other: ServiceConfig): boolean =>
  one.id === other.id && one.port === other.port;

/** What became of taking a configuration into effect on one node. */
export interface EffectReport {
  /** False: this node runs with the configuration that it had before, and `words` says what was refused. */
  readonly ok: boolean;
  /** One sentence each, for people: what was changed, or why nothing was. */
  readonly words: readonly string[];
}
