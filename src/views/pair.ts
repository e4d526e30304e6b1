// The pair at one glance: who is active, is the standby ready and why not, since when, what happened last, and
// what is wrong. The first line is the answer; everything below is its evidence. Pure.

import type { NodeId } from "../base/units.ts";
import { peerOf } from "../base/units.ts";
import type { HeartState, PairView, ReplicationState, RoleChangeReport } from "../wire/control.ts";
import { alarmText, peerAlarmsText } from "./alarms.ts";
import { machinesText } from "./machines.ts";
import { readinessText } from "./readiness.ts";
import type { Cell, Style, Tone } from "./text.ts";
import { count, duration, moment, percent, plural, printable, table, wrap } from "./text.ts";

/** A heartbeat comes every few milliseconds; a path that was silent for this long carries nothing. */
const PATH_SILENT_MS = 500;
/** failover §4: a witness counts for one second. */
const WITNESS_MS = 1000;
/** Below this many sessions a share of them says nothing. */
const SESSIONS_COMPARED_MIN = 1000;
const WIDTH = 100;

/** The answer to "may I go back to sleep?". */
export interface Verdict {
  /** `good`: one node serves and the other is ready. `warn`: served, not protected. `bad`: not served, or nearly. */
  readonly level: "good" | "warn" | "bad";
  readonly text: string;
  readonly reasons: readonly string[];
}

/** The heartbeat carries the digest's first bytes alone: one is the beginning of the other. Null: not known. */
function sameConfiguration(view: PairView, heart: HeartState): boolean | null {
  const own = view.configurationDigest;
  const theirs = heart.peer.configurationDigest;
  return theirs === null ? null : own.startsWith(theirs) || theirs.startsWith(own);
}

/** Why the peer is not ready, as far as it can be seen from this node, the active. */
function peerReasons(view: PairView, heart: HeartState): string[] {
  const { peer } = heart;
  const other = peerOf(view.node);
  const reasons: string[] = [];
  if (peer.role !== null && peer.role !== "standby") reasons.push(`${other} is ${peer.role}, not standby`);
  if (sameConfiguration(view, heart) === false) reasons.push("the two nodes have different configurations");
  if (!view.replication.connected) reasons.push("replication is not connected");
  else if (!view.replication.synchronised) reasons.push("replication has not sent the whole state yet");
  const held = peer.sessions;
  if (held !== null && held < view.sessions && reasons.length === 0)
    reasons.push(`${other} holds ${count(held)} of ${count(view.sessions)} sessions`);
  if (reasons.length === 0) reasons.push(`${other} says so itself: \`understudy show pair\` there tells why`);
  return reasons;
}

/** What is known of why the other node is not heard. */
function silenceReasons(view: PairView): string[] {
  const alarm = (code: string) => view.alarms.find((each) => each.code === code);
  const key = alarm("wrong-key");
  return [
    ...(key === undefined ? [] : [`wrong key: ${key.detail}`]),
    ...(alarm("heartbeats-lost-gate-answers") === undefined
      ? []
      : [`${peerOf(view.node)} answers for the shared addresses: it serves`]),
  ];
}

function verdictOfActive(view: PairView, heart: HeartState): Verdict {
  const { peer } = heart;
  const [self, other] = [view.node, peerOf(view.node)];
  if (heart.gate !== "open")
    return {
      level: "bad",
      text: `${self} is active but its gate is ${heart.gate}: nothing passes through it.`,
      reasons: view.reasons,
    };
  if (!peer.heard)
    return {
      level: "bad",
      text: `${self} is active and ALONE: nobody takes over if it fails.`,
      reasons: [`${other} is not heard on any path`, ...silenceReasons(view)],
    };
  if (peer.role === "active")
    return { level: "bad", text: "BOTH nodes say that they are active.", reasons: [] };
  if (peer.ready && peer.role === "standby")
    return { level: "good", text: `${self} is active, ${other} is ready to take over.`, reasons: [] };
  return {
    level: "warn",
    text: `${self} is active, ${other} is NOT READY: a takeover now would lose sessions.`,
    reasons: peerReasons(view, heart),
  };
}

