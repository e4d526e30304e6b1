// A process that looks at the nodes' switch ports: every frame that claims (its source is a virtual MAC, or it answers
// ARP for a shared address), with the kernel's own time and in the kernel's order: one socket over all ports, so that
// "who spoke first" is never a question of who was read first. It writes down runs of frames; claimants.ts judges.

import * as libc from "../../kernel/libc.ts";
import type { ClaimRun } from "../claimants.ts";
import { wallClockOffsetMs } from "../clock.ts";
import { createReactor, type Order } from "./reactor.ts";
import { inside } from "./sockets.ts";

export interface CapturePort {
  /** Device in the namespace `switch`: `a-lan`. */
  readonly device: string;
  readonly node: string;
  readonly segment: string;
}

interface Start extends Order {
  readonly kind: "start";
  /** Holder of the namespace `switch`. */
  readonly pid: number;
  readonly ports: readonly CapturePort[];
  /** 6 bytes each. */
  readonly virtualMacs: readonly (readonly number[])[];
  /** Shared IPv4 addresses, 4 bytes each. */
  readonly shared: readonly (readonly number[])[];
}

const ETH_P_ALL = 3;
const ETH_P_ARP = 0x0806;
const ARP_REPLY = 2;
const FRAME_BYTES = 42;
const BATCH = 256;
/** struct cmsghdr (16) and struct timespec (16). */
const CONTROL_BYTES = 32;
/** Frames further apart than this are two runs. */
const RUN_GAP_MS = 200;
const RUNS_MAX = 200_000;
const RECEIVE_BYTES = 16 << 20;

const reactor = createReactor(onOrder);
const vector = libc.messageVector(BATCH, FRAME_BYTES, true, CONTROL_BYTES);
const control = new DataView(vector.control.buffer, vector.control.byteOffset, vector.control.length);
const addresses = new DataView(vector.addresses.buffer, vector.addresses.byteOffset, vector.addresses.length);
/** Wall clock (what the kernel stamps with) to the laboratory's clock. */
let offsetMs = 0;

const ports = new Map<number, CapturePort>();
const current = new Map<string, ClaimRun>();
let virtualMacs: readonly (readonly number[])[] = [];
let shared: readonly (readonly number[])[] = [];
let runs: ClaimRun[] = [];
let frames = 0;
let fd = -1;

function onOrder(order: Order): void {
  if (order.kind === "start") start(order as Start);
  if (order.kind === "stop") drain();
  reactor.answer(order.id, order.kind === "stop" ? { runs, frames, dropped: runs.length >= RUNS_MAX } : {});
  if (order.kind === "stop") {
    reactor.forget(fd);
    libc.close(fd);
    runs = [];
    frames = 0;
    current.clear();
  }
}

function start(order: Start): void {
  ({ virtualMacs, shared } = order);
  offsetMs = wallClockOffsetMs();
  fd = inside(order.pid, () => {
    ports.clear();
    for (const port of order.ports) ports.set(libc.interfaceIndex(port.device), port);
    const socket = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, "open a capture");
    libc.attachFilter(socket, filterOf([...ports.keys()], virtualMacs), "filter a capture");
    libc.setsockoptInt(socket, libc.SOL_PACKET, libc.PACKET_IGNORE_OUTGOING, 1, "capture one direction");
    libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_TIMESTAMPNS, 1, "ask for the kernel's time");
    // SO_RCVBUFFORCE is root's own; without it the kernel's limit has to do.
    try {
      libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, RECEIVE_BYTES, "size a capture");
    } catch {
      libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_RCVBUF, RECEIVE_BYTES, "size a capture");
    }
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
    view.setUint16(2, ETH_P_ALL);
    libc.bind(socket, address, "start a capture");
    return socket;
  });
  reactor.watch(fd, libc.POLLIN, drain);
}

// Classic BPF (linux/filter.h): load word, load half word, jump if equal, return.
const LD_W = 0x20;
const LD_H = 0x28;
const JEQ = 0x15;
const RET = 0x06;
/** SKF_AD_OFF + SKF_AD_IFINDEX: the receiving device, beside the packet. */
const AT_IFINDEX = 0xfffff008;

function filterOf(
  indexes: readonly number[],
  macs: readonly (readonly number[])[],
): readonly libc.FilterInstruction[] {
  const byPort: libc.FilterInstruction[] = [[LD_W, 0, 0, AT_IFINDEX]];
  indexes.forEach((index, position) => {
    byPort.push([JEQ, indexes.length - position, 0, index]);
  });
  byPort.push([RET, 0, 0, 0]);
  // Each MAC: four instructions; two more before and one behind them.
  const byMac: libc.FilterInstruction[] = [
    [LD_H, 0, 0, 12],
    [JEQ, macs.length * 4 + 1, 0, ETH_P_ARP],
  ];
  macs.forEach((mac, position) => {
    const toAccept = (macs.length - position - 1) * 4 + 1;
    byMac.push([LD_W, 0, 0, 6], [JEQ, 0, 2, word(mac, 0)]);
    byMac.push([LD_H, 0, 0, 10], [JEQ, toAccept, 0, (mac[4]! << 8) | mac[5]!]);
  });
  return [...byPort, ...byMac, [RET, 0, 0, 0], [RET, 0, 0, FRAME_BYTES]];
}

const word = (bytes: readonly number[], at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

function drain(): void {
  for (;;) {
    vector.reset();
    const count = libc.recvmmsg(fd, vector.headers, BATCH, libc.MSG_DONTWAIT);
    if (count <= 0) return;
    for (let slot = 0; slot < count; slot += 1) note(slot);
    if (count < BATCH) return;
  }
}

function note(slot: number): void {
  const at = slot * FRAME_BYTES;
  if (!isClaim(vector.buffer, at, vector.length(slot))) return;
  // struct sockaddr_ll: the device's index at 4.
  const port = ports.get(addresses.getInt32(slot * 32 + 4, libc.LITTLE_ENDIAN));
  if (port === undefined) return;
  frames += 1;
  const seconds = Number(control.getBigInt64(slot * CONTROL_BYTES + 16, libc.LITTLE_ENDIAN));
  const nanoseconds = Number(control.getBigInt64(slot * CONTROL_BYTES + 24, libc.LITTLE_ENDIAN));
  const atMs = seconds * 1000 + nanoseconds / 1e6 + offsetMs;
  const run = current.get(port.segment);
  if (run !== undefined && run.node === port.node && atMs - run.lastMs < RUN_GAP_MS) {
    run.lastMs = Math.max(run.lastMs, atMs);
    run.frames += 1;
    return;
  }
  const next = { segment: port.segment, node: port.node, firstMs: atMs, lastMs: atMs, frames: 1 };
  current.set(port.segment, next);
  if (runs.length < RUNS_MAX) runs.push(next);
}

function matches(bytes: Uint8Array, at: number, wanted: readonly number[]): boolean {
  for (let index = 0; index < wanted.length; index += 1)
    if (bytes[at + index] !== wanted[index]) return false;
  return true;
}

/** A frame from a virtual MAC; or an ARP answer for a shared address, whoever sends it. */
function isClaim(bytes: Uint8Array, at: number, length: number): boolean {
  for (const mac of virtualMacs) if (matches(bytes, at + 6, mac)) return true;
  if (length < FRAME_BYTES || bytes[at + 12] !== 0x08 || bytes[at + 13] !== 0x06) return false;
  if (bytes[at + 21] !== ARP_REPLY) return false;
  return shared.some((address) => matches(bytes, at + 28, address));
}

reactor.run(() => Infinity);
