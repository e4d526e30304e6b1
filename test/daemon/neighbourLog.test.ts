// What the peer is told of neighbours: at the bound it hears of no new ones, and of every change of those it has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NEIGHBOURS_MAX } from "../../src/base/limits.ts";
import { isNews, messagesOf } from "../../src/daemon/neighbourLog.ts";
import type { Neighbour } from "../../src/wire/messagesLog.ts";

test("only changes are news", () => {
  const told = new Map<string, string>();
  assert.ok(isNews(told, "lan 10.0.0.1", "m1"));
  assert.ok(!isNews(told, "lan 10.0.0.1", "m1"));
  assert.ok(isNews(told, "lan 10.0.0.1", "m2"));
  assert.ok(isNews(told, "lan 10.0.0.1", ""));
  assert.ok(!isNews(told, "lan 10.0.0.1", ""));
});

test("at the bound, removals and new MACs of known ones are news, new neighbours are not", () => {
  const told = new Map([
    ["one", "m1"],
    ["two", "m2"],
  ]);
  assert.ok(!isNews(told, "three", "m3", 2));
  assert.ok(isNews(told, "one", "m9", 2));
  assert.equal(told.get("one"), "m9");
  assert.ok(isNews(told, "two", "", 2));
  assert.ok(isNews(told, "three", "m3", 2));
  assert.deepEqual([...told.keys()], ["one", "three"]);
});

test("no entry that counts as told is left out of the messages", () => {
  const neighbour: Neighbour = {
    service: 0,
    removed: true,
    address: new Uint8Array(4),
    mac: new Uint8Array(6),
  };
  const messages = messagesOf(Array<Neighbour>(NEIGHBOURS_MAX + 1).fill(neighbour), false);
  assert.equal(
    messages.reduce((sum, message) => sum + message.neighbours.length, 0),
    NEIGHBOURS_MAX + 1,
  );
});
