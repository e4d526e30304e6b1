// The driver of the audit (core/audit): one object for both sides, of which the node's role needs one at a time. Reads the
// kernel's table a datagram a turn of the event loop, measures what that takes of the processor by the thread's own
// clock, sends, and keeps what the passes came to for whoever asks. It judges nothing.

import { AUDIT_PASSES_KEPT } from "../base/limits.ts";
import { type Millis, millis, type Role } from "../base/units.ts";
import * as audited from "../core/audit/audited.ts";
import * as auditor from "../core/audit/auditor.ts";
import {
  type AuditMessage,
  type AuditOutcome,
  type AuditorEffect,
  type AuditorInput,
  type AuditorOptions,
  createAuditor,
} from "../core/audit/auditorState.ts";
import { isSynchronised as isSent } from "../core/replication/sender.ts";
import type { SenderState } from "../core/replication/senderState.ts";
import type { SessionFold, SessionFoldOptions } from "../kernel/sessionFold.ts";
import type { AuditPass, AuditState } from "../wire/controlAudit.ts";
import type { MessageOf, PeerMessage } from "../wire/peer.ts";

export interface AuditOptions {
  /** Begins to read this node's table; `active`: as the one who sends. Throws KernelError. */
  readonly openFold: (options: Omit<SessionFoldOptions, "policy">, active: boolean) => SessionFold;
  readonly sender: SenderState;
  /** Sends every event that the kernel has told. False: there are too many. */
  readonly drain: () => boolean;
  /** The standby's copy of these buckets is wrong. */
  readonly dirty: (buckets: Uint8Array) => void;
  readonly send: (message: PeerMessage) => void;
  /** What `state` says has changed. */
  readonly onChange: () => void;
  readonly log: (line: string) => void;
  /** Of the hashes, as the sender's; and random. */
  readonly seed: number;
  readonly salt: number;
  readonly tuning?: Partial<AuditorOptions>;
}

const now = (): Millis => millis(performance.now());
/** Of this thread, in milliseconds. */
const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

/** The messages that the active gets. */
export type AuditAnswer = MessageOf<"auditFolded" | "auditDigests" | "auditKeys" | "auditVoid">;

export class Audit {
  readonly #options: AuditOptions;
  readonly #active: ReturnType<typeof createAuditor>;
  readonly #standby: audited.AuditedState;
  #role: "active" | "standby" | null = null;
  #reading: SessionFold | null = null;
  #timer: NodeJS.Timeout | null = null;
  #timerAt: Millis | null = null;
  /** The newest first. */
  #passes: AuditPass[] = [];
  /** As the active told them. */
  readonly #heard = { passes: 0, missing: 0, extra: 0, wrong: 0, repaired: 0, abandoned: 0 };
  /** Of the last pass, by this node's clock; null: none of the connection and term in force. */
  #ended: { readonly at: Millis; readonly startedAt: Millis; readonly look: number } | null = null;
  /** Its role and term, by its last word. */
  #peer = "";
  #closed = false;

  constructor(options: AuditOptions) {
    this.#options = options;
    const { seed, salt, tuning } = options;
    this.#active = createAuditor({ ...tuning, seed, salt });
    this.#standby = audited.createAudited(tuning);
  }

