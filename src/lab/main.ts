// `understudy lab`: reads the command line, sees whether this machine can do it, and plays. One JSON object or one report
// on standard output, progress on standard error; whatever ends it, it cleans up behind itself.

import { fileURLToPath } from "node:url";
import { CommanderError } from "commander";
import { ExitCode } from "../base/errors.ts";
import { type ScenarioName, specOf } from "./catalogue.ts";
import { nowMs } from "./clock.ts";
import { type LabContext, type LabOptions, readOptions } from "./options.ts";
import { judge, type Outcome, type PlacementRun, resultOf, type Verdict } from "./outcome.ts";
import { playPlacement } from "./placementScenario.ts";
import { reportOf } from "./report.ts";
import {
  BACKGROUND_MAX_WITHOUT_ROOT,
  findProgram,
  type Missing,
  mayMakeNamespaces,
  missingConntrackRoom,
  missingDescriptors,
  missingPrograms,
  missingUserNamespace,
} from "./requirements.ts";
import { play } from "./scenarios.ts";
import { ScenarioFailure, since } from "./stage.ts";
import { standDown, standUp, strike } from "./standing.ts";
import { buildWorld, labEnvironment, type World, type WorldOptions } from "./world.ts";
import { findWorlds, removeWorld } from "./worldState.ts";

/** Says that this process was started again inside a user namespace of its own. */
const INSIDE_VARIABLE = "UNDERSTUDY_LAB_INSIDE";
const HANDOVER_PING_MS = 1;
const PING_MS = 2;
const PLACEMENT_SEEDS = [1, 20_260, 4_000_000_007];
/** A void run is repeated, at most this often. */
const REPEATS_MAX = 2;

/** Runs `understudy lab ARGS`; resolves to its exit code (base/errors.ts). */
export async function labMain(args: readonly string[]): Promise<number> {
  let options: LabOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
  }
  process.env.PATH = labEnvironment("").PATH;
  const startedMs = nowMs();
  const context: LabContext = {
    args,
    options,
    userNamespace: process.env[INSIDE_VARIABLE] !== undefined,
    progress: (text) =>
      void process.stderr.write(`${((nowMs() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${text}\n`),
  };
  if (options.down) return standDown(context);
  if (options.fault !== null) return strike(context, options.fault);
  const missing = await lookForMissing(context);
  if (missing.length > 0) return refuse(options, missing);
  await removeCrashed(context);
  return options.up ? standUp(context) : playAll(context);
}

/** What this machine lacks for it; where only root lacks, goes into a user namespace and does not return. */
async function lookForMissing(context: LabContext): Promise<readonly Missing[]> {
  const { options, userNamespace } = context;
  const spec = options.up || options.scenario === null ? null : specOf(options.scenario);
  const programs = missingPrograms(process.env.PATH ?? "", spec?.programs);
  if (programs.length > 0) return programs;
  const missing: (Missing | null)[] = [];
  if (!userNamespace && !(await mayMakeNamespaces())) {
    const own = await missingUserNamespace();
    if (own === null) enterUserNamespace(context.args);
    missing.push(own);
  }
  const more = spec?.more;
  const besides = (options.short ? more?.short : undefined) ?? more?.sessions ?? 0;
  const sessions = options.up ? 0 : options.live + options.background + besides;
  const connections = Math.max(options.live, more?.connections ?? 0);
  missing.push(missingConntrackRoom(sessions), missingDescriptors(connections));
  if (userNamespace && spec?.starved === true)
    missing.push({
      what: `root: without it heart has no real-time priority, which is what ${options.scenario} is about`,
      advice: "Run it as root (sudo).",
    });
  if (userNamespace && options.background > BACKGROUND_MAX_WITHOUT_ROOT)
    missing.push({
      what: `root: ${options.background} background sessions without it would measure its socket buffers`,
      advice: `Run it as root (sudo), or with --background ${BACKGROUND_MAX_WITHOUT_ROOT} at the most.`,
    });
  return missing.filter((item) => item !== null);
}

/** Starts the same command again as root of a user namespace, in place of this process. */
function enterUserNamespace(args: readonly string[]): never {
  const cli = fileURLToPath(new URL("../cli.ts", import.meta.url));
  const words = [process.execPath, "--disable-warning=ExperimentalWarning", cli, "lab", ...args];
  const environment = { ...process.env, [INSIDE_VARIABLE]: "1" } as NodeJS.ProcessEnv;
  process.execve!(findProgram("unshare"), ["unshare", "-Urnm", "--", ...words], environment);
  throw new Error("unreachable: execve returned");
}

