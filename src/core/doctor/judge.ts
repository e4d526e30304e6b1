// The doctor's judgement: facts in, findings out. Each finding says what is so, what follows from it and what to do.
// `wrong` means that the pair does not do its job, or will not when it is needed. Pure: it looks at nothing itself.

import { PORT } from "../../base/limits.ts";
import { peerOf } from "../../base/units.ts";
import { type DoctorFacts, FEATURES, type Feature, type FeatureSpec, type Listener } from "./facts.ts";

export type Level = "fine" | "note" | "warning" | "wrong";

export interface Finding {
  /** Stable, for scripts: `PORT_TAKEN`. */
  readonly code: string;
  readonly level: Level;
  /** What was looked at: `port 1148`, `peer`. */
  readonly subject: string;
  readonly text: string;
  /** What follows from it; empty where nothing does. */
  readonly consequence: string;
  readonly advice: string;
}

type Extra = { readonly consequence?: string; readonly advice?: string };

function finding(level: Level, subject: string, code: string, text: string, extra: Extra = {}): Finding {
  return { code, level, subject, text, consequence: extra.consequence ?? "", advice: extra.advice ?? "" };
}

/** Anything of ours runs: then what it holds in the kernel is in use. */
export const runs = (facts: DoctorFacts): boolean => facts.daemon.answers || facts.heartAnswers;

function judgeAsker(facts: DoctorFacts): Finding[] {
  if (facts.asRoot) return [];
  return [
    finding(
      "note",
      "you",
      "NOT_ROOT",
      "an ordinary user cannot see everything, nor may do what Understudy does",
      {
        consequence: "some of what follows may be no more than that",
        advice: "Run `sudo understudy doctor`.",
      },
    ),
  ];
}

function judgeConfiguration(facts: DoctorFacts): Finding[] {
  const subject = "configuration";
  const mistakes = facts.configurationErrors.map((line) =>
    finding("wrong", subject, "CONFIGURATION", line, {
      consequence: "Understudy does not start with it",
      advice: "Mend it, then `understudy check`.",
    }),
  );
  if (facts.configuration === null || mistakes.length > 0) return mistakes;
  const { pair, node, digest } = facts.configuration;
  const loaded = facts.daemon.view?.configurationDigest;
  if (loaded !== undefined && loaded !== digest)
    return [
      finding(
        "warning",
        subject,
        "CONFIGURATION_NOT_LOADED",
        `the pair's file is ${digest.slice(0, 8)}, the daemon runs with ${loaded.slice(0, 8)}: it was edited since`,
        {
          consequence: "what was edited is not in force on this node",
          advice:
            "`understudy diff` shows the edit; `understudy apply` on the active puts it into force on both nodes.",
        },
      ),
    ];
  return [finding("fine", subject, "CONFIGURATION", `${facts.nodeFile}: node ${node} of pair ${pair}`)];
}

function judgeKey(facts: DoctorFacts): Finding[] {
  const { key } = facts;
  // What keeps Understudy from starting is told once.
  if (key === null || facts.configurationErrors.some((line) => line.includes(": key: "))) return [];
  const subject = "key";
  if (key.refusal !== null)
    return [
      finding("wrong", subject, "KEY_UNUSABLE", key.refusal.words, {
        consequence: "this node cannot prove to its peer who it is",
        advice: key.refusal.advice,
      }),
    ];
  if (key.publicKey !== null && !key.listed.includes(key.publicKey))
    return [
      finding(
        "wrong",
        subject,
        "KEY_NOT_LISTED",
        `${key.file} is ${key.publicKey}, which the pair's file does not list`,
        {
          consequence: "the peer refuses this node",
          advice: "Put that key under this node's name in the pair's file, on both nodes.",
        },
      ),
    ];
  const { own, peer } = key.fingerprints;
  return [
    finding("fine", subject, "KEY", `${key.file} is private, and the pair's file lists it: ${own ?? ""}`),
    ...peer.map((each) =>
      finding("fine", subject, "PEER_KEY_LISTED", `the pair's file lists for the other node: ${each}`),
    ),
  ];
}

/** Ours by its name (set with PR_SET_NAME) or by what it runs. */
export function isOurs(listener: Listener): boolean {
  return (
    listener.name.startsWith("understudy") ||
    listener.commandLine.some((argument) => /(^|\/)src\/(cli|heart)\.ts$/.test(argument))
  );
}

