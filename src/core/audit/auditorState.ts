// What the active's side of the audit (auditor.ts) knows, hears and says: state, limits, inputs and effects. Data only: nothing
// here decides. Pure.

import {
  AUDIT_BURST,
  AUDIT_CPU_SHARE,
  AUDIT_DELAY_MS,
  AUDIT_ENTRIES_MAX,
  AUDIT_INTERVAL_MS,
  AUDIT_RETRY_MS,
  AUDIT_SETTLE_MS,
  AUDIT_SUSPECTS_MAX,
  CHANGED_KEYS_MAX,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { MessageOf } from "../../wire/peer.ts";
import { ChangedKeys } from "../replication/changedKeys.ts";
import { type DifferenceKind, Fold } from "./fold.ts";

export type AuditMessage = MessageOf<
  | "auditBegin"
  | "auditFolded"
  | "auditEnd"
  | "auditDigests"
  | "auditAsk"
  | "auditKeys"
  | "auditVoid"
  | "auditResult"
>;

/** `settling`: both tables are read. `closing`: they are digested. `repairing`: a round is under way on account of it. */
export type AuditorPhase = "off" | "waiting" | "reading" | "settling" | "closing" | "comparing" | "repairing";

/** Differences, by kind. */
export type Found = Readonly<Record<DifferenceKind, number>>;
export const NOTHING_FOUND: Found = { missing: 0, extra: 0, wrong: 0 };
export const countOf = (found: Found): number => found.missing + found.extra + found.wrong;

/** What a pass has come to. */
export interface AuditOutcome extends Found {
  /** Of its last look. */
  readonly look: number;
  readonly sessions: number;
  readonly repaired: number;
  readonly startedAt: Millis;
  readonly endedAt: Millis;
  /** On this node. */
  readonly cpuMs: number;
}

export interface AuditorState {
  phase: AuditorPhase;
  /** Number of the stretch of the log without an interruption; null: it is interrupted now. */
  stretch: number | null;
  /** In which the repair in hand was asked for: in the next one it is done. */
  stretchToRepair: number | null;
  /** A standby follows, and speaks a version that has this. */
  followed: boolean;
  followedSince: Millis;
  /** When the next step is due, where the phase takes steps. */
  dueAt: Millis;
  /** Of the pass in hand, or the one before. */
  startedAt: Millis;
  cpuMs: number;
  peerCpuMs: number;
  /** Number of the look in hand; never used again. */
  look: number;
  isSecond: boolean;
  readonly fold: Fold;
  /** Of what the log has spoken since the look began; filled while `listening`. */
  readonly changed: ChangedKeys;
  listening: boolean;
  isRead: boolean;
  isPeerRead: boolean;
  /** Buckets digested so far. */
  closed: number;
  digests: Uint8Array | null;
  /** Buckets that differ and were not asked for yet; those asked for; what was heard of them. */
  differing: number[];
  asked: readonly number[];
  answer: Uint8Array[];
  /** Sessions compared by the first look. */
  compared: number;
  /** Of the first look, and what the second one has seen again. */
  readonly suspects: Readonly<Record<DifferenceKind, ChangedKeys>>;
  readonly confirmed: ChangedKeys;
  found: Record<DifferenceKind, number>;
  /** What the last repair was for. If the same is found again it was in vain, and the next one is put off (A7). */
  readonly repairedKeys: ChangedKeys;
  /** Repairs in a row that were. */
  vain: number;
  repairAgainAt: number;
  /** Passes brought to an end, of this connection or an earlier one. */
  passes: number;
  last: AuditOutcome | null;
  /** `last` is of the connection and term in force. */
  isLastOfThis: boolean;
  /** Why the look before this one came to nothing; empty where it did not. */
  trouble: string;
  readonly totals: Record<DifferenceKind | "repaired" | "abandoned", number>;
  readonly options: AuditorOptions;
}

export interface AuditorOptions {
  /** Of the hash of keys: that of the log's rounds. */
  readonly seed: number;
  /** Random: what the salts of looks are made from. */
  readonly salt: number;
  readonly cpuShare: number;
  readonly burst: number;
  readonly intervalMs: number;
  readonly delayMs: number;
  readonly retryMs: number;
  readonly settleMs: number;
  readonly entriesMax: number;
  readonly changedMax: number;
}

export type AuditorInput =
  /** Whether somebody follows, and the number of the log's stretch in force; whenever either may have changed. */
  | { readonly kind: "log"; readonly followed: boolean; readonly stretch: number | null }
  /** Records of changes that are being sent. */
  | { readonly kind: "changes"; readonly bytes: Uint8Array }
  /** What became of a `step`: its sessions are in the fold. */
  | { readonly kind: "read"; readonly more: boolean }
  /** The table cannot be read. */
  | { readonly kind: "failed"; readonly reason: string }
  /** What became of a `drain`: every event of before was sent (true), or there are too many (false). */
  | { readonly kind: "drained"; readonly all: boolean }
  | { readonly kind: "message"; readonly message: AuditMessage }
  | { readonly kind: "turn" };

export type AuditorEffect =
  | { readonly kind: "send"; readonly message: AuditMessage }
  /** Begin to read the table into `fold`; an earlier reading is over. */
  | { readonly kind: "open"; readonly seed: number; readonly salt: number }
  /** Read one datagram of it, and say `read` or `failed`. */
  | { readonly kind: "step" }
  | { readonly kind: "close" }
  /** Read what the kernel has told until nothing is left, and say `drained`. */
  | { readonly kind: "drain" }
  /** The standby's copy of these buckets is wrong. */
  | { readonly kind: "dirty"; readonly buckets: Uint8Array }
  /** A pass is over, or its repair is (`repaired`, of the same look). */
  | { readonly kind: "done"; readonly outcome: AuditOutcome }
  | { readonly kind: "abandoned"; readonly reason: string };

export function createAuditor(
  options: Partial<AuditorOptions> & Pick<AuditorOptions, "seed" | "salt">,
): AuditorState {
  const { seed } = options;
  const suspects = (): ChangedKeys => new ChangedKeys(AUDIT_SUSPECTS_MAX, seed);
  return {
    phase: "off",
    stretch: null,
    stretchToRepair: null,
    followed: false,
    followedSince: millis(0),
    dueAt: millis(0),
    startedAt: millis(0),
    cpuMs: 0,
    peerCpuMs: 0,
    look: 0,
    isSecond: false,
    fold: new Fold(options.entriesMax),
    changed: new ChangedKeys(options.changedMax ?? CHANGED_KEYS_MAX, seed),
    listening: false,
    isRead: false,
    isPeerRead: false,
    closed: 0,
    digests: null,
    differing: [],
    asked: [],
    answer: [],
    compared: 0,
    suspects: { missing: suspects(), extra: suspects(), wrong: suspects() },
    confirmed: suspects(),
    found: { ...NOTHING_FOUND },
    repairedKeys: suspects(),
    vain: 0,
    repairAgainAt: 0,
    passes: 0,
    last: null,
    isLastOfThis: false,
    trouble: "",
    totals: { missing: 0, extra: 0, wrong: 0, repaired: 0, abandoned: 0 },
    options: {
      cpuShare: AUDIT_CPU_SHARE,
      burst: AUDIT_BURST,
      intervalMs: AUDIT_INTERVAL_MS,
      delayMs: AUDIT_DELAY_MS,
      retryMs: AUDIT_RETRY_MS,
      settleMs: AUDIT_SETTLE_MS,
      entriesMax: AUDIT_ENTRIES_MAX,
      changedMax: CHANGED_KEYS_MAX,
      ...options,
    },
  };
}
