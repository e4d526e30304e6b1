// A laboratory that is left standing (`--up`) for somebody else's client, capture and `conntrack`; things done to it
// (`--fault`); and its end (`--down`), with whatever crashed ones left.

import { fileURLToPath } from "node:url";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { nowMs } from "./clock.ts";
import {
  boot,
  crashProcess,
  cutHeartbeats,
  cutPower,
  flushRuleset,
  freeze,
  killPorts,
  revivePorts,
  setCarrier,
} from "./faults.ts";
import { startLoad } from "./load.ts";
import type { LabContext } from "./options.ts";
import { createPair, NODES, type NodeName, otherNode, PROGRAM } from "./pair.ts";
import { findProgram } from "./requirements.ts";
import { becomeReady, handOver } from "./stage.ts";
import { describeTopology } from "./topology.ts";
import { PORT_BACKGROUND, PORT_DOWNLOAD, PORT_ECHO, PORT_IDLE, PORT_PING } from "./traffic/ports.ts";
import { buildWorld, labEnvironment, type World } from "./world.ts";
import { findWorlds, removeWorld, type WorldState } from "./worldState.ts";

const FREEZE_SECONDS_DEFAULT = 3;

/** Builds a laboratory with a running pair and servers, and leaves it. */
export async function standUp(context: LabContext): Promise<number> {
  const { options, userNamespace } = context;
  const world = await buildWorld({ hosts: options.hosts, standing: true, userNamespace });
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
    await world.close();
    throw error;
  }
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
          processes: pair.processes(node.name),
          log: `${world.directory}/${node.name}.log`,
        },
      ]),
    ),
    pairFile: `${world.directory}/pair.yaml`,
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
  Break it                    understudy lab --fault port-dead     (others: understudy lab --help)
  Take it down                understudy lab --down
`;
}

/** Which of the laboratories that stand is meant. */
function choose(name: string | null): WorldState {
  const standing = findWorlds().filter((world) => !world.crashed && world.owner === null);
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
  const standing = worlds.filter((world) => !world.crashed && world.owner === null);
  let down: string | null = null;
  if (standing.length > 0 || options.lab !== null) {
    const chosen = choose(options.lab);
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
  const [name = "", ...args] = words;
  const fault = FAULTS[name];
  if (fault === undefined)
    throw new BoundaryError({
      operation: `do the fault ${name}`,
      code: "UNKNOWN",
      words: `there are: ${Object.keys(FAULTS).join(", ")}`,
    });
  await fault(world, args);
  for (const { what } of world.faults) progress(what);
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ lab: state.lab, faults: world.faults.map(({ what, atMs }) => ({ atMs, what })) })}\n`,
    );
  return ExitCode.Ok;
}

const FAULTS: Readonly<Record<string, (world: World, args: readonly string[]) => Promise<unknown>>> = {
  "port-dead": async (world, [node, ...devices]) =>
    killPorts(world, await nodeOf(world, node), ...(devices.length > 0 ? [devices] : [])),
  "port-alive": async (world, [node, ...devices]) =>
    revivePorts(world, await nodeOf(world, node), ...(devices.length > 0 ? [devices] : [])),
  power: async (world, [node]) => cutPower(world, await nodeOf(world, node)),
  boot: async (world, [node]) => boot(world, await nodeOf(world, node)),
  freeze: async (world, [node, seconds]) =>
    freeze(world, await nodeOf(world, node), Number(seconds ?? FREEZE_SECONDS_DEFAULT) * 1000),
  "heart-crash": async (world, [node]) => crashProcess(world, await nodeOf(world, node), "heart"),
  "daemon-crash": async (world, [node]) => crashProcess(world, await nodeOf(world, node), "daemon"),
  unplug: async (world, [node, ...devices]) =>
    setCarrier(world, await nodeOf(world, node), false, ...(devices.length > 0 ? [devices] : [])),
  plug: async (world, [node, ...devices]) =>
    setCarrier(world, await nodeOf(world, node), true, ...(devices.length > 0 ? [devices] : [])),
  "heartbeats-cut": (world) => cutHeartbeats(world, true),
  "heartbeats-back": (world) => cutHeartbeats(world, false),
  flush: async (world, [node]) => flushRuleset(world, await nodeOf(world, node)),
  handover: async (world) => handOver(world, await nodeOf(world, "active")),
};

async function nodeOf(world: World, word = "active"): Promise<NodeName> {
  if (word === "a" || word === "b") return word;
  const { active, reasons } = await world.pair.roles();
  if (active !== null && word === "active") return active;
  if (active !== null && word === "standby") return otherNode(active);
  throw new BoundaryError({
    operation: `find the node ${word}`,
    code: "UNKNOWN",
    words: active === null ? reasons.join("; ") : "a node is a, b, active or standby",
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
