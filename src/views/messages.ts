// The messages of port 1148 in words, one line each and more where there is more to say: for `understudy decode`. Pure.

import { formatAddress, formatMac } from "../base/addresses.ts";
import { unreachable } from "../base/assert.ts";
import { LOG_BUCKETS } from "../base/limits.ts";
import { READINESS_WHOLE, readinessIn, segmentsIn } from "../base/readiness.ts";
import type { Position } from "../wire/control.ts";
import type { HeartbeatMessage } from "../wire/heartbeat.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";
import type { MessageOf, PeerMessage } from "../wire/peer.ts";
import { auditMessageText } from "./auditMessages.ts";
import { type NamedRecord, recordText } from "./records.ts";
import { percent, plural, printable } from "./text.ts";

/** The first line says what; the others, in order, say what of. */
export type MessageText = readonly [string, ...string[]];

const at = ({ term, sequence }: Position): string => `${term}/${sequence}`;
const short = (digest: string): string => digest.slice(0, 8);
const serviceText = (service: number): string => (service === 0 ? "lan" : `link ${service}`);
const isZero = (digest: string): boolean => /^0*$/.test(digest);
const versionText = ({ number, id, origin, node, author, message }: VersionHeader): string =>
  `version ${number} (${short(id)}, ${origin} on ${node}${author === "" ? "" : ` by ${printable(author)}`})` +
  `${message === "" ? "" : `: ${printable(message)}`}`;
const answerText = (what: string, ok: boolean, reasons: readonly string[]): MessageText => [
  `configuration: ${what} ${ok ? "yes" : "no"}`,
  ...reasons.map(printable),
];

/** What `message` says. `records`: those of a message of sessions. */
export function messageText(message: PeerMessage, records: readonly NamedRecord[]): MessageText {
  switch (message.kind) {
    case "hello":
    case "refuse":
    case "ping":
    case "pong":
    case "roleChanged":
      return [connectionText(message)];
    case "neighbours":
      return neighboursText(message);
    case "sessions":
      return sessionsText(message, records);
    case "slots":
      return [slotsText(message)];
    case "links":
      return linksText(message);
    case "nodeFacts":
      return [factsText(message)];
    case "stateAcknowledge":
      return [`state up to ${message.number} is in force`];
    case "drillReturn":
      return [`drill ${message.number}: hand back`];
    case "drillAnswer":
      return [
        `drill ${message.number}: ${message.ok ? "handed back" : "not handed back"}: ${printable(message.words)}`,
      ];
    case "drillReport":
      return [drillReportText(message)];
    case "configurationState":
    case "configurationPropose":
    case "configurationVerdict":
    case "configurationCommit":
    case "configurationDone":
    case "configurationFetch":
    case "configurationVersion":
      return configurationText(message);
    case "auditBegin":
    case "auditFolded":
    case "auditEnd":
    case "auditDigests":
    case "auditAsk":
    case "auditKeys":
    case "auditVoid":
    case "auditResult":
      return [auditMessageText(message)];
    default:
      return [logText(message)];
  }
}

type Connection = MessageOf<"hello" | "refuse" | "ping" | "pong" | "roleChanged">;

function connectionText(message: Connection): string {
  switch (message.kind) {
    case "hello": {
      const { software, node, pair, versionLowest, versionHighest, role, term } = message;
      return (
        `hello from ${node} of pair ${printable(pair)}: ${printable(software)}, protocol ${versionLowest} to ${versionHighest}, ` +
        `${role} in term ${term}, configuration ${short(message.configurationDigest)}, boot ${short(message.bootId)}`
      );
    }
    case "refuse":
      return `refuse: ${message.code}: ${printable(message.text)}`;
    case "roleChanged":
      return `${message.role} in term ${message.term} from now on`;
    case "ping":
    case "pong":
      return `${message.kind} ${message.nonce}`;
    default:
      return unreachable(message);
  }
}

type Log = MessageOf<
  | "subscribe"
  | "snapshotBegin"
  | "snapshotEnd"
  | "acknowledge"
  | "mergeRequest"
  | "mergeEnd"
  | "mergeAcknowledge"
  | "roundBegin"
  | "roundEnd"
  | "roundDue"
  | "roundSwept"
>;

function logText(message: Log): string {
  switch (message.kind) {
    case "subscribe": {
      const own = message.own ? ", with sessions of its own to give" : "";
      return `subscribe to term ${message.term} as number ${message.generation}${own}`;
    }
    case "snapshotBegin":
      return `snapshot for subscription ${message.generation} begins after ${at(message.position)}`;
    case "snapshotEnd":
      return `snapshot for subscription ${message.generation} ends at ${at(message.position)} with ${plural(message.count, "record")}`;
    case "acknowledge":
      return `in the kernel up to ${at(message.position)}`;
    case "mergeRequest":
      return `merge: give what you hold, for term ${message.term}, subscription ${message.generation}`;
    case "mergeEnd":
      return `merge: that was all, ${plural(message.count, "record")} for term ${message.term}, subscription ${message.generation}`;
    case "mergeAcknowledge":
      return `merge: judged up to ${message.sequence} of subscription ${message.generation}`;
    case "roundBegin": {
      const buckets = message.buckets.reduce((sum, byte) => sum + ones(byte), 0);
      return `round for subscription ${message.generation} begins after ${at(message.position)}: ${buckets} of ${LOG_BUCKETS} buckets, seed ${message.seed}`;
    }
    case "roundEnd":
      return `round for subscription ${message.generation} ends at ${at(message.position)} with ${plural(message.count, "record")}`;
    case "roundDue":
      return `a round is due for subscription ${message.generation}`;
    case "roundSwept":
      return `round swept, for subscription ${message.generation}, at ${at(message.position)}`;
    default:
      return unreachable(message);
  }
}