function judgePort(facts: DoctorFacts): Finding[] {
  return (["tcp", "udp"] as const).flatMap((protocol): Finding[] => {
    const subject = `port ${PORT}/${protocol}`;
    const there = facts.listeners.filter((listener) => listener.protocol === protocol);
    const who = (listener: Listener): string =>
      listener.pid === null
        ? `somebody on ${listener.address}`
        : `${listener.name} (process ${listener.pid}) on ${listener.address}`;
    const unseen = there.filter((listener) => listener.pid === null);
    const strangers = there.filter((listener) => listener.pid !== null && !isOurs(listener));
    if (strangers.length > 0)
      return [
        finding("wrong", subject, "PORT_TAKEN", `${strangers.map(who).join(", ")} has it: not Understudy`, {
          consequence: "Understudy cannot use its port there",
          advice:
            "Stop that program, or move it to another port: 1148 is assigned to link balancers' replication.",
        }),
      ];
    if (unseen.length > 0)
      return [
        finding(
          "warning",
          subject,
          "PORT_UNSEEN",
          `${unseen.map(who).join(", ")} has it; who, only root can see`,
          {
            advice: "Run `sudo understudy doctor`.",
          },
        ),
      ];
    if (there.length > 0) return [finding("fine", subject, "PORT", there.map(who).join(", "))];
    if (!facts.daemon.mayAsk) return [finding("note", subject, "PORT_FREE", "nobody listens")];
    const should = protocol === "tcp" ? facts.daemon.answers : facts.heartAnswers;
    if (!should)
      return [finding("note", subject, "PORT_FREE", "nobody listens, and nobody should: it does not run")];
    return [
      finding(
        "wrong",
        subject,
        "PORT_SILENT",
        `${protocol === "tcp" ? "the daemon" : "heart"} runs but does not listen`,
        {
          consequence: protocol === "tcp" ? "nothing is replicated" : "the peer hears no heartbeat",
          advice: "See its log: journalctl -u understudy.",
        },
      ),
    ];
  });
}

function judgeProcesses(facts: DoctorFacts): Finding[] {
  const { daemon, heartAnswers } = facts;
  if (!daemon.mayAsk)
    return [
      finding(
        "note",
        "processes",
        "PROCESSES_UNSEEN",
        `whether it runs, only root may ask: ${daemon.words}`,
        {
          advice: "Run `sudo understudy doctor`.",
        },
      ),
    ];
  const restart = "Start it: systemctl start understudy.";
  if (daemon.answers && heartAnswers)
    return [finding("fine", "processes", "RUNNING", "daemon and heart answer")];
  if (daemon.answers)
    return [
      finding("wrong", "processes", "HEART_DOWN", "the daemon answers, heart does not", {
        consequence: "this node neither serves nor can it take over",
        advice: "See its log (journalctl -u understudy), then: systemctl restart understudy.",
      }),
    ];
  if (heartAnswers)
    return [
      finding("wrong", "processes", "DAEMON_DOWN", `heart answers, the daemon does not: ${daemon.words}`, {
        consequence: "traffic goes on, but nothing is replicated and the node is not ready",
        advice: restart,
      }),
    ];
  return [
    finding("warning", "processes", "NOT_RUNNING", `Understudy does not run here: ${daemon.words}`, {
      consequence: "the pair has one node less",
      advice: restart,
    }),
  ];
}

const attemptWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the machine answers, but nobody listens there: Understudy does not run on it",
  ETIMEDOUT: "nothing comes back: the cable, the peer, or a firewall between",
  EHOSTUNREACH: "no such neighbour: the cable, or the peer is off",
  ENETUNREACH: "no way there: this node's own address on that path is missing",
  ENODEV: "the interface of that path is not there",
  EADDRNOTAVAIL: "this node does not have its own address of that path",
};

