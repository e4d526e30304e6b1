// Buckets: the session table cut into 4096 parts by the hash of a session's key (docs/protocol.md §5.5), so that what could
// not be kept up with costs one bit, however much it was, and is made good by reading that part again. Both nodes cut
// alike: the active's seed travels with each round. Knows numbers, no session. Pure.

import { assert } from "../../base/assert.ts";
import { LOG_BUCKETS } from "../../base/limits.ts";

/** Bytes of a set of buckets: bucket n is bit n % 8 (from the lowest) of byte n / 8. */
export const BUCKET_SET_BYTES = LOG_BUCKETS / 8;

/** The bucket (0..4095) of a key, by the first word of its hash. */
export const bucketOf = (high: number): number => high >>> 20;

assert(LOG_BUCKETS === 2 ** (32 - 20), "a bucket is the twelve highest bits of a hash");

/** A set of buckets, as it travels; 512 bytes, whatever is in it. */
export class Buckets {
  readonly bits: Uint8Array = new Uint8Array(BUCKET_SET_BYTES);
  size = 0;

  add(bucket: number): void {
    const at = bucket >>> 3;
    const bit = 1 << (bucket & 7);
    if ((this.bits[at]! & bit) !== 0) return;
    this.bits[at]! |= bit;
    this.size += 1;
  }

  /** Adds every bucket of another set (`BUCKET_SET_BYTES` bytes). */
  addAll(bits: Uint8Array): void {
    for (let bucket = 0; bucket < LOG_BUCKETS; bucket += 1) if (hasBucket(bits, bucket)) this.add(bucket);
  }

  /** Every bucket there is. */
  fill(): void {
    this.bits.fill(0xff);
    this.size = LOG_BUCKETS;
  }

  clear(): void {
    this.bits.fill(0);
    this.size = 0;
  }
}

/** Whether `bucket` is in a set of `BUCKET_SET_BYTES` bytes. */
export const hasBucket = (bits: Uint8Array, bucket: number): boolean =>
  (bits[bucket >>> 3]! & (1 << (bucket & 7))) !== 0;
