// What this node says: heartbeats and announcements. Both are built from the state at the moment at which they are
// decided, and never while an opening is under way: a heartbeat that still says "shut" behind an `open` would be a
// false grant (I4). Pure.

import { assert } from "../../base/assert.ts";
import { withReadiness } from "../../base/readiness.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import { type AlarmCount, countAlarms } from "../alarms.ts";
import { isReady, saidReadiness } from "./readiness.ts";
import {
  ANNOUNCE_INTERVAL_MS,
  ANNOUNCE_REPEATS_MS,
  carrierBits,
  type ElectionState,
  gateOf,
  holdsGate,
  isDaemonFresh,
  isDressed,
  Phase,
  rememberSent,
  roleOf,
  WITNESS_RECENT_MS,
  witnessBits,
} from "./state.ts";
import { BETWEEN_CONFIGURATIONS, type ElectionEffect } from "./types.ts";

/** The upper bound of the lease until the next heartbeat (I6): a long one is announced before it is taken. */
function statedLeaseMs(state: ElectionState): number {
  const { leaseMs, soloLeaseMs } = state.config.timers;
  if (!holdsGate(state) && state.phase !== Phase.Adopting) return 0;
  if (state.unsafe.leaseLengthNotCarried === true) return leaseMs;
  const long = state.leaseKind === "solo" || state.soloAnnounced > 0 || state.phase === Phase.Adopting;
  return long ? soloLeaseMs : leaseMs;
}

/** The field is one byte; whoever has more alarms than that has only one problem. */
const ALARMS_TOLD_MAX = 255;

const NO_ALARMS: AlarmCount = { alarms: 0, critical: false };

/** This node's alarms: heart's own, and the daemon's while it speaks. */
function alarmsOf(state: ElectionState, now: number): AlarmCount {
  const theirs = isDaemonFresh(state, now) ? state.daemon : null;
  // A hundred times a second, and mostly nothing: without an object.
  if (state.alarms.size === 0 && (theirs?.alarms ?? 0) === 0) return NO_ALARMS;
  const own = countAlarms(state.alarms);
  return {
    alarms: Math.min(ALARMS_TOLD_MAX, own.alarms + (theirs?.alarms ?? 0)),
    critical: own.critical || theirs?.critical === true,
  };
}

/** The message that this node would send now. */
export function heartbeatOf(state: ElectionState, now: number): HeartbeatMessage {
  const { config, daemon, handover } = state;
  const { alarms, critical } = alarmsOf(state, now);
  return {
    node: config.node,
    role: roleOf(state),
    gate: gateOf(state),
    ready: isReady(state, now),
    handover:
      state.phase === Phase.Draining && handover?.cause !== "yield" && handover?.withdrawnSequence === 0,
    leaving: state.phase === Phase.Left,
    candidate: state.candidate,
    dressed: isDressed(state),
    term: state.term,
    sequence: state.sequence,
    echo: state.peer.sequence,
    leaseMs: statedLeaseMs(state),
    position: daemonPosition(state),
    sessions: daemon?.sessions ?? 0,
    configurationDigest: config.digest ?? daemon?.configurationDigest ?? BETWEEN_CONFIGURATIONS,
    priority: config.priority[config.node],
    carrier: withReadiness(carrierBits(state), saidReadiness(state, now)),
    witnessed: witnessBits(state, now, WITNESS_RECENT_MS),
    alarms,
    critical,
  };
}

const NO_POSITION = { term: 0, sequence: 0 } as const;

const daemonPosition = (state: ElectionState): HeartbeatMessage["position"] =>
  state.daemon?.position ?? NO_POSITION;

/** Counts, remembers and hands out one heartbeat. */
export function sendHeartbeat(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  assert(state.opening === null, "no heartbeat while an opening is under way");
  rememberSent(state, now);
  if (state.soloAnnounced > 0) state.soloAnnounced += 1;
  effects.push({ kind: "heartbeat", message: heartbeatOf(state, now) });
}

/** Announces at once and several times again: a switch or a host may miss one (failover §7). */
export function announceNow(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  effects.push({ kind: "announce" });
  state.announceIndex = 0;
  state.announceAt = now + ANNOUNCE_REPEATS_MS[0]!;
}

/** The repeats, then one every 10 s for as long as the gate is open. */
export function announceWhenDue(state: ElectionState, now: number, effects: ElectionEffect[]): void {
  if (state.phase !== Phase.Active || now < state.announceAt) return;
  effects.push({ kind: "announce" });
  const before = ANNOUNCE_REPEATS_MS[state.announceIndex] ?? 0;
  state.announceIndex += 1;
  const next = ANNOUNCE_REPEATS_MS[state.announceIndex];
  state.announceAt = now + (next === undefined ? ANNOUNCE_INTERVAL_MS : next - before);
}
