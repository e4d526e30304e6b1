// Heart's heartbeat paths: a socket each, one sealer, and what is known of each path for people. It moves and
// unseals; what a heartbeat means is core/election's business.

import type { KeyObject } from "node:crypto";
import { PATHS_MAX } from "../base/limits.ts";
import type { Config, PathConfig } from "../core/config.ts";
import type { ElectionInput } from "../core/election/types.ts";
import { openPathSocket, type PathSocket } from "../kernel/pathSocket.ts";
import { createSealer, type Sealer } from "../peer/sealed.ts";
import type { PathState } from "../wire/control.ts";
import { decodeHeartbeat, encodeHeartbeat, type HeartbeatMessage } from "../wire/heartbeat.ts";

interface Path {
  readonly name: string;
  readonly index: number;
  readonly config: PathConfig;
  readonly socket: PathSocket;
  heardAt: number;
  sent: number;
  received: number;
  readonly refused: Record<string, number>;
}

/** What another configuration needs is open, and nothing is changed yet. */
export interface PreparedPaths {
  /** Goes on with it; what is not needed any more is closed. */
  commit(): void;
  /** Closes what was opened. */
  abandon(): void;
}

const carryingHeartbeats = (config: Config): readonly PathConfig[] =>
  config.paths.filter((path) => path.heartbeat).slice(0, PATHS_MAX);

export class Paths {
  #paths: readonly Path[] = [];
  #peerKeys: readonly string[];
  readonly #sealer: Sealer;
  readonly #peer: "a" | "b";

  /** @throws KernelError naming the path whose port cannot be had */
  constructor(config: Config, privateKey: KeyObject, bootId: Uint8Array) {
    this.#peer = config.node === "a" ? "b" : "a";
    this.#peerKeys = config.peerKeys;
    this.#sealer = createSealer({ privateKey, peerPublicKeys: config.peerKeys, node: config.node, bootId });
    this.#prepareSockets(config).commit();
  }

  /** Of every path, in their order. */
  get descriptors(): readonly number[] {
    return this.#paths.map((path) => path.socket.fd);
  }

  /** Goes on by other paths and with other keys of the peer's. @throws KernelError, BoundaryError: nothing is changed */
  prepare(config: Config): PreparedPaths {
    this.#sealer.trust(config.peerKeys);
    try {
      const sockets = this.#prepareSockets(config);
      return {
        commit: () => {
          this.#peerKeys = config.peerKeys;
          sockets.commit();
        },
        abandon: () => {
          this.#sealer.trust(this.#peerKeys);
          sockets.abandon();
        },
      };
    } catch (error) {
      this.#sealer.trust(this.#peerKeys);
      throw error;
    }
  }

  #prepareSockets(config: Config): PreparedPaths {
    const opened: PathSocket[] = [];
    const keep = (path: PathConfig): PathSocket => {
      const socket = openPathSocket(path);
      opened.push(socket);
      return socket;
    };
    const close = (sockets: readonly PathSocket[]): void => {
      for (const socket of sockets) socket.close();
    };
    try {
      const next = carryingHeartbeats(config).map((path) => ({
        path,
        socket: this.#socketFor(path) ?? keep(path),
      }));
      return {
        commit: () => {
          const before = this.#paths;
          this.#paths = next.map(({ path, socket }, index) => {
            socket.retarget(path.remote);
            const kept = before.find((each) => each.socket === socket);
            const news = { heardAt: Number.NEGATIVE_INFINITY, sent: 0, received: 0, refused: {}, socket };
            return { ...(kept ?? news), name: path.name, index, config: path };
          });
          const gone = before.filter(({ socket }) => !next.some((each) => each.socket === socket));
          close(gone.map(({ socket }) => socket));
        },
        abandon: () => close(opened),
      };
    } catch (error) {
      close(opened);
      throw error;
    }
  }

  /** One that is open at this end, whoever is at the other. */
  #socketFor({ device, local }: PathConfig): PathSocket | undefined {
    return this.#paths.find(({ config }) => config.device === device && config.local === local)?.socket;
  }

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
