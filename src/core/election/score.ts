// Who is better off: comparisons of the two nodes, from the bits that both put into their heartbeats. Both
// nodes must come to the same answer from the same facts. Pure.

import type { NodeId } from "../../base/units.ts";
import type { HeartbeatMessage } from "../../wire/heartbeat.ts";
import { isReady, segmentNames } from "./readiness.ts";
import { type ElectionState, isDressed, usableBits } from "./state.ts";
import { BETWEEN_CONFIGURATIONS, type ElectionConfig } from "./types.ts";

const LAN_BIT = 1;
/** More than any number of segments: a node that can forward is better than any that cannot. */
const FORWARDS = 1000;

/**
 * A node's worth by its usable service segments (carrier and witness). Whether it can forward at all, LAN and at
 * least one link, comes first: a LAN port that is dead outweighs any number of links (failover §6).
 */
export function scoreOf(usable: number): number {
  let count = 0;
  for (let bits = usable; bits !== 0; bits &= bits - 1) count++;
  const forwards = (usable & LAN_BIT) !== 0 && (usable & ~LAN_BIT) !== 0;
  return (forwards ? FORWARDS : 0) + count;
}

/**
 * The two have the same configuration: the same bit is the same segment on both. Otherwise, for the moments in which a new one
 * takes effect on one node after the other, only the LAN's bit is, and whether any link works at all.
 */
export const isComparable = (state: ElectionState, message: HeartbeatMessage): boolean => {
  const { digest } = state.config;
  return (
    digest === undefined || (digest !== BETWEEN_CONFIGURATIONS && digest === message.configurationDigest)
  );
};

/** How much better (positive) or worse `own` is than the peer's score, as far as the two can be compared. */
export const scoreAhead = (state: ElectionState, own: number, message: HeartbeatMessage): number => {
  const peer = peerScore(message);
  return isComparable(state, message) ? own - peer : Number(canForward(own)) - Number(canForward(peer));
};

export const canForward = (score: number): boolean => score >= FORWARDS;

export const ownScore = (state: ElectionState, now: number): number => scoreOf(usableBits(state, now));

/** Names of the segments that work here and do not on the peer; empty where there is none. */
export function missingOnPeer(state: ElectionState, now: number, peer: HeartbeatMessage): string {
  const usable = peer.carrier & peer.witnessed;
  if (isComparable(state, peer)) return segmentNames(state, usableBits(state, now) & ~usable);
  return (usable & LAN_BIT) === 0 ? segmentNames(state, LAN_BIT) : "any link";
}

/** This node forwards, and the peer could not. */
export const isPeerBlind = (state: ElectionState, now: number, peer: HeartbeatMessage): boolean =>
  canForward(ownScore(state, now)) && !canForward(peerScore(peer));

export const peerScore = (message: HeartbeatMessage): number => scoreOf(message.carrier & message.witnessed);

/** Where two nodes would open at the same moment and cannot talk: who goes first (the same answer on both). */
export function isPreferred(config: ElectionConfig): boolean {
  const own = config.priority[config.node];
  const peer: NodeId = config.node === "a" ? "b" : "a";
  const others = config.priority[peer];
  return own === others ? config.node === "a" : own > others;
}

/**
 * Two gates are open and hear each other: positive where ours stays. Witnessed segments, then term, then the fixed
 * preference (failover §5): an unplugged standby that claimed alone must not win over the node that served all along.
 */
export function compareActives(state: ElectionState, now: number, peer: HeartbeatMessage): number {
  const segments = scoreAhead(state, ownScore(state, now), peer);
  if (segments !== 0) return segments;
  if (state.term !== peer.term) return state.term - peer.term;
  return isPreferred(state.config) ? 1 : -1;
}

/**
 * Nobody is active and the two hear each other: positive where this node is to open. Who can forward, who holds
 * the state (position), who is ready, more segments, then term and the fixed preference.
 */
export function compareIdle(state: ElectionState, now: number, peer: HeartbeatMessage): number {
  const dressed = Number(isDressed(state)) - Number(peer.dressed && !peer.leaving);
  if (dressed !== 0) return dressed;
  const own = ownScore(state, now);
  const forwards = Number(canForward(own)) - Number(canForward(peerScore(peer)));
  if (forwards !== 0) return forwards;
  const position = state.daemon?.position;
  const positionTerm = (position?.term ?? 0) - peer.position.term;
  if (positionTerm !== 0) return positionTerm;
  const sequence = (position?.sequence ?? 0) - peer.position.sequence;
  if (sequence !== 0) return sequence;
  const ready = Number(isReady(state, now)) - Number(peer.ready);
  if (ready !== 0) return ready;
  const segments = scoreAhead(state, own, peer);
  if (segments !== 0) return segments;
  if (state.term !== peer.term) return state.term - peer.term;
  return isPreferred(state.config) ? 1 : -1;
}