function verdictOfStandby(view: PairView, heart: HeartState): Verdict {
  const { peer } = heart;
  const [self, other] = [view.node, peerOf(view.node)];
  if (!peer.heard)
    return {
      level: "bad",
      text: `${other} is not heard, and ${self} has not taken over.`,
      reasons: [
        ...silenceReasons(view),
        `the lease of ${other} has not run out, its gate still answers, or ${self} has no witness`,
      ],
    };
  if (peer.role !== "active")
    return {
      level: "bad",
      text: `NOBODY is active: ${self} stands by, ${other} is ${peer.role ?? "unknown"}.`,
      reasons: view.reasons,
    };
  if (view.ready)
    return { level: "good", text: `${other} is active, ${self} is ready to take over.`, reasons: [] };
  return {
    level: "warn",
    text: `${other} is active, ${self} is NOT READY: a takeover now would lose sessions.`,
    reasons: view.reasons,
  };
}

/** One sentence on the whole pair, as this node sees it, with what stands behind it. */
export function verdictOf(view: PairView): Verdict {
  const { heart, node } = view;
  if (heart === null)
    return {
      level: "bad",
      text: `Heart does not run on ${node}: it cannot serve, and it cannot take over.`,
      reasons: view.reasons,
    };
  if (heart.role === "active") return verdictOfActive(view, heart);
  if (heart.role === "standby") return verdictOfStandby(view, heart);
  if (heart.peer.heard && heart.peer.role === "active")
    return {
      level: "warn",
      text: `${peerOf(node)} is active, ${node} is idle: nobody takes over if ${peerOf(node)} fails.`,
      reasons: view.reasons,
    };
  const other = peerOf(node);
  if (!heart.peer.heard)
    return {
      level: "bad",
      text: `${node} is idle, ${other} is not heard.`,
      reasons: [...silenceReasons(view), ...view.reasons],
    };
  return {
    level: "bad",
    text: `NOBODY is active: ${node} is idle, ${other} is ${heart.peer.role ?? "unknown"}.`,
    reasons: view.reasons,
  };
}

const labels = { good: "OK", warn: "NOT PROTECTED", bad: "ALARM" } as const;

const roleTone = (role: string | null): Tone =>
  role === "active" ? "good" : role === "standby" ? "bold" : "warn";
const readyCell = (ready: boolean): Cell =>
  ready ? { text: "ready", tone: "good" } : { text: "NOT READY", tone: "warn" };

function selfRow(view: PairView, heart: HeartState): Cell[] {
  const lease = heart.leaseMs > 0 ? `, lease ${duration(heart.leaseMs)}` : "";
  return [
    { text: view.node, tone: "bold" },
    { text: heart.role.toUpperCase(), tone: roleTone(heart.role) },
    readyCell(view.ready),
    `term ${heart.term}`,
    `${plural(view.sessions, "session")}`,
    `for ${duration(heart.sinceMs)}, gate ${heart.gate}${lease} (this node)`,
  ];
}

function peerRow(node: NodeId, heart: HeartState): Cell[] {
  const { peer } = heart;
  const heard = heart.paths.flatMap((path) => (path.heardMsAgo === null ? [] : [path.heardMsAgo]));
  const last = heard.length === 0 ? "never heard" : `heard ${duration(Math.min(...heard))} ago`;
  if (!peer.heard) return [{ text: node, tone: "bold" }, { text: "SILENT", tone: "bad" }, "", "", "", last];
  return [
    { text: node, tone: "bold" },
    { text: (peer.role ?? "unknown").toUpperCase(), tone: roleTone(peer.role) },
    readyCell(peer.ready),
    peer.term === null ? "" : `term ${peer.term}`,
    peer.sessions === null ? "" : plural(peer.sessions, "session"),
    last,
  ];
}

const anonymous = (titles: number): { title: string }[] =>
  Array.from({ length: titles }, () => ({ title: "" }));

function nodesText(view: PairView, heart: HeartState, style: Style): string {
  const rows = [selfRow(view, heart), peerRow(peerOf(view.node), heart)];
  if (view.node === "b") rows.reverse();
  return table(anonymous(6), rows, style, 2);
}

function pathsText(heart: HeartState, style: Style): string {
  const rows = heart.paths.map((path): Cell[] => {
    const silent = path.heardMsAgo === null || path.heardMsAgo > PATH_SILENT_MS;
    const refused = Object.entries(path.refused).filter(([, times]) => times > 0);
    return [
      path.name,
      silent ? { text: "SILENT", tone: "bad" } : { text: "ok", tone: "good" },
      path.heardMsAgo === null ? "never heard" : `heard ${duration(path.heardMsAgo)} ago`,
      `${count(path.sent)} sent, ${count(path.received)} received`,
      refused.length === 0
        ? ""
        : {
            text: `refused: ${refused.map(([why, times]) => `${why} ${count(times)}`).join(", ")}`,
            tone: "warn",
          },
    ];
  });
  return table(anonymous(5), rows, style, 4);
}

