// The segment is the arbiter (failover §4): silence is not enough to claim. Once the old lease must have run out, the
// virtual MAC is asked on every witnessed segment; an answer is a living gate, and two questions without an answer,
// beside a third party that does answer, are a dead one. Pure.

import { GateState } from "../../base/units.ts";
import { setAlarm } from "./alarms.ts";
import { isEligible } from "./candidate.ts";
import { decideOpening, shutGate } from "./lease.ts";
import { isPreferred } from "./score.ts";
import { announceNow } from "./speak.ts";
import {
  BOOT_LISTEN_MS,
  CONFLICT_PROBE_MS,
  type ElectionState,
  echoAgeMs,
  forgetProbes,
  isWitnessed,
  LAPSED_MS_MAX,
  nextOwnTerm,
  Phase,
  PROBE_INTERVAL_MS,
  PROBE_SLOW_INTERVAL_MS,
  PROBES_UNANSWERED_MIN,
  peerHeard,
  SOLO_AFTER_MS,
  setPhase,
  tellRole,
  WITNESS_ASK_AGAIN_MS,
  WITNESS_ASK_FAST_INTERVAL_MS,
  WITNESS_ASK_INTERVAL_MS,
  WITNESS_CLAIM_MS,
  WITNESS_MS,
  WITNESS_RECENT_MS,
  waitOutMs,
  witnessBits,
} from "./state.ts";
import type { ElectionEffect } from "./types.ts";

/** An answer takes 0.1 ms; a probe younger than this is not yet unanswered. */
const ANSWER_WAIT_MS = 2;
/** In a silence third parties are asked every 10 ms, from before the first probe on; one answer may be lost. */
const WITNESS_BEFORE_PROBE_MS = 25;
/** Marked broadcasts before a claim: two nodes that cannot talk hear each other's (docs/election.md, hole 3). */
const INTENT_MS = 12;
const INTENT_MIN_MS = 7;
/** Heard, but deaf to us and not active, for this long: as good as silent. */
const DEAF_MS = 1000;

/** The peer does not count as heard: silent, or deaf to us, without a gate, for a second. */
export function isPeerAbsent(state: ElectionState, now: number): boolean {
  if (!peerHeard(state, now)) return true;
  if (state.peer.message?.gate !== GateState.Shut) return false;
  return state.deafSince >= 0 && now - state.deafSince >= DEAF_MS;
}

/** Keeps the time since which the peer is heard but echoes nothing recent of ours. */
export function watchDeafness(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const { deadAfterMs } = state.config.timers;
  const deaf = peerHeard(state, now) && echoAgeMs(state, now) > 2 * deadAfterMs;
  if (!deaf) state.deafSince = -1;
  else if (state.deafSince < 0) state.deafSince = now;
  setAlarm(state, "peer-deaf", state.deafSince >= 0 && now - state.deafSince >= DEAF_MS, effects);
}

/** Start of the silence, without the arbiter's answers: the last heartbeat, or a restart of the clock. */
function silentSince(state: ElectionState, now: number): number {
  const deaf = state.deafSince >= 0 && now - state.deafSince >= DEAF_MS && isPeerAbsent(state, now);
  const heard = deaf ? state.deafSince : state.peer.heardAt;
  return Math.max(heard, state.quietFloor);
}

/** Start of the wait: an answer proves a lease as a heartbeat does. */
const quietSince = (state: ElectionState, now: number): number =>
  Math.max(silentSince(state, now), state.answeredAt);

/** Upper bound of the lease that the peer may hold, ms, after this silence. */
function peerLeaseMs(state: ElectionState, now: number): number {
  const { soloLeaseMs } = state.config.timers;
  // Never heard, or silent for so long that it may have taken a long lease unheard.
  if (state.peer.message === null || now - state.peer.heardAt >= SOLO_AFTER_MS) return soloLeaseMs;
  return state.peer.leaseMs;
}

/** How long it must have been quiet before this node opens, ms. */
function quietNeededMs(state: ElectionState, leaseMs: number): number {
  const timers = state.config.timers;
  if (leaseMs >= timers.deadAfterMs) return waitOutMs(state, leaseMs);
  const { message } = state.peer;
  // One that had its gate shut may have been granted its opening in its last words (I4); so may we, lapsed.
  const granted = message?.gate === GateState.Shut || state.phase === Phase.Lapsed;
  return granted ? timers.deadAfterMs + timers.leaseMs : timers.deadAfterMs;
}

