// A traffic process: the near ends of the live sessions, spread over the LAN hosts. Half of them say something every
// 20 ms and want it back, half only listen to a download. Every byte is checked; the longest silence of each is
// kept. It reports what it saw; what counts as survival is decided in survival.ts.

import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { ECHO_BYTES, type EchoStream, echoStream, hello, isContent, nextEcho, takeEcho } from "./content.ts";
import { LIVE_INTERVAL_MS, PORT_DOWNLOAD, PORT_ECHO } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { connectError, connectTcp, socketAddress } from "./sockets.ts";
import type { LiveHost, LiveSession } from "./survival.ts";

interface Open extends Order {
  readonly kind: "open";
  readonly hosts: readonly LiveHost[];
  /** One a family that is to be used; sessions take them in turn. */
  readonly servers: readonly string[];
  readonly count: number;
  /** New connections a second. */
  readonly rate: number;
  /** How often a connection that is not there after a quarter of a second is tried from another port; default: never. */
  readonly retries?: number;
}

interface Session {
  fd: number;
  readonly server: Uint8Array;
  readonly client: number;
  startedMs: number;
  retries: number;
  readonly seed: number;
  readonly echo: boolean;
  readonly host: string;
  port: number;
  connected: boolean;
  failure: string | null;
  sending: EchoStream;
  receiving: EchoStream;
  pending: Buffer;
  /** The rest of a message that is being sent. */
  unsent: Buffer;
  position: number;
  dueMs: number;
  lastMs: number;
  /** Since the last mark: */
  stallMs: number;
  firstMs: number;
  bytes: number;
}

const RETRY_MS = 250;

const reactor = createReactor(onOrder);
const sessions: Session[] = [];
const echoes: Session[] = [];
const buffer = Buffer.alloc(65536);
const message = new Uint8Array(ECHO_BYTES);
/** A `struct sockaddr_in` or `sockaddr_in6`: the port lies at 2 in both. */
const ownAddress = new Uint8Array(28);
let opening: { readonly order: Open; started: number; nextMs: number } | null = null;
let markedMs = 0;

function onOrder(order: Order): void {
  if (order.kind === "open") opening = { order: order as Open, started: 0, nextMs: nowMs() };
  else if (order.kind === "mark") {
    markedMs = nowMs();
    for (const session of sessions) Object.assign(session, { stallMs: 0, firstMs: 0, bytes: 0 });
    reactor.answer(order.id, { atMs: markedMs });
  } else if (order.kind === "report") reactor.answer(order.id, { atMs: nowMs(), sessions: report() });
}

function report(): readonly LiveSession[] {
  const now = nowMs();
  return sessions.map((session) => {
    const silentMs = session.connected ? now - Math.max(session.lastMs, markedMs) : 0;
    return {
      kind: session.echo ? "echo" : "download",
      host: session.host,
      port: session.port,
      connected: session.connected,
      failure: session.failure,
      // Silence that lasts still counts.
      stallMs: Math.max(session.stallMs, silentMs),
      silentMs,
      movedMs: session.firstMs === 0 ? 0 : session.lastMs - session.firstMs,
      bytes: session.bytes,
    };
  });
}

function open(order: Open, index: number): void {
  const host = order.hosts[index % order.hosts.length]!;
  // Host, kind and family vary independently of each other.
  const round = Math.floor(index / order.hosts.length);
  const echo = (index + round) % 2 === 0;
  const server = order.servers[Math.floor(index / 2) % order.servers.length]!;
  const address = socketAddress(server, echo ? PORT_ECHO : PORT_DOWNLOAD);
  const session: Session = {
    fd: -1,
    server: address,
    client: host.pid,
    startedMs: 0,
    retries: order.retries ?? 0,
    seed: index + 1,
    echo,
    host: host.name,
    port: 0,
    connected: false,
    failure: null,
    sending: echoStream(),
    receiving: echoStream(),
    pending: Buffer.alloc(0),
    unsent: Buffer.alloc(0),
    position: 0,
    dueMs: 0,
    lastMs: 0,
    stallMs: 0,
    firstMs: 0,
    bytes: 0,
  };
  sessions.push(session);
  dial(session);
}

