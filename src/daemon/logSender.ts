// The driver of core/replication/sender.ts: owns the kernel's event socket and the dumps (of the round, of the refresh),
// reads a chunk of one of them first and the events after it (S2), and performs the machine's effects. Everything in it
// is synchronous: `turn` may be called from anywhere, at any time.

import { DRAIN_TURN_MS } from "../base/limits.ts";
import { type Millis, millis } from "../base/units.ts";
import { ChangedKeys } from "../core/replication/changedKeys.ts";
import { deadline, isSynchronised, step, wantsChunk, wantsRefresh } from "../core/replication/sender.ts";
import {
  createSender,
  type SenderEffect,
  type SenderInput,
  type SenderLimits,
  type SenderState,
} from "../core/replication/senderState.ts";
import type { Disturbance, Drained } from "../kernel/sessionEvents.ts";
import type { PeerMessage } from "../wire/peer.ts";
import { RecordBatch } from "../wire/session.ts";
import type { ReplicationKernel } from "./replicationKernel.ts";

export interface LogSenderOptions {
  readonly kernel: Pick<ReplicationKernel, "events" | "openDump">;
  readonly send: (message: PeerMessage) => void;
  /** Ends the connection: the peer broke the protocol. */
  readonly fail: (reason: string) => void;
  readonly tellRole: () => void;
  /** Records of a merge whose tuples may be free here: to be added where they are. */
  readonly insert: (bytes: Uint8Array, count: number) => void;
  /** A snapshot has begun: what goes with it (neighbours) is due. */
  readonly onSnapshot: () => void;
  readonly onChange: () => void;
  /** Hears of each change that is sent, in the log's order. */
  readonly audit?: { sent(bytes: Uint8Array): void };
  readonly log: (line: string) => void;
  readonly limits?: Partial<SenderLimits>;
  /** Of the hashes in the set of changed keys. */
  readonly seed: number;
}

interface Waiter {
  readonly term: number;
  readonly sequence: number;
  readonly settle: (acknowledged: boolean) => void;
}

/** Before a handover, and for the audit: bounds what is drained without a look at the event loop. */
const DRAIN_TURNS_MAX = 25;

/** What the table is read for, as the machine's inputs are called. */
type Purpose = "chunk" | "refresh-chunk";

/** A dump, and the number of the round or the refresh that it was opened for. */
interface Dump {
  readonly source: ReturnType<ReplicationKernel["openDump"]>;
  readonly number: number;
}

const now = (): Millis => millis(performance.now());

export class LogSender {
  readonly state: SenderState;
  readonly #options: LogSenderOptions;
  readonly #effects: SenderEffect[] = [];
  readonly #events = new RecordBatch();
  readonly #chunk = new RecordBatch();
  /** A chunk that was read, and waits for the events behind it to be drained. */
  #held: { readonly purpose: Purpose; readonly number: number; readonly more: boolean } | null = null;
  readonly #dumps: Record<Purpose, Dump | null> = { chunk: null, "refresh-chunk": null };
  #waiters: Waiter[] = [];
  #soon: NodeJS.Immediate | null = null;
  #later: { readonly timer: NodeJS.Timeout; readonly at: Millis } | null = null;
  #wasSynchronised = false;
  /** When the kernel's events were last read to their end; what they told of a table that nobody but this node should touch. */
  readAt = Number.NEGATIVE_INFINITY;
  readonly disturbed = { ended: 0, changed: 0, lost: 0 };
  /** Of a node that was active a moment ago: what it did then still waits to be read. */
  #isFresh = true;
  #closed = false;

  constructor(options: LogSenderOptions) {
    this.#options = options;
    this.state = createSender(options.limits, new ChangedKeys(undefined, options.seed));
  }