function ones(byte: number): number {
  let count = 0;
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
}

function sessionsText(message: MessageOf<"sessions">, records: readonly NamedRecord[]): MessageText {
  const { origin, first, count } = message;
  const what = { change: "changed", snapshot: "of the table", merge: "given" }[origin];
  return [`${plural(count, "record")} ${what}, from ${at(first)} on`, ...records.map(recordText)];
}

function neighboursText({ part, neighbours }: MessageOf<"neighbours">): MessageText {
  const what = part === "begin" ? "all neighbours" : "neighbours changed";
  const lines = neighbours.map(
    ({ service, removed, address, mac }) =>
      `${serviceText(service)} ${formatAddress(address)} ${removed ? "is gone" : `is at ${formatMac(mac)}`}`,
  );
  return [`${what}: ${neighbours.length}`, ...lines];
}

function slotsText({ number, term, seed, slots }: MessageOf<"slots">): string {
  const counts = new Map<number, number>();
  for (const link of slots) counts.set(link, (counts.get(link) ?? 0) + 1);
  const shares = [...counts]
    .sort(([one], [other]) => one - other)
    .map(([link, count]) => `${link === 0 ? "none" : `link ${link}`}: ${count}`);
  return `state ${number}: slots of term ${term}, seed ${seed}: ${shares.join(", ")}`;
}

function linksText({ number, term, links }: MessageOf<"links">): MessageText {
  const lines = links.map(({ link, state, reason, since, detail }) => {
    const why = reason === "none" ? "" : ` (${reason})`;
    return `link ${link} ${state}${why} since ${isoTime(since)}${detail === "" ? "" : `: ${printable(detail)}`}`;
  });
  return [`state ${number}: links of term ${term}: ${links.length}`, ...lines];
}

/** ISO 8601; a number that is no moment, as 48 bits may be, stays a number. */
function isoTime(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}

function factsText({ number, facts }: MessageOf<"nodeFacts">): string {
  const { software, kernel, machine, processors, memoryBytes, conntrackMax, conntrackBuckets } = facts;
  const nft = facts.nft === "" ? "" : `, nft ${printable(facts.nft)}`;
  return (
    `state ${number}: ${printable(software)} on Linux ${printable(kernel)} ${printable(machine)}, ${plural(processors, "processor")}, ` +
    `${Math.round(memoryBytes / 2 ** 20)} MiB, at most ${conntrackMax} sessions in ${conntrackBuckets} buckets${nft}, ` +
    `booted ${isoTime(facts.bootedAt)}, clock ${isoTime(facts.clock)}`
  );
}

function drillReportText({ report }: MessageOf<"drillReport">): string {
  const { at, node, result, words, switches, duration } = report;
  const times = switches.map(({ to, ms }) => `, to ${to} in ${ms} ms`).join("");
  return `drill of ${node}, ${isoTime(at)}: ${result} after ${duration / 10} s${times}: ${printable(words)}`;
}

type Configuration = Extract<PeerMessage, { kind: `configuration${string}` }>;

function configurationText(message: Configuration): MessageText {
  switch (message.kind) {
    case "configurationState": {
      const { head, running, pending, about, covers } = message;
      const waits = isZero(pending) ? "" : `, ${short(pending)} is pending`;
      const known = covers ? `${short(about)} in my past` : `${short(about)}, which I do not know`;
      const theirs = isZero(about) ? "" : `; yours: ${about === head.id ? "the same" : known}`;
      return [`configuration: ${versionText(head)} in force, running ${short(running)}${waits}${theirs}`];
    }
    case "configurationPropose":
      return [
        `configuration: exchange ${message.exchange}: from ${short(message.from)} to ${versionText(message.header)}, ${plural(message.content.length, "byte")}`,
      ];
    case "configurationVerdict":
      return answerText(`exchange ${message.exchange}: accepted:`, message.accepted, message.reasons);
    case "configurationCommit":
      return [`configuration: exchange ${message.exchange}: take it into effect`];
    case "configurationDone":
      return answerText(`exchange ${message.exchange}: in effect:`, message.ok, message.reasons);
    case "configurationFetch":
      return [`configuration: send ${short(message.id)}`];
    case "configurationVersion": {
      const [version] = message.versions;
      const what = version === undefined ? "there is none" : versionText(version.header);
      return [`configuration: ${short(message.id)}: ${what}`];
    }
    default:
      return unreachable(message);
  }
}

/** A heartbeat's own words, in one line. */
export function heartbeatText(message: HeartbeatMessage): string {
  const { role, gate, ready, term, position, sessions, sequence, echo, leaseMs } = message;
  const flags = (["handover", "candidate", "leaving", "critical"] as const).filter((flag) => message[flag]);
  const dressed = message.dressed ? "" : ", not dressed";
  const readiness = readinessIn(message.carrier);
  const proven = readiness === null ? "" : `, ${percent(readiness, READINESS_WHOLE)} proven`;
  const lease = leaseMs === 0 ? "" : `, lease ${leaseMs} ms`;
  return (
    `heartbeat ${sequence} (heard ${echo}): ${role} in term ${term}, gate ${gate}, ${ready ? "ready" : "not ready"}${dressed}, ` +
    `${at(position)}, ${plural(sessions, "session")}${proven}${lease}, carrier ${segmentsIn(message.carrier).toString(2)}, ` +
    `witnessed ${message.witnessed.toString(2)}, ${plural(message.alarms, "alarm")}, priority ${message.priority}, ` +
    `configuration ${short(message.configurationDigest)}${flags.map((flag) => `, ${flag}`).join("")}`
  );
}