function segmentsText(heart: HeartState, style: Style): string {
  const rows = heart.segments.map((segment): Cell[] => {
    const { witnessMsAgo } = segment;
    const witnessed = witnessMsAgo !== null && witnessMsAgo <= WITNESS_MS;
    return [
      segment.name,
      segment.carrier ? { text: "ok", tone: "good" } : { text: "NO CARRIER", tone: "bad" },
      witnessed
        ? `witness ${duration(witnessMsAgo)} ago`
        : {
            text: witnessMsAgo === null ? "NO WITNESS ever" : `NO WITNESS for ${duration(witnessMsAgo)}`,
            tone: "warn",
          },
      segment.gated ? "gate in place" : { text: "NO GATE", tone: "bad" },
    ];
  });
  return table(anonymous(4), rows, style, 4);
}

/** `12 changes behind`, `nothing behind`, or how the two positions differ. */
function lagText(replication: ReplicationState): string {
  const { produced, acknowledged, applied, direction } = replication;
  if (direction === "receiving")
    return applied === null ? "nothing applied yet" : `applied ${applied.term}/${count(applied.sequence)}`;
  if (produced === null) return "nothing produced yet";
  if (acknowledged === null) return "nothing acknowledged yet";
  if (produced.term !== acknowledged.term)
    return `produced in term ${produced.term}, acknowledged in term ${acknowledged.term}`;
  const behind = produced.sequence - acknowledged.sequence;
  return behind === 0 ? "nothing behind" : `${plural(behind, "change")} behind`;
}

function replicationText(view: PairView, style: Style): string {
  const { replication } = view;
  if (!replication.connected) return style("bad", "NOT CONNECTED");
  const state = replication.synchronised ? style("good", "synchronised") : style("warn", "SYNCHRONISING");
  return `${replication.direction} over ${printable(replication.path ?? "?")}, ${state}, ${lagText(replication)}`;
}

/** Digests of what the files mean; a version's id (views/configuration.ts) is of its text, and another number. */
function configurationText(view: PairView, heart: HeartState, style: Style): string {
  const own = view.configurationDigest.slice(0, 8);
  const theirs = heart.peer.configurationDigest;
  if (theirs === null || !heart.peer.heard) return `digest ${own} here, the peer's is not known`;
  return sameConfiguration(view, heart)
    ? `the same on both nodes (digest ${own})`
    : style("bad", `DIFFERENT: digest ${own} here, ${printable(theirs.slice(0, 8))} on ${peerOf(view.node)}`);
}

/** Both counts; a share only of many: what is young or needs no copy makes small numbers differ by itself. */
function sessionsText(view: PairView, heart: HeartState): string {
  const [self, other] = [view.node, peerOf(view.node)];
  const theirs = heart.peer.heard ? heart.peer.sessions : null;
  const here = `${count(view.sessions)} on ${self}`;
  if (theirs === null) return here;
  const both = `${here}, ${count(theirs)} on ${other}`;
  const [active, standby] = heart.role === "active" ? [view.sessions, theirs] : [theirs, view.sessions];
  if (active < SESSIONS_COMPARED_MIN) return both;
  return `${both} (${percent(Math.min(standby, active), active)} on both)`;
}

/** Who is active since, or is not any more, and why. */
function changeWords(change: RoleChangeReport, self: NodeId): string {
  const { from, to, cause } = change;
  const other = peerOf(self);
  switch (cause) {
    case "takeover":
    case "handover":
    case "election":
      return `${cause} ${cause === "election" ? "of" : "to"} ${to === "active" ? self : other}`;
    case "adopted":
      return `${self} goes on: a new heart found its gate open`;
    case "reopened":
      return `${self} goes on`;
    case "isolated":
      return `${self} shut its gate: it heard nobody on any segment`;
    case "lapsed":
      return `${self} shut its gate: its lease lapsed`;
    case "yielded":
      return `${self} yielded to ${other}: both were active`;
    case "follows":
      return from === "active"
        ? `takeover by ${other}: the lease of ${self} had lapsed`
        : `${self} follows ${other}`;
    case "left":
      return `${self} leaves`;
    default:
      return `${self} is ${to} (${printable(cause)})`;
  }
}

