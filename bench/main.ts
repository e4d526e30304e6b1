// `make bench`: everything of docs/performance.md, or some rows of it, in any size. Products take turns within each row, so that
// what the machine does meanwhile meets them alike. Root's: it raises two limits of the host's and puts them back, installs what
// is measured against, and leaves nothing running.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { labEnvironment } from "../src/lab/world.ts";
import { crash } from "./crash.ts";
import { fill } from "./fill.ts";
import { firstSynchronisation } from "./first.ts";
import { lag } from "./lag.ts";
import { describeMachine, raiseLimits } from "./machine.ts";
import { overrun } from "./overrun.ts";
import type { ProductName } from "./products.ts";
import { drawReport, type Results } from "./report.ts";
import { saturated } from "./saturated.ts";
import { closeWorlds } from "./stage.ts";

interface Options {
  readonly rows: readonly RowName[];
  readonly sessions: number;
  readonly large: number;
  readonly runs: number;
  readonly rate: number;
  readonly live: number;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly json: string | null;
  readonly add: boolean;
  readonly document: string | null;
}

type Collected = {
  -readonly [Key in keyof Results]: Results[Key] extends readonly (infer Item)[] ? Item[] : Results[Key];
};
type RowName = keyof typeof ROWS;
type Row = (collected: Collected, options: Options, say: (text: string) => void) => Promise<void>;

const LAG_RATE = 20_000;
const LAG_SECONDS = 10;
const COMPARED: readonly ProductName[] = ["understudy", "cached", "written"];
/** Of keepalived; null: our pair. 10 ms is the shortest that it takes. */
const ADVERTS: readonly (number | null)[] = [null, 100, 10];
/** Between the two marks of the document lies what a run replaces. */
const TABLE_BEGINS = "<!-- table -->";
const TABLE_ENDS = "<!-- end of table -->";

const wanted = (options: Options, name: string): boolean =>
  options.only.length === 0 || options.only.includes(name);
const adverts = (options: Options): readonly (number | null)[] =>
  ADVERTS.filter((each) => wanted(options, each === null ? "understudy" : `keepalived-${each}`));

const ROWS = {
  cost: async (collected, options, say) => {
    for (const name of [...COMPARED, "reader" as const].filter((each) => wanted(options, each))) {
      const made = await fill(name, {
        protocol: "tcp",
        sessions: options.sessions,
        rate: options.rate,
        floor: name === "understudy",
      });
      collected.fills.push(made);
      say(
        `${name}: active ${made.active?.cpuUs.toFixed(1)} us, standby ${made.standby?.cpuUs.toFixed(1)} us, ${made.wireBytes.toFixed(1)} bytes a session at ${Math.round(made.rate)}/s`,
      );
    }
  },
  loss: async (collected, options, say) => {
    for (const protocol of ["tcp", "udp"] as const)
      for (const name of COMPARED.filter((each) => wanted(options, each))) {
        const made = await fill(name, { protocol, sessions: options.sessions, rate: 0 });
        collected.fills.push(made);
        say(
          `${name}: ${made.tables?.missing} of ${made.sessions} missing at ${Math.round(made.rate)}/s (${protocol}; ${made.repeated} begun again, ${made.takeovers} takeovers)`,
        );
      }
  },
  lag: async (collected, options, say) => {
    for (const name of ["understudy", "written"] as const) {
      if (!wanted(options, name)) continue;
      const seen = await lag(name, { rate: LAG_RATE, seconds: LAG_SECONDS });
      collected.lags.push(seen);
      say(`${name}: lag ${JSON.stringify(seen.lagMs)} at ${Math.round(seen.rate)}/s`);
    }
  },
  crash: async (collected, options, say) => {
    for (const advertMs of adverts(options))
      await crashOnce(collected, options, say, { advertMs, sessions: 0 });
  },
  million: async (collected, options, say) => {
    for (const advertMs of adverts(options))
      await crashOnce(collected, options, say, { advertMs, sessions: options.large });
  },
  first: async (collected, options, say) => {
    const seen = await firstSynchronisation(options.large);
    collected.firsts.push(seen);
    say(
      `${seen.sessions} synchronised in ${seen.seconds?.toFixed(1)} s, heartbeats at most ${seen.longestBeatMs.toFixed(1)} ms apart; bare ${seen.floor.dumpSeconds.toFixed(1)} + ${seen.floor.insertSeconds.toFixed(1)} s`,
    );
  },
  overrun: async (collected, options, say) => {
    for (const name of ["understudy", "written"] as const) {
      if (!wanted(options, name)) continue;
      const seen = await overrun(name, options.sessions);
      collected.overruns.push(seen);
      say(
        `${name}: overrun noticed after ${seen.noticedSeconds} s, repaired after ${seen.repairedSeconds} s, ${seen.tables.missing} missing`,
      );
    }
  },
  saturated: async (collected, options, say) => {
    for (const advertMs of [null, 10, 20]) {
      if (!wanted(options, advertMs === null ? "understudy" : `keepalived-${advertMs}`)) continue;
      const seen = await saturated(advertMs, options.seconds);
      collected.saturated.push(seen);
      say(`${nameOf(advertMs)}: ${seen.takeovers} takeovers in ${seen.seconds} s of saturation`);
    }
  },
} as const satisfies Readonly<Record<string, Row>>;

