// A generator of sessions, as a process of its own: completed TCP handshakes, or UDP flows with an answer, as raw frames on
// both sides of the node between them, so that its kernel sees and translates every packet while no kernel
// holds a socket for one. It is told all in one argument (JSON, `Order`) and says what it did in one line (`Done`).
// Frames go out and come in by the hundred, and none is parsed: an answer is the frame itself, turned around.

import { parseAddress, parseMac } from "../src/base/addresses.ts";
import * as libc from "../src/kernel/libc.ts";
import { inside } from "../src/lab/traffic/sockets.ts";

export interface Order {
  readonly protocol: "tcp" | "udp";
  /** Sessions to make, and the number of the first: those with other numbers are other sessions. */
  readonly count: number;
  readonly first: number;
  /** Sessions begun a second; 0: as many as go through. */
  readonly rate: number;
  /** The client's namespace (a process id), device, addresses; and the router's on that wire. */
  readonly client: {
    readonly pid: number;
    readonly device: string;
    readonly mac: string;
    readonly v4: string;
  };
  readonly routerMac: string;
  /** Where sessions come out: any of these. */
  readonly servers: readonly { readonly pid: number; readonly device: string }[];
  readonly server: string;
}

export interface Done {
  /** Sessions whose last packet was sent. */
  readonly completed: number;
  /** First packets that were sent once more, for no answer came. */
  readonly repeated: number;
  readonly seconds: number;
}

const ETH_P_ALL = 3;
const BATCH = 128;
const FRAME_BYTES_MAX = 128;
const RECEIVE_BYTES = 32 << 20;
/** Sessions under way at a time: below what a processor's backlog takes (netdev_max_backlog, 1000). */
const WINDOW = 384;
/** An answer that is not there by then was lost. */
const LOST_AFTER_MS = 300;
const PORTS = 60_000;
const PORT_FIRST = 2000;
const SERVER_PORT_FIRST = 8000;

// Offsets into an Ethernet frame with an IPv4 header without options.
const IP = 14;
const L4 = IP + 20;
const TCP_SEQUENCE = L4 + 4;
const TCP_FLAGS = L4 + 13;
const TCP_CHECKSUM = L4 + 16;
const SYN = 0x02;
const ACK = 0x10;
const CLIENT_SEQUENCE = 1000;
const SERVER_SEQUENCE = 5000;

interface Port {
  readonly fd: number;
  readonly received: ReturnType<typeof libc.messageVector>;
  readonly out: ReturnType<typeof libc.messageVector>;
  waiting: number;
}

/** Frames whose IPv4 address at `offset` is `address`, and no others. */
function openPort(pid: number, device: string, offset: number, address: string): Port {
  const value = new DataView(parseAddress(address)!.bytes.slice().buffer).getUint32(0);
  const fd = inside(pid, () => {
    const socket = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, `frames of ${device}`);
    libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, RECEIVE_BYTES, "size a frame socket");
    libc.setsockoptInt(socket, libc.SOL_PACKET, libc.PACKET_IGNORE_OUTGOING, 1, "hear others alone");
    // Load the protocol and compare; load the address and compare (classic BPF).
    libc.attachFilter(
      socket,
      [
        [0x28, 0, 0, 12],
        [0x15, 0, 3, 0x0800],
        [0x20, 0, 0, offset],
        [0x15, 0, 1, value],
        [0x06, 0, 0, 0xffff],
        [0x06, 0, 0, 0],
      ],
      "hear the generator's frames alone",
    );
    const local = new Uint8Array(20);
    const view = new DataView(local.buffer);
    view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
    view.setUint16(2, ETH_P_ALL, false);
    view.setInt32(4, libc.interfaceIndex(device), libc.LITTLE_ENDIAN);
    libc.bind(socket, local, `frames of ${device}`);
    return socket;
  });
  const vector = (): ReturnType<typeof libc.messageVector> => libc.messageVector(BATCH, FRAME_BYTES_MAX);
  return { fd, received: vector(), out: vector(), waiting: 0 };
}

