// The times of sessions that came by replication, set back (replication §3): a standby's entry outlives what the active
// refreshes in silence, and once this node is the active itself, what nobody speaks in has its protocol's own time. One
// netlink datagram of the table a step, so that the caller can pace it. It never touches what a packet has passed since
// (it has no more than its protocol's time), what was made here (generation 0), what is not the pair's, or a fixed time.

import { MARK_GENERATION_MASK, MARK_LINK_MASK, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { type ProtocolTimes, protocolSeconds, protocolTimes } from "../wire/protocolTimes.ts";
import { IPS_FIXED_TIMEOUT, type SessionFields } from "../wire/sessionFields.ts";
import { errno, errnoName } from "./libc.ts";
import { openSessionScan, type SessionScan } from "./sessionDump.ts";
import { openSessionExchange, type SessionExchange } from "./sessionExchange.ts";
import { readSetting } from "./settings.ts";

/** What one step, or a whole walk, came to. */
export interface SetBackResult {
  /** Entries of the pair that came by replication. */
  readonly seen: number;
  readonly setBack: number;
  /** What the kernel refused, by errno name; an entry that ended meanwhile is none of it. */
  readonly refused: Readonly<Record<string, number>>;
  /** False: the table is at its end. */
  readonly more: boolean;
}

/** One walk of the table. */
export interface SetBackWalk {
  /** Reads and writes one datagram's entries (about 130). Synchronous, about a millisecond. Throws KernelError. */
  step(): SetBackResult;
  close(): void;
}

/** Sets sessions' times back, over a socket of its own. */
export interface SessionTimes {
  /** Own netlink port id, for `SessionEventsOptions.ignore`: what is set back here is nothing that happened. */
  readonly portId: number;
  /** Begins a walk of the table of the calling thread's network namespace, by the times that are set in it now. */
  walk(): SetBackWalk;
  close(): void;
}

/** The times that this network namespace gives to sessions. */
export function readProtocolTimes(): ProtocolTimes {
  return protocolTimes((name) => {
    const text = readSetting(`net/netfilter/nf_conntrack_${name}`);
    return text === null ? null : Number(text);
  });
}

/** Opens the socket, in the network namespace of the calling thread. Throws KernelError. */
export function openSessionTimes(): SessionTimes {
  const kernel = openSessionExchange();
  return {
    portId: kernel.portId,
    walk: () => new Walk(kernel, openSessionScan(), readProtocolTimes()),
    close: () => kernel.close(),
  };
}

class Walk implements SetBackWalk {
  readonly #kernel: SessionExchange;
  readonly #table: SessionScan;
  readonly #times: ProtocolTimes;
  #pending = 0;
  #counts = { seen: 0, setBack: 0, refused: {} as Record<string, number> };

  constructor(kernel: SessionExchange, table: SessionScan, times: ProtocolTimes) {
    this.#kernel = kernel;
    this.#table = table;
    this.#times = times;
  }

  step(): SetBackResult {
    this.#counts = { seen: 0, setBack: 0, refused: {} };
    this.#kernel.begin();
    this.#pending = 0;
    const more = this.#table.next((fields) => this.#take(fields));
    this.#flush();
    return { ...this.#counts, more };
  }

  close(): void {
    this.#table.close();
  }

  #take(fields: SessionFields): boolean {
    if ((fields.mark & MARK_LINK_MASK) === 0 || (fields.mark & MARK_GENERATION_MASK) === 0) return true;
    this.#counts.seen += 1;
    const seconds = protocolSeconds(this.#times, fields);
    if (seconds === null || fields.timeoutSeconds <= seconds) return true;
    if ((fields.status & IPS_FIXED_TIMEOUT) !== 0) return true;
    this.#kernel.requests.retime(fields, this.#kernel.sequence + this.#pending, seconds);
    this.#pending += 1;
    if (this.#pending === SESSION_REQUESTS_PER_SEND) this.#flush();
    return true;
  }

  #flush(): void {
    const { errors } = this.#kernel;
    const count = this.#pending;
    if (count === 0) return;
    this.#kernel.perform(count, null);
    for (let index = 0; index < count; index += 1) {
      const error = errors[index]!;
      if (error === 0) this.#counts.setBack += 1;
      // It ended between the two: ETIME is one that is dying.
      else if (error !== errno.ENOENT && error !== errno.ETIME)
        this.#counts.refused[errnoName(error)] = (this.#counts.refused[errnoName(error)] ?? 0) + 1;
    }
    this.#pending = 0;
    this.#kernel.begin();
  }
}
