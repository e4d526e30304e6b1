// The state of the configuration's machine (configLog.ts): which version is in force here, what the other node says that it has,
// and the one thing that is being done about it. And what follows from it alone: who leads, what is said to the peer, and why
// the two nodes differ. Pure.

import { CONFIGURATION_RETRY_MS, CONFIGURATION_VERSIONS_MAX } from "../base/limits.ts";
import { type NodeId, peerOf, Role } from "../base/units.ts";
import type { ApplyReport, Place } from "../wire/controlConfiguration.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";
import type { MessageOf } from "../wire/peer.ts";
import { chainOf, covers, type Draft, NO_VERSION, nameOf } from "./configVersions.ts";

/** Bringing a version into force on both nodes: the follower first, then here. */
export interface LeadJob {
  readonly kind: "lead";
  readonly exchange: number;
  readonly version: VersionHeader;
  /** Of the command line; null: the other node is merely behind. */
  readonly request: number | null;
  readonly changes: readonly string[];
  /** It is not in force here yet. */
  readonly own: boolean;
  /** The follower's version in force when it was begun. */
  readonly from: string;
  stage: "storing" | "asked" | "peer-effect" | "own-effect";
  peer: Place;
  deadlineMs: number;
}

/** The leader itself is behind: it fetches what the follower has. */
export interface AdoptJob {
  readonly kind: "adopt";
  readonly version: VersionHeader;
  stage: "fetching" | "storing" | "own-effect";
  deadlineMs: number;
}

export interface FollowJob {
  readonly kind: "follow";
  readonly exchange: number;
  readonly version: VersionHeader;
  /** `promised`: it holds here, is on disk, and waits for the leader. */
  stage: "storing" | "promised" | "effect";
  deadlineMs: number;
}

/** Back to the version in force: the leader gave the other one up. */
export interface RevertJob {
  readonly kind: "revert";
  readonly version: VersionHeader;
  readonly stage: "effect";
  readonly deadlineMs: number;
}

export type Job = LeadJob | AdoptJob | FollowJob | RevertJob;

export interface PeerView {
  /** Of the protocol. */
  readonly version: number;
  role: Role;
  /** Digest of what it runs with, from its hello; later from its state. */
  running: string;
  /** The last one; null: none yet, or its protocol has none. */
  state: MessageOf<"configurationState"> | null;
}

/** A version that one node would not take: not offered again at once. */
export interface Rejection {
  readonly version: string;
  readonly node: NodeId;
  readonly words: string;
  readonly retryMs: number;
}

export interface ConfigLogState {
  readonly node: NodeId;
  role: Role;
  /** Heart hears the other node, and it is active. */
  peerActive: boolean;
  peer: PeerView | null;
  /** The version in force. */
  head: VersionHeader;
  /** In effect here at the leader's order, who has not yet said that it is in force. */
  tentative: VersionHeader | null;
  readonly history: Map<string, VersionHeader>;
  job: Job | null;
  /** Why the way back failed, and when it is tried again. */
  stuck: { readonly words: string; readonly retryMs: number } | null;
  rejection: Rejection | null;
  exchange: number;
  /** What the peer was told last. */
  said: MessageOf<"configurationState"> | null;
  /** Older versions that are asked for, or that the peer does not have. */
  asked: Set<string>;
  readonly counters: Record<ConfigCounter, number>;
}

export type ConfigCounter =
  | "applied"
  | "refused"
  | "failed"
  | "followed"
  | "refusedByPeer"
  | "reverted"
  | "adopted"
  | "late";

export type ConfigInput =
  | { readonly kind: "role"; readonly role: Role; readonly peerActive: boolean }
  /** A connection is ready; what the peer said in its hello. */
  | { readonly kind: "up"; readonly version: number; readonly role: Role; readonly running: string }
  | { readonly kind: "peer-role"; readonly role: Role }
  | { readonly kind: "down" }
  | { readonly kind: "message"; readonly message: ConfigMessage }
  | {
      readonly kind: "apply";
      readonly request: number;
      /** It holds on this node. Null: the version in force, for the other node. */
      readonly draft: Draft | null;
      readonly text: string;
      readonly changes: readonly string[];
      /** Also where the other node has a version that this one never heard of. */
      readonly replace: boolean;
      /** The version that it was made from, where whoever applies it says so: another one in force refuses. */
      readonly base: string | null;
    }
  /** Answers to the effects of the same names. */
  | { readonly kind: "prepared"; readonly id: string; readonly reasons: readonly string[] }
  | {
      readonly kind: "effected";
      readonly id: string;
      readonly ok: boolean;
      readonly words: readonly string[];
    }
  | { readonly kind: "tick" };

