// Who is who on one service segment: the shared addresses' holder, the two nodes, third parties. It judges single
// frames (failover §4) and remembers whom to ask. A third party is nobody with a MAC of the pair's, nobody who speaks
// from an address of either node, nobody who just sent a frame with the pair's mark.
//
// Marks can be forged by any host of the segment, so one is believed only so far: it must be the other node's and
// ask what the other node asks; at most one MAC is taken for the other node's, and only for a while; and no mark ever
// silences a configured witness. No sockets and no clock: it is given both.

import { type NodeId, peerOf } from "../base/units.ts";
import type { Resolution } from "../wire/resolution.ts";

const WITNESSES_LEARNED_MAX = 32;
/** The other node asks its witnesses at least ten times in a second while it does not hear them. */
export const PEER_MAC_MS = 2000;

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What a frame says to the election: the virtual MAC answered, the other node is about to claim, somebody lives. */
export type Judgement = "answer" | "contender" | "witness" | null;

/** Addresses have 4 or 16 bytes, MACs 6. */
export interface PartiesOptions {
  readonly node: NodeId;
  readonly portMac: Uint8Array;
  readonly virtualMac: Uint8Array;
  readonly shared: readonly Uint8Array[];
  /** Of both nodes, as the configuration has them. */
  readonly nodes: readonly Uint8Array[];
  readonly witnesses: readonly Uint8Array[];
}

export class SegmentParties {
  readonly #peer: NodeId;
  readonly #portMac: string;
  readonly #virtualMac: string;
  readonly #shared: ReadonlySet<string>;
  readonly #nodes: ReadonlySet<string>;
  readonly #configured: ReadonlySet<string>;
  /** The MACs that configured witnesses last spoke from; key: the witness. */
  readonly #witnessMacs = new Map<string, string>();
  /** Configured first, learned after; the newest last. Key: the address in hex. */
  readonly #witnesses: Map<string, Uint8Array>;
  /** What this node itself has on the port at the moment. */
  #own: ReadonlySet<string> = new Set();
  /** What the other node's port is taken for, until when. */
  #peerMac = "";
  #peerMacUntil = Number.NEGATIVE_INFINITY;

  constructor(options: PartiesOptions) {
    this.#peer = peerOf(options.node);
    this.#portMac = hexOf(options.portMac);
    this.#virtualMac = hexOf(options.virtualMac);
    this.#shared = new Set(options.shared.map(hexOf));
    this.#nodes = new Set(options.nodes.map(hexOf));
    this.#witnesses = new Map(options.witnesses.map((address) => [hexOf(address), address]));
    this.#configured = new Set(this.#witnesses.keys());
  }

  /** Whom to ask, at most WITNESSES_LEARNED_MAX beside the configured ones. */
  get witnesses(): readonly Uint8Array[] {
    return [...this.#witnesses.values()];
  }

  setOwn(addresses: readonly Uint8Array[]): void {
    this.#own = new Set(addresses.map(hexOf));
  }

  /** What one frame is worth; `now` on CLOCK_MONOTONIC, ms. */
  hear(said: Resolution, now: number): Judgement {
    const source = hexOf(said.sourceMac);
    const address = hexOf(said.address);
    if (source === this.#virtualMac)
      return said.kind === "answer" && this.#shared.has(address) ? "answer" : null;
    if (source === this.#portMac) return null;
    if (said.probeOf !== null) return this.#hearMarked(said, source, now);
    if (this.#isOfNodes(address)) return null;
    if (this.#configured.has(address)) this.#witnessMacs.set(address, source);
    else if (source === this.#peerMac && now < this.#peerMacUntil) return null;
    if (this.#shared.has(address)) return null; // A host that uses our address proves nothing but its mistake.
    this.#learn(address, said.address);
    return "witness";
  }

  /** A frame with a pair's mark proves no third party, whosever it is. */
  #hearMarked(said: Resolution, source: string, now: number): Judgement {
    if (said.kind !== "ask" || said.probeOf !== this.#peer) return null;
    const target = hexOf(said.targetAddress);
    const isProbe = this.#shared.has(target);
    if (!isProbe && !this.#witnesses.has(target)) return null;
    if (![...this.#witnessMacs.values()].includes(source)) {
      this.#peerMac = source;
      this.#peerMacUntil = now + PEER_MAC_MS;
    }
    return isProbe ? "contender" : null;
  }

  /** A neighbour that the daemon knows of. */
  learn(address: Uint8Array): void {
    const key = hexOf(address);
    if (!this.#isOfNodes(key) && !this.#shared.has(key)) this.#learn(key, address);
  }

  #isOfNodes(address: string): boolean {
    return this.#nodes.has(address) || this.#own.has(address);
  }

  /** The oldest learned one makes room, a configured one never does. */
  #learn(key: string, address: Uint8Array): void {
    if (address.every((byte) => byte === 0) || this.#witnesses.has(key)) return;
    if (this.#witnesses.size >= this.#configured.size + WITNESSES_LEARNED_MAX) {
      const oldest = [...this.#witnesses.keys()][this.#configured.size];
      if (oldest !== undefined) this.#witnesses.delete(oldest);
    }
    this.#witnesses.set(key, address);
  }
}
