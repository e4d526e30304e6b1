// The command line of the laboratory: defaults, sizes, refusals.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { CommanderError } from "commander";
import { readOptions } from "../../src/lab/options.ts";

/** The exit code of a refused command line; what it prints on the way is commander's. */
function refusal(...args: readonly string[]): number | null {
  const write = process.stderr.write;
  process.stderr.write = () => true;
  try {
    readOptions(args);
    return null;
  } catch (error) {
    return error instanceof CommanderError ? error.exitCode : -1;
  } finally {
    process.stderr.write = write;
  }
}

suite("options", () => {
  test("nothing: the newcomer's crash in full size, where figures decide", () => {
    const { scenario, live, background, hosts, figures, json, runs } = readOptions([]);
    assert.deepEqual(
      { scenario, live, background, hosts, figures, json, runs },
      { scenario: null, live: 200, background: 20_000, hosts: 20, figures: true, json: false, runs: 1 },
    );
  });

  test("small sizes: functional verdicts only, unless figures are asked for", () => {
    const small = ["--scenario", "crash", "--live", "50", "--background", "2000"];
    assert.equal(readOptions(small).figures, false);
    assert.equal(readOptions([...small, "--figures"]).figures, true);
    assert.equal(readOptions(["--scenario", "crash", "--background", "200000"]).figures, true);
  });

  test("a soak lasts half an hour, a short one a minute, or as long as is asked", () => {
    assert.equal(readOptions(["--scenario", "soak"]).minutes, 30);
    assert.equal(readOptions(["--scenario", "soak", "--short"]).minutes, 1);
    assert.equal(readOptions(["--scenario", "soak", "--short", "--minutes", "480"]).minutes, 480);
    assert.equal(refusal("--minutes", "0"), 1);
  });

  test("a fault takes words", () => {
    assert.deepEqual(readOptions(["--fault", "freeze", "a", "3", "--json"]).fault, ["freeze", "a", "3"]);
  });

  test("a fault that does not exist, or not like that, is a wrong use", () => {
    for (const words of [
      ["nonsense"],
      ["boot"],
      ["power", "c"],
      ["power", "a", "b"],
      ["handover", "a"],
      ["freeze", "a", "long"],
    ])
      assert.equal(refusal("--fault", ...words), 1, words.join(" "));
    for (const words of [["boot", "b"], ["port-alive"], ["port-dead", "standby", "lan", "wan1"], ["power"]])
      assert.deepEqual(readOptions(["--fault", ...words]).fault, words);
  });

  test("wrong uses are refused", () => {
    assert.equal(refusal("--scenario", "earthquake"), 1);
    assert.equal(refusal("--live", "-1"), 1);
    assert.equal(refusal("--live", "many"), 1);
    assert.equal(refusal("--hosts", "101"), 1);
    assert.equal(refusal("--up", "--down"), 1);
    assert.equal(refusal("--nonsense"), 1);
    assert.equal(refusal("stray"), 1);
  });
});
