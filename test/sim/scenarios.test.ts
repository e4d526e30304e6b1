// The scenario files of test/scenarios: each a story of one fault or a few, and below `----` what happens. The text below
// is compared; `node test/sim/scenarios.test.ts -rewrite` writes it anew: commit that only if you understand what
// changed and want it so. Every story also has to end without a violation.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parseScenario } from "./scenario.ts";
import { runScenario } from "./world.ts";

const DIRECTORY = join(import.meta.dirname, "..", "scenarios");
const SEPARATOR = "----\n";
const REWRITE = process.argv.includes("-rewrite");

/** What happened, and what of the named exceptions was used. */
function outcome(story: string): { readonly text: string; readonly violations: readonly string[] } {
  const { log, overlaps, violations } = runScenario(parseScenario(story), {}, true);
  const claimed = overlaps.map(({ kind, from, forMs }) => {
    return `both claimed from ${from.toFixed(1)} for ${forMs.toFixed(1)} ms (${kind})`;
  });
  return { text: `${[...log, ...claimed, ...violations].join("\n")}\n`, violations };
}

for (const file of readdirSync(DIRECTORY).filter((name) => name.endsWith(".txt"))) {
  test(file, () => {
    const path = join(DIRECTORY, file);
    const [story, expected] = readFileSync(path, "utf8").split(SEPARATOR);
    assert.ok(story !== undefined, "a story");
    const { text, violations } = outcome(story);
    if (REWRITE) writeFileSync(path, `${story}${SEPARATOR}${text}`);
    else assert.equal(text, expected);
    assert.deepEqual(violations, []);
  });
}
