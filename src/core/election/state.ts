// The election's state: everything that one heart remembers, as plain data, and the few questions that every
// other part asks of it. Only the functions of this folder write it. Pure: no clock, no chance.
//
// Invariants (numbered as in docs/election.md):
//  I1 `phase` Active or Draining is the only one in which this node renews; every other phase has asked for `shut`.
//  I2 The gate is opened by an `open` effect alone, and `opening` is set from the decision to its receipt.
//  I3 A term is used for an opening only if it is greater than every term heard, claimed or read from disk.
//  I4 Whoever says "gate shut, not a candidate" in a heartbeat that echoes a candidate's sequence does not open for
//     `dead + lease` after it heard that sequence, unless the peer leaves (that is what a grant is).
//  I5 `leaseUntil` is never earlier than the moment at which the kernel's lease ends.
//  I6 The lease that a heartbeat states is never shorter than the one in the kernel at that moment or before the next
//     heartbeat.

import { GateState, type Millis, millis, nextTermOf, Role, type Term, term } from "../../base/units.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import type { HeartAlarmCode } from "../alarms.ts";
import type {
  DaemonFacts,
  ElectionConfig,
  ElectionEffect,
  ElectionStart,
  LeaseKind,
  RoleChangeCause,
  UnsafeElection,
} from "./types.ts";

