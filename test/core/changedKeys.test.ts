// The set of changed keys against a plain Set, and the filter that it is for.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ChangedKeys,
  dropChanged,
  EndedKeys,
  keepToRefresh,
  visitKeys,
} from "../../src/core/replication/changedKeys.ts";
import { decodeRecord } from "../../src/wire/sessionRecord.ts";
import { batchOf, deletion, session, TCP } from "./records.ts";

const word = fc.oneof(fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff), fc.nat({ max: 0xffffffff }));

test("it holds what a Set holds, whatever the words", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word)), fc.array(fc.tuple(word, word)), (added, asked) => {
      const keys = new ChangedKeys();
      // A second word of 0 stands for the first one with its lowest bit set: the one pair of keys that share a place.
      const name = (high: number, low: number): string => `${high} ${low === 0 ? (high | 1) >>> 0 : low}`;
      const model = new Set(added.map(([high, low]) => name(high, low)));
      for (const [high, low] of added) assert.equal(keys.add(high, low), true);
      assert.equal(keys.size, model.size);
      for (const [high, low] of [...added, ...asked])
        assert.equal(keys.has(high, low), model.has(name(high, low)));
      keys.clear();
      for (const [high, low] of added) assert.equal(keys.has(high, low), false);
    }),
  );
});

test("it grows, refuses what is beyond its bound, and gives its memory back", () => {
  const keys = new ChangedKeys(100_000);
  for (let key = 0; key < 100_000; key += 1) assert.equal(keys.add(Math.imul(key, 0x9e3779b1), key), true);
  assert.equal(keys.add(1, 0xfffffff0), false);
  assert.equal(keys.add(Math.imul(5, 0x9e3779b1), 5), true);
  assert.equal(keys.size, 100_000);
  for (let key = 0; key < 100_000; key += 1) assert.ok(keys.has(Math.imul(key, 0x9e3779b1), key));
  keys.clear();
  assert.equal(keys.size, 0);
  assert.equal(keys.has(Math.imul(5, 0x9e3779b1), 5), false);
});

test("a chunk keeps exactly the sessions that did not change, in order", () => {
  const ids = fc.uniqueArray(fc.nat({ max: 200 }), { maxLength: 40 });
  fc.assert(
    fc.property(ids, fc.uniqueArray(fc.nat({ max: 200 })), fc.nat(), (dumped, changed, seed) => {
      const keys = new ChangedKeys(1000, seed);
      const changes = batchOf(changed.map((id) => (id % 2 === 0 ? deletion(id) : session(id, 3))));
      visitKeys(changes, seed, (high, low) => assert.ok(keys.add(high, low)));
      const chunk = batchOf(dumped.map((id) => session(id)));
      const wanted = dumped.filter((id) => !changed.includes(id)).map((id) => session(id));
      const kept = dropChanged(keys, chunk, dumped.length);
      assert.equal(kept.count, wanted.length);
      assert.deepEqual(chunk.subarray(0, kept.length), batchOf(wanted));
    }),
    { numRuns: 200 },
  );
});

test("a refresh keeps what it is asked to keep, tells the time of each, and makes updates of creates", () => {
  const ids = fc.uniqueArray(fc.nat({ max: 200 }), { maxLength: 40 });
  fc.assert(
    fc.property(ids, fc.nat(), (dumped, seed) => {
      const chunk = batchOf(dumped.map((id) => session(id, id)));
      const told: number[] = [];
      const kept = keepToRefresh(chunk, seed, (_high, _low, seconds) => {
        told.push(seconds);
        return seconds % 2 === 0;
      });
      assert.deepEqual(
        told,
        dumped.map((id) => 30 + id),
      );
      const wanted = dumped.filter((id) => id % 2 === 0).map((id) => session(id, id, "update"));
      assert.equal(kept.count, wanted.length);
      assert.deepEqual(chunk.slice(0, kept.length), batchOf(wanted));
      if (wanted.length > 0) assert.ok(decodeRecord(chunk.slice(0, kept.length), 0).ok);
    }),
    { numRuns: 200 },
  );
});

/** As the sender does with the kernel's events. */
function note(ended: EndedKeys, bytes: Uint8Array): void {
  visitKeys(bytes, ended.seed, (high, low, endsByWord) => {
    if (endsByWord) ended.add(high, low);
  });
}

test("ended keys: TCP's ends alone, until the standby is known to have heard of them", () => {
  const ended = new EndedKeys();
  const left = (...ids: number[]): number => {
    const bytes = batchOf(ids.map((id) => session(id, 0, "create", TCP)));
    return dropChanged(ended, bytes, ids.length).count;
  };
  note(ended, batchOf([deletion(1, TCP), deletion(2), session(3, 0, "update", TCP)]));
  assert.equal(left(1), 0);
  assert.equal(left(2, 3), 2);
  const udp = batchOf([session(2)]);
  assert.equal(dropChanged(ended, udp, 1).count, 1);
  // Nobody follows: no acknowledgement says anything.
  ended.acknowledged(1000, 1001);
  assert.equal(left(1), 0);
  ended.levelAt(10);
  ended.acknowledged(9, 12);
  assert.equal(left(1), 0);
  // The snapshot is in place, but the end of 4 is still on its way, and so may that of 1 be.
  note(ended, batchOf([deletion(4, TCP)]));
  ended.acknowledged(10, 12);
  assert.equal(left(1, 4), 0);
  ended.acknowledged(12, 15);
  assert.equal(left(1, 4), 2);
  note(ended, batchOf([deletion(5, TCP)]));
  ended.acknowledged(16, 16);
  assert.equal(left(5), 1);
});

test("ended keys: beyond the bound they are forgotten, and counted", () => {
  const ended = new EndedKeys(0, 2);
  note(ended, batchOf([1, 2, 3].map((id) => deletion(id, TCP))));
  assert.equal(ended.size, 2);
  assert.equal(ended.forgotten, 1);
  ended.clear();
  assert.equal(ended.size, 0);
});
