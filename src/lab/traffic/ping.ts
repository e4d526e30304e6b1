// A traffic process: UDP pings at a steady pace, and (in another process) their far end. Loss is counted by sequence
// number, so that late is not lost; the gap is the longest silence of any one flow.

import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { readUint32, writeUint32 } from "./content.ts";
import { PORT_PING } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { openUdp, socketAddress } from "./sockets.ts";

interface Answering extends Order {
  readonly kind: "answer";
  readonly pid: number;
  readonly addresses: readonly string[];
}

export interface PingFlow {
  readonly pid: number;
  readonly address: string;
  readonly port: number;
  readonly server: string;
}

interface Start extends Order {
  readonly kind: "start";
  readonly flows: readonly PingFlow[];
  readonly intervalMs: number;
}

interface Flow {
  readonly fd: number;
  readonly remote: Uint8Array;
  sent: number;
  /** Sequence number of the first ping after the mark. */
  markedAt: number;
  arrived: Uint8Array;
  lastMs: number;
  gapMs: number;
}

const PING_BYTES = 16;
/** What is not back this long after the last ping is lost. */
const LINGER_MS = 1000;

const reactor = createReactor(onOrder);
const buffer = new Uint8Array(64);
const from = new Uint8Array(28);
const message = new Uint8Array(PING_BYTES);
let flows: Flow[] = [];
let intervalMs = Infinity;
let dueMs = Infinity;
let markedMs = 0;
let stopping: { readonly order: Order; readonly atMs: number } | null = null;

function onOrder(order: Order): void {
  if (order.kind === "answer") {
    for (const address of (order as Answering).addresses) answerPings((order as Answering).pid, address);
    reactor.answer(order.id, { ok: true });
  } else if (order.kind === "start") {
    start(order as Start);
    reactor.answer(order.id, { ok: true });
  } else if (order.kind === "resume") {
    dueMs = nowMs();
    for (const flow of flows) flow.lastMs = dueMs;
    reactor.answer(order.id, {});
  } else if (order.kind === "mark") {
    markedMs = nowMs();
    for (const flow of flows) Object.assign(flow, { markedAt: flow.sent, gapMs: 0 });
    reactor.answer(order.id, { atMs: markedMs });
  } else if (order.kind === "stop") {
    stopping = { order, atMs: nowMs() };
    dueMs = Infinity;
    // The silence that lasts when we stop counts as well.
    for (const flow of flows) noteGap(flow, stopping.atMs);
  }
}

function answerPings(pid: number, address: string): void {
  const local = socketAddress(address, PORT_PING);
  const fd = openUdp(pid, local);
  const sender = new Uint8Array(local.length);
  reactor.watch(fd, libc.POLLIN, () => {
    for (;;) {
      const count = libc.recvfrom(fd, buffer, 0, sender);
      if (count < 0) return;
      libc.sendto(fd, buffer, count, libc.MSG_NOSIGNAL, sender);
    }
  });
}

function start(order: Start): void {
  for (const flow of flows) {
    reactor.forget(flow.fd);
    libc.close(flow.fd);
  }
  flows = order.flows.map((spec) => {
    const fd = openUdp(spec.pid, socketAddress(spec.address, spec.port));
    const flow: Flow = {
      fd,
      remote: socketAddress(spec.server, PORT_PING),
      sent: 0,
      markedAt: 0,
      arrived: new Uint8Array(65536),
      lastMs: nowMs(),
      gapMs: 0,
    };
    reactor.watch(fd, libc.POLLIN, () => receive(flow));
    return flow;
  });
  intervalMs = order.intervalMs;
  markedMs = nowMs();
  dueMs = markedMs;
}

function receive(flow: Flow): void {
  for (;;) {
    const count = libc.recvfrom(flow.fd, buffer, 0, from);
    if (count < 0) return;
    if (count !== PING_BYTES) continue;
    flow.arrived[readUint32(buffer, 0)] = 1;
    const now = nowMs();
    if (stopping === null) noteGap(flow, now);
    flow.lastMs = now;
  }
}

function noteGap(flow: Flow, now: number): void {
  flow.gapMs = Math.max(flow.gapMs, now - Math.max(flow.lastMs, markedMs));
}

function send(flow: Flow): void {
  if (flow.sent === flow.arrived.length) {
    const larger = new Uint8Array(flow.arrived.length * 2);
    larger.set(flow.arrived);
    flow.arrived = larger;
  }
  writeUint32(message, 0, flow.sent);
  flow.sent += 1;
  libc.sendto(flow.fd, message, PING_BYTES, libc.MSG_NOSIGNAL, flow.remote);
}

function finish(order: Order): void {
  const reports = flows.map((flow) => {
    let lost = 0;
    for (let sequence = flow.markedAt; sequence < flow.sent; sequence += 1)
      if (flow.arrived[sequence] === 0) lost += 1;
    return { sent: flow.sent - flow.markedAt, lost, gapMs: flow.gapMs };
  });
  stopping = null;
  reactor.answer(order.id, { flows: reports });
}

reactor.run((now) => {
  if (stopping !== null && now >= stopping.atMs + LINGER_MS) finish(stopping.order);
  if (stopping !== null) return stopping.atMs + LINGER_MS;
  if (dueMs <= now) {
    for (const flow of flows) send(flow);
    dueMs += intervalMs;
    // A machine that stood still owes no burst.
    if (dueMs <= now) dueMs = now + intervalMs;
  }
  return dueMs;
});
