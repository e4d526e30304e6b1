// The table of scenarios: every one can be played and told, every name that stands for another leads to one.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { COMPLAINTS, SCENARIO_WORDS, SCENARIOS, scenarioOf, specOf } from "../../src/lab/catalogue.ts";
import { readOptions } from "../../src/lab/options.ts";
import { ACTS } from "../../src/lab/scenarios.ts";

suite("catalogue", () => {
  test("every scenario has an act, but for the one that plays three worlds", () => {
    assert.deepEqual(
      [...SCENARIOS].filter((name) => !Object.hasOwn(ACTS, name)),
      ["placement"],
    );
    assert.deepEqual(
      Object.keys(ACTS).filter((name) => !(SCENARIOS as readonly string[]).includes(name)),
      [],
    );
  });

  test("every scenario says in a sentence what happens", () => {
    for (const name of SCENARIOS) assert.match(specOf(name).happened, /^[A-Z].*\.$/, name);
  });

  test("docs/laboratory.md has every scenario and every complaint, and no other", () => {
    const text = readFileSync(new URL("../../docs/laboratory.md", import.meta.url), "utf8");
    const rows = [...text.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, names]) => names!.split(", "));
    assert.deepEqual(new Set(rows), new Set(SCENARIO_WORDS.map((word) => `\`${word}\``)));
    for (const [word, { scenario, about }] of Object.entries(COMPLAINTS))
      assert.ok(text.includes(`| \`${word}\` | ${about} | \`${scenario}\` |`), word);
  });

  test("complaints lead to scenarios, and are words of the command line", () => {
    for (const [word, { scenario, about }] of Object.entries(COMPLAINTS)) {
      assert.equal(scenarioOf(word), scenario);
      assert.ok((SCENARIOS as readonly string[]).includes(scenario));
      assert.notEqual(about, "");
      assert.equal(readOptions(["--scenario", word]).scenario, scenario);
    }
    assert.equal(new Set(SCENARIO_WORDS).size, SCENARIO_WORDS.length);
  });
});
