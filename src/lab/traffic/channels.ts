// How the messages of a session travel: UDP and UDP-Lite, ICMP echo, raw IP protocols, TCP. Both ends are opened here, each
// in its namespace, and watched by the process's reactor. It says what arrives and what fails, and judges nothing but
// one thing: the far end of a session must keep hearing the same address and port.

import * as libc from "../../kernel/libc.ts";
import { KINDS, type KindName } from "../kinds.ts";
import { PORT_KINDS } from "./ports.ts";
import { type Channel, type ChannelEvents, MESSAGE_BYTES, type Seat } from "./probe.ts";
import type { Reactor } from "./reactor.ts";
import {
  connectError,
  connectTcp,
  listenTcp,
  openIcmp,
  openSocket,
  setNoDelay,
  socketAddress,
} from "./sockets.ts";

/** What opens a channel: where, for whom, and in whose loop. */
export interface ChannelSetting {
  readonly kind: KindName;
  readonly seat: Seat;
  readonly reactor: Reactor;
  readonly events: ChannelEvents;
  /** Milliseconds. */
  readonly clock: () => number;
}

export type OpenChannel = (setting: ChannelSetting) => Channel;

/** Where the far ends of a kind listen. */
export const portOf = (kind: KindName): number => PORT_KINDS + KINDS.indexOf(kind);

const buffer = new Uint8Array(65_536);

/** A send into a full queue is a lost packet, as on any wire; all else ends the session. */
function sent(result: number, events: ChannelEvents): void {
  if (result < 0 && result !== -libc.errno.EAGAIN! && result !== -libc.errno.ENOBUFS!)
    events.fail(libc.errnoName(-result));
}

/** Reads datagrams until there are none; false: the socket has an error. */
function drain(fd: number, events: ChannelEvents, take: (bytes: Uint8Array) => void): void {
  for (;;) {
    const count = libc.recv(fd, buffer);
    if (count === -libc.errno.EAGAIN!) return;
    if (count < 0) {
      events.fail(libc.errnoName(-count));
      return;
    }
    take(buffer.slice(0, count));
  }
}

interface Wire {
  readonly near: number;
  readonly far: number;
  /** Takes off and puts on what stands before a message. */
  readonly strip: (bytes: Uint8Array) => Uint8Array;
  readonly dress: (message: Uint8Array) => Uint8Array;
}

/** Two datagram sockets: the far one answers to where it first heard the near one, and wants to hear it from there. */
export function datagramChannel({ seat, reactor, events }: ChannelSetting, wire: Wire): Channel {
  const sender = socketAddress(seat.far, 0);
  let first: Uint8Array | null = null;
  reactor.watch(wire.near, libc.POLLIN, () =>
    drain(wire.near, events, (bytes) => events.atNear(wire.strip(bytes))),
  );
  reactor.watch(wire.far, libc.POLLIN, () => {
    for (;;) {
      const count = libc.recvfrom(wire.far, buffer, 0, sender);
      if (count < 0) return;
      if (first === null) first = sender.slice();
      else if (!isSame(first, sender)) events.fail("its translation changed");
      events.atFar(wire.strip(buffer.slice(0, count)));
    }
  });
  events.ready();
  return {
    near: (message) => {
      const bytes = wire.dress(message);
      sent(libc.send(wire.near, bytes, bytes.length, libc.MSG_NOSIGNAL), events);
    },
    far: (message) => {
      const bytes = wire.dress(message);
      if (first !== null) sent(libc.sendto(wire.far, bytes, bytes.length, 0, first), events);
    },
  };
}

/** Address and port; behind them IPv6 has a scope that says nothing here. */
const isSame = (one: Uint8Array, other: Uint8Array): boolean =>
  one.subarray(0, 24).every((byte, index) => byte === other[index]);

const same = (bytes: Uint8Array): Uint8Array => bytes;

/** UDP and its likes. `protocol`: 17, or 136 (UDP-Lite). */
export const overUdp =
  (protocol: number): OpenChannel =>
  (setting) => {
    const { seat, kind } = setting;
    const remote = socketAddress(seat.far, portOf(kind));
    const what = { type: libc.SOCK_DGRAM, protocol };
    return datagramChannel(setting, {
      far: openSocket(seat.farPid, what, [remote, null]),
      near: openSocket(seat.nearPid, what, [socketAddress(seat.near, 0), remote]),
      strip: same,
      dress: same,
    });
  };

