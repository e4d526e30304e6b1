// One node's table as the audit sees it (docs/protocol.md §5.8): of each session the hash of its key and of what the key stands
// for, by bucket, 16 bytes a session; a digest of each bucket; and, of two nodes' keys of some buckets, what differs. Knows
// numbers, no session: wire/sessionDigest.ts makes them. Pure.
//
// A digest is the sum, in two words of 32 bits, of a hash of each key and its content: the order of the table does not matter.
// Two different sets have the same sum with a chance of 2^-64 or so, and not twice: contents are hashed with another salt in
// each look. Two sessions of one key hash (chance n²/2^65, half a million to one at a million sessions) are compared as one.

import { assert } from "../../base/assert.ts";
import {
  AUDIT_DIGEST_BYTES,
  AUDIT_ENTRIES_MAX,
  AUDIT_KEY_BYTES,
  AUDIT_KEYS_PER_MESSAGE,
  LOG_BUCKETS,
} from "../../base/limits.ts";
import { bucketOf, hasBucket } from "../replication/buckets.ts";
import type { ChangedKeys } from "../replication/changedKeys.ts";

const BLOCK_BITS = 16;
const BLOCK_ENTRIES = 1 << BLOCK_BITS;
const WORDS = 4;
const [HIGH, LOW, CONTENT, NEXT] = [0, 1, 2, 3] as const;

/** What is not compared: it changed meanwhile, or is in a state in which it may be on the standby or not. */
export const SPARED = 0;

export type DifferenceKind = "missing" | "extra" | "wrong";

/** What one node's reading of its table has come to. */
export class Fold {
  /** Which part of the table is of interest. */
  #buckets: Uint8Array = new Uint8Array(0);
  /** Blocks of entries: high, low, content, and the entry before it in its bucket (0: none; entries count from 1). */
  readonly #blocks: Uint32Array[] = [];
  readonly #heads = new Uint32Array(LOG_BUCKETS);
  readonly #counts = new Uint32Array(LOG_BUCKETS);
  readonly digests: Uint8Array = new Uint8Array(LOG_BUCKETS * AUDIT_DIGEST_BYTES);
  readonly #view = new DataView(this.digests.buffer);
  readonly #entriesMax: number;
  size = 0;
  /** Of those the ones that are compared; counted by `close`. */
  compared = 0;
  /** There was more than fits: what is here is not the table. */
  overflowed = false;

  /** `entriesMax` is for tests. */
  constructor(entriesMax: number = AUDIT_ENTRIES_MAX) {
    this.#entriesMax = entriesMax;
  }

  /** Forgets everything; from here on the sessions of these buckets (`BUCKET_SET_BYTES`) are taken. The memory is kept. */
  begin(buckets: Uint8Array): void {
    this.#buckets = buckets;
    this.#heads.fill(0);
    this.#counts.fill(0);
    this.digests.fill(0);
    this.size = 0;
    this.compared = 0;
    this.overflowed = false;
  }

