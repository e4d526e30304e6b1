// Sessions into the kernel: the hot path of the standby. Records are turned into netlink requests, many a send;
// the kernel works through them inside that one system call, and only what it refuses is read back, without
// blocking, and matched by sequence number. Never trusts: `apply` wants records that validateRecords accepted.
// What an acknowledgement to the peer means ("in the standby's kernel") is true when `apply` has returned.

import { HELPERS_LACKING_MAX, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { Leave } from "../wire/conntrackWrite.ts";
import { isExpectation } from "../wire/expectation.ts";
import { recordOperation, SessionOperation, sameKey } from "../wire/session.ts";
import { IPS_EXPECTED, type SessionFields, sameTuples } from "../wire/sessionFields.ts";
import { type ExpectationCounts, ExpectationWriter } from "./expectationWriter.ts";
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
  /** Expectations of helpers: written, and ended, whether they were there or not. */
  readonly expected: number;
  readonly unexpected: number;
  /** Left out: their master is not here, or has no helper here, or something else is expected there. */
  readonly notExpected: number;
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

interface Counts extends ExpectationCounts {
  created: number;
  updated: number;
  deleted: number;
  replaced: number;
  absent: number;
  refused: Record<string, number>;
}

const NOTHING = {
  created: 0,
  updated: 0,
  deleted: 0,
  replaced: 0,
  absent: 0,
  expected: 0,
  unexpected: 0,
  notExpected: 0,
};

/** A record that the kernel would not take with all that belongs to it. */
interface Incomplete {
  readonly offset: number;
  /** Why not. */
  readonly error: number;
  /** What it was tried without (Leave). */
  readonly leave: number;
  /** Something made way for it. */
  readonly replaced: boolean;
}

const helperOf = (fields: SessionFields): string =>
  String.fromCharCode(...fields.bytes.subarray(fields.helperAt, fields.helperAt + fields.helperLength));

/** The same session, in the same translation, and with a helper where the record has one: else it is made anew. */
const isSame = (record: SessionFields, found: SessionFields): boolean =>
  sameTuples(record, found) && (record.helperLength === 0 || found.helperLength > 0);

class Writer implements SessionWriter {
  readonly #kernel: SessionExchange;
  readonly #inserter: SessionInserter;
  /** Start of each record of the chunk in hand. */
  readonly #offsets = new Uint32Array(SESSION_REQUESTS_PER_SEND);
  /** Which records of the chunk the kernel holds already, as `#look` found. */
  readonly #there = new Uint8Array(SESSION_REQUESTS_PER_SEND);
  /** IPS_EXPECTED of each of them, which an update must repeat. */
  readonly #expected = new Uint8Array(SESSION_REQUESTS_PER_SEND);
  readonly #expectations: ExpectationWriter;
  /** Helpers that this kernel was found to lack, in this generation. */
  readonly #lacking = new Set<string>();
  #generation = 0;
  #taken = 0;
  #looksFirst = false;

  constructor(kernel: SessionExchange) {
    this.#kernel = kernel;
    this.#inserter = new SessionInserter(kernel);
    this.#expectations = new ExpectationWriter(kernel);
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
    const counts: Counts = { ...NOTHING, refused: {} };
    // A module may have been loaded since.
    if (generation !== this.#generation) this.#lacking.clear();
    this.#generation = generation;
    let offset = 0;
    for (let done = 0; done < count; ) {
      const left = count - done;
      if (isExpectation(bytes, offset)) {
        const { taken, end } = this.#expectations.apply(bytes, offset, left, generation, counts);
        offset = end;
        done += taken;
      } else {
        offset = this.#applyChunk(bytes, offset, Math.min(SESSION_REQUESTS_PER_SEND, left), counts);
        done += this.#taken;
      }
    }
    return counts;
  }

  /** One send: up to `most` records, up to the first that is no session's. Returns the offset behind the last (`#taken`). */
  #applyChunk(bytes: Uint8Array, start: number, most: number, counts: Counts): number {
    const generation = this.#generation;
    const { fields, requests } = this.#kernel;
    const looked = this.#looksFirst && this.#look(bytes, start, most);
    this.#kernel.begin();
    let offset = start;
    let chunk = 0;
    for (; chunk < most && !isExpectation(bytes, offset); chunk += 1) {
      this.#offsets[chunk] = offset;
      offset = this.#record(bytes, offset);
      const sequence = this.#kernel.sequence + chunk;
      const there = looked && this.#there[chunk] === 1;
      if (fields.operation === SessionOperation.Delete) requests.delete(fields, sequence, "original");
      else if (fields.operation === SessionOperation.Update) requests.update(fields, sequence, generation);
      else if (there) requests.update(fields, sequence, generation, this.#expected[chunk]);
      else requests.create(fields, sequence, generation);
    }
    this.#taken = chunk;
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
    if (disputed.length > 0) this.#settle(bytes, disputed, counts);
    return offset;
  }

  /**
   * A create that clashes costs the kernel three requests, a look beforehand two. So after a chunk whose creates
   * were mostly there already (a snapshot over a table in good order), the next is looked up first; until looking
   * finds less than half. True where some of the chunk's creates were found.
   */
  #look(bytes: Uint8Array, start: number, most: number): boolean {
    const { fields, found, requests } = this.#kernel;
    this.#there.fill(0);
    this.#kernel.begin();
    let creates = 0;
    let offset = start;
    let chunk = 0;
    for (; chunk < most && !isExpectation(bytes, offset); chunk += 1) {
      this.#offsets[chunk] = offset;
      offset = this.#record(bytes, offset);
      if (fields.operation !== SessionOperation.Create) continue;
      creates += 1;
      requests.get(fields, this.#kernel.sequence + chunk);
    }
    if (creates === 0) return false;
    let there = 0;
    this.#kernel.perform(chunk, (index) => {
      this.#record(bytes, this.#offsets[index]!);
      if (!isSame(fields, found)) return;
      this.#there[index] = 1;
      this.#expected[index] = found.status & IPS_EXPECTED;
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
  #settle(bytes: Uint8Array, disputed: readonly number[], counts: Counts): void {
    const { fields, found, requests } = this.#kernel;
    // With the one bit of its status that cannot be changed, and must therefore be told again.
    const same = new Map<number, number>();
    this.#kernel.begin();
    disputed.forEach((offset, index) => {
      this.#record(bytes, offset);
      requests.get(fields, this.#kernel.sequence + index);
    });
    this.#kernel.perform(disputed.length, (index) => {
      this.#record(bytes, disputed[index]!);
      if (isSame(fields, found)) same.set(disputed[index]!, found.status & IPS_EXPECTED);
    });
    if (same.size * 2 > SESSION_REQUESTS_PER_SEND) this.#looksFirst = true;
    const clashing = disputed.filter((offset) => !same.has(offset));
    for (const offset of this.#updateInPlace(bytes, same, counts)) clashing.push(offset);
    if (clashing.length > 0) this.#replace(bytes, clashing, counts);
  }

  /** Returns those that could not be updated after all. */
  #updateInPlace(bytes: Uint8Array, same: ReadonlyMap<number, number>, counts: Counts): readonly number[] {
    if (same.size === 0) return [];
    const { fields, requests, errors } = this.#kernel;
    const offsets = [...same.keys()];
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      requests.update(fields, this.#kernel.sequence + index, this.#generation, same.get(offset));
    });
    this.#kernel.perform(offsets.length, null);
    const left = offsets.filter((_, index) => errors[index] !== 0);
    counts.updated += offsets.length - left.length;
    return left;
  }

  #replace(bytes: Uint8Array, offsets: readonly number[], counts: Counts): void {
    const { fields, requests, errors } = this.#kernel;
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      const sequence = this.#kernel.sequence + index * REQUESTS_PER_REPLACEMENT;
      requests.delete(fields, sequence, "original");
      requests.delete(fields, sequence + 1, "reply");
      requests.create(fields, sequence + 2, this.#generation);
    });
    this.#kernel.perform(offsets.length * REQUESTS_PER_REPLACEMENT, null);
    const left: Incomplete[] = [];
    offsets.forEach((offset, index) => {
      const at = index * REQUESTS_PER_REPLACEMENT;
      const error = errors[at + 2]!;
      const replaced = errors[at] === 0 || errors[at + 1] === 0;
      if (error !== 0) left.push({ offset, error, leave: 0, replaced });
      else if (replaced) counts.replaced += 1;
      else counts.created += 1;
    });
    if (left.length > 0) this.#createIncomplete(bytes, left, counts);
  }

  /** Again, each time without what the kernel would not take it with: the master's entry, the helper's module. */
  #createIncomplete(bytes: Uint8Array, records: readonly Incomplete[], counts: Counts): void {
    const { fields, requests, errors } = this.#kernel;
    let left = records;
    while (left.length > 0) {
      const next: Incomplete[] = [];
      this.#kernel.begin();
      left.forEach((record, index) => {
        this.#record(bytes, record.offset);
        const leave = this.#without(record);
        next.push({ ...record, leave });
        requests.create(fields, this.#kernel.sequence + index, this.#generation, leave);
      });
      this.#kernel.perform(left.length, null);
      left = next.flatMap((record, index) => {
        const error = errors[index]!;
        if (error !== 0 && record.leave !== Leave.All) return [{ ...record, error }];
        if (error !== 0) refuse(counts, error);
        else if (record.replaced) counts.replaced += 1;
        else counts.created += 1;
        return [];
      });
    }
  }

  /** What the record in `fields` is tried without, now that it was refused with `error`. It grows, so it ends. */
  #without({ error, leave }: Incomplete): number {
    const { fields } = this.#kernel;
    if (error === errno.ENOENT! && fields.hasMaster && (leave & Leave.Master) === 0)
      return leave | Leave.Master;
    if (error === errno.EOPNOTSUPP! && fields.helperLength > 0 && (leave & Leave.Helper) === 0) {
      if (this.#lacking.size < HELPERS_LACKING_MAX) this.#lacking.add(helperOf(fields));
      return leave | Leave.Helper;
    }
    return Leave.All;
  }

  /** Reads the record at `offset` as this kernel can hold it; returns the offset behind it. */
  #record(bytes: Uint8Array, offset: number): number {
    const { fields } = this.#kernel;
    const end = this.#kernel.record(bytes, offset);
    if (fields.helperLength > 0 && this.#lacking.size > 0 && this.#lacking.has(helperOf(fields)))
      fields.helperLength = 0;
    return end;
  }

  insert(bytes: Uint8Array, count: number): InsertResult {
    return this.#inserter.insert(bytes, count);
  }

  sweep(linkIds: readonly number[], generation: number): number {
    return (
      sweepGenerations(this.#kernel, linkIds, generation) + this.#expectations.sweep(linkIds, generation)
    );
  }

  close(): void {
    this.#kernel.close();
  }
}
