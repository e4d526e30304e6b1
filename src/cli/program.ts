// The command line: which commands there are, what they take, and how a wrong use is answered. Each command's work
// is in a file of its own, loaded when it is called and not before. It decides nothing about the pair.

import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { canonicalAddress } from "../base/addresses.ts";
import { ExitCode } from "../base/errors.ts";
import {
  CONFIGURATION_VERSIONS_SHOWN_MAX,
  RECORDING_BYTES_MAX,
  RECORDING_MEGABYTES_DEFAULT,
  RECORDING_SECONDS_DEFAULT,
  RECORDING_SECONDS_MAX,
  SESSIONS_SHOWN_MAX,
} from "../base/limits.ts";
import { PROTOCOLS_NAMED } from "../wire/conntrack.ts";
import type { SessionFilter } from "../wire/control.ts";
import type { ApplyOptions } from "./apply.ts";
import type { DecodeOptions } from "./decode.ts";
import { DEFAULT_KEY_FILE, DEFAULT_NODE_FILE, SESSIONS_SHOWN_DEFAULT } from "./defaults.ts";
import { reportFailure } from "./failure.ts";
import type { RecordOptions } from "./record.ts";
import type { Shown } from "./show.ts";
import type { Terminal } from "./terminal.ts";
import { softwareVersion } from "./version.ts";

interface Common {
  readonly node: string;
  readonly json: boolean;
}

interface SessionOptions extends Common {
  readonly link?: string;
  readonly protocol?: string;
  readonly address?: string;
  readonly port?: number;
  readonly ipv4?: true;
  readonly ipv6?: true;
  readonly limit?: number;
}

interface ShowOptions extends SessionOptions {
  readonly versions?: true;
}

/** Sets the exit code of the command that ran. */
type Finish = (exitCode: ExitCode) => void;

const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
    return value;
  };

/** In the one spelling that the daemon compares with: what is mistyped must not look like a table without sessions. */
const address = (text: string): string => {
  const canonical = canonicalAddress(text);
  if (canonical === null) throw new InvalidArgumentError("Expected an IPv4 or IPv6 address.");
  return canonical;
};

const protocol = (text: string): string => {
  const name = text.toLowerCase();
  if (!PROTOCOLS_NAMED.includes(name) && !(/^\d{1,3}$/.test(name) && Number(name) <= 255))
    throw new InvalidArgumentError(`Expected one of ${PROTOCOLS_NAMED.join(", ")}, or a number up to 255.`);
  return name;
};

/** A link's id or its name; whether there is such a link, the daemon knows. */
const link = (text: string): string => {
  if (!/^[a-z0-9][a-z0-9_-]{0,63}$/i.test(text))
    throw new InvalidArgumentError("Expected a link's id or name.");
  return text;
};

const withJson = (command: Command): Command =>
  command.addOption(new Option("--json", "print one JSON object instead of text").default(false, "no"));
const withNode = (command: Command): Command =>
  withJson(command).option("--node <file>", "the node's own configuration file", DEFAULT_NODE_FILE);

function addDaemonCommands(program: Command, terminal: Terminal, finish: Finish): void {
  program
    .command("run")
    .description("run this node: starts heart where none runs, then is the daemon, until it is told to stop")
    .option("--node <file>", "the node's own configuration file", DEFAULT_NODE_FILE)
    .action(async ({ node }: { node: string }) => {
      (await import("./privilege.ts")).assertMayRun();
      const { runDaemon } = await import("../daemon.ts");
      finish((await runDaemon(node)) as ExitCode);
    });
  withNode(program.command("handover"))
    .description("give the active role to the standby, without losing a packet (on the active node)")
    .action(async (options: Common) => (await import("./command.ts")).command("handover", options, terminal));
  withNode(program.command("drill"))
    .description("hand over and back, and report what it cost (on the active node, of a pair that is ready)")
    .option("--force", "also where the pair is not ready: sessions may be lost")
    .action(async (options: Common & { readonly force?: true }) =>
      finish(await (await import("./drill.ts")).drill(options, terminal)),
    );
  withNode(program.command("restart"))
    .description("restart the daemon or heart without a failover, for an upgrade or a changed configuration")
    .addArgument(new Argument("[what]", "which process").choices(["daemon", "heart"]).default("daemon"))
    .action(async (what: "daemon" | "heart", options: Common) =>
      (await import("./command.ts")).restart(what, options, terminal),
    );
  withNode(program.command("stop"))
    .description("hand over where the standby is ready, then take this node out and clean up all of it")
    .option("--clean", "where no daemon answers: end heart, and remove what is left in the kernel")
    .action(async (options: Common & { readonly clean?: true }) => {
      if (options.clean) await (await import("./clean.ts")).clean(options, terminal);
      else await (await import("./command.ts")).command("stop", options, terminal);
    });
}

