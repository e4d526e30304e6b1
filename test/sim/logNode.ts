// One node of the log simulator: the two real machines of core/replication, of this version or of version 1, over a model
// kernel (logKernel.ts), with drivers like the daemon's. Virtual time and all chance come from outside; mutations break
// one rule each, for the tests that show that the simulator would notice.

import type { Millis, Role } from "../../src/base/units.ts";
import type { Taking } from "../../src/core/replication/merge.ts";
import type { ReceiverEffect, ReceiverInput } from "../../src/core/replication/receiverState.ts";
import type { SenderInput } from "../../src/core/replication/senderState.ts";
import { batchOf } from "../core/records.ts";
import { SimKernel, Walk } from "./logKernel.ts";
import { newReceiver, newSender, type ReceiverMachine, type SenderMachine } from "./logMachines.ts";
import type { NodeOptions, SimMessage } from "./logOptions.ts";
import { bytesOf, type Change, changesIn, translationOf } from "./logRecords.ts";

const NEW_MESSAGES: ReadonlySet<string> = new Set(["round-due", "round-begin", "round-end", "round-swept"]);
const RECORD_BYTES_MAX = 40;
/** Without refreshes an entry on a standby is given no less than this. */
const OLD_STANDBY_MS = 21_600_000;

type Purpose = "chunk" | "refresh-chunk";
type MergeMessage = Extract<SimMessage, { kind: "merge-sessions" | "merge-end" }>;

interface Held {
  readonly purpose: Purpose;
  readonly number: number;
  readonly changes: readonly Change[];
  readonly more: boolean;
}

