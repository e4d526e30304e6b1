// The one connection that a pair has, over whichever path works (docs: replication §1): both nodes listen on every
// replication path, node b dials, paths in order, the next at once after a failure, back to a preferred one when it
// answers again. The newest connection that has proven itself takes the older one's place. Strangers are
// counted by reason and told apart by source; they can neither fill the table of half-open connections for
// the peer's addresses nor get an answer. It hands messages on and does not know what they mean.

import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";
import { canonicalAddress } from "../base/addresses.ts";
import {
  DIAL_MS_MAX,
  DIAL_ROUND_PAUSE_MS,
  HALF_OPEN_MAX,
  HALF_OPEN_PER_SOURCE_MAX,
  PORT,
  PREFERRED_PATH_RETRY_MS_MAX,
  PREFERRED_PATH_RETRY_MS_MIN,
} from "../base/limits.ts";
import type { PathConfig } from "../core/config.ts";
import type { RefusedKey } from "../wire/control.ts";
import type { PeerMessage } from "../wire/peer.ts";
import {
  Connection,
  type ConnectionTap,
  type ConnectionTimers,
  DEFAULT_TIMERS,
  type Ending,
  type Hello,
  type Introduction,
} from "./connection.ts";

/** Where sockets come from: `node:net` here, the daemon's own with TTL, buffers and device set. */
export interface Transport {
  /** Listens on the path's local address. Throws (or gives `error` events of the server) where it cannot. */
  listen(path: PathConfig, server: Server): void;
  /** A connected socket from the path's local to its remote address, or a rejection. */
  dial(path: PathConfig, timeoutMs: number): Promise<Socket>;
  /** Takes back what was put into the kernel for these sockets. */
  close?(): void;
}

export interface PairLinkEvents {
  readonly onUp: (hello: Hello, path: string) => void;
  readonly onMessage: (message: PeerMessage) => void;
  readonly onDown: (ending: Ending) => void;
}

export interface PairLinkOptions {
  readonly introduction: Introduction;
  /** Those that carry replication, in order of preference. */
  readonly paths: readonly PathConfig[];
  readonly events: PairLinkEvents;
  readonly log: (line: string) => void;
  readonly transport?: Transport;
  readonly timers?: ConnectionTimers;
  readonly tap?: () => ConnectionTap | null;
  /** First pause before a preferred path is tried again. */
  readonly preferredRetryMs?: number;
}

export interface PairLinkState {
  readonly connected: boolean;
  readonly path: string | null;
  /** How a connection of the last half minute ended over a key; null where one holds, or none did. */
  readonly refusedKey: RefusedKey | null;
  /** Refusals and endings by code, and what the dialler did. */
  readonly counters: Readonly<Record<string, number>>;
}

/** A key that was refused is tried again much more often; older, it says nothing of now. */
const REFUSED_KEY_MS = 30_000;
/** One line in ten seconds and reason: a flood of strangers must not become a flood of lines. */
const LOG_EVERY_MS = 10_000;

