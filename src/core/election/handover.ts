// Handing over on purpose (failover §6): by command, on leaving, because the standby is better off, because our daemon
// hangs. Acknowledge, drain, let the other open, shut. And the loser of a split, which drains and asks nobody. Pure.

import { GateState, peerOf, Role } from "../../base/units.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import { setAlarm } from "./alarms.ts";
import { grantAgeMaxMs } from "./candidate.ts";
import { decideOpening, endHandover, lapse, shutGate, startCandidacy } from "./lease.ts";
import { isBlind } from "./readiness.ts";
import { canForward, isPeerBlind, missingOnPeer, ownScore, peerScore, scoreAhead } from "./score.ts";
import { sendHeartbeat } from "./speak.ts";
import {
  CANNOT_FORWARD_MS,
  COMPARE_HYSTERESIS,
  COMPARE_INTERVAL_MS,
  COMPARE_PAUSE_MS,
  DAEMON_FRESH_MS,
  DAEMON_WEDGED_MS,
  type ElectionState,
  echoAgeMs,
  HANDOVER_ACKNOWLEDGE_MS,
  HANDOVER_OFFER_MS,
  HANDOVER_WITHDRAW_MS,
  type Handover,
  HandoverCause,
  holdsGate,
  Phase,
  peerHeard,
  setPhase,
  tellRole,
  YIELD_DRAIN_MS,
} from "./state.ts";
import type { ElectionEffect } from "./types.ts";

/** What a successor has to hold: the whole state, all of it that our daemon ever sent, or nothing. */
type Needs = "ready" | "was-ready" | "nothing";

/** Why the peer cannot take over now, in words; null where it can. */
function whyNotReady(state: ElectionState, now: number, needs: Needs): string | null {
  const { message } = state.peer;
  if (message === null || !peerHeard(state, now)) return "the other node is not heard";
  if (echoAgeMs(state, now) > state.config.timers.deadAfterMs) return "the other node does not hear this one";
  if (message.role !== Role.Standby || message.gate !== GateState.Shut)
    return `the other node is ${message.role}, not standby`;
  if (message.leaving) return "the other node is leaving";
  if (!message.dressed) return "the other node's interfaces and rules are not in place";
  if (needs !== "nothing" && isPeerBlind(state, now, message))
    return `the other node could not forward: nobody answers it on ${missingOnPeer(state, now, message)}`;
  // A daemon that hangs takes the standby's readiness along: what counts is what it held at our daemon's last word.
  const held = message.ready || (needs === "was-ready" && state.peer.readyAt >= state.daemonAt);
  if (needs === "nothing" || held) return null;
  return state.daemon !== null && state.daemon.configurationDigest !== message.configurationDigest
    ? "the two nodes have different configurations"
    : "the other node does not hold the whole state yet";
}

/** Why a person's order to hand over is refused; null where it is not. */
function whyNotOrdered(state: ElectionState, now: number): string | null {
  if (state.handover !== null) return "a handover is under way";
  const { message } = state.peer;
  if (state.phase !== Phase.Active) {
    if (message === null || !peerHeard(state, now))
      return "this node is not active, and the other node is not heard";
    const other = peerOf(state.config.node);
    return message.role === Role.Active
      ? `${other} is active: give the command there`
      : `no node is active: this one is not, and ${other} says ${message.role}`;
  }
  const why = whyNotReady(state, now, "ready");
  if (why !== null) return why;
  // By comparison it would hand back within half a second.
  return message !== null && scoreAhead(state, ownScore(state, now), message) > 0
    ? `the other node is worse off and would hand back at once: nobody answers it on ${missingOnPeer(state, now, message)}`
    : null;
}

function startHandover(state: ElectionState, now: number, cause: HandoverCause, request: number): Handover {
  const position = state.daemon?.position;
  const handover: Handover = {
    cause,
    request,
    since: now,
    positionTerm: position?.term ?? 0,
    positionSequence: position?.sequence ?? 0,
    drainingSince: 0,
    withdrawnAt: 0,
    withdrawnSequence: 0,
  };
  state.handover = handover;
  return handover;
}

