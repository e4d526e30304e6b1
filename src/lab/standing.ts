// A laboratory that is left standing (`--up`) for somebody else's client, capture and `conntrack`; things done to it
// (`--fault`); and its end (`--down`), with whatever crashed ones left.

import { fileURLToPath } from "node:url";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { CommandFailure } from "../cli/failure.ts";
import { nowMs } from "./clock.ts";
import {
  boot,
  crashProcess,
  cutHeartbeats,
  cutPower,
  flushRuleset,
  freeze,
  killPorts,
  nodesCutOff,
  revivePorts,
  setCarrier,
} from "./faults.ts";
import type { FaultName } from "./faultWords.ts";
import { startLoad } from "./load.ts";
import type { LabContext } from "./options.ts";
import { createPair, NODES, type NodeName, otherNode, PROGRAM, pairFileOf } from "./pair.ts";
import { findProgram } from "./requirements.ts";
import { becomeReady, handOver, ScenarioFailure } from "./stage.ts";
import { describeTopology } from "./topology.ts";
import { PORT_BACKGROUND, PORT_DOWNLOAD, PORT_ECHO, PORT_IDLE, PORT_PING } from "./traffic/ports.ts";
import { buildWorld, labEnvironment, type World } from "./world.ts";
import { findWorlds, removeWorld, type WorldState } from "./worldState.ts";

const FREEZE_SECONDS_DEFAULT = 3;
const SLOW_ADVICE =
  "A busy machine is slow at it: try again. Where it stays so, report it with what both nodes logged (--logs DIRECTORY).";

/** Builds a laboratory with a running pair and servers, and leaves it. */
export async function standUp(context: LabContext): Promise<number> {
  const { options, userNamespace } = context;
  const { hosts, logs } = options;
  const world = await buildWorld({ hosts, standing: true, userNamespace, logs });
  try {
    for (const node of NODES) world.pair.start(node);
    const load = await startLoad(world, [4, 6]);
    const active = await becomeReady(world, "at the start");
    await load.leave();
    process.stdout.write(
      options.json
        ? `${JSON.stringify(describeWorld(world, active, userNamespace))}\n`
        : standingText(world, active, userNamespace),
    );
    return ExitCode.Ok;
  } catch (error) {
    if (error instanceof ScenarioFailure)
      for (const node of NODES)
        context.progress(`the end of the log of ${node}:\n${world.pair.logTail(node)}`);
    await world.close();
    throw notServing(error, "start the pair", SLOW_ADVICE);
  }
}

/**
 * A pair that is not ready in time is a finding, with exit code 1, and no defect of this program: what anybody else throws
 * stays what it is.
 */
export function notServing(error: unknown, operation: string, advice: string): unknown {
  if (!(error instanceof ScenarioFailure)) return error;
  const refusal = new BoundaryError({ operation, code: "NOT_READY", words: error.message, advice });
  return new CommandFailure(refusal, ExitCode.Failed);
}

function enterWords(pid: number | string, userNamespace: boolean): string {
  return `nsenter -t ${pid} ${userNamespace ? "-U --preserve-credentials " : ""}-n`;
}

function describeWorld(world: World, active: NodeName, userNamespace: boolean): object {
  const { topology, pids, pair } = world;
  return {
    lab: world.lab,
    directory: world.directory,
    enter: enterWords("PID", userNamespace),
    namespaces: Object.fromEntries(pids),
    active,
    nodes: Object.fromEntries(
      topology.nodes.map((node) => [
        node.name,
        {
          ...node,
          file: pair.files[node.name],
          pairFile: pairFileOf(world.directory, node.name),
          processes: pair.processes(node.name),
          log: `${world.directory}/${node.name}.log`,
        },
      ]),
    ),
    lan: { gateway: [topology.lan.shared4, topology.lan.shared6], hosts: topology.hosts },
    links: topology.links,
    servers: {
      addresses: [topology.server.v4, topology.server.v6],
      tcp: { echo: PORT_ECHO, download: PORT_DOWNLOAD, idle: PORT_IDLE },
      udp: { echo: PORT_PING, echoFrom: PORT_BACKGROUND },
    },
    switchPorts: Object.fromEntries(
      topology.nodes.map((node) => [
        node.name,
        ["lan", ...topology.links.map((link) => link.device), "sync"].map(
          (device) => `${node.name}-${device}`,
        ),
      ]),
    ),
  };
}

