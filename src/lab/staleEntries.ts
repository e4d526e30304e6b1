// What a standby's kernel may be full of, as text for `conntrack -R`: sessions that are over, sessions with another
// translation than they have by now, and sessions that sit on a port which belongs to another one by now. All of them
// carry the generation of an earlier snapshot, as what a standby was given does. Pure.

import { linkOf, type Table } from "./conntrackText.ts";
import type { Topology } from "./topology.ts";

/** Bits 28-29 of a mark (docs/protocol.md): the generation of the snapshot that brought the entry. */
const GENERATION_SHIFT = 28;
/** Hosts that no laboratory has. */
const GONE_HOSTS = "10.20.77";
const TIMEOUT_SECONDS = 500;

interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function endsOf(text: string): Ends | null {
  const found = /src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/.exec(text);
  if (found === null) return null;
  const [, source, destination, sourcePort, destinationPort] = found;
  return {
    source: source!,
    destination: destination!,
    sourcePort: Number(sourcePort),
    destinationPort: Number(destinationPort),
  };
}

const select = (order: string, { source, destination, sourcePort, destinationPort }: Ends): string =>
  `${order} -p udp -s ${source} -d ${destination} --sport ${sourcePort} --dport ${destinationPort}`;

const forget = (ends: Ends): string => select("-D", ends);

/** A session with its translation, as the kernel sets it up itself. */
function insert(ends: Ends, address: string, port: number, mark: number): string {
  return [
    select("-I", ends),
    // The mark last: in version 1.4.7 the status takes the place of one that stands before it.
    `-n ${address}:${port} -t ${TIMEOUT_SECONDS} -u SEEN_REPLY,ASSURED -m ${mark}`,
  ].join(" ");
}

/** Lines that make up to `count` untrue entries out of the IPv4 UDP sessions of `table`; how many entries they make. */
export function staleScript(
  table: Table,
  count: number,
  topology: Topology,
): { readonly text: string; readonly entries: number } {
  const lines: string[] = [];
  let entries = 0;
  const taken = takenPorts(table);
  for (const [key, entry] of table) {
    if (entries >= count) break;
    if (!key.startsWith("ipv4 udp ")) continue;
    const [ends, back] = [endsOf(key), endsOf(entry.reply)];
    const link = topology.links.find(({ id }) => id === linkOf(entry));
    if (ends === null || back === null || link === undefined) continue;
    const mark = ((1 + (entries % 3)) << GENERATION_SHIFT) | link.id;
    const free = freePort(taken, back);
    const other: Ends = {
      ...ends,
      source: `${GONE_HOSTS}.${1 + (entries % 250)}`,
      sourcePort: 1024 + (entries % 60_000),
    };
    const kind = entries % 3;
    if (kind === 0) lines.push(forget(ends), insert(ends, link.v4.shared, free, mark));
    else if (kind === 1) lines.push(insert(other, link.v4.shared, free, mark));
    else lines.push(forget(ends), insert(other, link.v4.shared, back.destinationPort, mark));
    entries += 1;
  }
  return { text: `${lines.join("\n")}\n`, entries };
}

/**
 * Lines that do silent harm to a table that is in good order: of the first `count` IPv4 UDP sessions every other one is
 * deleted, the rest is given another link.
 */
export function damageScript(
  table: Table,
  count: number,
  topology: Topology,
): { readonly text: string; readonly entries: number } {
  const lines: string[] = [];
  let entries = 0;
  for (const [key, entry] of table) {
    if (entries === count) break;
    const ends = key.startsWith("ipv4 udp ") ? endsOf(key) : null;
    const back = endsOf(entry.reply);
    const other = topology.links.find(({ id }) => id !== linkOf(entry));
    if (ends === null || back === null || other === undefined) continue;
    lines.push(forget(ends));
    if (entries % 2 === 1) lines.push(insert(ends, back.destination, back.destinationPort, other.id));
    entries += 1;
  }
  return { text: `${lines.join("\n")}\n`, entries };
}

/** What somebody does to a table by hand: how many sessions of each kind. */
export interface HandWork {
  readonly deleted: number;
  readonly alien: number;
  readonly marked: number;
}

/**
 * Lines that do `wanted` to a table that is in good order: of its IPv4 UDP sessions some, chosen by `random` ([0, 1)), are deleted,
 * others are given another link's mark and keep all else, and sessions of hosts that nobody has are added. What came about is less
 * where the table has fewer. One text for each mark that is set: version 1.4.7 gives all entries of a text that it updates the mark of
 * its last line.
 */
export function handScript(
  table: Table,
  wanted: HandWork,
  topology: Topology,
  random: () => number,
): { readonly texts: readonly string[]; readonly done: HandWork } {
  const sessions = [...table].filter(([key]) => key.startsWith("ipv4 udp "));
  const chosen = sample(sessions, wanted.deleted + wanted.marked, random);
  const gone = chosen.slice(0, wanted.deleted);
  const lines = gone.map(([key]) => forget(endsOf(key)!));
  const updates = new Map<number, string[]>();
  let marked = 0;
  for (const [key, entry] of chosen.slice(wanted.deleted)) {
    const other = topology.links.find(({ id }) => id !== linkOf(entry));
    if (other === undefined) continue;
    const line = `${select("-U", endsOf(key)!)} -m ${other.id}/0xff`;
    updates.set(other.id, [...(updates.get(other.id) ?? []), line]);
    marked += 1;
  }
  const taken = takenPorts(table);
  let alien = 0;
  while (alien < wanted.alien && sessions.length > 0) {
    const [key, entry] = sessions[alien % sessions.length]!;
    const [ends, back] = [endsOf(key)!, endsOf(entry.reply)!];
    const link = topology.links.find(({ id }) => id === linkOf(entry)) ?? topology.links[0]!;
    const source = `${GONE_HOSTS}.${1 + (alien % 250)}`;
    const stranger: Ends = { ...ends, source, sourcePort: 1024 + (alien % 60_000) };
    lines.push(insert(stranger, link.v4.shared, freePort(taken, back), link.id));
    alien += 1;
  }
  const texts = [...updates.values(), lines].map((each) => `${each.join("\n")}\n`);
  return { texts, done: { deleted: gone.length, alien, marked } };
}

/** `count` of `from`, each at most once, in an order that `random` decides. */
function sample<T>(from: T[], count: number, random: () => number): readonly T[] {
  const size = Math.min(count, from.length);
  for (let place = 0; place < size; place += 1) {
    const other = place + Math.floor(random() * (from.length - place));
    [from[place], from[other]] = [from[other]!, from[place]!];
  }
  return from.slice(0, size);
}

/** The addresses' ports that translated sessions of `table` have. */
function takenPorts(table: Table): Set<string> {
  const taken = new Set<string>();
  for (const [, { reply }] of table) {
    const back = endsOf(reply);
    if (back !== null) taken.add(`${back.destination} ${back.destinationPort} ${back.sourcePort}`);
  }
  return taken;
}

/** A translated port towards the same far end that no session of the table has; it is taken from now on. */
function freePort(taken: Set<string>, { destination, destinationPort, sourcePort }: Ends): number {
  for (let step = 1; ; step += 1) {
    const port = 1024 + ((destinationPort + step * 7919) % 60_000);
    const name = `${destination} ${port} ${sourcePort}`;
    if (taken.has(name)) continue;
    taken.add(name);
    return port;
  }
}
