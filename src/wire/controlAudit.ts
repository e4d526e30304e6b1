// What the audit says of itself (core/audit, docs/protocol.md §5.8): the last comparison of the two kernels' tables and its
// history, as the control socket carries it. Types only; how a figure comes about is said beside it. Pure.

/** One pass: both kernels' tables, compared. */
export interface AuditPass {
  /** When it was over, by this node's clock: ISO 8601. */
  readonly at: string;
  /** Sessions of the active that were compared, less those that changed meanwhile. */
  readonly sessions: number;
  /** In the active's table and not in the standby's. */
  readonly missing: number;
  /** In the standby's table and not in the active's. */
  readonly extra: number;
  /** In both, with another translation, mark or state. */
  readonly wrong: number;
  /** Of those the ones that a round has put right since (0 where it was cut off, or is put off as in vain). */
  readonly repaired: number;
  /** From its begin to the end of its repair. */
  readonly seconds: number;
  /** What it took of a processor on this node, in milliseconds. */
  readonly cpuMs: number;
}

export interface AuditState {
  /** `off`: nobody to compare with, by this connection. `looking`: a pass is under way. */
  readonly phase: "off" | "waiting" | "looking" | "repairing";
  /** One line for people. */
  readonly text: string;
  /** Since the last whole pass was over, of the table in force (this term and connection); null: none was yet. */
  readonly passAgeMs: number | null;
  /** How old the table was when that pass was over: since it began. What was proven then was true at some moment since. */
  readonly provenAgeMs: number | null;
  readonly pass: AuditPass | null;
  /** The newest first. */
  readonly passes: readonly AuditPass[];
  /** Since the daemon started. `abandoned`: begun and not brought to an end, because the log was interrupted. */
  readonly totals: {
    readonly passes: number;
    readonly missing: number;
    readonly extra: number;
    readonly wrong: number;
    readonly repaired: number;
    readonly abandoned: number;
  };
  /** Differences of the last pass that are still there: found, and not repaired. */
  readonly standing: number;
  /** Why no pass has been brought to its end for too long, in words; null where that is not so. */
  readonly late: string | null;
}
