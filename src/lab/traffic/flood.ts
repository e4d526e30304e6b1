// A traffic process: datagrams to port 1148 in masses, with any source address, from a host of the LAN, as an attacker
// there would send them. Raw frames, so that neither routing nor the host's own address has a say.

import { parseAddress, parseMac } from "../../base/addresses.ts";
import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import { createReactor, type Order } from "./reactor.ts";
import { inside } from "./sockets.ts";

export interface FloodTarget {
  readonly mac: string;
  /** IPv4 addresses. */
  readonly source: string;
  readonly destination: string;
}

interface Start extends Order {
  readonly kind: "start";
  /** Holder of the attacker's namespace. */
  readonly pid: number;
  readonly device: string;
  /** Taken in turn. */
  readonly targets: readonly FloodTarget[];
  /** Datagrams a second, all targets together. */
  readonly rate: number;
}

const PORT = 1148;
/** About as long as a heartbeat. */
const PAYLOAD_BYTES = 128;
const FRAME_BYTES = 14 + 20 + 8 + PAYLOAD_BYTES;
const BATCH = 128;
const TICK_MS = 1;
/** What a stalled machine has not sent is not caught up with beyond this. */
const CATCH_UP_MS = 20;

const reactor = createReactor(onOrder);
const vector = libc.messageVector(BATCH, FRAME_BYTES);
let fd = -1;
let rate = 0;
let sent = 0;
let startedMs = 0;
let lastMs = 0;

function onOrder(order: Order): void {
  if (order.kind === "start") start(order as Start);
  else rate = 0;
  reactor.answer(order.id, { sent, seconds: (nowMs() - startedMs) / 1000 });
}

function start(order: Start): void {
  if (fd >= 0) libc.close(fd);
  fd = inside(order.pid, () => {
    const socket = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, "open a flood");
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
    view.setInt32(4, libc.interfaceIndex(order.device), libc.LITTLE_ENDIAN);
    libc.bind(socket, address, "start a flood");
    return socket;
  });
  for (let slot = 0; slot < BATCH; slot += 1)
    vector.buffer.set(frameOf(order.targets[slot % order.targets.length]!), slot * FRAME_BYTES);
  ({ rate } = order);
  sent = 0;
  startedMs = nowMs();
  lastMs = startedMs;
}

/** Ethernet, IPv4 with hop limit 255 as a neighbour's would have, UDP without checksum, and nonsense. */
function frameOf(target: FloodTarget): Uint8Array {
  const frame = new Uint8Array(FRAME_BYTES);
  const view = new DataView(frame.buffer);
  frame.set(parseMac(target.mac)!, 0);
  frame.set([0x02, 0xba, 0xdb, 0xad, 0x00, 0x01], 6);
  view.setUint16(12, 0x0800);
  frame.set([0x45, 0], 14);
  view.setUint16(16, FRAME_BYTES - 14);
  frame.set([255, libc.IPPROTO_UDP], 22);
  frame.set(parseAddress(target.source)!.bytes, 26);
  frame.set(parseAddress(target.destination)!.bytes, 30);
  view.setUint16(24, headerChecksum(view));
  view.setUint16(34, PORT);
  view.setUint16(36, PORT);
  view.setUint16(38, 8 + PAYLOAD_BYTES);
  return frame.fill(0x5a, 42);
}

function headerChecksum(view: DataView): number {
  let total = 0;
  for (let at = 14; at < 34; at += 2) total += view.getUint16(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
  return ~total & 0xffff;
}

reactor.run((now) => {
  if (rate === 0) return Infinity;
  let due = Math.floor((Math.min(now - lastMs, CATCH_UP_MS) * rate) / 1000);
  lastMs = now;
  while (due > 0) {
    const count = libc.sendmmsg(fd, vector.headers, Math.min(due, BATCH), 0);
    if (count <= 0) break;
    sent += count;
    due -= count;
  }
  return now + TICK_MS;
});
