// The messages of a session over SCTP: two associations of our own (sctp.ts) on raw sockets. A packet with a wrong checksum
// or tag is passed over, as an SCTP endpoint has to: a session that gets nothing else falls silent, and that is seen.

import * as libc from "../../kernel/libc.ts";
import { type OpenChannel, openRawEnds, portOf } from "./channels.ts";
import { associate, repeat, type SctpEnd, sctpEnd, sendMessage, takePacket } from "./sctp.ts";
import { socketAddress } from "./sockets.ts";

export const IPPROTO_SCTP = 132;
const NEAR_PORT = 40_000;
const TURN_MS = 20;

export const overSctp: OpenChannel = ({ kind, seat, reactor, events, clock }) => {
  const ends = openRawEnds(seat, IPPROTO_SCTP);
  const nearPort = NEAR_PORT + seat.seed;
  const near = sctpEnd(nearPort, portOf(kind), 0x4e000000 + seat.seed);
  const far = sctpEnd(portOf(kind), nearPort, 0x46000000 + seat.seed);
  const sender = socketAddress(seat.far, 0);
  const buffer = new Uint8Array(2048);
  let first: Uint8Array | null = null;
  let ready = false;
  const send = (end: SctpEnd, packet: Uint8Array): void => {
    const result =
      end === near
        ? libc.send(ends.near, packet, packet.length, libc.MSG_NOSIGNAL)
        : first === null
          ? 0
          : libc.sendto(ends.far, packet, packet.length, 0, first);
    if (result < 0 && result !== -libc.errno.EAGAIN!) events.fail(libc.errnoName(-result));
  };
  const take = (end: SctpEnd, packet: Uint8Array): void => {
    const { answers, messages } = takePacket(end, packet, clock());
    for (const answer of answers) send(end, answer);
    for (const message of messages) (end === near ? events.atNear : events.atFar)(message);
    if (ready || near.state !== "established") return;
    ready = true;
    events.ready();
  };
  const watch = (end: SctpEnd, fd: number): void =>
    reactor.watch(fd, libc.POLLIN, () => {
      for (;;) {
        const count = libc.recvfrom(fd, buffer, 0, sender);
        if (count === -libc.errno.EAGAIN!) return;
        if (count < 0) return events.fail(libc.errnoName(-count));
        const packet = ends.strip(buffer.slice(0, count));
        if (end === far) {
          first ??= sender.slice();
          if (!first.every((byte, index) => byte === sender[index])) events.fail("its translation changed");
        }
        take(end, packet);
      }
    });
  watch(near, ends.near);
  watch(far, ends.far);
  send(near, associate(near, clock()));
  return {
    near: (message) => send(near, sendMessage(near, message, clock())),
    far: (message) => send(far, sendMessage(far, message, clock())),
    turn: (now) => {
      for (const end of [near, far]) {
        const again = repeat(end, now);
        if (again !== null) send(end, again);
      }
      return now + TURN_MS;
    },
  };
};
