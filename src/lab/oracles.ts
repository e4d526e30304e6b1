// What the laboratory sees from outside the daemons: both kernels' session tables, and the virtual MACs that the nodes
// were given. It asks the kernel through other people's programs, and changes nothing.

import { sleep, until } from "./clock.ts";
import { run } from "./commands.ts";
import {
  compareBetween,
  compareTables,
  type Difference,
  isEqual,
  type Table,
  takeLine,
} from "./conntrackText.ts";
import type { World } from "./world.ts";

/**
 * The pair's settled sessions in the kernel of the namespace that `inside` holds. One pass over both families and no
 * filter: a dump that finds little walks the whole machine's table in one stretch, in which a kernel without
 * preemption runs nothing else on that processor (measured: 10 ms empty, 95 ms beside 400,000 sessions of others).
 */
export async function readTable(inside: number): Promise<Table> {
  const table: Table = new Map();
  await run(["conntrack", "-L", "-o", "extended"], { inside, onLine: (line) => takeLine(table, line) });
  return table;
}

/** Entries in a node's kernel, its own included: a counter that costs nothing to read. */
export async function countEntries(inside: number): Promise<number> {
  return Number((await run(["conntrack", "-C"], { inside })).stdout);
}

/** What the nodes have of their own differs: by so much, before it begins to matter. */
const OWN_ENTRIES_MAX = 1000;
const COUNT_INTERVAL_MS = 250;
const STUCK_READINGS = 4;

export interface Comparison {
  readonly active: number;
  readonly standby: number;
  readonly difference: Difference;
  /** How long it took until they were equal, or until it was given up. */
  readonly waitedMs: number;
  /** The part of it that the last reading of both tables took. */
  readonly readMs: number;
}

/**
 * Compares both tables until they are equal or `timeoutMs` are over; the last comparison is the result. The standby
 * is read after the active: what came between the two readings is no difference the next time.
 */
export async function compareNodes(
  active: number,
  standby: number,
  timeoutMs: number,
  onWaiting: (difference: Difference) => void = () => {},
): Promise<Comparison> {
  const startMs = performance.now();
  // As long as the counters come closer to each other there is nothing to compare, and reading would only slow them
  // down. They stay apart where a node has talked much on its own account.
  let [closest, stuck] = [Infinity, 0];
  await until(timeoutMs, COUNT_INTERVAL_MS, async () => {
    const apart = Math.abs((await countEntries(active)) - (await countEntries(standby)));
    stuck = apart < closest ? 0 : stuck + 1;
    closest = Math.min(closest, apart);
    return apart <= OWN_ENTRIES_MAX || stuck === STUCK_READINGS ? true : null;
  });
  for (;;) {
    const readingMs = performance.now();
    const one = await readTable(active);
    const other = await readTable(standby);
    const difference = compareTables(one, other);
    const waitedMs = performance.now() - startMs;
    const readMs = performance.now() - readingMs;
    if (isEqual(difference) || waitedMs >= timeoutMs)
      return { active: one.size, standby: other.size, difference, waitedMs, readMs };
    onWaiting(difference);
    await sleep(Math.min(1000, 100 + one.size / 100));
  }
}

/** One comparison while the active goes on: what changes while it is read is left out. */
export async function compareOnce(
  active: number,
  standby: number,
): Promise<{ readonly active: number; readonly standby: number; readonly difference: Difference }> {
  const before = await readTable(active);
  const other = await readTable(standby);
  const after = await readTable(active);
  return { active: after.size, standby: other.size, difference: compareBetween(before, other, after) };
}

/** TCP segments that were sent again, at either end of all sessions: the hosts' and the servers' own count. */
export async function readRetransmissions(world: World): Promise<number> {
  const ends = [...world.topology.hosts.map(({ name }) => name), "internet"];
  const counts = await Promise.all(
    ends.map(async (name) => {
      const { stdout } = await run(["cat", "/proc/net/snmp"], { inside: world.pids.get(name)! });
      const [names = [], values = []] = stdout
        .split("\n")
        .filter((line) => line.startsWith("Tcp:"))
        .map((line) => line.split(" "));
      return Number(values[names.indexOf("RetransSegs")]);
    }),
  );
  return counts.reduce((total, count) => total + count, 0);
}

/** Every device that the pair made in a node's namespace (`us-...`): name -> MAC. */
export async function serviceInterfaces(inside: number): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await run(["ip", "-j", "link", "show"], { inside });
  const links = JSON.parse(stdout) as { ifname: string; address?: string }[];
  return new Map(
    links.filter((link) => link.ifname.startsWith("us-")).map((link) => [link.ifname, link.address ?? ""]),
  );
}

/**
 * What helpers of connection tracking expect in a node's kernel, by everything that `conntrack` shows of it but the time
 * that is left; of IPv4 and IPv6.
 */
export async function readExpectations(inside: number): Promise<ReadonlySet<string>> {
  const all = new Set<string>();
  for (const family of ["ipv4", "ipv6"]) {
    const { stdout } = await run(["conntrack", "-L", "expect", "-f", family], { inside });
    for (const line of stdout.split("\n"))
      if (line.trim() !== "") all.add(line.trim().replace(/^-?\d+ /, ""));
  }
  return all;
}
