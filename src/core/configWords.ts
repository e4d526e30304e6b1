// Two configurations of one pair, compared for people: one sentence a difference. What it takes to go from one to the
// other is configPlan.ts. Pure.

import type { SendingException, SendingPolicy } from "../wire/sessionPolicy.ts";
import type { Config, InterfaceAddress, LinkConfig, PathConfig, ServiceConfig } from "./config.ts";
import { canonicalJson } from "./configBuild.ts";
import { protocolText, scheduleText } from "./configKinds.ts";
import { helperText } from "./helpers.ts";

const same = (one: unknown, other: unknown): boolean =>
  canonicalJson(one ?? null) === canonicalJson(other ?? null);

/** What is different in `next`, in the order of the file. Empty: nothing that a node would notice. */
export function wordsOf(now: Config, next: Config): string[] {
  return [
    ...was("pair", next.pair, now.pair),
    ...(["a", "b"] as const).flatMap((node) =>
      was(`node ${node}: priority`, next.priority[node], now.priority[node]),
    ),
    ...keys("the other node's keys", now.peerKeys, next.peerKeys),
    ...keys("this node's keys", now.ownKeys, next.ownKeys),
    ...serviceWords("the LAN", now.lan.service, next.lan.service),
    ...listWords("the LAN: route", now.lan.routes.map(routeText), next.lan.routes.map(routeText)),
    ...linksWords(now, next),
    ...pathsWords(now, next),
    ...timersWords(now, next),
    ...was("placement: seed", next.placementSeed, now.placementSeed),
    ...was("drill", drillText(next), drillText(now)),
    ...listWords("helper", now.helpers.map(helperText), next.helpers.map(helperText)),
    ...sendingWords(now.sending, next.sending),
    ...restWords(now, next),
  ];
}

const was = (what: string, value: string | number, before: string | number): string[] =>
  value === before ? [] : [`${what} ${value}, was ${before}`];

const addressText = ({ address, prefixLength }: Pick<InterfaceAddress, "address" | "prefixLength">): string =>
  `${address}/${prefixLength}`;

const routeText = ({ network, via }: Config["lan"]["routes"][number]): string =>
  `${addressText(network)} via ${via}`;

/** What came and what went, each on its own. */
function listWords(what: string, before: readonly string[], after: readonly string[]): string[] {
  return [
    ...before.filter((item) => !after.includes(item)).map((item) => `${what} ${item} removed`),
    ...after.filter((item) => !before.includes(item)).map((item) => `${what} ${item} added`),
  ];
}

const keys = (what: string, before: readonly string[], after: readonly string[]): string[] =>
  listWords(`${what}:`, before, after);

/** The first address is the one that sessions are translated to: the order says something. */
function orderWords(what: string, before: readonly string[], after: readonly string[]): string[] {
  const words = listWords(what, before, after);
  return words.length > 0 || same(before, after) ? words : [`${what} order ${after.join(", ")}`];
}

function serviceWords(what: string, now: ServiceConfig, next: ServiceConfig): string[] {
  return [
    ...was(`${what}: port`, next.port, now.port),
    ...orderWords(`${what}: address`, now.addresses.map(addressText), next.addresses.map(addressText)),
    ...(next.id === 0 ? listWords(`${what}: witness`, now.witnesses, next.witnesses) : []),
    ...was(`${what}: virtual MAC`, next.virtualMac, now.virtualMac),
    ...(next.singleMac === now.singleMac ? [] : [`${what}: singleMac ${next.singleMac}`]),
  ];
}

function linksWords(now: Config, next: Config): string[] {
  const gone = now.links.filter(({ id }) => !next.links.some((link) => link.id === id));
  return [
    ...gone.map((link) => `link ${link.name} (${link.id}) removed: its sessions end`),
    ...next.links.flatMap((link) => {
      const before = now.links.find(({ id }) => id === link.id);
      return before === undefined ? [`link ${link.name} (${link.id}) added`] : linkWords(before, link);
    }),
  ];
}

