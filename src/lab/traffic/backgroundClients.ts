// A traffic process: many sessions that speak once, are answered once, and stay: the weight in the tables. Nothing is
// injected anywhere: each of them passes through the active node as packets. Mostly UDP (a few sockets a host times
// many ports of the server), a share of idle TCP connections and pings. Paced by what comes back.

import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { readUint32, writeUint32 } from "./content.ts";
import { PORT_BACKGROUND, PORT_IDLE } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { connectError, connectTcp, openIcmp, openUdp, socketAddress } from "./sockets.ts";

export interface BackgroundHost {
  readonly pid: number;
  /** One address a family in use. */
  readonly addresses: readonly string[];
}

interface Open extends Order {
  readonly kind: "open";
  readonly hosts: readonly BackgroundHost[];
  /** In the same order of families as the hosts' addresses. */
  readonly servers: readonly string[];
  readonly udp: number;
  readonly tcp: number;
  readonly icmp: number;
  /** UDP ports of the server. */
  readonly ports: number;
  /** UDP sessions a second at most. */
  readonly rate: number;
}

/** Datagrams under way at most. */
const WINDOW = 400;
/** What was not answered by then is sent again, */
const RETRY_MS = 400;
/** this often. */
const ROUNDS_MAX = 25;
const CONNECTING_MAX = 128;

const reactor = createReactor(onOrder);
const buffer = new Uint8Array(64);
const payload = new Uint8Array(16);
const kept: number[] = [];

interface UdpWork {
  readonly order: Open;
  readonly sockets: readonly { readonly fd: number; readonly family: number }[];
  readonly remotes: readonly (readonly Uint8Array[])[];
  answered: Uint8Array;
  done: number;
  next: number;
  underWay: number;
  round: number;
  lastMs: number;
  nextMs: number;
}
let udp: UdpWork | null = null;
let tcp: { readonly order: Open; started: number; connecting: number; done: number; failed: number } | null =
  null;
let pings: { readonly order: Open; readonly fds: number[]; done: number } | null = null;
/** While it is on nothing is sent. */
let paused = false;
let work: { readonly order: Open; readonly startMs: number } | null = null;

function onOrder(order: Order): void {
  if (order.kind === "open") begin(order as Open);
  else if (order.kind === "pause" || order.kind === "resume") {
    paused = order.kind === "pause";
    reactor.answer(order.id, {});
  }
  // The same sessions say the same again: what placed them once must place them alike.
  else if (order.kind === "again" && udp !== null) {
    Object.assign(udp, {
      answered: new Uint8Array(udp.order.udp),
      done: 0,
      next: 0,
      underWay: 0,
      round: 0,
      nextMs: nowMs(),
    });
    work = { order: { ...udp.order, id: order.id }, startMs: nowMs() };
  }
}

function begin(order: Open): void {
  work = { order, startMs: nowMs() };
  const perHost = Math.max(1, Math.ceil(order.udp / (order.hosts.length * order.ports)));
  const sockets = order.hosts.flatMap((host) =>
    Array.from({ length: perHost * host.addresses.length }, (_, index) => {
      const family = index % host.addresses.length;
      const fd = openUdp(host.pid, socketAddress(host.addresses[family]!, 0));
      reactor.watch(fd, libc.POLLIN, () => receiveUdp(fd));
      return { fd, family };
    }),
  );
  const remotes = order.servers.map((server) =>
    Array.from({ length: order.ports }, (_, index) => socketAddress(server, PORT_BACKGROUND + index)),
  );
  const now = nowMs();
  udp = {
    order,
    sockets,
    remotes,
    answered: new Uint8Array(order.udp),
    done: 0,
    next: 0,
    underWay: 0,
    round: 0,
    lastMs: now,
    nextMs: now,
  };
  tcp = { order, started: 0, connecting: 0, done: 0, failed: 0 };
  pings = { order, fds: openPings(order), done: 0 };
}

