// The floor under every writer of sessions, as a process of its own: the table of one namespace, written into another that has
// none, from requests that were made before the clock is started. One argument, `FROM-PID TO-PID`, one line of JSON.

import { SESSION_REQUESTS_PER_SEND } from "../src/base/limits.ts";
import * as libc from "../src/kernel/libc.ts";
import { netlinkAddress } from "../src/kernel/netlink.ts";
import { openSessionScan } from "../src/kernel/sessionDump.ts";
import { inside } from "../src/lab/traffic/sockets.ts";
import { ConntrackRequests } from "../src/wire/conntrackWrite.ts";
import { IPS_SEEN_REPLY } from "../src/wire/sessionFields.ts";

export interface InsertFloor {
  readonly sessions: number;
  /** Reading the table and nothing else. */
  readonly dumpSeconds: number;
  /** Processor time, and wall time, of the inserts. */
  readonly cpuSeconds: number;
  readonly kernelSeconds: number;
  readonly insertSeconds: number;
}

const NETLINK_NETFILTER = 12;

function measure(from: number, to: number): InsertFloor {
  const dumpStart = performance.now();
  const bare = inside(from, () => openSessionScan());
  while (bare.next(() => true));
  bare.close();
  const dumpSeconds = (performance.now() - dumpStart) / 1000;
  const batches: Uint8Array[] = [];
  const requests = new ConntrackRequests(SESSION_REQUESTS_PER_SEND);
  let [waiting, sessions] = [0, 0];
  const keep = (): void => {
    if (waiting > 0) batches.push(requests.bytes.slice(0, requests.length));
    requests.reset();
    waiting = 0;
  };
  const scan = inside(from, () => openSessionScan());
  while (
    scan.next((fields) => {
      if ((fields.status & IPS_SEEN_REPLY) === 0) return true;
      requests.create(fields, sessions & 0xffffff, 1);
      sessions += 1;
      waiting += 1;
      if (waiting === SESSION_REQUESTS_PER_SEND) keep();
      return true;
    })
  );
  keep();
  scan.close();
  const fd = inside(to, () => {
    const socket = libc.socket(libc.AF_NETLINK, libc.SOCK_RAW, NETLINK_NETFILTER);
    libc.bind(socket, netlinkAddress());
    return socket;
  });
  const before = process.resourceUsage();
  const start = performance.now();
  for (const batch of batches) libc.send(fd, batch, batch.length);
  const insertSeconds = (performance.now() - start) / 1000;
  const after = process.resourceUsage();
  const user = (after.userCPUTime - before.userCPUTime) / 1e6;
  const kernelSeconds = (after.systemCPUTime - before.systemCPUTime) / 1e6;
  return { sessions, dumpSeconds, cpuSeconds: user + kernelSeconds, kernelSeconds, insertSeconds };
}

if (import.meta.main)
  process.stdout.write(`${JSON.stringify(measure(Number(process.argv[2]), Number(process.argv[3])))}\n`);
