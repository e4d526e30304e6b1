// A capture as tcpdump makes it, for tests: every frame on one device of a namespace, with what was on the wire, as a pcap file.

import * as libc from "../../src/kernel/libc.ts";
import { pcap } from "../wire/captureFiles.ts";
import type { Namespace } from "./namespace.ts";

const ETH_P_ALL = 3;
/** The sending card is to cut what is larger than a frame: up to 64 KiB are captured as one. */
const FRAME_BYTES_MAX = 70_000;
const BATCH = 16;
const RECEIVE_BYTES = 16 << 20;
const LINK_ETHERNET = 1;

export interface PacketCapture {
  /** Takes what has come by now. To be called before the socket's buffer is full. */
  drain(): void;
  /** Everything so far as a pcap file; each packet cut to `snapBytes`. */
  file(snapBytes?: number): Uint8Array;
  close(): void;
}

/** Begins at once; needs CAP_NET_RAW in the namespace. Throws KernelError. */
export function openPacketCapture(space: Namespace, device: string): PacketCapture {
  const fd = space.run(() => {
    const socket = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, "open a capture");
    libc.setsockoptInt(socket, libc.SOL_SOCKET, libc.SO_RCVBUF, RECEIVE_BYTES, "size a capture");
    const address = new Uint8Array(20);
    const view = new DataView(address.buffer);
    view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
    view.setUint16(2, ETH_P_ALL);
    view.setInt32(4, libc.interfaceIndex(device), libc.LITTLE_ENDIAN);
    libc.bind(socket, address, "start a capture");
    return socket;
  });
  const vector = libc.messageVector(BATCH, FRAME_BYTES_MAX);
  const packets: { at: number; bytes: Uint8Array; onWire: number }[] = [];
  const drain = (): void => {
    for (;;) {
      vector.reset();
      const count = libc.recvmmsg(fd, vector.headers, BATCH, libc.MSG_DONTWAIT);
      for (let slot = 0; slot < count; slot += 1) {
        const start = slot * FRAME_BYTES_MAX;
        const bytes = vector.buffer.slice(start, start + vector.length(slot));
        packets.push({ at: Date.now() * 1000, bytes, onWire: bytes.length });
      }
      if (count < BATCH) return;
    }
  };
  return {
    drain,
    file: (snapBytes = FRAME_BYTES_MAX) => {
      const cut = packets.map((packet) => ({ ...packet, bytes: packet.bytes.subarray(0, snapBytes) }));
      return pcap({ linkType: LINK_ETHERNET, packets: cut }, { little: true, nanoseconds: false });
    },
    close: () => libc.close(fd),
  };
}
