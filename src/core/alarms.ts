// Alarms: every condition that a person must hear of, in one table, in words for whoever is called at night; and a
// board on which each is raised and cleared exactly once. Heart's and the daemon's alarms are all from here, so that
// the log, `show`, the doctor and docs/operations.md §4 say the same. Pure: the time comes in as an argument, and what
// is to be logged goes out as text.

import type { AlarmState } from "../wire/control.ts";

export type Severity = AlarmState["severity"];

export interface AlarmSpec {
  /** `critical`: nobody serves, or soon nobody will. `warning`: served, less protected. `info`: worth knowing. */
  readonly severity: Severity;
  /** Which process notices it, and raises it. */
  readonly raisedBy: "heart" | "daemon";
  /** A few words, for a line in a list. */
  readonly title: string;
  /** One sentence: what is the case, and what follows. */
  readonly text: string;
  /** What to do. */
  readonly advice: string;
  /** The condition must hold for this long before it is told: what passes by itself wakes nobody. Default 0. */
  readonly afterMs?: number;
  /** Cleared after this long without the condition. Default 0. */
  readonly quietMs?: number;
}

/** In the order of docs/operations.md. Codes are never reused for something else: people's filters know them. */
export const ALARMS = {
  "peer-silent": {
    severity: "warning",
    raisedBy: "heart",
    title: "the other node is silent",
    text: "The other node is not heard on any path: the pair is one machine now.",
    advice: "Is it running? Look at the sync cable and the paths with `understudy show pair` on both nodes.",
  },
  "peer-deaf": {
    severity: "warning",
    raisedBy: "heart",
    title: "the other node does not hear this one",
    text: "The other node is heard but does not hear this one.",
    advice: "One direction of every heartbeat path is cut: check cables, and packet filters for UDP 1148.",
  },
  "heartbeats-lost-gate-answers": {
    severity: "critical",
    raisedBy: "heart",
    title: "no heartbeats, but the other node serves",
    text: "No heartbeat arrives, but the other node's gate answers on a service segment: no takeover, and none is due.",
    advice: "The paths are broken, the active is not. Check the paths, and packet filters for UDP 1148.",
  },
  isolated: {
    severity: "critical",
    raisedBy: "heart",
    title: "nobody is heard on any segment",
    text: "No third party is heard on any service segment: this node does not claim the shared addresses.",
    advice: "Check this node's own cables and switch ports; configure witnesses that always answer.",
  },
  "cannot-forward": {
    severity: "critical",
    raisedBy: "heart",
    title: "this active node cannot forward",
    text: "This active node has no working LAN or no working link, and the other node is no better off.",
    advice: "The fault is outside the pair: check the LAN switch and the links' gateways.",
  },
  "standby-blind": {
    severity: "warning",
    raisedBy: "heart",
    title: "this standby could not forward",
    text: "This standby has no working LAN or no working link, and the active has: it is not ready.",
    advice:
      "Check this node's cables and switch ports: `understudy show pair` names the segments without a witness.",
  },
  "lease-lapsed": {
    severity: "warning",
    raisedBy: "heart",
    title: "the lease lapsed",
    text: "The lease ended before it was renewed: the gate was shut for a moment.",
    advice:
      "The machine stood still for longer than a lease. Does heart have real-time priority (`understudy doctor`)?",
  },
  "two-actives": {
    severity: "critical",
    raisedBy: "heart",
    title: "both nodes served",
    text: "Both nodes had their gates open: a split that has healed. One has yielded.",
    advice: "Find out which cables or switches parted the nodes: it will happen again.",
  },
  "claimant-on-segment": {
    severity: "critical",
    raisedBy: "heart",
    title: "somebody else answers for the shared addresses",
    text: "Somebody else answers for the shared addresses from the virtual MAC, and no heartbeat is heard.",
    advice: "Either the other node is active behind broken paths, or a host on this segment forges answers.",
  },
  "term-not-stored": {
    severity: "critical",
    raisedBy: "heart",
    title: "the term is not on disk",
    text: "The term could not be written to disk: the node goes on as it is, but is not ready.",
    advice: "Is the state directory's disk full, read-only or failing?",
  },
  "gate-missing": {
    severity: "critical",
    raisedBy: "heart",
    title: "the gate was removed",
    text: "The gate's nftables table was removed by somebody; it is put back, shut, within 20 ms.",
    advice: "Do not flush the whole ruleset on a node: say `delete table` of your own tables instead.",
  },
  "daemon-silent": {
    severity: "warning",
    raisedBy: "heart",
    title: "the daemon is silent",
    text: "The daemon of this node is silent; heart goes on without it for a while, then hands over.",
    advice: "Look at its log: it may hang or be gone. `systemctl restart understudy` starts another.",
  },
  "heart-gone": {
    severity: "critical",
    raisedBy: "daemon",
    title: "heart does not run",
    text: "Heart, which keeps the gate and the heartbeats, does not run on this node; another one is being started.",
    advice: "Where it does not come back within a second, the log says why.",
  },
  "dress-refused": {
    severity: "critical",
    raisedBy: "daemon",
    title: "the kernel refuses our interfaces or rules",
    text: "Interfaces, routes or rules of this node are not as they should be, and cannot be put back.",
    advice: "The kernel's own words say what it refuses; `understudy doctor` looks for the reason.",
  },
  "dress-repaired": {
    severity: "warning",
    raisedBy: "daemon",
    title: "somebody changed our interfaces or rules",
    text: "Somebody removed or changed interfaces, routes or rules of ours; they were put back.",
    advice: "Find out who: network managers and firewalls must leave `us-*` and `understudy*` alone.",
    quietMs: 300_000,
  },
  "foreign-traffic-1148": {
    severity: "warning",
    raisedBy: "daemon",
    title: "strangers on port 1148",
    text: "Somebody other than the peer sends to port 1148 of this node; the kernel drops it.",
    advice: "Find the sender: a scanner, a second pair with wrong addresses, or an attacker.",
    quietMs: 60_000,
  },
  "flood-1148": {
    severity: "warning",
    raisedBy: "daemon",
    title: "a flood on port 1148",
    text: "Far more datagrams than the peer sends arrive on a path with the peer's address; the surplus is dropped.",
    advice: "Somebody forges the peer's address on that segment: find the port by its MAC on the switch.",
    quietMs: 60_000,
  },
  "replication-segment-shared": {
    severity: "info",
    raisedBy: "daemon",
    title: "the replication segment is shared",
    text: "A third party is heard on the segment of the first path, which should be a cable between the nodes alone.",
    advice: "Connect the two ports directly, or give them a VLAN of their own.",
    quietMs: 300_000,
  },
  "wrong-key": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the nodes do not accept each other's keys",
    text: "A key of the nodes is not the one that a pair's file lists: they do not hear each other, and nothing is replicated.",
    advice:
      "`understudy keygen --show` on each node prints its key; the pair's file must list it under that node's name, on both nodes. Then restart.",
    afterMs: 2_000,
  },
  "path-silent": {
    severity: "warning",
    raisedBy: "daemon",
    title: "a path between the nodes is silent",
    text: "The other node is heard, but not on every path: with the last one, the nodes lose each other.",
    advice: "Look at that path's cable and switch ports, and at packet filters for UDP 1148, on both nodes.",
    afterMs: 2_000,
  },
  "link-no-carrier": {
    severity: "warning",
    raisedBy: "daemon",
    title: "a port has no carrier",
    text: "The port of a link, or of the LAN, has no carrier. A link keeps its share of new sessions all the same.",
    advice:
      "Look at its cable and switch port; until a link works again, `weight: 0` in the pair's file keeps new sessions off it.",
    afterMs: 2_000,
  },
  "segment-not-askable": {
    severity: "warning",
    raisedBy: "daemon",
    title: "a segment cannot be asked",
    text: "This node cannot ask on a segment whether the other one serves there: it would not take over while it hears anybody on it.",
    advice:
      "The segment has IPv6 addresses only, and the port below it has none: let it have its link-local address (`disable_ipv6=0`).",
    afterMs: 5_000,
  },
  "replication-down": {
    severity: "warning",
    raisedBy: "daemon",
    title: "replication is not connected",
    text: "The other node is heard, but there is no replication connection to it: new sessions are not protected.",
    advice:
      "Is TCP 1148 filtered? Are both daemons running, with each other's keys? Both logs have the reason.",
    afterMs: 5_000,
  },
  "replication-incomplete": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the standby does not catch up",
    text: "Replication is connected, but the standby does not hold the whole state after a minute.",
    advice:
      "Read the reasons in `understudy show pair` on the standby; is one node, or the path, overloaded?",
    afterMs: 60_000,
  },
  "audit-found-differences": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the standby's table was not what it should be",
    text: "The comparison of both kernels' tables found sessions that the standby lacked, had beside them, or had otherwise.",
    advice:
      "They are repaired by themselves (`understudy show pair --json` counts them). Who else changes sessions on the standby: a `conntrack` command, a firewall's script? Where the same is found again and again, its kernel lacks something: `understudy doctor`.",
    quietMs: 300_000,
  },
  "audit-late": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the tables are not compared",
    text: "The two kernels' tables have not been compared for far longer than it should take: what the standby holds is not proven.",
    advice: "The detail says why: a log that is interrupted again and again, or a node that is overloaded.",
    afterMs: 5_000,
  },
  "sessions-refused": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the kernel refuses sessions",
    text: "This node's kernel refuses sessions of the other node: they would be lost in a takeover.",
    advice:
      "Most often its table is full: make net.netfilter.nf_conntrack_max equally large on both nodes (`understudy doctor`).",
  },
  "position-stuck": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the standby stands still",
    text: "The active produces, and the standby confirms nothing of it: what begins now would be lost in a takeover.",
    advice:
      "Does the standby's daemon hang, or is its kernel busy? `understudy show readiness` on both nodes.",
    afterMs: 2_000,
  },
  "events-overrun": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the kernel dropped session events",
    text: "More sessions came and went on this node than its daemon could read of: the standby gets a part of the table anew.",
    advice:
      "It repairs itself. Where it comes again: a scan or a flood from the LAN, or a node that is too slow for its traffic.",
    quietMs: 60_000,
  },
  "table-disturbed": {
    severity: "warning",
    raisedBy: "daemon",
    title: "somebody changes the standby's sessions",
    text: "Sessions on this standby ended or were changed, and neither the active nor this program did it: they are not proven any more.",
    advice: "The next comparison repairs them. Find out who: a `conntrack` command, or a firewall's script.",
    quietMs: 60_000,
  },
  "table-nearly-full": {
    severity: "warning",
    raisedBy: "daemon",
    title: "a session table is nearly full",
    text: "The kernel's table of sessions is filled to nine tenths or more: when it is full, new sessions are refused, or not replicated.",
    advice:
      "Raise net.netfilter.nf_conntrack_max on both nodes; `understudy show sessions` tells who has so many.",
    afterMs: 2_000,
    quietMs: 10_000,
  },
  "drill-failed": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the last drill failed",
    text: "The pair did not hand over and back as it should: the next takeover may not work either.",
    advice:
      "`understudy show readiness` says what happened. `understudy drill` tries again, and clears this when it passes.",
  },
  "tables-differ": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the nodes' tables take different numbers of sessions",
    text: "The two kernels take different numbers of sessions: the smaller one cannot hold what the larger one may serve.",
    advice: "Set net.netfilter.nf_conntrack_max to the same number on both nodes (`understudy doctor`).",
  },
  "older-protocol": {
    severity: "info",
    raisedBy: "daemon",
    title: "the other node speaks an older protocol",
    text: "The other node speaks an older version of the protocol: sessions are carried, but not the configuration, slots, links and expectations.",
    advice:
      "Upgrade it. A pair is upgraded one node at a time, the standby first, and soon after the other one.",
  },
  "configuration-differs": {
    severity: "warning",
    raisedBy: "daemon",
    title: "the nodes' configurations differ",
    text: "The two nodes run with different configurations: the standby is not ready while they do.",
    advice:
      "`understudy diff peer` shows the difference. On the active, `understudy apply --replace-peer` puts its own on both, `--take-peer` the other one's.",
    afterMs: 5_000,
  },
  "configuration-not-kept": {
    severity: "warning",
    raisedBy: "daemon",
    title: "versions of the configuration are not kept",
    text: "Versions of the configuration cannot be written to this node's disk: none can be applied, and none is brought to it.",
    advice: "Is the state directory's disk full, read-only or failing? Then `understudy restart`.",
  },
} as const satisfies Readonly<Record<string, AlarmSpec>>;