function standingText(world: World, active: NodeName, userNamespace: boolean): string {
  const pid = (name: string): number => world.pids.get(name)!;
  const node = world.pair.files[active];
  const enter = (name: string): string => enterWords(pid(name), userNamespace);
  return `
The laboratory ${world.lab} stands; ${active} is active. Everything about it: ${world.directory}

  Look at the pair            ${enter(active)} ${PROGRAM} show pair --node ${node}
  Be a host of the LAN        ${enter("h1")} sh
  See the active's sessions   ${enter(active)} conntrack -L
  Be in the Internet          ${enter("internet")} sh
  Break it                    ${PROGRAM} lab --lab ${world.lab} --fault port-dead     (others: lab --help)
  Take it down                ${PROGRAM} lab --lab ${world.lab} --down
`;
}

/** One that is being built right now has no namespaces yet, and is its builder's. */
const stands = (world: WorldState & { readonly crashed: boolean }): boolean =>
  !world.crashed && world.owner === null && Object.keys(world.namespaces).length > 0;

/** Which of the laboratories that stand is meant: the one of that name, or the only one there is. */
function choose(name: string | null): WorldState {
  const standing = findWorlds().filter(stands);
  const chosen = name === null ? standing : standing.filter((world) => world.lab === name);
  if (chosen.length === 1) return chosen[0]!;
  const names = standing.map((world) => world.lab).join(", ");
  throw new BoundaryError({
    operation: name === null ? "find the laboratory that stands" : `find the laboratory ${name}`,
    code: chosen.length === 0 ? "NONE" : "SEVERAL",
    words: standing.length === 0 ? "none of yours stands" : `these stand: ${names}`,
    advice: standing.length === 0 ? "Start one: understudy lab --up" : "Say which: --lab NAME",
  });
}

/** Takes down one that stands (where any does), and clears away what crashed ones left. */
export async function standDown(context: LabContext): Promise<number> {
  const { options, progress } = context;
  const worlds = findWorlds();
  const crashed = worlds.filter((world) => world.crashed);
  for (const world of crashed) {
    await removeWorld(world.directory);
    progress(`cleared away what the laboratory ${world.lab} left when it crashed`);
  }
  const standing = worlds.filter(stands);
  let down: string | null = null;
  if (standing.length > 0 || options.lab !== null) {
    const chosen = choose(options.lab);
    progress(`taking down the laboratory ${chosen.lab}, ${chosen.directory}`);
    await removeWorld(chosen.directory);
    down = chosen.lab;
    progress(`the laboratory ${chosen.lab} is gone`);
  } else progress("no laboratory stands");
  if (options.json)
    process.stdout.write(`${JSON.stringify({ down, cleared: crashed.map((world) => world.lab) })}\n`);
  return ExitCode.Ok;
}

