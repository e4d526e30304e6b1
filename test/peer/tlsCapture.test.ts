// Captured TLS, opened: real connections of `node:tls` with every cipher suite of TLS 1.3, cut anywhere; what only other programs
// do (key updates, messages over several records) by records made here; keys that are missing or wrong; and derivation by
// the published example (RFC 8448 §3).

import assert from "node:assert/strict";
import { type CipherGCMTypes, createCipheriv, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { TLSSocket, connect as tlsConnect } from "node:tls";
import fc from "fast-check";
import { parseKeyLog } from "../../src/peer/keyLog.ts";
import { type CaptureEvent, expandLabel, type Side, TlsCapture } from "../../src/peer/tlsCapture.ts";
import { newIdentity, portOf, socketPair } from "./loopback.ts";

interface Piece {
  readonly side: Side;
  readonly bytes: Uint8Array;
}

/** Two TLS programs with a listener between them, who sees what is on the wire. */
async function overheard(
  ciphers: string,
  said: readonly (readonly [Side, string])[],
): Promise<{ pieces: Piece[]; keyLog: string }> {
  const pieces: Piece[] = [];
  const lines: string[] = [];
  const [far, accepted] = await socketPair();
  const relay = createServer((near: Socket) => {
    near.on("data", (bytes: Buffer) => {
      pieces.push({ side: "client", bytes: Uint8Array.from(bytes) });
      far.write(bytes);
    });
    far.on("data", (bytes: Buffer) => {
      pieces.push({ side: "server", bytes: Uint8Array.from(bytes) });
      near.write(bytes);
    });
    near.on("end", () => far.end());
    near.on("error", () => {});
  });
  relay.listen({ host: "127.0.0.1", port: 0 });
  await once(relay, "listening");
  const server = new TLSSocket(accepted, {
    ...newIdentity().tls,
    isServer: true,
    requestCert: true,
    rejectUnauthorized: false,
    ciphers,
  });
  server.on("error", () => {});
  const client = tlsConnect({
    host: "127.0.0.1",
    port: portOf(relay),
    ...newIdentity().tls,
    rejectUnauthorized: false,
    ciphers,
  });
  client.on("keylog", (line: Buffer) => lines.push(line.toString("latin1")));
  await Promise.all([once(client, "secureConnect"), once(server, "secure")]);
  for (const [side, text] of said) {
    const [from, to] = side === "client" ? [client, server] : [server, client];
    const heard = once(to, "data");
    from.write(text);
    await heard;
  }
  client.end();
  server.resume();
  client.resume();
  await once(client, "close");
  far.destroy();
  relay.close();
  return { pieces, keyLog: lines.join("") };
}

const dataOf = (events: readonly CaptureEvent[], side: Side): string =>
  events
    .flatMap((event) => (event.kind === "data" && event.side === side ? [...event.bytes] : []))
    .map((byte) => String.fromCharCode(byte))
    .join("");
const lostOf = (events: readonly CaptureEvent[]): string[] =>
  events.flatMap((event) =>
    event.kind === "lost" ? [`${event.side} at ${event.offset}: ${event.reason}`] : [],
  );

const said = [
  ["client", "what the client says first"],
  ["server", "the server's answer"],
  ["client", "x".repeat(20_000)],
  ["server", "more"],
] as const;
const spoken = (side: Side): string =>
  said
    .filter(([who]) => who === side)
    .map(([, text]) => text)
    .join("");

for (const suite of ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]) {
  test(`${suite}: everything that both sides said, however the stream is cut`, async () => {
    const { pieces, keyLog } = await overheard(suite, said);
    const { keys, bad } = parseKeyLog(keyLog);
    assert.deepEqual([keys.size, bad], [1, 0]);
    for (const size of [1, 7, 1000, 1 << 20]) {
      const capture = new TlsCapture(keys);
      const events: CaptureEvent[] = [];
      for (const { side, bytes } of pieces)
        for (let at = 0; at < bytes.length; at += size)
          events.push(...capture.push(side, bytes.subarray(at, at + size)));
      assert.deepEqual(
        [dataOf(events, "client"), dataOf(events, "server")],
        [spoken("client"), spoken("server")],
      );
      assert.deepEqual(lostOf(events), []);
      const ended = events.filter((event) => event.kind === "alert");
      assert.ok(ended.length > 0 && ended.every((event) => event.words === "close notify"));
    }
    // One direction first, then the other: a capture of two cables put together.
    const capture = new TlsCapture(keys);
    const events = (["client", "server"] as const).flatMap((side) =>
      pieces.filter((piece) => piece.side === side).flatMap(({ bytes }) => [...capture.push(side, bytes)]),
    );
    assert.deepEqual(
      [dataOf(events, "client"), dataOf(events, "server")],
      [spoken("client"), spoken("server")],
    );
  });
}

