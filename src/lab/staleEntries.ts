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

const forget = ({ source, destination, sourcePort, destinationPort }: Ends): string =>
  `-D -p udp -s ${source} -d ${destination} --sport ${sourcePort} --dport ${destinationPort}`;

/** A session with its translation, as the kernel sets it up itself. */
function insert(ends: Ends, address: string, port: number, mark: number): string {
  const { source, destination, sourcePort, destinationPort } = ends;
  return [
    `-I -p udp -s ${source} -d ${destination} --sport ${sourcePort} --dport ${destinationPort}`,
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
  const taken = new Set<string>();
  for (const [, { reply }] of table) {
    const back = endsOf(reply);
    if (back !== null) taken.add(`${back.destination} ${back.destinationPort} ${back.sourcePort}`);
  }
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
