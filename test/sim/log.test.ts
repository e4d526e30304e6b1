// The log in virtual time: seeds that must hold, and one broken rule at a time that the same seeds must find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runLog } from "./log.ts";
import type { Mutation } from "./logNode.ts";

const SEEDS = 2000;

test(`${SEEDS} seeds: acknowledged is in the kernel, synchronised is equal, splits end in the union, quiet ends equal`, (t) => {
  const totals: Record<string, number> = {};
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      const run = runLog(seed);
      for (const [name, value] of Object.entries(run.totals)) totals[name] = (totals[name] ?? 0) + value;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  // A simulator in which nothing happens proves nothing.
  for (const [name, value] of Object.entries(totals))
    assert.ok(value > SEEDS / 20, `${name} happened ${value} times`);
  t.diagnostic(JSON.stringify(totals));
});

const MUTATIONS: readonly Mutation[] = [
  "send-changed-keys",
  "no-sweep",
  "overrun-unheard",
  "one-generation",
  "acknowledge-early",
  "stale-chunk-sent",
  "no-purge",
  "write-after-takeover",
  "sweep-after-takeover",
  "no-merge",
  "merge-forgotten",
  "merge-replaces",
  "merge-after-takeover",
  "ended-returns",
];

for (const mutation of MUTATIONS) {
  test(`a broken rule is found within 1,000 seeds: ${mutation}`, (t) => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      try {
        runLog(seed, mutation);
      } catch (error) {
        t.diagnostic(`seed ${seed}: ${(error as Error).message}`);
        return;
      }
    }
    assert.fail("no seed noticed");
  });
}
