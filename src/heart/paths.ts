// Heart's heartbeat paths: a socket each, one sealer, and what is known of each path for people. It moves and
// unseals; what a heartbeat means is core/election's business.

import type { KeyObject } from "node:crypto";
import { PATHS_MAX } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import type { ElectionInput } from "../core/election/types.ts";
import { openPathSocket, type PathSocket } from "../kernel/pathSocket.ts";
import { createSealer, type Sealer } from "../peer/sealed.ts";
import type { PathState } from "../wire/control.ts";
import { decodeHeartbeat, encodeHeartbeat, type HeartbeatMessage } from "../wire/heartbeat.ts";

interface Path {
  readonly name: string;
  readonly index: number;
  readonly socket: PathSocket;
  heardAt: number;
  sent: number;
  received: number;
  readonly refused: Record<string, number>;
}

export class Paths {
  readonly #paths: readonly Path[];
  readonly #sealer: Sealer;
  readonly #peer: "a" | "b";

  /** @throws KernelError naming the path whose port cannot be had */
  constructor(config: Config, privateKey: KeyObject, bootId: Uint8Array) {
    this.#peer = config.node === "a" ? "b" : "a";
    this.#sealer = createSealer({ privateKey, peerPublicKeys: config.peerKeys, node: config.node, bootId });
    this.#paths = config.paths
      .filter((path) => path.heartbeat)
      .slice(0, PATHS_MAX)
      .map((path, index) => ({
        name: path.name,
        index,
        socket: openPathSocket(path),
        heardAt: Number.NEGATIVE_INFINITY,
        sent: 0,
        received: 0,
        refused: {},
      }));
    this.descriptors = this.#paths.map((path) => path.socket.fd);
  }

  readonly descriptors: readonly number[];

  /** Seals for each path anew: every datagram has a number of its own. */
  send(message: HeartbeatMessage): void {
    const body = encodeHeartbeat(message);
    for (const path of this.#paths) {
      if (path.socket.send(this.#sealer.seal(body))) path.sent += 1;
      else path.refused["not-sent"] = (path.refused["not-sent"] ?? 0) + 1;
    }
  }

  drain(feed: (input: ElectionInput) => void): void {
    for (const path of this.#paths)
      path.socket.drain((datagram, fromPeer) => this.#take(path, datagram, fromPeer, feed));
  }

  /** False where the datagram was refused. */
  #take(path: Path, datagram: Uint8Array, fromPeer: boolean, feed: (input: ElectionInput) => void): boolean {
    // Cheapest first: what is not from the peer's address is not worth a decryption.
    const read = fromPeer ? this.#read(datagram) : "foreign-source";
    if (typeof read === "string") {
      path.refused[read] = (path.refused[read] ?? 0) + 1;
      return false;
    }
    path.received += 1;
    path.heardAt = performance.now();
    feed({ kind: "heartbeat", path: path.index, boot: read.boot, message: read.message });
    return true;
  }

  /** The fresh heartbeat in a datagram, or why there is none: one of a fixed set of reasons, so counters are bounded. */
  #read(datagram: Uint8Array): { readonly boot: number; readonly message: HeartbeatMessage } | string {
    const opened = this.#sealer.open(datagram);
    if (!opened.ok) return opened.reason;
    if (!opened.proven) return "unproven";
    const decoded = decodeHeartbeat(opened.body);
    if (!decoded.ok) return "malformed-heartbeat";
    if (decoded.value.node !== this.#peer) return "wrong-node";
    return { boot: opened.boot, message: decoded.value };
  }

  states(): readonly PathState[] {
    return this.#paths.map(({ name, heardAt, sent, received, refused }) => ({
      name,
      heardMsAgo: Number.isFinite(heardAt) ? Math.round(performance.now() - heardAt) : null,
      sent,
      received,
      refused,
    }));
  }
}
