// The standby's side of the audit (docs/protocol.md §5.8): reads its own kernel's table when the active says so, leaves out what
// the log speaks of meanwhile, and answers with digests, then with the keys of the buckets that it is asked for. A
// machine: `step(state, now, input, effects)`; the driver reads the table, sends, and feeds the active's messages in the
// log's order, behind what came before them. It changes nothing. Pure.
//
// Invariants (A1-A3 of auditor.ts hold here as well)
// Y1  Only a standby that is synchronised reads, and still is so when the active's `auditEnd` comes; else it says so.
// Y2  One look at a time: another `auditBegin` ends the one in hand, and so do the loss of the connection and of the role.
// Y3  While it looks it takes `burst` times its share of a processor at most; what a look took is told to the active, which
//     rests accordingly (A6).

import { assert, unreachable } from "../../base/assert.ts";
import {
  AUDIT_BURST,
  AUDIT_CLOSE_ENTRIES,
  AUDIT_CPU_SHARE,
  AUDIT_ENTRIES_MAX,
  AUDIT_STEP_MS,
  CHANGED_KEYS_MAX,
  LOG_BUCKETS,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { MessageOf } from "../../wire/peer.ts";
import { ChangedKeys, visitKeys } from "../replication/changedKeys.ts";
import type { AuditMessage } from "./auditorState.ts";
import { bucketsIn, Fold, keysOf } from "./fold.ts";

/** `read`: the active's word that it has read its own is awaited. `offered`: digests were sent. */
export type AuditedPhase = "idle" | "reading" | "read" | "closing" | "offered";

export interface AuditedState {
  phase: AuditedPhase;
  look: number;
  readonly fold: Fold;
  /** By the active's seed; null: no look was begun yet. */
  changed: ChangedKeys | null;
  listening: boolean;
  closed: number;
  dueAt: Millis;
  cpuMs: number;
  /** Looks begun, brought to digests, and given up. */
  readonly counters: { begun: number; offered: number; given: number };
  readonly options: AuditedOptions;
}

export interface AuditedOptions {
  readonly cpuShare: number;
  readonly burst: number;
  readonly changedMax: number;
}

export type AuditedInput =
  /** In the log's order. `synchronised`: by the receiver's state at this moment. */
  | { readonly kind: "message"; readonly message: AuditMessage; readonly synchronised: boolean }
  /** Records of changes, before they are applied. */
  | { readonly kind: "changes"; readonly bytes: Uint8Array }
  | { readonly kind: "read"; readonly more: boolean }
  | { readonly kind: "failed"; readonly reason: string }
  /** The connection or the role is lost. */
  | { readonly kind: "over" }
  | { readonly kind: "turn" };

export type AuditedEffect =
  | { readonly kind: "send"; readonly message: AuditMessage }
  | { readonly kind: "open"; readonly seed: number; readonly salt: number }
  | { readonly kind: "step" }
  | { readonly kind: "close" }
  | { readonly kind: "told"; readonly result: MessageOf<"auditResult"> };

export function createAudited(
  options: Partial<AuditedOptions & { readonly entriesMax: number }> = {},
): AuditedState {
  return {
    phase: "idle",
    look: 0,
    fold: new Fold(options.entriesMax ?? AUDIT_ENTRIES_MAX),
    changed: null,
    listening: false,
    closed: 0,
    dueAt: millis(0),
    cpuMs: 0,
    counters: { begun: 0, offered: 0, given: 0 },
    options: {
      cpuShare: options.cpuShare ?? AUDIT_CPU_SHARE,
      burst: options.burst ?? AUDIT_BURST,
      changedMax: options.changedMax ?? CHANGED_KEYS_MAX,
    },
  };
}

/** When `turn` is due; null: nothing is, until something is heard. */
export const deadline = (state: AuditedState): Millis | null =>
  state.phase === "reading" || state.phase === "closing" ? state.dueAt : null;

/** A step of this look has taken so much of a processor: the next one waits accordingly (Y3). */
export function spend(state: AuditedState, now: Millis, cpuMs: number): void {
  state.cpuMs += cpuMs;
  const { cpuShare, burst } = state.options;
  const rest = Math.max(AUDIT_STEP_MS, cpuMs * (1 / (cpuShare * burst) - 1));
  state.dueAt = millis(Math.max(state.dueAt, now + rest));
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: AuditedState, now: Millis, input: AuditedInput, effects: AuditedEffect[]): void {
  switch (input.kind) {
    case "message":
      onMessage(state, now, input.message, input.synchronised, effects);
      return;
    case "changes":
      onChanges(state, input.bytes, effects);
      return;
    case "read":
      onRead(state, input.more, effects);
      return;
    case "failed":
      if (state.phase === "reading") giveUp(state, input.reason, effects);
      return;
    case "over":
      if (state.phase !== "idle") giveUp(state, "this node follows no more", effects);
      return;
    case "turn":
      onTurn(state, now, effects);
      return;
    default:
      unreachable(input);
  }
}

function onMessage(
  state: AuditedState,
  now: Millis,
  message: AuditMessage,
  synchronised: boolean,
  effects: AuditedEffect[],
): void {
  switch (message.kind) {
    case "auditBegin":
      onBegin(state, now, message, synchronised, effects);
      return;
    case "auditEnd":
      if (message.look === state.look && state.phase !== "idle") onEnd(state, now, synchronised, effects);
      return;
    case "auditAsk":
      if (message.look !== state.look || state.phase !== "offered") return;
      answer(state, message.buckets, effects);
      return;
    case "auditVoid":
      if (message.look === state.look && state.phase !== "idle") letGo(state, effects);
      return;
    case "auditResult":
      if (message.look === state.look && state.phase !== "idle") letGo(state, effects);
      effects.push({ kind: "told", result: message });
  }
}

function onBegin(
  state: AuditedState,
  now: Millis,
  { look, seed, salt, buckets }: MessageOf<"auditBegin">,
  synchronised: boolean,
  effects: AuditedEffect[],
): void {
  if (state.phase !== "idle") letGo(state, effects);
  state.look = look;
  state.counters.begun += 1;
  if (!synchronised) {
    giveUp(state, "the standby is not synchronised", effects);
    return;
  }
  if (state.changed?.seed !== seed) state.changed = new ChangedKeys(state.options.changedMax, seed);
  state.changed.clear();
  state.listening = true;
  state.fold.begin(buckets);
  state.closed = 0;
  state.cpuMs = 0;
  state.phase = "reading";
  state.dueAt = now;
  effects.push({ kind: "open", seed, salt });
}

function onChanges(state: AuditedState, bytes: Uint8Array, effects: AuditedEffect[]): void {
  const { changed } = state;
  if (!state.listening || changed === null) return;
  let remembered = true;
  visitKeys(bytes, changed.seed, (high, low) => {
    if (!changed.add(high, low)) remembered = false;
  });
  if (!remembered) giveUp(state, "more sessions changed meanwhile than the standby can remember", effects);
}

function onTurn(state: AuditedState, now: Millis, effects: AuditedEffect[]): void {
  const at = deadline(state);
  if (at === null || now < at) return;
  if (state.phase === "reading") effects.push({ kind: "step" });
  else closeSome(state, effects);
}

function onRead(state: AuditedState, more: boolean, effects: AuditedEffect[]): void {
  if (state.phase !== "reading" || more) return;
  effects.push({ kind: "close" });
  if (state.fold.overflowed) {
    giveUp(state, "the standby's table has more sessions than are compared", effects);
    return;
  }
  state.phase = "read";
  const message = { kind: "auditFolded", look: state.look, sessions: state.fold.size } as const;
  effects.push({ kind: "send", message });
}

function onEnd(state: AuditedState, now: Millis, synchronised: boolean, effects: AuditedEffect[]): void {
  if (state.phase !== "read" || !synchronised) {
    const reason = synchronised ? "the standby has not read its table" : "the standby is not synchronised";
    giveUp(state, reason, effects);
    return;
  }
  state.listening = false;
  state.phase = "closing";
  state.dueAt = now;
}

function closeSome(state: AuditedState, effects: AuditedEffect[]): void {
  const { changed } = state;
  assert(changed !== null, "what is closed was begun");
  let entries = 0;
  while (state.closed < LOG_BUCKETS && entries < AUDIT_CLOSE_ENTRIES) {
    state.fold.close(state.closed, changed);
    entries += state.fold.countOf(state.closed);
    state.closed += 1;
  }
  if (state.closed < LOG_BUCKETS) return;
  state.phase = "offered";
  state.counters.offered += 1;
  const { look, fold } = state;
  const cpuMicros = Math.round(state.cpuMs * 1000);
  effects.push({ kind: "send", message: { kind: "auditDigests", look, cpuMicros, digests: fold.digests } });
}

function answer(state: AuditedState, buckets: Uint8Array, effects: AuditedEffect[]): void {
  const parts = keysOf(state.fold, bucketsIn(buckets));
  parts.forEach((keys, index) => {
    const more = index < parts.length - 1;
    effects.push({ kind: "send", message: { kind: "auditKeys", look: state.look, more, keys } });
  });
}

/** The active is told why there is no answer. */
function giveUp(state: AuditedState, reason: string, effects: AuditedEffect[]): void {
  state.counters.given += 1;
  effects.push({ kind: "send", message: { kind: "auditVoid", look: state.look, reason } });
  letGo(state, effects);
}

function letGo(state: AuditedState, effects: AuditedEffect[]): void {
  state.phase = "idle";
  state.listening = false;
  effects.push({ kind: "close" });
}
