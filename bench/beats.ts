// The longest interval between two heartbeats of a node on the sync cable, as a process of its own with real-time priority, until
// its input ends. Arguments `HOLDER DEVICE`, one line of JSON.

import * as libc from "../src/kernel/libc.ts";
import { openPacketSocket } from "../src/kernel/packetSocket.ts";
import { nowMs } from "../src/lab/clock.ts";
import { inside } from "../src/lab/traffic/sockets.ts";

export interface Beats {
  readonly beats: number;
  readonly longestMs: number;
}

/** A bridge takes what its ports receive before a socket for one protocol sees it. */
const ETH_P_ALL = 0x0003;
const PRIORITY = 60;
/** UDP to port 1148 over IPv4 without options (classic BPF). */
const HEARTBEATS: readonly libc.FilterInstruction[] = [
  [0x30, 0, 0, 23],
  [0x15, 0, 3, libc.IPPROTO_UDP],
  [0x28, 0, 0, 36],
  [0x15, 0, 1, 1148],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];

function listen(holder: number, device: string): Beats {
  const socket = inside(holder, () => openPacketSocket(device, ETH_P_ALL, HEARTBEATS));
  libc.setRealTimePriority(PRIORITY);
  const descriptors = libc.pollVector([socket.fd, 0]);
  let [beats, lastMs, longestMs] = [0, 0, 0];
  while (libc.pollResult(descriptors, 1) === 0) {
    libc.poll(descriptors, 2, 1000);
    const atMs = nowMs();
    socket.drain(() => {
      if (beats > 0) longestMs = Math.max(longestMs, atMs - lastMs);
      lastMs = atMs;
      beats += 1;
    });
  }
  return { beats, longestMs };
}

if (import.meta.main)
  process.stdout.write(`${JSON.stringify(listen(Number(process.argv[2]), process.argv[3]!))}\n`);
