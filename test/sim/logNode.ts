// One node of the log simulator: the two real machines of core/replication over a model kernel. The model's dump is
// as stale as the kernel's (a chunk is made when the one before it is read), its event queue overruns, its writer can
// refuse. Virtual time and all chance come from outside; mutations break one rule each, for the tests that show
// that the simulator would notice.

import type { Millis, Role } from "../../src/base/units.ts";
import { ChangedKeys, EndedKeys } from "../../src/core/replication/changedKeys.ts";
import type { Giving, Taking } from "../../src/core/replication/merge.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import * as sender from "../../src/core/replication/sender.ts";
import type { Position } from "../../src/wire/control.ts";
import { batchOf } from "../core/records.ts";
import { bytesOf, type Change, changesIn, translationOf } from "./logRecords.ts";
import type { Random } from "./random.ts";

export type Mutation =
  | "send-changed-keys"
  | "no-sweep"
  | "overrun-unheard"
  | "one-generation"
  | "acknowledge-early"
  | "stale-chunk-sent"
  | "no-purge"
  | "write-after-takeover"
  | "sweep-after-takeover"
  | "no-merge"
  | "merge-forgotten"
  | "merge-replaces"
  | "merge-after-takeover"
  | "ended-returns";

export type SimMessage =
  | { readonly kind: "role"; readonly role: Role; readonly term: number }
  | Extract<receiver.ReceiverEffect, { kind: "subscribe" | "acknowledge" | "merge-sessions" | "merge-end" }>
  | Exclude<sender.SenderEffect, { kind: "tell-role" | "fail" | "insert" }>;

export interface Entry {
  readonly version: number;
  generation: number;
}

const RECORD_BYTES_MAX = 40;

export interface NodeOptions {
  readonly name: "a" | "b";
  readonly random: Random;
  readonly mutation: Mutation | null;
  readonly limits: sender.SenderLimits;
  readonly keysMax: number;
  readonly eventsMax: number;
  readonly chunkRecords: number;
  readonly sliceRecords: number;
  readonly send: (message: SimMessage) => void;
  /** A machine asked for the end of the connection: in an honest world a defect. */
  readonly fail: (reason: string) => void;
  /** A record was numbered; `id` at `sequence` of `term`. */
  readonly logged: (term: number, sequence: number, change: Change) => void;
  readonly acknowledged: (position: Position) => void;
  /** A record of a merge was added to this node's kernel. */
  readonly inserted: (id: number) => void;
}

interface Dump {
  readonly snapshot: number;
  /** The next chunk, made already; `next` is where the one after it begins, null at the end. */
  prepared: Change[];
  next: number | null;
}

type MergeMessage = Extract<SimMessage, { kind: "merge-sessions" | "merge-end" }>;

export class SimNode {
  readonly options: NodeOptions;
  readonly entries = new Map<number, Entry>();
  readonly refusedIds = new Set<number>();
  readonly refusedGifts = new Set<number>();
  sender: sender.SenderState;
  receiver: receiver.ReceiverState;
  role: Role = "idle";
  term = 0;
  now = 0 as Millis;
  refusing = false;
  #events: Change[] = [];
  #overrun = false;
  #dump: Dump | null = null;
  #held: { snapshot: number; changes: Change[]; more: boolean } | null = null;
  #inbox: SimMessage[] = [];
  #job: { changes: Change[]; done: number; generation: number } | null = null;
  #sweep: number | null = null;
  #gifts: { readonly message: MergeMessage; readonly taking: Taking | null; done: number }[] = [];
  #giving: { readonly giving: Giving; readonly dump: Dump } | null = null;
  readonly counts = {
    purges: 0,
    sweeps: 0,
    restarts: 0,
    overruns: 0,
    skipped: 0,
    logFull: 0,
    keysFull: 0,
    mergesBegun: 0,
    mergesDone: 0,
    mergeTaken: 0,
    mergeEnded: 0,
    inserted: 0,
    same: 0,
    clashed: 0,
  };

  constructor(options: NodeOptions) {
    this.options = options;
    this.sender = this.#newSender();
    this.receiver = receiver.createReceiver();
  }

