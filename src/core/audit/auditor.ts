// The active's side of the audit (docs/protocol.md §5.8): has both kernels' tables read, compares their digests and then the
// keys of what differs, and has what is wrong on the standby put right by a round of the log. A machine: `step(state, now,
// input, effects)`; the driver reads the table, sends, and performs effects in order. It may not read a clock, wait, look
// into a session, or change anything on the active. Pure.
//
// Invariants
// A1  A look lies between two marks in the log, `auditBegin` and `auditEnd`. The sessions of which a change between them speaks
//     are left out, by both nodes; both know them from the log itself, so both leave out the same.
// A2  The standby reads its table after it has applied everything before `auditBegin`. The active sends `auditEnd` after both
//     tables were read, and everything was sent that its kernel had told by AUDIT_SETTLE_MS after that. So a session that is
//     left was, on the active, the same from before both readings until after them, and the standby had been told of it.
// A3  A look counts only if the log was whole from mark to mark (one stretch): no loss, no round, no other subscription.
// A4  A difference counts only if a second look, at the buckets of the first one's differences, finds the same again.
// A5  Only the standby is ever put right: a round reads the active's table anew (rounds.ts, D1-D5). Nothing that the audit
//     remembers is written into any kernel.
// A6  While it looks it takes `burst` times its share of a processor at most; then it rests until it took its share, by the
//     node that needed more.
// A7  What is found again after it was repaired is told each time, and repaired ever more seldom: what a kernel cannot hold
//     (a helper that it has not) must not keep the standby from being ready, pass after pass.

import { assert, unreachable } from "../../base/assert.ts";
import {
  AUDIT_ANSWER_MS_MAX,
  AUDIT_ASK_ENTRIES,
  AUDIT_CLOSE_ENTRIES,
  AUDIT_DIGEST_BYTES,
  AUDIT_ENTRIES_MAX,
  AUDIT_KEY_BYTES,
  AUDIT_KEYS_PER_MESSAGE,
  AUDIT_LATE_MS,
  AUDIT_STEP_MS,
  LOG_BUCKETS,
} from "../../base/limits.ts";
import { type Millis, millis } from "../../base/units.ts";
import { Buckets, bucketOf, hasBucket } from "../replication/buckets.ts";
import { visitKeys } from "../replication/changedKeys.ts";
import {
  type AuditMessage,
  type AuditOutcome,
  type AuditorEffect,
  type AuditorInput,
  type AuditorState,
  countOf,
  NOTHING_FOUND,
} from "./auditorState.ts";
import { type DifferenceKind, forEachKey } from "./fold.ts";

const KINDS: readonly DifferenceKind[] = ["missing", "extra", "wrong"];
/** Passes between two repairs of the same, at most. */
const PUT_OFF_MAX = 64;
/** Messages in answer to one question. */
const ANSWER_PARTS_MAX = AUDIT_ENTRIES_MAX / AUDIT_KEYS_PER_MESSAGE;

/** When `turn` is due; null: nothing is, until something is heard. */
export function deadline(state: AuditorState): Millis | null {
  switch (state.phase) {
    case "off":
    case "repairing":
      return null;
    case "waiting":
      return state.stretch === null ? null : state.dueAt;
    case "reading":
    case "comparing":
    case "closing":
      return isAwaiting(state) ? millis(state.startedAt + AUDIT_ANSWER_MS_MAX) : state.dueAt;
    case "settling":
      return state.dueAt;
  }
}

/** This node has done its part, and the standby's is not there yet. */
function isAwaiting(state: AuditorState): boolean {
  if (state.phase === "reading") return state.isRead;
  if (state.phase === "comparing") return state.asked.length > 0;
  return state.closed === LOG_BUCKETS;
}

/** A step of this look has taken so much of a processor: the next one waits accordingly (A6). */
export function spend(state: AuditorState, now: Millis, cpuMs: number): void {
  state.cpuMs += cpuMs;
  const { cpuShare, burst } = state.options;
  const rest = Math.max(AUDIT_STEP_MS, cpuMs * (1 / (cpuShare * burst) - 1));
  if (isLooking(state)) state.dueAt = millis(Math.max(state.dueAt, now + rest));
}

/** A pass is under way, its repair not included. */
export const isLooking = (state: AuditorState): boolean =>
  state.phase !== "off" && state.phase !== "waiting" && state.phase !== "repairing";

