// The election: who may hold the gate, and how it changes hands (docs/election.md; failover.md §1 to §8). One pure
// machine, run by heart and by the simulator: `step` takes what happened and appends what has to be done,
// `deadline` says when it wants a turn without anything happening; describe.ts draws it. It has no clock, no chance and
// no sockets; the driver's contract is at the top of types.ts.

import { unreachable } from "../../base/assert.ts";
import { type Millis, millis } from "../../base/units.ts";
import type { Config } from "../config.ts";
import { servicesOf } from "../config.ts";
import { setAlarm } from "./alarms.ts";
import {
  arbiterDeadline,
  askForRival,
  askWitnesses,
  judgeSilence,
  onAnswer,
  onContender,
  onProbeFailed,
  onWitness,
  probeForConflict,
  watchDeafness,
  watchIsolation,
} from "./arbiter.ts";
import { considerCandidacy, isEligible } from "./candidate.ts";
import { onConfiguration } from "./configure.ts";
import { advanceHandover, compareWhenDue, onCommand } from "./handover.ts";
import {
  beatWhenDue,
  considerSolo,
  decideOpening,
  lapse,
  onOpened,
  onRenewal,
  startCandidacy,
} from "./lease.ts";
import { onHeartbeat } from "./listen.ts";
import { announceWhenDue, sendHeartbeat } from "./speak.ts";
import {
  DAEMON_RESTART_MS,
  type ElectionState,
  holdsGate,
  OPEN_VALID_MS,
  Phase,
  peerHeard,
} from "./state.ts";
import { onTermStored, storeWhenDue } from "./terms.ts";
import type { ElectionConfig, ElectionEffect, ElectionInput } from "./types.ts";

/** Of the configuration's digest, as a heartbeat carries it. */
const DIGEST_DIGITS = 16;

/** An answer of the segment takes a wake-up of the one who answers and one of ours. */
const REOPEN_WAIT_MS = 5;

/** What the election needs of the configuration; segments are numbered as `servicesOf` orders them. */
export function electionConfigOf(config: Config): ElectionConfig {
  return {
    node: config.node,
    priority: config.priority,
    timers: config.timers,
    segments: servicesOf(config).map((service) => ({
      name: service.name,
      singleMac: service.singleMac,
      ignored: config.links.some((link) => link.service === service && !link.enabled),
    })),
    digest: config.digest.slice(0, DIGEST_DIGITS),
  };
}

/**
 * One input at `now` (CLOCK_MONOTONIC, ms). Effects are appended in the order in which they have to be performed.
 */
export function step(
  state: ElectionState,
  now: Millis,
  input: ElectionInput,
  effects: ElectionEffect[],
): void {
  state.now = now;
  if (input.kind !== "renewal" && input.kind !== "opened") observeClock(state, now, effects);
  switch (input.kind) {
    case "heartbeat":
      onHeartbeat(state, now, input, effects);
      return;
    case "answer":
      onAnswer(state, now, input, effects);
      return;
    case "probe-failed":
      onProbeFailed(state, input.segment);
      return;
    case "contender":
      onContender(state, now);
      return;
    case "witness":
      onWitness(state, now, input.segment);
      return;
    case "carrier": {
      const segment = state.segments[input.segment];
      if (segment !== undefined) segment.carrier = input.up;
      return;
    }
    case "renewal":
      onRenewal(state, now, input, effects);
      return;
    case "opened":
      onOpened(state, now, input, effects);
      return;
    case "daemon":
      state.daemon = input.facts;
      state.daemonAt = now;
      state.daemonRestartUntil = Number.NEGATIVE_INFINITY;
      return;
    case "readiness":
      state.readiness = input.readiness;
      state.readinessAt = now;
      return;
    case "daemon-restarting":
      state.daemonRestartUntil = now + DAEMON_RESTART_MS;
      return;
    case "daemon-gone":
      // Its silence speaks for itself; the kernel stays as it dressed it.
      return;
    case "command":
      onCommand(state, now, input, effects);
      return;
    case "term-stored":
      onTermStored(state, input);
      return;
    case "configuration":
      onConfiguration(state, now, input);
      return;
    case "gate-missing":
      onGateMissing(state, now, effects);
      return;
    case "gate-restored":
      onGateRestored(state, now, effects);
      return;
    case "turn":
      turn(state, now, effects);
      return;
    default:
      unreachable(input);
  }
}

