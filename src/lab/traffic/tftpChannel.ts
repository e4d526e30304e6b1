// The messages of a session over TFTP (RFC 1350): a file is asked for at port 69 and comes from another port, so that a helper
// of connection tracking has to expect it. Each block is sent until it is acknowledged; a block is one message, and the file
// has no end.

import * as libc from "../../kernel/libc.ts";
import type { OpenChannel } from "./channels.ts";
import { MESSAGE_BYTES } from "./probe.ts";
import { openSocket, socketAddress } from "./sockets.ts";

const PORT_TFTP = 69;
const RRQ = 1;
const DATA = 3;
const ACK = 4;
const HEAD_BYTES = 4;
/** A shorter block would be the last one. */
const BLOCK_BYTES = 512;

const be16 = (value: number): readonly number[] => [(value >> 8) & 0xff, value & 0xff];
const numberOf = (bytes: Uint8Array): number => (bytes[2]! << 8) | bytes[3]!;
const hex = (message: Uint8Array): string => Buffer.from(message).toString("hex");

export const overTftp: OpenChannel = ({ seat, reactor, events }) => {
  const what = { type: libc.SOCK_DGRAM, protocol: libc.IPPROTO_UDP };
  const door = openSocket(seat.farPid, what, [socketAddress(seat.far, PORT_TFTP), null]);
  const far = openSocket(seat.farPid, what, [socketAddress(seat.far, 0), null]);
  const near = openSocket(seat.nearPid, what, [socketAddress(seat.near, 0), null]);
  const buffer = new Uint8Array(2048);
  const sender = socketAddress(seat.far, 0);
  let client: Uint8Array | null = null;
  let block: Uint8Array | null = null;
  let number = 0;
  let taken = 0;
  const each = (fd: number, take: (bytes: Uint8Array) => void): void =>
    reactor.watch(fd, libc.POLLIN, () => {
      for (;;) {
        const count = libc.recvfrom(fd, buffer, 0, sender);
        if (count === -libc.errno.EAGAIN!) return;
        if (count < 0) return events.fail(libc.errnoName(-count));
        take(buffer.slice(0, count));
      }
    });
  each(door, (bytes) => {
    client ??= sender.slice();
    const name = Buffer.from(bytes.subarray(2)).toString("latin1").split("\0")[0]!;
    events.atFar(new Uint8Array(Buffer.from(name, "hex")));
  });
  each(far, (bytes) => {
    if (bytes[1] === ACK && numberOf(bytes) === number) block = null;
  });
  each(near, (bytes) => {
    if (bytes[1] !== DATA) return;
    const acknowledgement = Uint8Array.from([0, ACK, ...bytes.subarray(2, 4)]);
    libc.sendto(near, acknowledgement, acknowledgement.length, libc.MSG_NOSIGNAL, sender);
    // The one before: its acknowledgement was lost.
    if (numberOf(bytes) !== ((taken + 1) & 0xffff)) return;
    taken += 1;
    events.atNear(bytes.slice(HEAD_BYTES, HEAD_BYTES + MESSAGE_BYTES));
  });
  events.ready();
  const door69 = socketAddress(seat.far, PORT_TFTP);
  return {
    near: (message) => {
      const request = Buffer.from(`\0${String.fromCharCode(RRQ)}${hex(message)}\0octet\0`, "latin1");
      libc.sendto(near, request, request.length, libc.MSG_NOSIGNAL, door69);
    },
    // One block is on its way at a time: what is due meanwhile repeats it.
    far: (message) => {
      if (client === null) return;
      if (block === null) {
        number = (number + 1) & 0xffff;
        block = new Uint8Array(HEAD_BYTES + BLOCK_BYTES);
        block.set([0, DATA, ...be16(number), ...message]);
      }
      libc.sendto(far, block, block.length, libc.MSG_NOSIGNAL, client);
    },
  };
};
