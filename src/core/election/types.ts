// The election's vocabulary: what heart's driver feeds in (inputs), what it has to do (effects), and what the
// machine is told at its start. Plain data on both sides, so that the same machine runs in heart and in the
// simulator (docs/election.md). Pure: types and their tables only.
//
// The driver's contract:
// 1. One turn = drain every socket without blocking, feed what came as inputs, feed `turn`, perform effects.
// 2. Effects are performed in order; the array may grow while it is worked through: after `renew` and `open` the
//    driver feeds `renewal` / `opened` at once, with a new reading of the clock, and the answer's effects are
//    appended at the end of the same array. A `probe` that did not leave is told likewise (`probe-failed`).
// 3. Every step gets the clock as it is at that moment (CLOCK_MONOTONIC, ms), never one kept from before.
// 4. The driver sleeps until `deadline(state)` or until something is readable, whichever is first.

import type { GateState, Millis, NodeId, Role, Term } from "../../base/units.ts";
import type { AlarmState, Position } from "../../wire/control.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import type { TimersConfig } from "../config.ts";

/** One service interface as the election sees it. Index 0 is the LAN, then the links in order of id. */
export interface ElectionSegment {
  readonly name: string;
  /** No probes from the real MAC here (failover §4): it witnesses, it does not arbitrate. */
  readonly singleMac: boolean;
  /** A disabled link: its interface is there, and it has no say. */
  readonly ignored?: boolean;
}

export interface ElectionConfig {
  readonly node: NodeId;
  readonly priority: { readonly a: number; readonly b: number };
  readonly timers: TimersConfig;
  readonly segments: readonly ElectionSegment[];
  /**
   * First 8 bytes of the configuration's SHA-256, 16 hex digits, as heart has it: bits of segments and lengths of leases are
   * compared only with a peer that has the same. `BETWEEN_CONFIGURATIONS`: with none. Absent: with any (the simulator).
   */
  readonly digest?: string;
}

/** Of a node that is just going from one configuration to another: equal to nobody's. */
export const BETWEEN_CONFIGURATIONS = "0000000000000000";

/** What heart finds when it starts. */
export interface ElectionStart {
  readonly now: Millis;
  /** From disk; zeros where there is no file. `reserved`: own terms up to this one may have been claimed. */
  readonly stored: { readonly current: Term; readonly reserved: Term };
  /** What the kernel still holds (`Gate.adopt()`); null where there was no gate of ours. */
  readonly adopted: { readonly held: boolean; readonly drained: boolean } | null;
  /**
   * A number that differs from life to life (seconds of the wall clock, say; default 0). Where the disk has not taken a
   * single term in this life, claims skip so many of the own terms: an earlier life beside the same disk may have
   * claimed the next ones without leaving a trace.
   */
  readonly skip?: number;
  /** Carrier of each segment at the start. */
  readonly carriers: readonly boolean[];
}

/** The daemon's report (wire/control.ts `DaemonReport`), as far as the election cares. */
export interface DaemonFacts {
  /** Standby: holds the active's whole state. Active: may be relieved. */
  readonly ready: boolean;
  /** Interfaces, routes and rules are in place: a gate that opened now would forward. */
  readonly dressed: boolean;
  readonly position: Position;
  readonly sessions: number;
  /** First 8 bytes of the configuration's SHA-256, 16 hex digits. */
  readonly configurationDigest: string;
  /** Alarms that the daemon has raised, and whether one is critical; absent: none. */
  readonly alarms?: number;
  readonly critical?: boolean;
}

export type LeaseKind = "short" | "solo";