export class SimNode {
  readonly options: NodeOptions;
  readonly kernel: SimKernel;
  readonly refusedIds = new Set<number>();
  readonly refusedGifts = new Set<number>();
  sender: SenderMachine;
  receiver: ReceiverMachine;
  version: 1 | 2;
  role: Role = "idle";
  term = 0;
  now = 0 as Millis;
  /** The next dump that is read on ends in an error. */
  dumpBroken = false;
  #dumps: Record<Purpose, { readonly number: number; readonly walk: Walk } | null> = {
    chunk: null,
    "refresh-chunk": null,
  };
  #held: Held | null = null;
  #inbox: SimMessage[] = [];
  #job: { changes: Change[]; done: number; generation: number } | null = null;
  #sweep: number | null = null;
  #roundWalk: Walk | null = null;
  #gifts: { readonly message: MergeMessage; readonly taking: Taking | null; done: number }[] = [];
  #giving: { readonly giving: object; readonly walk: Walk } | null = null;
  readonly #sums: Record<string, number> = {};
  readonly counts = { purges: 0, sweeps: 0, roundSweeps: 0, inserted: 0, same: 0, clashed: 0 };

  constructor(options: NodeOptions) {
    this.options = options;
    this.version = options.version;
    this.kernel = new SimKernel(options.random, options.eventsMax);
    this.kernel.kind = this.version === 1;
    this.sender = this.#newSender();
    this.receiver = newReceiver(this.version);
  }

  #newSender(): SenderMachine {
    const { limits, keysMax, mutation } = this.options;
    return newSender(this.version, limits, keysMax, mutation);
  }

  get entries(): SimKernel["entries"] {
    return this.kernel.entries;
  }

  get idle(): boolean {
    return (
      this.kernel.idle &&
      this.#inbox.length === 0 &&
      this.#job === null &&
      this.#sweep === null &&
      this.#gifts.length === 0 &&
      this.#held === null
    );
  }

  /** As the daemon's `setRole`. */
  setRole(role: Role, term: number): void {
    this.role = role;
    this.term = term;
    if (role === "active") {
      const relieved = this.receiver.relieves(this.now);
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
    this.#forgetWork();
    if (this.options.mutation === "merge-forgotten") this.receiver.disown();
    this.#send({ kind: "unsubscribe" });
    this.#receive({ kind: "disconnected" });
  }

  #forgetWork(): void {
    this.#inbox = [];
    this.#job = null;
    this.#sweep = null;
    this.#gifts = [];
  }

  /** The daemon starts anew, maybe as another version: its kernel's entries are what is left of it. */
  restart(wiped: boolean, version: 1 | 2): void {
    if (wiped) this.entries.clear();
    this.#count();
    this.version = version;
    this.kernel.kind = version === 1;
    this.sender = this.#newSender();
    this.receiver = newReceiver(version);
    this.kernel.discard();
    this.#dumps = { chunk: null, "refresh-chunk": null };
    this.#held = null;
    this.#forgetWork();
    this.#roundWalk = null;
    this.#giving = null;
    this.#receive({ kind: "carried", generations: this.kernel.generations() });
    this.setRole(this.role, this.term);
  }

  /** Somebody does not trust the standby's copy of these buckets. */
  doubt(buckets: Uint8Array | null): void {
    if (this.sender.version === 2) this.#send({ kind: "dirty", buckets });
  }

  /** As LogSender.turn; `budget` batches of events at most. */
  turn(budget: number): void {
    if (this.role !== "active") {
      this.#held = null;
      this.kernel.discard();
      if (this.sender.losing) this.#send({ kind: "drained" });
      return;
    }
    this.#send({ kind: "turn" });
    if (this.#held === null) {
      const chunk = this.sender.wantsChunk(this.now);
      const refresh = this.sender.wantsRefresh(this.now);
      if (chunk !== null) this.#readChunk("chunk", chunk);
      else if (refresh !== null) this.#readChunk("refresh-chunk", refresh);
    }
    if (this.#drain(budget) && this.#held !== null) this.#feedChunk(this.#held);
  }

  #feedChunk({ purpose, number, changes, more }: Held): void {
    this.#held = null;
    const bytes = batchOf(changes.map(bytesOf));
    const count = changes.length;
    if (purpose === "refresh-chunk") {
      this.#send({ kind: purpose, refresh: number, bytes, count, more });
      return;
    }
    const stale = this.options.mutation === "stale-chunk-sent";
    const round = stale ? (this.sender.wantsChunk(this.now) ?? number) : number;
    this.#send({ kind: purpose, round, bytes, count, more });
  }

  deliver(message: SimMessage): void {
    const { mutation } = this.options;
    switch (message.kind) {
      case "subscribe": {
        const own = message.own && mutation !== "no-merge";
        this.#send({ ...message, own, knowsRounds: this.options.spoken() >= 2 });
        return;
      }
      case "merge-sessions":
      case "merge-end":
        this.#gifts.push({ message, taking: this.sender.taking, done: 0 });
        return;
      case "acknowledge":
      case "round-swept":
        this.#send(message);
        return;
      default:
        this.#inbox.push(message);
    }
  }

  /** One step of the standby's workers: a slice of a message, a sweep, the next message; and one through the table. */
  work(): void {
    if (this.receiver.wantsSweep) this.#sweepRound();
    else this.#roundWalk = null;
    if (this.#job !== null) this.#applySlice();
    else if (this.#sweep !== null) this.#doSweep();
    else if (this.#gifts.length > 0) this.#takeSlice();
    else {
      const message = this.#inbox.shift();
      if (message !== undefined) this.#handle(message);
      else this.#give();
    }
  }

  /** As RoundSweeper: only keys. */
  #sweepRound(): void {
    this.#roundWalk ??= new Walk(this.kernel, this.options.chunkRecords);
    const { changes, more } = this.#roundWalk.step();
    if (!more) this.#roundWalk = null;
    const keys = changes.map(({ id }) => bytesOf({ operation: "delete", id, version: 0, seconds: 0 }));
    this.#receive({ kind: "round-chunk", bytes: batchOf(keys), count: keys.length, more });
  }

  /** As MergeGiver. */
  #give(): void {
    const { giving } = this.receiver;
    if (giving === null || !this.receiver.wantsGift) return;
    if (this.#giving?.giving !== giving)
      this.#giving = { giving, walk: new Walk(this.kernel, this.options.chunkRecords) };
    const { changes, more } = this.#giving.walk.step();
    const bytes = batchOf(changes.map(bytesOf));
    this.#receive({ kind: "merge-chunk", bytes, count: changes.length, more });
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
    for (const change of changes) {
      const { operation, id, version } = change;
      if (operation !== "create") throw new Error(`a merge of ${operation}`);
      const there = this.entries.get(id);
      if (there !== undefined && this.options.mutation !== "merge-replaces") {
        if (translationOf(there.version) === translationOf(version)) this.counts.same += 1;
        else this.counts.clashed += 1;
        continue;
      }
      if (!this.kernel.write(change, 0, 0)) this.refusedGifts.add(id);
      else {
        if (there !== undefined) throw new Error(`M3: session ${id} was replaced by a merge`);
        this.counts.inserted += 1;
        this.options.inserted(id);
      }
    }
  }

  /** `traffic`: packets pass here, and extend what talks. */
  timers(traffic: boolean): void {
    this.kernel.pass(this.now, traffic, this.options.expired);
    const due = this.receiver.deadline();
    if (due !== null && due <= this.now) this.#receive({ kind: "turn" });
  }

  /** True where nothing is left to be read. */
  #drain(budget: number): boolean {
    const { mutation, random } = this.options;
    for (let batch = 0; batch < budget; batch += 1) {
      const { changes, overrun, empty } = this.kernel.read(1 + random.below(6));
      const tell = (): void => {
        if (overrun && mutation !== "overrun-unheard") this.#send({ kind: "overrun" });
        if (overrun && mutation === "loss-taken-for-over") this.#send({ kind: "drained" });
      };
      if (!this.kernel.kind) tell();
      if (changes.length > 0)
        this.#send({ kind: "events", bytes: batchOf(changes.map(bytesOf)), count: changes.length });
      if (this.kernel.kind) tell();
      if (!empty) continue;
      if (this.sender.losing) this.#send({ kind: "drained" });
      return true;
    }
    return false;
  }

  #readChunk(purpose: Purpose, number: number): void {
    if (this.dumpBroken) {
      this.dumpBroken = false;
      this.#dumps[purpose] = null;
      this.#send({ kind: purpose === "chunk" ? "dump-failed" : "refresh-failed" });
      return;
    }
    if (this.#dumps[purpose]?.number !== number)
      this.#dumps[purpose] = { number, walk: new Walk(this.kernel, this.options.chunkRecords) };
    this.#held = { purpose, number, ...this.#dumps[purpose].walk.step() };
  }

  #send(input: SenderInput): void {
    if (input.kind === "overrun" && this.role !== "active") return;
    for (const effect of this.sender.feed(this.now, input)) {
      if (effect.kind === "tell-role") this.options.send({ kind: "role", role: this.role, term: this.term });
      else if (effect.kind === "fail") this.options.fail(effect.reason);
      else if (effect.kind === "insert") this.#insert(changesIn(effect.bytes, effect.count));
      else if (effect.kind === "sessions") {
        const bytes = effect.bytes.slice();
        changesIn(bytes, effect.count).forEach((change, index) => {
          this.options.logged(effect.first.sequence + index, change);
        });
        this.#say({ ...effect, bytes });
      } else this.#say(effect);
    }
    if (this.sender.inFlight > this.sender.inFlightMax(this.options.chunkRecords * RECORD_BYTES_MAX))
      throw new Error("S4: more in flight than the log holds");
  }

  #say(message: SimMessage): void {
    if (NEW_MESSAGES.has(message.kind) && this.options.spoken() < 2)
      throw new Error(`a peer of version 1 is told ${message.kind}`);
    this.options.send(message);
  }

  #receive(input: ReceiverInput): void {
    for (const effect of this.receiver.feed(this.now, input)) this.#perform(effect);
  }

  #perform(effect: ReceiverEffect): void {
    const { mutation } = this.options;
    switch (effect.kind) {
      case "acknowledge":
        this.options.acknowledges(effect.position);
        this.options.send(effect);
        return;
      case "subscribe":
      case "merge-end":
      case "round-swept":
        this.#say(effect);
        return;
      case "merge-sessions":
        this.options.send({ ...effect, bytes: effect.bytes.slice() });
        return;
      case "fail":
        this.options.fail(effect.reason);
        return;
      case "remove":
        this.#remove(changesIn(effect.bytes, effect.count));
        return;
      case "purge":
        this.counts.purges += 1;
        if (mutation !== "no-purge") this.kernel.sweep(effect.generation, true);
        return;
      case "sweep":
        this.#sweep = effect.generation;
        return;
      default: {
        const generation = mutation === "one-generation" ? 1 : effect.generation;
        this.#job = { changes: changesIn(effect.bytes, effect.count), done: 0, generation };
      }
    }
  }

  #remove(changes: readonly Change[]): void {
    if (this.role !== "standby")
      throw new Error("H2: a node that is not standby removes what a round left behind");
    this.counts.roundSweeps += changes.length;
    if (this.options.mutation === "round-unswept") return;
    for (const change of changes) this.kernel.write(change, 0, 0);
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
      case "sessions": {
        const { first, count, bytes, read } = message;
        const hear = (): void => this.#receive({ kind: "sessions", first, count, bytes });
        if (this.options.mutation === "changes-unheard" && !read) this.receiver.deafly(hear);
        else hear();
        return;
      }
      case "snapshot-end":
      case "round-due":
      case "round-begin":
      case "round-end":
      case "merge-request":
      case "merge-acknowledge":
        this.#receive(message);
        return;
      default:
        throw new Error(`unexpected ${message.kind}`);
    }
  }

  #applySlice(): void {
    const job = this.#job!;
    if (!this.receiver.following && this.options.mutation !== "write-after-takeover") {
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

  #write(change: Change, generation: number): boolean {
    // Nobody refreshes what an active of version 1 has sent.
    const refreshed = this.options.spoken() >= 2;
    const standbyMs = refreshed ? 3 * this.options.limits.refreshRoundMs : OLD_STANDBY_MS;
    const written = this.kernel.write(change, generation, standbyMs);
    if (written) this.refusedIds.delete(change.id);
    else this.refusedIds.add(change.id);
    return written;
  }

  #doSweep(): void {
    const generation = this.options.mutation === "one-generation" ? 1 : this.#sweep!;
    this.#sweep = null;
    if (!this.receiver.following && this.options.mutation !== "sweep-after-takeover") return;
    if (this.role !== "standby") throw new Error("R4: a node that is not standby sweeps");
    this.counts.sweeps += 1;
    if (this.options.mutation !== "no-sweep") this.kernel.sweep(generation, false);
    this.#receive({ kind: "swept" });
  }

  #count(): void {
    const counters = { ...this.receiver.counters, ...this.sender.counters };
    for (const [name, value] of Object.entries(counters)) this.#sums[name] = (this.#sums[name] ?? 0) + value;
  }

  /** What happened in all lives of this node; to be asked once. */
  totals(): Readonly<Record<string, number>> {
    this.#count();
    return { ...this.#sums, ...this.counts, overruns: this.kernel.overruns, told: this.kernel.told };
  }
}
