// `understudy drill`: one order to the daemon, and what came of it.

import { ExitCode } from "../base/errors.ts";
import { DRILL_BACK_MS_MAX, DRILL_OVER_MS_MAX, DRILL_SYNC_MS_MAX } from "../base/limits.ts";
import { renderDrill } from "../views/readiness.ts";
import { askDaemon } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

/** The longest drill, and some time for the answer. */
const DRILL_MS_MAX = DRILL_OVER_MS_MAX + DRILL_BACK_MS_MAX + 2 * DRILL_SYNC_MS_MAX + 10_000;

/** Runs a drill; returns its exit code when it is over. */
export async function drill(
  { node, json, force = false }: { readonly node: string; readonly json: boolean; readonly force?: boolean },
  terminal: Terminal,
): Promise<ExitCode> {
  const answer = await askDaemon(node, { kind: "drill", force }, DRILL_MS_MAX);
  if (answer.kind !== "drilled") throw new Error(`the daemon answered "${answer.kind}" to drill`);
  const { report } = answer;
  const passed = report.result === "passed";
  if (json) terminal.out(`${JSON.stringify(report)}\n`);
  else (passed ? terminal.out : terminal.err)(renderDrill(report, terminal.style));
  return passed ? ExitCode.Ok : ExitCode.Failed;
}
