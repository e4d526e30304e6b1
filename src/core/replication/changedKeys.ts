// Sets of sessions by the hash of their keys, and the walks over records that fill and ask them. The keys that changed
// while a round is under way (docs: replication §1): what the dump says about such a session may be older than what the
// log has already said, so its record is skipped. The keys that a standby heard of in a round: what it holds beside them
// goes. And the keys that ended without the standby's knowledge: a merge must not bring them back. 64-bit hashes, open
// addressing in one Uint32Array: no object for one session. Two sessions that share a hash (chance n²/2^65) cost one
// record, which the next audit or snapshot puts right. Pure.

import { assert } from "../../base/assert.ts";
import { CHANGED_KEYS_MAX, ENDED_KEYS_MAX } from "../../base/limits.ts";
import { endsByWord, keyHash, recordEnd } from "../../wire/session.ts";
import { refreshRecord } from "../../wire/sessionRefresh.ts";

const SLOTS_AT_START = 4096;

/** What is left of a batch after filtering. */
export interface Kept {
  length: number;
  count: number;
}

/** A bounded set of 64-bit hashes, each two words; never shrinks below what it grew to until `clear`. */
export class ChangedKeys {
  readonly #keysMax: number;
  /** Random, so that nobody outside can choose sessions whose hashes collide. */
  readonly seed: number;
  #words = new Uint32Array(SLOTS_AT_START * 2);
  #size = 0;

  constructor(keysMax: number = CHANGED_KEYS_MAX, seed = 0) {
    assert(keysMax >= 1, "a set of no keys overflows at once");
    this.seed = seed;
    this.#keysMax = keysMax;
  }

  get size(): number {
    return this.#size;
  }

