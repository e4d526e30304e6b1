// Readiness as a verdict: could the other node take over now, what speaks against it, and what to do; below it what each part
// was measured from. The first line is the answer. Pure.

import { peerOf } from "../base/units.ts";
import type { DrillReport, ReadinessPart, ReadinessView } from "../wire/controlReadiness.ts";
import {
  type Cell,
  count,
  duration,
  moment,
  plural,
  printable,
  type Style,
  type Tone,
  table,
  wrap,
} from "./text.ts";

const WIDTH = 100;
const TONES: Readonly<Record<ReadinessPart["state"], Tone>> = {
  good: "good",
  warn: "warn",
  bad: "bad",
  unknown: "warn",
};
const LABELS: Readonly<Record<ReadinessPart["state"], string>> = {
  good: "ok",
  warn: "note",
  bad: "NO",
  unknown: "NOT KNOWN",
};

/** `99.98 %`, rounded down: whole only where it is all. */
const share = (proven: number): string => `${(Math.floor(proven * 10_000) / 100).toFixed(2)} %`;

const behindText = ({ behind }: ReadinessView): string =>
  behind === null ? "" : `, ${count(behind.records)} behind`;

const heldText = ({ held, total }: ReadinessView): string =>
  held === null || total === null ? "" : `${count(held)} of ${plural(total, "session")} held`;

/** The answer, in one sentence. */
export function readinessText(view: ReadinessView): string {
  const { successor, verdict, provenAgeMs, parts, node } = view;
  const who = successor ?? peerOf(node);
  const age = provenAgeMs === null ? "" : `, proven ${duration(provenAgeMs)} ago`;
  if (verdict === "ready") return `${who} could take over now: ${heldText(view)}${behindText(view)}${age}.`;
  const first = parts.find(({ state }) => state === "bad") ?? parts.find(({ state }) => state === "unknown");
  const why = first === undefined ? "" : `: ${printable(first.words)}`;
  if (verdict === "unknown") return `NOT PROVEN that ${who} could take over${why}.`;
  const held = heldText(view);
  return `NOT READY${why}${held === "" ? "" : ` (${held}, ${share(view.proven)})`}.`;
}

/** `14 s old, at most 15 min`; empty where it is of this moment. */
function ageText({ ageMs, boundMs }: ReadinessPart): string {
  if (boundMs === null) return "";
  return `${ageMs === null ? "never" : `${duration(Math.max(0, ageMs))} old`}, at most ${duration(boundMs)}`;
}

/** The last drill in a line; what it cost behind it. */
export function drillText(drill: DrillReport, nowMs: number): string {
  const { result, words, at, probes, switches } = drill;
  const gaps = switches.flatMap(({ gapMs }) => (gapMs === null ? [] : [gapMs]));
  const cost = [
    ...(switches.length === 0 ? [] : [`switched in ${switches.map(({ ms }) => duration(ms)).join(" and ")}`]),
    ...(gaps.length === 0 ? [] : [`gaps ${gaps.map((gap) => duration(gap)).join(" and ")}`]),
    ...(probes === null ? [] : [`${count(probes.lost)} of ${plural(probes.sent, "probe")} lost`]),
  ];
  return `${result}, ${moment(at, nowMs)}: ${printable(words)}${cost.length === 0 ? "" : ` (${cost.join(", ")})`}`;
}

/** The view as text that ends with a line feed. `nowMs`: the wall clock, ms since 1970. */
export function renderReadiness(
  view: ReadinessView,
  { nowMs, style }: { readonly nowMs: number; readonly style: Style },
): string {
  const { verdict, parts, since, node, lastDrill } = view;
  const tone: Tone = verdict === "ready" ? "good" : verdict === "unknown" ? "warn" : "bad";
  const label = verdict === "ready" ? "READY" : verdict === "unknown" ? "NOT PROVEN" : "NOT READY";
  const todo = parts.filter(({ state, advice }) => state !== "good" && advice !== "");
  const rows = parts.map((part): Cell[] => [
    part.part,
    { text: LABELS[part.state], tone: TONES[part.state] },
    part.words,
    { text: ageText(part), tone: "dim" },
  ]);
  return `${[
    `${style(tone, label)}  ${style("bold", readinessText(view))}`,
    ...todo.map(({ part, words, advice }) => wrap(`- ${part}: ${words}. ${advice}`, WIDTH, 4)),
    style("dim", `Seen from node ${node}, so since ${moment(since, nowMs)}`),
    "",
    table(
      ["", "", "", ""].map((title) => ({ title })),
      rows,
      style,
      2,
    ),
    `  ${style("dim", "Last drill")}  ${lastDrill === null ? "never" : drillText(lastDrill, nowMs)}`,
  ].join("\n")}\n`;
}

const countText = (value: number | null): string => (value === null ? "?" : count(value));

/** A drill that was just run, as text that ends with a line feed. */
export function renderDrill(report: DrillReport, style: Style): string {
  const { result, words, sessions, switches, probes, seconds, forced } = report;
  const rows = (["before", "away", "after"] as const).flatMap((moment): Cell[][] => {
    const counted = sessions[moment];
    return counted === null ? [] : [[MOMENTS[moment], countText(counted.a), countText(counted.b)]];
  });
  const lines = switches.map(
    ({ to, ms, gapMs }) =>
      `  To ${to} in ${duration(ms)}, ${gapMs === null ? "the gap was not measured" : `nobody seen to serve for ${duration(gapMs)}`}.`,
  );
  const refused = result === "refused";
  return `${[
    `${style(result === "passed" ? "good" : "bad", result.toUpperCase())}  ${style("bold", sentence(words))}`,
    ...(refused
      ? ["  Nothing was begun. `--force` tries all the same, as far as the election lets it."]
      : []),
    ...lines,
    ...(probes === null
      ? []
      : [`  ${count(probes.lost)} of ${plural(probes.sent, "probe")} on the LAN were lost.`]),
    ...(rows.length === 0 || refused
      ? []
      : [
          table(
            [{ title: "Sessions" }, { title: "a", align: "right" }, { title: "b", align: "right" }],
            rows,
            style,
            2,
          ),
        ]),
    ...(refused ? [] : [style("dim", `  ${seconds} s in all${forced ? ", by force" : ""}`)]),
  ].join("\n")}\n`;
}

const MOMENTS = { before: "before", away: "while the other one served", after: "behind it" } as const;
const sentence = (words: string): string => (words.endsWith(".") ? printable(words) : `${printable(words)}.`);
