// What helpers expect, between two kernels: made by real packets (FTP, SIP, TFTP) on one node, read as events or as a dump,
// written into the other, and there of use: sessions that begin after a takeover find their way. In namespaces of its own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, test } from "node:test";
import {
  AF_INET,
  AF_INET6,
  bind,
  close,
  connect,
  listen,
  poll,
  pollVector,
  recvfrom,
  SOCK_DGRAM,
  SOCK_STREAM,
  sendto,
  socket,
} from "../../src/kernel/libc.ts";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionEvents, type SessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openKeyDump } from "../../src/kernel/sessionGenerations.ts";
import { openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import { isExpectation } from "../../src/wire/expectation.ts";
import { decodeExpectation } from "../../src/wire/expectationRecord.ts";
import { forEachRecord, RecordBatch, validateRecords } from "../../src/wire/session.ts";
import { decodeRecord } from "../../src/wire/sessionRecord.ts";
import { inNamespace, type Namespace } from "./namespace.ts";
import {
  acceptTcp,
  listenTcp,
  makeWorld,
  openTcp,
  say,
  socketAddress,
  table,
  type World,
} from "./sessionWorld.ts";

const PACKET_WITHIN_MS = 10_000;

describe("expectations", inNamespace, () => {
  let world: World;
  let events: SessionEvents;
  let writer: SessionWriter;
  const descriptors: number[] = [];
  const keep = (fd: number): number => {
    descriptors.push(fd);
    return fd;
  };

  beforeEach(() => {
    world = makeWorld({ translate: true });
    events = world.active.run(() => openSessionEvents());
    events.expectations = true;
    writer = world.standby.run(() => openSessionWriter());
  });
  afterEach(() => {
    for (const fd of descriptors.splice(0)) close(fd);
    events.close();
    writer.close();
    world.close();
  });

  const drained = (): RecordBatch => {
    const batch = new RecordBatch();
    assert.equal(events.drain(batch).overrun, false);
    assert.deepEqual(validateRecords(batch.records()), { ok: true, count: batch.count });
    return batch;
  };
  const dumped = (): RecordBatch => {
    const batch = new RecordBatch();
    const dump = world.active.run(() => openSessionDump({ expectations: true }));
    while (dump.next(batch));
    dump.close();
    return batch;
  };
  const apply = (batch: RecordBatch, generation = 1) =>
    writer.apply(batch.records(), batch.count, generation);

  /** The control connection of FTP, its greeting and its login said. */
  const login = (client: string, server: string): { readonly client: number; readonly server: number } => {
    const listener = keep(listenTcp(world, server, 21));
    const ends = {
      client: keep(openTcp(world, client, 40021, server, 21)),
      server: keep(acceptTcp(listener)),
    };
    say(ends.server, ends.client, "220 hello\r\n");
    say(ends.client, ends.server, "USER somebody\r\n");
    say(ends.server, ends.client, "230 in\r\n");
    return ends;
  };

  test("active FTP: an event, a record, the same expectation over there; it ends with the first session", () => {
    const ftp = login("10.9.0.2", "192.0.2.2");
    const control = drained();
    assert.deepEqual(
      summary(control),
      ["create session 6 40021", "create session 6 40021"].slice(0, control.count),
    );
    assert.equal(say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n"), "PORT 192,0,2,1,200,10\r\n");
    const said = drained();
    assert.deepEqual(summary(said), ["create session 6 40021", "create expected 6 192.0.2.1:51210"]);
    apply(control);
    assert.deepEqual(pick(apply(said)), { expected: 1, notExpected: 0 });
    assert.deepEqual(expected(world.standby), expected(world.active));
    assert.equal(expected(world.active).length, 1);
    // Again: in place of what is there.
    assert.deepEqual(pick(apply(said)), { expected: 1, notExpected: 0 });
    assert.deepEqual(expected(world.standby), expected(world.active));

    const data = keep(listening(world.lan, "10.9.0.2", 51210));
    keep(dial(world.far, "192.0.2.2", 20, "192.0.2.1", 51210));
    keep(acceptTcp(data));
    const came = drained();
    assert.equal(summary(came)[0], "delete expected 6 192.0.2.1:51210");
    assert.equal(summary(came)[1], "create session 6 20");
    const { refused } = apply(came);
    assert.deepEqual(refused, {});
    assert.deepEqual(expected(world.standby), []);
    assert.deepEqual(table(world.standby), table(world.active));
    // Read as a table, a session comes behind its master, wherever the kernel keeps them.
    const all = dumped();
    assert.deepEqual(summary(all), ["create session 6 40021", "create session 6 20"]);
    assert.deepEqual(apply(all, 2).updated, 2);
    // It knows its master there, too.
    const master = sessionsOf(dumpOf(world.standby)).find(({ original }) => original.a === 20);
    assert.equal(master?.operation === "create" && master.state.master?.original.a, 40021);
  });

  test("active FTP, takeover between PORT and the data connection: it is let in, to the right host", () => {
    const ftp = login("10.9.0.2", "192.0.2.2");
    assert.equal(say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n"), "PORT 192,0,2,1,200,10\r\n");
    const { refused, notExpected } = apply(drained());
    assert.deepEqual([refused, notExpected], [{}, 0]);
    world.takeOver();
    const data = keep(listening(world.lan, "10.9.0.2", 51210));
    const server = keep(dial(world.far, "192.0.2.2", 20, "192.0.2.1", 51210));
    const client = keep(acceptTcp(data));
    assert.equal(say(server, client, "a file"), "a file");
    // And the helper goes on: the next command on the control connection is read here.
    assert.equal(say(ftp.client, ftp.server, "PORT 10,9,0,2,200,11\r\n"), "PORT 192,0,2,1,200,11\r\n");
    assert.equal(expected(world.standby).length, 1);
  });

  test("passive FTP over IPv6, EPSV: let out by way of its master", () => {
    const ftp = login("fd09::2", "2001:db8::2");
    say(ftp.client, ftp.server, "EPSV\r\n");
    say(ftp.server, ftp.client, "229 Entering Extended Passive Mode (|||51211|)\r\n");
    const batch = drained();
    assert.deepEqual(summary(batch).at(-1), "create expected 6 2001:db8::2:51211");
    assert.deepEqual(pick(apply(batch)), { expected: 1, notExpected: 0 });
    assert.deepEqual(expected(world.standby), expected(world.active));
    world.takeOver();
    const data = keep(listening(world.far, "2001:db8::2", 51211));
    const client = keep(dial(world.lan, "fd09::2", 40022, "2001:db8::2", 51211));
    const server = keep(acceptTcp(data));
    assert.equal(say(client, server, "a file"), "a file");
    const session = sessionsOf(dumpOf(world.standby)).find(({ original }) => original.b === 51211);
    assert.equal(session?.operation === "create" && session.state.master?.original.b, 21);
  });

  test("SIP: expected before its session was answered; calls and their media find the telephone after a takeover", () => {
    const phone = keep(datagrams(world.lan, "10.9.0.2", 5060));
    const proxy = keep(datagrams(world.far, "192.0.2.2", 5060));
    transmit(phone, register("10.9.0.2"), "192.0.2.2", 5060);
    assert.match(receive(proxy), /Contact: <sip:alice@192\.0\.2\.1:5060>/);
    // The session is not answered yet: it is sent all the same, before what it expects.
    const first = drained();
    assert.deepEqual(summary(first), ["create session 17 5060", "create expected 17 192.0.2.1:5060"]);
    assert.deepEqual(pick(apply(first)), { expected: 1, notExpected: 0 });
    transmit(proxy, answer("192.0.2.1"), "192.0.2.1", 5060);
    assert.match(receive(phone), /Contact: <sip:alice@10\.9\.0\.2:5060>/);
    transmit(phone, invite("10.9.0.2", 6000), "192.0.2.2", 5060);
    assert.match(receive(proxy), /m=audio 6000/);
    apply(drained());
    // INACTIVE apart, which a record leaves out because nothing tells its end.
    assert.deepEqual(expected(world.standby), expected(world.active));
    assert.deepEqual(
      expected(world.active).map((line) => /dport=(\d+) mask/.exec(line)?.[1]),
      ["5060", "6000", "6001"],
    );

    world.takeOver();
    // Media begins outside: only the expectation knows where it goes.
    const media = keep(datagrams(world.lan, "10.9.0.2", 6000));
    const far = keep(datagrams(world.far, "192.0.2.2", 7000));
    transmit(far, "media", "192.0.2.1", 6000);
    assert.equal(receive(media), "media");
    // The registration stays: a call from another port of the proxy's reaches the telephone.
    const caller = keep(datagrams(world.far, "192.0.2.2", 5070));
    transmit(caller, "OPTIONS sip:alice@192.0.2.1:5060 SIP/2.0\r\n\r\n", "192.0.2.1", 5060);
    assert.match(receive(phone), /^OPTIONS/);
  });

  test("SIP: a call that is answered before anybody reads of it, with what both ends expect", () => {
    const phone = keep(datagrams(world.lan, "10.9.0.2", 5060));
    const proxy = keep(datagrams(world.far, "192.0.2.2", 5060));
    transmit(phone, invite("10.9.0.2", 6000), "192.0.2.2", 5060);
    assert.match(receive(proxy), /m=audio 6000/);
    transmit(proxy, trying("192.0.2.1"), "192.0.2.1", 5060);
    assert.match(receive(phone), /100 Trying/);
    // The events of what is expected come before that of the answer, with which the session would be sent by itself.
    const { notExpected } = apply(drained());
    assert.equal(notExpected, 0);
    assert.equal(expected(world.active).length, 2);
    assert.deepEqual(expected(world.standby), expected(world.active));
  });

  test("FTP: after a takeover the control connection goes on, behind sequence numbers that its helper has moved", () => {
    const ftp = login("10.9.0.2", "192.0.2.2");
    // One digit longer than what was said: from here on the two ends count differently.
    assert.equal(say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n"), "PORT 192,0,2,1,200,10\r\n");
    // With it the client knows that PORT has come: it will not be sent again, through a helper that would learn of it.
    assert.equal(say(ftp.server, ftp.client, "200 there, then\r\n"), "200 there, then\r\n");
    apply(drained());
    world.takeOver();
    assert.equal(say(ftp.client, ftp.server, "NOOP\r\n"), "NOOP\r\n");
    assert.equal(say(ftp.server, ftp.client, "200 ok\r\n"), "200 ok\r\n");
  });

  test("TFTP: the server answers from another port, after a takeover", () => {
    const client = keep(datagrams(world.lan, "10.9.0.2", 3000));
    const server = keep(datagrams(world.far, "192.0.2.2", 69));
    transmit(client, "\0\x01file\0octet\0", "192.0.2.2", 69);
    receive(server);
    const { expected: written, notExpected } = apply(drained());
    assert.deepEqual([written, notExpected], [1, 0]);
    assert.deepEqual(expected(world.standby), expected(world.active));
    world.takeOver();
    const data = keep(datagrams(world.far, "192.0.2.2", 50_000));
    transmit(data, "\0\x03\0\x01content", "192.0.2.1", 3000);
    assert.match(receive(client), /content/);
  });

  test("a dump ends with what is expected, and the sweep of a snapshot ends what it did not name", () => {
    const ftp = login("10.9.0.2", "192.0.2.2");
    say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n");
    apply(drained());
    say(ftp.server, ftp.client, "200 ok\r\n");
    say(ftp.client, ftp.server, "PORT 10,9,0,2,200,20\r\n");
    const all = dumped();
    assert.deepEqual(summary(all), [
      "create session 6 40021",
      "create session 6 40021",
      "create expected 6 192.0.2.1:51220",
    ]);
    // Without being asked for they are not in it.
    const plain = world.active.run(() => openSessionDump());
    const batch = new RecordBatch();
    while (plain.next(batch));
    plain.close();
    assert.deepEqual(summary(batch), ["create session 6 40021"]);
    apply(all, 2);
    assert.deepEqual(keysOf(world.standby), keysOf(world.active));
    assert.deepEqual(keysOf(world.active), ["delete session 6 40021", "delete expected 6 192.0.2.1:51220"]);
    world.standby.run(() => {
      // What is expected on account of a session that is not the pair's stays.
      assert.equal(writer.sweep([1], 2), 0);
      assert.equal(writer.sweep([3], 2), 0);
    });
    assert.deepEqual(expected(world.standby), expected(world.active));
    // A snapshot that does not name it: sessions stay, for they came again.
    apply(batch, 3);
    assert.equal(
      world.standby.run(() => writer.sweep([3], 3)),
      1,
    );
    assert.deepEqual(expected(world.standby), []);
  });

  test("what cannot be expected here is left out and counted: no master, no helper", () => {
    const ftp = login("10.9.0.2", "192.0.2.2");
    const control = drained();
    say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n");
    const alone = lastRecord(drained());
    const said = () => writer.apply(alone, 1, 1);
    assert.deepEqual(pick(said()), { expected: 0, notExpected: 1 });
    assert.deepEqual(said().refused, {});
    // A master without its helper is made anew with it, and then it may expect.
    world.standby.run(() => run("conntrack", ...entryWithoutHelper("40021")));
    apply(control);
    assert.deepEqual(pick(said()), { expected: 1, notExpected: 0 });
    assert.deepEqual(table(world.standby), table(world.active));
  });

  test("only those of the pair are told, and none to a peer that does not know them", () => {
    world.active.run(() =>
      execFileSync("nft", ["-f", "-"], { input: "add rule inet world place ct mark set 0x100\n" }),
    );
    const ftp = login("10.9.0.2", "192.0.2.2");
    say(ftp.client, ftp.server, "PORT 10,9,0,2,200,10\r\n");
    assert.equal(expected(world.active).length, 1);
    assert.deepEqual([drained().count, dumped().count], [0, 0]);
    world.active.run(() =>
      execFileSync("nft", ["-f", "-"], { input: "add rule inet world place ct mark set 0x103\n" }),
    );
    events.expectations = false;
    say(ftp.server, ftp.client, "200 ok\r\n");
    say(ftp.client, ftp.server, "PORT 10,9,0,2,200,20\r\n");
    assert.equal(expected(world.active).length, 1);
    assert.ok(summary(drained()).every((each) => each.includes("session")));
  });
});

const pick = ({
  expected: written,
  notExpected,
}: {
  readonly expected: number;
  readonly notExpected: number;
}) => ({
  expected: written,
  notExpected,
});

/** `create session 6 40021` or `create expected 6 192.0.2.1:51210` of each record. */
function summary(batch: RecordBatch): string[] {
  const found: string[] = [];
  forEachRecord(batch.records(), (offset) => {
    if (isExpectation(batch.bytes, offset)) {
      const decoded = decodeExpectation(batch.bytes, offset);
      if (!decoded.ok) throw new Error(decoded.reason);
      const { operation, protocol, expected: tuple } = decoded.record;
      found.push(`${operation} expected ${protocol} ${text(tuple.destination)}:${tuple.b}`);
    } else {
      const decoded = decodeRecord(batch.bytes, offset);
      if (!decoded.ok) throw new Error(decoded.reason);
      const { operation, protocol, original } = decoded.record;
      found.push(`${operation} session ${protocol} ${original.a}`);
    }
  });
  return found;
}

const text = (address: Uint8Array): string => (address.length === 4 ? address.join(".") : "2001:db8::2");

/** The last record alone. */
function lastRecord(batch: RecordBatch): Uint8Array {
  let last = 0;
  forEachRecord(batch.records(), (offset) => {
    last = offset;
  });
  return batch.records().slice(last);
}

function keysOf(space: Namespace): string[] {
  const batch = new RecordBatch();
  const dump = space.run(() => openKeyDump());
  while (dump.next(batch));
  dump.close();
  return summary(batch);
}

function dumpOf(space: Namespace): RecordBatch {
  const batch = new RecordBatch();
  const dump = space.run(() => openSessionDump());
  while (dump.next(batch));
  dump.close();
  return batch;
}

function sessionsOf(batch: RecordBatch) {
  const found = [];
  for (let offset = 0; offset < batch.length; ) {
    const decoded = decodeRecord(batch.bytes, offset);
    if (!decoded.ok) throw new Error(decoded.reason);
    found.push(decoded.record);
    offset = decoded.end;
  }
  return found;
}

/** The table of expectations as `conntrack -L expect` shows it, without times and INACTIVE. */
function expected(space: Namespace): string[] {
  return space
    .run(() => run("conntrack", "-L", "expect"))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/^\s*\d+ /, "").replace(/,?INACTIVE/, ""))
    .sort();
}

const familyOf = (address: string): number => (address.includes(":") ? AF_INET6 : AF_INET);

function datagrams(space: Namespace, address: string, port: number): number {
  return space.run(() => {
    const fd = socket(familyOf(address), SOCK_DGRAM, 0);
    bind(fd, socketAddress(address, port));
    return fd;
  });
}

function listening(space: Namespace, address: string, port: number): number {
  return space.run(() => {
    const fd = socket(familyOf(address), SOCK_STREAM, 0);
    bind(fd, socketAddress(address, port));
    listen(fd, 4);
    return fd;
  });
}

function dial(space: Namespace, from: string, fromPort: number, to: string, port: number): number {
  return space.run(() => {
    const fd = socket(familyOf(to), SOCK_STREAM, 0);
    bind(fd, socketAddress(from, fromPort));
    connect(fd, socketAddress(to, port));
    return fd;
  });
}

function transmit(fd: number, content: string, to: string, port: number): void {
  const bytes = new TextEncoder().encode(content);
  assert.equal(sendto(fd, bytes, bytes.length, 0, socketAddress(to, port)), bytes.length);
}

function receive(fd: number): string {
  assert.equal(poll(pollVector([fd]), 1, PACKET_WITHIN_MS), 1, "a datagram did not arrive");
  const bytes = new Uint8Array(4096);
  return new TextDecoder().decode(bytes.subarray(0, recvfrom(fd, bytes, 0, new Uint8Array(28))));
}

const sip = (lines: readonly string[], body = ""): string =>
  [...lines, `Content-Length: ${body.length}`, "", body].join("\r\n");

const register = (phone: string): string =>
  sip([
    "REGISTER sip:192.0.2.2 SIP/2.0",
    `Via: SIP/2.0/UDP ${phone}:5060;branch=z9hG4bK1`,
    "From: <sip:alice@192.0.2.2>;tag=1",
    "To: <sip:alice@192.0.2.2>",
    `Call-ID: 1@${phone}`,
    "CSeq: 1 REGISTER",
    `Contact: <sip:alice@${phone}:5060>`,
    "Expires: 3600",
  ]);

const answer = (phone: string): string =>
  sip([
    "SIP/2.0 200 OK",
    `Via: SIP/2.0/UDP ${phone}:5060;branch=z9hG4bK1`,
    "From: <sip:alice@192.0.2.2>;tag=1",
    "To: <sip:alice@192.0.2.2>;tag=2",
    "Call-ID: 1@10.9.0.2",
    "CSeq: 1 REGISTER",
    `Contact: <sip:alice@${phone}:5060>;expires=3600`,
  ]);

const trying = (phone: string): string =>
  sip([
    "SIP/2.0 100 Trying",
    `Via: SIP/2.0/UDP ${phone}:5060;branch=z9hG4bK2`,
    "From: <sip:alice@192.0.2.2>;tag=1",
    "To: <sip:bob@192.0.2.2>",
    "Call-ID: 2@10.9.0.2",
    "CSeq: 1 INVITE",
  ]);

const invite = (phone: string, port: number): string =>
  sip(
    [
      "INVITE sip:bob@192.0.2.2 SIP/2.0",
      `Via: SIP/2.0/UDP ${phone}:5060;branch=z9hG4bK2`,
      "From: <sip:alice@192.0.2.2>;tag=1",
      "To: <sip:bob@192.0.2.2>",
      `Call-ID: 2@${phone}`,
      "CSeq: 1 INVITE",
      `Contact: <sip:alice@${phone}:5060>`,
      "Content-Type: application/sdp",
    ],
    [
      "v=0",
      `o=alice 1 1 IN IP4 ${phone}`,
      "s=-",
      `c=IN IP4 ${phone}`,
      "t=0 0",
      `m=audio ${port} RTP/AVP 0`,
      "",
    ].join("\r\n"),
  );

const run = (program: string, ...words: string[]): string =>
  execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** `conntrack -I` of the control connection, translated as on the active, with no helper. */
const entryWithoutHelper = (port: string): string[] =>
  `-I -p tcp -s 10.9.0.2 -d 192.0.2.2 --sport ${port} --dport 21 -r 192.0.2.2 -q 10.9.0.2 --reply-port-src 21 --reply-port-dst ${port} --state ESTABLISHED -t 600 -m 3 -n 192.0.2.1 -u ASSURED,SEEN_REPLY`.split(
    " ",
  );
