// Another configuration, while everything goes on: role, term, lease and what is known of the peer stay; segments come and
// go, and timers change. What is lost is a silence under way, which is judged anew: nothing opens earlier because a
// configuration changed in between. Pure.

import { millis } from "../../base/units.ts";
import type { TimersConfig } from "../config.ts";
import { type ElectionState, forgetProbes, newSegment } from "./state.ts";
import { BETWEEN_CONFIGURATIONS, type ElectionConfig, type ElectionInput } from "./types.ts";

/** Takes over what is known of the segments that stay, each at its new place. */
export function onConfiguration(
  state: ElectionState,
  now: number,
  input: Extract<ElectionInput, { kind: "configuration" }>,
): void {
  const before = state.segments;
  state.config = input.config;
  state.segments = input.config.segments.map((_, index) => {
    const kept = before[input.origins[index] ?? -1];
    if (kept === undefined) return newSegment(input.carriers[index] ?? false);
    kept.carrier = input.carriers[index] ?? kept.carrier;
    return kept;
  });
  state.quietFloor = Math.max(state.quietFloor, now);
  forgetProbes(state);
  // Comparisons of before were of other segments.
  state.comparedAt = now;
  state.betterCount = 0;
  state.blindCount = 0;
  state.nextHeartbeatAt = Math.min(state.nextHeartbeatAt, now + input.config.timers.heartbeatMs);
}

/**
 * What holds on the way from `now` to `next`, while it is not known which of the two lengths the kernel gives a lease: heartbeats
 * as often as either asks for, and of everything else the longer (I5, I6). Compared with nobody (I4).
 */
export function betweenConfigurations(now: ElectionConfig, next: ElectionConfig): ElectionConfig {
  const longer = (key: Exclude<keyof TimersConfig, "heartbeatMs">) =>
    millis(Math.max(now.timers[key], next.timers[key]));
  return {
    ...now,
    digest: BETWEEN_CONFIGURATIONS,
    timers: {
      heartbeatMs: millis(Math.min(now.timers.heartbeatMs, next.timers.heartbeatMs)),
      deadAfterMs: longer("deadAfterMs"),
      leaseMs: longer("leaseMs"),
      soloLeaseMs: longer("soloLeaseMs"),
    },
  };
}

/** Whether the way from one to the other leads through `betweenConfigurations`. */
export const changesTimers = (now: ElectionConfig, next: ElectionConfig): boolean =>
  (Object.keys(now.timers) as (keyof TimersConfig)[]).some((key) => now.timers[key] !== next.timers[key]);