export type AlarmCode = keyof typeof ALARMS;

type CodeOf<Process extends AlarmSpec["raisedBy"]> = {
  [Code in AlarmCode]: (typeof ALARMS)[Code]["raisedBy"] extends Process ? Code : never;
}[AlarmCode];
/** Alarms that heart raises: those of the election. */
export type HeartAlarmCode = CodeOf<"heart">;
export type DaemonAlarmCode = CodeOf<"daemon">;

/** An alarm as it is shown, but for its time. `detail`: what is particular this time; empty where nothing is. */
export function alarmOf(code: AlarmCode, detail = ""): Omit<AlarmState, "since"> {
  const { severity, title, text, advice }: AlarmSpec = ALARMS[code];
  return { code, severity, title, text, detail, advice };
}

/** How many alarms there are, and whether one is critical: what a heartbeat has room for. */
export interface AlarmCount {
  readonly alarms: number;
  readonly critical: boolean;
}

export const countAlarms = (codes: Iterable<AlarmCode>): AlarmCount => {
  let alarms = 0;
  let critical = false;
  for (const code of codes) {
    alarms += 1;
    if (ALARMS[code].severity === "critical") critical = true;
  }
  return { alarms, critical };
};

const SEVERITIES: Readonly<Record<Severity, number>> = { critical: 0, warning: 1, info: 2 };

