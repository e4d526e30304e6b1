// Sessions of a merge (docs/protocol.md §5.4) into the kernel: what is absent is added, as made on this node; what is
// there is never touched. Counts what was the same, what clashed and what the kernel would not take.

import { MARK_LINK_MASK, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { Leave } from "../wire/conntrackWrite.ts";
import { isExpectation } from "../wire/expectation.ts";
import { recordEnd } from "../wire/session.ts";
import { sameTuples } from "../wire/sessionFields.ts";
import { errno } from "./libc.ts";
import { isWhole, refuse, type SessionExchange } from "./sessionExchange.ts";

export interface InsertResult {
  readonly inserted: number;
  /** There already: the same session, with the same translation on the same link. */
  readonly same: number;
  /** Either tuple belongs to another session, or to the same one with another translation or link. */
  readonly clashed: number;
  /** What the kernel would not take, by errno name. */
  readonly refused: Readonly<Record<string, number>>;
}

interface InsertCounts {
  inserted: number;
  same: number;
  clashed: number;
  refused: Record<string, number>;
}

/** The inserting half of a session writer, over the writer's own requests. */
export class SessionInserter {
  readonly #kernel: SessionExchange;
  #looksFirst = false;

  constructor(kernel: SessionExchange) {
    this.#kernel = kernel;
  }

  /** See SessionWriter.insert. */
  insert(bytes: Uint8Array, count: number): InsertResult {
    const counts: InsertCounts = { inserted: 0, same: 0, clashed: 0, refused: {} };
    let offset = 0;
    for (let done = 0; done < count; ) {
      const chunk = Math.min(SESSION_REQUESTS_PER_SEND, count - done);
      const offsets: number[] = [];
      for (let index = 0; index < chunk; index += 1) {
        // What is expected is not merged: a peer that sends it is passed over.
        if (!isExpectation(bytes, offset)) offsets.push(offset);
        offset = recordEnd(bytes, offset);
      }
      this.#chunk(bytes, offsets, counts);
      done += chunk;
    }
    return counts;
  }

  /** Looks before it writes where most of the chunk before was there already, as `apply` does. */
  #chunk(bytes: Uint8Array, offsets: readonly number[], counts: InsertCounts): void {
    const before = counts.same + counts.clashed;
    const free = this.#looksFirst ? this.#absent(bytes, offsets, counts) : offsets;
    const disputed = this.#create(bytes, free, false, counts);
    // Nobody has the original tuple: somebody has the reply's, or this kernel lacks what the session comes with.
    const left = this.#absent(bytes, disputed, counts);
    this.#looksFirst = (counts.same + counts.clashed - before) * 2 >= offsets.length;
    counts.clashed += this.#create(bytes, left, true, counts).length;
  }

  /** Counts the records whose original tuple is taken, as the same or as a clash; returns the others. */
  #absent(bytes: Uint8Array, offsets: readonly number[], counts: InsertCounts): readonly number[] {
    if (offsets.length === 0) return offsets;
    const { requests, fields, found, sequence } = this.#kernel;
    const absent = new Set(offsets);
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      requests.get(fields, sequence + index);
    });
    this.#kernel.perform(offsets.length, (index) => {
      this.#kernel.record(bytes, offsets[index]!);
      absent.delete(offsets[index]!);
      const sameLink = ((fields.mark ^ found.mark) & MARK_LINK_MASK) === 0;
      if (sameLink && sameTuples(fields, found)) counts.same += 1;
      else counts.clashed += 1;
    });
    return [...absent];
  }

  /** Returns those that the kernel would not take for a reason of the record's own. */
  #create(
    bytes: Uint8Array,
    offsets: readonly number[],
    bare: boolean,
    counts: InsertCounts,
  ): readonly number[] {
    if (offsets.length === 0) return offsets;
    const { requests, fields, errors, sequence } = this.#kernel;
    this.#kernel.begin();
    offsets.forEach((offset, index) => {
      this.#kernel.record(bytes, offset);
      requests.create(fields, sequence + index, 0, bare ? Leave.All : 0, true);
    });
    this.#kernel.perform(offsets.length, null);
    return offsets.filter((_, index) => {
      const error = errors[index]!;
      if (error === 0) counts.inserted += 1;
      else if (isWhole(error) || (bare && error !== errno.EEXIST)) refuse(counts, error);
      else return true;
      return false;
    });
  }
}
