// A capture of port 1148, decoded: TCP put together and TLS opened with a key log, heartbeats opened with a node's key. What cannot
// be opened is said once, with the reason; the rest goes on.

import { formatAddress } from "../base/addresses.ts";
import { PORT } from "../base/limits.ts";
import { peerOf } from "../base/units.ts";
import type { DatagramCapture } from "../peer/datagramCapture.ts";
import type { KeyLog } from "../peer/keyLog.ts";
import { type Side, TlsCapture } from "../peer/tlsCapture.ts";
import type { CapturedPacket } from "../wire/capture.ts";
import { FrameReader } from "../wire/frames.ts";
import { decodeHeartbeat } from "../wire/heartbeat.ts";
import { type Packet, readPacket } from "../wire/packet.ts";
import { commonVersion, type MessageOf, PROTOCOL_VERSION_LOWEST } from "../wire/peer.ts";
import { describeStranger, PREAMBLE_BYTES, PreambleKind, readPreamble } from "../wire/preamble.ts";
import { TcpStream } from "../wire/tcpStream.ts";
import type { Decoded, Direction } from "./decodeMessages.ts";

export interface CaptureKeys {
  readonly keyLog: KeyLog;
  /** null: no node's key was given, and heartbeats stay shut. */
  readonly datagrams: DatagramCapture | null;
}

/** Nobody asked for them. */
const NO_KEY = "no node's key was given (--node FILE)";

type Emit = (decoded: Decoded) => void;
type TcpPacket = Extract<Packet, { kind: "tcp" }>;
type UdpPacket = Extract<Packet, { kind: "udp" }>;

const endText = (address: Uint8Array, port: number): string => {
  const text = formatAddress(address);
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
};

/** One connection of the log as it was captured. Node b dials (docs/protocol.md §5.1), so the client is b. */
class Connection {
  readonly initialSequence: number | null;
  readonly #emit: Emit;
  readonly #name: string;
  readonly #streams: Readonly<Record<Side, TcpStream>> = { client: new TcpStream(), server: new TcpStream() };
  readonly #readers: Readonly<Record<Side, FrameReader>> = {
    client: new FrameReader(),
    server: new FrameReader(),
  };
  readonly #hellos: Partial<Record<Side, MessageOf<"hello">>> = {};
  readonly #tls: TlsCapture;
  #preamble = new Uint8Array(0);
  #isStranger = false;
  /** Sides of which nothing more can be understood. */
  readonly #lost = new Set<Side>();
  #at: number | null = null;

  constructor(name: string, initialSequence: number | null, keyLog: KeyLog, emit: Emit) {
    this.#name = name;
    this.initialSequence = initialSequence;
    this.#tls = new TlsCapture(keyLog);
    this.#emit = emit;
  }

  take(side: Side, packet: TcpPacket, captured: CapturedPacket): void {
    this.#at = captured.at;
    if (captured.cut)
      this.#note(side, `packet ${captured.number} was cut when it was captured: capture with -s 0`, true);
    for (const chunk of this.#streams[side].push(packet.sequence, packet.payload, packet.syn))
      this.#feed(side, chunk);
    if (packet.reset) this.#note(side, "the connection was reset", false);
  }

  /** Nothing comes after this: what is missing is said. */
  end(): void {
    for (const side of ["client", "server"] as const) {
      const { missing, offset } = this.#streams[side];
      if (missing > 0)
        this.#note(
          side,
          `${missing} bytes are not in the capture, behind byte ${offset} of the stream: the rest stays shut`,
          true,
        );
    }
  }

  #feed(side: Side, chunk: Uint8Array): void {
    if (this.#isStranger) return;
    const rest = side === "client" ? this.#behindPreamble(chunk) : chunk;
    if (rest.length === 0) return;
    for (const event of this.#tls.push(side, rest)) {
      if (event.kind === "data") this.#read(event.side, event.bytes);
      else if (event.kind === "alert") this.#note(event.side, `TLS: ${event.words}`, false);
      else this.#note(event.side, `${event.reason} (byte ${event.offset} of the TLS stream)`, true);
    }
  }

  #behindPreamble(chunk: Uint8Array): Uint8Array {
    // A capture that began later has none.
    if (this.#preamble.length === PREAMBLE_BYTES || !this.#streams.client.fromStart) return chunk;
    const wanted = PREAMBLE_BYTES - this.#preamble.length;
    this.#preamble = Uint8Array.of(...this.#preamble, ...chunk.subarray(0, wanted));
    if (readPreamble(this.#preamble, PreambleKind.Stream).kind === "refused") {
      this.#isStranger = true;
      this.#note("client", `not Understudy: ${describeStranger(this.#preamble)}`, false);
      return new Uint8Array(0);
    }
    if (this.#preamble.length === PREAMBLE_BYTES) this.#note("client", `connects: ${this.#name}`, false);
    return chunk.subarray(wanted);
  }

  #read(side: Side, bytes: Uint8Array): void {
    const reader = this.#readers[side];
    reader.push(bytes);
    for (let frame = reader.next(); frame.kind === "message"; frame = reader.next()) {
      const { message } = frame;
      this.#emit({ at: this.#at, direction: directionOf(side), kind: "message", message });
      if (message.kind === "hello") this.#onHello(side, message);
    }
    const last = reader.next();
    if (last.kind !== "malformed" || this.#lost.has(side)) return;
    this.#lost.add(side);
    this.#note(side, `cannot be understood from here on: ${last.reason}`, true);
  }

  /** From both hellos on, the version that both have is spoken. */
  #onHello(side: Side, hello: MessageOf<"hello">): void {
    this.#hellos[side] = hello;
    const { client, server } = this.#hellos;
    if (client === undefined || server === undefined) return;
    const lowest = Math.max(client.versionLowest, server.versionLowest);
    const highest = Math.min(client.versionHighest, server.versionHighest);
    const version = commonVersion(lowest, highest) ?? PROTOCOL_VERSION_LOWEST;
    for (const each of ["client", "server"] as const) this.#readers[each].speak(version);
  }

  #note(side: Side, text: string, isFault: boolean): void {
    this.#emit({ at: this.#at, direction: directionOf(side), kind: "note", text, isFault });
  }
}

