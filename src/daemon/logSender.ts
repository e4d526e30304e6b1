// The driver of core/replication/sender.ts: owns the kernel's event socket and the dump, reads a chunk of the dump
// first and the events after it (S2), and performs the machine's effects. Everything in it is synchronous: `turn`
// may be called from anywhere, at any time.

import { DRAIN_TURN_MS } from "../base/limits.ts";
import { type Millis, millis } from "../base/units.ts";
import { ChangedKeys } from "../core/replication/changedKeys.ts";
import {
  createSender,
  deadline,
  isSynchronised,
  type SenderEffect,
  type SenderInput,
  type SenderLimits,
  type SenderState,
  snapshotNumber,
  step,
  wantsChunk,
} from "../core/replication/sender.ts";
import type { Drained } from "../kernel/sessionEvents.ts";
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

/** Before a handover: bounds what is drained without a look at the event loop. */
const DRAIN_TURNS_MAX = 25;

type Dump = ReturnType<ReplicationKernel["openDump"]>;

const now = (): Millis => millis(performance.now());

export class LogSender {
  readonly state: SenderState;
  readonly #options: LogSenderOptions;
  readonly #effects: SenderEffect[] = [];
  readonly #events = new RecordBatch();
  readonly #chunk = new RecordBatch();
  /** A chunk that was read, and waits for the events behind it to be drained. */
  #held: { readonly snapshot: number; readonly more: boolean } | null = null;
  #dump: { readonly dump: Dump; readonly snapshot: number } | null = null;
  #waiters: Waiter[] = [];
  #soon: NodeJS.Immediate | null = null;
  #later: NodeJS.Timeout | null = null;
  #wasSynchronised = false;
  #closed = false;

  constructor(options: LogSenderOptions) {
    this.#options = options;
    this.state = createSender(options.limits, new ChangedKeys(undefined, options.seed));
  }

  /** Feeds one input and performs what follows from it. */
  input(input: SenderInput): void {
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
    if (this.#held === null && wantsChunk(this.state, now())) this.#readChunk();
    const { drained, events } = this.#drain();
    if (drained && this.#held !== null) {
      const { snapshot, more } = this.#held;
      this.#held = null;
      const { bytes, length, count } = this.#chunk;
      this.#step({ kind: "chunk", snapshot, bytes: bytes.subarray(0, length), count, more });
    }
    this.#plan(drained);
    return events;
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
    if (this.#later !== null) clearTimeout(this.#later);
    this.#dump?.dump.close();
    this.#dump = null;
    for (const waiter of this.#waiters.slice()) waiter.settle(false);
  }

  #step(input: SenderInput): void {
    step(this.state, now(), input, this.#effects);
    for (const effect of this.#effects.splice(0)) this.#perform(effect);
    if (
      this.#dump !== null &&
      (this.state.snapshot === null || this.#dump.snapshot !== snapshotNumber(this.state))
    ) {
      this.#dump.dump.close();
      this.#dump = null;
    }
    if (this.state.snapshot === null) this.#held = null;
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
      case "sessions": {
        const origin = effect.snapshot ? "snapshot" : "change";
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

  #readChunk(): void {
    const snapshot = snapshotNumber(this.state);
    try {
      this.#dump ??= { dump: this.#options.kernel.openDump(), snapshot };
      this.#chunk.reset();
      const more = this.#dump.dump.next(this.#chunk);
      this.#held = { snapshot, more };
    } catch (error) {
      this.#options.log(`replication: the snapshot starts again: ${(error as Error).message}`);
      this.#dump?.dump.close();
      this.#dump = null;
      this.#step({ kind: "dump-failed" });
    }
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
      if (!read.more) return { drained: true, events };
      if (now() >= until) return { drained: false, events };
    }
  }

  /** A socket that cannot be read has lost what it held: an overrun like any other. */
  #read(batch: RecordBatch): Drained {
    try {
      return this.#options.kernel.events.drain(batch);
    } catch (error) {
      this.#options.log(`replication: ${(error as Error).message}`);
      batch.reset();
      return { more: false, overrun: true, events: 0 };
    }
  }

  #discard(): void {
    try {
      this.#options.kernel.events.discard();
    } catch (error) {
      this.#options.log(`replication: ${(error as Error).message}`);
    }
  }

  /** When `turn` is due without the kernel asking for it. */
  #plan(drained: boolean): void {
    if (!drained || this.#held !== null || wantsChunk(this.state, now())) {
      this.#soon ??= setImmediate(() => {
        this.#soon = null;
        this.turn();
      });
      return;
    }
    const at = deadline(this.state);
    if (at === null || at <= now() || this.#later !== null) return;
    this.#later = setTimeout(() => {
      this.#later = null;
      this.turn();
    }, at - now());
  }

  #settle(): void {
    for (const waiter of this.#waiters.slice()) {
      if (waiter.term !== this.state.term) waiter.settle(false);
      else if (isSynchronised(this.state) && this.state.acknowledged >= waiter.sequence) waiter.settle(true);
    }
  }
}