export type ConfigMessage = MessageOf<
  | "configurationState"
  | "configurationPropose"
  | "configurationVerdict"
  | "configurationCommit"
  | "configurationDone"
  | "configurationFetch"
  | "configurationVersion"
>;

/** Performed in order; that order is the contract. */
export type ConfigEffect =
  | { readonly kind: "send"; readonly message: ConfigMessage }
  /** Send `configurationPropose` with the stored text of `header`. */
  | {
      readonly kind: "propose";
      readonly exchange: number;
      readonly from: string;
      readonly header: VersionHeader;
    }
  /** Send `configurationVersion` with the stored text, or with none where there is no such version. */
  | { readonly kind: "give"; readonly id: string }
  /** Does it hold here (a version of the peer's: header, text and machine)? Then on disk with it, as the pending one. `prepared` follows. */
  | {
      readonly kind: "prepare";
      readonly header: VersionHeader;
      readonly content: Uint8Array | string;
      readonly judge: boolean;
    }
  /** Take it into effect, or put back what was before. `effected` follows. */
  | { readonly kind: "effect"; readonly header: VersionHeader }
  /** It is in force from now on, on disk; nothing is pending. */
  | { readonly kind: "keep"; readonly header: VersionHeader }
  /** Nothing is pending any more. */
  | { readonly kind: "drop" }
  /** An older version of the common history, for the store; dropped where header and content do not belong together. */
  | { readonly kind: "remember"; readonly header: VersionHeader; readonly content: Uint8Array }
  | { readonly kind: "answer"; readonly request: number; readonly report: ApplyReport }
  | { readonly kind: "refuse"; readonly request: number; readonly reason: string }
  | { readonly kind: "log"; readonly line: string };

/** The first protocol version that carries the configuration. */
export const CONFIGURATION_SINCE = 2;

export const speaks = (state: ConfigLogState): boolean =>
  state.peer !== null && state.peer.version >= CONFIGURATION_SINCE;

/** Digest of what this node runs with. */
export const runningOf = (state: ConfigLogState): string => (state.tentative ?? state.head).digest;

/**
 * Whether what is in force is this node's to say: the active's; where neither node is active, that of `a`; of a node alone its own,
 * unless it knows that the other one is active.
 */
export function leads(state: ConfigLogState): boolean {
  const { role, peer, node, peerActive } = state;
  if (role === Role.Active) return peer?.role !== Role.Active;
  if (peerActive || peer === null) return !peerActive;
  return peer.role !== Role.Active && node === "a";
}

/** Whether the other node's word on what is in force counts here. */
export const follows = ({ role, peer, peerActive, node }: ConfigLogState): boolean =>
  peer !== null && role !== Role.Active && (peerActive || peer.role === Role.Active || node === "b");

/** The version on its way here, if any. */
export function candidateOf(state: ConfigLogState): VersionHeader | null {
  const { job, tentative, head } = state;
  if (job !== null && job.kind !== "revert" && job.version.id !== head.id) return job.version;
  return tentative;
}

/** What the peer is to know of this node. */
export function stateMessage(state: ConfigLogState): MessageOf<"configurationState"> {
  const theirs = state.peer?.state?.head ?? null;
  return {
    kind: "configurationState",
    head: state.head,
    running: runningOf(state),
    pending: candidateOf(state)?.id ?? NO_VERSION,
    about: theirs?.id ?? NO_VERSION,
    covers: theirs !== null && covers(state.history, state.head, theirs),
  };
}

/** A version that one node has and the other never heard of. */
function originWords({ origin, node, parent }: VersionHeader): string {
  if (origin !== "import") return `made on ${node}`;
  return parent === NO_VERSION ? `with which ${node} was set up` : `written by hand on ${node}`;
}