function sendUdp(state: UdpWork, index: number): void {
  const socket = state.sockets[index % state.sockets.length]!;
  const port = Math.floor(index / state.sockets.length) % state.order.ports;
  writeUint32(payload, 0, index);
  libc.sendto(
    socket.fd,
    payload,
    payload.length,
    libc.MSG_NOSIGNAL,
    state.remotes[socket.family % state.remotes.length]![port]!,
  );
}

function receiveUdp(fd: number): void {
  for (;;) {
    const count = libc.recv(fd, buffer);
    if (count < 0) return;
    if (udp === null || count !== payload.length) continue;
    const index = readUint32(buffer, 0);
    if (udp.answered[index] === 0) {
      udp.answered[index] = 1;
      udp.done += 1;
    }
    udp.underWay = Math.max(0, udp.underWay - 1);
    udp.lastMs = nowMs();
  }
}

/** Sends what may be sent now; returns when to look again. */
function turnUdp(state: UdpWork, now: number): number {
  if (state.done === state.order.udp || state.round > ROUNDS_MAX) return Infinity;
  if (state.underWay > 0 && now - state.lastMs > RETRY_MS) state.underWay = 0;
  // A turn sends no more than what is due: at most 5 ms worth of it.
  state.nextMs = Math.max(state.nextMs, now - 5);
  while (state.nextMs <= now && state.underWay < WINDOW) {
    if (state.next === state.order.udp) {
      // The round is over: wait for the last answers, then send again what is missing.
      if (state.underWay > 0) break;
      state.next = 0;
      state.round += 1;
      return now + 20;
    }
    if (state.answered[state.next] === 0) {
      sendUdp(state, state.next);
      state.underWay += 1;
      state.lastMs = now;
      state.nextMs += 1000 / state.order.rate;
    }
    state.next += 1;
  }
  return Math.max(now + 1, state.nextMs);
}

function turnTcp(now: number): number {
  if (tcp === null || tcp.done + tcp.failed === tcp.order.tcp) return Infinity;
  const { order } = tcp;
  while (tcp.started < order.tcp && tcp.connecting < CONNECTING_MAX) {
    const host = order.hosts[tcp.started % order.hosts.length]!;
    const family = Math.floor(tcp.started / order.hosts.length) % order.servers.length;
    const fd = connectTcp(host.pid, socketAddress(order.servers[family]!, PORT_IDLE));
    tcp.started += 1;
    tcp.connecting += 1;
    reactor.watch(fd, libc.POLLOUT, () => {
      const failed = connectError(fd) !== 0;
      reactor.forget(fd);
      kept.push(fd);
      if (tcp === null) return;
      tcp.connecting -= 1;
      if (failed) tcp.failed += 1;
      else tcp.done += 1;
    });
  }
  return now + 20;
}

function openPings(order: Open): number[] {
  return Array.from({ length: order.icmp }, (_, index) => {
    const host = order.hosts[index % order.hosts.length]!;
    const fd = openIcmp(host.pid, socketAddress(host.addresses[0]!, 0));
    reactor.watch(fd, libc.POLLIN, () => {
      if (libc.recv(fd, buffer) > 0 && pings !== null) {
        pings.done += 1;
        reactor.forget(fd);
      }
    });
    // ICMP echo request; the kernel fills in identifier and checksum.
    const request = new Uint8Array(16);
    request[0] = 8;
    libc.sendto(fd, request, request.length, libc.MSG_NOSIGNAL, socketAddress(order.servers[0]!, 0));
    return fd;
  });
}

reactor.run((now) => {
  if (udp === null || work === null) return Infinity;
  if (paused) return now + 20;
  const next = Math.min(turnUdp(udp, now), turnTcp(now));
  if (next !== Infinity) return next;
  const seconds = (now - work.startMs) / 1000;
  reactor.answer(work.order.id, {
    udp: udp.done,
    tcp: tcp?.done ?? 0,
    icmp: pings?.done ?? 0,
    repeats: udp.round,
    seconds,
  });
  work = null;
  return Infinity;
});
