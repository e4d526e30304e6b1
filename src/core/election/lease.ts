// The lease: how an active keeps its gate open, how it finds out that it did not, and how it gets it back. Renewing
// and opening are different operations (failover §2): a renewal never opens what has lapsed. Pure.

import { assert } from "../../base/assert.ts";
import { millis, term as termOf } from "../../base/units.ts";
import { setAlarm } from "./alarms.ts";
import { announceNow, sendHeartbeat } from "./speak.ts";
import {
  type ElectionState,
  HandoverCause,
  holdsGate,
  OPEN_VALID_MS,
  Phase,
  SOLO_AFTER_MS,
  SOLO_ANNOUNCEMENTS,
  setPhase,
  tellRole,
  WITNESS_MS,
  witnessBits,
} from "./state.ts";
import type { ElectionEffect, LeaseKind, RoleChangeCause } from "./types.ts";

/** The renewal or the heartbeat of this interval. An active renews first and speaks on the receipt (failover §3). */
export function beatWhenDue(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (now < state.nextHeartbeatAt || state.opening !== null) return;
  const { heartbeatMs } = state.config.timers;
  // A late beat does not make the next ones come faster: they would all be queued behind the same stall.
  state.nextHeartbeatAt = Math.max(state.nextHeartbeatAt + heartbeatMs, now + heartbeatMs / 2);
  if (state.phase === Phase.Left) return;
  if (holdsGate(state) || state.phase === Phase.Adopting) renew(state, now, effects);
  else sendHeartbeat(state, now, effects);
}

/** Asks for the lease that is due now; its receipt sends the heartbeat. */
export function renew(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.renewing) return;
  state.renewing = true;
  state.renewKind = leaseDue(state, now);
  effects.push({ kind: "renew", lease: state.renewKind });
}

/** Long only after a second alone, with a witness, and after the long lease was announced (failover §5). */
function leaseDue(state: ElectionState, now: number): LeaseKind {
  if (state.phase === Phase.Adopting) return "solo";
  if (state.unsafe.soloAtOnce === true) {
    return now - state.peer.heardAt > 1.5 * state.config.timers.heartbeatMs ? "solo" : "short";
  }
  return isSoloDue(state, now) && state.soloAnnounced > SOLO_ANNOUNCEMENTS ? "solo" : "short";
}

const isSoloDue = (state: ElectionState, now: number): boolean =>
  state.phase === Phase.Active &&
  now - state.peer.heardAt >= SOLO_AFTER_MS &&
  now - state.phaseSince >= SOLO_AFTER_MS &&
  witnessBits(state, now, WITNESS_MS) !== 0;

/** Begins to announce the long lease when the time has come; stops where the reason for it is gone. */
export function considerSolo(state: ElectionState, now: number): void {
  if (isSoloDue(state, now)) {
    if (state.soloAnnounced === 0) state.soloAnnounced = 1;
  } else if (state.leaseKind === "short") {
    state.soloAnnounced = 0;
  }
}

/** The peer was heard: a long lease is shortened first, and only the receipt announces it (failover §5). */
export function shortenLease(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.leaseKind === "solo") renew(state, now, effects);
  else state.soloAnnounced = 0;
}

export function onRenewal(
  state: ElectionState,
  now: number,
  input: { readonly ok: boolean; readonly at: number },
  effects: ElectionEffect[],
): void {
  state.renewing = false;
  const adopting = state.phase === Phase.Adopting;
  if (!adopting && !holdsGate(state)) return;
  if (!input.ok) {
    if (adopting) abandonAdoption(state, now, effects);
    else lapse(state, now, effects);
    return;
  }
  const { leaseMs, soloLeaseMs } = state.config.timers;
  state.leaseKind = state.renewKind;
  state.leaseUntil = input.at + (state.leaseKind === "solo" ? soloLeaseMs : leaseMs);
  if (state.leaseKind === "short" && now - state.peer.heardAt < SOLO_AFTER_MS) state.soloAnnounced = 0;
  if (adopting) becomeActive(state, now, "adopted", effects);
  sendHeartbeat(state, now, effects);
}

/** Nothing was held any more: an idle node like any other. */
function abandonAdoption(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  setPhase(state, now, Phase.Idle);
  effects.push({ kind: "shut" });
  tellRole(state, "lapsed", effects);
}

function becomeActive(
  state: ElectionState,
  now: number,
  cause: RoleChangeCause,
  effects: ElectionEffect[],
): void {
  setPhase(state, now, Phase.Active);
  state.candidate = false;
  state.soloAnnounced = state.leaseKind === "solo" ? 1 : 0;
  state.comparedAt = now;
  state.betterCount = 0;
  state.cannotForwardSince = -1;
  state.conflictSince = -1;
  state.conflictAnsweredSince = -1;
  state.conflictProbeAt = now;
  announceNow(state, now, effects);
  if (cause === "adopted") tellRole(state, cause, effects);
}