/** Why no pass has come to an end for too long, in words; null where none is overdue. */
export function lateness(state: AuditorState, now: Millis): string | null {
  if (!state.followed) return null;
  const { last } = state;
  const since = last !== null && state.isLastOfThis ? last.endedAt : state.followedSince;
  const expected = 3 * (Math.max(state.cpuMs, state.peerCpuMs) / state.options.cpuShare);
  const age = now - since;
  if (age <= Math.max(AUDIT_LATE_MS, expected)) return null;
  const why = state.trouble !== "" ? state.trouble : describe(state);
  return `no comparison of the two tables for ${Math.round(age / 1000)} s: ${why}`;
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: AuditorState, now: Millis, input: AuditorInput, effects: AuditorEffect[]): void {
  switch (input.kind) {
    case "log":
      onLog(state, now, input.followed, input.stretch, effects);
      return;
    case "changes":
      onChanges(state, now, input.bytes, effects);
      return;
    case "read":
      onRead(state, now, input.more, effects);
      return;
    case "failed":
      if (isLooking(state)) abandon(state, now, input.reason, effects);
      return;
    case "drained":
      onDrained(state, now, input.all, effects);
      return;
    case "message":
      onMessage(state, now, input.message, effects);
      return;
    case "turn":
      onTurn(state, now, effects);
      return;
    default:
      unreachable(input);
  }
}

function onLog(
  state: AuditorState,
  now: Millis,
  followed: boolean,
  stretch: number | null,
  effects: AuditorEffect[],
): void {
  const wasWhole = state.stretch !== null && state.stretch === stretch;
  state.stretch = stretch;
  if (followed !== state.followed) {
    state.followed = followed;
    state.followedSince = now;
    state.isLastOfThis = false;
    if (isLooking(state)) abandon(state, now, "the standby is not there any more", effects);
    state.phase = followed ? "waiting" : "off";
    if (followed) state.dueAt = millis(now + state.options.delayMs);
    return;
  }
  if (state.listening && !wasWhole) abandon(state, now, "the log was interrupted", effects);
  else if (state.phase === "repairing" && stretch !== null && stretch !== state.stretchToRepair)
    onRepaired(state, now, effects);
}

function onChanges(state: AuditorState, now: Millis, bytes: Uint8Array, effects: AuditorEffect[]): void {
  if (!state.listening) return;
  let remembered = true;
  visitKeys(bytes, state.options.seed, (high, low) => {
    if (!state.changed.add(high, low)) remembered = false;
  });
  if (!remembered) abandon(state, now, "more sessions changed meanwhile than can be remembered", effects);
}

function onTurn(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const at = deadline(state);
  if (at === null || now < at) return;
  if (isLooking(state) && state.phase !== "settling" && isAwaiting(state)) {
    abandon(state, now, "the standby does not answer", effects);
    return;
  }
  switch (state.phase) {
    case "waiting":
      beginPass(state, now, effects);
      return;
    case "reading":
      effects.push({ kind: "step" });
      return;
    case "settling":
      effects.push({ kind: "drain" });
      return;
    case "closing":
      closeSome(state, now, effects);
      return;
    case "comparing":
      ask(state, now, effects);
  }
}

function beginPass(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  state.startedAt = now;
  state.cpuMs = 0;
  state.peerCpuMs = 0;
  state.found = { ...NOTHING_FOUND };
  state.confirmed.clear();
  for (const kind of KINDS) state.suspects[kind].clear();
  const all = new Buckets();
  all.fill();
  beginLook(state, now, false, all.bits, effects);
}

function beginLook(
  state: AuditorState,
  now: Millis,
  isSecond: boolean,
  buckets: Uint8Array,
  effects: AuditorEffect[],
): void {
  state.look += 1;
  state.isSecond = isSecond;
  state.fold.begin(buckets);
  state.changed.clear();
  state.listening = true;
  state.isRead = false;
  state.isPeerRead = false;
  state.closed = 0;
  state.digests = null;
  state.differing = [];
  state.asked = [];
  state.answer = [];
  state.phase = "reading";
  state.dueAt = now;
  const { seed } = state.options;
  const salt = (state.options.salt + Math.imul(state.look, 0x9e3779b1)) >>> 0;
  effects.push({ kind: "send", message: { kind: "auditBegin", look: state.look, seed, salt, buckets } });
  effects.push({ kind: "open", seed, salt });
}

function onRead(state: AuditorState, now: Millis, more: boolean, effects: AuditorEffect[]): void {
  if (state.phase !== "reading" || state.isRead || more) return;
  effects.push({ kind: "close" });
  if (state.fold.overflowed) {
    abandon(state, now, "the table has more sessions than are compared", effects);
    return;
  }
  state.isRead = true;
  settle(state, now);
}

