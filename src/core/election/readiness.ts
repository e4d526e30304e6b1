// What this node may be trusted with: the word `ready` of its heartbeats, and why it is withheld. Questions to the
// state alone; it changes nothing. Pure.

import { READINESS_FRESH_MS } from "../../base/limits.ts";
import {
  COMPARE_HYSTERESIS,
  type ElectionState,
  holdsGate,
  isDaemonFresh,
  isDressed,
  nextKnownTerm,
  Phase,
  usableBits,
} from "./state.ts";

/** A standby whose gate would forward nothing, beside an active whose gate does: a takeover would end the service. */
export const isBlind = (state: ElectionState): boolean =>
  state.phase === Phase.Standby && state.blindCount >= COMPARE_HYSTERESIS;

/** A gate that opens has its term on disk. */
const isTermStored = (state: ElectionState): boolean =>
  holdsGate(state) || nextKnownTerm(state) <= state.storedReserved;

/** Heart and daemon speak of the same: while one goes on to another configuration, the other's word is about the last one. */
const isOneConfiguration = (state: ElectionState): boolean =>
  state.config.digest === undefined || state.daemon?.configurationDigest === state.config.digest;

/**
 * What the heartbeat says as `ready`: the daemon's word, while it is fresh, a term on disk, and segments that work
 * (failover §5, §6).
 */
export const isReady = (state: ElectionState, now: number): boolean =>
  state.daemon?.ready === true &&
  isOneConfiguration(state) &&
  isDaemonFresh(state, now) &&
  isDressed(state) &&
  !isBlind(state) &&
  isTermStored(state);

/**
 * What the heartbeat says of readiness: the daemon's word while it is young. A word that is older than that was true once, and
 * is not repeated.
 */
export const saidReadiness = (state: ElectionState, now: number): number | null =>
  now - state.readinessAt < READINESS_FRESH_MS ? state.readiness : null;

/** Names of the segments in `bits`: `lan, fibre`. */
export const segmentNames = (state: ElectionState, bits: number): string =>
  state.config.segments.flatMap(({ name }, index) => ((bits & (1 << index)) === 0 ? [] : [name])).join(", ");

/** Why this node is not ready whatever its daemon says, in words, as of the machine's last step. */
export function heartReasons(state: ElectionState): readonly string[] {
  const reasons: string[] = [];
  if (isBlind(state)) {
    let wanted = 0;
    for (const [index, { ignored }] of state.config.segments.entries())
      if (ignored !== true) wanted |= 1 << index;
    const silent = segmentNames(state, wanted & ~usableBits(state, state.now));
    reasons.push(`this node could not forward: nobody answers it on ${silent}`);
  }
  if (!isTermStored(state)) reasons.push("this node's next term is not on disk yet");
  return reasons;
}