function addRecording(program: Command, terminal: Terminal, finish: Finish): void {
  withNode(program.command("record"))
    .description("write down for a while what the nodes' daemons say to each other, for `understudy decode`")
    .argument("[file]", "a new file; it shows every session, and belongs to root alone")
    .option("--keys", "instead: the TLS keys of connections that begin meanwhile, for a capture")
    .option("--reconnect", "make the connection anew, so that it is recorded from its beginning")
    .option(
      "--seconds <number>",
      "end after so many",
      wholeNumber(1, RECORDING_SECONDS_MAX),
      RECORDING_SECONDS_DEFAULT,
    )
    .option(
      "--megabytes <number>",
      "end before it is larger",
      wholeNumber(1, RECORDING_BYTES_MAX >> 20),
      RECORDING_MEGABYTES_DEFAULT,
    )
    .option("--stop", "end the recording that is under way")
    .action(async (file: string | undefined, options: RecordOptions & { stop?: true }, command: Command) => {
      const { record, stopRecording } = await import("./record.ts");
      if ((file === undefined) === (options.stop === undefined))
        command.error("error: expected a file, or --stop");
      if (file === undefined) await stopRecording(options, terminal);
      else await record(file, options, terminal);
    });
  withJson(program.command("decode"))
    .description("print a recorded file, or a capture of port 1148 with its keys, in words")
    .argument("<file>", "of `understudy record`, or pcap, or pcapng")
    .option("--keys <file>", "the TLS keys of the captured connections (SSLKEYLOGFILE)")
    .option("--node <file>", "a node's configuration file: its key opens captured heartbeats")
    .action(async (file: string, options: DecodeOptions) =>
      finish((await import("./decode.ts")).decodeFile(file, options, terminal)),
    );
}

/** A version's number, or the first digits of its id. */
const version = (text: string): string => {
  if (!/^(\d{1,9}|[0-9a-f]{6,64})$/.test(text))
    throw new InvalidArgumentError("Expected the number of a version, or at least 6 digits of its id.");
  return text;
};

function addConfiguration(program: Command, terminal: Terminal, finish: Finish): void {
  const message = ["-m, --message <text>", "why, for `show config --versions`"] as const;
  withNode(program.command("apply"))
    .description(
      "put a configuration into force on both nodes, without losing a session (on the active node)",
    )
    .argument("[file]", "the pair's file; `-` or a pipe will do")
    .option(...message)
    .option(
      "--replace-peer",
      "also over a version that only the other node has; without FILE: what is in force here",
    )
    .option("--take-peer", "what is in force on the other node, where the two have parted")
    .option("--base <version>", "refuse where another version than this is in force by now", version)
    .action(async (file: string | undefined, options: ApplyOptions, command: Command) => {
      const { apply, sourceOf } = await import("./apply.ts");
      const source = sourceOf(file === "-" ? "/dev/stdin" : file, options);
      if (source === null) command.error("error: expected FILE, or --take-peer, or --replace-peer");
      finish(await apply(source, options, terminal));
    });
  withNode(program.command("rollback"))
    .description("put an earlier version of the configuration into force on both nodes, as a new one")
    .addArgument(new Argument("<version>", "its number or id").argParser(version))
    .option(...message)
    .action(async (reference: string, options: ApplyOptions) => {
      const { apply } = await import("./apply.ts");
      finish(await apply({ kind: "version", version: reference }, options, terminal));
    });
  withNode(program.command("diff"))
    .description(
      "compare configurations: the one in force with the file on disk, a version, the other node's, a file",
    )
    .argument(
      "[from]",
      "a version (then: with the one in force), `peer`, or a file; default: the file on disk",
    )
    .addArgument(new Argument("[to]", "another version").argParser(version))
    .action(async (from: string | undefined, to: string | undefined, options: Common, command: Command) => {
      if (to !== undefined && !/^(\d{1,9}|[0-9a-f]{6,64})$/.test(from ?? ""))
        command.error("error: two versions are compared, or one thing with what is in force");
      await (await import("./configuration.ts")).diff(from, to, options, terminal);
    });
}

/** The filter of `show sessions`, and a usage error where an option of it is given to another view. */
function filterOf(what: string, options: ShowOptions, command: Command): Omit<SessionFilter, "link"> {
  const { protocol, address, port, ipv4, ipv6 } = options;
  const given = { protocol, address, port, family: ipv4 ? 4 : ipv6 ? 6 : undefined };
  const filter = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (
    what !== "sessions" &&
    (Object.keys(filter).length > 0 ||
      options.link !== undefined ||
      (options.limit !== undefined && !(what === "config" && options.versions)))
  )
    command.error("error: filters and --limit belong to `show sessions`");
  return filter;
}

async function showConfiguration(
  reference: string | undefined,
  { node, json, versions, limit = SESSIONS_SHOWN_DEFAULT }: ShowOptions,
  terminal: Terminal,
  command: Command,
): Promise<void> {
  const { showConfig, showVersions } = await import("./configuration.ts");
  if (versions && reference !== undefined) command.error("error: one version, or the list of them");
  const most = Math.min(limit, CONFIGURATION_VERSIONS_SHOWN_MAX);
  if (versions) await showVersions(most, { node, json }, terminal);
  else await showConfig(reference ?? null, { node, json }, terminal);
}