function judgePeer(facts: DoctorFacts): Finding[] {
  if (facts.configuration === null) return [];
  const other = peerOf(facts.configuration.node);
  const view = facts.daemon.view;
  const silent: Extra = {
    consequence: "there is no redundancy",
    advice: `Look at the cables of the paths, and at ${other}: understudy doctor.`,
  };
  const wrongKey = view?.alarms.some(({ code }) => code === "wrong-key") === true;
  if (wrongKey)
    return [
      finding(
        "wrong",
        "peer",
        "PEER_KEY",
        `${other} is there, but the two nodes do not accept each other's keys`,
        {
          consequence: silent.consequence!,
          advice: "The alarm wrong-key below says which key is in question.",
        },
      ),
    ];
  if (view?.heart) {
    const findings = [
      view.heart.peer.heard
        ? finding(
            "fine",
            "peer",
            "PEER_HEARD",
            `${other} sends heartbeats; it is ${view.heart.peer.role ?? "of unknown role"}`,
          )
        : finding("wrong", "peer", "PEER_SILENT", `${other} sends no heartbeats that hold`, silent),
    ];
    const { connected, path } = view.replication;
    findings.push(
      connected
        ? finding("fine", "peer", "REPLICATION", `replication is connected over ${path ?? "a path"}`)
        : finding("wrong", "peer", "REPLICATION_DOWN", "replication is not connected", silent),
    );
    return findings;
  }
  return facts.attempts.map((attempt) => {
    const way = `path ${attempt.name}, ${attempt.local} to ${attempt.remote}`;
    if (attempt.connected)
      return finding("fine", "peer", "PEER_REACHED", `${way}: ${other} accepts connections`);
    const why = attemptWords[attempt.code] ?? attempt.code;
    return finding("warning", "peer", "PEER_UNREACHED", `${way}: ${why}`, {
      consequence: silent.consequence!,
    });
  });
}

function judgeFeatures(facts: DoctorFacts): Finding[] {
  return (Object.entries(FEATURES) as [Feature, FeatureSpec][]).map(([feature, spec]) => {
    const { presence, words } = facts.features[feature];
    const subject = feature === "libnftables" ? "library" : "kernel";
    const reason = words === undefined ? "" : ` (${words})`;
    if (presence === "present") return finding("fine", subject, "FEATURE", spec.name);
    if (presence === "unknown")
      return finding("note", subject, "FEATURE_UNKNOWN", `${spec.name}: cannot be seen${reason}`, {
        consequence: `if it is missing, ${spec.without}`,
        advice: "Run `sudo understudy doctor`.",
      });
    const level = spec.need === "required" ? "wrong" : "warning";
    return finding(level, subject, "FEATURE_MISSING", `${spec.name}: missing${reason}`, {
      consequence: spec.without,
      advice: spec.advice,
    });
  });
}

function judgeGate(facts: DoctorFacts): Finding[] {
  const subject = "gate";
  // A heart that runs without its gate says so itself, with an alarm; without one there need not be a gate.
  if (!facts.heartAnswers || facts.gate === "absent") return [];
  if (facts.gate === "unseen")
    return [
      finding("note", subject, "GATE_UNSEEN", "whether others can flush it cannot be seen", {
        advice: "Run `sudo understudy doctor`.",
      }),
    ];
  if (facts.gate === "protected")
    return [finding("fine", subject, "GATE", "it is heart's own: `nft flush ruleset` passes it by")];
  const kernelCan = facts.features.ownedTables.presence === "present";
  return [
    finding("warning", subject, "GATE_UNPROTECTED", "`nft flush ruleset` removes it", {
      consequence: "until heart has put it back, shut, up to 20 ms later, both nodes may answer",
      advice: kernelCan
        ? "This kernel can protect it: hand over, then restart Understudy on this node."
        : "Linux 6.9 or newer protects it. Say `delete table` of your own tables instead of flushing all.",
    }),
  ];
}

const tools = {
  nft: {
    package: "nftables",
    without: "the gate and the rules cannot be looked at by hand",
    level: "warning",
  },
  ip: { package: "iproute2", without: "interfaces and routes cannot be looked at by hand", level: "warning" },
  conntrack: {
    package: "conntrack",
    without: "only the lab and people use it; nothing else follows",
    level: "note",
  },
} as const;

function judgeTools(facts: DoctorFacts): Finding[] {
  return (Object.keys(tools) as (keyof typeof tools)[]).map((name) => {
    const version = facts.tools[name];
    if (version !== null) return finding("fine", "tools", "TOOL", version);
    return finding(tools[name].level, "tools", "TOOL_MISSING", `${name} is not installed`, {
      consequence: tools[name].without,
      advice: `Debian, Ubuntu: apt install ${tools[name].package}.`,
    });
  });
}