/** Both tables are read: what was changed in the last of them has to be heard of first (A2). */
function settle(state: AuditorState, now: Millis): void {
  if (!state.isRead || !state.isPeerRead) return;
  state.phase = "settling";
  state.dueAt = millis(now + state.options.settleMs);
}

function onDrained(state: AuditorState, now: Millis, all: boolean, effects: AuditorEffect[]): void {
  // What was drained may have ended the look.
  if (state.phase !== "settling") return;
  if (!all) {
    state.dueAt = millis(now + state.options.settleMs);
    return;
  }
  state.listening = false;
  state.phase = "closing";
  state.dueAt = now;
  effects.push({ kind: "send", message: { kind: "auditEnd", look: state.look } });
}

function closeSome(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  let entries = 0;
  while (state.closed < LOG_BUCKETS && entries < AUDIT_CLOSE_ENTRIES) {
    state.fold.close(state.closed, state.changed);
    entries += state.fold.countOf(state.closed);
    state.closed += 1;
  }
  if (state.closed === LOG_BUCKETS) compareDigests(state, now, effects);
}

function onMessage(state: AuditorState, now: Millis, message: AuditMessage, effects: AuditorEffect[]): void {
  // Of a look that is over, or of another life of this node.
  if (message.look !== state.look || !isLooking(state)) return;
  switch (message.kind) {
    case "auditFolded":
      state.isPeerRead = true;
      if (state.phase === "reading") settle(state, now);
      return;
    case "auditDigests":
      if (state.phase !== "closing" || state.digests !== null) return;
      state.digests = message.digests;
      state.peerCpuMs += message.cpuMicros / 1000;
      if (state.closed === LOG_BUCKETS) compareDigests(state, now, effects);
      return;
    case "auditKeys":
      onKeys(state, now, message.more, message.keys, effects);
      return;
    case "auditVoid":
      abandon(state, now, message.reason, effects);
  }
}

function compareDigests(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const [own, theirs] = [state.fold.digests, state.digests];
  if (theirs === null) return;
  if (!state.isSecond) state.compared = state.fold.compared;
  for (let bucket = 0; bucket < LOG_BUCKETS; bucket += 1)
    for (let at = bucket * AUDIT_DIGEST_BYTES; at < (bucket + 1) * AUDIT_DIGEST_BYTES; at += 1)
      if (own[at] !== theirs[at]) {
        state.differing.push(bucket);
        break;
      }
  state.phase = "comparing";
  state.dueAt = now;
  if (state.differing.length === 0) endLook(state, now, effects);
}

/** Asks for the keys of the next buckets, so many that they are a step's work. */
function ask(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const buckets = new Buckets();
  let entries = 0;
  let count = 0;
  while (count < state.differing.length && entries < AUDIT_ASK_ENTRIES) {
    const bucket = state.differing[count]!;
    buckets.add(bucket);
    // An empty bucket costs the standby's keys all the same.
    entries += 1 + state.fold.countOf(bucket);
    count += 1;
  }
  if (count === 0) {
    endLook(state, now, effects);
    return;
  }
  state.asked = state.differing.slice(0, count);
  state.differing = state.differing.slice(count);
  state.answer = [];
  effects.push({ kind: "send", message: { kind: "auditAsk", look: state.look, buckets: buckets.bits } });
}

function onKeys(
  state: AuditorState,
  now: Millis,
  more: boolean,
  keys: Uint8Array,
  effects: AuditorEffect[],
): void {
  if (state.phase !== "comparing" || state.asked.length === 0) return;
  const asked = new Buckets();
  for (const bucket of state.asked) asked.add(bucket);
  let isAnswer = keys.length % AUDIT_KEY_BYTES === 0 && state.answer.length < ANSWER_PARTS_MAX;
  if (isAnswer)
    forEachKey(keys, (high) => {
      if (!hasBucket(asked.bits, bucketOf(high))) isAnswer = false;
    });
  if (!isAnswer) {
    abandon(state, now, "the standby told other keys than it was asked for", effects);
    return;
  }
  state.answer.push(keys);
  if (more) return;
  const buckets = state.asked;
  state.asked = [];
  state.fold.compare(buckets, state.answer, (kind, high, low) => judge(state, kind, high, low));
  state.answer = [];
  state.dueAt = millis(Math.max(state.dueAt, now));
}

/** One difference of this look (A4). */
function judge(state: AuditorState, kind: DifferenceKind, high: number, low: number): void {
  if (!state.isSecond) {
    state.suspects[kind].add(high, low);
    return;
  }
  // A dump may tell of a session twice.
  if (!state.suspects[kind].has(high, low) || state.confirmed.has(high, low)) return;
  state.confirmed.add(high, low);
  state.found[kind] += 1;
}

