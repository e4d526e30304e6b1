// The scenarios: what happens to the pair, step by step. How it is judged stands in outcome.ts.

import { AUDIT_ACTS } from "./acts/audit.ts";
import { BURDENED_ACTS } from "./acts/burdened.ts";
import { CABLE_ACTS } from "./acts/cables.ts";
import { CONFIGURATION_ACTS } from "./acts/configuration.ts";
import { CYCLE_ACTS } from "./acts/cycles.ts";
import { TIME_ACTS } from "./acts/idleCall.ts";
import { KIND_ACTS } from "./acts/kinds.ts";
import { LOG_PATH_ACTS } from "./acts/logPaths.ts";
import { MASS_ACTS } from "./acts/masses.ts";
import { PROCESS_ACTS } from "./acts/processes.ts";
import { READINESS_ACTS } from "./acts/readiness.ts";
import { RESYNC_ACTS } from "./acts/resync.ts";
import { SOAK_ACTS } from "./acts/soak.ts";
import { SPLIT_ACTS } from "./acts/split.ts";
import type { Act } from "./acts/steps.ts";
import { type ScenarioName, specOf } from "./catalogue.ts";
import { nowMs } from "./clock.ts";
import { boot, cutPower, freeze, killPorts } from "./faults.ts";
import type { Outcome } from "./outcome.ts";
import { otherNode } from "./pair.ts";
import {
  arm,
  becomeReady,
  collect,
  fillStage,
  handOver,
  noteTakeover,
  observe,
  ScenarioFailure,
  type Stage,
  type StageOptions,
  setStage,
  since,
  watchReturn,
} from "./stage.ts";
import type { World } from "./world.ts";

const HANDOVERS = 20;
const FREEZE_MS = 3000;

/** What happens between "everything counts" and "everything was read". */
export const ACTS: Readonly<Record<Exclude<ScenarioName, "placement">, Act>> = {
  crash: async (stage) => {
    const died = stage.active;
    await killPorts(stage.world, died);
    stage.options.progress(`${died} is dead to the world: its switch ports forward nothing`);
    await observe(stage);
    await noteTakeover(stage, died);
  },
  power: async (stage) => {
    const died = stage.active;
    await cutPower(stage.world, died);
    stage.options.progress(`${died} has no power`);
    await observe(stage);
    await noteTakeover(stage, died);
    await boot(stage.world, died);
    await watchReturn(stage, "after the boot");
  },
  freeze: async (stage) => {
    const died = stage.active;
    await freeze(stage.world, died, FREEZE_MS);
    stage.options.progress(`${died} stood still for ${FREEZE_MS / 1000} s and goes on`);
    await observe(stage);
    await noteTakeover(stage, died);
    await watchReturn(stage, "after the freeze");
  },
  handover: async (stage) => {
    stage.handovers = { asked: HANDOVERS, done: 0 };
    for (let round = 1; round <= HANDOVERS; round += 1) {
      stage.active = await handOver(stage.world, stage.active);
      stage.handovers.done = round;
    }
    stage.options.progress(`${stage.handovers.done} of ${HANDOVERS} handovers done`);
    await observe(stage);
    stage.active = await becomeReady(stage.world, "after the last handover");
    await noteTakeover(stage, otherNode(stage.active));
  },
  ...PROCESS_ACTS,
  ...CABLE_ACTS,
  ...SPLIT_ACTS,
  ...BURDENED_ACTS,
  ...CYCLE_ACTS,
  ...RESYNC_ACTS,
  ...LOG_PATH_ACTS,
  ...MASS_ACTS,
  ...KIND_ACTS,
  ...TIME_ACTS,
  ...CONFIGURATION_ACTS,
  ...AUDIT_ACTS,
  ...READINESS_ACTS,
  ...SOAK_ACTS,
};

/** Plays one scenario in `world`. A pair that does not get where it should is a finding, not an exception. */
export async function play(world: World, options: StageOptions): Promise<Outcome> {
  let stage: Stage | null = null;
  try {
    stage = await setStage(world, options);
    if (specOf(options.scenario).idle !== true) await fillStage(stage);
    await arm(stage);
    await ACTS[options.scenario as keyof typeof ACTS](stage);
    return await collect(stage);
  } catch (error) {
    if (!(error instanceof ScenarioFailure)) throw error;
    return failed(world, options, stage, error.message);
  } finally {
    stage?.load.stop();
    await stage?.meter.stop();
  }
}

function failed(world: World, options: StageOptions, stage: Stage | null, problem: string): Outcome {
  return {
    scenario: options.scenario,
    seconds: since(world, nowMs()),
    live: null,
    asked: { live: options.live, background: options.background },
    udp: null,
    sessions: stage?.sessions ?? null,
    differences: stage?.differences ?? [],
    takeover: stage?.takeover ?? null,
    claimants: null,
    machineStallMs: 0,
    namespaces: Object.fromEntries(world.pids),
    faults: world.faults.map(({ atMs, what }) => ({ at: since(world, atMs), what })),
    handovers: stage?.handovers ?? null,
    unasked: stage?.unasked ?? 0,
    placement: null,
    kinds: stage?.kinds ?? [],
    audit: stage?.audit ?? null,
    readiness: null,
    untranslated: null,
    short: options.short,
    notes: stage?.notes ?? [],
    late: stage?.late ?? [],
    problems: [...(stage?.problems ?? []), problem],
  };
}