/** From when on probes are sent: not before the lease ended, or its dying kernel would answer for a dead heart. */
function probeFrom(state: ElectionState, now: number, leaseMs: number): number {
  const timers = state.config.timers;
  const silent = silentSince(state, now);
  if (state.unsafe.probeBeforeLeaseEnd === true) return silent + 2 * timers.heartbeatMs;
  if (leaseMs >= timers.deadAfterMs) return silent + timers.deadAfterMs;
  return silent + quietNeededMs(state, leaseMs) - timers.deadAfterMs + timers.leaseMs;
}

/** An answer before this moment is that of a lease that may outlive its heart: it is no proof of life. */
function countsFrom(state: ElectionState, now: number, leaseMs: number): number {
  if (leaseMs >= state.config.timers.deadAfterMs) return silentSince(state, now) + leaseMs;
  return probeFrom(state, now, leaseMs);
}

const mayClaim = (state: ElectionState): boolean =>
  state.phase === Phase.Standby || state.phase === Phase.Idle || state.phase === Phase.Lapsed;

/** Asks, waits, and claims where the rules allow it. Once a turn, after everything was drained. */
export function judgeSilence(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (!mayClaim(state) || state.opening !== null) return;
  if (state.phase === Phase.Lapsed && now - state.phaseSince >= LAPSED_MS_MAX) {
    state.candidate = false;
    setPhase(state, now, Phase.Standby);
    tellRole(state, "lapsed", effects);
  }
  const absent = isPeerAbsent(state, now);
  if (!absent) setAlarm(state, "heartbeats-lost-gate-answers", false, effects);
  else if (state.phase !== Phase.Lapsed) state.candidate = false;
  if (state.witnessedSince < 0 && state.unsafe.witnessOff !== true) return;
  const leaseMs = peerLeaseMs(state, now);
  // Probes begin when the lease has ended, a little before the silence counts as death.
  if (now < probeFrom(state, now, leaseMs)) return;
  const claimAt = Math.min(regularClaimAt(state, now, leaseMs), earlyClaimAt(state, now, leaseMs));
  if (absent && now >= claimAt && isEligible(state) && mayClaimNow(state, now)) claim(state, now, effects);
  else probeAll(state, now, claimAt, effects);
}

function claim(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const relieved = state.peer.message !== null && state.peer.message.gate !== GateState.Shut;
  decideOpening(
    state,
    now,
    {
      cause: relieved ? "takeover" : "election",
      term: nextOwnTerm(state),
      silenceMs: Number.isFinite(state.peer.heardAt) ? now - state.peer.heardAt : now - state.startedAt,
      notAfter: Number.POSITIVE_INFINITY,
    },
    effects,
  );
}

/** The lease has run out in every case. */
const regularClaimAt = (state: ElectionState, now: number, leaseMs: number): number =>
  quietSince(state, now) + quietNeededMs(state, leaseMs);

/**
 * Against a long lease: where *every* service segment is witnessed and unanswered for as long as a death takes, the
 * lease is held nowhere that we could disturb (failover §5).
 */
function earlyClaimAt(state: ElectionState, now: number, leaseMs: number): number {
  const { deadAfterMs } = state.config.timers;
  if (leaseMs < deadAfterMs) return Number.POSITIVE_INFINITY;
  let since = Math.max(
    silentSince(state, now) + deadAfterMs,
    state.peer.message === null ? state.startedAt + BOOT_LISTEN_MS : 0,
  );
  for (let index = 0; index < state.segments.length; index++) {
    const segment = state.segments[index]!;
    if (state.config.segments[index]!.ignored === true) continue;
    if (state.config.segments[index]!.singleMac || !isWitnessed(state, index, now, WITNESS_RECENT_MS))
      return Number.POSITIVE_INFINITY;
    if (segment.unanswered === 0 || segment.unansweredSince < silentSince(state, now))
      return Number.POSITIVE_INFINITY;
    since = Math.max(since, segment.unansweredSince + deadAfterMs);
  }
  return since;
}

/**
 * Two unanswered probes on every witnessed segment; one of them witnessed just now, within this very silence; intent announced.
 * Where no segment arbitrates by configuration (`singleMac` everywhere) the lease alone has to do.
 */
function mayClaimNow(state: ElectionState, now: number): boolean {
  const sinceMs = Math.max(quietSince(state, now) + state.config.timers.leaseMs / 2, now - WITNESS_CLAIM_MS);
  const anyArbitrates = state.config.segments.some((_, index) => arbitrates(state, index));
  let fresh = state.unsafe.witnessOff === true;
  for (let index = 0; index < state.segments.length; index++) {
    if (!isWitnessed(state, index, now, WITNESS_MS)) continue;
    const segment = state.segments[index]!;
    if (arbitrates(state, index)) {
      const settled = segment.unanswered - (now - segment.probedAt < ANSWER_WAIT_MS ? 1 : 0);
      if (settled < PROBES_UNANSWERED_MIN || segment.unansweredSince < silentSince(state, now)) return false;
    } else if (anyArbitrates) {
      continue;
    }
    if (segment.witnessAt >= sinceMs) fresh = true;
  }
  if (!fresh) return false;
  return !anyArbitrates || (state.intentSince >= 0 && now - state.intentSince >= INTENT_MIN_MS);
}