  /** Forgets everything and gives the memory of a large set back. */
  clear(): void {
    if (this.#words.length > SLOTS_AT_START * 2) this.#words = new Uint32Array(SLOTS_AT_START * 2);
    else if (this.#size > 0) this.#words.fill(0);
    this.#size = 0;
  }

  /** False where the set is full and the key is not in it. */
  add(high: number, low: number): boolean {
    const a = high >>> 0;
    const b = wordOf(a, low);
    const at = find(this.#words, a, b);
    if (this.#words[at + 1] !== 0) return true;
    if (this.#size >= this.#keysMax) return false;
    this.#words[at] = a;
    this.#words[at + 1] = b;
    this.#size += 1;
    // Half full at most: linear probing stays short.
    if (this.#size * 4 > this.#words.length) this.#grow();
    return true;
  }

  has(high: number, low: number): boolean {
    const a = high >>> 0;
    return this.#words[find(this.#words, a, wordOf(a, low)) + 1] !== 0;
  }

  /** Calls `visit` with each key, in no order. A second word of 0 comes as the one that stands for it. */
  visit(visit: (high: number, low: number) => void): void {
    if (this.#size === 0) return;
    for (let index = 0; index < this.#words.length; index += 2)
      if (this.#words[index + 1] !== 0) visit(this.#words[index]!, this.#words[index + 1]!);
  }

  #grow(): void {
    const larger = new Uint32Array(this.#words.length * 2);
    for (let index = 0; index < this.#words.length; index += 2) {
      const a = this.#words[index]!;
      const b = this.#words[index + 1]!;
      if (b === 0) continue;
      const at = find(larger, a, b);
      larger[at] = a;
      larger[at + 1] = b;
    }
    this.#words = larger;
  }
}

/** The second word, never 0: a second word of 0 marks an empty slot. */
function wordOf(high: number, low: number): number {
  const word = low >>> 0;
  return word === 0 ? (high | 1) >>> 0 : word;
}

/** Index of the pair's slot, or of the empty slot where it belongs. */
function find(words: Uint32Array, a: number, b: number): number {
  const mask = words.length / 2 - 1;
  const mixed = Math.imul(a, 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35);
  let slot = (mixed ^ (mixed >>> 15)) & mask;
  while (true) {
    const at = slot * 2;
    const second = words[at + 1]!;
    if (second === 0 || (second === b && words[at] === a)) return at;
    slot = (slot + 1) & mask;
  }
}

const hash = new Uint32Array(2);

/** Calls `visit` with the hash of each record's key, and whether it is the end of a session that says so itself. */
export function visitKeys(
  bytes: Uint8Array,
  seed: number,
  visit: (high: number, low: number, endsByWord: boolean) => void,
): void {
  for (let offset = 0; offset < bytes.length; ) {
    const end = endOf(bytes, offset);
    keyHash(bytes, offset, hash, seed);
    visit(hash[0]!, hash[1]!, endsByWord(bytes, offset));
    offset = end;
  }
}

/** Moves the records whose key `keeps` to the front of `bytes`, in order. */
export function keepRecords(
  bytes: Uint8Array,
  seed: number,
  keeps: (high: number, low: number, offset: number) => boolean,
): Kept {
  const kept: Kept = { length: 0, count: 0 };
  for (let offset = 0; offset < bytes.length; ) {
    const end = endOf(bytes, offset);
    keyHash(bytes, offset, hash, seed);
    if (keeps(hash[0]!, hash[1]!, offset)) {
      if (kept.length !== offset) bytes.copyWithin(kept.length, offset, end);
      kept.length += end - offset;
      kept.count += 1;
    }
    offset = end;
  }
  return kept;
}

/**
 * Sessions that ended on the active and of which the standby may not know: since the connection before last was
 * known to be level, in two sets that take turns. Only those whose protocol ends them in words (TCP, SCTP): the others end by
 * silence, and silence on one side of a split says nothing about the other. Bounded; beyond it `forgotten` counts.
 */
export class EndedKeys {
  readonly seed: number;
  forgotten = 0;
  #current: ChangedKeys;
  #previous: ChangedKeys;
  /** Once this is acknowledged, the standby knows all of `#previous`. */
  #level = Number.POSITIVE_INFINITY;

  constructor(seed = 0, keysMax: number = ENDED_KEYS_MAX) {
    this.seed = seed;
    this.#current = new ChangedKeys(keysMax, seed);
    this.#previous = new ChangedKeys(keysMax, seed);
  }

  get size(): number {
    return this.#current.size + this.#previous.size;
  }

  clear(): void {
    this.#current.clear();
    this.#previous.clear();
    this.holdOn();
  }

  /** Nobody follows: everything is kept until a snapshot is complete. */
  holdOn(): void {
    this.#level = Number.POSITIVE_INFINITY;
  }

  /** A snapshot ends at `sequence`: once that is acknowledged, the standby holds nothing that ended before it. */
  levelAt(sequence: number): void {
    this.#level = sequence;
  }

  /** The standby knows everything up to `acknowledged`; `produced` is the last number given out. */
  acknowledged(acknowledged: number, produced: number): void {
    if (acknowledged < this.#level) return;
    const known = this.#previous;
    known.clear();
    this.#previous = this.#current;
    this.#current = known;
    // Level for a moment: a session that is made anew with the same numbers is another one from here on.
    if (acknowledged === produced) this.#previous.clear();
    this.#level = produced;
  }

  /** Remembers a session that ended by its own word. */
  add(high: number, low: number): void {
    if (!this.#current.add(high, low)) this.forgotten += 1;
  }

  has(high: number, low: number): boolean {
    return this.#current.has(high, low) || this.#previous.has(high, low);
  }
}

/** Moves the records whose key is not in `keys` to the front of `bytes`, in order. */
export function dropChanged(
  keys: Pick<ChangedKeys, "size" | "seed" | "has">,
  bytes: Uint8Array,
  count: number,
): Kept {
  if (keys.size === 0) return { length: bytes.length, count };
  return keepRecords(bytes, keys.seed, (high, low) => !keys.has(high, low));
}

/**
 * As `keepRecords`, for records of a dump that only extend what the standby holds: those that are kept become updates,
 * where they were creates. `keeps` is told the seconds that are left to each.
 */
export function keepToRefresh(
  bytes: Uint8Array,
  seed: number,
  keeps: (high: number, low: number, seconds: number) => boolean,
): Kept {
  return keepRecords(bytes, seed, (high, low, offset) => keeps(high, low, refreshRecord(bytes, offset)));
}

function endOf(bytes: Uint8Array, offset: number): number {
  const end = recordEnd(bytes, offset);
  assert(end > offset && end <= bytes.length, "our own records are well formed");
  return end;
}
