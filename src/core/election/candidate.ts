// Elections among nodes that hear each other: nobody is active, one becomes a candidate, and the other's word that it
// will stay shut (a grant, I4) is what opens the gate. The same word lets a lapsed active go on, and a leaving peer
// gives it with its last heartbeat. Pure.

import { LEASE_MS_MIN } from "../../base/limits.ts";
import { GateState, Role } from "../../base/units.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import { decideOpening, startCandidacy } from "./lease.ts";
import { compareIdle, isComparable } from "./score.ts";
import { sendHeartbeat } from "./speak.ts";
import {
  type ElectionState,
  echoAgeMs,
  isDressed,
  nextOwnTerm,
  Phase,
  peerHeard,
  STORE_RETRY_MS,
} from "./state.ts";
import type { ElectionEffect } from "./types.ts";

/** Three questions to its third parties. */
const HOLDER_GRACE_MS = 400;
/** Its heart was started a moment ago, and its daemon has not spoken to it yet. */
const DRESSING_GRACE_MS = 1000;

/** The disk has taken a term in this life, or refused one, or had its second: it never keeps a node from opening. */
const isDiskAnswered = (state: ElectionState): boolean =>
  state.storedReserved > 0 || state.storeFailed || state.now - state.startedAt >= STORE_RETRY_MS;

/** This node could open, as far as it depends on itself alone. */
export const isEligible = (state: ElectionState): boolean =>
  isDressed(state) &&
  isDiskAnswered(state) &&
  state.leaveRequest < 0 &&
  state.opening === null &&
  (state.phase === Phase.Standby || state.phase === Phase.Idle || state.phase === Phase.Lapsed);

/**
 * A grant is worth as much as is left of the wait that the peer has promised: it opens on its own no earlier than
 * `dead + lease` after it heard the sequence that it echoes; our lease has to end before that, clocks 5 % apart. Where
 * it may have other timers than ours, it has promised no more than the shortest lease that can be configured.
 */
export const grantAgeMaxMs = (state: ElectionState, message: HeartbeatMessage): number =>
  0.75 * (isComparable(state, message) ? state.config.timers.leaseMs : LEASE_MS_MIN);

/** Nobody is active and both are heard: candidate or not, by comparison. Judged once a turn. */
export function considerCandidacy(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const { message } = state.peer;
  if (state.phase === Phase.Lapsed || message === null || state.late || state.opening !== null) return;
  if (!peerHeard(state, now)) return;
  const vacant = message.gate === GateState.Shut && message.role !== Role.Active && !message.leaving;
  if (!vacant) state.vacantSince = -1;
  else if (state.vacantSince < 0) state.vacantSince = now;
  const wants =
    vacant && isEligible(state) && state.witnessedSince >= 0 && compareIdle(state, now, message) > 0;
  if (wants === state.candidate || (wants && mustWaitForHolder(state, now, message))) return;
  if (wants) {
    startCandidacy(state, now);
    sendHeartbeat(state, now, effects);
  } else {
    state.candidate = false;
  }
}

/**
 * The peer holds the state that this node lacks, or may hold it, and is only just back: its third parties have not
 * answered it yet, or its daemon has not told its heart. A moment's patience keeps every session (F §8: no gate without the state unless the other cannot forward).
 */
function mustWaitForHolder(state: ElectionState, now: number, message: HeartbeatMessage): boolean {
  const position = state.daemon?.position;
  const ahead =
    message.position.term > (position?.term ?? 0) ||
    (message.position.term === position?.term && message.position.sequence > position.sequence);
  if (state.daemon?.ready === true) return false;
  const grace = message.dressed ? (ahead ? HOLDER_GRACE_MS : 0) : DRESSING_GRACE_MS;
  // To a node that stood still for a while, the other one never was away: what it knows is since when it does not serve.
  return now - Math.max(state.peer.heardSince, state.vacantSince) < grace;
}

/** The peer's heartbeat as an answer to our candidacy. Returns whether an opening was decided. */
export function openAfterGrant(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): boolean {
  if (state.late || !isEligible(state) || message.gate !== GateState.Shut) return false;
  const age = echoAgeMs(state, now);
  const limit = grantAgeMaxMs(state, message);
  if (age > limit) return false;
  if (!message.leaving) {
    if (!state.candidate || message.candidate || message.role === Role.Active) return false;
    if (message.echo < state.candidateSequence) return false;
  } else if (state.witnessedSince < 0) {
    return false;
  }
  const goesOn = state.phase === Phase.Lapsed && message.term <= state.term && state.termFloor <= state.term;
  decideOpening(
    state,
    now,
    {
      cause: goesOn ? "reopened" : message.leaving ? "handover" : "election",
      term: goesOn ? state.term : nextOwnTerm(state),
      silenceMs: 0,
      notAfter: now - age + limit,
    },
    effects,
  );
  return true;
}

/** The active drains and asks us to open (failover §6): fresh words only, or it has given up waiting by now. */
export function openAfterOffer(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): boolean {
  if (!message.handover || message.gate !== GateState.Drain) return false;
  if (state.late || !isEligible(state) || state.phase === Phase.Lapsed) return false;
  // Made to an earlier life of this node, which held what this one does not.
  if (state.peer.openTerm !== message.term) return false;
  const age = echoAgeMs(state, now);
  if (age > state.config.timers.leaseMs) return false;
  decideOpening(
    state,
    now,
    { cause: "handover", term: nextOwnTerm(state), silenceMs: 0, notAfter: Number.POSITIVE_INFINITY },
    effects,
  );
  return true;
}

/** A candidate waits for our word: it is given at once instead of with the next beat, so that it is still fresh. */
export function replyToCandidate(
  state: ElectionState,
  now: number,
  message: HeartbeatMessage,
  effects: ElectionEffect[],
): void {
  if (!message.candidate || state.candidate || state.opening !== null) return;
  if (state.phase === Phase.Standby || state.phase === Phase.Idle) sendHeartbeat(state, now, effects);
}
