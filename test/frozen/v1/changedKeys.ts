// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// Sets of sessions by the hash of their keys. The keys that changed while a snapshot is under way (docs: replication §1):
// what the dump says about such a session may be older than what the log has already said, so its snapshot record is
// skipped. And the keys that ended without the standby's knowledge: a merge must not bring them back. 64-bit hashes,
// open addressing in one Uint32Array: no object for one session. Two sessions that share a hash (chance n²/2^65) cost
// one skipped record, which the next audit or snapshot puts right. Pure.

import { assert } from "./assert.ts";
import { CHANGED_KEYS_MAX, ENDED_KEYS_MAX } from "./limits.ts";
import { endsByWord, keyHash, recordEnd } from "./session.ts";

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

  /** False where the set is full and the key is not in it: the caller has to start its snapshot again. */
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

/** Remembers the key of every record in `bytes` (our own kernel's, so well formed). False: the set is full. */
export function markChanged(keys: ChangedKeys, bytes: Uint8Array): boolean {
  for (let offset = 0; offset < bytes.length; ) {
    const end = endOf(bytes, offset);
    keyHash(bytes, offset, hash, keys.seed);
    if (!keys.add(hash[0]!, hash[1]!)) return false;
    offset = end;
  }
  return true;
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

  /** Remembers the sessions that end in `bytes` (our own kernel's events). */
  note(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length; ) {
      const end = endOf(bytes, offset);
      if (endsByWord(bytes, offset)) {
        keyHash(bytes, offset, hash, this.seed);
        if (!this.#current.add(hash[0]!, hash[1]!)) this.forgotten += 1;
      }
      offset = end;
    }
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
  const kept: Kept = { length: 0, count: 0 };
  for (let offset = 0; offset < bytes.length; ) {
    const end = endOf(bytes, offset);
    keyHash(bytes, offset, hash, keys.seed);
    if (!keys.has(hash[0]!, hash[1]!)) {
      if (kept.length !== offset) bytes.copyWithin(kept.length, offset, end);
      kept.length += end - offset;
      kept.count += 1;
    }
    offset = end;
  }
  return kept;
}

function endOf(bytes: Uint8Array, offset: number): number {
  const end = recordEnd(bytes, offset);
  assert(end > offset && end <= bytes.length, "our own records are well formed");
  return end;
}