/** Decides an opening; its receipt (`onOpened`) makes it true. */
export function decideOpening(
  state: ElectionState,
  now: number,
  opening: {
    readonly cause: RoleChangeCause;
    readonly term: number;
    readonly silenceMs: number;
    readonly notAfter: number;
  },
  effects: ElectionEffect[],
): void {
  const { cause, term, silenceMs } = opening;
  state.opening = { cause, term: termOf(term), decidedAt: now, silenceMs };
  effects.push({ kind: "open", notAfter: millis(Math.min(opening.notAfter, now + OPEN_VALID_MS)) });
}

/** A later word of the same turn makes the opening wrong: its effect has not been performed yet. */
export function cancelOpening(state: ElectionState, effects: ElectionEffect[]): void {
  if (state.opening === null) return;
  state.opening = null;
  const index = effects.findLastIndex(({ kind }) => kind === "open");
  assert(index >= 0, "an opening is decided and performed in one turn");
  effects.splice(index, 1);
}

export function onOpened(
  state: ElectionState,
  now: number,
  input: { readonly ok: boolean; readonly at: number },
  effects: ElectionEffect[],
): void {
  const { opening } = state;
  if (opening === null) return;
  state.opening = null;
  // Too late or refused: nothing was opened; the conditions are judged anew in the next turn. A withdrawn handover has
  // no next turn: nobody would ever end that drain.
  if (!input.ok) {
    if (state.phase === Phase.Draining) lapse(state, now, effects);
    return;
  }
  state.term = opening.term;
  state.leaseKind = "short";
  state.leaseUntil = input.at + state.config.timers.leaseMs;
  state.handover = null;
  setAlarm(state, "lease-lapsed", false, effects);
  becomeActive(state, now, opening.cause, effects);
  sendHeartbeat(state, now, effects);
  state.nextHeartbeatAt = now + state.config.timers.heartbeatMs;
  tellRole(state, opening.cause, effects, opening.silenceMs, input.at - opening.decidedAt);
}

/** Nobody else can have opened: alone, under a long lease, and no segment has answered for somebody else. */
const isUnrivalled = (state: ElectionState): boolean =>
  state.leaseKind === "solo" && state.conflictSince < 0 && state.conflictAnsweredSince < 0;

/**
 * The kernel's lease has ended under us. Asks the peer for leave to go on in the same term; where the peer is
 * silent, the rules of a takeover apply to us as to anybody (failover §5).
 */
export function lapse(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  cancelOpening(state, effects);
  // Refused although the lease should still run: the gate's table is gone. See `onGateRestored`.
  const sure = state.phase === Phase.Active && isUnrivalled(state);
  state.reopenUntil = sure ? state.leaseUntil : Number.NEGATIVE_INFINITY;
  effects.push({ kind: "shut" });
  const yielding = state.handover?.cause === HandoverCause.Yield;
  endHandover(state, effects, "the lease lapsed in mid-handover");
  state.soloAnnounced = 0;
  state.leaseKind = "short";
  state.renewing = false;
  state.quietFloor = now;
  setPhase(state, now, yielding ? Phase.Standby : Phase.Lapsed);
  if (!yielding) startCandidacy(state, now);
  setAlarm(state, "lease-lapsed", true, effects);
  tellRole(state, "lapsed", effects);
  sendHeartbeat(state, now, effects);
}

/** From the next heartbeat on, this node asks for leave to open (I4). */
export function startCandidacy(state: ElectionState, now: number): void {
  state.candidate = true;
  state.candidateSince = now;
  state.candidateSequence = state.sequence + 1;
}

/** Drops a handover that did not come to its end, and tells whoever asked for it. */
export function endHandover(state: ElectionState, effects: ElectionEffect[], why: string): void {
  const { handover } = state;
  state.handover = null;
  if (handover !== null && handover.request >= 0)
    effects.push({ kind: "answer-command", request: handover.request, ok: false, message: why });
}

/** Shuts the gate for good, whatever its state, and goes to `phase`. */
export function shutGate(
  state: ElectionState,
  now: number,
  phase: Phase,
  cause: RoleChangeCause,
  effects: ElectionEffect[],
): void {
  cancelOpening(state, effects);
  endHandover(state, effects, `this node shut its gate (${cause})`);
  effects.push({ kind: "shut" });
  state.soloAnnounced = 0;
  state.leaseKind = "short";
  state.renewing = false;
  state.candidate = false;
  state.quietFloor = now;
  setPhase(state, now, phase);
  tellRole(state, cause, effects);
  sendHeartbeat(state, now, effects);
}