function dial(session: Session): void {
  session.fd = connectTcp(session.client, session.server);
  libc.getsockname(session.fd, ownAddress);
  session.port = (ownAddress[2]! << 8) | ownAddress[3]!;
  session.startedMs = nowMs();
  reactor.watch(session.fd, libc.POLLOUT, () => {
    if (session.connected) receive(session);
    else establish(session);
  });
}

/** From another port, and so perhaps by another link: true where it was tried again. */
function redial(session: Session): boolean {
  if (session.connected || session.retries === 0) return false;
  session.retries -= 1;
  if (session.failure === null) fail(session, "replaced");
  session.failure = null;
  dial(session);
  return true;
}

function establish(session: Session): void {
  const error = connectError(session.fd);
  if (error !== 0) {
    fail(session, `connect: ${libc.errnoName(error)}`);
    return;
  }
  session.connected = true;
  session.lastMs = nowMs();
  libc.send(session.fd, hello(session.seed), undefined, libc.MSG_NOSIGNAL);
  reactor.change(session.fd, libc.POLLIN);
  if (!session.echo) return;
  // Phases differ, as people's do.
  session.dueMs = session.lastMs + ((session.seed * 7) % LIVE_INTERVAL_MS);
  echoes.push(session);
}

function fail(session: Session, failure: string): void {
  if (session.failure !== null) return;
  session.failure = failure;
  reactor.forget(session.fd);
  libc.close(session.fd);
}

function receive(session: Session): void {
  const count = libc.recv(session.fd, buffer);
  if (count === -libc.errno.EAGAIN!) return;
  if (count <= 0) {
    fail(session, count === 0 ? "closed by the far side" : libc.errnoName(-count));
    return;
  }
  const bytes = buffer.subarray(0, count);
  if (!(session.echo ? takeEchoes(session, bytes) : isContent(bytes, session.seed, session.position))) {
    fail(session, "wrong content");
    return;
  }
  session.position += count;
  const now = nowMs();
  session.stallMs = Math.max(session.stallMs, now - Math.max(session.lastMs, markedMs));
  session.lastMs = now;
  if (session.firstMs === 0) session.firstMs = now;
  session.bytes += count;
}

function takeEchoes(session: Session, bytes: Buffer): boolean {
  const all = session.pending.length > 0 ? Buffer.concat([session.pending, bytes]) : bytes;
  const whole = all.length - (all.length % ECHO_BYTES);
  for (let at = 0; at < whole; at += ECHO_BYTES)
    if (!takeEcho(session.receiving, session.seed, all.subarray(at, at + ECHO_BYTES))) return false;
  session.pending = Buffer.from(all.subarray(whole));
  return true;
}

/** What a full buffer has not taken after a long outage goes out first, in its turn. */
function speak(session: Session): void {
  if (session.unsent.length === 0) {
    nextEcho(session.sending, session.seed, message);
    session.unsent = Buffer.from(message);
  }
  const sent = libc.send(session.fd, session.unsent, session.unsent.length, libc.MSG_NOSIGNAL);
  if (sent >= 0) session.unsent = session.unsent.subarray(sent);
  else if (sent !== -libc.errno.EAGAIN!) fail(session, libc.errnoName(-sent));
}

function openMore(now: number): number {
  if (opening === null) return Infinity;
  const { order } = opening;
  while (opening.started < order.count && opening.nextMs <= now) {
    open(order, opening.started);
    opening.started += 1;
    opening.nextMs += 1000 / order.rate;
  }
  if (opening.started < order.count) return opening.nextMs;
  const last = sessions.slice(-order.count);
  for (const session of last)
    if (session.failure !== null || now - session.startedMs > RETRY_MS) redial(session);
  if (last.some((session) => !session.connected && session.failure === null)) return now + 10;
  const opened = last.filter((session) => session.failure === null).length;
  const failures = last.filter((session) => session.failure !== null).map((session) => session.failure);
  reactor.answer(order.id, { opened, failures: failures.slice(0, 5) });
  opening = null;
  return Infinity;
}

reactor.run((now) => {
  let next = openMore(now);
  for (const session of echoes) {
    if (session.failure !== null) continue;
    if (session.dueMs <= now) {
      speak(session);
      session.dueMs += LIVE_INTERVAL_MS;
      if (session.dueMs <= now) session.dueMs = now + LIVE_INTERVAL_MS;
    }
    if (session.dueMs < next) next = session.dueMs;
  }
  return Math.max(next, now + 1);
});
