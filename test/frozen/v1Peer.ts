// A node that was not upgraded: the frozen version 1 (test/frozen/v1) over a real connection, with a table in memory in place of
// a kernel. It stands where one of a pair's replicators stood: its address, its key, its network namespace. What it does
// not know ends the connection, as it would have then.

import type { Server, Socket } from "node:net";
import { createServer } from "node:net";
import { TLSSocket, connect as tlsConnect } from "node:tls";
import type { Role } from "../../src/base/units.ts";
import type { Config } from "../../src/core/config.ts";
import type { Identity } from "../../src/peer/identity.ts";
import type { Transport } from "../../src/peer/pairLink.ts";
import type { Subscription } from "./v1/merge.ts";
import { encodeFrame, FrameReader, type MessageOf, type PeerMessage } from "./v1/peer.ts";
import { PREAMBLE_BYTES, PreambleKind, preamble, readPreamble } from "./v1/preamble.ts";
import * as receiver from "./v1/receiver.ts";
import * as sender from "./v1/sender.ts";
import { validateRecords } from "./v1/session.ts";

import { decodeRecord, encodeRecord, type SessionRecord } from "./v1/sessionRecord.ts";
import { millis } from "./v1/units.ts";

const TLS_OPTIONS = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  rejectUnauthorized: false,
  ALPNProtocols: ["understudy"],
} as const;
/** Records of one chunk of the table. */
const CHUNK_RECORDS = 500;
const now = () => millis(performance.now());

export interface V1PeerOptions {
  readonly config: Config;
  readonly identity: Identity;
  readonly transport: Transport;
}

/** An entry of its table: the last record that made it, and the generation that it arrived with. */
interface Entry {
  readonly record: SessionRecord;
  readonly generation: number;
}

/** A session's name, the same for every record about it. */
export function keyOf(record: Pick<SessionRecord, "protocol" | "original">): string {
  const { protocol, original } = record;
  return `${protocol} ${original.source.join(".")} ${original.a} ${original.destination.join(".")} ${original.b}`;
}

export class V1Peer {
  readonly table = new Map<string, Entry>();
  /** Kinds of the messages that it was sent. */
  readonly heard: string[] = [];
  /** Why its connections ended, the latest last. */
  readonly endings: string[] = [];
  readonly #options: V1PeerOptions;
  readonly #sender = sender.createSender();
  readonly #receiver = receiver.createReceiver();
  readonly #servers: Server[] = [];
  #role: Role = "idle";
  #term = 0;
  #tls: TLSSocket | null = null;
  #chunks: SessionRecord[][] | null = null;
  #closed = false;