/** Does one thing to a laboratory that stands. */
export async function strike(context: LabContext, words: readonly string[]): Promise<number> {
  const { options, progress } = context;
  const state = choose(options.lab);
  if (state.userNamespace && process.getuid?.() !== 0) enterStanding(state, context.args);
  const world = adopt(state);
  // Said before anything is done: it may be another one than the reader has in mind.
  progress(`in the laboratory ${state.lab}, ${state.directory}`);
  const [name, node, ...rest] = words;
  // options.ts has refused every other word.
  try {
    await FAULTS[name as FaultName](world, node, rest);
  } catch (error) {
    const logs = NODES.map((each) => `${state.directory}/${each}.log`).join(" and ");
    throw notServing(
      error,
      `${name} in the laboratory ${state.lab}`,
      `It stands as it is. The logs: ${logs}`,
    );
  }
  for (const { what } of world.faults) progress(what);
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ lab: state.lab, faults: world.faults.map(({ what, atMs }) => ({ atMs, what })) })}\n`,
    );
  return ExitCode.Ok;
}

type Strike = (world: World, node: string | undefined, rest: readonly string[]) => Promise<unknown>;

const devicesOf = (rest: readonly string[]): [] | [readonly string[]] => (rest.length > 0 ? [rest] : []);

/** On the node that is named, else on each that is cut off. */
const mending =
  (
    by: "port" | "cable",
    mend: (world: World, node: NodeName, rest: readonly string[]) => Promise<void>,
  ): Strike =>
  async (world, node, rest) => {
    const nodes = node === undefined ? await nodesCutOff(world, by) : [await nodeOf(world, node)];
    if (nodes.length === 0) world.note(`no ${by} of either node is dead: nothing was done`);
    for (const each of nodes) await mend(world, each, rest);
  };

const FAULTS: Readonly<Record<FaultName, Strike>> = {
  "port-dead": async (world, node, rest) => killPorts(world, await nodeOf(world, node), ...devicesOf(rest)),
  "port-alive": mending("port", (world, node, rest) => revivePorts(world, node, ...devicesOf(rest))),
  power: async (world, node) => cutPower(world, await nodeOf(world, node)),
  boot: async (world, node) => boot(world, await nodeOf(world, node)),
  freeze: async (world, node, [seconds]) =>
    freeze(world, await nodeOf(world, node), Number(seconds ?? FREEZE_SECONDS_DEFAULT) * 1000),
  "heart-crash": async (world, node) => crashProcess(world, await nodeOf(world, node), "heart"),
  "daemon-crash": async (world, node) => crashProcess(world, await nodeOf(world, node), "daemon"),
  unplug: async (world, node, rest) =>
    setCarrier(world, await nodeOf(world, node), false, ...devicesOf(rest)),
  plug: mending("cable", (world, node, rest) => setCarrier(world, node, true, ...devicesOf(rest))),
  "heartbeats-cut": (world) => cutHeartbeats(world, true),
  "heartbeats-back": (world) => cutHeartbeats(world, false),
  flush: async (world, node) => flushRuleset(world, await nodeOf(world, node)),
  handover: async (world) => handOver(world, await nodeOf(world, "active")),
};

/** Who is active: as the daemons say, else as their hearts do, else as the one that answers has heard of the other. */
async function findActive(world: World): Promise<NodeName | null> {
  const { active, views } = await world.pair.roles();
  if (active !== null) return active;
  const hearts = { a: await world.pair.heart("a"), b: await world.pair.heart("b") };
  const open = NODES.filter((node) => hearts[node]?.role === "active" && hearts[node]?.gate === "open");
  if (open.length === 1) return open[0]!;
  const told = NODES.filter((node) => {
    const peer = (hearts[node] ?? views[node]?.heart)?.peer;
    return peer?.heard === true && peer.role === "active";
  });
  return open.length === 0 && told.length === 1 ? otherNode(told[0]!) : null;
}

async function nodeOf(world: World, word = "active"): Promise<NodeName> {
  if (word === "a" || word === "b") return word;
  const active = await findActive(world);
  if (active !== null) return word === "standby" ? otherNode(active) : active;
  throw new BoundaryError({
    operation: `find the node ${word}`,
    code: "UNKNOWN",
    words: (await world.pair.roles()).reasons.join("; "),
    advice: "Say which one: a or b.",
  });
}

/** A world that another command built. */
function adopt(state: WorldState): World {
  const environment = labEnvironment(state.directory);
  const topology = describeTopology(state.hosts);
  const pids = new Map(Object.entries(state.namespaces));
  const pair = createPair(
    { topology, pids, directory: state.directory, environment },
    state.nodeFiles as Readonly<Record<NodeName, string>>,
  );
  const faults: { atMs: number; what: string }[] = [];
  return {
    lab: state.lab,
    directory: state.directory,
    topology,
    pids,
    environment,
    pair,
    startedMs: 0,
    faults,
    dead: [],
    note: (what) => faults.push({ atMs: nowMs(), what }),
    close: () => removeWorld(state.directory),
  };
}

/** A user's laboratory is inside a user namespace: go there, in place of this process. */
function enterStanding(state: WorldState, args: readonly string[]): never {
  const cli = fileURLToPath(new URL("../cli.ts", import.meta.url));
  const words = [process.execPath, "--disable-warning=ExperimentalWarning", cli, "lab", ...args];
  const pid = String(state.namespaces.switch);
  process.execve!(
    findProgram("nsenter"),
    ["nsenter", "-t", pid, "-U", "-n", "--preserve-credentials", "--", ...words],
    process.env,
  );
  throw new Error("unreachable: execve returned");
}
