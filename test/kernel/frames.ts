// A tap for tests: whole frames of one device, read without waiting, or waiting for a bounded time.

import * as libc from "../../src/kernel/libc.ts";

export const ETH_P_ALL_FRAMES = 3;

export interface Tap {
  send(frame: Uint8Array): number;
  /** Waits until a frame is there, at most `timeoutMs`. */
  wait(timeoutMs: number): void;
  drain(visit: (frame: Uint8Array) => void): void;
  close(): void;
}

/** `protocol` 0: for sending only. What the device itself sends is not seen. */
export function openTap(device: string, protocol: number): Tap {
  const type = libc.SOCK_RAW | libc.SOCK_NONBLOCK;
  const fd = libc.socket(libc.AF_PACKET, type, 0, `tap ${device}`);
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
  view.setUint16(2, protocol);
  view.setInt32(4, libc.interfaceIndex(device), libc.LITTLE_ENDIAN);
  libc.setsockoptInt(fd, libc.SOL_PACKET, libc.PACKET_IGNORE_OUTGOING, 1, `tap ${device}`);
  libc.bind(fd, address, `tap ${device}`);
  const pollEntry = libc.pollVector([fd]);
  const buffer = new Uint8Array(2048);
  return {
    send: (frame) => libc.send(fd, frame, frame.length, libc.MSG_DONTWAIT),
    wait: (timeoutMs) => {
      libc.poll(pollEntry, 1, timeoutMs);
    },
    drain: (visit) => {
      for (;;) {
        const length = libc.recv(fd, buffer, libc.MSG_DONTWAIT);
        if (length < 0) return;
        visit(buffer.subarray(0, length));
      }
    },
    close: () => libc.close(fd),
  };
}

/** IEEE 802 local experimental ethertype 2: nothing answers it, nothing forwards it. */
const BARRIER = [0x88, 0xb6] as const;

/**
 * Waits until what was sent from `outside` is through, `hops` devices deep. It mostly is when `send` returns, but a busy
 * machine leaves packets in its queue: then as many frames go the same way, one after the other, and are seen `inside`.
 */
export function settle(outside: Tap, inside: Tap, hops: number): void {
  const barrier = new Uint8Array(60);
  barrier.set(BARRIER, 12);
  for (let hop = 0; hop < hops; hop += 1) {
    inside.drain(() => {});
    outside.send(barrier);
    for (let turn = 0, seen = false; !seen && turn < 200; turn += 1) {
      inside.wait(5);
      inside.drain((frame) => {
        seen ||= frame[12] === BARRIER[0] && frame[13] === BARRIER[1];
      });
    }
  }
}
