// `understudy decode` on real captures: two replicators with their kernels, a capture on the cable between them, the keys that the
// connection told. What it prints is held against what the connection itself was heard saying, message by message.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, type TestContext, test } from "node:test";
import { PORT } from "../../src/base/limits.ts";
import { decodeCapture } from "../../src/cli/decodeCapture.ts";
import { type Decoded, decodedPlain } from "../../src/cli/decodeMessages.ts";
import { openPathSocket } from "../../src/kernel/pathSocket.ts";
import type { ConnectionTap } from "../../src/peer/connection.ts";
import { DatagramCapture } from "../../src/peer/datagramCapture.ts";
import { parseKeyLog } from "../../src/peer/keyLog.ts";
import { createSealer } from "../../src/peer/sealed.ts";
import { plainOf } from "../../src/views/plain.ts";
import { readCapture } from "../../src/wire/capture.ts";
import { FrameReader } from "../../src/wire/frames.ts";
import { encodeHeartbeat, type HeartbeatMessage } from "../../src/wire/heartbeat.ts";
import { readPacket } from "../../src/wire/packet.ts";
import { type PeerMessage, PROTOCOL_VERSION } from "../../src/wire/peer.ts";
import { cli } from "../cli/harness.ts";
import { inNamespace } from "./namespace.ts";
import { openPacketCapture, type PacketCapture } from "./packetCapture.ts";
import { makePair, type Node, type Pair, Traffic } from "./replicatorWorld.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-decode-"));
after(() => rmSync(directory, { recursive: true }));