function linkWords(now: LinkConfig, next: LinkConfig): string[] {
  const what = `link ${next.name}`;
  const gateways = ({ gateway }: LinkConfig): string[] =>
    [gateway.v4, gateway.v6].filter((address) => address !== undefined);
  return [
    ...(next.name === now.name ? [] : [`${what}: was called ${now.name}`]),
    ...serviceWords(what, now.service, next.service),
    ...listWords(`${what}: gateway`, gateways(now), gateways(next)),
    ...was(`${what}: weight`, next.weight, now.weight),
    ...(["up", "down"] as const).flatMap((way) =>
      was(`${what}: capacity ${way}`, bits(next.capacity[way]), bits(now.capacity[way])),
    ),
    ...(next.enabled === now.enabled
      ? []
      : [next.enabled ? `${what}: enabled` : `${what}: disabled; the sessions on it go on`]),
    ...others(what, now, next, LINK_KEYS),
  ];
}

const LINK_KEYS: ReadonlySet<string> = new Set([
  ...["id", "name", "service", "gateway", "weight", "capacity", "enabled"],
]);

const bits = (rate: number | undefined): string => (rate === undefined ? "unknown" : `${rate} bit/s`);

function pathsWords(now: Config, next: Config): string[] {
  const text = ({ device, local, remote, heartbeat, replication }: PathConfig): string =>
    `${local} to ${remote} on ${device} (${[
      ...(heartbeat ? ["heartbeat"] : []),
      ...(replication ? ["replication"] : []),
    ].join(", ")})`;
  const words = listWords(
    "path",
    now.paths.map((path) => `${path.name}: ${text(path)}`),
    next.paths.map((path) => `${path.name}: ${text(path)}`),
  );
  if (words.length > 0 || same(now.paths, next.paths)) return words;
  return [`paths: in order of preference ${next.paths.map(({ name }) => name).join(", ")}`];
}

const TIMERS = [
  ["heartbeat", "heartbeatMs"],
  ["dead", "deadAfterMs"],
  ["lease", "leaseMs"],
  ["soloLease", "soloLeaseMs"],
] as const;

const timersWords = (now: Config, next: Config): string[] =>
  TIMERS.flatMap(([name, key]) => was(`timers: ${name}`, `${next.timers[key]}ms`, `${now.timers[key]}ms`));

const drillText = ({ drill }: Config): string => (drill === null ? "only by command" : scheduleText(drill));

const SENT_FROM = ["tcp", "udp", "others"] as const;

const exceptionText = ({ protocol, port, network }: SendingException): string =>
  [
    ...(protocol === undefined ? [] : [protocolText(protocol)]),
    ...(port === undefined ? [] : [`port ${port}`]),
    ...(network === undefined ? [] : [addressText(network)]),
  ].join(" ");

const sendingWords = (now: SendingPolicy, next: SendingPolicy): string[] => [
  ...SENT_FROM.flatMap((key) => was(`replication: ${key}`, next[key], now[key])),
  ...listWords("replication: exception", now.except.map(exceptionText), next.except.map(exceptionText)),
];

const KNOWN: ReadonlySet<string> = new Set([
  ...["pair", "node", "priority", "lan", "links", "paths", "timers", "placementSeed", "peerKeys", "ownKeys"],
  ...["helpers", "sending", "drill"],
  ...["keyFile", "stateDirectory", "runtimeDirectory", "digest", "files"],
]);

/** Keys that have no sentence of their own are named. */
const restWords = (now: Config, next: Config): string[] => others("", now, next, KNOWN);

function others<T extends object>(what: string, now: T, next: T, known: ReadonlySet<string>): string[] {
  const names = new Set([...Object.keys(now), ...Object.keys(next)]);
  return [...names]
    .filter((key) => !known.has(key) && !same(now[key as keyof T], next[key as keyof T]))
    .map((key) => `${what === "" ? "" : `${what}: `}${key} changed`);
}