const FULL_SHARE = 0.8;
const BUCKET_ENTRIES_MAX = 4;
const ROOM_MIN = 65_536;

function judgeConntrack(facts: DoctorFacts): Finding[] {
  const { max, buckets, count } = facts.conntrack;
  const subject = "session table";
  if (max === null || buckets === null)
    return [
      finding("note", subject, "TABLE_UNSEEN", "its size cannot be read", {
        consequence: "it may not be loaded yet: Understudy loads it",
      }),
    ];
  const raise = `In /etc/sysctl.d: net.netfilter.nf_conntrack_max = ${Math.max(262_144, max * 2)}, on both nodes.`;
  const full = "new sessions are refused when it is full, on the standby as well";
  const room = `room for ${max} sessions in ${buckets} buckets`;
  if (count !== null && count > max * FULL_SHARE)
    return [
      finding("wrong", subject, "TABLE_FULL", `${count} of ${max} entries are used`, {
        consequence: full,
        advice: raise,
      }),
    ];
  if (max < ROOM_MIN)
    return [finding("warning", subject, "TABLE_SMALL", room, { consequence: full, advice: raise })];
  if (max > buckets * BUCKET_ENTRIES_MAX)
    return [
      finding(
        "warning",
        subject,
        "TABLE_CROWDED",
        `${room}: more than ${BUCKET_ENTRIES_MAX} a bucket when full`,
        {
          consequence: "every packet of every session searches longer",
          advice: `net.netfilter.nf_conntrack_buckets = ${max}.`,
        },
      ),
    ];
  return [finding("fine", subject, "TABLE", count === null ? room : `${room}, ${count} used`)];
}

function judgeRemains(facts: DoctorFacts): Finding[] {
  const subject = "leftovers";
  const { remains } = facts;
  if (remains === null || !facts.daemon.mayAsk)
    return [
      finding("note", subject, "REMAINS_UNSEEN", "cannot be listed, or not told from what is in use", {
        advice: "Run `sudo understudy doctor`.",
      }),
    ];
  if (runs(facts))
    return [finding("fine", subject, "IN_USE", `${remains.length} objects in the kernel, in use`)];
  if (remains.length === 0) return [finding("fine", subject, "NO_REMAINS", "none")];
  return remains.map((each) =>
    finding("warning", subject, "REMAINS", `${each}, while nothing of ours runs`, {
      consequence: "harmless while its gate is shut; the next start takes it over or replaces it",
      advice: "`systemctl start understudy` takes it over; `understudy stop --clean` removes it.",
    }),
  );
}

function judgeAlarms(facts: DoctorFacts): Finding[] {
  const view = facts.daemon.view;
  if (view === null) return [];
  const levels = { critical: "wrong", warning: "warning", info: "note" } as const;
  const alarms = view.alarms.map((alarm) =>
    finding(
      levels[alarm.severity],
      "alarm",
      alarm.code,
      alarm.detail === "" ? alarm.text : `${alarm.text} (${alarm.detail})`,
      { advice: alarm.advice },
    ),
  );
  const reasons = view.ready
    ? []
    : view.reasons.map((reason) =>
        finding("wrong", "readiness", "NOT_READY", reason, {
          consequence: "a takeover now would lose sessions",
        }),
      );
  return [...reasons, ...alarms];
}

/** Everything that is to be said about the facts, in the order in which a reader wants to know it. */
export function judge(facts: DoctorFacts): Finding[] {
  return [
    ...judgeAsker(facts),
    ...judgeConfiguration(facts),
    ...judgeKey(facts),
    ...judgeProcesses(facts),
    ...judgePort(facts),
    ...judgePeer(facts),
    ...judgeAlarms(facts),
    ...judgeGate(facts),
    ...judgeFeatures(facts),
    ...judgeTools(facts),
    ...judgeConntrack(facts),
    ...judgeRemains(facts),
  ];
}

/** False where anything is wrong: the exit code of `understudy doctor`. */
export const isHealthy = (findings: readonly Finding[]): boolean =>
  findings.every((each) => each.level !== "wrong");