function addShow(program: Command, terminal: Terminal): void {
  const views = new Argument("[what]", "what to show")
    .choices(["pair", "links", "sessions", "alarms", "readiness", "config"])
    .default("pair");
  withNode(program.command("show"))
    .description(
      "show the pair at a glance, whether the standby could take over, its links, its sessions, its alarms, or its configuration",
    )
    .addArgument(views)
    .addArgument(
      new Argument("[version]", "config: this version of it; default: the one in force").argParser(version),
    )
    .option("--versions", "config: the list of its versions")
    .option("--link <link>", "sessions: through this link, by name or id (0: the node's own)", link)
    .option("--protocol <name>", `sessions: of this protocol (${PROTOCOLS_NAMED.join(", ")})`, protocol)
    .option("--address <address>", "sessions: with this address at either end", address)
    .option("--port <number>", "sessions: with this port at either end", wholeNumber(0, 65_535))
    .addOption(new Option("-4, --ipv4", "sessions: IPv4 only").conflicts("ipv6"))
    .option("-6, --ipv6", "sessions: IPv6 only")
    .option(
      "--limit <number>",
      `sessions, versions: at most so many (default: ${SESSIONS_SHOWN_DEFAULT}, at most ${SESSIONS_SHOWN_MAX} and ${CONFIGURATION_VERSIONS_SHOWN_MAX})`,
      wholeNumber(1, SESSIONS_SHOWN_MAX),
    )
    .action(
      async (
        what: Shown | "config",
        reference: string | undefined,
        options: ShowOptions,
        command: Command,
      ) => {
        const filter = filterOf(what, options, command);
        if (what === "config") {
          await showConfiguration(reference, options, terminal, command);
          return;
        }
        if (reference !== undefined || options.versions)
          command.error("error: versions belong to `show config`");
        const { show } = await import("./show.ts");
        const { node, json, limit = SESSIONS_SHOWN_DEFAULT } = options;
        await show(what, { node, json, filter, link: options.link ?? null, limit }, terminal);
      },
    );
}

function addLocalCommands(program: Command, terminal: Terminal, finish: Finish): void {
  withJson(program.command("check"))
    .description("check configuration files: the pair's, a node's, or both; all mistakes at once")
    .argument("[files...]", `the files (default: ${DEFAULT_NODE_FILE} and the pair's file that it names)`)
    .action(async (files: string[], { json }: { json: boolean }) => {
      const { check } = await import("./check.ts");
      finish(check(files.length === 0 ? [DEFAULT_NODE_FILE] : files, { json }, terminal));
    });
  withJson(program.command("keygen"))
    .description("make this node's key, or show it; prints the line for the pair's file")
    .option("--out <file>", "where to write it; never over a file that is there", DEFAULT_KEY_FILE)
    .addOption(
      new Option(
        "--show [file]",
        "show the public half and the fingerprint of a key that is there",
      ).conflicts("out"),
    )
    .action(async (options: { out: string; show?: string | true; json: boolean }) => {
      const { makeKey, showKey } = await import("./keygen.ts");
      if (options.show === undefined) makeKey(options, terminal);
      else showKey({ file: options.show === true ? null : options.show, json: options.json }, terminal);
    });
  withNode(program.command("doctor"))
    .description("look for what is wrong: the port, the peer, keys, the kernel's features, leftovers")
    .action(async (options: Common) => finish(await (await import("./doctor.ts")).doctor(options, terminal)));
  program
    .command("lab")
    .description("build a whole pair on this machine in network namespaces, and break it (`lab --help`)")
    .argument("[args...]")
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      const { labMain } = await import("../lab/main.ts");
      finish((await labMain(args)) as ExitCode);
    });
  withJson(program.command("version"))
    .description("print the version")
    .action(({ json }: { json: boolean }) => {
      const version = softwareVersion();
      terminal.out(
        json ? `${JSON.stringify({ version, node: process.version })}\n` : `understudy ${version}\n`,
      );
    });
}

const EXIT_CODES = `
Exit codes: 0 done; 1 it failed, or something is wrong; 3 not possible on this machine; 64 wrong use;
65 wrong configuration; 69 no daemon answers; 70 a defect; 71 refused by the system; 77 no permission.
More: docs/operations.md`;

function buildProgram(terminal: Terminal, finish: Finish): Command {
  const program = new Command("understudy");
  program
    .description("A link balancer for Linux that is always two machines.")
    .version(softwareVersion(), "-V, --version", "print the version")
    .addHelpText("after", EXIT_CODES)
    .enablePositionalOptions()
    .showHelpAfterError("(`understudy --help` lists the commands)")
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })
    .exitOverride();
  addDaemonCommands(program, terminal, finish);
  addConfiguration(program, terminal, finish);
  addRecording(program, terminal, finish);
  addShow(program, terminal);
  addLocalCommands(program, terminal, finish);
  return program;
}

/** Runs one command line (without the program's name) and resolves to its exit code; it never throws. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let exitCode: ExitCode = ExitCode.Ok;
  const program = buildProgram(terminal, (code) => {
    exitCode = code;
  });
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return ExitCode.Usage;
    }
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
    return reportFailure(error, terminal, args[0] !== "lab" && args.includes("--json"));
  }
}