function endLook(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  state.trouble = "";
  const suspects = KINDS.reduce((sum, kind) => sum + state.suspects[kind].size, 0);
  if (state.isSecond || suspects === 0) {
    endPass(state, now, effects);
    return;
  }
  if (state.stretch === null) {
    abandon(state, now, "the log was interrupted", effects);
    return;
  }
  const buckets = new Buckets();
  for (const kind of KINDS) state.suspects[kind].visit((high) => buckets.add(bucketOf(high)));
  beginLook(state, now, true, buckets.bits, effects);
}

function endPass(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const found = countOf(state.found);
  state.passes += 1;
  for (const kind of KINDS) state.totals[kind] += state.found[kind];
  const again = found > 0 && isKnown(state);
  if (!again) state.vain = 0;
  if (found === 0) state.repairedKeys.clear();
  state.last = {
    ...state.found,
    look: state.look,
    sessions: state.compared,
    repaired: 0,
    startedAt: state.startedAt,
    endedAt: now,
    cpuMs: state.cpuMs,
  };
  state.isLastOfThis = true;
  tell(state, now, effects);
  if (found === 0 || (again && state.passes < state.repairAgainAt)) rest(state, now, 0);
  else repair(state, again, effects);
}

/** All that was found was repaired before. */
function isKnown(state: AuditorState): boolean {
  let known = true;
  state.confirmed.visit((high, low) => {
    if (!state.repairedKeys.has(high, low)) known = false;
  });
  return known;
}

function repair(state: AuditorState, again: boolean, effects: AuditorEffect[]): void {
  const buckets = new Buckets();
  state.repairedKeys.clear();
  state.confirmed.visit((high, low) => {
    buckets.add(bucketOf(high));
    state.repairedKeys.add(high, low);
  });
  if (again) state.vain += 1;
  state.repairAgainAt = state.passes + Math.min(2 ** state.vain, PUT_OFF_MAX);
  state.phase = "repairing";
  state.stretchToRepair = state.stretch;
  effects.push({ kind: "dirty", buckets: buckets.bits });
}

/** The round is over, in the standby's kernel. */
function onRepaired(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const { last } = state;
  assert(last !== null, "a repair follows a pass");
  const repaired = countOf(last);
  state.totals.repaired += repaired;
  state.last = { ...last, repaired, endedAt: now };
  tell(state, now, effects);
  rest(state, now, 0);
}

function tell(state: AuditorState, now: Millis, effects: AuditorEffect[]): void {
  const outcome: AuditOutcome = state.last!;
  const { look, sessions, missing, extra, wrong, repaired } = outcome;
  const ageMs = Math.round(now - outcome.startedAt);
  const milliseconds = Math.round(outcome.endedAt - outcome.startedAt);
  const message = { look, sessions, missing, extra, wrong, repaired, milliseconds, ageMs };
  effects.push({ kind: "send", message: { kind: "auditResult", ...message } }, { kind: "done", outcome });
}

/** The look comes to nothing; the standby lets go of its part, too. */
function abandon(state: AuditorState, now: Millis, reason: string, effects: AuditorEffect[]): void {
  state.totals.abandoned += 1;
  state.trouble = reason;
  effects.push({ kind: "close" });
  if (state.followed)
    effects.push({ kind: "send", message: { kind: "auditVoid", look: state.look, reason } });
  effects.push({ kind: "abandoned", reason });
  rest(state, now, state.options.retryMs);
}

function rest(state: AuditorState, now: Millis, least: number): void {
  const { cpuShare, intervalMs } = state.options;
  const ms = Math.max(state.cpuMs, state.peerCpuMs) / cpuShare;
  // What was abandoned is begun again when its cost is paid for.
  const interval = least === 0 ? intervalMs : 0;
  state.phase = state.followed ? "waiting" : "off";
  state.listening = false;
  state.dueAt = millis(Math.max(state.startedAt + Math.max(interval, ms), now + least));
}

/** One line for people. */
export function describe(state: AuditorState): string {
  switch (state.phase) {
    case "off":
      return "nobody to compare with";
    case "waiting":
      if (state.stretch === null) return "waiting until the standby is synchronised";
      return state.trouble === "" ? "waiting for the next pass" : `to be begun again: ${state.trouble}`;
    case "reading":
      return `reading: ${state.fold.size} sessions so far${state.isRead ? ", the standby still reads" : ""}`;
    case "settling":
      return "both tables are read";
    case "closing":
      return "making digests";
    case "comparing":
      return `comparing, ${state.differing.length} buckets to go`;
    case "repairing":
      return "a round puts right what was found";
  }
}