function refuse(options: LabOptions, missing: readonly Missing[]): number {
  const why = missing.map(({ what, advice }) => `${what}. ${advice}`);
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ scenario: options.scenario ?? "crash", ok: false, possible: false, why })}\n`,
    );
  process.stderr.write("understudy lab: not possible on this machine as it is. Missing:\n");
  for (const { what, advice } of missing) process.stderr.write(`  ${what}\n    ${advice}\n`);
  return ExitCode.NotPossible;
}

async function removeCrashed(context: LabContext): Promise<void> {
  for (const world of findWorlds().filter((candidate) => candidate.crashed)) {
    context.progress(`clearing away what the laboratory ${world.lab} left when it crashed`);
    await removeWorld(world.directory);
  }
}

async function playAll(context: LabContext): Promise<number> {
  const { options } = context;
  const results: { outcome: Outcome; verdict: Verdict }[] = [];
  for (let run = 1; run <= options.runs; run += 1) {
    if (options.runs > 1) context.progress(`run ${run} of ${options.runs}`);
    results.push(await playUntilValid(context, options.scenario ?? "crash"));
  }
  const worst = results.find(({ verdict }) => !verdict.ok) ?? results.at(-1)!;
  const root = !context.userNamespace;
  if (options.json) {
    const result = resultOf(worst.outcome, worst.verdict);
    const runs = results.map(({ outcome, verdict }) => resultOf(outcome, verdict));
    process.stdout.write(`${JSON.stringify(options.runs > 1 ? { ...result, runs } : result)}\n`);
  } else {
    process.stdout.write(
      reportOf(worst.outcome, worst.verdict, { hosts: options.hosts, v6: options.v6, root }),
    );
    if (options.runs > 1)
      process.stdout.write(
        `\n${results.filter(({ verdict }) => verdict.ok).length} of ${options.runs} runs held.\n`,
      );
  }
  return results.every(({ verdict }) => verdict.ok) ? ExitCode.Ok : ExitCode.Failed;
}

/** One run; again where nothing but void figures speaks against it. */
async function playUntilValid(
  context: LabContext,
  scenario: ScenarioName,
): Promise<{ outcome: Outcome; verdict: Verdict }> {
  for (let repeat = 0; ; repeat += 1) {
    const outcome = await playOnce(context, scenario);
    const verdict = judge(outcome, { figures: context.options.figures, root: !context.userNamespace });
    if (!verdict.void || !verdict.timingOnly || repeat === REPEATS_MAX) return { outcome, verdict };
    context.progress(
      `void, for the machine itself stood still for ${outcome.machineStallMs.toFixed(0)} ms (${verdict.why.join("; ")}): once more`,
    );
  }
}

async function playOnce(context: LabContext, scenario: ScenarioName): Promise<Outcome> {
  const { options, progress } = context;
  const spec = specOf(scenario);
  const stageOptions = {
    scenario,
    live: spec.idle ? 0 : options.live,
    background: spec.idle ? 0 : options.background,
    v6: options.v6,
    short: options.short,
    minutes: options.minutes,
    pingIntervalMs: scenario === "handover" ? HANDOVER_PING_MS : PING_MS,
    progress,
  };
  const worldOptions: WorldOptions = {
    hosts: options.hosts,
    standing: false,
    userNamespace: context.userNamespace,
    logs: options.logs,
    ownDisk: spec.ownDisk === true,
    ...(spec.helpers === undefined ? {} : { helpers: spec.helpers }),
  };
  if (scenario !== "placement")
    return withWorld(worldOptions, progress, async (world) => {
      const outcome = await play(world, stageOptions);
      // What the nodes said is gone with the world, and wanted where something did not hold.
      if (!judge(outcome, { figures: false, root: true }).ok) showLogs(world, progress);
      return outcome;
    });
  const runs: PlacementRun[] = [];
  const problems: string[] = [];
  const startedMs = nowMs();
  let namespaces: Readonly<Record<string, number>> = {};
  for (const seed of PLACEMENT_SEEDS)
    await withWorld({ ...worldOptions, seed }, progress, async (world) => {
      namespaces = Object.fromEntries(world.pids);
      try {
        runs.push(await playPlacement(world, seed, stageOptions));
      } catch (error) {
        if (!(error instanceof ScenarioFailure)) throw error;
        problems.push(`seed ${seed}: ${error.message}`);
      }
    });
  return {
    scenario,
    seconds: (nowMs() - startedMs) / 1000,
    live: null,
    asked: { live: 0, background: options.background },
    udp: null,
    sessions: null,
    differences: [],
    takeover: null,
    claimants: null,
    machineStallMs: 0,
    namespaces,
    faults: [],
    handovers: null,
    unasked: 0,
    placement: runs,
    kinds: [],
    audit: null,
    readiness: null,
    untranslated: null,
    short: false,
    notes: [],
    late: [],
    problems,
  };
}

function showLogs(world: World, progress: (text: string) => void): void {
  for (const { name } of world.topology.nodes)
    progress(`the end of the log of ${name}:\n${world.pair.logTail(name)}`);
}

/** A world for as long as `use` takes, whatever ends it. */
async function withWorld<T>(
  options: WorldOptions,
  progress: (text: string) => void,
  use: (world: World) => Promise<T>,
): Promise<T> {
  const world = await buildWorld(options);
  progress(`laboratory ${world.lab}: ${world.pids.size} namespaces in ${since(world, nowMs()).toFixed(1)} s`);
  let interrupted = false;
  const stop = (name: NodeJS.Signals): void => {
    interrupted = true;
    process.stderr.write(`\nunderstudy lab: ${name}, cleaning up\n`);
    void world.close().finally(() => process.exit(name === "SIGINT" ? 130 : 143));
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of signals) process.once(name, stop);
  try {
    return await use(world);
  } finally {
    // What failed because its processes were ended under it has nothing to say: the handler ends us.
    if (interrupted) await new Promise(() => {});
    for (const name of signals) process.off(name, stop);
    await world.close();
  }
}