test("without the keys, with others, or from the middle on: said once, with the place", async () => {
  const { pieces, keyLog } = await overheard("TLS_AES_256_GCM_SHA384", said);
  const { keys } = parseKeyLog(keyLog);
  const run = (capture: TlsCapture, from: readonly Piece[]): CaptureEvent[] =>
    from.flatMap(({ side, bytes }) => [...capture.push(side, bytes)]);
  const [random, secrets] = [...keys][0]!;
  const none = lostOf(run(new TlsCapture(new Map()), pieces));
  assert.equal(none.length, 2);
  for (const text of none)
    assert.match(
      text,
      new RegExp(`^(client|server) at \\d+: no keys for the connection whose client random is ${random}$`),
    );
  const wrong = { ...secrets, serverTraffic: secrets.serverHandshake };
  const half = run(new TlsCapture(new Map([[random, wrong]])), pieces);
  assert.deepEqual([dataOf(half, "client"), dataOf(half, "server")], [spoken("client"), ""]);
  assert.match(lostOf(half).join(), /^server at \d+: record 0 does not open with the keys given$/);
  const late = lostOf(run(new TlsCapture(keys), pieces.slice(2)));
  assert.ok(late.length > 0);
  assert.match(late[0]!, /the capture begins after the connection did|this is no TLS record/);
  assert.deepEqual(
    lostOf(run(new TlsCapture(keys), [{ side: "client", bytes: Buffer.from("GET / HTTP/1.1\r\n") }])),
    ["client at 0: this is no TLS record"],
  );
});

test("keys by the published example", () => {
  const secret = Buffer.from("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38", "hex");
  const derived = (label: string, length: number): string =>
    Buffer.from(expandLabel({ hash: "sha256" }, secret, label, length)).toString("hex");
  assert.equal(derived("key", 16), "3fce516009c21727d0f2e4e86ee403bc");
  assert.equal(derived("iv", 12), "5d313eb2671276ee13000b30");
});