/** The most severe first, then the oldest. */
export function inOrder(alarms: readonly AlarmState[]): readonly AlarmState[] {
  return [...alarms].sort(
    (one, other) =>
      SEVERITIES[one.severity] - SEVERITIES[other.severity] || one.since.localeCompare(other.since),
  );
}

/** A changed detail of a standing alarm is logged at most this often. */
const DETAIL_LOG_MS = 60_000;

interface Watched {
  /** Since when the condition holds without a break, and when it held last. */
  readonly heldSince: Instant;
  heldAtMs: number;
  /** Null: not told yet. */
  alarm: AlarmState | null;
  loggedAtMs: number;
}

/** One moment on two clocks: what is shown is wall clock, what is counted must not jump with it. */
export interface Instant {
  /** CLOCK_MONOTONIC, ms. */
  readonly monotonicMs: number;
  /** Since 1970, ms. */
  readonly wallMs: number;
}

/** The alarms of one process. It has a life of its own: what is raised stays until its condition is gone. */
export class AlarmBoard {
  readonly #watched = new Map<AlarmCode, Watched>();

  /** Raised ones, in no order. */
  get raised(): readonly AlarmState[] {
    return [...this.#watched.values()].flatMap(({ alarm }) => (alarm === null ? [] : [alarm]));
  }

  get count(): AlarmCount {
    return countAlarms(this.raised.map((alarm) => alarm.code as AlarmCode));
  }

  /**
   * Says whether a condition holds at this moment: `detail` in words (empty where there is nothing to add), or null
   * where it does not hold. To be said again and again, also while nothing changes: delays are counted here. Returns
   * the line that belongs into the log, or null.
   */
  observe(code: AlarmCode, detail: string | null, now: Instant): string | null {
    return detail === null ? this.#absent(code, now.monotonicMs) : this.#present(code, detail, now);
  }

  #present(code: AlarmCode, detail: string, now: Instant): string | null {
    const nowMs = now.monotonicMs;
    const { afterMs = 0 }: AlarmSpec = ALARMS[code];
    const before = this.#watched.get(code);
    const watched = before ?? {
      heldSince: now,
      heldAtMs: nowMs,
      alarm: null,
      loggedAtMs: 0,
    };
    watched.heldAtMs = nowMs;
    this.#watched.set(code, watched);
    if (watched.alarm === null && nowMs - watched.heldSince.monotonicMs < afterMs) return null;
    const isNew = watched.alarm === null;
    const isNews = isNew || (watched.alarm?.detail !== detail && nowMs - watched.loggedAtMs >= DETAIL_LOG_MS);
    const since = watched.alarm?.since ?? new Date(watched.heldSince.wallMs).toISOString();
    watched.alarm = { ...alarmOf(code, detail), since };
    if (!isNews) return null;
    watched.loggedAtMs = nowMs;
    return logLine(watched.alarm, isNew);
  }

  #absent(code: AlarmCode, nowMs: number): string | null {
    const { quietMs = 0 }: AlarmSpec = ALARMS[code];
    const watched = this.#watched.get(code);
    if (watched === undefined) return null;
    if (watched.alarm !== null && nowMs - watched.heldAtMs < quietMs) return null;
    this.#watched.delete(code);
    if (watched.alarm === null) return null;
    const detail = watched.alarm.detail === "" ? "" : ` (last: ${watched.alarm.detail})`;
    return `alarm cleared: ${code}${detail}`;
  }
}

function logLine(alarm: AlarmState, isNew: boolean): string {
  const detail = alarm.detail === "" ? "" : ` [${alarm.detail}]`;
  if (!isNew) return `alarm ${alarm.severity} ${alarm.code} goes on:${detail}`;
  return `alarm ${alarm.severity} ${alarm.code}: ${alarm.text}${detail} (${alarm.advice})`;
}
