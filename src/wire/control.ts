// The two local sockets of a node, as types: heart <-> daemon, and daemon <-> command line. Both are Unix
// stream sockets in the runtime directory (`heart.sock`, `control.sock`), mode 0600, one JSON object a line,
// at most CONTROL_LINE_BYTES_MAX. A request carries `request` (any number), its answer the same number.
// Local and same-version: strict JSON is enough here; port 1148 speaks the codecs of this room instead. Pure.

import type { GateState, NodeId, Role, Term } from "../base/units.ts";
import type { AuditState } from "./controlAudit.ts";
import type {
  ApplyReport,
  ConfigurationVersionLine,
  ConfigurationVersionView,
  PairConfigurationView,
} from "./controlConfiguration.ts";
import type { DrillReport, ReadinessView } from "./controlReadiness.ts";
import type { LinkState, NodeFacts } from "./messagesNode.ts";

/** A place in the log: sequence numbers start at 1 with each term. */
export interface Position {
  readonly term: number;
  readonly sequence: number;
}

/** What the daemon tells heart every 200 ms and at every change; heart puts it into each heartbeat. */
export interface DaemonReport {
  readonly kind: "daemon";
  /** Standby: holds the active's whole state up to `position`. Active: may be relieved. */
  readonly ready: boolean;
  /** Interfaces, routes, rules and the event socket are in place: a gate that opened now would forward. */
  readonly dressed: boolean;
  /** Why not, in words; empty where ready. */
  readonly reasons: readonly string[];
  /** Last position written into this node's kernel (standby) or produced (active). */
  readonly position: Position;
  readonly sessions: number;
  readonly configurationDigest: string;
  /** How many alarms the daemon has raised, and whether one is critical. */
  readonly alarms: number;
  readonly critical: boolean;
}

/** Requests that heart answers. `daemon` needs no answer. */
export type HeartRequest =
  | DaemonReport
  /** Neighbours of a segment (0 the LAN, then the links in order of id) that prove its cable where they answer. */
  | { readonly kind: "witnesses"; readonly segment: number; readonly addresses: readonly string[] }
  /** What this node's daemon can say of the pair's readiness, in ten-thousandths; null: nothing. For every heartbeat. */
  | { readonly kind: "readiness"; readonly readiness: number | null }
  /** An announced restart of the daemon: heart waits 60 s instead of 10 before it calls it wedged. */
  | { readonly kind: "daemon-restarting" }
  | { readonly kind: "state"; readonly request: number }
  /** From now on `state` lines come unasked at every change. */
  | { readonly kind: "subscribe" }
  | { readonly kind: "handover"; readonly request: number }
  /** Hand over where the peer is ready, then shut the gate, remove it and exit. */
  | { readonly kind: "leave"; readonly request: number }
  /**
   * Go on with another configuration (core/config.ts `Config`), without letting go of the gate. Service interfaces that it does
   * not have must be down by then, new ones must be there.
   */
  | {
      readonly kind: "configure";
      readonly request: number;
      readonly config: Readonly<Record<string, unknown>>;
    };

export interface PathState {
  readonly name: string;
  /** Milliseconds since the last good heartbeat on it; null where none was ever heard. */
  readonly heardMsAgo: number | null;
  readonly sent: number;
  readonly received: number;
  /** Refused datagrams by reason. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface SegmentState {
  readonly name: string;
  readonly carrier: boolean;
  /** Milliseconds since a third party was heard; null where never. */
  readonly witnessMsAgo: number | null;
  /** This node can ask there whether the other one serves; where it cannot, it does not take over while it hears third parties. */
  readonly askable: boolean;
  /** The gate's table is in place. */
  readonly gated: boolean;
}

export interface PeerState {
  readonly heard: boolean;
  readonly role: Role | null;
  readonly term: Term | null;
  readonly ready: boolean;
  readonly position: Position | null;
  readonly sessions: number | null;
  readonly configurationDigest: string | null;
  /** How many alarms it says that it has (its heart's and its daemon's), and whether one is critical. */
  readonly alarms: number | null;
  readonly critical: boolean;
  /** What it says of readiness in ten-thousandths; null: nothing. Absent: a heart of before, which does not pass it on. */
  readonly readiness?: number | null;
}

export interface TakeoverReport {
  readonly term: number;
  readonly kind: "takeover" | "handover" | "election";
  /** Silence of the peer at the moment of opening. */
  readonly silenceMs: number;
  /** From the decision to the open gate. */
  readonly openMs: number;
  /** Wall-clock time of opening, ISO 8601. */
  readonly at: string;
}

