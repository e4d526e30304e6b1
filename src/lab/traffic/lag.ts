// A traffic process: how far the standby's kernel is behind the active's, seen from neither daemon. A host sends probes, each
// a session of its own, and this process listens to the session events of both kernels: from the moment in which the active's
// kernel has a probe with its answer, to the moment in which the standby's kernel has it.

import { parseAddress } from "../../base/addresses.ts";
import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { PORT_BACKGROUND } from "./ports.ts";
import { type ProbeEvent, readProbeEvent } from "./probeEvent.ts";
import { createReactor, type Order } from "./reactor.ts";
import { inside, openUdp, socketAddress } from "./sockets.ts";
import { percentile, round } from "./survival.ts";

interface Start extends Order {
  readonly kind: "start";
  /** Holder of the probing host's namespace, and an IPv4 address in it that nobody else uses. */
  readonly host: number;
  readonly address: string;
  readonly server: string;
  /** UDP ports of the server that answer. */
  readonly ports: number;
  /** Holders of the nodes' namespaces. */
  readonly active: number;
  readonly standby: number;
  readonly intervalMs: number;
}

export interface LagReport {
  readonly probes: number;
  /** Probes that the active's kernel never had with an answer: the network's loss, not replication's. */
  readonly unanswered: number;
  /** Probes that the standby's kernel never had. */
  readonly missing: number;
  readonly lagMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

interface Probe {
  activeMs: number;
  standbyMs: number;
}

const NETLINK_NETFILTER = 12;
/** NFNLGRP_CONNTRACK_NEW and NFNLGRP_CONNTRACK_UPDATE as bits of the old kind of group mask (nfnetlink_compat.h). */
const GROUPS = 0b11;
const RECEIVE_BYTES = 8 << 20;
/** Where an event of ctnetlink has its original source: after the headers of message, tuple, addresses, address. */
const SOURCE_AT = 16 + 4 + 4 + 4 + 4;

const reactor = createReactor(onOrder);
const buffer = new Uint8Array(8192);
const probes = new Map<number, Probe>();
let order: Start | null = null;
let sockets: number[] = [];
let listeners: number[] = [];
let sent = 0;
let dueMs = Infinity;

function onOrder(received: Order): void {
  if (received.kind === "start") start(received as Start);
  else if (received.kind === "stop") dueMs = Infinity;
  else if (received.kind === "mark") probes.clear();
  reactor.answer(received.id, received.kind === "report" ? report() : {});
}

function start(received: Start): void {
  for (const fd of [...sockets, ...listeners]) {
    reactor.forget(fd);
    libc.close(fd);
  }
  probes.clear();
  [order, sockets, sent, dueMs] = [received, [], 0, nowMs()];
  listeners = [
    listen(received.active, received.address, (event, now) => {
      const probe = probes.get(event.ports);
      if (probe !== undefined && probe.activeMs === 0 && event.replied) probe.activeMs = now;
    }),
    listen(received.standby, received.address, (event, now) => {
      const probe = probes.get(event.ports);
      if (probe !== undefined && probe.standbyMs === 0) probe.standbyMs = now;
    }),
  ];
}

/** Hears of the probes' sessions alone: the others are left out in the kernel. */
function listen(pid: number, address: string, onEvent: (event: ProbeEvent, now: number) => void): number {
  const source = new DataView(parseAddress(address)!.bytes.slice().buffer).getUint32(0);
  const fd = inside(pid, () => {
    const type = libc.SOCK_RAW | libc.SOCK_NONBLOCK;
    const socket = libc.socket(libc.AF_NETLINK, type, NETLINK_NETFILTER, "listen to sessions");
    libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_RCVBUF, RECEIVE_BYTES, "size a listener");
    // Load word, jump if equal, return (classic BPF).
    libc.attachFilter(
      socket,
      [
        [0x20, 0, 0, SOURCE_AT],
        [0x15, 0, 1, source],
        [0x06, 0, 0, 0xffffffff],
        [0x06, 0, 0, 0],
      ],
      "listen to probes alone",
    );
    const netlink = new Uint8Array(12);
    const view = new DataView(netlink.buffer);
    view.setUint16(0, libc.AF_NETLINK, libc.LITTLE_ENDIAN);
    view.setUint32(8, GROUPS, libc.LITTLE_ENDIAN);
    libc.bind(socket, netlink, "listen to sessions");
    return socket;
  });
  reactor.watch(fd, libc.POLLIN, () => {
    const now = nowMs();
    for (let count = libc.recv(fd, buffer); count > 0; count = libc.recv(fd, buffer)) {
      const event = readProbeEvent(buffer.subarray(0, count));
      if (event !== null) onEvent(event, now);
    }
  });
  return fd;
}

function probe({ host, address, server, ports }: Start): void {
  const turn = Math.floor(sent / ports);
  if (turn === sockets.length) {
    const fd = openUdp(host, socketAddress(address, 0));
    reactor.watch(fd, libc.POLLIN, () => {
      while (libc.recv(fd, buffer) >= 0);
    });
    sockets.push(fd);
  }
  const fd = sockets[turn]!;
  const own = new Uint8Array(16);
  libc.getsockname(fd, own);
  const port = PORT_BACKGROUND + (sent % ports);
  probes.set((((own[2]! << 8) | own[3]!) * 65536 + port) >>> 0, { activeMs: 0, standbyMs: 0 });
  libc.sendto(fd, own, own.length, libc.MSG_NOSIGNAL, socketAddress(server, port));
  sent += 1;
}

function report(): LagReport {
  const known = [...probes.values()].filter(({ activeMs }) => activeMs > 0);
  const there = known.filter(({ standbyMs }) => standbyMs > 0);
  const lags = there
    .map(({ activeMs, standbyMs }) => Math.max(0, standbyMs - activeMs))
    .sort((one, other) => one - other);
  const at = (share: number): number => round(percentile(lags, share));
  return {
    probes: probes.size,
    unanswered: probes.size - known.length,
    missing: known.length - there.length,
    lagMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
  };
}

reactor.run((now) => {
  if (order === null || dueMs > now) return dueMs;
  probe(order);
  dueMs += order.intervalMs;
  if (dueMs <= now) dueMs = now + order.intervalMs;
  return dueMs;
});