/** A segment on which an answer, and the lack of one, says something. */
const arbitrates = (state: ElectionState, index: number): boolean => {
  const { singleMac, ignored } = state.config.segments[index]!;
  return !singleMac && ignored !== true;
};

/** Asks everywhere: an answer is proof of a gate on a segment without a witness, too (docs/election.md, hole 5). */
function probeAll(state: ElectionState, now: number, claimAt: number, effects: ElectionEffect[]): void {
  const asking = now - silentSince(state, now);
  const interval = asking > SOLO_AFTER_MS ? PROBE_SLOW_INTERVAL_MS : PROBE_INTERVAL_MS;
  const broadcast = isEligible(state) && now >= claimAt - INTENT_MS;
  for (let index = 0; index < state.segments.length; index++) {
    const segment = state.segments[index]!;
    if (!arbitrates(state, index) || !segment.carrier) continue;
    // Close to a claim the interval is the short one again: two probes, and the intent, must fit before it.
    if (now - segment.probedAt < (broadcast ? PROBE_INTERVAL_MS : interval)) continue;
    if (segment.unanswered === 0) segment.unansweredSince = now;
    segment.unanswered += 1;
    segment.probedAt = now;
    if (broadcast && state.intentSince < 0) state.intentSince = now;
    effects.push({ kind: "probe", segment: index, broadcast });
  }
}

/** Somebody answered from the virtual MAC to a probe sent at `sentAt`. */
export function onAnswer(
  state: ElectionState,
  now: number,
  input: { readonly segment: number; readonly sentAt: number },
  effects: ElectionEffect[],
): void {
  const segment = state.segments[input.segment];
  if (segment === undefined) return;
  if (state.phase === Phase.Active) {
    onConflictAnswer(state, now, effects);
    return;
  }
  if (!mayClaim(state)) return;
  segment.answeredAt = now;
  const leaseMs = peerLeaseMs(state, now);
  if (input.sentAt < probeFrom(state, now, leaseMs)) return;
  segment.unanswered = 0;
  state.intentSince = -1;
  if (state.answeredSince < 0) state.answeredSince = now;
  if (input.sentAt >= countsFrom(state, now, leaseMs)) state.answeredAt = now;
  if (isPeerAbsent(state, now)) setAlarm(state, "heartbeats-lost-gate-answers", true, effects);
}

/**
 * A third party is heard. Where none was for a while before the first unanswered probe, or since, that probe may have
 * been lost on a dead segment like the third party's answers: it says nothing about a gate, and is asked again.
 */
export function onWitness(state: ElectionState, now: number, index: number): void {
  const segment = state.segments[index];
  if (segment === undefined) return;
  const unheard =
    segment.witnessAt < segment.unansweredSince - WITNESS_BEFORE_PROBE_MS ||
    now - segment.witnessAt > 1.5 * WITNESS_ASK_INTERVAL_MS;
  if (unheard) segment.unanswered = 0;
  segment.witnessAt = now;
}

/** The probe just sent did not leave: its silence says nothing, and where none of its turn left, no intent was told. */
export function onProbeFailed(state: ElectionState, index: number): void {
  const segment = state.segments[index];
  if (segment === undefined || !mayClaim(state)) return;
  segment.unanswered = Math.max(0, segment.unanswered - 1);
  segment.probeFailedAt = segment.probedAt;
  // A question that was not put is not one without an answer: no reopening on the strength of it.
  if (segment.probedAt === state.reopenAskedAt) state.reopenUntil = Number.NEGATIVE_INFINITY;
  const told = state.segments.some(
    ({ probedAt, probeFailedAt }) => probedAt === state.intentSince && probeFailedAt !== probedAt,
  );
  if (segment.probedAt === state.intentSince && !told) state.intentSince = -1;
}

/** The peer is about to claim as well: the one that is not preferred steps back (docs/election.md, hole 3). */
export function onContender(state: ElectionState, now: number): void {
  if (!mayClaim(state) || state.opening !== null || isPreferred(state.config)) return;
  state.quietFloor = Math.max(state.quietFloor, now);
  forgetProbes(state);
}