/** Sends what waits on `port`; what the kernel does not take is lost, and found lost like anything else. */
function flush(port: Port): void {
  if (port.waiting > 0) libc.sendmmsg(port.fd, port.out.headers, port.waiting, libc.MSG_DONTWAIT);
  port.waiting = 0;
}

/** The next slot to be sent, `length` long. */
function slot(port: Port, length: number): number {
  if (port.waiting === BATCH) flush(port);
  const index = port.waiting;
  port.waiting += 1;
  port.out.setLength(index, length);
  return index * FRAME_BYTES_MAX;
}

const view16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}
function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
/** Adds without carry loss; both are sums of 16-bit words (RFC 1071). */
const fold = (sum: number): number => {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
};
function sumOf(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at < end; at += 2) sum += view16(bytes, at);
  return sum;
}

/** Turns the frame in `from` at `start` around into a slot of `port`: addresses and ports change places, sums stay right. */
function turn(port: Port, from: Uint8Array, start: number, length: number): number {
  const at = slot(port, length);
  const to = port.out.buffer;
  for (let index = 0; index < length; index += 1) to[at + index] = from[start + index]!;
  swap(to, at, at + 6, 6);
  swap(to, at + IP + 12, at + IP + 16, 4);
  swap(to, at + L4, at + L4 + 2, 2);
  return at;
}
function swap(bytes: Uint8Array, one: number, other: number, length: number): void {
  for (let index = 0; index < length; index += 1) {
    const kept = bytes[one + index]!;
    bytes[one + index] = bytes[other + index]!;
    bytes[other + index] = kept;
  }
}

/** Writes sequence, acknowledgement and flags of a TCP frame, and carries the difference into its checksum. */
function setTcp(bytes: Uint8Array, at: number, sequence: number, acknowledged: number, flags: number): void {
  const before = sumOf(bytes, at + TCP_SEQUENCE, at + TCP_FLAGS + 1);
  put32(bytes, at + TCP_SEQUENCE, sequence);
  put32(bytes, at + TCP_SEQUENCE + 4, acknowledged);
  bytes[at + TCP_FLAGS] = flags;
  const after = sumOf(bytes, at + TCP_SEQUENCE, at + TCP_FLAGS + 1);
  // RFC 1624: ~(~HC + ~m + m').
  const old = ~view16(bytes, at + TCP_CHECKSUM) & 0xffff;
  put16(bytes, at + TCP_CHECKSUM, ~fold(old + (~fold(before) & 0xffff) + fold(after)) & 0xffff);
}

/** The first packet of session 0, without ports; each session writes its own. */
function template(order: Order): Uint8Array {
  const tcp = order.protocol === "tcp";
  const length = tcp ? L4 + 20 : L4 + 8 + 8;
  const bytes = new Uint8Array(length);
  bytes.set(parseMac(order.routerMac)!, 0);
  bytes.set(parseMac(order.client.mac)!, 6);
  put16(bytes, 12, 0x0800);
  bytes[IP] = 0x45;
  put16(bytes, IP + 2, length - IP);
  bytes[IP + 6] = 0x40;
  bytes[IP + 8] = 64;
  bytes[IP + 9] = tcp ? libc.IPPROTO_TCP : libc.IPPROTO_UDP;
  bytes.set(parseAddress(order.client.v4)!.bytes, IP + 12);
  bytes.set(parseAddress(order.server)!.bytes, IP + 16);
  put16(bytes, IP + 10, ~fold(sumOf(bytes, IP, L4)) & 0xffff);
  if (tcp) {
    put32(bytes, TCP_SEQUENCE, CLIENT_SEQUENCE);
    bytes[L4 + 12] = 0x50;
    bytes[TCP_FLAGS] = SYN;
    put16(bytes, L4 + 14, 0xffff);
  } else put16(bytes, L4 + 4, 16);
  return bytes;
}

