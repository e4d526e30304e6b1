// What a node occupies: processes, their memory and descriptors, and its objects in the kernel. Read from outside, to
// see whether anything grows with the number of failovers.

import { readdirSync, readFileSync } from "node:fs";
import { run } from "./commands.ts";
import type { NodeName } from "./pair.ts";
import type { World } from "./world.ts";

export interface Footprint {
  readonly processes: number;
  readonly descriptors: number;
  /** Resident, of all its processes. */
  readonly memoryMiB: number;
  /** Links, rules, routes, nftables tables and chains: what the kernel holds by count. */
  readonly kernelObjects: number;
}

/** Descriptors may be in use just while they are counted. */
const DESCRIPTORS_MAX = 8;
/** A collected heap breathes. */
const MEMORY_MIB_MAX = 48;
/** Routes to neighbours come and go. */
const KERNEL_OBJECTS_MAX = 8;

export async function footprintOf(world: World, node: NodeName): Promise<Footprint> {
  const pids = world.pair.processes(node);
  const inside = world.pids.get(node)!;
  const counts = await Promise.all(
    [
      ["ip", "-o", "link", "show"],
      ["ip", "rule", "show"],
      ["ip", "-6", "rule", "show"],
      ["ip", "route", "show", "table", "all"],
      ["ip", "-6", "route", "show", "table", "all"],
      ["nft", "list", "chains"],
    ].map(async (command) => (await run(command, { inside })).stdout.split("\n").length),
  );
  return {
    processes: pids.length,
    descriptors: sum(pids.map(descriptorsOf)),
    memoryMiB: sum(pids.map(residentMiB)),
    kernelObjects: sum(counts),
  };
}

/** What grew beyond what breathes, in words. */
export function growthOf(node: NodeName, before: Footprint, after: Footprint): readonly string[] {
  const grown = (what: keyof Footprint, allowed: number): readonly string[] =>
    after[what] - before[what] > allowed
      ? [`${node}: ${what} grew from ${before[what]} to ${after[what]}`]
      : [];
  return [
    ...grown("processes", 0),
    ...grown("descriptors", DESCRIPTORS_MAX),
    ...grown("memoryMiB", MEMORY_MIB_MAX),
    ...grown("kernelObjects", KERNEL_OBJECTS_MAX),
  ];
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

/** Resident memory of a process; 0 where it is gone. */
export function residentMiB(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}
