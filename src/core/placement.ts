// Placement: which link a new session gets. `slots[jhash(tuple; seed) mod 4096]`, the same function as the rule
// that nftables runs for the first packet (ruleset.ts), so that what this file says is what the kernel does, on
// both nodes. Load is balanced by moving slots, never by deciding about one session. Pure.
//
// Sources: include/linux/jhash.h, nft_jhash_eval in net/netfilter/nft_hash.c, reciprocal_scale in linux/kernel.h.
// Checked against the kernel's own answer in test/kernel/placement.test.ts.

import { assert } from "../base/assert.ts";
import { LINK_ID_MAX, SLOTS } from "../base/limits.ts";

/** What the hash of a new session is made of. Addresses: 4 or 16 bytes in network order. */
export interface PlacementTuple {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** IP protocol number. */
  readonly protocol: number;
  /** TCP, UDP, SCTP. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** ICMP and ICMPv6: the identifier of an echo request. */
  readonly identifier?: number;
}

export interface PlacementLink {
  readonly id: number;
  /** 0 takes no new sessions. */
  readonly weight: number;
  readonly enabled: boolean;
}

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;

const JHASH_INITVAL = 0xdeadbeef;

const rol32 = (word: number, shift: number): number => (word << shift) | (word >>> (32 - shift));

/**
 * Jenkins' hash as the kernel has it. `length` of `key` must be a multiple of 4, as nftables' registers are.
 * Words are read in little-endian order: Understudy's nodes are (x86-64, arm64, riscv64).
 */
export function jhash(key: Uint8Array, seed: number): number {
  assert(key.length > 0 && key.length % 4 === 0, "nftables hashes whole registers");
  const view = new DataView(key.buffer, key.byteOffset, key.length);
  const word = (at: number): number => (at < key.length ? view.getUint32(at, true) : 0);
  let a = (JHASH_INITVAL + key.length + seed) | 0;
  let [b, c] = [a, a];
  let at = 0;
  for (; key.length - at > 12; at += 12) {
    a = (a + word(at)) | 0;
    b = (b + word(at + 4)) | 0;
    c = (c + word(at + 8)) | 0;
    // __jhash_mix
    a = ((a - c) ^ rol32(c, 4)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rol32(a, 6)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rol32(b, 8)) | 0;
    b = (b + a) | 0;
    a = ((a - c) ^ rol32(c, 16)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rol32(a, 19)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rol32(b, 4)) | 0;
    b = (b + a) | 0;
  }
  a = (a + word(at)) | 0;
  b = (b + word(at + 4)) | 0;
  c = (c + word(at + 8)) | 0;
  // __jhash_final
  c = ((c ^ b) - rol32(b, 14)) | 0;
  a = ((a ^ c) - rol32(c, 11)) | 0;
  b = ((b ^ a) - rol32(a, 25)) | 0;
  c = ((c ^ b) - rol32(b, 16)) | 0;
  a = ((a ^ c) - rol32(c, 4)) | 0;
  b = ((b ^ a) - rol32(a, 14)) | 0;
  c = ((c ^ b) - rol32(b, 24)) | 0;
  return c >>> 0;
}

/** A session's slot, 0..4095. `seed`: 0..2^32-1. */
export function slotOf(tuple: PlacementTuple, seed: number): number {
  // reciprocal_scale(hash, 4096) = hash * 4096 >> 32.
  return jhash(registersOf(tuple), seed) >>> 20;
}

/** The link that a new session gets; 0 where its slot has none. */
export function linkOf(tuple: PlacementTuple, seed: number, slots: Uint8Array): number {
  return slots[slotOf(tuple, seed)] ?? 0;
}

/** The key as nftables concatenates it: each field begins a 32-bit register, and is padded with zeros to its end. */
function registersOf(tuple: PlacementTuple): Uint8Array {
  const { source, destination, protocol } = tuple;
  assert(source.length === destination.length, "both ends of a session are of one family");
  const tail = tailOf(tuple, protocol);
  const key = new Uint8Array(source.length * 2 + tail.length * 4);
  key.set(source, 0);
  key.set(destination, source.length);
  tail.forEach((field, index) => {
    key.set(field, source.length * 2 + index * 4);
  });
  return key;
}