/**
 * Why the two nodes do not run with the same configuration, in words; null where they do, where the peer is not connected, and
 * while a version is on its way that explains it.
 */
export function difference(state: ConfigLogState): string | null {
  const { peer, node, head, rejection, stuck } = state;
  if (stuck !== null) return `${node} could not go back to ${nameOf(head)}: ${stuck.words}`;
  if (peer === null || peer.running === runningOf(state)) return null;
  const other = peerOf(node);
  if (!speaks(state))
    return `${other} speaks version ${peer.version} of the protocol: the configuration is not carried to it`;
  const theirs = peer.state;
  if (theirs === null) return "the other node has not said yet which version it has";
  if (isOnItsWay(state, [theirs.pending, theirs.head.id])) return null;
  if (theirs.head.id === head.id)
    return `${other} has another version in effect than ${nameOf(head)}, which is in force, and has not gone back to it`;
  if (rejection !== null && [head.id, theirs.head.id].includes(rejection.version))
    return `${rejection.node} does not take it: ${rejection.words}`;
  const both = `${node} has ${nameOf(head)}, ${originWords(head)}; ${other} has ${nameOf(theirs.head)}, ${originWords(theirs.head)}`;
  return standingOf(state) === "parted" ? `${both}: which one is right, nobody but you can say` : both;
}

/** One of them is a step ahead in an exchange that will end: the follower takes a version into effect before the leader does. */
function isOnItsWay({ tentative, job }: ConfigLogState, theirs: readonly string[]): boolean {
  if (tentative !== null) return theirs.includes(tentative.id);
  return job?.kind === "lead" && job.own && (job.stage === "peer-effect" || job.stage === "own-effect");
}

/** How the other node's version in force stands to this one's. */
export type Standing =
  /** It has not said, or its word is about an earlier one. */
  | "unknown"
  | "equal"
  /** The other node is merely behind (or has the same contents under another id): it is to take this one's. */
  | "behind"
  /** This node is merely behind. */
  | "ahead"
  /** Each has something that the other one never agreed to: nothing is guessed. */
  | "parted";

export function standingOf({ head, history, peer }: ConfigLogState): Standing {
  const theirs = peer?.state ?? null;
  if (theirs === null) return "unknown";
  if (theirs.head.id === head.id) return "equal";
  if (covers(history, head, theirs.head) && head.origin !== "import") return "behind";
  if (theirs.about !== head.id) return "unknown";
  if (theirs.covers && theirs.head.origin !== "import") return "ahead";
  return theirs.head.digest === head.digest ? "behind" : "parted";
}

/** Notes a version; the oldest that is noted goes where there are too many. */
export function remember({ history, head }: ConfigLogState, version: VersionHeader): void {
  history.set(version.id, version);
  if (history.size <= CONFIGURATION_VERSIONS_MAX) return;
  for (const id of history.keys())
    if (id !== head.id) {
      history.delete(id);
      return;
    }
}

/** `version` is in force here from now on. */
export function keep(state: ConfigLogState, version: VersionHeader, effects: ConfigEffect[]): void {
  state.head = version;
  state.tentative = null;
  state.stuck = null;
  remember(state, version);
  effects.push({ kind: "keep", header: version });
  effects.push({ kind: "log", line: `configuration: ${nameOf(version)} is in force` });
}

/** `node` does not take a version: not again at once. */
export function reject(
  state: ConfigLogState,
  nowMs: number,
  version: VersionHeader,
  node: NodeId,
  reasons: readonly string[],
): void {
  const words = reasons.join("; ");
  state.rejection = { version: version.id, node, words, retryMs: nowMs + CONFIGURATION_RETRY_MS };
}

/** For `show` and logs: one line. */
export function describe(state: ConfigLogState): string {
  const { job, head, tentative, history } = state;
  const doing = job === null ? "quiet" : `${job.kind} ${nameOf(job.version)}, ${job.stage}`;
  const waiting = tentative === null ? "" : `, ${nameOf(tentative)} in effect and unconfirmed`;
  return `${nameOf(head)} of ${chainOf(history, head).length}${waiting}; ${doing}`;
}
