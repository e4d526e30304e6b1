// docs/operations.md says what the program does: every exit code with its name, every command, every alarm.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { ALARMS } from "../../src/core/alarms.ts";
import { cli } from "./harness.ts";

const file = new URL("../../docs/operations.md", import.meta.url);
const text = readFileSync(file, "utf8");

/** Rows of the table in section `number`, cells trimmed and without backquotes. */
function rowsOf(number: number): string[][] {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${number}. `)) ?? "";
  return section
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .slice(2)
    .map((line) => line.split(" | ").map((cell) => cell.replaceAll(/^\| | \|$|`/g, "").trim()));
}

test("every exit code, and no other", () => {
  assert.deepEqual(
    rowsOf(6).map(([code, name]) => [name, Number(code)]),
    Object.entries(ExitCode),
  );
});

test("the alarms are those of the program, with its words (GOLDEN=write writes them)", () => {
  const rows = Object.entries(ALARMS).map(
    ([code, { severity, text, advice }]) => `| \`${code}\` | ${severity} | ${text} | ${advice} |`,
  );
  const table = ["| code | severity | what is the case | what to do |", "| --- | --- | --- | --- |", ...rows];
  const upToDate = text.replace(
    /<!-- table: alarms -->\n[\s\S]*?<!-- end -->/,
    () => `<!-- table: alarms -->\n${table.join("\n")}\n<!-- end -->`,
  );
  if (process.env.GOLDEN === "write") writeFileSync(file, upToDate);
  assert.equal(readFileSync(file, "utf8"), upToDate);
  assert.deepEqual(
    rowsOf(4).map(([code]) => code),
    Object.keys(ALARMS),
  );
});

test("every command, and no other", async () => {
  const { out } = await cli("--help");
  const offered = [...out.matchAll(/^ {2}([a-z]+) (?:\[| {2})/gm)].map(([, name]) => name!);
  const told = rowsOf(2).map(([command]) => command!.split(" ")[1]!);
  assert.deepEqual(new Set(told), new Set(offered.filter((name) => name !== "help")));
});