/** Rows whose figure is a median: played as often as was asked for, in turns. */
const REPEATED: readonly RowName[] = ["cost", "lag", "crash", "million"];

const nameOf = (advertMs: number | null): string =>
  advertMs === null ? "understudy" : `keepalived, adverts of ${advertMs} ms`;

async function crashOnce(
  collected: Collected,
  options: Options,
  say: (text: string) => void,
  what: { readonly advertMs: number | null; readonly sessions: number },
): Promise<void> {
  const seen = await crash({ ...what, live: options.live });
  collected.crashes.push(seen);
  say(
    `${nameOf(what.advertMs)}: gap ${seen.gapMs.toFixed(1)} ms, ${seen.survived} of ${seen.opened} alive, ${what.sessions} sessions (the machine stood still for ${seen.machineStallMs.toFixed(0)} ms)`,
  );
}

function readOptions(): Options {
  const count = (text: string): number => {
    if (!/^\d+$/.test(text)) throw new InvalidArgumentError("a whole number");
    return Number(text);
  };
  const list = (text: string): readonly string[] => text.split(",").filter((each) => each !== "");
  const rows = (text: string): readonly RowName[] =>
    list(text).map((name) => {
      if (!Object.hasOwn(ROWS, name))
        throw new InvalidArgumentError(`rows are ${Object.keys(ROWS).join(", ")}`);
      return name as RowName;
    });
  const program = new Command("bench")
    .option("--rows <names>", "only these rows", rows, Object.keys(ROWS) as RowName[])
    .option("--only <products>", "only understudy, cached, written, reader, keepalived-100, ...", list, [])
    .option("--sessions <n>", "sessions of a fill", count, 300_000)
    .option("--large <n>", "sessions of the rows with a large table", count, 1_000_000)
    .option("--runs <n>", "runs of each row that is a median", count, 7)
    .option("--rate <n>", "sessions a second where cost is measured", count, 15_000)
    .option("--live <n>", "live sessions of a crash", count, 200)
    .option("--seconds <n>", "length of the saturation", count, 30)
    .option("--json <file>", "write every run's figures there")
    .option("--add", "keep what that file has, and add to it", false)
    .option("--document <file>", "put the table into this document, between its marks");
  const given = program
    .parse()
    .opts<Omit<Options, "json" | "document"> & { json?: string; document?: string }>();
  return { ...given, json: given.json ?? null, document: given.document ?? null };
}

function readBefore(options: Options): Partial<Results> {
  if (!options.add || options.json === null || !existsSync(options.json)) return {};
  return JSON.parse(readFileSync(options.json, "utf8")) as Results;
}

function publish(results: Results, options: Options): void {
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
  if (options.document === null) return;
  const text = readFileSync(options.document, "utf8");
  const [from, to] = [text.indexOf(TABLE_BEGINS), text.indexOf(TABLE_ENDS)];
  if (from < 0 || to < from) throw new Error(`${options.document} has no marks for the table`);
  const table = `${TABLE_BEGINS}\n${drawReport(results)}`;
  writeFileSync(options.document, text.slice(0, from) + table + text.slice(to));
}

async function main(): Promise<void> {
  const options = readOptions();
  process.env.PATH = labEnvironment("").PATH;
  const startMs = performance.now();
  const say = (text: string): void =>
    void process.stderr.write(
      `${((performance.now() - startMs) / 1000).toFixed(0).padStart(5)} s  ${text}\n`,
    );
  const restore = raiseLimits();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(name, () => {
      void closeWorlds().finally(() => {
        restore();
        process.exit(130);
      });
    });
  try {
    const before = readBefore(options);
    const collected: Collected = {
      at: new Date().toISOString().slice(0, 10),
      machine: await describeMachine(),
      fills: [...(before.fills ?? [])],
      lags: [...(before.lags ?? [])],
      crashes: [...(before.crashes ?? [])],
      firsts: [...(before.firsts ?? [])],
      overruns: [...(before.overruns ?? [])],
      saturated: [...(before.saturated ?? [])],
    };
    for (const row of options.rows)
      for (let run = 1; run <= (REPEATED.includes(row) ? options.runs : 1); run += 1) {
        say(`${row}, run ${run}`);
        await ROWS[row](collected, options, say);
        // What was measured is not lost with what comes after it.
        publish(collected, options);
      }
    process.stdout.write(drawReport(collected));
  } finally {
    restore();
  }
}

await main();
