// Readiness and drills as the control socket carries them: what core/readiness.ts judges and core/drill.ts reports. Types only.
// Pure.

import type { NodeId } from "../base/units.ts";

/** What is looked at. Each is measured; docs/operations.md says from what, and how old it may be. */
export type ReadinessPartName =
  | "other node"
  | "log"
  | "position"
  | "events"
  | "configuration"
  | "sessions"
  | "audit"
  | "this node"
  | "other's word"
  | "table"
  | "drill";

export interface ReadinessPart {
  readonly part: ReadinessPartName;
  /** `bad`: it is not so. `unknown`: nothing young enough says so. `warn`: it takes nothing from a takeover now. */
  readonly state: "good" | "warn" | "bad" | "unknown";
  readonly words: string;
  /** What to do; empty where nothing is. */
  readonly advice: string;
  /** How old the measurement is, and may be; null where it is of this moment, or never was. */
  readonly ageMs: number | null;
  readonly boundMs: number | null;
}

export interface ReadinessView {
  /** Seen from. */
  readonly node: NodeId;
  /** Who would take over now; null: nobody is active, or nobody else is there. */
  readonly successor: NodeId | null;
  readonly verdict: "ready" | "not-ready" | "unknown";
  /** Since when the verdict has been this one: ISO 8601. */
  readonly since: string;
  /** Wall clock of this judgement: ISO 8601. */
  readonly at: string;
  /** The share of the active's sessions that is proven to be in the standby's kernel: 0 to 1, rounded down to 1 / 10,000. */
  readonly proven: number;
  /** Sessions of the active, and those of them that are proven to be on the standby; null where nothing is. */
  readonly total: number | null;
  readonly held: number | null;
  /** Of the log, as the active knows it: records that the standby has not confirmed, and for how long at most. */
  readonly behind: { readonly records: number; readonly ms: number | null } | null;
  /** Since the audit last began to read both tables; null: it has not compared them. */
  readonly provenAgeMs: number | null;
  readonly parts: readonly ReadinessPart[];
  readonly lastDrill: DrillReport | null;
}

/** Sessions in both kernels at one moment, as each node counts its table; null: it was not heard. */
export interface DrillCount {
  readonly a: number | null;
  readonly b: number | null;
}

/** One change of the active in a drill. */
export interface DrillSwitch {
  readonly to: NodeId;
  /** From the order to the new active being known, ms. */
  readonly ms: number;
  /** From this node's gate to the other one's first answer, or the other way round; null: not measured. */
  readonly gapMs: number | null;
}

export interface DrillReport {
  /** `skipped`: by the schedule, with the pair not ready. `refused` is only ever answered, not kept. */
  readonly result: "passed" | "failed" | "skipped" | "refused";
  /** One sentence. */
  readonly words: string;
  /** The node that was active, and ran it. */
  readonly node: NodeId;
  /** ISO 8601. */
  readonly at: string;
  readonly seconds: number;
  readonly scheduled: boolean;
  readonly forced: boolean;
  readonly sessions: {
    readonly before: DrillCount | null;
    readonly away: DrillCount | null;
    readonly after: DrillCount | null;
  };
  readonly switches: readonly DrillSwitch[];
  /** ARP questions for the shared address on the LAN, from this node's own port, while the other one served; null: none was sent. */
  readonly probes: { readonly sent: number; readonly lost: number } | null;
}
