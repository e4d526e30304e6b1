// A drill's report as both nodes keep it: to and from the layout in which it travels and lies on disk. Pure.

import type { DrillCount, DrillReport } from "../wire/controlReadiness.ts";
import type { DrillRecord } from "../wire/messagesDrill.ts";

/** As DRILL_UNKNOWN of wire/messagesDrill.ts, which may not be imported here. */
const UNKNOWN = 2 ** 32 - 1;

const put = (value: number | null): number =>
  value === null ? UNKNOWN : Math.min(UNKNOWN - 1, Math.round(value));
const take = (value: number): number | null => (value === UNKNOWN ? null : value);
const NOBODY: DrillCount = { a: null, b: null };

/** Null where it is none that is kept. */
export function recordOf(report: DrillReport): DrillRecord | null {
  const { result, sessions, switches, probes, node, scheduled, forced } = report;
  if (result === "refused") return null;
  const counts = [sessions.before, sessions.away, sessions.after];
  // Each has its place: what is missing in between is nobody's count.
  const last = counts.findLastIndex((count) => count !== null);
  return {
    at: Date.parse(report.at),
    node,
    result,
    scheduled,
    forced,
    duration: Math.round(report.seconds * 10),
    words: report.words,
    counts: counts
      .slice(0, last + 1)
      .map((count) => ({ a: put((count ?? NOBODY).a), b: put((count ?? NOBODY).b) })),
    switches: switches.slice(0, 2).map(({ to, ms, gapMs }) => ({ to, ms: put(ms), gapMs: put(gapMs) })),
    probesSent: put(probes?.sent ?? null),
    probesLost: put(probes?.lost ?? null),
  };
}

export function reportIn(record: DrillRecord): DrillReport {
  const { node, result, scheduled, forced, words, counts, switches, probesSent, probesLost } = record;
  const [before = null, away = null, after = null] = counts.map(({ a, b }) => ({ a: take(a), b: take(b) }));
  const [sent, lost] = [take(probesSent), take(probesLost)];
  return {
    result,
    words,
    node,
    at: new Date(record.at).toISOString(),
    seconds: record.duration / 10,
    scheduled,
    forced,
    sessions: { before, away, after },
    switches: switches.map(({ to, ms, gapMs }) => ({ to, ms, gapMs: take(gapMs) })),
    probes: sent === null || lost === null ? null : { sent, lost },
  };
}

/** The later of two; of two of one moment the first. */
export const laterOf = (one: DrillReport | null, other: DrillReport): DrillReport =>
  one !== null && Date.parse(one.at) >= Date.parse(other.at) ? one : other;
