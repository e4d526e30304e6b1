// Results -> the table of docs/performance.md. It computes medians and spreads, says what was to be held, and leaves nothing out
// that does not hold. It touches nothing.

import type { CrashResult } from "./crash.ts";
import type { FillResult } from "./fill.ts";
import type { FirstResult } from "./first.ts";
import type { LagResult } from "./lag.ts";
import type { Machine } from "./machine.ts";
import type { OverrunResult } from "./overrun.ts";
import type { ProductName } from "./products.ts";
import type { SaturatedResult } from "./saturated.ts";

/** Everything that was measured, run by run: the machine-readable file. */
export interface Results {
  readonly at: string;
  readonly machine: Machine;
  readonly fills: readonly FillResult[];
  readonly lags: readonly LagResult[];
  readonly crashes: readonly CrashResult[];
  readonly firsts: readonly FirstResult[];
  readonly overruns: readonly OverrunResult[];
  readonly saturated: readonly SaturatedResult[];
}

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly runs: number;
}

/** Null where there is nothing to be said. */
export function spreadOf(values: readonly number[]): Spread | null {
  const sorted = values.toSorted((one, other) => one - other);
  if (sorted.length === 0) return null;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)!, runs: sorted.length };
}

/** A row: what it is, theirs, the floor, ours, what was to be held, and whether it was (null: not measured). */
interface Row {
  readonly figure: string;
  readonly theirs: string;
  readonly floor: string;
  readonly ours: string;
  readonly bound: string;
  readonly held: boolean | null;
}

const ABSENT = "-";

/** `5.8 us (5.6-6.1, 7 runs)`. */
export function words(spread: Spread | null, unit: string, digits = 1): string {
  if (spread === null) return ABSENT;
  const text = (value: number): string => value.toFixed(digits);
  const tail =
    spread.runs === 1 ? "1 run" : `${text(spread.least)}-${text(spread.most)}, ${spread.runs} runs`;
  return `${text(spread.median)} ${unit} (${tail})`;
}

const present = (values: readonly (number | null | undefined)[]): number[] =>
  values.filter((value) => value !== null && value !== undefined);

/** Runs at a rate of the generator's are told from those at full speed by how fast they were asked to be. */
const fillsOf = (results: Results, product: ProductName, paced: boolean): readonly FillResult[] =>
  results.fills.filter((fill) => fill.product === product && fill.protocol === "tcp" && fill.paced === paced);

type Pick = (fill: FillResult) => number | null | undefined;
const across = (fills: readonly FillResult[], pick: Pick): Spread | null =>
  spreadOf(present(fills.map(pick)));

function costRows(results: Results): readonly Row[] {
  const ours = fillsOf(results, "understudy", true);
  const cached = fillsOf(results, "cached", true);
  const written = fillsOf(results, "written", true);
  const event = across(fillsOf(results, "reader", true), (fill) => fill.active?.cpuUs);
  const insert = across(ours, (fill) =>
    fill.floor === null ? null : (fill.floor.cpuSeconds * 1e6) / fill.floor.sessions,
  );
  const both = (pick: Pick, unit: string, digits = 1): string =>
    `${words(across(cached, pick), unit, digits)}; written through ${words(across(written, pick), unit, digits)}`;
  const least = (pick: Pick): number =>
    Math.min(...present([across(cached, pick)?.median, across(written, pick)?.median]), Infinity);
  const active: Pick = (fill) => fill.active?.cpuUs;
  const standby: Pick = (fill) => fill.standby?.cpuUs;
  const wire: Pick = (fill) => fill.wireBytes;
  const memory: Pick = (fill) => Math.max(fill.active?.memory ?? 0, fill.standby?.memory ?? 0);
  const holds = (own: Spread | null, bound: number): boolean | null =>
    own === null || !Number.isFinite(bound) ? null : own.median <= bound;
  const [ownActive, ownStandby] = [across(ours, active), across(ours, standby)];
  return [
    {
      figure: "processor time on the active, a session",
      theirs: both(active, "us"),
      floor: `reading events alone ${words(event, "us")}`,
      ours: words(ownActive, "us"),
      bound: "floor + 3 us, and a third of conntrackd's",
      held: holds(ownActive, Math.min((event?.median ?? Infinity) + 3, least(active) / 3)),
    },
    {
      figure: "processor time on the standby, in its kernel, a session",
      theirs: `cached only ${words(across(cached, standby), "us")}; written through ${words(across(written, standby), "us")}`,
      floor: `bare insert ${words(insert, "us")}`,
      ours: words(ownStandby, "us"),
      bound: "1.3 x the floor, and half of conntrackd's (written through)",
      held: holds(
        ownStandby,
        Math.min((insert?.median ?? Infinity) * 1.3, (across(written, standby)?.median ?? Infinity) / 2),
      ),
    },
    {
      figure: "bytes on the wire, a session, both ways, with IP headers",
      theirs: `${both(wire, "bytes")}, plain`,
      floor: ABSENT,
      ours: `${words(across(ours, wire), "bytes")}, sealed`,
      bound: "a third",
      held: holds(across(ours, wire), least(wire) / 3),
    },
    {
      figure: "memory of the larger daemon, a session",
      theirs: both(memory, "bytes", 0),
      floor: ABSENT,
      ours: words(across(ours, memory), "bytes", 0),
      bound: "a tenth of conntrackd's (cached)",
      held: holds(across(ours, memory), (across(cached, memory)?.median ?? Infinity) / 10),
    },
  ];
}

