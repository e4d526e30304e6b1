// What follows at once from a heartbeat that was heard; what follows from silence is in arbiter.ts. Pure.

import { GateState, nextTermOf, Role, term } from "../../base/units.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import { setAlarm } from "./alarms.ts";
import { openAfterGrant, openAfterOffer, replyToCandidate } from "./candidate.ts";
import { finishHandover, reopenAfterWithdrawal, yieldGate } from "./handover.ts";
import { cancelOpening, shortenLease } from "./lease.ts";
import { compareActives } from "./score.ts";
import { announceNow, sendHeartbeat } from "./speak.ts";
import {
  type ElectionState,
  echoAgeMs,
  forgetProbes,
  nextOwnTerm,
  Phase,
  setPhase,
  tellRole,
} from "./state.ts";
import type { ElectionEffect, ElectionInput } from "./types.ts";

/** An overlap in which the peer does not hear us ends with us: only the one that hears can know of it. */
const DEAF_CONFLICT_MS = 100;
const ANNOUNCE_AGAIN_MS = 1000;

export function onHeartbeat(
  state: ElectionState,
  now: number,
  input: Extract<ElectionInput, { kind: "heartbeat" }>,
  effects: ElectionEffect[],
): void {
  const { peer } = state;
  const { message } = input;
  if (input.boot !== peer.boot) {
    peer.boot = input.boot;
    peer.readyAt = Number.NEGATIVE_INFINITY;
    peer.heardSince = now;
    peer.sequence = 0;
  }
  // The same words by another path, or older ones that were overtaken.
  if (message.sequence <= peer.sequence) return;
  remember(state, now, message);
  setAlarm(state, "peer-silent", false, effects);
  if (message.role === Role.Active && message.gate === GateState.Open)
    hearActive(state, now, message, effects);
  else if (message.gate === GateState.Drain) hearDraining(state, now, message, effects);
  else hearShut(state, now, message, effects);
}

function remember(state: ElectionState, now: number, message: HeartbeatMessage): void {
  const { peer } = state;
  const { deadAfterMs, soloLeaseMs } = state.config.timers;
  if (now - peer.heardAt >= deadAfterMs) peer.heardSince = now;
  peer.sequence = message.sequence;
  peer.heardAt = now;
  peer.message = message;
  if (message.gate === GateState.Open) peer.openTerm = message.term;
  if (message.ready) peer.readyAt = now;
  const stated = message.gate === GateState.Shut ? 0 : message.leaseMs;
  // Words that waited in a buffer while we stood still may be old: the peer may have gone solo since.
  peer.leaseMs = state.late ? Math.max(stated, soloLeaseMs) : stated;
  forgetProbes(state);
  state.termFloor = Math.max(state.termFloor, message.term);
  if (state.phase !== Phase.Active && state.phase !== Phase.Draining && state.phase !== Phase.Lapsed)
    state.term = Math.max(state.term, message.term);
}

/** The peer's gate is open. */
function hearActive(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  cancelOpening(state, effects);
  switch (state.phase) {
    case Phase.Active:
      hearRival(state, now, message, effects);
      return;
    case Phase.Draining:
      if (state.handover?.cause !== "yield") finishHandover(state, now, message, effects);
      return;
    case Phase.Lapsed:
    case Phase.Idle:
      state.term = Math.max(state.term, message.term);
      state.candidate = false;
      setPhase(state, now, Phase.Standby);
      tellRole(state, "follows", effects);
      return;
    default:
      state.candidate = false;
  }
}

/** Two open gates that hear each other (failover §5). */
function hearRival(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  if (state.conflictSince < 0) state.conflictSince = now;
  setAlarm(state, "two-actives", true, effects);
  const deaf = echoAgeMs(state, now) > DEAF_CONFLICT_MS && now - state.conflictSince >= DEAF_CONFLICT_MS;
  if (deaf || compareActives(state, now, message) < 0) yieldGate(state, now, effects);
  else announceAgain(state, now, effects);
}

/** Hosts and switches may have believed the other one (failover §7). */
function announceAgain(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (now - state.announcedAgainAt < ANNOUNCE_AGAIN_MS) return;
  state.announcedAgainAt = now;
  announceNow(state, now, effects);
}

/** The peer drains: it offers us the gate, or it yields to us. */
function hearDraining(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  if (state.phase === Phase.Active) {
    if (!message.handover) hearYielding(state, now, effects);
    shortenLease(state, now, effects);
    return;
  }
  if (state.phase === Phase.Draining || state.phase === Phase.Lapsed) return;
  state.candidate = false;
  if (state.phase === Phase.Idle) {
    setPhase(state, now, Phase.Standby);
    tellRole(state, "follows", effects);
  }
  if (openAfterOffer(state, now, message, effects)) return;
  replyToCandidate(state, now, message, effects);
}

/**
 * It heard us first and yields before we have heard it as active. We were two all the same, and its last frames have
 * taught every switch its port: where nobody sends to us, nothing that we send would correct that.
 */
function hearYielding(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.conflictSince < 0) state.conflictSince = now;
  setAlarm(state, "two-actives", true, effects);
  announceAgain(state, now, effects);
}

/** The peer's gate is shut. */
function hearShut(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  switch (state.phase) {
    case Phase.Active:
      endConflict(state, now, effects);
      shortenLease(state, now, effects);
      if (message.term > state.term && message.role !== Role.Active) raiseTerm(state, now, message, effects);
      return;
    case Phase.Draining:
      reopenAfterWithdrawal(state, now, message, effects);
      return;
    default:
      if (state.phase === Phase.Lapsed && message.term > state.term) forgo(state, now, message, effects);
      if (openAfterGrant(state, now, message, effects)) return;
      replyToCandidate(state, now, message, effects);
  }
}

/** The peer has claimed since we lapsed: there is nothing to go on with; whoever is better opens. */
function forgo(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  state.term = message.term;
  state.candidate = false;
  setPhase(state, now, Phase.Standby);
  tellRole(state, "follows", effects);
}

function endConflict(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.conflictSince < 0) return;
  state.conflictSince = -1;
  setAlarm(state, "two-actives", false, effects);
  announceNow(state, now, effects);
}

/** The peer claimed a higher term in a split and has yielded: ours must be the highest again, for the log's sake. */
function raiseTerm(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  state.termFloor = Math.max(state.termFloor, message.term);
  state.term = nextTermOf(state.config.node, term(Math.max(nextOwnTerm(state) - 1, message.term)));
  tellRole(state, "raised", effects);
  sendHeartbeat(state, now, effects);
}
