// Placement: exact shares, as little movement as possible, one hash on both nodes.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SLOTS } from "../../src/base/limits.ts";
import {
  computeSlots,
  jhash,
  linkOf,
  type PlacementLink,
  sharesOf,
  slotOf,
} from "../../src/core/placement.ts";

const link = (id: number, weight: number, enabled = true): PlacementLink => ({ id, weight, enabled });
const count = (slots: Uint8Array, id: number): number => slots.filter((slot) => slot === id).length;

const links = fc.uniqueArray(
  fc.record({
    id: fc.integer({ min: 1, max: 250 }),
    weight: fc.integer({ min: 0, max: 1000 }),
    enabled: fc.boolean(),
  }),
  {
    selector: (one) => one.id,
    maxLength: 16,
  },
);
const seeds = fc.integer({ min: 0, max: 0xffffffff });

test("shares are exact: 3:1 is 3072 and 1024", () => {
  const slots = computeSlots([link(1, 3), link(2, 1)], 7);
  assert.deepEqual([count(slots, 1), count(slots, 2)], [3072, 1024]);
});

test("three equal links share 4096 slots as 1366, 1365, 1365: ties go to the lower id", () => {
  assert.deepEqual(
    [...sharesOf([link(9, 1), link(4, 1), link(7, 1)])].sort(([one], [other]) => one - other),
    [
      [4, 1366],
      [7, 1365],
      [9, 1365],
    ],
  );
});

test("disabled and weightless links take nothing; with no other link every slot is empty", () => {
  assert.equal(count(computeSlots([link(1, 1), link(2, 0), link(3, 5, false)], 0), 1), SLOTS);
  assert.equal(count(computeSlots([link(2, 0)], 0), 0), SLOTS);
  assert.equal(count(computeSlots([], 0), 0), SLOTS);
});

test("every table has the shares it should, whatever came before it", () => {
  fc.assert(
    fc.property(links, links, seeds, (before, now, seed) => {
      const slots = computeSlots(now, seed, computeSlots(before, seed));
      for (const [id, share] of sharesOf(now)) assert.equal(count(slots, id), share);
    }),
    { numRuns: 100 },
  );
});

test("a table is the same on both nodes: it depends on links and seed, not on the order of links", () => {
  fc.assert(
    fc.property(links, seeds, (some, seed) => {
      assert.deepEqual(computeSlots(some, seed), computeSlots([...some].reverse(), seed));
    }),
    { numRuns: 50 },
  );
});

test("no slot moves without need: as many as the links that lose have lost", () => {
  fc.assert(
    fc.property(links, links, seeds, (before, now, seed) => {
      const old = computeSlots(before, seed);
      const next = computeSlots(now, seed, old);
      const shares = sharesOf(now);
      let needed = 0;
      for (const id of new Set(old))
        needed += Math.max(0, count(old, id) - (id === 0 ? 0 : (shares.get(id) ?? 0)));
      if (shares.size === 0) needed = old.filter((slot) => slot !== 0).length;
      const moved = next.filter((slot, index) => slot !== old[index]).length;
      assert.equal(moved, needed);
    }),
    { numRuns: 100 },
  );
});

test("a link's slots lie spread over the table", () => {
  const slots = computeSlots([link(1, 3), link(2, 1)], 12345);
  for (let start = 0; start < SLOTS; start += 256) {
    const share = count(slots.subarray(start, start + 256), 2);
    assert.ok(share >= 48 && share <= 80, `${share} of 256 slots from ${start}`);
  }
});

test("a link that goes and comes back finds the others' slots where they were", () => {
  const both = computeSlots([link(1, 1), link(2, 1), link(3, 1)], 9);
  const without = computeSlots([link(1, 1), link(2, 1), link(3, 1, false)], 9, both);
  both.forEach((before, slot) => {
    if (before !== 3) assert.equal(without[slot], before);
  });
});

test("sessions follow the weights within 1.5 points (20,000 of them, three seeds)", () => {
  for (const seed of [1, 12345, 0xfffffffe]) {
    const slots = computeSlots([link(1, 3), link(2, 1)], seed);
    let first = 0;
    for (let index = 0; index < 20_000; index += 1) {
      const source = Uint8Array.of(10, 20, index >> 8, index & 0xff);
      const destination = Uint8Array.of(203, 0, 113, index % 7);
      const tuple = {
        source,
        destination,
        protocol: 6,
        sourcePort: 1024 + ((index * 7) % 60_000),
        destinationPort: 443,
      };
      if (linkOf(tuple, seed, slots) === 1) first += 1;
    }
    assert.ok(Math.abs(first / 20_000 - 0.75) < 0.015, `seed ${seed}: ${first}`);
  }
});

test("jhash: values of lookup3's own length dependence", () => {
  // Any two lengths, seeds or words apart differ; equal input is equal output. The kernel's own values: test/kernel.
  const one = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
  const seen = new Set([
    jhash(one, 0),
    jhash(one, 1),
    jhash(one.subarray(0, 8), 0),
    jhash(Uint8Array.from([...one, 0, 0, 0, 0]), 0),
  ]);
  assert.equal(seen.size, 4);
  assert.equal(jhash(one, 5), jhash(Uint8Array.from(one), 5));
});

test("ports count for TCP, the identifier for ICMP, addresses and protocol alone for the rest", () => {
  const ends = { source: Uint8Array.of(10, 0, 0, 1), destination: Uint8Array.of(192, 0, 2, 1) };
  const slots = (protocol: number, part: object): number => slotOf({ ...ends, protocol, ...part }, 1);
  assert.notEqual(
    slots(6, { sourcePort: 1, destinationPort: 2 }),
    slots(6, { sourcePort: 2, destinationPort: 2 }),
  );
  assert.notEqual(slots(1, { identifier: 1 }), slots(1, { identifier: 2 }));
  assert.equal(slots(1, { identifier: 1, sourcePort: 1 }), slots(1, { identifier: 1, sourcePort: 9 }));
  assert.equal(slots(50, { sourcePort: 1 }), slots(50, { sourcePort: 2 }));
});