function lossRows(results: Results): readonly Row[] {
  const missing = (product: ProductName): string => {
    const fills = fillsOf(results, product, false);
    if (fills.length === 0) return ABSENT;
    const rate = across(fills, (fill) => fill.rate);
    const size = across(fills, (fill) => fill.sessions);
    return `${fills.map((fill) => fill.tables?.missing ?? ABSENT).join(", ")} of ${size?.median} at ${Math.round(rate?.median ?? 0)}/s`;
  };
  const own = fillsOf(results, "understudy", false);
  const broken = (product: ProductName): string =>
    results.overruns
      .filter((each) => each.product === product)
      .map(({ noticedSeconds, repairedSeconds, tables }) =>
        product === "understudy"
          ? `noticed after ${noticedSeconds?.toFixed(2) ?? "never"} s, repaired after ${repairedSeconds?.toFixed(2) ?? "never"} s, missing ${tables.missing}`
          : `missing ${tables.missing} of ${tables.active}`,
      )
      .join("; ") || ABSENT;
  const overruns = results.overruns.filter(({ product }) => product === "understudy");
  return [
    {
      figure: "missing in the standby's kernel after a fill at full speed",
      theirs: `committed ${missing("cached")}; written through ${missing("written")}`,
      floor: ABSENT,
      ours: missing("understudy"),
      bound: "0",
      held:
        own.length === 0
          ? null
          : own.every(
              ({ tables, takeovers }) =>
                tables?.missing === 0 && tables.wrong === 0 && (takeovers ?? 0) === 0,
            ),
    },
    {
      figure: "an overrun made on purpose (daemon stopped during a fill)",
      theirs: broken("written"),
      floor: ABSENT,
      ours: broken("understudy"),
      bound: "noticed within 1 s, repaired within 10 s, 0 missing",
      held:
        overruns.length === 0
          ? null
          : overruns.every(
              ({ noticedSeconds, repairedSeconds, tables }) =>
                (noticedSeconds ?? Infinity) <= 1 &&
                (repairedSeconds ?? Infinity) <= 10 &&
                tables.missing === 0,
            ),
    },
  ];
}

/** A standby that is never behind was not the standby: the roles had changed. */
const isValid = ({ lagMs, takeovers }: LagResult): boolean => lagMs.max > 0 && (takeovers ?? 0) === 0;

