// The guard of port 1148: configuration -> the text of `table inet understudy-guard`, which lets in what comes from
// the peer's own address, by the path's own device, to the path's own address, with an untouched hop limit
// (RFC 5082), and not more of it than a peer sends. Text only; who loads and reads it is src/kernel/guardTable.ts. Pure.
//
// It hooks at `input`, behind every translation: a session of the LAN that was given source port 1148 on a link is
// forwarded, and never seen here. An `accept` ends this table's chain and no other: the administrator's own firewall
// still has its say.

import {
  GUARD_BACKLOG_PACKETS_MAX,
  GUARD_BURST_PACKETS,
  GUARD_CONNECTIONS_PER_SECOND,
  GUARD_DATAGRAMS_PER_SECOND_MIN,
  GUARD_OFFENDERS_MAX,
  GUARD_OFFENDERS_PER_SECOND,
  HOP_LIMIT,
  PORT,
} from "../base/limits.ts";
import { sha256Hex } from "../base/sha256.ts";
import type { Config, PathConfig } from "./config.ts";

export const GUARD_TABLE = "understudy-guard";

/** Why a packet was dropped: a named counter each, of floods one a path. */
export const GuardReason = {
  /** Not from the peer. */
  ForeignSource: "foreign-source",
  /** The peer's address, but another device or another address of ours than the path's. */
  WrongInterface: "wrong-interface",
  /** The peer's address on its path, but a router was in between, or somebody far away forges it. */
  WrongHopLimit: "wrong-hop-limit",
  /** More than a peer sends. */
  Flood: "flood",
  /** What a kernel says of connections of a node that has just stopped or started; nothing is wrong. */
  StraySegment: "stray-segment",
} as const;
export type GuardReason = (typeof GuardReason)[keyof typeof GuardReason];

/** Those whose senders are remembered, each in a set a family. */
export const REMEMBERED_REASONS: readonly GuardReason[] = [
  GuardReason.ForeignSource,
  GuardReason.WrongInterface,
  GuardReason.WrongHopLimit,
];

/** Name of the counter of floods on the path with this index in the configuration. */
export const floodCounter = (path: number): string => `${GuardReason.Flood}-${path}`;

/** Name of the set of `source . interface` of one reason and family. */
export const offendersSet = (reason: GuardReason, family: 4 | 6): string => `${reason}-v${family}`;

const DIGEST_DIGITS = 16;
/** Ahead of whatever an administrator hangs here. */
const PRIORITY = -400;
const OURS = "meta l4proto { tcp, udp } th";

/**
 * One transaction that puts the table in place of whatever has its name. Ends in a newline. The comment names what
 * it was written from.
 */
export function compileGuard(config: Config): string {
  const body = `${objects(config.paths)}${chains(config)}`;
  return `table inet ${GUARD_TABLE}
delete table inet ${GUARD_TABLE}
table inet ${GUARD_TABLE} {
 chain digest {
  comment "understudy guard ${sha256Hex(body).slice(0, DIGEST_DIGITS)}"
 }
${body}}
`;
}

/** Heartbeats that a peer may send in a second by one path, with ample room for what waited in a switch. */
export const datagramsPerSecond = (config: Config): number =>
  Math.max(GUARD_DATAGRAMS_PER_SECOND_MIN, Math.ceil(8000 / config.timers.heartbeatMs));

/** Counters, and sets that remember who it was for a minute. */
function objects(paths: readonly PathConfig[]): string {
  const names = [
    ...REMEMBERED_REASONS,
    GuardReason.StraySegment,
    ...paths.map((_, path) => floodCounter(path)),
  ];
  const counters = names.map((name) => ` counter ${name} {\n }\n`);
  const sets = REMEMBERED_REASONS.flatMap((reason) =>
    ([4, 6] as const).map(
      (family) => ` set ${offendersSet(reason, family)} {
  typeof ${fieldOf(family)} saddr . iifname
  size ${GUARD_OFFENDERS_MAX}
  flags dynamic,timeout
  timeout 60s
 }
`,
    ),
  );
  return [...counters, ...sets].join("");
}

const fieldOf = (family: 4 | 6): "ip" | "ip6" => (family === 4 ? "ip" : "ip6");
const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);

function chains(config: Config): string {
  const { paths } = config;
  const limit = datagramsPerSecond(config);
  return [
    ...REMEMBERED_REASONS.map(refusal),
    ...paths.map((path, index) => pathChain(path, index, limit)),
    arrivals(paths),
    departures(paths),
  ].join("");
}

/**
 * Remembering may fail where the set is full, and a rule ends where one of its statements fails: dropping is a rule of
 * its own. The rate bounds what a flood of forged sources costs.
 */
function refusal(reason: GuardReason): string {
  const remember = ([4, 6] as const).map(
    (family) =>
      `  meta nfproto ipv${family} limit rate ${GUARD_OFFENDERS_PER_SECOND}/second update @${offendersSet(reason, family)} { ${fieldOf(family)} saddr . iifname }\n`,
  );
  return ` chain ${reason} {
${remember.join("")}  counter name "${reason}" drop
 }
`;
}

/** What carries the path's own addresses, on its device. A limit of its own: a flood of one path leaves the others alone. */
function pathChain(path: PathConfig, index: number, datagrams: number): string {
  const untouched = `${familyOf(path.local) === 4 ? "ip ttl" : "ip6 hoplimit"} != ${HOP_LIMIT}`;
  const flood = `counter name "${floodCounter(index)}" drop`;
  const over = (rate: number): string =>
    `limit rate over ${rate}/second burst ${GUARD_BURST_PACKETS} packets`;
  return ` chain path-${index} {
  ${untouched} tcp flags & syn != syn counter name "${GuardReason.StraySegment}" drop
  ${untouched} goto ${GuardReason.WrongHopLimit}
  meta l4proto udp ${over(datagrams)} ${flood}
  tcp flags & (syn | ack) == syn ${over(GUARD_CONNECTIONS_PER_SECOND)} ${flood}
  accept
 }
`;
}

