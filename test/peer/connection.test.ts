// The log's connection with real TLS on loopback: who is let in, who is refused and how both sides learn why, what
// a stranger gets (nothing), and what a peer that holds the right key may send without hurting us.

import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { connect as tlsConnect } from "node:tls";
import fc from "fast-check";
import {
  Connection,
  type ConnectionTimers,
  DEFAULT_TIMERS,
  type Ending,
  type Introduction,
} from "../../src/peer/connection.ts";
import { encodeFrame } from "../../src/wire/frames.ts";
import { type PeerMessage, PROTOCOL_VERSION } from "../../src/wire/peer.ts";
import { PreambleKind, preamble } from "../../src/wire/preamble.ts";
import { introduction, Journal, newIdentity, socketPair } from "./loopback.ts";

const alice = newIdentity();
const bob = newIdentity();
const mallory = newIdentity();
const ofAlice = introduction("a", alice, [bob.publicKey]);
const ofBob = introduction("b", bob, [mallory.publicKey, alice.publicKey]);

const frameOf = (message: PeerMessage): Uint8Array => encodeFrame(message, PROTOCOL_VERSION);

class End {
  readonly journal = new Journal();
  readonly ended: Promise<Ending>;
  readonly connection: Connection;
  constructor(socket: Socket, side: "dialled" | "accepted", own: Introduction, timers?: ConnectionTimers) {
    let resolve: (ending: Ending) => void = () => {};
    this.ended = new Promise((settle) => {
      resolve = settle;
    });
    this.connection = Connection[side](socket, {
      introduction: own,
      peerName: "test",
      ...(timers === undefined ? {} : { timers }),
      events: {
        onReady: (_, hello) => this.journal.onUp(hello, "test"),
        onMessage: (message) => this.journal.onMessage(message),
        onEnd: resolve,
      },
    });
  }
  get up(): Promise<string> {
    return this.connection.ready ? Promise.resolve("up") : this.journal.next("up");
  }
}

async function ends(own: Introduction, other: Introduction, timers?: ConnectionTimers): Promise<[End, End]> {
  const [client, server] = await socketPair();
  return [new End(client, "dialled", own, timers), new End(server, "accepted", other, timers)];
}

const acknowledge = (sequence: number): PeerMessage => ({
  kind: "acknowledge",
  position: { term: 2, sequence },
});

test("two nodes with each other's keys are up, and messages pass both ways in order", async () => {
  const [b, a] = await ends(ofBob, ofAlice);
  assert.deepEqual(await Promise.all([b.up, a.up]), ["up a test", "up b test"]);
  for (let sequence = 1; sequence <= 100; sequence += 1) b.connection.send(acknowledge(sequence));
  a.connection.send({ kind: "roleChanged", role: "active", term: 2 });
  await b.journal.next("message roleChanged");
  while (a.journal.messages.length < 100) await a.journal.next("message acknowledge");
  assert.deepEqual(
    a.journal.messages,
    Array.from({ length: 100 }, (_, index) => acknowledge(index + 1)),
  );
  b.connection.refuse("stopping", "enough");
  assert.equal((await a.ended).code, "refused-by-peer-stopping");
  assert.equal((await b.ended).code, "stopping");
});

test("a key that is not listed is refused with a reason on both sides", async (t) => {
  await t.test("the dialler's", async () => {
    const [b, a] = await ends(introduction("b", mallory, [alice.publicKey]), ofAlice);
    assert.equal((await a.ended).code, "wrong-key");
    assert.match((await a.ended).text, new RegExp(mallory.publicKey.replace(/[+/]/g, ".")));
    assert.equal((await b.ended).code, "refused-by-peer-wrong-key");
  });
  await t.test("the listener's", async () => {
    const [b, a] = await ends(introduction("b", bob, [mallory.publicKey]), ofAlice);
    assert.equal((await b.ended).code, "wrong-key");
    assert.equal((await a.ended).code, "refused-by-peer-wrong-key");
  });
});

test("a hello that does not fit is refused with a reason on both sides", async (t) => {
  const cases: [string, Partial<Introduction>][] = [
    ["same-node", { node: "a" }],
    ["wrong-pair", { pair: "branch" }],
  ];
  for (const [code, changes] of cases) {
    await t.test(code, async () => {
      const [b, a] = await ends(introduction("b", bob, [alice.publicKey], changes), ofAlice);
      // Either side may be the first to say it; neither is ever up.
      const codes = [(await a.ended).code, (await b.ended).code];
      assert.ok(
        codes.every((each) => each.endsWith(code)),
        codes.join(),
      );
      assert.deepEqual([a.journal.entries, b.journal.entries], [[], []]);
    });
  }
});