/** Sockets of a raw IP protocol on both sides; what they read begins behind the IP header. */
export function openRawEnds(
  seat: Seat,
  protocol: number,
): Pick<Wire, "near" | "far"> & { strip: Wire["strip"] } {
  const [near, far] = [socketAddress(seat.near, 0), socketAddress(seat.far, 0)];
  const what = { type: libc.SOCK_RAW, protocol };
  return {
    far: openSocket(seat.farPid, what, [far, null]),
    near: openSocket(seat.nearPid, what, [near, far]),
    // raw(7): of IPv4 the whole packet is read, of IPv6 its payload.
    strip: seat.family === 4 ? (bytes) => bytes.subarray((bytes[0]! & 0x0f) * 4) : same,
  };
}

/** A protocol without ports: `head` stands before each message. */
export const overIp =
  (protocol: number, head: readonly number[]): OpenChannel =>
  (setting) => {
    const ends = openRawEnds(setting.seat, protocol);
    return datagramChannel(setting, {
      ...ends,
      strip: (bytes) => ends.strip(bytes).slice(head.length),
      dress: (message) => Uint8Array.from([...head, ...message]),
    });
  };

/** Head of an ICMP echo; identifier and checksum are the kernel's. */
const ECHO_HEAD_BYTES = 8;
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;

/** The far end is the far kernel: what comes back has been there. */
export const overIcmp: OpenChannel = ({ seat, reactor, events }) => {
  const fd = openIcmp(seat.nearPid, socketAddress(seat.near, 0));
  const remote = socketAddress(seat.far, 0);
  reactor.watch(fd, libc.POLLIN, () =>
    drain(fd, events, (bytes) => events.atFar(bytes.slice(ECHO_HEAD_BYTES))),
  );
  events.ready();
  return {
    near: (message) => {
      const bytes = Uint8Array.from([ECHO_REQUEST[seat.family], 0, 0, 0, 0, 0, 0, 0, ...message]);
      sent(libc.sendto(fd, bytes, bytes.length, libc.MSG_NOSIGNAL, remote), events);
    },
    far: (message) => events.atNear(message),
  };
};

/** A connection; both ends must read what the other wrote, byte by byte. */
export const overTcp: OpenChannel = ({ kind, seat, reactor, events }) => {
  const remote = socketAddress(seat.far, portOf(kind));
  const listener = listenTcp(seat.farPid, remote);
  let far = -1;
  reactor.watch(listener, libc.POLLIN, () => {
    const fd = libc.accept(listener);
    if (fd < 0) return;
    if (far >= 0) events.fail("connected twice");
    far = fd;
    setNoDelay(fd);
    reactor.watch(fd, libc.POLLIN, streamOf(fd, events, events.atFar));
  });
  const near = connectTcp(seat.nearPid, remote);
  const read = streamOf(near, events, events.atNear);
  let connected = false;
  reactor.watch(near, libc.POLLOUT, () => {
    if (connected) return read();
    const error = connectError(near);
    if (error !== 0) {
      reactor.forget(near);
      return events.fail(`connect: ${libc.errnoName(error)}`);
    }
    connected = true;
    reactor.change(near, libc.POLLIN);
    events.ready();
  });
  // A message is small against the send buffer, which holds minutes of them.
  const write = (fd: number, message: Uint8Array): void => {
    const count = libc.send(fd, message, message.length, libc.MSG_NOSIGNAL);
    if (count !== message.length) events.fail(count < 0 ? libc.errnoName(-count) : "a full send buffer");
  };
  return { near: (message) => write(near, message), far: (message) => write(far, message) };

  function streamOf(fd: number, to: ChannelEvents, take: (message: Uint8Array) => void): () => void {
    let pending: Uint8Array = new Uint8Array(0);
    return () => {
      const count = libc.recv(fd, buffer);
      if (count === -libc.errno.EAGAIN!) return;
      if (count <= 0) {
        reactor.forget(fd);
        return to.fail(count === 0 ? "closed by the other side" : libc.errnoName(-count));
      }
      pending = Uint8Array.from([...pending, ...buffer.subarray(0, count)]);
      while (pending.length >= MESSAGE_BYTES) {
        take(pending.slice(0, MESSAGE_BYTES));
        pending = pending.slice(MESSAGE_BYTES);
      }
    };
  }
};
