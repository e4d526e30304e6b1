// A traffic process: the near ends of streams, TCP connections by the thousand. Each is opened with a real handshake, says
// a short message and wants exactly that back, again and again or only when told to; some are closed after a while. It
// writes down what it saw of each; what that means is decided in streamVerdict.ts.

import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { contentAt } from "./content.ts";
import { PORT_STREAM } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { connectError, connectTcp, inside, setLinger, socketAddress } from "./sockets.ts";
import type { StreamCounts, StreamSeen } from "./streamVerdict.ts";

export interface StreamHost {
  /** Holder of its namespace. */
  readonly pid: number;
  readonly name: string;
}

export interface OpenStreams {
  readonly hosts: readonly StreamHost[];
  /** One a family that is to be used; streams take them in turn. */
  readonly servers: readonly string[];
  readonly count: number;
  /** New connections a second. */
  readonly rate: number;
  /** From an answer to the next message; 0: only when told to. */
  readonly talkMs: number;
  /** Each is closed after a time up to this; 0: never. One in eight is cut off with a reset, the others end in order. */
  readonly livesMs: number;
}

interface Open extends Order, OpenStreams {
  readonly kind: "open";
}

interface Stream {
  fd: number;
  readonly seed: number;
  readonly host: string;
  readonly talkMs: number;
  readonly endsMs: number;
  readonly startedMs: number;
  openedMs: number;
  port: number;
  failure: string | null;
  closed: boolean;
  /** Messages that came back whole. */
  answers: number;
  /** Times that the far side said its last message again, unasked, and it was right. */
  heard: number;
  /** Bytes of the message under way that are not back yet; 0: none is under way. */
  missing: number;
  /** The message that is being read was not asked for. */
  unasked: boolean;
  lastMs: number;
}

const MESSAGE_BYTES = 32;
/** A turn opens what is due, from one host: entering a namespace costs more than the connection. */
const TURN_MS = 4;
const CONNECT_TIMEOUT_MS = 20_000;

const reactor = createReactor(onOrder);
const streams: Stream[] = [];
/** Who speaks next and when, by pause: within one they are in order of time. */
const queues = new Map<number, { readonly entries: { stream: Stream; dueMs: number }[]; head: number }>();
const buffer = new Uint8Array(MESSAGE_BYTES);
/** A `struct sockaddr_in` or `sockaddr_in6`: the port lies at 2 in both. */
const ownAddress = new Uint8Array(28);
let opening: { readonly order: Open; started: number; turns: number; nextMs: number } | null = null;
/** While it is on nobody opens, speaks or closes. */
let paused = false;

function onOrder(order: Order): void {
  if (order.kind === "open") {
    opening = { order: order as Open, started: 0, turns: 0, nextMs: nowMs() };
    return;
  }
  if (order.kind === "pause") paused = true;
  else if (order.kind === "resume") {
    paused = false;
    if (opening !== null) opening.nextMs = nowMs();
  } else if (order.kind === "speak") {
    for (const stream of streams) if (isOpen(stream) && stream.missing === 0) speak(stream);
  }
  reactor.answer(order.id, order.kind === "report" ? { atMs: nowMs(), streams: report() } : counts());
}

const isOpen = (stream: Stream): boolean => stream.openedMs > 0 && stream.failure === null && !stream.closed;

function counts(): StreamCounts {
  let [opened, closed, failed] = [0, 0, 0];
  const failures = new Set<string>();
  for (const stream of streams) {
    if (stream.openedMs > 0) opened += 1;
    if (stream.closed) closed += 1;
    if (stream.failure !== null) {
      failed += 1;
      failures.add(stream.failure);
    }
  }
  return { atMs: nowMs(), started: streams.length, opened, closed, failed, failures: [...failures] };
}

const report = (): readonly StreamSeen[] =>
  streams.map(({ host, port, startedMs, openedMs, failure, closed, answers, heard, lastMs }) => ({
    host,
    port,
    startedMs,
    openedMs,
    failure,
    closed,
    answers,
    heard,
    lastMs,
  }));

function openDue(order: Open, first: number, count: number, turn: number): void {
  const host = order.hosts[turn % order.hosts.length]!;
  inside(host.pid, () => {
    for (let index = first; index < first + count; index += 1) open(order, index, host);
  });
}

function open(order: Open, index: number, host: StreamHost): void {
  const startedMs = nowMs();
  // Spread evenly and repeatably over the time that is allowed (a multiplicative hash of the number).
  const share = (Math.imul(streams.length + 1, 0x9e3779b1) >>> 0) / 2 ** 32;
  const stream: Stream = {
    fd: -1,
    seed: streams.length + 1,
    host: host.name,
    talkMs: order.talkMs,
    endsMs: order.livesMs === 0 ? Infinity : startedMs + order.livesMs * share,
    startedMs,
    openedMs: 0,
    port: 0,
    failure: null,
    closed: false,
    answers: 0,
    heard: 0,
    missing: 0,
    unasked: false,
    lastMs: 0,
  };
  streams.push(stream);
  stream.fd = connectTcp(0, socketAddress(order.servers[index % order.servers.length]!, PORT_STREAM));
  libc.getsockname(stream.fd, ownAddress);
  stream.port = (ownAddress[2]! << 8) | ownAddress[3]!;
  reactor.watch(stream.fd, libc.POLLOUT, () => {
    if (stream.openedMs > 0) receive(stream);
    else establish(stream);
  });
}