function tailOf(tuple: PlacementTuple, protocol: number): readonly (readonly number[])[] {
  const be16 = (value: number | undefined): readonly number[] => [(value ?? 0) >> 8, (value ?? 0) & 0xff];
  switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_SCTP:
      return [[protocol], be16(tuple.sourcePort), be16(tuple.destinationPort)];
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      // The ports of ICMP are its type and its checksum: five pings would take four links.
      return [[protocol], be16(tuple.identifier)];
    default:
      return [[protocol]];
  }
}

/** How many of the 4096 slots each link should have: largest remainder, ties to the lower id. */
export function sharesOf(links: readonly PlacementLink[]): Map<number, number> {
  const taking = links.filter((link) => link.enabled && link.weight > 0);
  const total = taking.reduce((sum, link) => sum + link.weight, 0);
  const parts = taking.map((link) => ({
    id: link.id,
    whole: Math.floor((SLOTS * link.weight) / total),
    // Compared as integers: floating remainders would not be the same for equal weights.
    remainder: (SLOTS * link.weight) % total,
  }));
  let left = parts.reduce((rest, part) => rest - part.whole, taking.length === 0 ? 0 : SLOTS);
  const byRemainder = [...parts].sort((one, other) => other.remainder - one.remainder || one.id - other.id);
  for (const part of byRemainder) {
    if (left === 0) break;
    part.whole += 1;
    left -= 1;
  }
  return new Map(parts.map((part) => [part.id, part.whole]));
}

/**
 * The slot table for `links`: 4096 link ids, 0 in all of them where no link takes sessions. From `previous` as few
 * slots as possible are moved; without it the result depends on links and seed alone, so both nodes arrive at the
 * same. The order of `links` does not matter.
 */
export function computeSlots(
  links: readonly PlacementLink[],
  seed: number,
  previous?: Uint8Array,
): Uint8Array {
  assert(previous === undefined || previous.length === SLOTS, "a slot table has 4096 slots");
  assert(
    links.every((link) => link.id >= 1 && link.id <= LINK_ID_MAX),
    "a link's id fits its slot",
  );
  const missing = sharesOf(links);
  const slots = new Uint8Array(SLOTS);
  const free: number[] = [];
  for (const slot of shuffledSlots(seed)) {
    const before = previous?.[slot] ?? 0;
    const wanted = missing.get(before) ?? 0;
    if (wanted > 0) {
      slots[slot] = before;
      missing.set(before, wanted - 1);
    } else {
      free.push(slot);
    }
  }
  for (const slot of free) {
    const neediest = neediestOf(missing);
    if (neediest === 0) break;
    slots[slot] = neediest;
    missing.set(neediest, missing.get(neediest)! - 1);
  }
  return slots;
}

/**
 * The slot table of a node that was told `told` by the active, with links and seed of its own configuration: as it was told
 * where every link in it is configured here, so that a takeover moves no slot. Where the two configurations differ (one
 * of them is newer, for a moment) it must be one that this node could serve with all the same: the fewest slots are moved
 * from what was told.
 */
export function adoptSlots(told: Uint8Array, links: readonly PlacementLink[], seed: number): Uint8Array {
  assert(told.length === SLOTS, "a slot table has 4096 slots");
  const known = new Set(links.map((link) => link.id));
  if (told.every((id) => id === 0 || known.has(id))) return told.slice();
  return computeSlots(links, seed, told);
}

/** The link that lacks most slots (ties: the lower id), or 0 where none lacks any. */
function neediestOf(missing: ReadonlyMap<number, number>): number {
  let [best, most] = [0, 0];
  for (const [id, count] of missing) {
    if (count > most || (count === most && count > 0 && id < best)) [best, most] = [id, count];
  }
  return best;
}

/** All slots in an order drawn from the seed: what a link loses or gets lies spread over the table. */
function shuffledSlots(seed: number): Uint16Array {
  const order = Uint16Array.from({ length: SLOTS }, (_, slot) => slot);
  const key = new Uint8Array(4);
  for (let last = SLOTS - 1; last > 0; last -= 1) {
    new DataView(key.buffer).setUint32(0, last, true);
    // Fisher and Yates, with the hash at hand as the source of numbers.
    const other = jhash(key, seed) % (last + 1);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
