// Sessions into the kernel: the hot path of the standby. Records are turned into netlink requests, many a send;
// the kernel works through them inside that one system call, and only what it refuses is read back, without
// blocking, and matched by sequence number. Never trusts: `apply` wants records that validateRecords accepted.
// What an acknowledgement to the peer means ("in the standby's kernel") is true when `apply` has returned.

import { SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { recordOperation, SessionOperation, sameKey } from "../wire/session.ts";
import { sameTuples } from "../wire/sessionFields.ts";
import { errno } from "./libc.ts";
import {
  isWhole,
  openSessionExchange,
  REQUESTS_PER_REPLACEMENT,
  refuse,
  type SessionExchange,
} from "./sessionExchange.ts";
import { type InsertResult, SessionInserter } from "./sessionInsert.ts";
import { sweepGenerations } from "./sessionSweep.ts";

export interface ApplyResult {
  readonly created: number;
  /** Changed in place; among them creates of what was there already with the same translation. */
  readonly updated: number;
  readonly deleted: number;
  /** Deleted and made anew: another translation stood in the way. */
  readonly replaced: number;
  /** Deletes of what was not there. */
  readonly absent: number;
  /** What the kernel would not take, by errno name: `ENOMEM` is a full table. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface SessionWriter {
  /** Own netlink port id, for `SessionEventsOptions.ignore`. */
  readonly portId: number;
  /**
   * Whether who sends the records says each session's time again, round after round (protocol version 2): what `apply`
   * writes then outlives three rounds, else six hours.
   */
  refreshed: boolean;
  /**
   * Writes the records (validated, `count` of them, in order; the last word on a session wins) into the kernel,
   * marked with `generation` 0..3 in bits 28-29. Synchronous: about 3 us a record.
   */
  apply(bytes: Uint8Array, count: number, generation: number): ApplyResult;
  /**
   * Adds those of the records (validated creates, `count` of them) whose tuples are free, as made on this node, for
   * the time left to them, or 600 s where they end by silence. What is there is never touched. Synchronous.
   */
  insert(bytes: Uint8Array, count: number): InsertResult;
  /**
   * Ends every entry of these links with another generation than `generation`: the end of a snapshot, which is
   * a set. Returns how many it ended. Synchronous: two walks of the table (25 ms each for 262,144 buckets), and
   * about 7 us an entry that goes. Call it from the writer's network namespace.
   */
  sweep(linkIds: readonly number[], generation: number): number;
  close(): void;
}

/** Opens the writer's sockets, in the network namespace of the calling thread. Throws KernelError. */
export function openSessionWriter(): SessionWriter {
  return new Writer(openSessionExchange());
}

interface Counts {
  created: number;
  updated: number;
  deleted: number;
  replaced: number;
  absent: number;
  refused: Record<string, number>;
}

class Writer implements SessionWriter {
  readonly #kernel: SessionExchange;
  readonly #inserter: SessionInserter;
  /** Start of each record of the chunk in hand. */
  readonly #offsets = new Uint32Array(SESSION_REQUESTS_PER_SEND);
  /** Which records of the chunk the kernel holds already, as `#look` found. */
  readonly #there = new Uint8Array(SESSION_REQUESTS_PER_SEND);
  #looksFirst = false;

  constructor(kernel: SessionExchange) {
    this.#kernel = kernel;
    this.#inserter = new SessionInserter(kernel);
  }

  get portId(): number {
    return this.#kernel.portId;
  }

  get refreshed(): boolean {
    return this.#kernel.requests.refreshed;
  }

  set refreshed(refreshed: boolean) {
    this.#kernel.requests.refreshed = refreshed;
  }

  apply(bytes: Uint8Array, count: number, generation: number): ApplyResult {
    const counts: Counts = { created: 0, updated: 0, deleted: 0, replaced: 0, absent: 0, refused: {} };
    let offset = 0;
    for (let done = 0; done < count; ) {
      const chunk = Math.min(SESSION_REQUESTS_PER_SEND, count - done);
      offset = this.#applyChunk(bytes, offset, chunk, generation, counts);
      done += chunk;
    }
    return counts;
  }

  /** One send. Returns the offset behind the last record. */
  #applyChunk(bytes: Uint8Array, start: number, chunk: number, generation: number, counts: Counts): number {
    const fields = this.#kernel.fields;
    const looked = this.#looksFirst && this.#look(bytes, start, chunk);
    this.#kernel.begin();
    let offset = start;
    for (let index = 0; index < chunk; index += 1) {
      this.#offsets[index] = offset;
      offset = this.#kernel.record(bytes, offset);
      const sequence = this.#kernel.sequence + index;
      const there = looked && this.#there[index] === 1;
      if (fields.operation === SessionOperation.Create && !there)
        this.#kernel.requests.create(fields, sequence, generation);
      else if (fields.operation === SessionOperation.Create)
        this.#kernel.requests.update(fields, sequence, generation);
      else if (fields.operation === SessionOperation.Update)
        this.#kernel.requests.update(fields, sequence, generation);
      else this.#kernel.requests.delete(fields, sequence, "original");
    }
    const failures = this.#kernel.perform(chunk, null);
    const disputed: number[] = [];
    for (let index = 0; index < chunk; index += 1)
      this.#judge(
        bytes,
        index,
        chunk,
        failures > 0 ? this.#kernel.errors[index]! : 0,
        counts,
        disputed,
        looked,
      );
    if (disputed.length > 0) this.#settle(bytes, disputed, generation, counts);
    return offset;
  }

  /**
   * A create that clashes costs the kernel three requests, a look beforehand two. So after a chunk whose creates
   * were mostly there already (a snapshot over a table in good order), the next is looked up first; until looking
   * finds less than half. True where some of the chunk's creates were found.
   */
  #look(bytes: Uint8Array, start: number, chunk: number): boolean {
    this.#there.fill(0);
    this.#kernel.begin();
    let creates = 0;
    let offset = start;
    for (let index = 0; index < chunk; index += 1) {
      this.#offsets[index] = offset;
      offset = this.#kernel.record(bytes, offset);
      if (this.#kernel.fields.operation !== SessionOperation.Create) continue;
      creates += 1;
      this.#kernel.requests.get(this.#kernel.fields, this.#kernel.sequence + index);
    }
    if (creates === 0) return false;
    let there = 0;
    this.#kernel.perform(chunk, (index) => {
      this.#kernel.record(bytes, this.#offsets[index]!);
      if (!sameTuples(this.#kernel.fields, this.#kernel.found)) return;
      this.#there[index] = 1;
      there += 1;
    });
    this.#looksFirst = there * 2 >= creates;
    return there > 0;
  }

  /** Counts what went well; what did not, and is worth a second look, goes into `disputed` (record offsets). */
  #judge(
    bytes: Uint8Array,
    index: number,
    chunk: number,
    error: number,
    counts: Counts,
    disputed: number[],
    looked: boolean,
  ): void {
    const offset = this.#offsets[index]!;
    const operation = recordOperation(bytes, offset);
    if (operation === SessionOperation.Delete) {
      if (error === 0) counts.deleted += 1;
      else if (error === errno.ENOENT) counts.absent += 1;
      else refuse(counts, error);
      return;
    }
    if (error === 0) {
      const there = looked && this.#there[index] === 1;
      if (operation === SessionOperation.Create && !there) counts.created += 1;
      else counts.updated += 1;
      return;
    }
    if (isWhole(error)) {
      refuse(counts, error);
      return;
    }
    // A later record of this chunk on the same session was carried out already: it has the last word.
    const last = this.#lastWord(bytes, index, chunk);
    if (recordOperation(bytes, last) === SessionOperation.Delete) counts.updated += 1;
    else if (!disputed.includes(last)) disputed.push(last);
    else counts.updated += 1;
  }

  /** Offset of the last record of the chunk that is about the same session as record `index`. */
  #lastWord(bytes: Uint8Array, index: number, chunk: number): number {
    for (let later = chunk - 1; later > index; later -= 1)
      if (sameKey(bytes, this.#offsets[index]!, this.#offsets[later]!)) return this.#offsets[later]!;
    return this.#offsets[index]!;
  }

  /**
   * Records that the kernel would not take as they stood: look at what is there. The same session with the same
   * translation is updated in place, so that a snapshot over a table in good order never tears a hole into it;
   * anything else goes, whichever of the two tuples it occupies, and the record's entry takes its place.
   */
  #settle(bytes: Uint8Array, disputed: readonly number[], generation: number, counts: Counts): void {
    const same = new Set<number>();
    this.#kernel.begin();
    disputed.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      this.#kernel.requests.get(this.#kernel.fields, this.#kernel.sequence + index);
    });
    this.#kernel.perform(disputed.length, (index) => {
      this.#kernel.record(bytes, disputed[index]!);
      if (sameTuples(this.#kernel.fields, this.#kernel.found)) same.add(disputed[index]!);
    });
    if (same.size * 2 > SESSION_REQUESTS_PER_SEND) this.#looksFirst = true;
    const clashing = disputed.filter((offset) => !same.has(offset));
    for (const offset of this.#updateInPlace(bytes, [...same], generation, counts)) clashing.push(offset);
    if (clashing.length > 0) this.#replace(bytes, clashing, generation, counts);
  }

  /** Returns those that could not be updated after all. */
  #updateInPlace(
    bytes: Uint8Array,
    offsets: readonly number[],
    generation: number,
    counts: Counts,
  ): readonly number[] {
    if (offsets.length === 0) return [];
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      this.#kernel.requests.update(this.#kernel.fields, this.#kernel.sequence + index, generation);
    });
    this.#kernel.perform(offsets.length, null);
    const left = offsets.filter((_, index) => this.#kernel.errors[index] !== 0);
    counts.updated += offsets.length - left.length;
    return left;
  }

  #replace(bytes: Uint8Array, offsets: readonly number[], generation: number, counts: Counts): void {
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      const sequence = this.#kernel.sequence + index * REQUESTS_PER_REPLACEMENT;
      this.#kernel.requests.delete(this.#kernel.fields, sequence, "original");
      this.#kernel.requests.delete(this.#kernel.fields, sequence + 1, "reply");
      this.#kernel.requests.create(this.#kernel.fields, sequence + 2, generation);
    });
    this.#kernel.perform(offsets.length * REQUESTS_PER_REPLACEMENT, null);
    const left: number[] = [];
    offsets.forEach((offset, index) => {
      const at = index * REQUESTS_PER_REPLACEMENT;
      if (this.#kernel.errors[at + 2] !== 0) left.push(offset);
      else if (this.#kernel.errors[at] === 0 || this.#kernel.errors[at + 1] === 0) counts.replaced += 1;
      else counts.created += 1;
    });
    if (left.length > 0) this.#createBare(bytes, left, generation, counts);
  }

  /** The last attempt: without what this kernel may lack (a helper's module, the master's entry, labels). */
  #createBare(bytes: Uint8Array, offsets: readonly number[], generation: number, counts: Counts): void {
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      this.#kernel.requests.create(this.#kernel.fields, this.#kernel.sequence + index, generation, true);
    });
    this.#kernel.perform(offsets.length, null);
    offsets.forEach((_, index) => {
      const error = this.#kernel.errors[index]!;
      if (error === 0) counts.created += 1;
      else refuse(counts, error);
    });
  }

  insert(bytes: Uint8Array, count: number): InsertResult {
    return this.#inserter.insert(bytes, count);
  }

  sweep(linkIds: readonly number[], generation: number): number {
    return sweepGenerations(this.#kernel, linkIds, generation);
  }

  close(): void {
    this.#kernel.close();
  }
}
