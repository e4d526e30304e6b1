// State that travels beside the sessions (docs/protocol.md §5.6): the active's slots and links go to its standby, what each
// machine is goes both ways. A machine: `step(state, input, effects)`; the driver makes the messages, puts slots into the
// kernel and says whether it took them. It may not read a clock, wait, or look into what it carries. Pure.
//
// Invariants
// T1  Messages of one sender on one connection are numbered from 1 without a gap, and acknowledged up to a number: everything
//     up to it is in force on the other node. Slots count as such once they are in its kernel.
// T2  What is sent is what is true at that moment: a change that comes while STATE_UNACKNOWLEDGED_MAX messages are on their
//     way waits, and is said once, with what became of it meanwhile. Nothing is queued.
// T3  Slots and links are the active's to tell, its subscriber's to take. What comes from a node that is not active by its
//     own last word on this connection, or of another term, or to a node that is not standby, is passed over.
// T4  A standby of an active that speaks version 2 is not ready before the slots of this connection and term are in its kernel.
//     They are sent before the end of the first snapshot, so it costs no time; it holds even where that is not so.

import { unreachable } from "../../base/assert.ts";
import { STATE_UNACKNOWLEDGED_MAX } from "../../base/limits.ts";
import type { Role } from "../../base/units.ts";
import type { LinkState, NodeFacts } from "../../wire/messagesNode.ts";
import type { MessageOf } from "../../wire/peer.ts";

/** The version of the protocol that has these messages. */
const SINCE = 2;

export type StateSubject = "nodeFacts" | "slots" | "links";
/** In this order: what a node is made of says how the rest is to be read. */
const SUBJECTS: readonly StateSubject[] = ["nodeFacts", "slots", "links"];

export type StateMessage = MessageOf<"slots" | "links" | "nodeFacts" | "stateAcknowledge">;
type Slots = Pick<MessageOf<"slots">, "seed" | "slots">;

interface RoleWord {
  readonly role: Role;
  readonly term: number;
}

export interface StateLogState {
  /** Spoken with the peer; null: it is not there. */
  version: number | null;
  self: RoleWord;
  peer: RoleWord;
  /** This active's standby has subscribed to the term in force. */
  subscribed: boolean;
  /** Of this node's messages on this connection. */
  sent: number;
  acknowledged: number;
  /** What is to be said as soon as there is room. */
  readonly due: Set<StateSubject>;
  /** Of the peer's messages on this connection. */
  heard: number;
  told: number;
  /** Slots that were heard and are not in the kernel yet, and why not. */
  pending: { readonly number: number; readonly slots: Slots; words: string } | null;
  /** Slots of this connection and term are in the kernel. */
  hasSlots: boolean;
  /** As the last active told them: kept over a takeover, so that the new one does not begin blind. */
  links: readonly LinkState[] | null;
  facts: NodeFacts | null;
  readonly counters: { sent: number; taken: number; ignored: number; refused: number };
}

export type StateLogInput =
  | { readonly kind: "up"; readonly version: number; readonly peer: RoleWord }
  | { readonly kind: "down" }
  | { readonly kind: "role"; readonly self: RoleWord }
  | { readonly kind: "peer"; readonly peer: RoleWord }
  /** The standby asked for everything, and a snapshot has begun for it. */
  | { readonly kind: "subscribed" }
  | { readonly kind: "changed"; readonly subject: StateSubject }
  | { readonly kind: "message"; readonly message: StateMessage }
  /** What became of `install-slots`: empty, or the kernel's words. */
  | { readonly kind: "installed"; readonly words: string }
  /** Now and then: what the kernel refused is tried again. */
  | { readonly kind: "retry" };

export type StateLogEffect =
  /** To be made of what is true now, and sent. */
  | { readonly kind: "send"; readonly subject: StateSubject; readonly number: number; readonly term: number }
  | ({ readonly kind: "install-slots" } & Slots)
  | { readonly kind: "acknowledge"; readonly number: number }
  /** The peer broke the protocol: end the connection with this reason. */
  | { readonly kind: "fail"; readonly reason: string };

export function createStateLog(): StateLogState {
  return {
    version: null,
    self: { role: "idle", term: 0 },
    peer: { role: "idle", term: 0 },
    subscribed: false,
    sent: 0,
    acknowledged: 0,
    due: new Set(),
    heard: 0,
    told: 0,
    pending: null,
    hasSlots: false,
    links: null,
    facts: null,
    counters: { sent: 0, taken: 0, ignored: 0, refused: 0 },
  };
}

/** The peer is there and understands this. */
export const isSpoken = (state: StateLogState): boolean => state.version !== null && state.version >= SINCE;

/** Everything that this node had to say is in force on the other one (what waits for room waits behind what is not). */
export const isHeard = (state: StateLogState): boolean =>
  !isSpoken(state) || state.acknowledged === state.sent;

/** Why a standby is not ready as far as this goes; null where it is. */
export function missing(state: StateLogState): string | null {
  if (!isSpoken(state) || state.self.role !== "standby" || state.peer.role !== "active") return null;
  if (state.pending !== null)
    return `the active's slots are not in this node's kernel: ${state.pending.words}`;
  return state.hasSlots ? null : "the active's slots have not arrived";
}

