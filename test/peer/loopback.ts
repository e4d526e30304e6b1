// Two nodes' ends of the log's connection on loopback addresses, with ports of their own: what the tests of the
// connection and of the pair's link share.

import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { NodeId, Role } from "../../src/base/units.ts";
import type { PathConfig } from "../../src/core/config.ts";
import type { Ending, Hello, Introduction } from "../../src/peer/connection.ts";
import { type Identity, identityOf } from "../../src/peer/identity.ts";
import type { PairLinkEvents, Transport } from "../../src/peer/pairLink.ts";
import type { PeerMessage } from "../../src/wire/peer.ts";

export const newIdentity = (): Identity => identityOf(generateKeyPairSync("ed25519").privateKey);

export function introduction(
  node: NodeId,
  identity: Identity,
  peerKeys: readonly string[],
  changes: Partial<Introduction> = {},
): Introduction {
  return {
    identity,
    peerKeys,
    node,
    pair: "office",
    software: "test",
    bootId: "00112233445566778899aabbccddeeff",
    configurationDigest: "ab".repeat(32),
    role: () => ({ role: "standby" as Role, term: 0 }),
    ...changes,
  };
}

/** Paths of node `node`: `127.0.(n).1` is a, `127.0.(n).2` is b. */
export function pathsOf(node: NodeId, names: readonly string[]): PathConfig[] {
  return names.map((name, index) => {
    const [a, b] = [`127.0.${index + 1}.1`, `127.0.${index + 1}.2`];
    const [local, remote] = node === "a" ? [a, b] : [b, a];
    return { name, device: "lo", local, remote, heartbeat: true, replication: true };
  });
}

/** Loopback with ports that the system chose, and paths that can be cut. */
export class Loopback {
  readonly #ports = new Map<string, number>();
  readonly cut = new Set<string>();
  readonly sockets: { path: string; socket: Socket }[] = [];
  readonly dials: string[] = [];

  transport(): Transport {
    return {
      listen: (path, server) => {
        server.listen({ host: path.local, port: 0 });
        server.on("listening", () => this.#ports.set(path.local, portOf(server)));
      },
      dial: async (path) => {
        this.dials.push(path.name);
        const port = this.#ports.get(path.remote);
        if (this.cut.has(path.name) || port === undefined) throw new Error("unreachable");
        const socket = createConnection({ host: path.remote, port, localAddress: path.local });
        await once(socket, "connect");
        this.sockets.push({ path: path.name, socket });
        return socket;
      },
    };
  }

  portOf(address: string): number | undefined {
    return this.#ports.get(address);
  }
}

export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening on TCP");
  return address.port;
}

/** A connected pair of TCP sockets: `[client, server]`. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer();
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const client = createConnection({ host: "127.0.0.1", port: portOf(server) });
  const [[accepted]] = await Promise.all([once(server, "connection"), once(client, "connect")]);
  server.close();
  return [client, accepted as Socket];
}

/** What happened, in order, and promises for what has not happened yet. */
export class Journal implements PairLinkEvents {
  readonly entries: string[] = [];
  readonly messages: PeerMessage[] = [];
  #waiting: { matches: (entry: string) => boolean; resolve: (entry: string) => void }[] = [];

  readonly onUp = (hello: Hello, path: string): void => this.note(`up ${hello.node} ${path}`);
  readonly onDown = (ending: Ending): void => this.note(`down ${ending.code}`);
  readonly onMessage = (message: PeerMessage): void => {
    this.messages.push(message);
    this.note(`message ${message.kind}`);
  };

  note(entry: string): void {
    this.entries.push(entry);
    this.#waiting = this.#waiting.filter(({ matches, resolve }) => {
      if (matches(entry)) resolve(entry);
      return !matches(entry);
    });
  }

  /** The next entry from now on that starts with `prefix`. */
  next(prefix: string): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting.push({ matches: (entry) => entry.startsWith(prefix), resolve });
    });
  }
}