/** Asks the third parties: routinely, and quickly where a claim waits for their word. */
export function askWitnesses(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const timers = state.config.timers;
  const urgent =
    mayClaim(state) &&
    state.witnessedSince >= 0 &&
    isPeerAbsent(state, now + timers.deadAfterMs - 2 * timers.heartbeatMs) &&
    now - silentSince(state, now) < SOLO_AFTER_MS;
  for (let index = 0; index < state.segments.length; index++) {
    const segment = state.segments[index]!;
    if (!segment.carrier || state.config.segments[index]!.ignored === true) continue;
    // A question that was not answered is repeated sooner: a lost frame is not a dead port.
    const patient = segment.witnessAt >= segment.askedAt ? WITNESS_ASK_INTERVAL_MS : WITNESS_ASK_AGAIN_MS;
    const interval = urgent ? WITNESS_ASK_FAST_INTERVAL_MS : patient;
    if (now - segment.askedAt < interval || now - segment.witnessAt < interval) continue;
    segment.askedAt = now;
    effects.push({ kind: "ask-witness", segment: index });
  }
}

/** Follows whether anybody at all is heard on the service segments; an isolated active shuts its gate (failover §4). */
export function watchIsolation(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const bits = witnessBits(state, now, WITNESS_MS);
  if (bits !== 0) {
    if (state.witnessedSince < 0) {
      state.witnessedSince = now;
      // Silence while nobody could be heard is no silence.
      state.quietFloor = Math.max(state.quietFloor, now);
      forgetProbes(state);
    }
  }
  // While this heart itself stood still, nobody was asked.
  const isolated = bits === 0 && now - Math.max(state.startedAt, state.lateAt) >= WITNESS_MS;
  if (isolated) state.witnessedSince = -1;
  setAlarm(state, "isolated", isolated, effects);
  const gated = state.phase === Phase.Active || state.phase === Phase.Draining;
  if (isolated && gated && now - state.phaseSince >= WITNESS_MS)
    shutGate(state, now, Phase.Standby, "isolated", effects);
}

/** An active that hears no peer asks whether somebody else holds the addresses (docs/election.md, hole 4). */
export function probeForConflict(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.phase !== Phase.Active) return;
  if (peerHeard(state, now)) {
    state.conflictAnsweredSince = -1;
    setAlarm(state, "claimant-on-segment", false, effects);
    return;
  }
  if (now < state.conflictProbeAt) return;
  if (state.conflictAnsweredSince >= 0 && now - state.conflictAnsweredAt > CONFLICT_PROBE_MS) {
    // Nobody answers any more: hosts and switches are told again where the addresses are (failover §7).
    state.conflictAnsweredSince = -1;
    setAlarm(state, "claimant-on-segment", false, effects);
    announceNow(state, now, effects);
  }
  const suspicious = state.conflictAnsweredSince >= 0;
  const young = now - state.phaseSince < CONFLICT_PROBE_MS;
  state.conflictProbeAt = now + (suspicious || young ? CONFLICT_PROBE_MS / 5 : CONFLICT_PROBE_MS);
  askForRival(state, now, effects);
}

/** Whether somebody else answers for the shared addresses, of every segment that can tell. */
export function askForRival(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  for (let index = 0; index < state.segments.length; index++) {
    if (!arbitrates(state, index) || !state.segments[index]!.carrier) continue;
    state.segments[index]!.probedAt = now;
    effects.push({ kind: "probe", segment: index, broadcast: true });
  }
}

/** Answered for longer than a dying lease can last: a second claimant. The one that is not preferred goes. */
function onConflictAnswer(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (peerHeard(state, now)) return;
  if (state.conflictAnsweredSince < 0 || now - state.conflictAnsweredAt > CONFLICT_PROBE_MS) {
    state.conflictAnsweredSince = now;
    state.conflictProbeAt = Math.min(state.conflictProbeAt, now + CONFLICT_PROBE_MS / 5);
  }
  state.conflictAnsweredAt = now;
  if (now - state.conflictAnsweredSince < 1.25 * state.config.timers.leaseMs) return;
  setAlarm(state, "claimant-on-segment", true, effects);
  if (isPreferred(state.config)) return;
  shutGate(state, now, Phase.Standby, "yielded", effects);
}

/** The earliest moment at which one of this file's rules wants a turn. */
export function arbiterDeadline(state: ElectionState, now: number): number {
  if (!mayClaim(state) || state.witnessedSince < 0) return Number.POSITIVE_INFINITY;
  const leaseMs = peerLeaseMs(state, now);
  const from = probeFrom(state, now, leaseMs);
  if (now < from) return from;
  const claimAt = Math.min(regularClaimAt(state, now, leaseMs), earlyClaimAt(state, now, leaseMs));
  const nextProbe = now + ANSWER_WAIT_MS;
  return claimAt > now ? Math.min(claimAt, nextProbe) : nextProbe;
}
