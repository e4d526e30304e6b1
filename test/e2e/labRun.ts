// One run of `understudy lab`, as a user would start it, and what a test makes of its verdict.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../../src/base/errors.ts";
import type { ScenarioName } from "../../src/lab/catalogue.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
/** The machine may be shared by two of these and more. */
export const LAB_TIMEOUT_MS = 240_000;

/** Scenarios about what the standby knows: replication.test.ts. */
export const REPLICATION: readonly ScenarioName[] = [
  "reboot-standby",
  "mid-snapshot",
  "stale",
  "sync-lost",
  "paths-cut",
  "loss",
  "on-off",
  "storm",
  "slow-standby",
  "churn",
  "idle-call",
  "ftp-sip",
  "apply",
  "apply-broken",
  "drift",
  "rollback",
];

export interface LabRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function lab(...args: readonly string[]): Promise<LabRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(PROGRAM, ["lab", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, UNDERSTUDY_NODE: process.execPath },
    });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (bytes: Buffer) => out.push(bytes));
    child.stderr.on("data", (bytes: Buffer) => err.push(bytes));
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
}

/**
 * Plays a scenario: it holds (the object that it printed), or it is skipped with what the machine lacks (null). One that does
 * not hold is played once more, and what was wrong the first time is told: the machine may be anybody's.
 */
export async function playedOut(
  t: TestContext,
  scenario: string,
  ...args: readonly string[]
): Promise<object | null> {
  try {
    return await playedOnce(t, scenario, ...args);
  } catch (error) {
    t.diagnostic(
      `${scenario} did not hold the first time: ${(error as Error).message.slice(0, DIAGNOSTIC_MAX)}`,
    );
    return playedOnce(t, scenario, ...args);
  }
}

const DIAGNOSTIC_MAX = 2000;

async function playedOnce(
  t: TestContext,
  scenario: string,
  ...args: readonly string[]
): Promise<object | null> {
  const run = await lab("--scenario", scenario, ...args, "--json");
  if (run.code === ExitCode.NotPossible) {
    t.skip(run.stderr.trim());
    return null;
  }
  const result = JSON.parse(run.stdout) as {
    ok: boolean;
    why: readonly string[];
    machine: { void: boolean };
    timingOnly?: boolean;
  };
  // Tried three times on a machine that stood still each time, and nothing but time speaks against it: no verdict.
  if (!result.ok && result.machine.void && result.timingOnly === true) {
    t.skip(result.why.join("; "));
    return null;
  }
  assert.deepEqual(
    { ok: result.ok, why: result.why, code: run.code },
    { ok: true, why: [], code: 0 },
    run.stderr,
  );
  return result;
}

/** As `playedOut`, where nobody asks for more than that it holds. */
export async function holds(t: TestContext, scenario: string, ...args: readonly string[]): Promise<void> {
  await playedOut(t, scenario, ...args);
}