/** A connection made by hand: handshakes in clear, then records sealed with secrets of our choice. */
class Made {
  readonly random = "aa".repeat(32);
  readonly pieces: Piece[] = [];
  readonly secrets = {
    clientHandshake: Buffer.alloc(32, 1),
    serverHandshake: Buffer.alloc(32, 2),
    clientTraffic: Buffer.alloc(32, 3),
    serverTraffic: Buffer.alloc(32, 4),
  };
  #keys: Record<Side, { secret: Buffer; records: number }> = {
    client: { secret: this.secrets.clientHandshake, records: 0 },
    server: { secret: this.secrets.serverHandshake, records: 0 },
  };

  hellos(retried = false): this {
    const hello = (type: number, random: string): Buffer => {
      const body = Buffer.concat([
        Buffer.from([3, 3]),
        Buffer.from(random, "hex"),
        Buffer.from([0, 0x13, 0x01, 0]),
      ]);
      return Buffer.concat([Buffer.from([type, 0, 0, body.length]), body]);
    };
    this.record("client", 22, hello(1, this.random));
    if (retried) {
      this.record("server", 22, hello(2, "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"));
      this.record("client", 20, Buffer.from([1]));
      this.record("client", 22, hello(1, this.random));
    }
    return this.record("server", 22, hello(2, "bb".repeat(32)));
  }

  record(side: Side, type: number, body: Uint8Array): this {
    const head = Buffer.from([type, 3, 3, body.length >> 8, body.length & 0xff]);
    this.pieces.push({ side, bytes: Buffer.concat([head, body]) });
    return this;
  }

  sealed(side: Side, type: number, content: Uint8Array, padding = 0): this {
    const keys = this.#keys[side];
    const iv = Buffer.from(label(keys.secret, "iv", 12));
    iv[11]! ^= keys.records;
    keys.records += 1;
    const inner = Buffer.concat([content, Buffer.from([type]), Buffer.alloc(padding)]);
    const head = Buffer.from([23, 3, 3, (inner.length + 16) >> 8, (inner.length + 16) & 0xff]);
    const cipher = createCipheriv("aes-128-gcm" as CipherGCMTypes, label(keys.secret, "key", 16), iv);
    cipher.setAAD(head);
    const body = Buffer.concat([cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
    this.pieces.push({ side, bytes: Buffer.concat([head, body]) });
    return this;
  }

  use(side: Side, secret: Buffer): this {
    this.#keys[side] = { secret, records: 0 };
    return this;
  }

  finish(): this {
    for (const side of ["server", "client"] as const) {
      this.sealed(side, 22, message(20, 32));
      this.use(side, side === "client" ? this.secrets.clientTraffic : this.secrets.serverTraffic);
    }
    return this;
  }

  updated(side: Side): this {
    const secret = this.#keys[side].secret;
    return this.sealed(side, 22, message(24, 1)).use(side, Buffer.from(label(secret, "traffic upd", 32)));
  }

  events(): CaptureEvent[] {
    const capture = new TlsCapture(new Map([[this.random, this.secrets]]));
    return this.pieces.flatMap(({ side, bytes }) => [...capture.push(side, bytes)]);
  }
}

const message = (type: number, length: number): Buffer =>
  Buffer.concat([Buffer.from([type, 0, length >> 8, length & 0xff]), Buffer.alloc(length)]);

/** HKDF-Expand-Label as the RFC writes it, apart from the code under test. */
function label(secret: Uint8Array, name: string, length: number): Uint8Array {
  const text = `tls13 ${name}`;
  const info = Buffer.concat([Buffer.from([0, length, text.length]), Buffer.from(text), Buffer.from([0, 1])]);
  return createHmac("sha256", secret).update(info).digest().subarray(0, length);
}

test("a second ClientHello, padding, messages over records, tickets, and key updates on both sides", () => {
  const certificate = message(11, 600);
  const made = new Made()
    .hellos(true)
    .sealed("server", 22, certificate.subarray(0, 100))
    .sealed("server", 22, certificate.subarray(100, 101))
    .sealed("server", 22, Buffer.concat([certificate.subarray(101), message(15, 40)]), 30)
    .finish()
    .sealed("server", 22, message(4, 200))
    .sealed("client", 23, Buffer.from("one "), 5)
    .updated("client")
    .sealed("client", 23, Buffer.from("two "))
    .updated("client")
    .updated("server")
    .sealed("client", 23, Buffer.from("three"))
    .sealed("server", 23, Buffer.from("four"))
    .sealed("server", 21, Buffer.from([2, 40]));
  const events = made.events();
  assert.deepEqual(lostOf(events), []);
  assert.deepEqual([dataOf(events, "client"), dataOf(events, "server")], ["one two three", "four"]);
  assert.deepEqual(events.at(-1), { kind: "alert", side: "server", words: "alert 40" });
});

test("what cannot be is told", async (t) => {
  const cases: readonly (readonly [string, Made, RegExp])[] = [
    [
      "zeros alone",
      new Made().hellos().finish().sealed("client", 0, Buffer.alloc(3)),
      /a record without a content/,
    ],
    [
      "an unknown type inside",
      new Made().hellos().finish().sealed("client", 99, Buffer.alloc(3)),
      /type 99 inside/,
    ],
    [
      "a record that is too long",
      new Made().record("client", 22, Buffer.alloc(20_000)),
      /a TLS record of 20000 bytes/,
    ],
    [
      "another version",
      new Made().record("server", 22, Buffer.from([2, 0, 0, 38, 3, 3, ...Buffer.alloc(33), 0, 0x2f, 0])),
      /cipher suite 0x2f/,
    ],
    [
      "a message that is too long",
      new Made().record("client", 22, Buffer.from([1, 255, 0, 0])),
      /handshake message of 16711680 bytes/,
    ],
    [
      "a changed byte",
      changed(new Made().hellos().finish().sealed("client", 23, Buffer.from("x"))),
      /record 0 does not open/,
    ],
  ];
  for (const [name, made, words] of cases)
    await t.test(name, () => assert.match(lostOf(made.events()).join(), words));
});

function changed(made: Made): Made {
  const last = made.pieces.at(-1)!;
  last.bytes[last.bytes.length - 1]! ^= 1;
  return made;
}

test("any bytes: events, never an exception", async () => {
  const { pieces, keyLog } = await overheard("TLS_AES_128_GCM_SHA256", said.slice(0, 2));
  const { keys } = parseKeyLog(keyLog);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), (changes) => {
      const copies = pieces.map(({ side, bytes }) => ({ side, bytes: bytes.slice() }));
      for (const [which, at, value] of changes) {
        const { bytes } = copies[which % copies.length]!;
        bytes[at % bytes.length] = value;
      }
      const capture = new TlsCapture(keys);
      for (const { side, bytes } of copies) capture.push(side, bytes);
    }),
    { numRuns: 300 },
  );
});

test("a key log: comments, other secrets, bad lines, and secrets that are not complete", () => {
  const line = (name: string, random: string): string => `${name} ${random} ${"0f".repeat(32)}`;
  const all = [
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
  ];
  const text = [
    "# a comment",
    "",
    ...all.map((name) => line(name, "AB".repeat(32))),
    ...all.slice(1).map((name) => line(name, "cd".repeat(32))),
    line("EXPORTER_SECRET", "ab".repeat(32)),
    "CLIENT_RANDOM short 00",
    "nonsense",
  ].join("\r\n");
  const { keys, bad } = parseKeyLog(text);
  assert.deepEqual([...keys.keys(), bad], ["ab".repeat(32), 2]);
});