/** One step. `effects` is appended to, in the order in which they must be performed. */
export function step(state: StateLogState, input: StateLogInput, effects: StateLogEffect[]): void {
  switch (input.kind) {
    case "up":
      disconnect(state);
      state.version = input.version;
      state.peer = input.peer;
      due(state, "nodeFacts", effects);
      return;
    case "down":
      disconnect(state);
      return;
    case "role":
      onOwnRole(state, input.self, effects);
      return;
    case "peer":
      onPeerRole(state, input.peer, effects);
      return;
    case "subscribed":
      state.subscribed = state.self.role === "active";
      for (const subject of ["slots", "links"] as const) due(state, subject, effects);
      return;
    case "changed":
      due(state, input.subject, effects);
      return;
    case "message":
      onMessage(state, input.message, effects);
      return;
    case "installed":
      onInstalled(state, input.words, effects);
      return;
    case "retry":
      if (state.pending !== null) effects.push({ kind: "install-slots", ...state.pending.slots });
      return;
    default:
      unreachable(input);
  }
}

/** The connection and all that was agreed on it; what was learned of the peer stays. */
function disconnect(state: StateLogState): void {
  state.version = null;
  state.peer = { role: "idle", term: 0 };
  state.subscribed = false;
  state.sent = 0;
  state.acknowledged = 0;
  state.due.clear();
  state.heard = 0;
  state.told = 0;
  forgetSlots(state);
}

function forgetSlots(state: StateLogState): void {
  state.pending = null;
  state.hasSlots = false;
}

const sameWord = (one: RoleWord, other: RoleWord): boolean =>
  one.role === other.role && one.term === other.term;

function onOwnRole(state: StateLogState, self: RoleWord, effects: StateLogEffect[]): void {
  if (sameWord(self, state.self)) return;
  const stays = self.role === "standby" && state.self.role === "standby";
  state.self = self;
  // A new term is a new log: whoever followed the old one subscribes again.
  state.subscribed = false;
  for (const subject of ["slots", "links"] as const) state.due.delete(subject);
  if (stays) return;
  forgetSlots(state);
  acknowledge(state, effects);
}

function onPeerRole(state: StateLogState, peer: RoleWord, effects: StateLogEffect[]): void {
  if (sameWord(peer, state.peer)) return;
  state.peer = peer;
  forgetSlots(state);
  acknowledge(state, effects);
}

function due(state: StateLogState, subject: StateSubject, effects: StateLogEffect[]): void {
  if (!isSpoken(state)) return;
  if (subject !== "nodeFacts" && !state.subscribed) return;
  state.due.add(subject);
  flush(state, effects);
}

function flush(state: StateLogState, effects: StateLogEffect[]): void {
  for (const subject of SUBJECTS) {
    if (!state.due.has(subject) || state.sent - state.acknowledged >= STATE_UNACKNOWLEDGED_MAX) continue;
    state.due.delete(subject);
    state.sent += 1;
    state.counters.sent += 1;
    effects.push({ kind: "send", subject, number: state.sent, term: state.self.term });
  }
}

function onMessage(state: StateLogState, message: StateMessage, effects: StateLogEffect[]): void {
  if (message.kind === "stateAcknowledge") {
    if (message.number < state.acknowledged || message.number > state.sent) {
      effects.push({ kind: "fail", reason: "acknowledged state that was not sent" });
      return;
    }
    state.acknowledged = message.number;
    flush(state, effects);
    return;
  }
  if (message.number !== state.heard + 1) {
    effects.push({ kind: "fail", reason: "state-gap" });
    return;
  }
  state.heard = message.number;
  if (message.kind === "nodeFacts") state.facts = message.facts;
  else if (!isFromActive(state, message.term)) {
    state.counters.ignored += 1;
    acknowledge(state, effects);
    return;
  } else if (message.kind === "links") state.links = message.links;
  else {
    const slots = { seed: message.seed, slots: message.slots };
    state.pending = { number: message.number, slots, words: "on their way" };
    effects.push({ kind: "install-slots", ...slots });
    return;
  }
  state.counters.taken += 1;
  acknowledge(state, effects);
}

const isFromActive = ({ self, peer }: StateLogState, term: number): boolean =>
  self.role === "standby" && peer.role === "active" && peer.term === term;

function onInstalled(state: StateLogState, words: string, effects: StateLogEffect[]): void {
  if (state.pending === null) return;
  if (words !== "") {
    state.counters.refused += 1;
    state.pending.words = words;
    return;
  }
  state.pending = null;
  state.hasSlots = true;
  state.counters.taken += 1;
  acknowledge(state, effects);
}

/** Up to what is in force: behind slots that the kernel does not have, nothing is. */
function acknowledge(state: StateLogState, effects: StateLogEffect[]): void {
  const number = state.pending === null ? state.heard : state.pending.number - 1;
  if (number <= state.told || !isSpoken(state)) return;
  state.told = number;
  effects.push({ kind: "acknowledge", number });
}
