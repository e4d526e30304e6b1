// The log in virtual time: seeds that must hold, and one broken rule at a time that the same seeds must find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runLog } from "./log.ts";
import { MUTATIONS } from "./logMutations.ts";

const SEEDS = 1500;
/** A simulator in which nothing happens proves nothing: each of these does, more than once in twenty seeds. */
const HAPPENS = [
  ...[
    "takeovers",
    "splits",
    "unions",
    "cuts",
    "syncChecks",
    "overruns",
    "refusedRecords",
    "purges",
    "sweeps",
  ],
  ...[
    "snapshotsDone",
    "roundsDone",
    "partialRounds",
    "roundsInVain",
    "removed",
    "skippedInRound",
    "dumpsFailed",
  ],
  ...["dirtyOverrun", "dirtyLogFull", "dirtyKeysFull", "dirtyAsked", "unsentLogFull"],
  ...["refreshRounds", "refreshed", "refreshSpared"],
  ...["mergesDone", "mergeEnded", "inserted", "same", "clashed"],
  // Of nodes of version 1.
  ...["restartsOverrun", "restartsLogFull", "restartsKeysFull"],
];

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
  for (const name of HAPPENS) {
    const times = totals[name] ?? 0;
    assert.ok(times > SEEDS / 20, `${name} happened ${times} times`);
  }
  t.diagnostic(JSON.stringify(totals));
});

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