  /** One session of the table; a content of SPARED: one that the standby may hold or not. */
  add(high: number, low: number, content: number): void {
    const bucket = bucketOf(high);
    if (!hasBucket(this.#buckets, bucket)) return;
    if (this.size >= this.#entriesMax) {
      this.overflowed = true;
      return;
    }
    this.size += 1;
    const block = this.#blockOf(this.size);
    const at = (this.size & (BLOCK_ENTRIES - 1)) * WORDS;
    block[at + HIGH] = high;
    block[at + LOW] = low;
    block[at + CONTENT] = content;
    block[at + NEXT] = this.#heads[bucket]!;
    this.#heads[bucket] = this.size;
    this.#counts[bucket] = this.#counts[bucket]! + 1;
  }

  #blockOf(entry: number): Uint32Array {
    const index = entry >>> BLOCK_BITS;
    if (index === this.#blocks.length) this.#blocks.push(new Uint32Array(BLOCK_ENTRIES * WORDS));
    return this.#blocks[index]!;
  }

  #word(entry: number, which: number): number {
    return this.#blocks[entry >>> BLOCK_BITS]![(entry & (BLOCK_ENTRIES - 1)) * WORDS + which]!;
  }

  /** How many sessions a bucket has, the spared ones among them. */
  countOf(bucket: number): number {
    return this.#counts[bucket]!;
  }

  /** Spares what is in `changed`, and makes the digest of one bucket. To be called once for each. */
  close(bucket: number, changed: ChangedKeys): void {
    let one = 0;
    let other = 0;
    for (let entry = this.#heads[bucket]!; entry !== 0; entry = this.#word(entry, NEXT)) {
      const [high, low] = [this.#word(entry, HIGH), this.#word(entry, LOW)];
      if (changed.has(high, low)) {
        this.#blocks[entry >>> BLOCK_BITS]![(entry & (BLOCK_ENTRIES - 1)) * WORDS + CONTENT] = SPARED;
        continue;
      }
      const content = this.#word(entry, CONTENT);
      if (content === SPARED) continue;
      this.compared += 1;
      one = (one + mix(high ^ Math.imul(content, 0x9e3779b1))) >>> 0;
      other = (other + mix(low ^ Math.imul(content ^ 0x5bd1e995, 0x85ebca6b))) >>> 0;
    }
    this.#view.setUint32(bucket * AUDIT_DIGEST_BYTES, one);
    this.#view.setUint32(bucket * AUDIT_DIGEST_BYTES + 4, other);
  }

  /** Calls `visit` with each session of a bucket that is not spared. */
  visit(bucket: number, visit: (high: number, low: number, content: number) => void): void {
    for (let entry = this.#heads[bucket]!; entry !== 0; entry = this.#word(entry, NEXT)) {
      const content = this.#word(entry, CONTENT);
      if (content !== SPARED) visit(this.#word(entry, HIGH), this.#word(entry, LOW), content);
    }
  }

  /**
   * Compares some buckets of this table, the active's, with the standby's keys of them, which are all it has there. Calls
   * `visit` for each difference.
   */
  compare(
    buckets: readonly number[],
    keys: readonly Uint8Array[],
    visit: (kind: DifferenceKind, high: number, low: number) => void,
  ): void {
    const met = new Set<number>();
    for (const part of keys)
      forEachKey(part, (high, low, content) => {
        const own = this.#meet(high, low, met);
        if (own === null) visit("extra", high, low);
        else if (own !== SPARED && own !== content) visit("wrong", high, low);
      });
    for (const bucket of buckets)
      for (let entry = this.#heads[bucket]!; entry !== 0; entry = this.#word(entry, NEXT))
        if (!met.has(entry) && this.#word(entry, CONTENT) !== SPARED)
          visit("missing", this.#word(entry, HIGH), this.#word(entry, LOW));
  }

  /** What a key stands for here, null where it is not here. A dump may tell of a session twice: both are met. */
  #meet(high: number, low: number, met: Set<number>): number | null {
    let content: number | null = null;
    for (let entry = this.#heads[bucketOf(high)]!; entry !== 0; entry = this.#word(entry, NEXT)) {
      if (this.#word(entry, LOW) !== low || this.#word(entry, HIGH) !== high) continue;
      met.add(entry);
      content = this.#word(entry, CONTENT);
    }
    return content;
  }
}

/** Spreads every bit over the word (murmur3's finaliser). */
function mix(value: number): number {
  let word = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** Calls `visit` with each key and content of an `auditKeys`. */
export function forEachKey(
  keys: Uint8Array,
  visit: (high: number, low: number, content: number) => void,
): void {
  assert(keys.length % AUDIT_KEY_BYTES === 0, "whole keys");
  const view = new DataView(keys.buffer, keys.byteOffset, keys.length);
  for (let at = 0; at < keys.length; at += AUDIT_KEY_BYTES)
    visit(view.getUint32(at), view.getUint32(at + 4), view.getUint32(at + 8));
}

/** The keys of some buckets, in parts of AUDIT_KEYS_PER_MESSAGE at most; at least one part. */
export function keysOf(fold: Fold, buckets: readonly number[]): readonly Uint8Array[] {
  let count = 0;
  for (const bucket of buckets) fold.visit(bucket, () => (count += 1));
  const all = new Uint8Array(count * AUDIT_KEY_BYTES);
  const view = new DataView(all.buffer);
  let at = 0;
  for (const bucket of buckets)
    fold.visit(bucket, (high, low, content) => {
      view.setUint32(at, high);
      view.setUint32(at + 4, low);
      view.setUint32(at + 8, content);
      at += AUDIT_KEY_BYTES;
    });
  const part = AUDIT_KEYS_PER_MESSAGE * AUDIT_KEY_BYTES;
  const parts: Uint8Array[] = [];
  for (let start = 0; start < Math.max(1, all.length); start += part)
    parts.push(all.subarray(start, start + part));
  return parts;
}

/** The buckets of a set, in order. */
export const bucketsIn = (bits: Uint8Array): readonly number[] =>
  Array.from({ length: LOG_BUCKETS }, (_, bucket) => bucket).filter((bucket) => hasBucket(bits, bucket));