/** A heart of before knows its last promotion alone. */
function lastChangeOf(heart: HeartState): RoleChangeReport | null {
  const { lastChange, lastTakeover: last } = heart;
  if (lastChange !== undefined || last === null) return lastChange ?? null;
  return { ...last, from: "standby", to: "active", cause: last.kind };
}

function changeText(heart: HeartState, nowMs: number): string {
  const change = lastChangeOf(heart);
  if (change === null) return "none since heart started";
  const what = `${changeWords(change, heart.node)}, term ${change.term}, ${moment(change.at, nowMs)}`;
  const opened = change.to === "active" && change.cause !== "adopted";
  if (!opened) return what;
  const silence = change.cause === "takeover" ? `after ${duration(change.silenceMs)} of silence, ` : "";
  return `${what}: ${silence}gate open in ${duration(change.openMs)}`;
}

/** What the kernel dropped on port 1148; empty where nothing. */
function guardText(guard: PairView["guard"], style: Style): string {
  if (guard === null) return style("bad", "NOT GUARDED");
  const dropped = Object.entries(guard).filter(([, packets]) => packets > 0);
  if (dropped.length === 0) return "";
  return `dropped: ${dropped.map(([why, packets]) => `${why} ${count(packets)}`).join(", ")}`;
}

/** This node's alarms in full, and how many the other one has. */
function alarmLines(view: PairView, nowMs: number, style: Style): string[] {
  const { alarms, heart, node } = view;
  const peer = heart?.peer.heard === true ? heart.peer : null;
  const theirs = peerAlarmsText(
    peer === null || peer.alarms === null ? null : { alarms: peer.alarms, critical: peer.critical },
    node,
  );
  const title = style("dim", "Alarms".padEnd(15));
  const others = theirs === "" ? [] : [style(peer?.critical === true ? "bad" : "warn", theirs)];
  if (alarms.length === 0) return [`  ${title}${["none", ...others].join("; ")}`];
  return [
    `  ${style("dim", "Alarms")}`,
    ...alarms.map((alarm) => alarmText(alarm, nowMs, style, 4)),
    ...others.map((text) => `    ${text}`),
  ];
}

/** The view as text that ends with a line feed. `nowMs` is the wall clock, in milliseconds since 1970. */
export function renderPair(
  view: PairView,
  options: { readonly nowMs: number; readonly style: Style },
): string {
  const { nowMs, style } = options;
  const verdict = verdictOf(view);
  const title = (text: string): string => style("dim", text.padEnd(15));
  const lines = [
    `${style(verdict.level, labels[verdict.level])}  ${style("bold", printable(verdict.text))}`,
    ...verdict.reasons.map((reason) => wrap(`- ${reason}`, WIDTH, 4)),
    style(
      "dim",
      `Pair ${printable(view.pair)}, seen from node ${view.node}, Understudy ${printable(view.version)}`,
    ),
  ];
  const { heart } = view;
  if (heart === null) return `${[...lines, ...alarmLines(view, nowMs, style)].join("\n")}\n`;
  const guard = guardText(view.guard, style);
  lines.push(
    "",
    nodesText(view, heart, style),
    "",
    `  ${title("Last change")}${changeText(heart, nowMs)}`,
    `  ${title("Sessions")}${sessionsText(view, heart)}`,
    `  ${title("Replication")}${replicationText(view, style)}`,
    ...(view.readiness === undefined ? [] : [`  ${title("Readiness")}${readinessText(view.readiness)}`]),
    `  ${title("Configuration")}${configurationText(view, heart, style)}`,
    `  ${style("dim", "Paths between the nodes")}`,
    pathsText(heart, style),
    `  ${style("dim", "Segments served")}`,
    segmentsText(heart, style),
    `  ${style("dim", "Machines")}`,
    machinesText(view.node, view.machines, nowMs, style),
    ...(guard === "" ? [] : [`  ${title("Port 1148")}${guard}`]),
    ...alarmLines(view, nowMs, style),
  );
  if (!heart.realTime)
    lines.push(`  ${title("Note")}heart has no real-time priority here: a busy machine may delay it`);
  return `${lines.join("\n")}\n`;
}
