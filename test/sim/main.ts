// `make sim`: many seeds, one after the other. Prints what was used of the named exceptions; a seed that fails is
// shrunk, printed as a scenario, and ends the run with a failure.

import { parseArgs } from "node:util";
import { drawScenario } from "./draw.ts";
import { mutationOf } from "./mutations.ts";
import { formatScenario } from "./scenario.ts";
import { shrink } from "./shrink.ts";
import { addRun, createTally, formatTally } from "./tally.ts";
import { runScenario } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "20000" },
    from: { type: "string", default: "1" },
    mutation: { type: "string", default: "none" },
    log: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});
const from = Number(values.from);
const count = Number(values.seeds);
const mutation = mutationOf(values.mutation);
const tally = createTally();
const started = performance.now();
let failed = 0;
for (let seed = from; seed < from + count; seed++) {
  const scenario = drawScenario(seed);
  const result = runScenario(scenario, mutation, values.log);
  addRun(tally, result);
  if (values.log) process.stdout.write(`${result.log.join("\n")}\n`);
  if (result.violations.length === 0) continue;
  failed += 1;
  process.stdout.write(`seed ${seed}: ${result.violations[0]}\n`);
  if (values.keep) continue;
  const small = shrink(scenario, mutation);
  const again = runScenario(small, mutation, true);
  process.stdout.write(
    `\n${formatScenario(small)}----\n${again.log.join("\n")}\n${again.violations.join("\n")}\n`,
  );
  break;
}
const seconds = (performance.now() - started) / 1000;
process.stdout.write(`${formatTally(tally)}\n${seconds.toFixed(1)} s; ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