const directionOf = (side: Side): Direction =>
  side === "client" ? { from: "b", to: "a" } : { from: "a", to: "b" };

/** Everything of port 1148 in `packets`, given to `emit` in the order of the capture. How many packets were of it. */
export function decodeCapture(packets: readonly CapturedPacket[], keys: CaptureKeys, emit: Emit): number {
  const connections = new Map<string, Connection>();
  const datagrams = new Datagrams(keys.datagrams, emit);
  let ours = 0;
  for (const captured of packets) {
    const packet = readPacket(captured.bytes, captured.linkType);
    if (packet.kind === "other" || (packet.sourcePort !== PORT && packet.destinationPort !== PORT)) continue;
    ours += 1;
    if (packet.kind === "udp") datagrams.take(packet, captured);
    else connectionOf(connections, packet, keys.keyLog, emit).take(sideOf(packet), packet, captured);
  }
  for (const connection of connections.values()) connection.end();
  datagrams.end();
  return ours;
}

const sideOf = (packet: TcpPacket): Side => (packet.destinationPort === PORT ? "client" : "server");

function connectionOf(
  known: Map<string, Connection>,
  packet: TcpPacket,
  keyLog: KeyLog,
  emit: Emit,
): Connection {
  const source = endText(packet.source, packet.sourcePort);
  const destination = endText(packet.destination, packet.destinationPort);
  const isClient = sideOf(packet) === "client";
  const name = isClient ? `${source} to ${destination}` : `${destination} to ${source}`;
  const before = known.get(name);
  const begins = isClient && packet.syn;
  // The same ports again, for another connection.
  const isAnother = begins && before !== undefined && before.initialSequence !== packet.sequence;
  if (before !== undefined && !isAnother) return before;
  before?.end();
  const connection = new Connection(name, begins ? packet.sequence : null, keyLog, emit);
  known.set(name, connection);
  return connection;
}

/** Heartbeats: opened one by one; those that stay shut are counted by sender and reason. */
class Datagrams {
  readonly #opener: DatagramCapture | null;
  readonly #emit: Emit;
  readonly #shut = new Map<
    string,
    { readonly direction: Direction; readonly reason: string; count: number }
  >();

  constructor(opener: DatagramCapture | null, emit: Emit) {
    this.#opener = opener;
    this.#emit = emit;
  }

  take(packet: UdpPacket, captured: CapturedPacket): void {
    const direction = {
      from: endText(packet.source, packet.sourcePort),
      to: endText(packet.destination, packet.destinationPort),
    };
    const opened = this.#opener?.open(packet.payload) ?? { ok: false as const, reason: NO_KEY };
    if (!opened.ok) {
      this.#leaveShut(direction, opened.reason);
      return;
    }
    const { sender, sequence, body } = opened.datagram;
    const message = decodeHeartbeat(body);
    if (!message.ok) {
      this.#leaveShut(direction, `not a heartbeat: ${message.reason}`);
      return;
    }
    const between = { from: sender, to: peerOf(sender) };
    this.#emit({
      at: captured.at,
      direction: between,
      kind: "heartbeat",
      number: sequence,
      message: message.value,
    });
  }

  end(): void {
    for (const { direction, reason, count } of this.#shut.values())
      this.#emit({
        at: null,
        direction,
        kind: "note",
        text: `${count} datagrams stay shut: ${reason}`,
        isFault: reason !== NO_KEY,
      });
  }

  #leaveShut(direction: Direction, reason: string): void {
    const key = `${direction.from} ${direction.to} ${reason}`;
    const known = this.#shut.get(key);
    if (known === undefined) this.#shut.set(key, { direction, reason, count: 1 });
    else known.count += 1;
  }
}