  /** This node's role, and whether the peer is there and speaks a version that has this. To be called at every change. */
  setRole(role: "active" | "standby" | null): void {
    if (role === this.#role || this.#closed) return;
    this.#role = role;
    this.#ended = null;
    this.#look(this.#log());
    this.#stepStandby({ kind: "over" });
    this.#plan();
  }

  /** The peer says that it has another role or term: what was proven was proven of another table. */
  peerChanged(role: Role, term: number): void {
    const peer = `${role} ${term}`;
    if (peer === this.#peer) return;
    this.#peer = peer;
    if (this.#role !== "standby") return;
    this.#ended = null;
    this.#stepStandby({ kind: "over" });
    this.#plan();
  }

  /** The sender may have changed: who follows, and whether it is whole. Cheap where nothing has. */
  follow(): void {
    if (this.#role !== "active" || this.#closed) return;
    const input = this.#log();
    if (input.followed === this.#active.followed && input.stretch === this.#active.stretch) return;
    if (input.followed !== this.#active.followed) this.#ended = null;
    this.#look(input);
    this.#plan();
  }

  /** Records of changes, as they are sent. */
  sent(bytes: Uint8Array): void {
    if (this.#active.listening) this.#look({ kind: "changes", bytes });
  }

  /** Records of changes, before they are applied. */
  received(bytes: Uint8Array): void {
    if (this.#standby.listening) this.#stepStandby({ kind: "changes", bytes });
  }

  /** A message of the standby's. */
  answered(message: AuditAnswer): void {
    this.#timed(() => this.#look({ kind: "message", message }));
  }

  /** A message of the active's, in the log's order. */
  asked(message: AuditMessage, synchronised: boolean): void {
    this.#timed(() => this.#stepStandby({ kind: "message", message, synchronised }));
  }

  state(): AuditState {
    const moment = now();
    const active = this.#role === "active";
    const { totals, passes } = this.#active;
    const last = this.#passes[0] ?? null;
    const found = last === null ? 0 : last.missing + last.extra + last.wrong - last.repaired;
    return {
      phase: this.#phase(),
      text: active ? auditor.describe(this.#active) : this.#standby.phase,
      passAgeMs: this.#ended === null ? null : moment - this.#ended.at,
      provenAgeMs: this.#ended === null ? null : moment - this.#ended.startedAt,
      pass: last,
      passes: this.#passes,
      totals: sum({ ...totals, passes }, this.#heard),
      standing: this.#ended === null ? 0 : found,
      late: active ? auditor.lateness(this.#active, moment) : null,
    };
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#closeReading();
  }

  #phase(): AuditState["phase"] {
    if (this.#role === "standby") return this.#standby.phase === "idle" ? "waiting" : "looking";
    const { phase } = this.#active;
    if (phase === "off" || phase === "waiting" || phase === "repairing") return phase;
    return "looking";
  }

  #log(): Extract<AuditorInput, { kind: "log" }> {
    const { sender } = this.#options;
    const followed = this.#role === "active" && sender.subscription !== null && sender.knowsRounds;
    return { kind: "log", followed, stretch: followed && isSent(sender) ? sender.roundsBegun : null };
  }

  /** Performs `work`, whose cost is the audit's, and plans what comes next. */
  #timed(work: () => void): void {
    if (this.#closed) return;
    const before = cpuMs();
    work();
    const spent = cpuMs() - before;
    if (this.#role === "active") auditor.spend(this.#active, now(), spent);
    else audited.spend(this.#standby, now(), spent);
    this.#plan();
  }

  #look(input: AuditorInput): void {
    const effects: AuditorEffect[] = [];
    auditor.step(this.#active, now(), input, effects);
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: AuditorEffect): void {
    switch (effect.kind) {
      case "send":
        this.#options.send(effect.message);
        return;
      case "open":
        this.#open(effect, true);
        return;
      case "step":
        this.#read(this.#active.fold, (input) => this.#look(input));
        return;
      case "close":
        this.#closeReading();
        return;
      case "drain":
        this.#look({ kind: "drained", all: this.#options.drain() });
        return;
      case "dirty":
        this.#options.dirty(effect.buckets);
        return;
      case "done":
        this.#done(effect.outcome);
        return;
      case "abandoned":
        this.#options.log(`audit: begun again later: ${effect.reason}`);
    }
  }

  #stepStandby(input: audited.AuditedInput): void {
    const effects: audited.AuditedEffect[] = [];
    audited.step(this.#standby, now(), input, effects);
    for (const effect of effects)
      switch (effect.kind) {
        case "send":
          this.#options.send(effect.message);
          break;
        case "open":
          this.#open(effect, false);
          break;
        case "step":
          this.#read(this.#standby.fold, (input) => this.#stepStandby(input));
          break;
        case "close":
          this.#closeReading();
          break;
        case "told":
          this.#told(effect.result);
      }
  }

  #open({ seed, salt }: { readonly seed: number; readonly salt: number }, active: boolean): void {
    this.#closeReading();
    try {
      this.#reading = this.#options.openFold({ seed, salt }, active);
    } catch (error) {
      const failed = { kind: "failed", reason: (error as Error).message } as const;
      if (active) this.#look(failed);
      else this.#stepStandby(failed);
    }
  }

  /** One datagram of this node's table. */
  #read(
    fold: { add(high: number, low: number, content: number): void },
    report: (input: { kind: "read"; more: boolean } | { kind: "failed"; reason: string }) => void,
  ): void {
    let more = false;
    try {
      more = this.#reading?.next((high, low, content) => fold.add(high, low, content)) ?? false;
    } catch (error) {
      report({ kind: "failed", reason: (error as Error).message });
      return;
    }
    report({ kind: "read", more });
  }

  #closeReading(): void {
    this.#reading?.close();
    this.#reading = null;
  }

  /** On the active: a pass is over, or its repair. */
  #done(outcome: AuditOutcome): void {
    const { look, sessions, missing, extra, wrong, repaired, startedAt, endedAt } = outcome;
    const seconds = (endedAt - startedAt) / 1000;
    this.#keep(look, { sessions, missing, extra, wrong, repaired, seconds, cpuMs: outcome.cpuMs }, startedAt);
  }

  /** On the standby: as the active says. */
  #told(result: MessageOf<"auditResult">): void {
    const { look, sessions, missing, extra, wrong, repaired, milliseconds, ageMs } = result;
    const isNew = this.#ended?.look !== look;
    if (isNew) {
      this.#heard.passes += 1;
      for (const kind of ["missing", "extra", "wrong"] as const) this.#heard[kind] += result[kind];
    }
    this.#heard.repaired += repaired;
    const own = this.#standby.cpuMs;
    const pass = { sessions, missing, extra, wrong, repaired, seconds: milliseconds / 1000, cpuMs: own };
    this.#keep(look, pass, millis(now() - ageMs));
  }

  #keep(look: number, pass: Omit<AuditPass, "at">, startedAt: Millis): void {
    const isNew = this.#ended?.look !== look;
    this.#ended = { at: now(), startedAt, look };
    const kept: AuditPass = { at: new Date().toISOString(), ...pass };
    this.#passes = [kept, ...this.#passes.slice(isNew ? 0 : 1)].slice(0, AUDIT_PASSES_KEPT);
    const found = pass.missing + pass.extra + pass.wrong;
    if (found > 0) {
      const what = `${pass.missing} missing, ${pass.extra} extra, ${pass.wrong} wrong`;
      const of = `of ${pass.sessions} sessions, the standby's table had ${what}`;
      this.#options.log(
        isNew ? `audit: ${of}` : `audit: ${pass.repaired} of ${found} differences are repaired`,
      );
    }
    this.#options.onChange();
  }

  #plan(): void {
    const at = this.#closed
      ? null
      : this.#role === "active"
        ? auditor.deadline(this.#active)
        : audited.deadline(this.#standby);
    if (at === this.#timerAt && this.#timer !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = at;
    if (at === null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#timed(() => {
          if (this.#role === "active") this.#look({ kind: "turn" });
          else this.#stepStandby({ kind: "turn" });
        });
      },
      Math.max(1, Math.ceil(at - now())),
    );
  }
}

type Totals = AuditState["totals"];
const sum = (one: Totals, other: Totals): Totals => ({
  passes: one.passes + other.passes,
  missing: one.missing + other.missing,
  extra: one.extra + other.extra,
  wrong: one.wrong + other.wrong,
  repaired: one.repaired + other.repaired,
  abandoned: one.abandoned + other.abandoned,
});