  /** Feeds one input and performs what follows from it. */
  input(input: SenderInput): void {
    if (input.kind === "active") this.#isFresh = true;
    this.#step(input);
    if (!this.#closed) this.#plan(true);
  }

  /**
   * Reads what the kernel has to say, for at most DRAIN_TURN_MS; goes on by itself where more waits. Returns how
   * many events there were.
   */
  turn(): number {
    if (this.#closed) return 0;
    if (this.state.term === null) {
      // Not active: nobody is told, but the socket is kept empty, so that a new active starts without an overrun.
      this.#discard();
      return 0;
    }
    this.#step({ kind: "turn" });
    if (this.#held === null) {
      if (wantsChunk(this.state, now())) this.#readChunk("chunk");
      else if (wantsRefresh(this.state, now())) this.#readChunk("refresh-chunk");
    }
    const { drained, events } = this.#drain();
    if (drained && this.#held !== null) this.#feedChunk(this.#held);
    this.#plan(drained);
    return events;
  }

  /** Sends all that the kernel has told by now. False: it tells more than can be sent in a tenth of a second. */
  drainAll(): boolean {
    for (let turns = 0; turns < DRAIN_TURNS_MAX; turns += 1) if (this.#drain().drained) return true;
    return false;
  }

  /** Everything produced so far is in the standby's kernel (true), or was not in time (false). */
  waitAcknowledged(timeoutMs: number): Promise<boolean> {
    // What the kernel has already told belongs to "so far".
    for (let turns = 0; turns < DRAIN_TURNS_MAX && this.state.term !== null; turns += 1)
      if (this.#drain().drained) break;
    const { term, sequence } = this.state;
    if (term === null) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(false), timeoutMs);
      const settle = (acknowledged: boolean): void => {
        clearTimeout(timer);
        this.#waiters = this.#waiters.filter((each) => each.settle !== settle);
        resolve(acknowledged);
      };
      this.#waiters.push({ term, sequence, settle });
      this.#settle();
    });
  }

  close(): void {
    this.#closed = true;
    if (this.#soon !== null) clearImmediate(this.#soon);
    if (this.#later !== null) clearTimeout(this.#later.timer);
    for (const purpose of ["chunk", "refresh-chunk"] as const) this.#closeDump(purpose);
    for (const waiter of this.#waiters.slice()) waiter.settle(false);
  }

  #step(input: SenderInput): void {
    step(this.state, now(), input, this.#effects);
    for (const effect of this.#effects.splice(0)) this.#perform(effect);
    for (const purpose of ["chunk", "refresh-chunk"] as const)
      if (this.#dumps[purpose]?.number !== this.#numberOf(purpose)) this.#closeDump(purpose);
    if (this.#held !== null && this.#held.number !== this.#numberOf(this.#held.purpose)) this.#held = null;
    this.#settle();
    const synchronised = isSynchronised(this.state);
    if (synchronised !== this.#wasSynchronised) {
      this.#wasSynchronised = synchronised;
      this.#options.onChange();
    }
  }

  #perform(effect: SenderEffect): void {
    const { send, fail, tellRole, onSnapshot } = this.#options;
    switch (effect.kind) {
      case "snapshot-begin":
        send({ kind: "snapshotBegin", position: effect.position, generation: effect.generation });
        onSnapshot();
        return;
      case "round-begin":
        send({ ...effect, kind: "roundBegin" });
        return;
      case "round-end":
        send({ ...effect, kind: "roundEnd" });
        return;
      case "round-due":
        send({ ...effect, kind: "roundDue" });
        return;
      case "sessions": {
        const origin = effect.read ? "snapshot" : "change";
        if (!effect.read) this.#options.audit?.sent(effect.bytes);
        send({ kind: "sessions", origin, first: effect.first, count: effect.count, records: effect.bytes });
        return;
      }
      case "snapshot-end":
        send({ ...effect, kind: "snapshotEnd" });
        return;
      case "tell-role":
        tellRole();
        return;
      case "insert":
        this.#options.insert(effect.bytes, effect.count);
        return;
      case "merge-request":
        send({ kind: "mergeRequest", ...effect.subscription });
        return;
      case "merge-acknowledge":
        send({ ...effect, kind: "mergeAcknowledge" });
        return;
      case "fail":
        fail(effect.reason);
    }
  }

  /** The round or the refresh that reads now; undefined where there is none. */
  #numberOf(purpose: Purpose): number | undefined {
    const { round, refresh } = this.state;
    if (purpose === "refresh-chunk") return refresh?.number;
    return round?.end === null ? round.number : undefined;
  }

  #readChunk(purpose: Purpose): void {
    const number = this.#numberOf(purpose)!;
    try {
      const dump = this.#dumps[purpose] ?? { source: this.#options.kernel.openDump(), number };
      this.#dumps[purpose] = dump;
      this.#chunk.reset();
      this.#held = { purpose, number, more: dump.source.next(this.#chunk) };
    } catch (error) {
      this.#options.log(`replication: the table is read again: ${(error as Error).message}`);
      this.#closeDump(purpose);
      this.#step({ kind: purpose === "chunk" ? "dump-failed" : "refresh-failed" });
    }
  }

  #feedChunk({ purpose, number, more }: { purpose: Purpose; number: number; more: boolean }): void {
    this.#held = null;
    const { bytes: room, length, count } = this.#chunk;
    const bytes = room.subarray(0, length);
    if (purpose === "chunk") this.#step({ kind: purpose, round: number, bytes, count, more });
    else this.#step({ kind: purpose, refresh: number, bytes, count, more });
  }

  #closeDump(purpose: Purpose): void {
    this.#dumps[purpose]?.source.close();
    this.#dumps[purpose] = null;
  }

  #drain(): { readonly drained: boolean; readonly events: number } {
    const until = now() + DRAIN_TURN_MS;
    const batch = this.#events;
    let events = 0;
    for (;;) {
      batch.reset();
      const read = this.#read(batch);
      events += read.events;
      if (batch.count > 0)
        this.#step({ kind: "events", bytes: batch.bytes.subarray(0, batch.length), count: batch.count });
      if (read.overrun) {
        this.#options.log("replication: the kernel dropped session events: the standby gets the table anew");
        this.#step({ kind: "overrun" });
      }
      if (!read.more) {
        if (read.failed !== true) this.readAt = now();
        if (this.state.losing && !read.failed) this.#step({ kind: "drained" });
        return { drained: true, events };
      }
      if (now() >= until) return { drained: false, events };
    }
  }

  /** A socket that cannot be read has lost what it held: an overrun like any other. */
  #read(batch: RecordBatch): Drained & { readonly failed?: true } {
    try {
      return this.#options.kernel.events.drain(batch);
    } catch (error) {
      this.#options.log(`replication: ${(error as Error).message}`);
      batch.reset();
      return { more: false, overrun: true, events: 0, failed: true };
    }
  }

  #discard(): void {
    try {
      const found = this.#options.kernel.events.discard();
      this.readAt = now();
      if (!this.#isFresh) this.#note(found);
      this.#isFresh = false;
      if (this.state.losing) this.#step({ kind: "drained" });
    } catch (error) {
      this.#options.log(`replication: ${(error as Error).message}`);
    }
  }

  #note({ ended, changed, lost }: Disturbance): void {
    this.disturbed.ended += ended;
    this.disturbed.changed += changed;
    if (lost) this.disturbed.lost += 1;
  }

  /** When `turn` is due without the kernel asking for it. */
  #plan(drained: boolean): void {
    const moment = now();
    const reads = wantsChunk(this.state, moment) || wantsRefresh(this.state, moment);
    const at = deadline(this.state);
    // Within a round it is an acknowledgement that is waited for then.
    const overdue = at !== null && at <= moment && this.state.round === null;
    if (!drained || this.#held !== null || reads || overdue) {
      this.#soon ??= setImmediate(() => {
        this.#soon = null;
        this.turn();
      });
      return;
    }
    if (at === null || at <= moment) return;
    if (this.#later !== null) {
      if (this.#later.at <= at) return;
      clearTimeout(this.#later.timer);
    }
    // A timer may fire a fraction of a millisecond early: the turn then plans again.
    const timer = setTimeout(
      () => {
        this.#later = null;
        this.turn();
      },
      Math.ceil(at - moment),
    );
    this.#later = { timer, at };
  }

  #settle(): void {
    for (const waiter of this.#waiters.slice()) {
      if (waiter.term !== this.state.term) waiter.settle(false);
      else if (isSynchronised(this.state) && this.state.acknowledged >= waiter.sequence) waiter.settle(true);
    }
  }
}
