// One connection of the log, from the socket to the peer's messages (docs/protocol.md §3, §5): preamble, TLS 1.3
// with both ends pinned, hello both ways, then frames, pings, and an end with a reason. It knows nothing of
// paths, of roles or of what messages mean; what a stranger sends gets no answer, and nothing that a peer sends
// may throw out of here.

import type { Socket } from "node:net";
import { TLSSocket, connect as tlsConnect } from "node:tls";
import { HANDSHAKE_MS_MAX, LOG_BYTES_MAX, LOG_PING_MS, LOG_SILENCE_MS } from "../base/limits.ts";
import type { NodeId, Role } from "../base/units.ts";
import type { RefusedKey } from "../wire/control.ts";
import { encodeFrame, FrameReader } from "../wire/frames.ts";
import {
  commonVersion,
  type MessageOf,
  type PeerMessage,
  PROTOCOL_VERSION,
  PROTOCOL_VERSION_LOWEST,
  type RefuseCode,
} from "../wire/peer.ts";
import {
  describeStranger,
  PREAMBLE_BYTES,
  PreambleKind,
  type PreambleResult,
  preamble,
  readPreamble,
} from "../wire/preamble.ts";
import { type Identity, peerKeyOf } from "./identity.ts";

export type Hello = MessageOf<"hello">;

/** What this node is, as it introduces itself. */
export interface Introduction {
  readonly identity: Pick<Identity, "tls">;
  /** `ed25519:...`, those that the configuration lists for the peer. */
  readonly peerKeys: readonly string[];
  readonly node: NodeId;
  readonly pair: string;
  readonly software: string;
  /** 16 bytes in hexadecimal, random, of this start. */
  readonly bootId: string;
  /** 32 bytes in hexadecimal. */
  readonly configurationDigest: string;
  /** Asked at the moment of the hello. */
  readonly role: () => { readonly role: Role; readonly term: number };
}

export interface ConnectionTimers {
  readonly handshakeMs: number;
  readonly pingMs: number;
  readonly silenceMs: number;
  /** Monotonic, in milliseconds. */
  readonly now: () => number;
}

export const DEFAULT_TIMERS: ConnectionTimers = {
  handshakeMs: HANDSHAKE_MS_MAX,
  pingMs: LOG_PING_MS,
  silenceMs: LOG_SILENCE_MS,
  now: () => performance.now(),
};

/** Why a connection is not, or no longer, there. `code` is counted, `text` is for people. */
export interface Ending {
  readonly code: string;
  readonly text: string;
  /** Where a key was refused, ours or the peer's. */
  readonly refusedKey?: RefusedKey;
}

export interface ConnectionEvents {
  /** The peer has proven its key and said a hello that fits. Called once, before any message. */
  readonly onReady: (connection: Connection, hello: Hello) => void;
  /** A message, in order; none while paused. */
  readonly onMessage: (message: PeerMessage, connection: Connection) => void;
  /** This process did not come to its own timers for so long: nothing was read, nothing was sent. */
  readonly onStall?: (stalledMs: number) => void;
  /** Called once, whatever happened before. */
  readonly onEnd: (ending: Ending, connection: Connection) => void;
}

/** Listens in on connections of this process, for whoever looks for a fault (daemon/recorder.ts). */
export interface ConnectionTap {
  /** A frame in clear, as it is on the wire. */
  frame(way: "sent" | "received", version: number, bytes: Uint8Array): void;
  /** Both hellos were read, or the connection ended. */
  connection(what: "connected" | "disconnected", version: number): void;
  /** A line of a key log (SSLKEYLOGFILE). */
  key(line: Uint8Array): void;
}

export interface ConnectionOptions {
  readonly introduction: Introduction;
  readonly events: ConnectionEvents;
  readonly timers?: ConnectionTimers;
  /** Who listens in at this moment; null: nobody. */
  readonly tap?: () => ConnectionTap | null;
  /** Of the path, for the words of an ending. */
  readonly peerName: string;
}