/** What a node's connection said and heard, and its keys. */
class Ear implements ConnectionTap {
  readonly heard: { readonly from: string; readonly message: PeerMessage }[] = [];
  keys = "";
  readonly #node: Node;
  constructor(node: Node) {
    this.#node = node;
  }
  frame(way: "sent" | "received", version: number, bytes: Uint8Array): void {
    const reader = new FrameReader(version);
    reader.push(bytes);
    const result = reader.next();
    assert.ok(result.kind === "message");
    const from = (way === "sent") === (this.#node.id === "a") ? "a" : "b";
    // The last words on the connection of before, whose keys nobody was told.
    if (result.message.kind !== "hello" && !this.heard.some((each) => each.from === from)) return;
    this.heard.push({ from, message: result.message });
  }
  connection(): void {}
  key(line: Uint8Array): void {
    this.keys += new TextDecoder().decode(line);
  }
}

interface World {
  readonly pair: Pair;
  readonly traffic: Traffic;
  readonly ear: Ear;
  readonly capture: PacketCapture;
}

/** A pair whose connection begins once there is a capture and an ear on it. */
async function world(t: TestContext): Promise<World> {
  const pair = makePair();
  const traffic = new Traffic(pair.a);
  const capture = openPacketCapture(pair.a.space, "sync");
  t.after(async () => {
    capture.close();
    traffic.close();
    await pair.close();
  });
  await pair.a.until(({ replicator }) => replicator.state().connected, "connected");
  const ear = new Ear(pair.a);
  pair.a.tap = ear;
  pair.a.replicator.reconnect();
  await pair.a.until(
    ({ replicator }) => ear.heard.length > 2 && replicator.state().path === "sync",
    "connected anew",
  );
  return { pair, traffic, ear, capture };
}

const synchronised = (node: Node): Promise<void> =>
  node.until(({ replicator }) => replicator.report().ready, "ready");

/** Sessions come, change and go; the pair hands over and back. */
async function live({ pair, traffic, capture }: World): Promise<void> {
  const { a, b } = pair;
  traffic.open(0, 3000);
  a.setRole("active", 2, "standby");
  b.setRole("standby", 0, "active");
  await synchronised(b);
  capture.drain();
  traffic.open(5000, 500);
  traffic.end(0, 700);
  a.replicator.stateLog.changed("slots");
  assert.equal(await a.replicator.waitAcknowledged(5000), true);
  b.setRole("active", 3, "active");
  a.setRole("standby", 3, "active");
  await synchronised(a);
  capture.drain();
}

function decoded(file: Uint8Array, keys: string, opener: DatagramCapture | null = null): Decoded[] {
  const read = readCapture(file);
  assert.ok(read.ok);
  const all: Decoded[] = [];
  decodeCapture(read.packets, { keyLog: parseKeyLog(keys).keys, datagrams: opener }, (each) =>
    all.push(each),
  );
  return all;
}
const messagesOf = (all: readonly Decoded[], from: string): PeerMessage[] =>
  all.flatMap((each) => (each.kind === "message" && each.direction.from === from ? [each.message] : []));
const faultsOf = (all: readonly Decoded[]): string[] =>
  all.flatMap((each) => (each.kind === "note" && each.isFault ? [each.text] : []));

/** The end of a connection is still on its way when the capture is looked at: what was captured is a beginning. */
function assertBeginning(
  captured: readonly PeerMessage[],
  heard: readonly PeerMessage[],
  least: number,
): void {
  assert.ok(
    captured.length >= least && captured.length <= heard.length,
    `${captured.length} of ${heard.length}`,
  );
  assert.deepEqual(captured, heard.slice(0, captured.length));
}

describe("decode", inNamespace, () => {
  test("a capture with the keys says message by message what the connection said", async (t) => {
    const here = await world(t);
    await live(here);
    const { ear, capture } = here;
    const all = decoded(capture.file(), ear.keys);
    for (const from of ["a", "b"]) {
      const heard = ear.heard.filter((each) => each.from === from).map(({ message }) => message);
      assertBeginning(messagesOf(all, from), heard, heard.length - 20);
    }
    const kinds = new Set(ear.heard.map(({ message }) => message.kind));
    for (const kind of [
      "hello",
      "subscribe",
      "snapshotBegin",
      "snapshotEnd",
      "sessions",
      "acknowledge",
      "slots",
      "links",
      "nodeFacts",
    ])
      assert.ok(kinds.has(kind as PeerMessage["kind"]), kind);
    // The connection before it began before its keys were told.
    assert.ok(
      all.some(
        (each) =>
          each.kind === "note" && /^connects: 10\.255\.1\.2:\d+ to 10\.255\.1\.1:1148$/.test(each.text),
      ),
    );
  });

  test("the command prints it, refuses what stays shut with its reason, and takes keys from the file given", async (t) => {
    const here = await world(t);
    await live(here);
    const { ear, capture } = here;
    const [file, keyFile] = [join(directory, "pair.pcap"), join(directory, "pair.keys")];
    writeFileSync(file, capture.file());
    writeFileSync(keyFile, ear.keys);
    const text = await cli("decode", file, "--keys", keyFile);
    assert.match(text.out, /a > b {2}hello from a of pair office: understudy \S+, protocol 1 to 2/);
    assert.match(
      text.out,
      /\n {4}create udp 10\.0\.0\.0:5000 > 203\.0\.113\.7:53 as 198\.51\.100\.2:1024 link 1 REPLIED \d+ s\n/,
    );
    assert.match(text.out, /\n {4}delete udp 10\.0\.0\.5:5000 > 203\.0\.113\.7:53\n/);
    const json = await cli("decode", file, "--keys", keyFile, "--json");
    const lines = json.out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const said = lines.filter(({ kind, from }) => kind !== "note" && from === "a");
    const direction = { from: "a", to: "b" };
    const heard = ear.heard
      .filter((each) => each.from === "a")
      .slice(0, said.length)
      .map(({ message }) => decodedPlain({ at: null, direction, kind: "message", message }));
    assert.deepEqual(
      said.map(({ at: _, ...rest }) => rest),
      heard.map((each) => {
        const { at: _, ...rest } = each as Record<string, unknown>;
        return JSON.parse(JSON.stringify(plainOf(rest))) as Record<string, unknown>;
      }),
    );
    const shut = await cli("decode", file);
    assert.match(
      shut.out,
      /-- no keys for the connection whose client random is [0-9a-f]{64} \(byte \d+ of the TLS stream\) --/,
    );
    assert.equal(shut.exitCode, 71);
  });

  test("a hole in the capture: everything before it, and where it is", async (t) => {
    const here = await world(t);
    await live(here);
    const { ear, capture } = here;
    const read = readCapture(capture.file());
    assert.ok(read.ok);
    const carrying = read.packets.filter((packet) => {
      const segment = readPacket(packet.bytes, packet.linkType);
      return segment.kind === "tcp" && segment.sourcePort === PORT && segment.payload.length > 200;
    });
    const missing = carrying[Math.floor(carrying.length / 2)]!;
    const packets = read.packets.filter((packet) => packet !== missing);
    const all: Decoded[] = [];
    decodeCapture(packets, { keyLog: parseKeyLog(ear.keys).keys, datagrams: null }, (each) => all.push(each));
    for (const from of ["a", "b"]) {
      const heard = ear.heard.filter((each) => each.from === from).map(({ message }) => message);
      assertBeginning(messagesOf(all, from), heard, 5);
    }
    assert.ok(messagesOf(all, "a").length < ear.heard.filter(({ from }) => from === "a").length - 5);
    const holes = faultsOf(all).filter((text) => /not in the capture/.test(text));
    assert.deepEqual(holes.length, 1);
    assert.match(
      holes[0]!,
      /^\d+ bytes are not in the capture, behind byte \d+ of the stream: the rest stays shut$/,
    );
  });

  test("packets that were cut while they were captured", async (t) => {
    const here = await world(t);
    await live(here);
    const all = decoded(here.capture.file(96), here.ear.keys);
    assert.ok(
      faultsOf(all).some((text) => /^packet \d+ was cut when it was captured: capture with -s 0$/.test(text)),
    );
  });

  test("heartbeats, opened with either node's key, of either direction", async (t) => {
    const { pair, capture } = await world(t);
    const said: HeartbeatMessage[] = [];
    for (const node of [pair.a, pair.b]) {
      const sealer = createSealer({
        privateKey: node.identity.privateKey,
        peerPublicKeys: node.config.peerKeys,
        node: node.id,
        bootId: new Uint8Array(16).fill(node.id === "a" ? 1 : 2),
      });
      const socket = node.space.run(() => openPathSocket(node.config.paths[0]!));
      for (const sequence of [1, 2, 3]) {
        const message = { ...heartbeat, node: node.id, sequence };
        said.push(message);
        assert.equal(socket.send(sealer.seal(encodeHeartbeat(message))), true);
      }
      socket.close();
    }
    capture.drain();
    for (const node of [pair.a, pair.b]) {
      const opener = new DatagramCapture(node.identity.privateKey, node.config.peerKeys);
      const all = decoded(capture.file(), "", opener).flatMap((each) =>
        each.kind === "heartbeat" ? [each] : [],
      );
      assert.deepEqual(
        all.map(({ message }) => message),
        said,
      );
      assert.ok(all.every(({ message, direction }) => direction.from === message.node));
    }
    const shut = decoded(capture.file(), "").filter(
      (each) => each.kind === "note" && /datagrams stay shut/.test(each.text),
    );
    assert.deepEqual(
      shut.map((each) => (each.kind === "note" ? [each.text, each.isFault] : [])),
      [1, 2].map(() => ["3 datagrams stay shut: no node's key was given (--node FILE)", false]),
    );
  });
});

const heartbeat: HeartbeatMessage = {
  node: "a",
  role: "standby",
  gate: "shut",
  ready: false,
  handover: false,
  candidate: false,
  dressed: true,
  leaving: false,
  term: 3,
  sequence: 1,
  echo: 0,
  leaseMs: 0,
  position: { term: 3, sequence: PROTOCOL_VERSION },
  sessions: 7,
  configurationDigest: "00".repeat(8),
  priority: 100,
  carrier: 1,
  witnessed: 0,
  alarms: 0,
  critical: false,
};
