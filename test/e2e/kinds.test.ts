// The table of kinds, held to by the real program on the real kernel: every kind of session over IPv4 and IPv6, once through
// the death of the active and once through a handover. What this machine has no sockets for is skipped by name.

import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { KINDS, type KindFault, kindOf } from "../../src/lab/kinds.ts";
import { LAB_TIMEOUT_MS, playedOut } from "./labRun.ts";

const SMALL = ["--live", "20", "--background", "500", "--short", "--v6"];

interface CellResult {
  readonly kind: string;
  readonly family: 4 | 6;
  readonly fault: KindFault;
  readonly sessions: number;
  readonly promised: string;
  readonly found?: string;
  readonly why?: string;
  readonly skipped?: string;
}

async function playTable(t: TestContext, scenario: string, fault: KindFault): Promise<void> {
  const result = await playedOut(t, scenario, ...SMALL);
  if (result === null) return;
  const cells = (result as { kinds: readonly CellResult[] }).kinds;
  assert.deepEqual(
    cells.map(({ kind, family }) => `${kind} ${family}`),
    KINDS.flatMap((kind) => [`${kind} 4`, `${kind} 6`]),
    "every kind over both families, none left out",
  );
  for (const cell of cells)
    await t.test(`${cell.kind} over IPv${cell.family}: ${cell.promised}`, (sub) => {
      if (cell.skipped !== undefined) return sub.skip(cell.skipped);
      assert.deepEqual(
        [cell.fault, cell.promised],
        [fault, kindOf(cell.kind as (typeof KINDS)[number])[fault].is],
      );
      assert.ok(cell.sessions >= 3, `${cell.sessions} sessions`);
      // What only took longer than it should on a busy machine is no verdict here (labRun.ts).
      const alive = (word: string | undefined): boolean => word === "survives" || word === "stalls";
      assert.equal(alive(cell.found), alive(cell.promised), cell.why ?? "");
    });
}

suite("what becomes of each kind of session", { concurrency: 1 }, () => {
  test("the active dies", { timeout: LAB_TIMEOUT_MS }, (t) => playTable(t, "kinds", "crash"));
  test("the active hands over", { timeout: LAB_TIMEOUT_MS }, (t) =>
    playTable(t, "kinds-handover", "handover"),
  );
});