function generate(order: Order): Done {
  const tcp = order.protocol === "tcp";
  const client = openPort(order.client.pid, order.client.device, IP + 12, order.server);
  const servers = order.servers.map(({ pid, device }) => openPort(pid, device, IP + 16, order.server));
  const first = template(order);
  const checksumAt = tcp ? TCP_CHECKSUM : L4 + 6;
  // Pseudo header and what is the same in all of them.
  const common =
    sumOf(first, IP + 12, L4) + first[IP + 9]! + (first.length - L4) + sumOf(first, L4, first.length);
  const begin = (number: number): void => {
    const at = slot(client, first.length);
    const to = client.out.buffer;
    to.set(first, at);
    const source = PORT_FIRST + (number % PORTS);
    const destination = SERVER_PORT_FIRST + Math.floor(number / PORTS);
    put16(to, at + L4, source);
    put16(to, at + L4 + 2, destination);
    put16(to, at + checksumAt, ~fold(common + source + destination) & 0xffff);
  };
  const answered = new Uint8Array(order.count);
  let [begun, completed, repeated] = [0, 0, 0];
  const serve = (port: Port): number =>
    drain(port, (bytes, start, length) => {
      // What ends the handshake is not answered.
      if (tcp && bytes[start + TCP_FLAGS] !== SYN) return;
      const at = turn(port, bytes, start, length);
      if (tcp) setTcp(port.out.buffer, at, SERVER_SEQUENCE, CLIENT_SEQUENCE + 1, SYN | ACK);
    });
  const acknowledge = (): number =>
    drain(client, (bytes, start, length) => {
      const number =
        view16(bytes, start + L4 + 2) -
        PORT_FIRST +
        (view16(bytes, start + L4) - SERVER_PORT_FIRST) * PORTS -
        order.first;
      if (number < 0 || number >= order.count) return;
      if (answered[number] === 0) completed += 1;
      answered[number] = 1;
      if (!tcp) return;
      const at = turn(client, bytes, start, length);
      setTcp(client.out.buffer, at, CLIENT_SEQUENCE + 1, SERVER_SEQUENCE + 1, ACK);
    });
  const descriptors = libc.pollVector([client.fd, ...servers.map(({ fd }) => fd)]);
  const startMs = performance.now();
  let movedMs = startMs;
  while (completed < order.count) {
    const nowMs = performance.now();
    const due =
      order.rate === 0 ? order.count : Math.min(order.count, ((nowMs - startMs) * order.rate) / 1000);
    while (begun < due && begun - completed < WINDOW) {
      begin(order.first + begun);
      begun += 1;
    }
    flush(client);
    let moved = 0;
    for (const port of servers) moved += serve(port);
    moved += acknowledge();
    if (moved > 0) movedMs = nowMs;
    else if (nowMs - movedMs < LOST_AFTER_MS || begun === completed)
      libc.poll(descriptors, servers.length + 1, 1);
    else {
      movedMs = nowMs;
      for (let number = 0; number < begun; number += 1)
        if (answered[number] === 0) {
          begin(order.first + number);
          repeated += 1;
        }
    }
  }
  flush(client);
  return { completed, repeated, seconds: (performance.now() - startMs) / 1000 };
}

/** Hands every frame that waits on `port` to `visit`, then sends what came of it; returns how many there were. */
function drain(port: Port, visit: (bytes: Uint8Array, start: number, length: number) => void): number {
  let taken = 0;
  for (;;) {
    const count = libc.recvmmsg(port.fd, port.received.headers, BATCH, libc.MSG_DONTWAIT);
    if (count <= 0) break;
    for (let index = 0; index < count; index += 1)
      visit(port.received.buffer, index * FRAME_BYTES_MAX, port.received.length(index));
    flush(port);
    taken += count;
    if (count < BATCH) break;
  }
  return taken;
}

if (import.meta.main)
  process.stdout.write(`${JSON.stringify(generate(JSON.parse(process.argv[2]!) as Order))}\n`);