  constructor(options: V1PeerOptions) {
    this.#options = options;
    const { config, transport } = options;
    const path = config.paths[0]!;
    const server = createServer((socket) => this.#accept(socket));
    transport.listen(path, server);
    this.#servers.push(server);
    if (config.node === "b") void this.#dial();
  }

  get ready(): boolean {
    return receiver.isSynchronised(this.#receiver);
  }

  get synchronised(): boolean {
    return sender.isSynchronised(this.#sender) && this.#sender.acknowledged === this.#sender.sequence;
  }

  setRole(role: Role, term: number): void {
    const relieved = receiver.relieves(this.#receiver, now());
    this.#role = role;
    this.#term = term;
    if (role === "active") {
      this.#receive({ kind: "role", standby: false });
      this.#receive({ kind: "own" });
      this.#send({ kind: "active", term, relieved });
    } else {
      this.#send({ kind: "inactive" });
      this.#receive({ kind: "role", standby: role === "standby" });
    }
    this.#say({ kind: "roleChanged", role, term });
  }

  /** Sessions that its own packets made or ended. */
  change(records: readonly SessionRecord[]): void {
    for (const record of records) this.#put(record, 0);
    const bytes = bytesOf(records);
    this.#send({ kind: "events", bytes, count: records.length });
  }

  close(): void {
    this.#closed = true;
    for (const server of this.#servers) server.close();
    this.#tls?.destroy();
  }

  async #dial(): Promise<void> {
    while (!this.#closed) {
      try {
        const socket = await this.#options.transport.dial(this.#options.config.paths[0]!, 500);
        socket.write(preamble(PreambleKind.Stream));
        const tls = tlsConnect({ ...TLS_OPTIONS, ...this.#options.identity.tls, socket });
        await new Promise<void>((ended) => this.#use(tls, "secureConnect", ended));
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  #accept(socket: Socket): void {
    let held = new Uint8Array(0);
    const take = (): void => {
      const chunk = socket.read(PREAMBLE_BYTES - held.length) as Buffer | null;
      if (chunk === null) return;
      held = Buffer.concat([held, chunk]);
      if (readPreamble(held, PreambleKind.Stream).kind !== "ok") return;
      socket.off("readable", take);
      const options = { ...TLS_OPTIONS, ...this.#options.identity.tls, isServer: true, requestCert: true };
      this.#use(new TLSSocket(socket, options), "secure", () => {});
    };
    socket.on("readable", take);
    socket.on("error", () => {});
  }

  #use(tls: TLSSocket, event: string, onEnd: () => void): void {
    const reader = new FrameReader();
    let greeted = false;
    tls.on("error", () => {});
    tls.once("close", () => {
      if (this.#tls === tls) {
        this.#tls = null;
        this.#send({ kind: "unsubscribe" });
        this.#receive({ kind: "disconnected" });
      }
      onEnd();
    });
    tls.once(event, () => {
      this.#tls = tls;
      this.#say(this.#hello());
      tls.on("data", (chunk: Buffer) => {
        reader.push(chunk);
        for (let frame = reader.next(); frame.kind !== "need-more"; frame = reader.next()) {
          if (frame.kind === "malformed") {
            this.endings.push(`malformed: ${frame.reason}`);
            tls.destroy();
            return;
          }
          this.heard.push(frame.message.kind);
          if (!greeted && frame.message.kind !== "hello")
            this.endings.push(`${frame.message.kind} before hello`);
          greeted = true;
          this.#onMessage(frame.message);
        }
      });
    });
  }

  #hello(): MessageOf<"hello"> {
    const { config } = this.#options;
    return {
      kind: "hello",
      versionLowest: 1,
      versionHighest: 1,
      node: config.node,
      bootId: "01".repeat(16),
      pair: config.pair,
      software: "understudy 0.1.0",
      configurationDigest: config.digest,
      role: this.#role,
      term: this.#term,
    };
  }

  #say(message: PeerMessage): void {
    this.#tls?.write(encodeFrame(message));
  }

  #onMessage(message: PeerMessage): void {
    switch (message.kind) {
      case "hello":
      case "roleChanged":
        this.#receive({ kind: "peer", role: message.role, term: message.term });
        return;
      case "ping":
        this.#say({ kind: "pong", nonce: message.nonce });
        return;
      case "refuse":
        this.endings.push(`refused: ${message.code}: ${message.text}`);
        return;
      case "subscribe":
        this.#send({ kind: "subscribe", subscription: subscriptionOf(message), own: message.own });
        return;
      case "acknowledge":
        this.#send({ kind: "acknowledge", position: message.position });
        return;
      case "snapshotBegin":
        this.#receive({ ...message, kind: "snapshot-begin" });
        return;
      case "snapshotEnd":
        this.#receive({ ...message, kind: "snapshot-end" });
        return;
      case "sessions":
        this.#onSessions(message);
        return;
      case "mergeRequest":
        this.#receive({ kind: "merge-request", subscription: subscriptionOf(message) });
        return;
      case "mergeEnd":
        this.#send({ kind: "merge-end", subscription: subscriptionOf(message), count: message.count });
        return;
      case "mergeAcknowledge":
        this.#receive({ ...message, kind: "merge-acknowledge" });
        return;
      default:
        return;
    }
  }

  #onSessions({ origin, first, count, records }: MessageOf<"sessions">): void {
    const verdict = validateRecords(records);
    if (!verdict.ok || verdict.count !== count) {
      this.endings.push(`records: ${verdict.ok ? "count" : verdict.reason}`);
      this.#tls?.destroy();
    } else if (origin === "merge") this.#send({ kind: "merge-sessions", first, count, bytes: records });
    else this.#receive({ kind: "sessions", first, count, bytes: records });
  }

  #put(record: SessionRecord, generation: number): void {
    if (record.operation === "delete") this.table.delete(keyOf(record));
    else this.table.set(keyOf(record), { record: { ...record, operation: "create" }, generation });
  }

  #receive(input: receiver.ReceiverInput): void {
    const effects: receiver.ReceiverEffect[] = [];
    receiver.step(this.#receiver, now(), input, effects);
    for (const effect of effects) this.#performReceived(effect);
    this.#give();
  }

  #performReceived(effect: receiver.ReceiverEffect): void {
    switch (effect.kind) {
      case "subscribe":
        this.#say({ kind: "subscribe", ...effect.subscription, own: effect.own });
        return;
      case "apply":
        for (const record of recordsOf(effect.bytes)) this.#put(record, effect.generation);
        this.#receive({ kind: "applied", count: effect.count, refused: 0 });
        return;
      case "sweep":
        for (const [key, entry] of this.table)
          if (entry.generation !== effect.generation) this.table.delete(key);
        this.#receive({ kind: "swept" });
        return;
      case "purge":
        for (const [key, entry] of this.table)
          if (entry.generation === effect.generation) this.table.delete(key);
        return;
      case "acknowledge":
        this.#say({ kind: "acknowledge", position: effect.position });
        return;
      case "merge-sessions": {
        const { first, count, bytes } = effect;
        this.#say({ kind: "sessions", origin: "merge", first, count, records: bytes.slice() });
        return;
      }
      case "merge-end":
        this.#say({ kind: "mergeEnd", ...effect.subscription, count: effect.count });
        return;
      case "fail":
        this.endings.push(`failed: ${effect.reason}`);
        this.#tls?.destroy();
    }
  }

  /** All that it holds, in one chunk. */
  #give(): void {
    if (this.#receiver.giving === null || !receiver.wantsChunk(this.#receiver)) return;
    const records = [...this.table.values()].map((entry) => entry.record);
    this.#receive({ kind: "merge-chunk", bytes: bytesOf(records), count: records.length, more: false });
  }

  #send(input: sender.SenderInput): void {
    const effects: sender.SenderEffect[] = [];
    sender.step(this.#sender, now(), input, effects);
    for (const effect of effects) this.#performSent(effect);
    if (sender.wantsChunk(this.#sender, now())) setImmediate(() => this.#chunk());
  }

  #chunk(): void {
    if (!sender.wantsChunk(this.#sender, now())) return;
    this.#chunks ??= chunksOf([...this.table.values()].map((entry) => entry.record));
    const records = this.#chunks.shift() ?? [];
    const more = this.#chunks.length > 0;
    if (!more) this.#chunks = null;
    const snapshot = sender.snapshotNumber(this.#sender);
    this.#send({ kind: "chunk", snapshot, bytes: bytesOf(records), count: records.length, more });
  }

  #performSent(effect: sender.SenderEffect): void {
    switch (effect.kind) {
      case "snapshot-begin":
        this.#chunks = null;
        this.#say({ ...effect, kind: "snapshotBegin" });
        return;
      case "sessions": {
        const { first, count, bytes } = effect;
        const origin = effect.snapshot ? "snapshot" : "change";
        this.#say({ kind: "sessions", origin, first, count, records: bytes.slice() });
        return;
      }
      case "snapshot-end":
        this.#say({ ...effect, kind: "snapshotEnd" });
        return;
      case "tell-role":
        this.#say({ kind: "roleChanged", role: this.#role, term: this.#term });
        return;
      case "insert":
        for (const record of recordsOf(effect.bytes))
          if (!this.table.has(keyOf(record))) this.#put(record, 0);
        return;
      case "merge-request":
        this.#say({ kind: "mergeRequest", ...effect.subscription });
        return;
      case "merge-acknowledge":
        this.#say({ ...effect, kind: "mergeAcknowledge" });
        return;
      case "fail":
        this.endings.push(`failed: ${effect.reason}`);
        this.#tls?.destroy();
    }
  }
}

function subscriptionOf({ term, generation }: Subscription): Subscription {
  return { term, generation };
}

function bytesOf(records: readonly SessionRecord[]): Uint8Array {
  return Uint8Array.from(records.flatMap((record) => [...encodeRecord(record)]));
}

function chunksOf(records: readonly SessionRecord[]): SessionRecord[][] {
  const chunks: SessionRecord[][] = [];
  for (let at = 0; at < records.length; at += CHUNK_RECORDS)
    chunks.push(records.slice(at, at + CHUNK_RECORDS));
  return chunks;
}

/** The records in `bytes`, which version 1 must be able to read: whatever is not its own is a failure of the other side. */
export function recordsOf(bytes: Uint8Array): SessionRecord[] {
  const records: SessionRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const reading = decodeRecord(bytes, at);
    if (!reading.ok) throw new Error(reading.reason);
    records.push(reading.record);
    at = reading.end;
  }
  return records;
}