/** The last change of a node's role, in either direction. */
export interface RoleChangeReport {
  readonly from: Role;
  readonly to: Role;
  /** `RoleChangeCause` of the election. */
  readonly cause: string;
  /** The highest term that was known to be claimed then: mostly that of the node that is active since. */
  readonly term: number;
  /** As in TakeoverReport; 0 where this node opened nothing. */
  readonly silenceMs: number;
  readonly openMs: number;
  /** Wall-clock time, ISO 8601. */
  readonly at: string;
}

/** One alarm of core/alarms.ts, raised. */
export interface AlarmState {
  readonly code: string;
  readonly severity: "info" | "warning" | "critical";
  readonly title: string;
  readonly text: string;
  /** What is particular this time: a source, an interface, the kernel's words. Empty where nothing is. */
  readonly detail: string;
  readonly advice: string;
  /** ISO 8601. */
  readonly since: string;
}

export interface HeartState {
  readonly node: NodeId;
  readonly pid: number;
  /** `factsDigest` of the configuration that this heart has read. */
  readonly factsDigest: string;
  readonly role: Role;
  readonly term: Term;
  readonly gate: GateState;
  /** Why it is not ready whatever the daemon says; empty or absent (a heart of before): nothing. */
  readonly reasons?: readonly string[];
  /** Milliseconds of the lease in force when last renewed; 0 where none. */
  readonly leaseMs: number;
  readonly sinceMs: number;
  readonly peer: PeerState;
  readonly paths: readonly PathState[];
  readonly segments: readonly SegmentState[];
  readonly lastTakeover: TakeoverReport | null;
  /** Null: none since heart started. Absent: a heart of before. */
  readonly lastChange?: RoleChangeReport | null;
  readonly alarms: readonly AlarmState[];
  readonly realTime: boolean;
  /** How often somebody removed the gate's table and heart put it back, since start: interfaces were down then. */
  readonly gateRepairs: number;
  /** Lease renewals refused after a lapse, longest interval between two renewals, since start. */
  readonly renewals: { readonly done: number; readonly refused: number; readonly longestMs: number };
}

export type HeartMessage =
  | { readonly kind: "state"; readonly request?: number; readonly state: HeartState }
  | { readonly kind: "done"; readonly request: number; readonly message: string }
  | { readonly kind: "refused"; readonly request: number; readonly reason: string };

/** Requests that the daemon answers, for the command line. */
export type DaemonRequest =
  | { readonly kind: "show"; readonly request: number; readonly what: "pair" }
  | { readonly kind: "show"; readonly request: number; readonly what: "links" }
  | { readonly kind: "show"; readonly request: number; readonly what: "alarms" }
  | { readonly kind: "show"; readonly request: number; readonly what: "readiness" }
  | {
      readonly kind: "show";
      readonly request: number;
      readonly what: "sessions";
      readonly filter: SessionFilter;
      readonly limit: number;
    }
  | { readonly kind: "handover"; readonly request: number }
  /** Hands over and back, and answers when it is done. `force`: also where the pair is not ready. */
  | { readonly kind: "drill"; readonly request: number; readonly force: boolean }
  /** Without a failover: the daemon replaces itself, or heart where its gate does not hang on it. */
  | { readonly kind: "restart"; readonly request: number; readonly what: "daemon" | "heart" }
  | { readonly kind: "stop"; readonly request: number }
  /** Puts a configuration into force on both nodes (core/configLog.ts). */
  | {
      readonly kind: "apply";
      readonly request: number;
      readonly source: ApplySource;
      /** Who, and why. */
      readonly author: string;
      readonly message: string;
      /** Also over a version that only the other node has. */
      readonly replace: boolean;
      /** A version's number or id: refused where another one is in force by then. Null: whichever is. */
      readonly base: string | null;
    }
  /** A version with its text; null: the one in force. `peer`: the one in force on the other node. */
  | {
      readonly kind: "configuration";
      readonly request: number;
      readonly of: "own" | "peer";
      readonly version: string | null;
    }
  | { readonly kind: "versions"; readonly request: number; readonly limit: number }
  /** Writes down what the log's connection says, for a while; null: ends what is under way. */
  | { readonly kind: "record"; readonly request: number; readonly order: RecordOrder | null };

export interface RecordOrder {
  /** Absolute; a new file. */
  readonly file: string;
  /** Messages in clear, or the keys of connections that begin while it goes on (SSLKEYLOGFILE). */
  readonly what: "frames" | "keys";
  readonly seconds: number;
  readonly megabytes: number;
  /** The connection is made anew, so that the recording begins with its beginning. */
  readonly reconnect: boolean;
}

export type ApplySource =
  /** `file`: its name for messages. */
  | { readonly kind: "text"; readonly file: string; readonly text: string }
  | { readonly kind: "version"; readonly version: string }
  /** What is in force on the other node. */
  | { readonly kind: "peer" }
  /** What is in force here, for the other node. */
  | { readonly kind: "in-force" };