function establish(stream: Stream): void {
  const error = connectError(stream.fd);
  if (error !== 0) {
    fail(stream, `connect: ${libc.errnoName(error)}`);
    return;
  }
  stream.openedMs = nowMs();
  reactor.change(stream.fd, libc.POLLIN);
  speak(stream);
}

function fail(stream: Stream, failure: string): void {
  if (stream.failure !== null || stream.closed) return;
  stream.failure = failure;
  reactor.forget(stream.fd);
  libc.close(stream.fd);
}

function close(stream: Stream): void {
  stream.closed = true;
  reactor.forget(stream.fd);
  if (stream.seed % 8 === 0) setLinger(stream.fd, 0);
  libc.close(stream.fd);
}

function speak(stream: Stream): void {
  const sent = libc.send(stream.fd, messageOf(stream), MESSAGE_BYTES, libc.MSG_NOSIGNAL);
  if (sent < 0) fail(stream, libc.errnoName(-sent));
  stream.missing = MESSAGE_BYTES;
}

/** What it says next, or (not asked for) what it said last. */
const messageOf = ({ seed, answers, unasked }: Stream): Uint8Array =>
  contentAt(seed, (unasked ? answers - 1 : answers) * MESSAGE_BYTES, MESSAGE_BYTES);

function receive(stream: Stream): void {
  const count = libc.recv(stream.fd, buffer);
  if (count === -libc.errno.EAGAIN!) return;
  if (count <= 0) {
    fail(stream, count === 0 ? "closed by the far side" : libc.errnoName(-count));
    return;
  }
  if (stream.missing === 0 && stream.answers > 0) {
    stream.unasked = true;
    stream.missing = MESSAGE_BYTES;
  }
  const message = messageOf(stream);
  const from = MESSAGE_BYTES - stream.missing;
  for (let at = 0; at < count; at += 1)
    if (at >= stream.missing || buffer[at] !== message[from + at]) {
      fail(stream, "wrong content");
      return;
    }
  stream.missing -= count;
  stream.lastMs = nowMs();
  if (stream.missing > 0) return;
  if (stream.unasked) {
    stream.unasked = false;
    stream.heard += 1;
    return;
  }
  stream.answers += 1;
  if (stream.talkMs > 0) plan(stream, stream.lastMs + stream.talkMs);
}

function plan(stream: Stream, dueMs: number): void {
  const queue = queues.get(stream.talkMs) ?? { entries: [], head: 0 };
  queues.set(stream.talkMs, queue);
  queue.entries.push({ stream, dueMs });
}

/** Those whose pause is over speak, or end where their life is over; returns when the next one is due. */
function talk(now: number): number {
  let next = Infinity;
  for (const queue of queues.values()) {
    for (; queue.head < queue.entries.length; queue.head += 1) {
      const { stream, dueMs } = queue.entries[queue.head]!;
      if (dueMs > now) {
        next = Math.min(next, dueMs);
        break;
      }
      if (!isOpen(stream)) continue;
      if (stream.endsMs <= now) close(stream);
      else speak(stream);
    }
    if (queue.head > 10_000) {
      queue.entries.splice(0, queue.head);
      queue.head = 0;
    }
  }
  return next;
}

function openMore(now: number): number {
  if (opening === null) return Infinity;
  const { order } = opening;
  let due = 0;
  // What a machine that stood still has missed is not caught up with in one burst.
  opening.nextMs = Math.max(opening.nextMs, now - 5 * TURN_MS);
  for (; opening.nextMs <= now && opening.started + due < order.count; due += 1)
    opening.nextMs += 1000 / order.rate;
  if (due > 0) {
    openDue(order, opening.started, due, opening.turns);
    opening.started += due;
    opening.turns += 1;
  }
  if (opening.started < order.count) return Math.max(opening.nextMs, now + TURN_MS);
  const pending = streams
    .slice(-order.count)
    .filter(({ openedMs, failure }) => openedMs === 0 && failure === null);
  for (const stream of pending)
    if (now - stream.startedMs > CONNECT_TIMEOUT_MS) fail(stream, "connect: no answer");
  if (pending.length > 0) return now + 20;
  reactor.answer(order.id, counts());
  opening = null;
  return Infinity;
}

reactor.run((now) => {
  if (paused) return now + 20;
  return Math.max(Math.min(openMore(now), talk(now)), now + 1);
});
