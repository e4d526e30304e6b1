// Neighbours of the service interfaces in the log (failover §7): who is behind which MAC on the LAN and on the
// links, so that a new active finds STALE entries instead of asking and waiting (947-1,018 ms without). Devices
// have each node's own names; on the wire a neighbour belongs to a service: 0 the LAN, 1..250 a link.

import { formatAddress, formatMac, parseAddress, parseMac } from "../base/addresses.ts";
import { NEIGHBOURS_MAX, NEIGHBOURS_PER_MESSAGE_MAX } from "../base/limits.ts";
import { type Config, servicesOf } from "../core/config.ts";
import {
  installNeighbours,
  listNeighbours,
  openNeighbourMonitor,
  removeNeighbours,
} from "../kernel/neighbours.ts";
import type { Neighbour } from "../wire/messagesLog.ts";
import type { MessageOf } from "../wire/peer.ts";

type NeighboursMessage = MessageOf<"neighbours">;

export interface NeighbourLog {
  /** To be polled for readability; then call `changes`. */
  readonly fds: readonly number[];
  /** The whole list as messages, the first of which clears what was known. What it says is known from then on. */
  full(): readonly NeighboursMessage[];
  /** What is new, has another MAC or is gone since the last call, as messages. Never blocks. */
  changes(): readonly NeighboursMessage[];
  /** Writes a peer's list into this node's kernel as STALE. How many entries were written. */
  install(message: NeighboursMessage): number;
  close(): void;
}

/** One list as messages of at most NEIGHBOURS_PER_MESSAGE_MAX entries; none is left out. */
export function messagesOf(neighbours: readonly Neighbour[], full: boolean): readonly NeighboursMessage[] {
  const messages: NeighboursMessage[] = [];
  for (let at = 0; at < neighbours.length || (full && at === 0); at += NEIGHBOURS_PER_MESSAGE_MAX) {
    const part = full && at === 0 ? "begin" : "more";
    messages.push({
      kind: "neighbours",
      part,
      neighbours: neighbours.slice(at, at + NEIGHBOURS_PER_MESSAGE_MAX),
    });
  }
  return messages;
}

/**
 * Notes what the kernel says of the neighbour `key` (`mac` empty: gone) in `told`; true where the peer does not know
 * it yet. At the bound only new ones are left out: an entry that the peer has is corrected and removed as ever.
 */
export function isNews(told: Map<string, string>, key: string, mac: string, max = NEIGHBOURS_MAX): boolean {
  const known = told.get(key);
  if ((known ?? "") === mac) return false;
  if (mac === "") return told.delete(key);
  if (known === undefined && told.size >= max) return false;
  told.set(key, mac);
  return true;
}

/** Opens the monitor, in the network namespace of the calling thread. Throws KernelError. */
export function openNeighbourLog(config: Config): NeighbourLog {
  const services = new Map(servicesOf(config).map((service) => [service.device, service.id]));
  const devices = new Map([...services].map(([device, id]) => [id, device]));
  const names = [...services.keys()];
  const monitor = openNeighbourMonitor(names);
  /** What the peer was told: the kernel speaks of every change of state, the peer wants those of MACs. */
  const told = new Map<string, string>();

  const full = (): readonly NeighboursMessage[] => {
    told.clear();
    const entries: Neighbour[] = [];
    for (const { device, address, mac } of listNeighbours(names)) {
      const entry = entryOf(services.get(device), address, mac);
      if (entry !== null && isNews(told, `${device} ${address}`, mac)) entries.push(entry);
    }
    return messagesOf(entries, true);
  };

  return {
    fds: [monitor.fd],
    full,
    changes: () => {
      const entries: Neighbour[] = [];
      const complete = monitor.drain(({ device, address, mac }) => {
        const entry = entryOf(services.get(device), address, mac);
        if (entry !== null && isNews(told, `${device} ${address}`, mac)) entries.push(entry);
      });
      return complete ? messagesOf(entries, false) : full();
    },
    install: (message) => {
      const present: { device: string; address: string; mac: string }[] = [];
      const gone: { device: string; address: string }[] = [];
      for (const { service, removed, address, mac } of message.neighbours) {
        const device = devices.get(service);
        // A link that only the peer's configuration knows.
        if (device === undefined) continue;
        if (removed) gone.push({ device, address: formatAddress(address) });
        else present.push({ device, address: formatAddress(address), mac: formatMac(mac) });
      }
      if (gone.length > 0) removeNeighbours(gone);
      return present.length > 0 ? installNeighbours(present) : 0;
    },
    close: () => monitor.close(),
  };
}

function entryOf(service: number | undefined, address: string, mac: string): Neighbour | null {
  const parsed = parseAddress(address);
  if (service === undefined || parsed === null) return null;
  const removed = mac === "";
  const bytes = removed ? new Uint8Array(6) : parseMac(mac);
  return bytes === null ? null : { service, removed, address: parsed.bytes, mac: bytes };
}