  #newSender(): sender.SenderState {
    const keys = new ChangedKeys(this.options.keysMax, 7);
    if (this.options.mutation === "send-changed-keys") keys.has = () => false;
    const ended = new EndedKeys(7);
    if (this.options.mutation === "ended-returns") ended.has = () => false;
    return sender.createSender(this.options.limits, keys, ended);
  }

  get idle(): boolean {
    return (
      this.#events.length === 0 &&
      !this.#overrun &&
      this.#inbox.length === 0 &&
      this.#job === null &&
      this.#sweep === null &&
      this.#gifts.length === 0 &&
      this.#held === null
    );
  }

  /** Packets change the table: an entry comes, changes or ends, and the kernel tells (false: it could not). */
  change(operation: Change["operation"], id: number, version: number): boolean {
    if (operation === "delete") this.entries.delete(id);
    else this.entries.set(id, { version, generation: this.entries.get(id)?.generation ?? 0 });
    if (this.#events.length >= this.options.eventsMax) {
      this.#overrun = true;
      return false;
    }
    this.#events.push({ operation, id, version });
    return true;
  }

  setRole(role: Role, term: number): void {
    this.role = role;
    this.term = term;
    if (role === "active") {
      const relieved = receiver.relieves(this.receiver, this.now);
      this.#receive({ kind: "role", standby: false });
      this.#receive({ kind: "own" });
      this.#send({ kind: "active", term, relieved });
    } else {
      this.#send({ kind: "inactive" });
      this.#receive({ kind: "role", standby: role === "standby" });
    }
    this.options.send({ kind: "role", role, term });
  }

  up(peerRole: Role, peerTerm: number): void {
    this.#receive({ kind: "peer", role: peerRole, term: peerTerm });
  }

  down(): void {
    this.#inbox = [];
    this.#job = null;
    this.#sweep = null;
    this.#gifts = [];
    if (this.options.mutation === "merge-forgotten") this.receiver.own = false;
    this.#send({ kind: "unsubscribe" });
    this.#receive({ kind: "disconnected" });
  }

  /** The daemon starts anew: its kernel's entries are what is left of it. */
  restart(wiped: boolean): void {
    if (wiped) this.entries.clear();
    this.#count();
    this.sender = this.#newSender();
    this.receiver = receiver.createReceiver();
    this.#events = [];
    this.#overrun = false;
    this.#dump = null;
    this.#held = null;
    this.#inbox = [];
    this.#job = null;
    this.#sweep = null;
    this.#gifts = [];
    this.#giving = null;
    const generations = [0, 1, 2, 3].filter((each) =>
      [...this.entries.values()].some((entry) => entry.generation === each),
    );
    this.#receive({ kind: "carried", generations });
    this.setRole(this.role, this.term);
  }

  /** As LogSender.turn; `budget` batches of events at most. */
  turn(budget: number): void {
    if (this.role !== "active") {
      this.#held = null;
      this.#events = [];
      this.#overrun = false;
      return;
    }
    if (this.#held === null && sender.wantsChunk(this.sender, this.now)) this.#readChunk();
    if (this.#drain(budget) && this.#held !== null) {
      const { snapshot, changes, more } = this.#held;
      this.#held = null;
      const number =
        this.options.mutation === "stale-chunk-sent" ? sender.snapshotNumber(this.sender) : snapshot;
      this.#chunk(number, changes, more);
    }
  }

  deliver(message: SimMessage): void {
    if (message.kind === "subscribe")
      this.#send({ ...message, own: message.own && this.options.mutation !== "no-merge" });
    else if (message.kind === "merge-sessions" || message.kind === "merge-end")
      this.#gifts.push({ message, taking: this.sender.taking, done: 0 });
    else if (message.kind === "acknowledge") {
      this.options.acknowledged(message.position);
      this.#send({ kind: "acknowledge", position: message.position });
    } else this.#inbox.push(message);
  }

  /** One step of the standby's worker: a slice of a message, a sweep, or the next message. */
  work(): void {
    if (this.#job !== null) this.#applySlice();
    else if (this.#sweep !== null) this.#doSweep();
    else if (this.#gifts.length > 0) this.#takeSlice();
    else {
      const message = this.#inbox.shift();
      if (message !== undefined) this.#handle(message);
      else this.#give();
    }
  }

  /** As MergeGiver. */
  #give(): void {
    const { giving } = this.receiver;
    if (giving === null || !receiver.wantsChunk(this.receiver)) return;
    if (this.#giving?.giving !== giving)
      this.#giving = { giving, dump: { snapshot: 0, prepared: [], next: 0 } };
    const { dump } = this.#giving;
    this.#prepare(dump);
    const bytes = batchOf(dump.prepared.map(bytesOf));
    this.#receive({ kind: "merge-chunk", bytes, count: dump.prepared.length, more: dump.next !== null });
  }

  /** As MergeTaker: events first, then a slice of the message at hand. */
  #takeSlice(): void {
    const gift = this.#gifts[0]!;
    const { message, taking } = gift;
    this.#drain(100);
    const late = this.options.mutation === "merge-after-takeover";
    if (taking === null || (this.sender.taking !== taking && !late)) {
      if (taking === null) this.#send(message);
      this.#gifts.shift();
      return;
    }
    if (message.kind === "merge-end") {
      this.#gifts.shift();
      this.#send(message);
      return;
    }
    const changes = changesIn(message.bytes, message.count);
    const slice = changes.slice(gift.done, gift.done + 1 + this.options.random.below(3));
    const first = { term: message.first.term, sequence: message.first.sequence + gift.done };
    gift.done += slice.length;
    if (gift.done === changes.length) this.#gifts.shift();
    if (late && this.sender.taking !== taking) this.#insert(slice);
    else
      this.#send({
        kind: "merge-sessions",
        first,
        count: slice.length,
        bytes: batchOf(slice.map(bytesOf)),
      });
  }

  /** As SessionWriter.insert. */
  #insert(changes: readonly Change[]): void {
    if (this.role !== "active") throw new Error("M1: a node that is not active takes a merge");
    for (const { operation, id, version } of changes) {
      if (operation !== "create") throw new Error(`a merge of ${operation}`);
      const there = this.entries.get(id);
      if (there !== undefined && this.options.mutation !== "merge-replaces") {
        if (translationOf(there.version) === translationOf(version)) this.counts.same += 1;
        else this.counts.clashed += 1;
      } else if (this.refusing && this.options.random.chance(0.3)) this.refusedGifts.add(id);
      else {
        if (there !== undefined) throw new Error(`M3: session ${id} was replaced by a merge`);
        this.entries.set(id, { version, generation: 0 });
        this.counts.inserted += 1;
        this.options.inserted(id);
      }
    }
  }

  timers(): void {
    const due = receiver.deadline(this.receiver);
    if (due !== null && due <= this.now) this.#receive({ kind: "turn" });
  }

  get refusals(): number {
    return this.receiver.refused;
  }

  #drain(budget: number): boolean {
    for (let batch = 0; batch < budget; batch += 1) {
      const changes = this.#events.splice(0, 1 + this.options.random.below(6));
      if (changes.length > 0)
        this.#send({
          kind: "events",
          bytes: batchOf(changes.map(bytesOf)),
          count: changes.length,
        });
      if (this.#events.length > 0) continue;
      if (this.#overrun) {
        this.#overrun = false;
        if (this.options.mutation !== "overrun-unheard") this.#send({ kind: "overrun" });
      }
      return true;
    }
    return false;
  }

  #readChunk(): void {
    const snapshot = sender.snapshotNumber(this.sender);
    if (this.#dump === null || this.#dump.snapshot !== snapshot)
      this.#dump = { snapshot, prepared: [], next: 0 };
    const dump = this.#dump;
    if (dump.prepared.length === 0 && dump.next === 0) this.#prepare(dump);
    const changes = dump.prepared;
    const more = dump.next !== null;
    this.#prepare(dump);
    this.#held = { snapshot, changes, more: more || dump.prepared.length > 0 };
  }

  #prepare(dump: Dump): void {
    dump.prepared = [];
    if (dump.next === null) return;
    const ids = [...this.entries.keys()].filter((id) => id >= dump.next!).sort((left, right) => left - right);
    const taken = ids.slice(0, this.options.chunkRecords);
    dump.prepared = taken.map((id) => ({ operation: "create", id, version: this.entries.get(id)!.version }));
    dump.next = ids.length > taken.length ? taken.at(-1)! + 1 : null;
  }

  #chunk(snapshot: number, changes: Change[], more: boolean): void {
    this.#send({
      kind: "chunk",
      snapshot,
      bytes: batchOf(changes.map(bytesOf)),
      count: changes.length,
      more,
    });
  }

  #send(input: sender.SenderInput): void {
    const effects: sender.SenderEffect[] = [];
    sender.step(this.sender, this.now, input, effects);
    for (const effect of effects) {
      if (effect.kind === "tell-role") this.options.send({ kind: "role", role: this.role, term: this.term });
      else if (effect.kind === "fail") this.options.fail(effect.reason);
      else if (effect.kind === "insert") this.#insert(changesIn(effect.bytes, effect.count));
      else if (effect.kind === "sessions") {
        const bytes = effect.bytes.slice();
        changesIn(bytes, effect.count).forEach((change, index) => {
          this.options.logged(effect.first.term, effect.first.sequence + index, change);
        });
        this.options.send({ ...effect, bytes });
      } else this.options.send(effect);
    }
    const chunkBytesMax = this.options.chunkRecords * RECORD_BYTES_MAX;
    if (this.sender.flight.bytes > this.options.limits.logBytesMax + chunkBytesMax)
      throw new Error("S4: more in flight than the log holds");
  }

  #receive(input: receiver.ReceiverInput): void {
    const effects: receiver.ReceiverEffect[] = [];
    receiver.step(this.receiver, this.now, input, effects);
    for (const effect of effects) {
      if (effect.kind === "subscribe") this.options.send(effect);
      else if (effect.kind === "acknowledge" || effect.kind === "merge-end") this.options.send(effect);
      else if (effect.kind === "merge-sessions")
        this.options.send({ ...effect, bytes: effect.bytes.slice() });
      else if (effect.kind === "fail") this.options.fail(effect.reason);
      else if (effect.kind === "purge") {
        this.counts.purges += 1;
        if (this.options.mutation === "no-purge") continue;
        for (const [id, entry] of this.entries)
          if (entry.generation === effect.generation) this.entries.delete(id);
      } else if (effect.kind === "sweep") this.#sweep = effect.generation;
      else {
        const generation = this.options.mutation === "one-generation" ? 1 : effect.generation;
        this.#job = { changes: changesIn(effect.bytes, effect.count), done: 0, generation };
      }
    }
  }

  #handle(message: SimMessage): void {
    switch (message.kind) {
      case "role":
        this.#receive({ kind: "peer", role: message.role, term: message.term });
        return;
      case "snapshot-begin":
        this.refusedIds.clear();
        this.#receive(message);
        return;
      case "sessions":
        this.#receive({ kind: "sessions", first: message.first, count: message.count, bytes: message.bytes });
        return;
      case "snapshot-end":
      case "merge-request":
      case "merge-acknowledge":
        this.#receive(message);
        return;
      default:
        throw new Error(`unexpected ${message.kind}`);
    }
  }

  #wanted(): boolean {
    return receiver.isFollowing(this.receiver);
  }

  #applySlice(): void {
    const job = this.#job!;
    if (!this.#wanted() && this.options.mutation !== "write-after-takeover") {
      this.#job = null;
      return;
    }
    if (this.role !== "standby") throw new Error("R3: a node that is not standby writes the peer's records");
    const count = Math.min(
      1 + this.options.random.below(this.options.sliceRecords),
      job.changes.length - job.done,
    );
    const early = this.options.mutation === "acknowledge-early";
    if (early && job.done === 0) this.#receive({ kind: "applied", count: job.changes.length, refused: 0 });
    const slice = job.changes.slice(job.done, job.done + count);
    let refused = 0;
    for (const change of slice) if (!this.#write(change, job.generation)) refused += 1;
    job.done += count;
    if (job.done === job.changes.length) this.#job = null;
    if (!early) this.#receive({ kind: "applied", count, refused });
  }

  #write({ operation, id, version }: Change, generation: number): boolean {
    if (operation === "delete") {
      this.refusedIds.delete(id);
      this.entries.delete(id);
      return true;
    }
    if (this.refusing && this.options.random.chance(0.3)) {
      this.refusedIds.add(id);
      return false;
    }
    this.refusedIds.delete(id);
    this.entries.set(id, { version, generation });
    return true;
  }

  #doSweep(): void {
    const generation = this.options.mutation === "one-generation" ? 1 : this.#sweep!;
    this.#sweep = null;
    if (!this.#wanted() && this.options.mutation !== "sweep-after-takeover") return;
    if (this.role !== "standby") throw new Error("R4: a node that is not standby sweeps");
    this.counts.sweeps += 1;
    if (this.options.mutation !== "no-sweep") {
      for (const [id, entry] of this.entries) if (entry.generation !== generation) this.entries.delete(id);
    }
    this.#receive({ kind: "swept" });
  }

  #count(): void {
    const { counters } = this.sender;
    this.counts.restarts += counters.restartsOverrun + counters.restartsDumpFailed;
    this.counts.overruns += counters.overruns;
    this.counts.skipped += counters.skippedInSnapshot;
    this.counts.logFull += counters.restartsLogFull;
    this.counts.keysFull += counters.restartsKeysFull;
    for (const name of ["mergesBegun", "mergesDone", "mergeTaken", "mergeEnded"] as const)
      this.counts[name] += counters[name];
  }

  /** What happened in all lives of this node. */
  totals(): Readonly<Record<string, number>> {
    this.#count();
    return this.counts;
  }
}
