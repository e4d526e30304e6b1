// `make sim`, second part: the log in virtual time, many seeds one after the other. Prints what happened in them; a seed
// that fails is played again with a line for everything that happens, and ends the run with a failure.

import { parseArgs } from "node:util";
import { runLog } from "./log.ts";
import { MUTATIONS } from "./logMutations.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "20000" },
    from: { type: "string", default: "1" },
    mutation: { type: "string", default: "none" },
    log: { type: "boolean", default: false },
  },
});
const from = Number(values.from);
const mutation = MUTATIONS.find((each) => each === values.mutation) ?? null;
if (mutation === null && values.mutation !== "none")
  throw new Error(`no such mutation: ${values.mutation}; there are none, ${MUTATIONS.join(", ")}`);
const started = performance.now();
const totals: Record<string, number> = {};
const print = (line: string): boolean => process.stdout.write(`${line}\n`);

for (let seed = from; seed < from + Number(values.seeds); seed += 1) {
  try {
    const run = runLog(seed, mutation, values.log ? print : null);
    for (const [name, value] of Object.entries(run.totals)) totals[name] = (totals[name] ?? 0) + value;
  } catch (error) {
    if (!values.log) replay(seed);
    print(`log: seed ${seed}: ${(error as Error).stack}`);
    process.exitCode = 1;
    break;
  }
}
for (const [name, value] of Object.entries(totals)) print(`log: ${name} ${value}`);
print(`log: ${((performance.now() - started) / 1000).toFixed(1)} s`);

/** The same run, told. */
function replay(seed: number): void {
  try {
    runLog(seed, mutation, print);
  } catch {
    // Told by the caller.
  }
}
