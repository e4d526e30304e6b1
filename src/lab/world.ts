// A laboratory as one thing with a lifetime: directory, namespaces, pair; built in one call, gone after one. Whatever
// ends it (done, failed, Ctrl-C), `close` leaves nothing; what a SIGKILL leaves, worldState.ts finds.

import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { nowMs } from "./clock.ts";
import { buildTopology, type Holders, holdNamespaces, type Namespaces } from "./namespaces.ts";
import { createPair, type NodeName, type Pair, writePairFiles } from "./pair.ts";
import { describeTopology, namespaceNames, type Topology } from "./topology.ts";
import { LAB_VARIABLE, makeDirectory, removeWorld, startTimeOf, writeState } from "./worldState.ts";

export interface WorldOptions {
  readonly hosts: number;
  readonly seed?: number;
  /** Helpers of connection tracking in the pair's file; default: none. */
  readonly helpers?: readonly string[];
  /** Left standing when the command ends (`--up`). */
  readonly standing: boolean;
  readonly userNamespace: boolean;
  /** Keeps what both nodes logged in this directory; the laboratory's own goes with it. */
  readonly logs?: string | null;
  /** Each node's state directory is a small disk of its own, which can be filled. */
  readonly ownDisk?: boolean;
}

/** Something that was done to the world. */
export interface FaultNote {
  /** Milliseconds of the laboratory's clock. */
  readonly atMs: number;
  readonly what: string;
}

export interface World {
  readonly lab: string;
  readonly directory: string;
  readonly topology: Topology;
  readonly pids: Namespaces;
  readonly environment: NodeJS.ProcessEnv;
  readonly pair: Pair;
  readonly startedMs: number;
  readonly faults: FaultNote[];
  /** When which node's ports did not forward. */
  readonly dead: {
    readonly node: NodeName;
    readonly segments: readonly string[];
    readonly fromMs: number;
    untilMs: number;
  }[];
  note(what: string): void;
  close(): Promise<void>;
}

/** Programs of administrators are not in everybody's PATH. */
export function labEnvironment(directory: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`,
    LC_ALL: "C",
    UNDERSTUDY_NODE: process.execPath,
    [LAB_VARIABLE]: directory,
  };
}

/** Builds directory, namespaces, network and configuration; starts nothing of Understudy's yet. */
export async function buildWorld(options: WorldOptions): Promise<World> {
  const startedMs = nowMs();
  const { lab, directory } = makeDirectory();
  const environment = labEnvironment(directory);
  // Our own children (`ip`, `nft`, ...) are found by it as well.
  process.env.PATH = environment.PATH;
  const topology = describeTopology(options.hosts);
  let holders: Holders | null = null;
  try {
    holders = await holdNamespaces(namespaceNames(topology), { standing: options.standing, environment });
    await buildTopology(topology, holders.pids);
    return finishWorld({ lab, directory, environment, topology, holders, startedMs, options });
  } catch (error) {
    holders?.release();
    await removeWorld(directory);
    throw error;
  }
}

function finishWorld(parts: {
  lab: string;
  directory: string;
  environment: NodeJS.ProcessEnv;
  topology: Topology;
  holders: Holders;
  startedMs: number;
  options: WorldOptions;
}): World {
  const { lab, directory, environment, topology, holders, startedMs, options } = parts;
  const { pids } = holders;
  const pairOptions = {
    topology,
    pids,
    directory,
    environment,
    ownDisk: options.ownDisk === true,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.helpers === undefined ? {} : { helpers: options.helpers }),
  };
  const nodeFiles = writePairFiles(pairOptions);
  writeState({
    lab,
    directory,
    owner: options.standing ? null : { pid: process.pid, startTime: startTimeOf(process.pid) ?? "" },
    namespaces: Object.fromEntries(pids),
    userNamespace: options.userNamespace,
    hosts: options.hosts,
    nodeFiles,
  });
  const faults: FaultNote[] = [];
  return {
    lab,
    directory,
    topology,
    pids,
    environment,
    pair: createPair(pairOptions, nodeFiles),
    startedMs,
    faults,
    dead: [],
    note: (what) => faults.push({ atMs: nowMs(), what }),
    close: async () => {
      if (options.logs != null) keepLogs(directory, options.logs, lab);
      await removeWorld(directory);
    },
  };
}

/** Copies `a.log` and `b.log` to `LAB-a.log` and `LAB-b.log` of `target`. */
function keepLogs(directory: string, target: string, lab: string): void {
  mkdirSync(target, { recursive: true });
  for (const node of ["a", "b"]) {
    const log = join(directory, `${node}.log`);
    if (existsSync(log)) copyFileSync(log, join(target, `${lab}-${node}.log`));
  }
}
