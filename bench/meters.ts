// What processes and wires have used, read from /proc: processor time of every thread, memory, bytes on a cable. Nobody who
// is measured is asked for it.

import { readdirSync, readFileSync } from "node:fs";
import { run } from "../src/lab/commands.ts";

export interface Used {
  /** Processor time of all threads that live, in microseconds. */
  readonly cpuUs: number;
  /** Resident memory, bytes. */
  readonly memory: number;
  /** Share of the processor time that was spent in the kernel, from ticks of 10 ms. */
  readonly kernelTicks: number;
  readonly userTicks: number;
}

/** What the processes have used until now, together. */
export function used(pids: readonly number[]): Used {
  let [cpuNs, memory, kernelTicks, userTicks] = [0, 0, 0, 0];
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      cpuNs += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    memory += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    userTicks += Number(fields[11]);
    kernelTicks += Number(fields[12]);
  }
  return { cpuUs: cpuNs / 1000, memory, kernelTicks, userTicks };
}

export interface WireCounters {
  /** Of IP packets as they would be on a cable: headers included, Ethernet's left out. */
  readonly bytes: number;
  readonly packets: number;
}

const ETHERNET_BYTES = 14;
/** IPv4 without options, TCP with timestamps. */
const TCP_HEADER_BYTES = 20 + 32;

/** Everything that went over a device of a namespace, both ways; datagrams are one frame each. */
export function deviceCounters(holder: number, device: string): WireCounters {
  const line = readFileSync(`/proc/${holder}/net/dev`, "utf8")
    .split("\n")
    .find((each) => each.trim().startsWith(`${device}:`));
  const fields = (line ?? "")
    .slice((line ?? "").indexOf(":") + 1)
    .trim()
    .split(/\s+/)
    .map(Number);
  const packets = (fields[1] ?? 0) + (fields[9] ?? 0);
  return { bytes: (fields[0] ?? 0) + (fields[8] ?? 0) - packets * ETHERNET_BYTES, packets };
}

/**
 * Everything on the TCP connections of port 1148, both ways: the kernel's own count of bytes and of segments. A device
 * would count a burst of 64 kB, with one header, as one packet.
 */
export async function logCounters(holder: number): Promise<WireCounters> {
  const { stdout } = await run(["ss", "-tinH", "( sport = :1148 or dport = :1148 )"], { inside: holder });
  let [bytes, packets] = [0, 0];
  const sum = (name: string): number =>
    [...stdout.matchAll(new RegExp(`\\b${name}:(\\d+)`, "g"))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
  packets = sum("segs_out") + sum("segs_in");
  bytes = sum("bytes_sent") + sum("bytes_received") + packets * TCP_HEADER_BYTES;
  return { bytes, packets };
}
