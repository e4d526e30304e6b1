// Neighbours of the service interfaces in the log (failover §7): who is behind which MAC on the LAN and on the
// links, so that a new active finds STALE entries instead of asking and waiting (947-1,018 ms without). Devices
// have each node's own names; on the wire a neighbour belongs to a service: 0 the LAN, 1..250 a link.

import { NEIGHBOURS_MAX, NEIGHBOURS_PER_MESSAGE_MAX } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import type { MessageOf, Neighbour } from "../wire/peer.ts";

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

/** One list as messages of at most NEIGHBOURS_PER_MESSAGE_MAX entries. */
export function messagesOf(neighbours: readonly Neighbour[], full: boolean): readonly NeighboursMessage[] {
  const messages: NeighboursMessage[] = [];
  const bounded = neighbours.slice(0, NEIGHBOURS_MAX);
  for (let at = 0; at < bounded.length || (full && at === 0); at += NEIGHBOURS_PER_MESSAGE_MAX) {
    const part = full && at === 0 ? "begin" : "more";
    messages.push({
      kind: "neighbours",
      part,
      neighbours: bounded.slice(at, at + NEIGHBOURS_PER_MESSAGE_MAX),
    });
  }
  return messages;
}

export function openNeighbourLog(_config: Config, _log: (line: string) => void): NeighbourLog {
  return { fds: [], full: () => [], changes: () => [], install: () => 0, close: () => {} };
}