/**
 * What the clock alone says, before anything else is looked at: a lease that must have ended has ended, and a turn
 * that comes late restarts the silence clock (failover §3).
 */
function observeClock(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.shutsFirst) {
    state.shutsFirst = false;
    effects.push({ kind: "shut" });
  }
  if (holdsGate(state) && now >= state.leaseUntil && state.unsafe.blindRenewal !== true)
    lapse(state, now, effects);
  if (state.unsafe.judgeBeforeDraining === true) return;
  if (now - state.dueAt <= state.config.timers.heartbeatMs || state.late) return;
  state.late = true;
  state.lateAt = now;
  state.quietFloor = now;
  for (const segment of state.segments) segment.unanswered = 0;
  state.intentSince = -1;
}

/** Everything of this turn was fed: judge, decide, speak. */
function turn(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  watchIsolation(state, now, effects);
  watchDeafness(state, now, effects);
  setAlarm(state, "peer-silent", state.peer.message !== null && !peerHeard(state, now), effects);
  reopenWhenUnanswered(state, now, effects);
  considerCandidacy(state, now, effects);
  judgeSilence(state, now, effects);
  if (state.opening === null) {
    advanceHandover(state, now, effects);
    compareWhenDue(state, now, effects);
    considerSolo(state, now);
    beatWhenDue(state, now, effects);
  }
  probeForConflict(state, now, effects);
  askWitnesses(state, now, effects);
  announceWhenDue(state, now, effects);
  storeWhenDue(state, now, effects);
  state.late = false;
  state.dueAt = deadline(state);
}

/** When the machine wants its next `turn` at the latest, as of its last step (CLOCK_MONOTONIC, ms). */
export function deadline(state: ElectionState): Millis {
  const { now } = state;
  let due = state.nextHeartbeatAt;
  if (state.phase === Phase.Active) due = Math.min(due, state.announceAt);
  due = Math.min(due, arbiterDeadline(state, now));
  if (Number.isFinite(state.reopenAskedAt)) due = Math.min(due, state.reopenAskedAt + REOPEN_WAIT_MS);
  // A rule that could not be satisfied now is looked at again soon, not at once.
  return millis(Math.max(due, now + 0.5));
}

/** The gate was torn down under us: nothing may open until it is back. */
function onGateMissing(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.gateMissing) return;
  state.gateMissing = true;
  setAlarm(state, "gate-missing", true, effects);
  if (holdsGate(state)) lapse(state, now, effects);
}

/**
 * It is back, shut. Alone under a long lease, nobody else can have opened where we are heard: the segments are asked once, and
 * where none answers we go on. Otherwise the rules of a lapse, and the peer is asked anew: what it said before came
 * while nothing could be opened (docs/election.md, hole 6).
 */
function onGateRestored(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  state.gateMissing = false;
  setAlarm(state, "gate-missing", false, effects);
  if (state.phase !== Phase.Lapsed || !isEligible(state)) return;
  if (now + REOPEN_WAIT_MS + OPEN_VALID_MS < state.reopenUntil) {
    state.reopenAskedAt = now;
    askForRival(state, now, effects);
  } else {
    askForLeave(state, now, effects);
  }
}

/** Nobody has answered: we go on. Anybody has: the rules of a lapse. */
function reopenWhenUnanswered(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  const askedAt = state.reopenAskedAt;
  if (!Number.isFinite(askedAt)) return;
  const rivalled = state.phase !== Phase.Lapsed || state.gateMissing || state.late || peerHeard(state, now);
  const answered = state.segments.some((segment) => segment.answeredAt >= askedAt);
  if (!rivalled && !answered && now < askedAt + REOPEN_WAIT_MS) return;
  state.reopenAskedAt = Number.NEGATIVE_INFINITY;
  if (state.phase !== Phase.Lapsed || !isEligible(state)) return;
  const notAfter = state.reopenUntil;
  if (!rivalled && !answered && now + OPEN_VALID_MS < notAfter)
    decideOpening(state, now, { cause: "reopened", term: state.term, silenceMs: 0, notAfter }, effects);
  else askForLeave(state, now, effects);
}

function askForLeave(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  startCandidacy(state, now);
  sendHeartbeat(state, now, effects);
}
