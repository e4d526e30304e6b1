// The command line of `understudy lab`. Pure but for what commander prints.

import { Command, InvalidArgumentError, Option } from "commander";
import { COMPLAINTS, SCENARIO_WORDS, SCENARIOS, type ScenarioName, scenarioOf } from "./catalogue.ts";
import { faultMistake } from "./faultWords.ts";
import { HOSTS_MAX } from "./topology.ts";

export interface LabOptions {
  /** Null: nobody asked for one by name; the newcomer's crash. */
  readonly scenario: ScenarioName | null;
  readonly live: number;
  readonly background: number;
  readonly hosts: number;
  readonly v6: boolean;
  readonly json: boolean;
  readonly runs: number;
  /** How long `soak` lasts. */
  readonly minutes: number;
  /** Long times are played shorter: for small sizes, and said in the output. */
  readonly short: boolean;
  /** Judge figures in milliseconds: at full size, or where asked for. */
  readonly figures: boolean;
  readonly up: boolean;
  readonly down: boolean;
  readonly fault: readonly string[] | null;
  readonly lab: string | null;
  /** Where to keep what the nodes logged. */
  readonly logs: string | null;
}

/** What every command of the laboratory is given. */
export interface LabContext {
  /** As they were given, for starting again elsewhere. */
  readonly args: readonly string[];
  readonly options: LabOptions;
  /** Not root in the machine's eyes: inside a user namespace. */
  readonly userNamespace: boolean;
  readonly progress: (text: string) => void;
}

export const LIVE_DEFAULT = 200;
export const BACKGROUND_DEFAULT = 20_000;
const LIVE_MAX = 5000;
const BACKGROUND_MAX = 2_000_000;
const RUNS_MAX = 1000;
const MINUTES_DEFAULT = 30;
const MINUTES_SHORT = 1;
/** A week. */
const MINUTES_MAX = 10_080;

const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
    return value;
  };

/** Words in lines of a terminal's width. */
const list = (words: readonly string[]): string => words.join(", ").replaceAll(/(.{80,110}?) /g, "$1\n");

const HELP = `
Without options: builds a pair, two Internet links and a LAN, opens sessions through it, kills the active node, and
reports what anybody noticed. Needs root, or a kernel that lets users make namespaces.

Scenarios: crash (all of the active's cables go dead), power (it loses power and boots again), freeze (it stands still
for 3 s), handover (20 planned ones), placement (how sessions are spread over the links), and
${list(SCENARIOS.slice(5))}.
${list(Object.keys(COMPLAINTS))} play the one that shows it.
Faults for --fault: port-dead [NODE], port-alive [NODE], power [NODE], boot NODE, freeze [NODE] [SECONDS],
heart-crash [NODE], daemon-crash [NODE], unplug [NODE] [DEVICES], plug [NODE] [DEVICES], heartbeats-cut,
heartbeats-back, flush [NODE], handover. NODE is a, b, active (the default) or standby; port-alive and plug without one
mend the node that is cut off. Where several laboratories stand, --lab NAME says which.

docs/laboratory.md says what happens in each scenario, and what must hold.
Exit codes: 0 all of it held, 1 not, 3 not possible on this machine (the message says what is missing), 64 wrong use.`;

function buildCommand(): Command {
  return new Command("understudy lab")
    .description("Builds a whole pair on this machine in network namespaces, and breaks it.")
    .addOption(new Option("--scenario <name>", "play this one").choices(SCENARIO_WORDS))
    .option(
      "--live <n>",
      `live sessions whose every byte is checked (default: ${LIVE_DEFAULT})`,
      wholeNumber(0, LIVE_MAX),
    )
    .option(
      "--background <n>",
      `sessions beside them in the tables (default: ${BACKGROUND_DEFAULT})`,
      wholeNumber(0, BACKGROUND_MAX),
    )
    .option("--hosts <n>", "hosts on the LAN", wholeNumber(2, HOSTS_MAX), 20)
    .option("--v6", "half of everything over IPv6", false)
    .option("--runs <n>", "so many times; the worst counts", wholeNumber(1, RUNS_MAX), 1)
    .option("--minutes <n>", "how long soak lasts (default: 30)", wholeNumber(1, MINUTES_MAX))
    .option("--short", "play long times shorter, and fewer of what is repeated", false)
    .option("--figures", "let figures in milliseconds decide in small sizes too", false)
    .option("--json", "one JSON object on standard output", false)
    .option("--up", "build it, start it, and leave it standing", false)
    .option("--fault <words...>", "do this to a laboratory that stands")
    .option("--down", "take down what stands, and what crashes left", false)
    .option("--logs <directory>", "keep what both nodes logged there")
    .option("--lab <name>", "which one, where several stand")
    .addHelpText("after", HELP);
}

/**
 * Reads the arguments behind `lab`.
 * @throws CommanderError: exitCode 0 after --help, else a wrong use that was explained on standard error.
 */
export function readOptions(args: readonly string[]): LabOptions {
  const command = buildCommand().exitOverride();
  command.parse([...args], { from: "user" });
  const given = command.opts<
    Partial<Omit<LabOptions, "scenario">> & { readonly scenario?: string } & Pick<
        LabOptions,
        "hosts" | "v6" | "runs" | "short" | "figures" | "json" | "up" | "down"
      >
  >();
  const asked = [given.up, given.down, given.fault !== undefined, given.scenario !== undefined];
  if (asked.filter(Boolean).length > 1)
    command.error("error: --scenario, --up, --fault and --down exclude each other");
  const mistake = given.fault == null ? null : faultMistake(given.fault);
  if (mistake !== null) command.error(`error: ${mistake}`);
  const live = given.live ?? LIVE_DEFAULT;
  const background = given.background ?? BACKGROUND_DEFAULT;
  const fullSize = live >= LIVE_DEFAULT && background >= BACKGROUND_DEFAULT;
  return {
    ...given,
    scenario: given.scenario === undefined ? null : scenarioOf(given.scenario),
    fault: given.fault ?? null,
    lab: given.lab ?? null,
    logs: given.logs ?? null,
    minutes: given.minutes ?? (given.short ? MINUTES_SHORT : MINUTES_DEFAULT),
    live,
    background,
    figures: given.figures || fullSize,
  };
}
