// What this node has to tell of itself beside its sessions (stateLog.ts): its slots, its links, its machine; and where the
// active's slots go. It looks when it is asked to, and says once what changed.

import { execFile } from "node:child_process";
import { BoundaryError } from "../base/errors.ts";
import type { Config } from "../core/config.ts";
import { linkStatesOf, sameLinkStates } from "../core/linkStates.ts";
import type { StateSubject } from "../core/replication/stateLog.ts";
import { type Machine, readMachine } from "../kernel/machine.ts";
import type { HeartState, MachinesView } from "../wire/control.ts";
import type { LinkState, NodeFacts } from "../wire/messagesNode.ts";
import type { SlotKeeper } from "./slotKeeper.ts";
import type { NodeState, Told } from "./stateLog.ts";
import { VERSION } from "./views.ts";

export interface NodeStateOptions {
  readonly config: () => Config;
  readonly slots: SlotKeeper;
  /** Has the slots in force put into the kernel where the node is dressed. @throws BoundaryError */
  readonly moveSlots: () => void;
  /** What the other node told; null: it cannot be asked yet. */
  readonly told: () => Told | null;
  readonly onChange: (subject: StateSubject) => void;
  /** For tests. */
  readonly machine?: () => Machine;
  readonly now?: () => number;
}

const NFT_MS_MAX = 5000;

export class NodeStateSource implements NodeState {
  readonly #options: NodeStateOptions;
  readonly #now: () => number;
  #machine: Machine;
  #nft = "";
  #links: readonly LinkState[] = [];
  #wasActive = false;
  #isStandby = false;

  constructor(options: NodeStateOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#machine = (options.machine ?? readMachine)();
    this.#links = linkStatesOf(options.config().links, [], null, this.#now());
  }

  slots(): { readonly seed: number; readonly slots: Uint8Array } {
    const { slots } = this.#options;
    return { seed: slots.seed, slots: slots.inForce };
  }

  links(): readonly LinkState[] {
    return this.#links;
  }

  /** The active's word on the links: told by it where this node is its standby, else this node's own. */
  knownLinks(): readonly LinkState[] {
    const told = this.#isStandby ? this.#options.told()?.links : null;
    return told ?? this.#links;
  }

  /** What both machines are, as far as it is known. */
  machines(): MachinesView {
    const told = this.#options.told();
    return {
      own: this.facts(),
      peer: told?.facts ?? null,
      clockDifferenceMs: told?.clockDifferenceMs ?? null,
    };
  }

  facts(): NodeFacts {
    return { software: `understudy ${VERSION}`, ...this.#machine, nft: this.#nft, clock: this.#now() };
  }

  adoptSlots(seed: number, slots: Uint8Array): string {
    const keeper = this.#options.slots;
    if (seed !== keeper.seed)
      return `they are counted by another seed, ${seed} instead of ${keeper.seed}: the two nodes have different configurations`;
    keeper.adopt(slots);
    return this.#moveSlots();
  }

  /** Heart's newest word; null: it is gone, and what it said last of the ports is no longer known. */
  follow(heart: HeartState | null): void {
    const active = heart?.role === "active";
    const { config, slots, told, onChange } = this.#options;
    // From here on this node's own word counts, on what it was told.
    const before = active && !this.#wasActive ? (told()?.links ?? this.#links) : this.#links;
    const links = linkStatesOf(config().links, heart?.segments ?? [], before, this.#now());
    const changed = !sameLinkStates(links, this.#links);
    this.#links = links;
    if (changed) onChange("links");
    if (active && !this.#wasActive && slots.configure(config())) {
      // Told by an active with another configuration.
      this.#moveSlots();
      onChange("slots");
    }
    this.#wasActive = active;
    this.#isStandby = heart?.role === "standby";
  }

  /** Now and then: what may have changed of the machine. */
  look(): void {
    const machine = (this.#options.machine ?? readMachine)();
    const { conntrackMax, conntrackBuckets, processors } = this.#machine;
    const same =
      machine.conntrackMax === conntrackMax &&
      machine.conntrackBuckets === conntrackBuckets &&
      machine.processors === processors;
    this.#machine = machine;
    if (!same) this.#options.onChange("nodeFacts");
  }

  /** Asks nft, once, for its version; the daemon itself has no need of the program. */
  askNft(): void {
    execFile("nft", ["--version"], { timeout: NFT_MS_MAX }, (error, said) => {
      const version = /v?(\d+(?:\.\d+)+)/.exec(said)?.[1];
      if (error !== null || version === undefined) return;
      this.#nft = version;
      this.#options.onChange("nodeFacts");
    });
  }

  /** Empty, or the kernel's words. */
  #moveSlots(): string {
    try {
      this.#options.moveSlots();
      return "";
    } catch (error) {
      if (error instanceof BoundaryError) return error.message;
      throw error;
    }
  }
}
