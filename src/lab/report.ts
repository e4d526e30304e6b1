// The report that a person reads: what was running, what died, what survived, the gap, what to try next. Pure.

import { specOf } from "./catalogue.ts";
import { kindLines } from "./kinds.ts";
import type { Outcome, Verdict } from "./outcome.ts";
import { round } from "./traffic/survival.ts";

export interface ReportOptions {
  readonly hosts: number;
  readonly v6: boolean;
  readonly root: boolean;
}

/** The whole report, ending with a newline. */
export function reportOf(outcome: Outcome, verdict: Verdict, options: ReportOptions): string {
  const sections: (readonly [string, readonly string[]])[] = [
    ["What was running", running(outcome, options)],
    ["What happened", [...happened(outcome), ...doubtsOf(outcome)]],
    ["What anybody noticed", noticed(outcome)],
    ["What each kind of session noticed", kindLines(outcome.kinds)],
    ...(verdict.ok ? [] : ([["What did not hold", verdict.why]] as const)),
    ["What to try next", NEXT],
  ];
  const body = sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => `${title}\n${lines.map((line) => `  ${line}\n`).join("")}`)
    .join("\n");
  const doubts = doubtsOf(outcome);
  const held = doubts.length === 0 ? "It held." : "Every session went on, but read what follows.";
  return `\n${verdict.ok ? held : "It did not hold."}  (${outcome.scenario}, ${round(outcome.seconds)} s)\n\n${body}`;
}

function running(outcome: Outcome, options: ReportOptions): readonly string[] {
  const { asked, sessions } = outcome;
  return [
    `A pair of nodes, a and b, between a LAN of ${options.hosts} hosts and two Internet links (weights 3 and 1),`,
    `all of it in network namespaces of this machine${options.root ? "" : ", without root"}.`,
    ...(asked.live > 0
      ? [
          `${asked.live} live sessions${options.v6 ? " over IPv4 and IPv6" : ""}: half of them echoes every 20 ms, half downloads; every byte checked.`,
        ]
      : []),
    ...(asked.background > 0 ? [`${asked.background} more sessions beside them.`] : []),
    ...(sessions === null
      ? []
      : [`The active's kernel held ${sessions.active} sessions, the standby's ${sessions.standby}.`]),
    ...outcome.differences.map(({ when, missing, extra, wrong }) =>
      missing + extra + wrong === 0
        ? `Compared from outside, ${when}: no difference between the two.`
        : `Compared from outside, ${when}: ${missing} missing, ${extra} extra, ${wrong} wrong.`,
    ),
  ];
}

/** Traffic stands still for a little longer than the silence that is noticed and the opening. */
const TAKEOVER_SLACK_MS = 100;

/** Where the figures of the takeover and what traffic saw do not belong together. */
function doubtsOf(outcome: Outcome): readonly string[] {
  const { takeover, udp, unasked, machineStallMs } = outcome;
  const doubts: string[] = [];
  if (takeover === null) return doubts;
  if (unasked > 0)
    doubts.push(
      `The active changed ${unasked} ${unasked === 1 ? "time" : "times"} more than was due: the figures above are those of the last change alone.`,
    );
  const toldMs = takeover.silenceMs + takeover.openMs;
  if (
    specOf(outcome.scenario).gapMaxMs !== undefined &&
    udp !== null &&
    udp.gapMs > toldMs + TAKEOVER_SLACK_MS
  )
    doubts.push(
      `Traffic stood still for ${round(udp.gapMs)} ms, the takeover accounts for ${round(toldMs)} of them: ` +
        (machineStallMs > toldMs
          ? `this machine itself stood still for ${round(machineStallMs)} ms.`
          : "the node that took over heard of the fault late, or was kept from opening. Keep --logs, and report it."),
    );
  return doubts;
}

function happened(outcome: Outcome): readonly string[] {
  const { takeover } = outcome;
  return [
    specOf(outcome.scenario).happened,
    ...(outcome.short ? ["Long times were played shorter (--short)."] : []),
    ...(takeover === null
      ? []
      : [
          takeover.silenceMs === 0
            ? `At the end ${takeover.to} was active, in term ${takeover.term}: the role was handed to it.`
            : `${takeover.to} heard nothing of ${takeover.from} for ${round(takeover.silenceMs)} ms and took over (term ${takeover.term}); the gate was open ${round(takeover.openMs)} ms later.`,
        ]),
  ];
}

function noticed(outcome: Outcome): readonly string[] {
  const { live, udp, claimants, placement, notes } = outcome;
  const lines: string[] = [];
  if (live !== null) {
    lines.push(`Live sessions:  ${live.survived} of ${live.opened} went on without losing a byte.`);
    lines.push(
      `Their stall:    ${live.stallMs.p50} ms for half of them, ${live.stallMs.max} ms at the worst (they speak every 20 ms).`,
    );
  }
  if (udp !== null)
    lines.push(
      `The gap:        ${round(udp.gapMs)} ms was the longest silence of a ping; ${udp.lost} of ${udp.sent} were lost.`,
    );
  if (claimants !== null)
    lines.push(
      claimants.overlapMs === 0
        ? "Two at once:    never; no moment in which both nodes claimed an address."
        : `Two at once:    for ${round(claimants.overlapMs)} ms both nodes claimed the same segment.`,
    );
  for (const { seed, sessions, share, expected, moved, unlike } of placement ?? [])
    lines.push(
      `Seed ${seed}: ${share.toFixed(2)} % of ${sessions} sessions on link 1 (weights say ${expected} %); ${moved} changed their link, ${unlike} were placed differently by the other node.`,
    );
  lines.push(...notes);
  if (outcome.machineStallMs > 5)
    lines.push(`The machine itself stood still for ${round(outcome.machineStallMs)} ms in that time.`);
  return lines;
}

const NEXT: readonly string[] = [
  "understudy lab --scenario power      the same with a power cut, and a boot",
  "understudy lab --scenario freeze     a node that stops and comes back",
  "understudy lab --scenario handover   20 planned changes, no ping lost",
  "understudy lab --up                  leave it standing: look around, break it yourself (--fault), then --down",
  "README.md                            how a first real installation goes",
];