export interface SessionFilter {
  readonly link?: number;
  readonly protocol?: string;
  /** Either end, as an address. */
  readonly address?: string;
  readonly port?: number;
  readonly family?: 4 | 6;
}

export interface SessionView {
  readonly protocol: string;
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Where the far end sends its answers: the translated source. */
  readonly translatedSource: string;
  readonly translatedPort: number;
  readonly link: number;
  readonly state: string;
  readonly timeoutSeconds: number;
}

/** A connection that ended over a key, within the last half minute. */
export interface RefusedKey {
  /** `us`: the peer showed a key that our pair file does not list. `peer`: it did not accept ours. */
  readonly by: "us" | "peer";
  /** What was shown to us, `ed25519:...`; null where it was no such key, or where the peer refused. */
  readonly key: string | null;
}

export interface ReplicationState {
  readonly connected: boolean;
  /** Null where the last attempts did not end over a key. */
  readonly refusedKey: RefusedKey | null;
  readonly path: string | null;
  /** The protocol version that both nodes speak (docs/protocol.md §2.1); null where the peer is not there. */
  readonly version: number | null;
  readonly direction: "sending" | "receiving" | "none";
  /** Synchronised: the snapshot is complete and changes flow. */
  readonly synchronised: boolean;
  readonly produced: Position | null;
  readonly acknowledged: Position | null;
  readonly applied: Position | null;
  /** Both kernels' tables, compared. Absent: a daemon of before. */
  readonly audit?: AuditState;
  readonly counters: Readonly<Record<string, number>>;
}

/** What the two machines are, as each says of itself. */
export interface MachinesView {
  readonly own: NodeFacts;
  /** Null: it has not said, or speaks version 1 of the protocol. */
  readonly peer: NodeFacts | null;
  /** The peer's clock less this node's when the peer spoke, in milliseconds, the way of the message included. */
  readonly clockDifferenceMs: number | null;
}

export interface PairView {
  readonly pair: string;
  readonly node: NodeId;
  readonly version: string;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly heart: HeartState | null;
  /** Heart's and the daemon's, the most severe first. */
  readonly alarms: readonly AlarmState[];
  /** Packets for port 1148 that the kernel dropped, by reason; null where the guard is not in place. */
  readonly guard: Readonly<Record<string, number>> | null;
  readonly replication: ReplicationState;
  readonly machines: MachinesView;
  readonly sessions: number;
  /** Could the standby take over now? Absent: a daemon of before. */
  readonly readiness?: ReadinessView;
  readonly configurationDigest: string;
}

export interface LinkView {
  readonly id: number;
  readonly name: string;
  readonly device: string;
  readonly port: string;
  /** Of this node's own port. */
  readonly carrier: boolean;
  /** What the active makes of it, why, and since when (ISO 8601; null: nobody has said). */
  readonly state: LinkState["state"];
  readonly reason: LinkState["reason"];
  readonly since: string | null;
  readonly weight: number;
  readonly slots: number;
  readonly addresses: readonly string[];
  readonly gateway: readonly string[];
  readonly sessions: number;
}

/** All alarms of this node, and how many the other one says that it has. */
export interface AlarmsView {
  readonly node: NodeId;
  /** Heart's and the daemon's, the most severe first. */
  readonly alarms: readonly AlarmState[];
  /** Null where it is not heard. */
  readonly peer: { readonly alarms: number; readonly critical: boolean } | null;
}

export type DaemonMessage =
  | { readonly kind: "pair"; readonly request: number; readonly view: PairView }
  | { readonly kind: "alarms"; readonly request: number; readonly view: AlarmsView }
  | { readonly kind: "readiness"; readonly request: number; readonly view: ReadinessView }
  | { readonly kind: "drilled"; readonly request: number; readonly report: DrillReport }
  | { readonly kind: "links"; readonly request: number; readonly links: readonly LinkView[] }
  | {
      readonly kind: "sessions";
      readonly request: number;
      readonly sessions: readonly SessionView[];
      readonly total: number;
      readonly truncated: boolean;
    }
  | { readonly kind: "applied"; readonly request: number; readonly report: ApplyReport }
  | ({
      readonly kind: "configuration";
      readonly request: number;
      readonly pair: PairConfigurationView;
    } & ConfigurationVersionView)
  | {
      readonly kind: "versions";
      readonly request: number;
      /** The newest first. */
      readonly versions: readonly ConfigurationVersionLine[];
      readonly total: number;
      readonly pair: PairConfigurationView;
    }
  | { readonly kind: "done"; readonly request: number; readonly message: string }
  | { readonly kind: "refused"; readonly request: number; readonly reason: string };
