// The audit in virtual time: seeds that must hold, and one broken rule at a time that the same seeds must find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MUTATIONS, runAudit } from "./audit.ts";

const SEEDS = 300;
/** Two looks hide much of what a broken rule does. */
const MUTATION_SEEDS = 4000;
/** A simulator in which nothing happens proves nothing. */
const HAPPENS = [
  "packets",
  "hands",
  "overrun",
  "cut",
  "takeover",
  "dump",
  "hiccups",
  "passes",
  "told",
  "repairs",
  "repaired",
  "abandoned",
  "results",
];

test(`${SEEDS} seeds: what is told is what was done, all of it within two passes, and put right`, (t) => {
  const totals: Record<string, number> = {};
  for (let seed = 1; seed <= SEEDS; seed += 1)
    for (const [name, count] of Object.entries(runAudit(seed).totals))
      totals[name] = (totals[name] ?? 0) + count;
  t.diagnostic(JSON.stringify(totals));
  for (const name of HAPPENS) assert.ok((totals[name] ?? 0) > SEEDS / 20, `${name}: ${totals[name] ?? 0}`);
});

for (const mutation of MUTATIONS)
  test(`a broken rule is found: ${mutation}`, (t) => {
    for (let seed = 1; seed <= MUTATION_SEEDS; seed += 1)
      try {
        runAudit(seed, mutation);
      } catch (error) {
        t.diagnostic((error as Error).message);
        return;
      }
    assert.fail(`${MUTATION_SEEDS} seeds did not notice`);
  });