test("the highest version of both is spoken: what it does not have is a defect to send", async () => {
  const [b, a] = await ends(ofBob, ofAlice);
  await Promise.all([a.up, b.up]);
  assert.deepEqual([a.connection.version, b.connection.version], [PROTOCOL_VERSION, PROTOCOL_VERSION]);
  b.connection.close("done", "");
  await a.ended;
  for (const [lowest, highest, spoken] of [
    [1, 1, 1],
    [1, 2, 2],
    [2, 200, 2],
  ] as const) {
    const hello = { ...helloOf(ofBob), versionLowest: lowest, versionHighest: highest } as PeerMessage;
    const { a: listener } = await rawPeer([frameOf(hello)]);
    await listener.up;
    assert.equal(listener.connection.version, spoken);
    await listener.ended;
  }
});

test("with a peer of version 1: a message of version 2 is a defect to send, and the end to receive", async () => {
  const hello = { ...helloOf(ofBob), versionLowest: 1, versionHighest: 1 } as PeerMessage;
  const later: PeerMessage = { kind: "stateAcknowledge", number: 1 };
  const { a } = await rawPeer([frameOf(hello)]);
  await a.up;
  assert.throws(() => a.connection.send(later), /is not sent to a peer that speaks version 1/);
  await a.ended;
  const { a: listener } = await rawPeer([frameOf(hello), frameOf(later)]);
  const ending = await listener.ended;
  assert.equal(ending.code, "protocol");
  assert.match(ending.text, /stateAcknowledge is of version 2, and version 1 is spoken/);
});

test("another configuration is no reason to refuse: readiness judges it", async () => {
  const changes = { configurationDigest: "cd".repeat(32) };
  const [b, a] = await ends(introduction("b", bob, [alice.publicKey], changes), ofAlice);
  await Promise.all([a.up, b.up]);
  b.connection.close("done", "");
  await a.ended;
});

async function answersTo(bytes: Uint8Array): Promise<{ answered: number; ending: Ending }> {
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice);
  let answered = 0;
  client.on("data", (chunk) => {
    answered += chunk.length;
  });
  client.on("error", () => {});
  client.write(bytes);
  const ending = await a.ended;
  if (!client.closed) await once(client, "close");
  return { answered, ending };
}

test("a stranger gets not one byte", async (t) => {
  const cases: [string, Uint8Array, string, RegExp][] = [
    ["plain text", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "preamble-magic", /HTTP/],
    ["TLS without our preamble", Buffer.from("16030100c8010000c40303", "hex"), "preamble-magic", /TLS/],
    ["our magic, another version", Buffer.from("55535444590901000000", "hex"), "preamble-version", /./],
    ["a datagram's preamble", preamble(PreambleKind.Datagram), "preamble-kind", /./],
    ["one byte", Buffer.from("x"), "preamble-magic", /text/],
  ];
  for (const [name, bytes, code, words] of cases) {
    await t.test(name, async () => {
      const { answered, ending } = await answersTo(bytes);
      assert.equal(answered, 0);
      assert.equal(ending.code, code);
      assert.match(ending.text, words);
    });
  }
});

test("the preamble may arrive byte by byte, and with TLS in the same segment", async () => {
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice);
  for (const byte of preamble(PreambleKind.Stream)) {
    client.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  const tls = tlsConnect({ socket: client, ...bob.tls, rejectUnauthorized: false, minVersion: "TLSv1.3" });
  await once(tls, "secureConnect");
  tls.write(frameOf(helloOf(ofBob)));
  await a.up;
  tls.destroy();
  await a.ended;

  const [corked, other] = await socketPair();
  const second = new End(other, "accepted", ofAlice);
  corked.cork();
  const b = new End(corked, "dialled", ofBob);
  corked.uncork();
  await Promise.all([second.up, b.up]);
  b.connection.close("done", "");
  await second.ended;
});

function helloOf(own: Introduction): PeerMessage {
  const { node, pair, software, bootId, configurationDigest } = own;
  const versions = { versionLowest: 1, versionHighest: 1 };
  return {
    kind: "hello",
    ...versions,
    node,
    pair,
    software,
    bootId,
    configurationDigest,
    role: "idle",
    term: 0,
  };
}

test("TLS without a certificate is refused", async () => {
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice);
  client.write(preamble(PreambleKind.Stream));
  const tls = tlsConnect({ socket: client, rejectUnauthorized: false, minVersion: "TLSv1.3" });
  tls.on("error", () => {});
  tls.resume();
  assert.equal((await a.ended).code, "wrong-key");
  if (!client.closed) await once(client, "close");
});