/** `understudy handover` and `leave`. */
export function onCommand(
  state: ElectionState,
  now: number,
  input: { readonly command: "handover" | "leave"; readonly request: number },
  effects: ElectionEffect[],
): void {
  if (input.command === "leave") {
    if (state.leaveRequest >= 0) {
      refuse(effects, input.request, "this node is leaving already");
      return;
    }
    state.leaveRequest = input.request;
    return;
  }
  const why = whyNotOrdered(state, now);
  if (why !== null) {
    refuse(effects, input.request, why);
    return;
  }
  startHandover(state, now, HandoverCause.Command, input.request);
}

function refuse(effects: ElectionEffect[], request: number, message: string): void {
  effects.push({ kind: "answer-command", request, ok: false, message });
}

/** Moves a handover or a departure along. Once a turn. */
export function advanceHandover(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.leaveRequest >= 0) advanceLeave(state, now, effects);
  const { handover } = state;
  if (handover === null) {
    // No rule leads here. Should one ever: a drain that nobody ends would be renewed for ever.
    if (state.phase === Phase.Draining) lapse(state, now, effects);
    return;
  }
  if (state.phase === Phase.Active) waitForAcknowledgement(state, now, handover, effects);
  else if (state.phase === Phase.Draining) waitForSuccessor(state, now, handover, effects);
}

function waitForAcknowledgement(
  state: ElectionState,
  now: number,
  handover: Handover,
  effects: ElectionEffect[],
): void {
  // Leaving, or unable to forward: a standby that is not ready is better than none.
  const needsNothing = handover.cause === HandoverCause.Better && !canForward(ownScore(state, now));
  const needs = needsNothing ? "nothing" : handover.cause === HandoverCause.Wedged ? "was-ready" : "ready";
  const why = whyNotReady(state, now, needs);
  if (why !== null) {
    endHandover(state, effects, why);
    return;
  }
  const position = state.peer.message!.position;
  const acknowledged =
    position.term > handover.positionTerm ||
    (position.term === handover.positionTerm && position.sequence >= handover.positionSequence);
  if (acknowledged || needsNothing) startDrain(state, now, handover, effects);
  else if (now - handover.since >= HANDOVER_ACKNOWLEDGE_MS)
    endHandover(state, effects, "the other node did not catch up with the log in time");
}

function startDrain(state: ElectionState, now: number, handover: Handover, effects: ElectionEffect[]): void {
  handover.drainingSince = now;
  setPhase(state, now, Phase.Draining);
  if (state.unsafe.drainSkipped !== true) effects.push({ kind: "drain" });
  tellRole(state, handover.cause === HandoverCause.Yield ? "yielded" : "draining", effects);
  sendHeartbeat(state, now, effects);
}

function waitForSuccessor(
  state: ElectionState,
  now: number,
  handover: Handover,
  effects: ElectionEffect[],
): void {
  const draining = now - handover.drainingSince;
  if (handover.cause === HandoverCause.Yield) {
    if (draining < YIELD_DRAIN_MS) return;
    state.handover = null;
    shutGate(state, now, Phase.Standby, "yielded", effects);
    return;
  }
  if (handover.withdrawnSequence === 0) {
    if (draining < HANDOVER_OFFER_MS) return;
    handover.withdrawnAt = now;
    handover.withdrawnSequence = state.sequence + 1;
    startCandidacy(state, now);
    sendHeartbeat(state, now, effects);
    return;
  }
  // No word at all: whether it opened is not known. Shut, and go by the rules of a lapse.
  if (now - handover.withdrawnAt >= HANDOVER_WITHDRAW_MS) lapse(state, now, effects);
}

/** The peer says that it did not open, and that it knows of the withdrawal: the gate goes back to open. */
export function reopenAfterWithdrawal(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): boolean {
  const { handover } = state;
  if (state.phase !== Phase.Draining || handover === null || handover.withdrawnSequence === 0) return false;
  if (state.late || message.gate !== GateState.Shut || message.role === Role.Active || message.candidate)
    return false;
  if (message.echo < handover.withdrawnSequence) return false;
  const age = echoAgeMs(state, now);
  const limit = grantAgeMaxMs(state, message);
  if (age > limit) return false;
  endHandover(state, effects, "the other node did not open its gate; this node stays active");
  const notAfter = now - age + limit;
  decideOpening(state, now, { cause: "reopened", term: state.term, silenceMs: 0, notAfter }, effects);
  return true;
}