export class PairLink {
  readonly #options: PairLinkOptions;
  readonly #transport: Transport;
  readonly #timers: ConnectionTimers;
  readonly #servers: Server[] = [];
  readonly #counters: Record<string, number> = {};
  readonly #loggedAt = new Map<string, number>();
  /** Half-open connections, and the source of each. */
  readonly #halfOpen = new Map<Connection, string>();
  #current: { connection: Connection; path: number; since: number } | null = null;
  #refusedKey: { readonly key: RefusedKey; readonly atMs: number } | null = null;
  #dialling = false;
  #nextPath = 0;
  #retryMs: number;
  #redial: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: PairLinkOptions) {
    this.#options = options;
    this.#transport = options.transport ?? plainTransport(PORT);
    this.#timers = options.timers ?? DEFAULT_TIMERS;
    this.#retryMs = options.preferredRetryMs ?? PREFERRED_PATH_RETRY_MS_MIN;
    try {
      for (const path of options.paths.keys()) this.#listen(path);
    } catch (error) {
      this.close();
      throw error;
    }
    if (options.introduction.node === "b" && options.paths.length > 0) this.#dialSoon(0);
  }

  state(): PairLinkState {
    const current = this.#current;
    return {
      connected: current !== null,
      path: current === null ? null : this.#options.paths[current.path]!.name,
      refusedKey: this.#recentlyRefusedKey(),
      counters: { ...this.#counters },
    };
  }

  #recentlyRefusedKey(): RefusedKey | null {
    if (this.#refusedKey === null || performance.now() - this.#refusedKey.atMs > REFUSED_KEY_MS) return null;
    return this.#refusedKey.key;
  }

  /** The protocol version that is spoken with the peer (docs/protocol.md §2.1); null where it is not there. */
  get version(): number | null {
    return this.#current?.connection.version ?? null;
  }

  /** Milliseconds since anything of the peer's was read; null where it is not connected. */
  get silentMs(): number | null {
    return this.#current?.connection.silentMs ?? null;
  }

  /** To the peer where it is there, to nobody where it is not. Throws where its version has no such message: ask first. */
  send(message: PeerMessage): void {
    this.#current?.connection.send(message);
  }

  pause(): void {
    this.#current?.connection.pause();
  }

  resume(): void {
    this.#current?.connection.resume();
  }

  /** The peer broke the protocol in a way that only its reader can know. */
  refuse(text: string): void {
    this.#current?.connection.refuse("protocol", text);
  }

  /** Ends the connection, so that another one begins, over the best path there is. */
  reconnect(): void {
    this.#current?.connection.refuse("replaced", "to connect anew, as somebody asked");
  }

  /** The addresses that are listened on, for tests with ports of their own. */
  addresses(): readonly AddressInfo[] {
    return this.#servers.map((server) => server.address() as AddressInfo);
  }

  close(): void {
    this.#closed = true;
    if (this.#redial !== null) clearTimeout(this.#redial);
    for (const server of this.#servers) server.close();
    for (const connection of this.#halfOpen.keys()) connection.close("stopping", "this node stops");
    this.#current?.connection.refuse("stopping", "this node stops");
    this.#transport.close?.();
  }

  #listen(path: number): void {
    const config = this.#options.paths[path]!;
    const server = createServer({ noDelay: true }, (socket) => this.#onAccepted(socket, path));
    server.on("error", (error) => this.#note("listen-failed", `path ${config.name}: ${error.message}`));
    this.#servers.push(server);
    this.#transport.listen(config, server);
  }

  #onAccepted(socket: Socket, path: number): void {
    // Without a listener an early reset would be an uncaught error.
    socket.on("error", () => {});
    const config = this.#options.paths[path]!;
    const source = canonicalAddress(socket.remoteAddress ?? "") ?? "unknown";
    const refused = this.#refusalOf(source, canonicalAddress(config.remote));
    if (refused !== null) {
      socket.destroy();
      this.#note(refused, `path ${config.name}: connection from ${source} dropped`);
      return;
    }
    const connection = Connection.accepted(
      socket,
      this.#connectionOptions(path, source, () => {}),
    );
    this.#halfOpen.set(connection, source);
  }

  #refusalOf(source: string, expected: string | null): string | null {
    if (this.#closed) return "closing";
    if (source !== expected) return "stranger-address";
    if (this.#halfOpen.size >= HALF_OPEN_MAX) return "half-open-full";
    let ofSource = 0;
    for (const each of this.#halfOpen.values()) if (each === source) ofSource += 1;
    return ofSource >= HALF_OPEN_PER_SOURCE_MAX ? "half-open-full-source" : null;
  }

  #connectionOptions(path: number, peerName: string, settled: () => void) {
    return {
      introduction: this.#options.introduction,
      timers: this.#timers,
      ...(this.#options.tap === undefined ? {} : { tap: this.#options.tap }),
      peerName: `${this.#options.paths[path]!.name} (${peerName})`,
      events: {
        onReady: (connection: Connection, hello: Hello) => {
          this.#halfOpen.delete(connection);
          this.#onReady(connection, hello, path);
          settled();
        },
        onMessage: (message: PeerMessage, connection: Connection) => {
          if (this.#current?.connection === connection) this.#options.events.onMessage(message);
        },
        onStall: (stalledMs: number) =>
          this.#note("own-stalls", `this daemon stood still for ${Math.round(stalledMs)} ms`),
        onEnd: (ending: Ending, connection: Connection) => {
          this.#halfOpen.delete(connection);
          this.#note(ending.code, ending.text);
          this.#noteKey(ending.refusedKey);
          this.#onEnd(connection, ending, path);
          settled();
        },
      },
    };
  }

  #onReady(connection: Connection, hello: Hello, path: number): void {
    const former = this.#current;
    this.#current = { connection, path, since: performance.now() };
    this.#refusedKey = null;
    if (former !== null) {
      const name = this.#options.paths[path]!.name;
      former.connection.refuse("replaced", `the connection over ${name} takes its place`);
      this.#options.events.onDown({ code: "replaced", text: `replaced by a connection over ${name}` });
    }
    this.#count("connected");
    this.#options.log(
      `replication: connected over ${this.#options.paths[path]!.name} to ${hello.node} (${hello.software})`,
    );
    this.#options.events.onUp(hello, this.#options.paths[path]!.name);
  }

  #onEnd(connection: Connection, ending: Ending, path: number): void {
    if (this.#current?.connection !== connection) return;
    // What held for so long does not flap.
    if (performance.now() - this.#current.since > PREFERRED_PATH_RETRY_MS_MAX)
      this.#retryMs = this.#options.preferredRetryMs ?? PREFERRED_PATH_RETRY_MS_MIN;
    this.#current = null;
    this.#options.events.onDown(ending);
    if (!this.#dials()) return;
    // The next path at once; the peer's own refusal is no fault of the path, and is not hammered.
    const wasAsked = connection.refuser !== null || ending.code === "replaced";
    this.#nextPath = wasAsked ? 0 : (path + 1) % this.#options.paths.length;
    this.#dialSoon(wasAsked ? DIAL_ROUND_PAUSE_MS : 0);
  }

  #dials(): boolean {
    return !this.#closed && this.#options.introduction.node === "b";
  }

  /** Longer each time: a path that flaps must not make the standby begin again and again. */
  #preferredRetryMs(): number {
    const pause = this.#retryMs;
    this.#retryMs = Math.min(pause * 2, PREFERRED_PATH_RETRY_MS_MAX);
    return pause;
  }

  #dialSoon(afterMs: number): void {
    if (this.#redial !== null) clearTimeout(this.#redial);
    this.#redial = setTimeout(() => {
      this.#redial = null;
      void this.#dialRound();
    }, afterMs);
  }

  /** Tries paths one after the other: all of them where there is no connection, the better ones where there is. */
  async #dialRound(): Promise<void> {
    if (this.#dialling || !this.#dials()) return;
    this.#dialling = true;
    const count = this.#options.paths.length;
    const start = this.#current === null ? this.#nextPath : 0;
    const tries = this.#current?.path ?? count;
    for (let index = 0; index < tries && this.#dials(); index += 1) {
      const before = this.#current;
      await this.#dial((start + index) % count);
      if (this.#current !== before) break;
    }
    this.#dialling = false;
    this.#nextPath = 0;
    if (!this.#dials()) return;
    if (this.#current === null) this.#dialSoon(DIAL_ROUND_PAUSE_MS);
    else if (this.#current.path > 0) this.#dialSoon(this.#preferredRetryMs());
  }

  /** Resolves when the path has a connection that is ready, or has none. */
  async #dial(path: number): Promise<void> {
    const config = this.#options.paths[path]!;
    this.#count("dialled");
    let socket: Socket;
    try {
      socket = await this.#transport.dial(config, DIAL_MS_MAX);
    } catch (error) {
      this.#note("dial-failed", `path ${config.name}: ${error instanceof Error ? error.message : error}`);
      return;
    }
    if (!this.#dials()) {
      socket.destroy();
      return;
    }
    await new Promise<void>((settled) => {
      const connection = Connection.dialled(socket, this.#connectionOptions(path, config.remote, settled));
      this.#halfOpen.set(connection, config.remote);
    });
  }

  /** The peer's last word ends a handshake that showed us its key: what we saw ourselves says more, and stays. */
  #noteKey(key: RefusedKey | undefined): void {
    if (key === undefined || (key.by === "peer" && this.#recentlyRefusedKey()?.by === "us")) return;
    this.#refusedKey = { key, atMs: performance.now() };
  }

  #count(code: string): void {
    this.#counters[code] = (this.#counters[code] ?? 0) + 1;
  }

  #note(code: string, text: string): void {
    this.#count(code);
    const now = performance.now();
    if (now - (this.#loggedAt.get(code) ?? Number.NEGATIVE_INFINITY) < LOG_EVERY_MS) return;
    this.#loggedAt.set(code, now);
    this.#options.log(`replication: ${code}: ${text} (${this.#counters[code]} so far)`);
  }
}

/** Sockets as `node:net` makes them; for tests, and where nothing more is wanted. */
export function plainTransport(port: number): Transport {
  return {
    listen: (path, server) => server.listen({ host: path.local, port, exclusive: true }),
    dial: (path, timeoutMs) =>
      new Promise((resolve, reject) => {
        const socket = createConnection({ host: path.remote, port, localAddress: path.local, noDelay: true });
        const timer = setTimeout(() => socket.destroy(new Error("no answer in time")), timeoutMs);
        socket.once("error", (error) => {
          clearTimeout(timer);
          reject(error);
        });
        socket.once("connect", () => {
          clearTimeout(timer);
          socket.removeAllListeners("error");
          resolve(socket);
        });
      }),
  };
}
