// The machine that figures come from: what it is, and the two settings of connection tracking that belong to the whole of
// it. They are raised for a benchmark and put back whatever ends it; nothing else of the host's is touched.

import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { run } from "../src/lab/commands.ts";

/** What stands above every table of figures. */
export interface Machine {
  readonly processor: string;
  readonly processors: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Debian's versions of what we are measured against. */
  readonly conntrackd: string;
  readonly keepalived: string;
  readonly entriesMax: number;
  readonly buckets: number;
}

const SETTINGS = "/proc/sys/net/netfilter";
/** As in every earlier measurement: a million sessions on either side of a comparison, beside a bare copy. */
const ENTRIES_MAX = 4_000_000;
const BUCKETS = 1_048_576;

const setting = (name: string): string => `${SETTINGS}/nf_conntrack_${name}`;
const read = (name: string): number => Number(readFileSync(setting(name), "utf8"));

/** Raises the kernel's limits on sessions; the result puts them back, once. Root's to do: throws EACCES else. */
export function raiseLimits(): () => void {
  const before = { max: read("max"), buckets: read("buckets") };
  let raised = true;
  const restore = (): void => {
    if (!raised) return;
    raised = false;
    writeFileSync(setting("buckets"), String(before.buckets));
    writeFileSync(setting("max"), String(before.max));
  };
  try {
    writeFileSync(setting("buckets"), String(BUCKETS));
    writeFileSync(setting("max"), String(ENTRIES_MAX));
  } catch (error) {
    restore();
    throw error;
  }
  return restore;
}

/** Asked while the limits are raised. */
export async function describeMachine(): Promise<Machine> {
  const version = async (name: string): Promise<string> =>
    // Braces are dpkg's: no template of ours.
    (await run(["dpkg-query", "-W", "-f", "$\u007bVersion}", name], { accept: [0, 1] })).stdout.trim();
  return {
    processor: cpus()[0]?.model ?? "unknown",
    processors: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    conntrackd: await version("conntrackd"),
    keepalived: await version("keepalived"),
    entriesMax: read("max"),
    buckets: read("buckets"),
  };
}