function timeRows(results: Results): readonly Row[] {
  const lagOf = (product: ProductName): string => {
    const seen = results.lags.filter((each) => each.product === product);
    const lags = seen.filter(isValid);
    const rest = lags.length < seen.length ? `${seen.length - lags.length} void` : ABSENT;
    const at = (share: "p50" | "p99"): string => words(spreadOf(lags.map(({ lagMs }) => lagMs[share])), "ms");
    const rate = spreadOf(lags.map((each) => each.rate));
    return lags.length === 0
      ? rest
      : `p50 ${at("p50")}, p99 ${at("p99")}, at ${Math.round(rate!.median)}/s${rest === ABSENT ? "" : `; ${rest}`}`;
  };
  const lags = results.lags.filter((each) => each.product === "understudy" && isValid(each));
  const median = (share: "p50" | "p99"): number =>
    spreadOf(lags.map(({ lagMs }) => lagMs[share]))?.median ?? Infinity;
  const [first] = results.firsts;
  const floor = first === undefined ? 0 : first.floor.dumpSeconds + first.floor.insertSeconds;
  const term = (advertMs: number | null): string =>
    results.saturated
      .filter((each) => each.advertMs === advertMs)
      .map(({ takeovers, seconds }) => `${takeovers} in ${seconds} s`)
      .join("; ") || ABSENT;
  const quiet = results.saturated.filter(({ advertMs }) => advertMs === null);
  return [
    {
      figure: "lag, kernel to kernel",
      theirs: `written through ${lagOf("written")}`,
      floor: ABSENT,
      ours: lagOf("understudy"),
      bound: "p50 5 ms, p99 25 ms",
      held: lags.length === 0 ? null : median("p50") <= 5 && median("p99") <= 25,
    },
    {
      figure: `first synchronisation of ${first?.sessions ?? "a million"}`,
      theirs: ABSENT,
      floor:
        first === undefined
          ? ABSENT
          : `bare dump ${first.floor.dumpSeconds.toFixed(1)} s + bare insert ${first.floor.insertSeconds.toFixed(1)} s`,
      ours:
        first === undefined
          ? ABSENT
          : results.firsts
              .map(
                ({ seconds, longestBeatMs, tables }) =>
                  `${seconds?.toFixed(1) ?? "never"} s, longest heartbeat interval ${longestBeatMs.toFixed(1)} ms, missing ${tables.missing}`,
              )
              .join("; "),
      bound: "1.3 x the floor; no interval above 30 ms",
      held:
        first === undefined ? null : (first.seconds ?? Infinity) <= 1.3 * floor && first.longestBeatMs <= 30,
    },
    {
      figure: "takeovers that nobody asked for, on a saturated machine",
      theirs: `adverts of 10 ms ${term(10)}; 20 ms ${term(20)}`,
      floor: ABSENT,
      ours: term(null),
      bound: "0",
      held: quiet.length === 0 ? null : quiet.every(({ takeovers }) => takeovers === 0),
    },
  ];
}

function crashRows(results: Results): readonly Row[] {
  const sizes = [...new Set(results.crashes.map(({ sessions }) => sessions))].sort(
    (one, other) => one - other,
  );
  const empty = results.crashes.filter(({ advertMs, sessions }) => advertMs === null && sessions === 0);
  const emptyGap = spreadOf(empty.map(({ gapMs }) => gapMs))?.median ?? Infinity;
  return sizes.map((size) => {
    const of = (advertMs: number | null): readonly CrashResult[] =>
      results.crashes.filter((each) => each.advertMs === advertMs && each.sessions === size);
    const told = (advertMs: number | null): string => {
      const crashes = of(advertMs);
      if (crashes.length === 0) return ABSENT;
      const alive = crashes.map(({ survived }) => survived).join(", ");
      return `gap ${words(spreadOf(crashes.map(({ gapMs }) => gapMs)), "ms", 0)}, alive ${alive} of ${crashes[0]!.opened}`;
    };
    const own = of(null);
    const gap = spreadOf(own.map(({ gapMs }) => gapMs));
    const alive = own.every(({ survived, opened }) => survived === opened);
    const soon =
      size === 0
        ? (gap?.median ?? Infinity) <= 60 && (gap?.most ?? Infinity) <= 100
        : (gap?.median ?? Infinity) <= emptyGap * 1.2;
    return {
      figure: `crash of the active with ${size === 0 ? "an empty table" : `${size} sessions`}`,
      theirs: `adverts of 100 ms: ${told(100)}; 10 ms: ${told(10)}`,
      floor: ABSENT,
      ours: told(null),
      bound:
        size === 0
          ? "all alive, median 60 ms, none above 100"
          : "all alive, within 20 % of the empty table's median",
      held: gap === null ? null : alive && soon,
    };
  });
}

/** The table, and what it was measured on, in Markdown. */
export function drawReport(results: Results): string {
  const { machine } = results;
  const rows = [...costRows(results), ...lossRows(results), ...crashRows(results), ...timeRows(results)];
  const verdict = (held: boolean | null): string =>
    held === null ? "not measured" : held ? "yes" : "**no**";
  return [
    `Measured ${results.at}: ${machine.processor}, ${machine.processors} processors, ${machine.memoryGiB} GiB, Linux ${machine.kernel},`,
    `Node ${machine.node}, conntrackd ${machine.conntrackd}, keepalived ${machine.keepalived}; ${machine.entriesMax} entries at most, ${machine.buckets} buckets.`,
    "",
    "| figure | conntrackd, keepalived | the kernel alone | Understudy | to be held | held |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows.map(
      ({ figure, theirs, floor, ours, bound, held }) =>
        `| ${figure} | ${theirs} | ${floor} | ${ours} | ${bound} | ${verdict(held)} |`,
    ),
    "",
  ].join("\n");
}
