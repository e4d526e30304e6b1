// What many runs came to: how often each named exception of failover §8 was used, and how long it lasted.

import type { OverlapKind } from "./checker.ts";
import type { RunResult } from "./world.ts";

export interface Tally {
  runs: number;
  virtualMs: number;
  events: number;
  takeovers: number;
  handovers: number;
  readonly overlaps: Record<OverlapKind, { count: number; runs: number; longestMs: number; totalMs: number }>;
}

const none = (): Tally["overlaps"][OverlapKind] => ({ count: 0, runs: 0, longestMs: 0, totalMs: 0 });

export const createTally = (): Tally => ({
  runs: 0,
  virtualMs: 0,
  events: 0,
  takeovers: 0,
  handovers: 0,
  overlaps: { heal: none(), losses: none(), paused: none() },
});

export function addRun(tally: Tally, result: RunResult): void {
  tally.runs += 1;
  tally.virtualMs += result.virtualMs;
  tally.events += result.events;
  tally.takeovers += result.takeovers;
  tally.handovers += result.handovers;
  const seen = new Set<OverlapKind>();
  for (const { kind, forMs } of result.overlaps) {
    const entry = tally.overlaps[kind];
    entry.count += 1;
    entry.totalMs += forMs;
    entry.longestMs = Math.max(entry.longestMs, forMs);
    seen.add(kind);
  }
  for (const kind of seen) tally.overlaps[kind].runs += 1;
}

export function formatTally(tally: Tally): string {
  const hours = (tally.virtualMs / 3_600_000).toFixed(1);
  const lines = [
    `${tally.runs} seeds, ${hours} hours of a pair, ${tally.events} events, ${tally.takeovers} takeovers, ${tally.handovers} handovers`,
  ];
  for (const [kind, { count, runs, longestMs, totalMs }] of Object.entries(tally.overlaps)) {
    const mean = count === 0 ? 0 : totalMs / count;
    lines.push(
      `exception ${kind}: ${count} in ${runs} seeds, mean ${mean.toFixed(1)} ms, longest ${longestMs.toFixed(1)} ms`,
    );
  }
  return lines.join("\n");
}