test("TLS 1.2 is refused", async () => {
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice);
  client.write(preamble(PreambleKind.Stream));
  const tls = tlsConnect({ socket: client, ...bob.tls, rejectUnauthorized: false, maxVersion: "TLSv1.2" });
  tls.on("error", () => {});
  assert.match((await a.ended).code, /^handshake-/);
  if (!client.closed) await once(client, "close");
});

test("who says nothing is dropped in bounded time", async () => {
  const [client, server] = await socketPair();
  client.on("error", () => {});
  const a = new End(server, "accepted", ofAlice, { ...DEFAULT_TIMERS, handshakeMs: 20 });
  assert.equal((await a.ended).code, "handshake-timeout");
});

test("a version that nobody here speaks, and messages out of place", async (t) => {
  const versions = { ...helloOf(ofBob), versionLowest: 7, versionHighest: 9 } as PeerMessage;
  const cases: [string, readonly Uint8Array[], string][] = [
    ["version", [frameOf(versions)], "version"],
    ["before hello", [frameOf({ kind: "ping", nonce: 1 })], "protocol"],
    ["hello twice", [frameOf(helloOf(ofBob)), frameOf(helloOf(ofBob))], "protocol"],
    ["unknown type", [frameOf(helloOf(ofBob)), Uint8Array.of(0, 0, 0, 1, 250)], "protocol"],
    ["too long", [frameOf(helloOf(ofBob)), Uint8Array.of(255, 255, 255, 255, 19)], "protocol"],
  ];
  for (const [name, frames, code] of cases) {
    await t.test(name, async () => {
      const { a } = await rawPeer(frames);
      assert.equal((await a.ended).code, code);
    });
  }
});

/** A peer with the right key that writes `frames` as they are. */
async function rawPeer(frames: readonly Uint8Array[]): Promise<{ a: End }> {
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice);
  client.write(preamble(PreambleKind.Stream));
  const tls = tlsConnect({ socket: client, ...bob.tls, rejectUnauthorized: false, minVersion: "TLSv1.3" });
  tls.on("error", () => {});
  tls.resume();
  await once(tls, "secureConnect");
  for (const frame of frames) tls.write(frame);
  tls.end();
  return { a };
}

test("whatever a peer with the right key sends: an ending with a code, never an exception", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), async (chunks) => {
      const { a } = await rawPeer([frameOf(helloOf(ofBob)), ...chunks]);
      const ending = await a.ended;
      assert.ok(
        ["protocol", "closed"].includes(ending.code) || ending.code.startsWith("refused-by-peer"),
        ending.code,
      );
    }),
    { numRuns: 60 },
  );
});

test("a paused reader gets nothing, and everything in order after", async () => {
  const [b, a] = await ends(ofBob, ofAlice);
  await Promise.all([a.up, b.up]);
  a.connection.pause();
  for (let sequence = 1; sequence <= 50; sequence += 1) b.connection.send(acknowledge(sequence));
  b.connection.send({ kind: "roleChanged", role: "standby", term: 2 });
  await new Promise(setImmediate);
  assert.equal(a.journal.messages.length, 0);
  const last = a.journal.next("message roleChanged");
  a.connection.resume();
  await last;
  assert.equal(a.journal.messages.length, 51);
  b.connection.close("done", "");
  await a.ended;
});

test("pings keep a connection, silence ends it, and a stall of our own is not the peer's silence", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let now = 0;
  const timers = { ...DEFAULT_TIMERS, now: () => now };
  const [client, server] = await socketPair();
  const a = new End(server, "accepted", ofAlice, timers);
  const b = new End(client, "dialled", ofBob, timers);
  await Promise.all([a.up, b.up]);
  const tick = (): void => {
    now += timers.pingMs;
    t.mock.timers.tick(timers.pingMs);
  };
  // Longer than a silence; what is sent behind the pings shows that they have arrived.
  for (let count = 0; count < 30; count += 1) {
    tick();
    const heard = Promise.all([a.journal.next("message"), b.journal.next("message")]);
    a.connection.send(acknowledge(count));
    b.connection.send(acknowledge(count));
    await heard;
  }
  assert.ok(a.connection.ready && b.connection.ready);
  // A stall: the timer comes late, before any socket was read.
  now += 10 * timers.silenceMs;
  t.mock.timers.tick(timers.pingMs);
  assert.ok(a.connection.ready);
  // No turn of the event loop, so nothing is heard from here on.
  for (let silentMs = 0; silentMs < timers.silenceMs; silentMs += timers.pingMs) tick();
  assert.ok(a.connection.ready);
  tick();
  assert.equal((await a.ended).code, "silent");
  assert.equal((await b.ended).code, "silent");
});
