// Every scenario once, in small size, with the real program on the real kernel: survival, equality of both kernels'
// tables, one claimant. No figure in milliseconds decides here; `make scenarios` is for those.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../../src/base/errors.ts";
import { SCENARIOS } from "../../src/lab/catalogue.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
/** Those of the first table in the size of lab.md, the many others smaller and with long times played shorter. */
const SMALL = ["--live", "50", "--background", "2000"];
const SMALLER = ["--live", "20", "--background", "500", "--short"];
const FIRST = ["crash", "power", "freeze", "handover", "placement"];
/** The machine may be shared by two of these and more. */
const TIMEOUT_MS = 240_000;

interface LabRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function lab(...args: readonly string[]): Promise<LabRun> {
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

suite("scenarios in small size", { concurrency: 1 }, () => {
  for (const scenario of SCENARIOS)
    test(scenario, { timeout: TIMEOUT_MS }, async (t) => {
      const size = FIRST.includes(scenario) ? SMALL : SMALLER;
      const run = await lab("--scenario", scenario, ...size, "--json");
      if (run.code === ExitCode.NotPossible) {
        t.skip(run.stderr.trim());
        return;
      }
      const result = JSON.parse(run.stdout) as { ok: boolean; why: readonly string[] };
      assert.deepEqual(
        { ok: result.ok, why: result.why, code: run.code },
        { ok: true, why: [], code: 0 },
        run.stderr,
      );
    });

  test("crash, with half of everything over IPv6", { timeout: TIMEOUT_MS }, async (t) => {
    const run = await lab("--scenario", "crash", ...SMALL, "--v6", "--json");
    if (run.code === ExitCode.NotPossible) {
      t.skip(run.stderr.trim());
      return;
    }
    const { ok, why } = JSON.parse(run.stdout) as { ok: boolean; why: readonly string[] };
    assert.deepEqual({ ok, why }, { ok: true, why: [] }, run.stderr);
  });

  test("more than the machine can hold is refused, not made smaller", async () => {
    const run = await lab("--scenario", "crash", "--background", "2000000", "--json");
    const result = JSON.parse(run.stdout) as { ok: boolean; why: readonly string[] };
    assert.deepEqual([run.code, result.ok], [ExitCode.NotPossible, false]);
    assert.match(run.stderr, /not possible on this machine as it is/);
  });

  test("a wrong use is explained and builds nothing", async () => {
    const run = await lab("--scenario", "earthquake");
    assert.equal(run.code, ExitCode.Usage);
    assert.match(run.stderr, /Allowed choices are crash, power, freeze, handover, placement/);
    assert.equal(run.stdout, "");
  });
});
