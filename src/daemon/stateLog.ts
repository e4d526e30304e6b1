// The driver of core/replication/stateLog.ts: makes its messages of what the daemon knows at that moment, has told slots put
// into the kernel, and says when anything of it changed. Everything in it is synchronous, like a turn of the log's sender.

import { STATE_RETRY_MS } from "../base/limits.ts";
import {
  createStateLog,
  isHeard,
  type StateLogEffect,
  type StateLogInput,
  type StateLogState,
  type StateMessage,
  type StateSubject,
  step,
} from "../core/replication/stateLog.ts";
import type { LinkState, NodeFacts } from "../wire/messagesNode.ts";
import type { PeerMessage } from "../wire/peer.ts";

/** What there is to tell of this node, and where the active's word goes. */
export interface NodeState {
  slots(): { readonly seed: number; readonly slots: Uint8Array };
  links(): readonly LinkState[];
  facts(): NodeFacts;
  /** Puts the active's slots in force on this standby. Empty, or why they are not in the kernel. */
  adoptSlots(seed: number, slots: Uint8Array): string;
}

export interface Told {
  /** Null: the other node has not said. */
  readonly facts: NodeFacts | null;
  /** Its clock less this node's when it did, in milliseconds. */
  readonly clockDifferenceMs: number | null;
  /** As the last active told them; null: none has. */
  readonly links: readonly LinkState[] | null;
}

export interface StateLogOptions {
  readonly node: NodeState;
  readonly send: (message: PeerMessage) => void;
  readonly fail: (reason: string) => void;
  readonly onChange: () => void;
  readonly log: (line: string) => void;
}

export class StateLog {
  readonly state: StateLogState = createStateLog();
  readonly #options: StateLogOptions;
  #clockDifferenceMs: number | null = null;
  #triedAt = Number.NEGATIVE_INFINITY;
  #waiters: ((heard: boolean) => void)[] = [];

  constructor(options: StateLogOptions) {
    this.#options = options;
  }

  /** Feeds one input and performs what follows from it. */
  input(input: StateLogInput): void {
    if (input.kind === "message" && input.message.kind === "nodeFacts")
      this.#clockDifferenceMs = input.message.facts.clock - Date.now();
    const effects: StateLogEffect[] = [];
    step(this.state, input, effects);
    for (const effect of effects) this.#perform(effect);
    if (!isHeard(this.state)) return;
    for (const settle of this.#waiters.splice(0)) settle(this.state.version !== null);
  }

  told(): Told {
    const { facts, links } = this.state;
    return { facts, clockDifferenceMs: this.#clockDifferenceMs, links };
  }

  /** Something that `node` tells is another now. */
  changed(subject: StateSubject): void {
    this.input({ kind: "changed", subject });
  }

  /** Called often: what the kernel refused is tried again now and then. */
  turn(): void {
    if (this.state.pending === null || performance.now() - this.#triedAt < STATE_RETRY_MS) return;
    this.input({ kind: "retry" });
  }

  /** True once everything said so far is in force on the other node; false where it was not in time, or is gone. */
  waitHeard(timeoutMs: number): Promise<boolean> {
    if (isHeard(this.state)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (heard: boolean): void => {
        clearTimeout(timer);
        resolve(heard);
      };
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((each) => each !== settle);
        resolve(false);
      }, timeoutMs);
      this.#waiters.push(settle);
    });
  }

  #perform(effect: StateLogEffect): void {
    const { send, fail, onChange } = this.#options;
    switch (effect.kind) {
      case "send":
        send(this.#messageOf(effect.subject, effect.number, effect.term));
        return;
      case "install-slots":
        this.input({ kind: "installed", words: this.#install(effect.seed, effect.slots) });
        onChange();
        return;
      case "acknowledge":
        send({ kind: "stateAcknowledge", number: effect.number });
        return;
      case "fail":
        fail(effect.reason);
    }
  }

  #messageOf(subject: StateSubject, number: number, term: number): StateMessage {
    const { node } = this.#options;
    switch (subject) {
      case "slots":
        return { kind: "slots", number, term, ...node.slots() };
      case "links":
        return { kind: "links", number, term, links: node.links() };
      case "nodeFacts":
        return { kind: "nodeFacts", number, facts: node.facts() };
    }
  }

  #install(seed: number, slots: Uint8Array): string {
    const before = this.state.pending?.words;
    this.#triedAt = performance.now();
    const words = this.#options.node.adoptSlots(seed, slots);
    if (words !== "" && words !== before)
      this.#options.log(`replication: the active's slots are not in force here: ${words}`);
    return words;
  }
}
