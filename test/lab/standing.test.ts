// What a laboratory that stands says where its pair does not become ready: a finding, not a defect of this program.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { CommandFailure, reportFailure } from "../../src/cli/failure.ts";
import { ScenarioFailure } from "../../src/lab/stage.ts";
import { notServing } from "../../src/lab/standing.ts";

test("a pair that is not ready in time: its reasons and what to do, exit code 1, no stack trace", () => {
  const failure = notServing(
    new ScenarioFailure("not ready within 60 s: b is deaf"),
    "start a pair",
    "Try again.",
  );
  assert.ok(failure instanceof CommandFailure);
  const said: string[] = [];
  const terminal = { out: () => {}, err: (text: string) => void said.push(text) };
  assert.equal(reportFailure(failure, terminal as never, false), ExitCode.Failed);
  assert.match(
    said.join(""),
    /^understudy: start a pair: NOT_READY: not ready within 60 s: b is deaf\n {2}Try again\.\n$/,
  );
  assert.doesNotMatch(said.join(""), /defect| at /);
});

test("what is no finding of the laboratory stays what it is", () => {
  const defect = new TypeError("x is not a function");
  assert.equal(notServing(defect, "start a pair", "Try again."), defect);
});
