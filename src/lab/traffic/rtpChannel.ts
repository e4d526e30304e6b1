// The voice of a call (RTP, RFC 3550) whose two ends were told by SIP where to send it. The far end sends to where the words
// said, which is the near end only if a helper of connection tracking has changed the words and lets it in.

import { formatAddress, parseAddress } from "../../base/addresses.ts";
import * as libc from "../../kernel/libc.ts";
import type { OpenChannel } from "./channels.ts";
import { openSocket, socketAddress } from "./sockets.ts";

const HEAD_BYTES = 12;
/** Version 2, payload type 0 (PCMU). */
const VERSION_AND_TYPE = [0x80, 0];

export const overRtp: OpenChannel = ({ seat, reactor, events }) => {
  const { voice } = seat;
  if (voice === undefined) throw new Error("no call was set up for this session");
  const what = { type: libc.SOCK_DGRAM, protocol: libc.IPPROTO_UDP };
  const [nearEnd, farEnd] = [
    socketAddress(seat.near, voice.nearPort),
    socketAddress(seat.far, voice.farPort),
  ];
  const near = openSocket(seat.nearPid, what, [nearEnd, farEnd]);
  const far = openSocket(seat.farPid, what, [farEnd, null]);
  const announced = socketAddress(voice.announced.address, voice.announced.port);
  const buffer = new Uint8Array(2048);
  const sender = socketAddress(seat.far, 0);
  let number = 0;
  const dress = (message: Uint8Array): Uint8Array => {
    number = (number + 1) & 0xffff;
    const head = new Uint8Array(HEAD_BYTES);
    head.set([...VERSION_AND_TYPE, number >> 8, number & 0xff]);
    return Uint8Array.from([...head, ...message]);
  };
  const read = (fd: number, take: (message: Uint8Array) => void): void =>
    reactor.watch(fd, libc.POLLIN, () => {
      for (;;) {
        const count = libc.recvfrom(fd, buffer, 0, sender);
        if (count === -libc.errno.EAGAIN!) return;
        if (count < 0) return events.fail(libc.errnoName(-count));
        take(buffer.slice(HEAD_BYTES, count));
      }
    });
  read(near, events.atNear);
  read(far, (message) => {
    // Whoever listens to a call wants the voice from where it was announced.
    const isV4 = seat.family === 4;
    const from = sender.subarray(isV4 ? 4 : 8, isV4 ? 8 : 24);
    const wanted = parseAddress(voice.announced.address)!.bytes;
    if (!wanted.every((byte, index) => byte === from[index]))
      events.fail(`its voice comes from ${formatAddress(from)}, announced was ${voice.announced.address}`);
    events.atFar(message);
  });
  events.ready();
  const send = (result: number): void => {
    if (result < 0 && result !== -libc.errno.EAGAIN!) events.fail(libc.errnoName(-result));
  };
  return {
    near: (message) => {
      const bytes = dress(message);
      send(libc.send(near, bytes, bytes.length, libc.MSG_NOSIGNAL));
    },
    far: (message) => {
      const bytes = dress(message);
      send(libc.sendto(far, bytes, bytes.length, libc.MSG_NOSIGNAL, announced));
    },
  };
};