/** Room in the socket's queue above the log itself: neighbours, acknowledgements, pings. */
const QUEUE_BYTES_MAX = LOG_BYTES_MAX + (4 << 20);
/** After a refusal was written: how long the peer may take to read it. */
const LINGER_MS = 500;

type Phase = "handshake" | "hello" | "ready" | "ended";

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #timers: ConnectionTimers;
  readonly #raw: Socket;
  readonly #reader = new FrameReader();
  #tls: TLSSocket | null = null;
  #phase: Phase = "handshake";
  #paused = false;
  #pumping = false;
  #heardAt = 0;
  /** As `#heardAt`, and never moved because this process did not look. */
  #readAt = Number.NEGATIVE_INFINITY;
  #tickedAt = 0;
  #nonce = 0;
  #deadline: NodeJS.Timeout;
  #ticker: NodeJS.Timeout | null = null;
  #refuser: string | null = null;
  #version = PROTOCOL_VERSION_LOWEST;

  private constructor(socket: Socket, options: ConnectionOptions) {
    this.#raw = socket;
    this.#options = options;
    this.#timers = options.timers ?? DEFAULT_TIMERS;
    socket.setNoDelay(true);
    socket.on("error", this.#onSocketError);
    socket.on("close", this.#onSocketClose);
    this.#deadline = setTimeout(
      () => this.#end("handshake-timeout", `no hello within ${this.#timers.handshakeMs} ms`),
      this.#timers.handshakeMs,
    );
  }

  /** Speaks first: preamble, then TLS as its client. `socket` is connected. */
  static dialled(socket: Socket, options: ConnectionOptions): Connection {
    const connection = new Connection(socket, options);
    socket.write(preamble(PreambleKind.Stream));
    const { key, cert } = options.introduction.identity.tls;
    const tls = tlsConnect({ ...TLS_OPTIONS, socket, key, cert, checkServerIdentity: () => undefined });
    connection.#secure(tls, "secureConnect");
    return connection;
  }

  /** Waits for the preamble without a word, then TLS as its server. */
  static accepted(socket: Socket, options: ConnectionOptions): Connection {
    const connection = new Connection(socket, options);
    connection.#awaitPreamble();
    return connection;
  }

  get ready(): boolean {
    return this.#phase === "ready";
  }

  /** Milliseconds since anything of the peer's was read. */
  get silentMs(): number {
    return this.#timers.now() - this.#readAt;
  }

  /** The version that both speak; of use once `ready`. */
  get version(): number {
    return this.#version;
  }

  /** Bytes that the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.#tls?.writableLength ?? 0;
  }

  /** Queues a message; dropped where the connection has ended. One that `version` does not have is a defect, and throws. */
  send(message: PeerMessage): void {
    if (this.#phase !== "ready") return;
    this.#write(message);
  }

  /** No message is given out until `resume`; the peer's TCP feels it once the buffers are full. */
  pause(): void {
    this.#paused = true;
    this.#tls?.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // What was not read was not silence.
    this.#heardAt = this.#timers.now();
    this.#tls?.resume();
    this.#pump();
  }

  /** Ends with a last message that says why. */
  refuse(code: RefuseCode, text: string): void {
    if (this.#phase === "ended") return;
    if (this.#tls !== null && this.#phase !== "handshake") this.#write({ kind: "refuse", code, text });
    this.#end(code, text, true);
  }

  /** Ends at once. */
  close(code: string, text: string): void {
    this.#end(code, text);
  }

  #awaitPreamble(): void {
    const socket = this.#raw;
    let held = new Uint8Array(0);
    const take = (): void => {
      while (this.#phase === "handshake") {
        // Never beyond the preamble: what follows is the business of TLS.
        const wanted = PREAMBLE_BYTES - held.length;
        const chunk = socket.read(Math.min(wanted, Math.max(1, socket.readableLength))) as Buffer | null;
        if (chunk === null) return;
        held = Buffer.concat([held, chunk]);
        const result = readPreamble(held, PreambleKind.Stream);
        if (result.kind === "need-more") continue;
        socket.off("readable", take);
        this.#onPreamble(result, held);
        return;
      }
    };
    socket.on("readable", take);
  }

  #onPreamble(result: PreambleResult, held: Uint8Array): void {
    if (result.kind === "refused") {
      // Not a byte in answer, not even a reason: whoever this is has shown nothing (system.md §6).
      this.#end(`preamble-${result.reason}`, `not Understudy: ${describeStranger(held)}`);
      return;
    }
    const { key, cert } = this.#options.introduction.identity.tls;
    const tls = new TLSSocket(this.#raw, { ...TLS_OPTIONS, isServer: true, requestCert: true, key, cert });
    this.#secure(tls, "secure");
  }

  #secure(tls: TLSSocket, event: "secure" | "secureConnect"): void {
    this.#tls = tls;
    // Keys are told while they are made, or never.
    if (this.#tap() !== null) tls.on("keylog", (line: Buffer) => this.#tap()?.key(line));
    tls.on("error", this.#onSocketError);
    tls.on("close", this.#onSocketClose);
    tls.on("end", () => this.#end("closed", "the peer closed the connection"));
    tls.once(event, () => this.#onSecure(tls));
  }

  #onSecure(tls: TLSSocket): void {
    if (this.#phase !== "handshake") return;
    this.#phase = "hello";
    const key = peerKeyOf(tls);
    if (key === null || !this.#options.introduction.peerKeys.includes(key)) {
      const shown = key ?? "none (no certificate)";
      this.#write({ kind: "refuse", code: "wrong-key", text: "the configuration lists another key" });
      const text = `key ${shown} is not one that the configuration lists for the peer`;
      this.#end("wrong-key", text, true, { by: "us", key });
      return;
    }
    this.#write(this.#hello());
    tls.on("data", (chunk: Buffer) => {
      this.#heardAt = this.#timers.now();
      this.#readAt = this.#heardAt;
      this.#reader.push(chunk);
      this.#pump();
    });
  }

  #hello(): Hello {
    const { node, pair, software, bootId, configurationDigest, role } = this.#options.introduction;
    return {
      kind: "hello",
      versionLowest: PROTOCOL_VERSION_LOWEST,
      versionHighest: PROTOCOL_VERSION,
      node,
      bootId,
      pair,
      software,
      configurationDigest,
      ...role(),
    };
  }

  /** Gives out what is complete. Not re-entered: a handler that resumes only lets the loop go on. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (!this.#paused && (this.#phase === "hello" || this.#phase === "ready")) {
        const frame = this.#reader.next();
        if (frame.kind === "need-more") return;
        if (frame.kind === "malformed") {
          this.refuse("protocol", frame.reason);
          return;
        }
        this.#onFrame(frame.message);
      }
    } finally {
      this.#pumping = false;
    }
  }

  #tap(): ConnectionTap | null {
    return this.#options.tap?.() ?? null;
  }

  #onFrame(message: PeerMessage): void {
    // A message has one encoding: this is what was read.
    this.#tap()?.frame("received", this.#version, encodeFrame(message, this.#version));
    if (message.kind === "refuse") {
      this.#refuser = message.code;
      const text = `the peer refuses: ${message.code}: ${message.text}`;
      const key: RefusedKey | undefined =
        message.code === "wrong-key" ? { by: "peer", key: null } : undefined;
      this.#end(`refused-by-peer-${message.code}`, text, false, key);
      return;
    }
    if (this.#phase === "hello") {
      if (message.kind === "hello") this.#onHello(message);
      else this.refuse("protocol", `${message.kind} before hello`);
      return;
    }
    if (message.kind === "hello") this.refuse("protocol", "a second hello");
    else if (message.kind === "ping") this.#write({ kind: "pong", nonce: message.nonce });
    else if (message.kind !== "pong") this.#options.events.onMessage(message, this);
  }

  #onHello(hello: Hello): void {
    const { node, pair } = this.#options.introduction;
    const version = commonVersion(hello.versionLowest, hello.versionHighest);
    if (version === null) {
      const theirs = `${hello.versionLowest} to ${hello.versionHighest}`;
      this.refuse("version", `peer speaks ${theirs}, we ${PROTOCOL_VERSION_LOWEST} to ${PROTOCOL_VERSION}`);
    } else if (hello.pair !== pair) {
      this.refuse("wrong-pair", `peer is of pair ${hello.pair}, we of ${pair}`);
    } else if (hello.node === node) {
      this.refuse("same-node", `both say that they are node ${node}`);
    } else {
      clearTimeout(this.#deadline);
      this.#phase = "ready";
      this.#version = version;
      this.#reader.speak(version);
      this.#tickedAt = this.#timers.now();
      this.#heardAt = this.#tickedAt;
      this.#ticker = setInterval(() => this.#tick(), this.#timers.pingMs);
      this.#tap()?.connection("connected", version);
      this.#options.events.onReady(this, hello);
    }
  }

  #tick(): void {
    const now = this.#timers.now();
    const lateMs = now - this.#tickedAt - this.#timers.pingMs;
    const late = lateMs > this.#timers.pingMs;
    this.#tickedAt = now;
    if (late) this.#options.events.onStall?.(lateMs);
    // Timers run before sockets are read: after a stall of our own, what is queued has not been heard yet.
    if (late || this.#paused) this.#heardAt = now;
    if (now - this.#heardAt > this.#timers.silenceMs) {
      this.#end("silent", `nothing heard for ${Math.round(now - this.#heardAt)} ms`);
      return;
    }
    this.#nonce = (this.#nonce + 1) >>> 0;
    this.#write({ kind: "ping", nonce: this.#nonce });
  }

  #write(message: PeerMessage): void {
    const tls = this.#tls;
    if (tls === null || tls.destroyed || !tls.writable) return;
    const frame = encodeFrame(message, this.#version);
    this.#tap()?.frame("sent", this.#version, frame);
    tls.write(frame);
    if (this.queuedBytes > QUEUE_BYTES_MAX) this.#end("peer-too-slow", `${this.queuedBytes} bytes unsent`);
  }

  #onSocketError = (error: Error): void => {
    const code = "code" in error ? String(error.code) : "error";
    this.#end(this.#phase === "handshake" ? `handshake-${code}` : code, error.message);
  };

  #onSocketClose = (): void => this.#end("closed", "the connection was closed");

  #end(code: string, text: string, linger = false, refusedKey?: RefusedKey): void {
    if (this.#phase === "ended") return;
    if (this.#phase === "ready") this.#tap()?.connection("disconnected", this.#version);
    this.#phase = "ended";
    clearTimeout(this.#deadline);
    if (this.#ticker !== null) clearInterval(this.#ticker);
    const { tls, raw } = { tls: this.#tls, raw: this.#raw };
    if (linger && tls !== null && !tls.destroyed) {
      // What still arrives is read and thrown away: an unread byte would turn our last words into a reset.
      tls.removeAllListeners("data");
      tls.on("data", () => {});
      tls.resume();
      tls.end();
      const timer = setTimeout(() => raw.destroy(), LINGER_MS);
      raw.once("close", () => clearTimeout(timer));
    } else {
      tls?.destroy();
      raw.destroy();
    }
    const ending = { code, text: `${this.#options.peerName}: ${text}` };
    this.#options.events.onEnd(refusedKey === undefined ? ending : { ...ending, refusedKey }, this);
  }

  /** The peer's code, where it was the peer that refused. */
  get refuser(): string | null {
    return this.#refuser;
  }
}

// No names, chains, dates or resumption: the peer is who holds a listed key (identity.ts), each time anew.
const TLS_OPTIONS = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  rejectUnauthorized: false,
  ALPNProtocols: ["understudy"],
} as const;