export const Phase = {
  /** Started, nothing heard yet, or nobody to follow. */
  Idle: "idle",
  /** A solo lease of our own was found in the kernel and is being renewed. */
  Adopting: "adopting",
  /** Follows, or waits for somebody to follow. */
  Standby: "standby",
  Active: "active",
  /** Gate in `drain`: handing over, or yielding after a split. */
  Draining: "draining",
  /** Was active until its lease ended; asks to go on in the same term. */
  Lapsed: "lapsed",
  /** Told to leave; never opens again. */
  Left: "left",
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/** Probes: one every 4 ms; an answer takes 0.1 ms (failover §4). */
export const PROBE_INTERVAL_MS = 4;
/** Once answers or silence have lasted for a second, asking less often is enough. */
export const PROBE_SLOW_INTERVAL_MS = 20;
export const PROBES_UNANSWERED_MIN = 2;
/** A third party heard within this time proves the cable (failover §4). */
export const WITNESS_MS = 1000;
export const WITNESS_ASK_INTERVAL_MS = 100;
/** Where the last question was not answered. */
export const WITNESS_ASK_AGAIN_MS = 40;
/** In the claim window: ask until one answers. */
export const WITNESS_ASK_FAST_INTERVAL_MS = 10;
/** A claim needs a third party heard within this time: one answer of the routine questions may be lost. */
export const WITNESS_CLAIM_MS = 150;
/** For comparisons only: three questions unanswered. (A verdict of a second would leave a deaf port for too long.) */
export const WITNESS_RECENT_MS = 400;
/** Solo begins after this long without the peer (failover §5). */
export const SOLO_AFTER_MS = 1000;
/** Heartbeats that announce the long lease before it is taken. */
export const SOLO_ANNOUNCEMENTS = 5;
/** A lapsed active that gets no answer gives up its claim to the term. */
export const LAPSED_MS_MAX = 1000;
/** A heart that hears nobody listens at least this long before it claims. */
export const BOOT_LISTEN_MS = 1000;
export const COMPARE_INTERVAL_MS = 200;
/** Comparisons in a row in which the standby was better off, before the gate is handed over. */
export const COMPARE_HYSTERESIS = 2;
/** No second handover by comparison within this time, unless this node cannot forward at all. */
export const COMPARE_PAUSE_MS = 10_000;
/** This long without being able to forward, and even a standby that is not ready is better. */
export const CANNOT_FORWARD_MS = 3000;
export const HANDOVER_ACKNOWLEDGE_MS = 2000;
/** In drain without hearing the new active: the offer is withdrawn. */
export const HANDOVER_OFFER_MS = 100;
/** After the offer was withdrawn: wait this long for the standby's word that it did not open. */
export const HANDOVER_WITHDRAW_MS = 100;
/** The loser of a split shuts this long after it began to drain (failover §6). */
export const YIELD_DRAIN_MS = 20;
export const DAEMON_FRESH_MS = 1000;
export const DAEMON_WEDGED_MS = 10_000;
export const DAEMON_RESTART_MS = 60_000;
export const STORE_RETRY_MS = 1000;
/** Own terms reserved on disk at a time: that many takeovers are safe beside a disk that refuses. */
export const TERMS_RESERVED = 4;
export const ANNOUNCE_REPEATS_MS: readonly number[] = [10, 50, 200, 1000];
export const ANNOUNCE_INTERVAL_MS = 10_000;
/** Probes of an active that opened by silence or hears no peer: is somebody else answering? */
export const CONFLICT_PROBE_MS = 100;
/** `open` is worth nothing later than this after its decision. */
export const OPEN_VALID_MS = 3;
const SENT_RING = 64;

export interface SegmentRecord {
  carrier: boolean;
  witnessAt: number;
  askedAt: number;
  probedAt: number;
  /** `probedAt` of the last probe that did not leave. */
  probeFailedAt: number;
  /** Consecutive probes sent in this window that nothing has answered since. */
  unanswered: number;
  /** When the first of them was sent. */
  unansweredSince: number;
  answeredAt: number;
}

export interface PeerRecord {
  boot: number;
  /** When this boot of it last said that it was ready. */
  readyAt: number;
  /** The term in which its gate was last heard open, in this life of ours; -1: never. */
  openTerm: number;
  /** Highest sequence of this boot. */
  sequence: number;
  heardAt: number;
  /** Since when this boot of it has been heard without a break of `dead`. */
  heardSince: number;
  message: HeartbeatMessage | null;
  /** Upper bound of the lease that its kernel may hold, ms, by what it said last. */
  leaseMs: number;
}

/** An opening that was decided; ended by its receipt (I2). */
export interface Opening {
  readonly cause: RoleChangeCause;
  readonly term: Term;
  readonly decidedAt: number;
  readonly silenceMs: number;
}

export const HandoverCause = {
  Command: "command",
  Better: "better",
  Leave: "leave",
  Wedged: "wedged",
  /** The loser of a split: nobody is asked to open. */
  Yield: "yield",
} as const;
export type HandoverCause = (typeof HandoverCause)[keyof typeof HandoverCause];

export interface Handover {
  readonly cause: HandoverCause;
  /** The command to answer; -1 where none. */
  readonly request: number;
  readonly since: number;
  readonly positionTerm: number;
  readonly positionSequence: number;
  drainingSince: number;
  /** First sequence that says that the offer is withdrawn; 0 while it stands. */
  withdrawnAt: number;
  withdrawnSequence: number;
}

export interface ElectionState {
  /** Replaced whole by a `configuration` (configure.ts). */
  config: ElectionConfig;
  readonly unsafe: UnsafeElection;
  readonly startedAt: number;
  /** Of the last step. */
  now: number;
  phase: Phase;
  phaseSince: number;
  /** Highest term known to have been claimed. */
  term: number;
  /** Heard of, or perhaps claimed in an earlier life of this node: never to be claimed (again) (I3). */
  termFloor: number;
  readonly skip: number;
  /** Own terms up to this one are on disk as reserved. */
  storedReserved: number;
  storedCurrent: number;
  storeAskedTerm: number;
  storeAskedReserved: number;
  storeAskedAt: number;
  storePending: boolean;
  storeFailed: boolean;

  sequence: number;
  readonly sentAt: Float64Array;
  nextHeartbeatAt: number;
  /** What the driver was last told as deadline; a turn much later than that was late (failover §3). */
  dueAt: number;
  /** This turn was late: what is read in it waited in a buffer. */
  late: boolean;
  /** The last late turn. */
  lateAt: number;
  /** The silence clock was restarted here. */
  quietFloor: number;
  /** The last counted answer of the arbiter. */
  answeredAt: number;
  /** Some probe was answered although the peer is silent: since when; -1 otherwise. */
  answeredSince: number;

  /** Since when the peer is heard but does not hear us; -1 otherwise. */
  deafSince: number;
  /** Since when this silence's claim has been announced on the segments; -1: not yet. */
  intentSince: number;

  /** Since when the peer, as far as it is heard, has been neither active nor open; -1: it is. */
  vacantSince: number;

  candidate: boolean;
  /** First sequence sent as this candidate. */
  candidateSequence: number;
  candidateSince: number;
  opening: Opening | null;

  /** Of the lease in the kernel, as its last receipt said. */
  leaseKind: LeaseKind;
  /** Of the renewal under way. */
  renewKind: LeaseKind;
  /** The kernel's lease has ended by then at the latest (I5). */
  leaseUntil: number;
  renewing: boolean;
  /** Whatever an earlier life left open is shut with the first turn. */
  shutsFirst: boolean;
  /** Lapsed from Active, nothing offered: until then nobody else can have opened. */
  reopenUntil: number;
  /** The segments were asked whether that is so: a segment may have healed since it was last asked. */
  reopenAskedAt: number;
  /** Heartbeats sent that announced the long lease; 0 while short. */
  soloAnnounced: number;
  gateMissing: boolean;

  readonly peer: PeerRecord;
  segments: SegmentRecord[];
  /** Since when a witness has been heard on any segment without a break; -1 while isolated. */
  witnessedSince: number;

  daemon: DaemonFacts | null;
  daemonAt: number;
  daemonRestartUntil: number;
  /** The daemon's word on readiness, and when it came. */
  readiness: number | null;
  readinessAt: number;

  handover: Handover | null;
  /** The `leave` to answer; -1 where none. */
  leaveRequest: number;
  /** Handing over before leaving was tried. */
  leaveTried: boolean;
  comparedAt: number;
  betterCount: number;
  lastBetterAt: number;
  cannotForwardSince: number;
  /** Comparisons in a row in which this standby could not forward and the active could. */
  blindCount: number;
  wedgedTriedAt: number;

  announceIndex: number;
  announceAt: number;
  conflictSince: number;
  conflictProbeAt: number;
  conflictAnsweredSince: number;
  conflictAnsweredAt: number;
  announcedAgainAt: number;
  readonly alarms: Set<HeartAlarmCode>;
}

const NEVER = Number.NEGATIVE_INFINITY;

/** The machine at its start. Its first turn may come at once. */
export function createElection(
  config: ElectionConfig,
  start: ElectionStart,
  unsafe: UnsafeElection = {},
): ElectionState {
  const { stored, adopted, now } = start;
  const own = stored.current > 0 && (stored.current % 2 === 0) === (config.node === "a");
  const adopts = adopted?.held === true && !adopted.drained && own;
  return {
    config,
    unsafe,
    startedAt: now,
    now,
    phase: adopts ? Phase.Adopting : Phase.Idle,
    phaseSince: now,
    term: stored.current,
    skip: start.skip ?? 0,
    termFloor: Math.max(stored.current, stored.reserved),
    storedReserved: 0,
    storedCurrent: -1,
    storeAskedTerm: -1,
    storeAskedReserved: 0,
    storeAskedAt: NEVER,
    storePending: false,
    storeFailed: false,
    sequence: 0,
    sentAt: new Float64Array(SENT_RING).fill(NEVER),
    nextHeartbeatAt: now,
    dueAt: now,
    late: false,
    lateAt: NEVER,
    quietFloor: now,
    answeredAt: NEVER,
    answeredSince: -1,
    deafSince: -1,
    intentSince: -1,
    vacantSince: -1,
    candidate: false,
    candidateSequence: 0,
    candidateSince: now,
    opening: null,
    leaseKind: "short",
    renewKind: "short",
    leaseUntil: NEVER,
    renewing: false,
    shutsFirst: !adopts,
    reopenUntil: NEVER,
    reopenAskedAt: NEVER,
    soloAnnounced: 0,
    gateMissing: false,
    peer: newPeer(config.timers.soloLeaseMs),
    segments: config.segments.map((_, index) => newSegment(start.carriers[index] ?? false)),
    witnessedSince: -1,
    daemon: null,
    daemonAt: NEVER,
    daemonRestartUntil: NEVER,
    readiness: null,
    readinessAt: NEVER,
    handover: null,
    leaveRequest: -1,
    leaveTried: false,
    comparedAt: now,
    betterCount: 0,
    lastBetterAt: NEVER,
    cannotForwardSince: -1,
    blindCount: 0,
    wedgedTriedAt: NEVER,
    announceIndex: 0,
    announceAt: Number.POSITIVE_INFINITY,
    conflictSince: -1,
    conflictProbeAt: now,
    conflictAnsweredSince: -1,
    conflictAnsweredAt: NEVER,
    announcedAgainAt: NEVER,
    alarms: new Set(),
  };
}

/** Nothing is known of it: a long lease may be in force. */
function newPeer(leaseMs: number): PeerRecord {
  return {
    boot: -1,
    readyAt: NEVER,
    openTerm: -1,
    sequence: 0,
    heardAt: NEVER,
    heardSince: NEVER,
    message: null,
    leaseMs,
  };
}

export function newSegment(carrier: boolean): SegmentRecord {
  return {
    carrier,
    witnessAt: NEVER,
    askedAt: NEVER,
    probedAt: NEVER,
    probeFailedAt: NEVER,
    unanswered: 0,
    unansweredSince: NEVER,
    answeredAt: NEVER,
  };
}

export function roleOf(state: ElectionState): Role {
  switch (state.phase) {
    case Phase.Active:
    case Phase.Draining:
    case Phase.Lapsed:
      return Role.Active;
    case Phase.Standby:
      return Role.Standby;
    default:
      return Role.Idle;
  }
}

export function gateOf(state: ElectionState): GateState {
  if (state.phase === Phase.Active) return GateState.Open;
  if (state.phase === Phase.Draining) return GateState.Drain;
  return GateState.Shut;
}

/** The gate lets something through in this phase. */
export const holdsGate = (state: ElectionState): boolean =>
  state.phase === Phase.Active || state.phase === Phase.Draining;

export function setPhase(state: ElectionState, now: number, phase: Phase): void {
  state.phase = phase;
  state.phaseSince = now;
  forgetProbes(state);
}

/** A new silence, or none: what was asked in the last one says nothing. */
export function forgetProbes(state: ElectionState): void {
  state.intentSince = -1;
  state.answeredSince = -1;
  state.answeredAt = Number.NEGATIVE_INFINITY;
  for (const segment of state.segments) segment.unanswered = 0;
}

/** Tells the driver, and through it the daemon, of a change of role or gate. */
export function tellRole(
  state: ElectionState,
  cause: RoleChangeCause,
  effects: ElectionEffect[],
  silenceMs = 0,
  openMs = 0,
): void {
  effects.push({
    kind: "role-changed",
    role: roleOf(state),
    term: term(state.term),
    gate: gateOf(state),
    cause,
    silenceMs,
    openMs,
  });
}

/** The smallest own term above every term that is known: what is reserved on disk. */
export const nextKnownTerm = (state: ElectionState): Term =>
  nextTermOf(state.config.node, term(Math.max(state.term, state.termFloor)));

/** The term that this node claims if it opens now (I3); see `ElectionStart.skip`. */
export function nextOwnTerm(state: ElectionState): Term {
  const next = nextKnownTerm(state);
  return state.storedReserved > 0 ? next : term(next + 2 * state.skip);
}

/** The peer was heard within `dead`. */
export const peerHeard = (state: ElectionState, now: number): boolean =>
  now - state.peer.heardAt < state.config.timers.deadAfterMs;

/**
 * How long ago, ms, the sequence was sent that the peer's last heartbeat echoes: how fresh its word is. Infinity
 * where it echoes nothing of this life, or something longer ago than the ring remembers.
 */
export function echoAgeMs(state: ElectionState, now: number): number {
  const echo = state.peer.message?.echo ?? 0;
  if (echo === 0 || echo > state.sequence || echo <= state.sequence - SENT_RING)
    return Number.POSITIVE_INFINITY;
  return now - state.sentAt[echo % SENT_RING]!;
}

export function rememberSent(state: ElectionState, now: number): void {
  state.sequence += 1;
  state.sentAt[state.sequence % SENT_RING] = now;
}

export const isWitnessed = (state: ElectionState, index: number, now: number, withinMs: number): boolean => {
  const segment = state.segments[index]!;
  if (state.config.segments[index]!.ignored === true) return false;
  if (state.unsafe.witnessOff === true) return true;
  return segment.carrier && now - segment.witnessAt < withinMs;
};

/** Bit n: a third party was heard on segment n within the last `withinMs`. */
export function witnessBits(state: ElectionState, now: number, withinMs: number): number {
  let bits = 0;
  for (let index = 0; index < state.segments.length; index++)
    if (isWitnessed(state, index, now, withinMs)) bits |= 1 << index;
  return bits;
}

export function carrierBits(state: ElectionState): number {
  let bits = 0;
  for (let index = 0; index < state.segments.length; index++)
    if (state.segments[index]!.carrier && state.config.segments[index]!.ignored !== true) bits |= 1 << index;
  return bits;
}

/** Segments that work, for comparisons: carrier, and a third party heard a moment ago. */
export const usableBits = (state: ElectionState, now: number): number =>
  carrierBits(state) & witnessBits(state, now, WITNESS_RECENT_MS);

/** A gate that opened here would forward, as far as this machine knows. */
export const isDressed = (state: ElectionState): boolean =>
  state.daemon?.dressed === true && !state.gateMissing;

export const isDaemonFresh = (state: ElectionState, now: number): boolean =>
  now - state.daemonAt < DAEMON_FRESH_MS;

/** The longer wait that belongs to a longer lease: the same proportion as `dead` to `lease`. */
export const waitOutMs = (state: ElectionState, leaseMs: number): Millis =>
  millis((leaseMs * state.config.timers.deadAfterMs) / state.config.timers.leaseMs);