export type ElectionInput =
  /**
   * An authentic, fresh heartbeat. `path`: index of the path it came by. `boot`: any number that changes when the
   * peer's heart was started anew (sequences start again with each boot).
   */
  | {
      readonly kind: "heartbeat";
      readonly path: number;
      readonly boot: number;
      readonly message: HeartbeatMessage;
    }
  /** ARP reply / NA for a shared address *from the virtual MAC* on a port; `sentAt`: our last probe on that segment. */
  | { readonly kind: "answer"; readonly segment: number; readonly sentAt: Millis }
  /** Receipt of a `probe` of which not every frame left (no address of our own, a full queue): it asked nobody. */
  | { readonly kind: "probe-failed"; readonly segment: number }
  /** A probe of the peer's, marked as such, was seen on the segment: it is about to claim, too. */
  | { readonly kind: "contender"; readonly segment: number }
  /** A third party (gateway, configured witness, LAN neighbour; never the peer nor the virtual MAC) was heard. */
  | { readonly kind: "witness"; readonly segment: number }
  | { readonly kind: "carrier"; readonly segment: number; readonly up: boolean }
  /** Receipt of a `renew`; `at`: when it was performed. */
  | { readonly kind: "renewal"; readonly ok: boolean; readonly at: Millis }
  /** Receipt of an `open`; not ok where the kernel refused or where the driver came after `notAfter`. */
  | { readonly kind: "opened"; readonly ok: boolean; readonly at: Millis }
  | { readonly kind: "daemon"; readonly facts: DaemonFacts }
  /** The daemon's word on the pair's readiness, in ten-thousandths; null: nothing is known. For people: it decides nothing. */
  | { readonly kind: "readiness"; readonly readiness: number | null }
  | { readonly kind: "daemon-restarting" }
  | { readonly kind: "daemon-gone" }
  | { readonly kind: "command"; readonly command: "handover" | "leave"; readonly request: number }
  | { readonly kind: "term-stored"; readonly ok: true; readonly reserved: Term }
  | { readonly kind: "term-stored"; readonly ok: false; readonly words: string }
  /**
   * Heart goes on with another configuration. `origins`: for each segment of it its index in the one before, -1 where it is
   * new; `carriers`: of each. Nothing that names a segment by its old index may come behind it.
   */
  | {
      readonly kind: "configuration";
      readonly config: ElectionConfig;
      readonly origins: readonly number[];
      readonly carriers: readonly boolean[];
    }
  /** The gate's table was removed by somebody; the driver has taken the service interfaces down. */
  | { readonly kind: "gate-missing" }
  /** It is back, shut. */
  | { readonly kind: "gate-restored" }
  /** All inputs of this turn were fed. */
  | { readonly kind: "turn" };

export type RoleChangeCause =
  | "adopted"
  | "takeover"
  | "handover"
  /** The old active of a handover: gate in `drain`, the other one is asked to open. */
  | "draining"
  | "election"
  | "reopened"
  /** Goes on in a higher term: the other one had claimed a higher one before it yielded. */
  | "raised"
  | "lapsed"
  | "isolated"
  | "yielded"
  | "follows"
  | "left";

export type ElectionEffect =
  /** Renew what is held, nothing else. Answer: `renewal`, at once. */
  | { readonly kind: "renew"; readonly lease: LeaseKind }
  /** Open with a short lease, but not if the clock is past `notAfter` by now. Answer: `opened`, at once. */
  | { readonly kind: "open"; readonly notAfter: Millis }
  | { readonly kind: "drain" }
  | { readonly kind: "shut" }
  /** Seal and send on every path. */
  | { readonly kind: "heartbeat"; readonly message: HeartbeatMessage }
  /**
   * Ask for the shared addresses of the segment from the port's real MAC, marked as ours: unicast to the virtual MAC,
   * and broadcast as well where `broadcast`. Answer where it did not leave: `probe-failed`, at once.
   */
  | { readonly kind: "probe"; readonly segment: number; readonly broadcast: boolean }
  /** Ask the segment's gateway and witnesses (ARP / NS from the real MAC). */
  | { readonly kind: "ask-witness"; readonly segment: number }
  /** Gratuitous ARP and unsolicited NA for every shared address, through the service interfaces. Once: repeats are ours. */
  | { readonly kind: "announce" }
  | { readonly kind: "store-term"; readonly current: Term; readonly reserved: Term }
  | { readonly kind: "alarm"; readonly raised: true; readonly alarm: ElectionAlarm }
  | { readonly kind: "alarm"; readonly raised: false; readonly code: string }
  | {
      readonly kind: "answer-command";
      readonly request: number;
      readonly ok: boolean;
      readonly message: string;
    }
  | {
      readonly kind: "role-changed";
      readonly role: Role;
      readonly term: Term;
      readonly gate: GateState;
      readonly cause: RoleChangeCause;
      /** Silence of the peer at the decision; 0 where it was heard. */
      readonly silenceMs: number;
      /** From the decision to the open gate; 0 where nothing was opened. */
      readonly openMs: number;
    }
  /** The gate is shut and the peer was told: remove the gate and end. */
  | { readonly kind: "exit" };

/** An alarm as raised; the driver adds the time. */
export type ElectionAlarm = Omit<AlarmState, "since">;

/**
 * Rules switched off, for the simulator's mutations alone: each shows that the rule is needed (failover §8).
 * The real driver passes none.
 */
export interface UnsafeElection {
  readonly probeBeforeLeaseEnd?: boolean;
  readonly witnessOff?: boolean;
  readonly judgeBeforeDraining?: boolean;
  readonly blindRenewal?: boolean;
  readonly leaseLengthNotCarried?: boolean;
  readonly drainSkipped?: boolean;
  readonly soloAtOnce?: boolean;
}
