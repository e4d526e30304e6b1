// The machine drawn: a text for logs, tests and scenario files, and the values that heart shows. Pure.

import { readinessIn } from "../../base/readiness.ts";
import { type GateState, type Role, type Term, term } from "../../base/units.ts";
import type { PeerState } from "../../wire/control.ts";
import { heartReasons, isReady } from "./readiness.ts";
import {
  type ElectionState,
  gateOf,
  holdsGate,
  nextOwnTerm,
  peerHeard,
  roleOf,
  WITNESS_RECENT_MS,
  witnessBits,
} from "./state.ts";

export interface ElectionView {
  readonly role: Role;
  readonly term: Term;
  readonly gate: GateState;
  /** Of the lease in the kernel as last renewed; 0 where none. */
  readonly leaseMs: number;
  readonly candidate: boolean;
  /** What the heartbeat says: the daemon's word while it is fresh, and a term reserved on disk. */
  readonly ready: boolean;
  /** Why this node is not ready whatever its daemon says, in words; empty where nothing of heart's is in the way. */
  readonly reasons: readonly string[];
  readonly peer: PeerState;
}

/** The values that `understudy show` is made of, as of the machine's last step. */
export function viewOf(state: ElectionState): ElectionView {
  const { soloLeaseMs, leaseMs } = state.config.timers;
  const { message } = state.peer;
  const held = holdsGate(state);
  return {
    role: roleOf(state),
    term: term(state.term),
    gate: gateOf(state),
    leaseMs: held ? (state.leaseKind === "solo" ? soloLeaseMs : leaseMs) : 0,
    candidate: state.candidate,
    ready: isReady(state, state.now),
    reasons: heartReasons(state),
    peer: {
      heard: peerHeard(state, state.now),
      role: message?.role ?? null,
      term: message === null ? null : term(message.term),
      ready: message?.ready ?? false,
      position: message?.position ?? null,
      sessions: message?.sessions ?? null,
      configurationDigest: message?.configurationDigest ?? null,
      alarms: message?.alarms ?? null,
      critical: message?.critical ?? false,
      readiness: message === null || !peerHeard(state, state.now) ? null : readinessIn(message.carrier),
    },
  };
}

const ago = (now: number, at: number): string =>
  Number.isFinite(at) ? `${(now - at).toFixed(1)} ms ago` : "never";

/** A few lines that say where the machine stands and what it waits for. */
export function describe(state: ElectionState): string {
  const { now, peer } = state;
  const { message } = peer;
  const segments = state.segments.map((segment, index) => {
    const name = state.config.segments[index]!.name;
    const witness = segment.carrier ? `witness ${ago(now, segment.witnessAt)}` : "no carrier";
    const probes = segment.unanswered > 0 ? `, ${segment.unanswered} probes unanswered` : "";
    return `  ${name}: ${witness}${probes}`;
  });
  const heard = message === null ? "never heard" : `heard ${ago(now, peer.heardAt)}`;
  const words = message === null ? "" : `, says ${message.role} term ${message.term} gate ${message.gate}`;
  const bits = witnessBits(state, now, WITNESS_RECENT_MS).toString(2);
  return [
    `${state.config.node}: ${state.phase} term ${state.term} (next ${nextOwnTerm(state)}), gate ${gateOf(state)}, lease ${state.leaseKind}`,
    `  ${state.candidate ? "candidate" : "no candidate"}, ${isReady(state, now) ? "ready" : "not ready"}, witnessed ${bits}`,
    `  peer ${heard}${words}`,
    ...segments,
  ].join("\n");
}
