// What this machine is, as its kernel tells: for the other node, which shows it and holds it against itself. What cannot be
// read is 0 or empty; nothing here may fail.

import { readFileSync } from "node:fs";
import { availableParallelism, machine, release, totalmem } from "node:os";

export interface Machine {
  readonly kernel: string;
  readonly machine: string;
  readonly processors: number;
  readonly memoryBytes: number;
  /** Entries that connection tracking takes, and the buckets of its table. The host's, in every namespace. */
  readonly conntrackMax: number;
  readonly conntrackBuckets: number;
  /** Milliseconds since 1970. */
  readonly bootedAt: number;
}

const numberIn = (file: string, pattern: RegExp): number => {
  try {
    return Number(pattern.exec(readFileSync(file, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
};

/** As of now: the table's size can be changed at any time. */
export function readMachine(): Machine {
  return {
    kernel: release(),
    machine: machine(),
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    conntrackMax: numberIn("/proc/sys/net/netfilter/nf_conntrack_max", /^(\d+)/),
    conntrackBuckets: numberIn("/proc/sys/net/netfilter/nf_conntrack_buckets", /^(\d+)/),
    // proc_stat(5): seconds since the Epoch.
    bootedAt: numberIn("/proc/stat", /^btime (\d+)$/m) * 1000,
  };
}
