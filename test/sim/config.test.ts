// The configuration in virtual time: seeds that must hold, and one broken rule at a time that the same seeds must find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runConfig } from "./config.ts";
import type { Mutation } from "./configNode.ts";

const SEEDS = 800;

test(`${SEEDS} seeds: agreed is equal, refused is nowhere, by hand replaces nothing, in the end both have it or say why`, (t) => {
  const totals: Record<string, number> = {};
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      for (const [name, value] of Object.entries(runConfig(seed).totals))
        totals[name] = (totals[name] ?? 0) + value;
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
  "import-as-order",
  "pending-forgotten",
  "judged-by-one",
  "kept-at-start",
  "effect-unwritten",
];

for (const mutation of MUTATIONS) {
  test(`a broken rule is found within ${SEEDS} seeds: ${mutation}`, (t) => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      try {
        runConfig(seed, mutation);
      } catch (error) {
        t.diagnostic(`seed ${seed}: ${(error as Error).message}`);
        return;
      }
    }
    assert.fail("no seed noticed");
  });
}