const set = (items: readonly string[]): string => `{ ${[...new Set(items)].join(", ")} }`;

function arrivals(paths: readonly PathConfig[]): string {
  const onPath = paths.map(({ device, local, remote }, index) => {
    const field = fieldOf(familyOf(local));
    return `  iifname "${device}" ${field} saddr ${remote} ${field} daddr ${local} goto path-${index}\n`;
  });
  const elsewhere = ([4, 6] as const).flatMap((family) => {
    const peers = paths.map(({ remote }) => remote).filter((remote) => familyOf(remote) === family);
    if (peers.length === 0) return [];
    return [`  ${fieldOf(family)} saddr ${set(peers)} goto ${GuardReason.WrongInterface}\n`];
  });
  return ` chain port {
  iifname "lo" accept
${onPath.join("")}${elsewhere.join("")}  goto ${GuardReason.ForeignSource}
 }
 chain arriving {
  type filter hook input priority ${PRIORITY}; policy accept;
  ${OURS} dport ${PORT} goto port
 }
`;
}

/** What no socket of ours sends, but the kernel on their behalf (resets, late acknowledgements), is bound to 255 here. */
function departures(paths: readonly PathConfig[]): string {
  const rules = paths.flatMap(({ device, remote }) => {
    const family = familyOf(remote);
    const towards = `oifname "${device}" ${fieldOf(family)} daddr ${remote}`;
    const hops = family === 4 ? "ip ttl" : "ip6 hoplimit";
    return (["dport", "sport"] as const).map(
      (port) => `  ${towards} ${OURS} ${port} ${PORT} ${hops} set ${HOP_LIMIT}\n`,
    );
  });
  return ` chain leaving {
  type filter hook output priority ${PRIORITY}; policy accept;
${rules.join("")} }
`;
}

/** What the kernel has counted and remembered by now. */
export interface GuardReading {
  /** Packets dropped, by the counter's name. */
  readonly counters: Readonly<Record<string, number>>;
  /** Who sent them, of the last minute. */
  readonly offenders: readonly Offender[];
}

export interface Offender {
  readonly reason: GuardReason;
  readonly source: string;
  readonly device: string;
}

/** Details of the two alarms, null where there is no reason for one. */
export interface GuardFindings {
  readonly foreign: string | null;
  readonly flood: string | null;
  /** Paths with a surplus since the last reading, for the next judgement. */
  readonly surplus: readonly string[];
}

const NAMED_MAX = 3;

/**
 * What has come between two readings. A surplus on a path is a flood where the reading before had one too, or where no queue
 * can have held so much: heartbeats that waited for a cable come all at once. Without an earlier one nothing is said: what was counted before this daemon
 * began is not news. Counters that went back belong to a table that was replaced.
 */
export function judgeGuard(
  before: GuardReading | null,
  now: GuardReading,
  paths: readonly Pick<PathConfig, "name">[],
  surplusBefore: readonly string[] = [],
): GuardFindings {
  if (before === null) return { foreign: null, flood: null, surplus: [] };
  const growth = (name: string): number => {
    const [then, count] = [before.counters[name] ?? 0, now.counters[name] ?? 0];
    return count < then ? count : count - then;
  };
  const grew = (name: string): boolean => growth(name) > 0;
  const reasons = REMEMBERED_REASONS.filter(grew);
  const surplus = paths.map(({ name }, path) => ({ name, packets: growth(floodCounter(path)) }));
  const flooded = surplus
    .filter(({ packets }) => packets > 0)
    .filter(({ name, packets }) => packets > GUARD_BACKLOG_PACKETS_MAX || surplusBefore.includes(name))
    .map(({ name }) => `path ${name}`);
  return {
    surplus: surplus.filter(({ packets }) => packets > 0).map(({ name }) => name),
    foreign: reasons.length === 0 ? null : nameOffenders(now.offenders, reasons),
    flood: flooded.length === 0 ? null : flooded.join(", "),
  };
}

/** `10.20.0.66 on eth0 (foreign-source), ... and 7 more`. */
function nameOffenders(offenders: readonly Offender[], reasons: readonly GuardReason[]): string {
  const named = offenders
    .filter(({ reason }) => reasons.includes(reason))
    .map(({ source, device, reason }) => `${source} on ${device} (${reason})`)
    .sort();
  // The kernel writes down only so many in a second.
  if (named.length === 0) return reasons.join(", ");
  const more = named.length > NAMED_MAX ? ` and ${named.length - NAMED_MAX} more` : "";
  return `${named.slice(0, NAMED_MAX).join(", ")}${more}`;
}

/** Packets dropped, by reason: for people. */
export function droppedBy(reading: GuardReading): Readonly<Record<GuardReason, number>> {
  const total = { ...ZEROS };
  for (const [name, packets] of Object.entries(reading.counters)) {
    const reason = Object.values(GuardReason).find((each) => name === each || isFloodOf(name, each));
    if (reason !== undefined) total[reason] += packets;
  }
  return total;
}

const ZEROS: Readonly<Record<GuardReason, number>> = {
  "foreign-source": 0,
  "wrong-interface": 0,
  "wrong-hop-limit": 0,
  flood: 0,
  "stray-segment": 0,
};

const isFloodOf = (name: string, reason: GuardReason): boolean =>
  reason === GuardReason.Flood && /^flood-\d+$/.test(name);