/** The new active was heard: this gate shuts (failover §6). */
export function finishHandover(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  const { handover } = state;
  state.handover = null;
  if (handover !== null && handover.request >= 0) {
    const text = `${message.node} is active in term ${message.term}`;
    effects.push({ kind: "answer-command", request: handover.request, ok: true, message: text });
  }
  state.term = Math.max(state.term, message.term);
  shutGate(state, now, Phase.Standby, "handover", effects);
}

/** The loser of two actives: drains, tells, shuts soon after (failover §5). */
export function yieldGate(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  endHandover(state, effects, "the other node is active as well; this one yields");
  setAlarm(state, "two-actives", true, effects);
  startDrain(state, now, startHandover(state, now, HandoverCause.Yield, -1), effects);
}

/** Hands over first where the peer can take it, then shuts, tells the peer, and ends. */
function advanceLeave(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.phase === Phase.Left) return;
  if (state.phase === Phase.Draining) return;
  if (state.phase === Phase.Active && !state.leaveTried) {
    if (state.handover !== null) return;
    state.leaveTried = true;
    if (whyNotReady(state, now, "ready") === null) {
      startHandover(state, now, HandoverCause.Leave, -1);
      return;
    }
  }
  if (state.phase === Phase.Active && state.handover !== null) return;
  const relieved = !holdsGate(state);
  endHandover(state, effects, "this node leaves");
  shutGate(state, now, Phase.Left, "left", effects);
  const message = relieved
    ? "left; the other node is not affected"
    : "left without a successor that was ready";
  effects.push({ kind: "answer-command", request: state.leaveRequest, ok: true, message });
  effects.push({ kind: "exit" });
}

/** Every 200 ms: is the standby strictly better off, or does our daemon hang? (failover §6) */
export function compareWhenDue(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (now - state.comparedAt < COMPARE_INTERVAL_MS) return;
  state.comparedAt = now;
  setAlarm(state, "daemon-silent", state.daemon !== null && now - state.daemonAt >= DAEMON_FRESH_MS, effects);
  watchBlindness(state, now, effects);
  if (state.phase !== Phase.Active) {
    setAlarm(state, "cannot-forward", false, effects);
    return;
  }
  const own = ownScore(state, now);
  const { message } = state.peer;
  const isPeerBetter = message !== null && peerHeard(state, now) && scoreAhead(state, own, message) < 0;
  state.betterCount = isPeerBetter ? state.betterCount + 1 : 0;
  if (canForward(own)) state.cannotForwardSince = -1;
  else if (state.cannotForwardSince < 0) state.cannotForwardSince = now;
  setAlarm(state, "cannot-forward", state.cannotForwardSince >= 0 && !isPeerBetter, effects);
  if (state.handover !== null || state.leaveRequest >= 0) return;
  if (state.betterCount >= COMPARE_HYSTERESIS) handOverIfBetter(state, now, own);
  else if (isDaemonWedged(state, now) && whyNotReady(state, now, "was-ready") === null) {
    if (now - state.wedgedTriedAt < DAEMON_FRESH_MS) return;
    state.wedgedTriedAt = now;
    startHandover(state, now, HandoverCause.Wedged, -1);
  }
}

/** A standby that could not forward while the active does: not ready, and told. */
function watchBlindness(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const { message } = state.peer;
  const beside = state.phase === Phase.Standby && message?.role === Role.Active && peerHeard(state, now);
  const blind = beside && canForward(peerScore(message)) && !canForward(ownScore(state, now));
  state.blindCount = blind ? state.blindCount + 1 : 0;
  setAlarm(state, "standby-blind", isBlind(state), effects);
}

function handOverIfBetter(state: ElectionState, now: number, own: number): void {
  const forwards = canForward(own);
  if (forwards && now - state.lastBetterAt < COMPARE_PAUSE_MS) return;
  const ready = whyNotReady(state, now, "ready") === null;
  const desperate = !forwards && now - state.cannotForwardSince >= CANNOT_FORWARD_MS;
  if (!ready && !(desperate && whyNotReady(state, now, "nothing") === null)) return;
  state.lastBetterAt = now;
  startHandover(state, now, HandoverCause.Better, -1);
}

function isDaemonWedged(state: ElectionState, now: number): boolean {
  if (state.daemon === null || now < state.daemonRestartUntil) return false;
  return now - state.daemonAt >= DAEMON_WEDGED_MS;
}
