// Makes a failing scenario small: leaves actions out, shortens them, calms the noise, for as long as it still fails.

import type { Scenario } from "./scenario.ts";
import { type Mutation, runScenario } from "./world.ts";

const ROUNDS_MAX = 4;

const fails = (scenario: Scenario, mutation: Mutation): boolean =>
  runScenario(scenario, mutation).violations.length > 0;

/** Simpler variants of one scenario, the boldest first. */
function* variants(scenario: Scenario): Generator<Scenario> {
  for (let index = 0; index < scenario.actions.length; index++)
    yield { ...scenario, actions: scenario.actions.filter((_, other) => other !== index) };
  yield { ...scenario, lossPercent: 0 };
  yield { ...scenario, jitterMs: 0.1, delayMs: 0.1 };
  yield { ...scenario, wakeMs: 0.1 };
  yield { ...scenario, rates: [1, 1] };
  yield { ...scenario, singleMac: [] };
  yield { ...scenario, bootAt: [0, 0] };
  yield { ...scenario, paths: [scenario.segments, 0] };
  for (let index = 0; index < scenario.actions.length; index++) {
    const { at, action } = scenario.actions[index]!;
    if (!("forMs" in action) || action.forMs < 20) continue;
    const shorter = { at, action: { ...action, forMs: Math.ceil(action.forMs / 2) } };
    yield { ...scenario, actions: scenario.actions.with(index, shorter) };
  }
}

/** The smallest failing variant that was found; the scenario itself where none is. */
export function shrink(scenario: Scenario, mutation: Mutation): Scenario {
  let best = scenario;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    let shrunk = false;
    for (let progress = true; progress; ) {
      progress = false;
      for (const variant of variants(best)) {
        if (JSON.stringify(variant) === JSON.stringify(best) || !fails(variant, mutation)) continue;
        best = variant;
        progress = true;
        shrunk = true;
        break;
      }
    }
    if (!shrunk) break;
  }
  return best;
}
