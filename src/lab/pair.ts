// The two nodes of a laboratory: the real program, started as a user would start it, inside its node's namespace. What
// is asked of it goes through its own command line and control socket.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectControl } from "../admin/control.ts";
import { keygen } from "../peer/identity.ts";
import type {
  DaemonMessage,
  DaemonRequest,
  HeartMessage,
  HeartRequest,
  HeartState,
  PairView,
} from "../wire/control.ts";
import type { ReadinessView } from "../wire/controlReadiness.ts";
import { until } from "./clock.ts";
import { enter, type RunResult, run } from "./commands.ts";
import type { Namespaces } from "./namespaces.ts";
import { nodeFile, pairFile } from "./pairFiles.ts";
import type { Topology } from "./topology.ts";
import { allProcesses } from "./worldState.ts";

export type NodeName = "a" | "b";
export const NODES: readonly NodeName[] = ["a", "b"];
export const otherNode = (node: NodeName): NodeName => (node === "a" ? "b" : "a");

/** The launcher, as a user starts it. */
export const PROGRAM = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
const LOG_TAIL_BYTES = 4000;
/** A witness older than this is none (failover §4). */
const WITNESS_MS = 1000;

export interface PairOptions {
  readonly topology: Topology;
  readonly pids: Namespaces;
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly seed?: number;
  readonly helpers?: readonly string[];
  /** The state directory is a small disk of the node's own, mounted where nobody else sees it. */
  readonly ownDisk?: boolean;
}

/** In a mount namespace of its own, that ends with the node's processes. */
const ON_OWN_DISK = [
  ...["unshare", "-m", "--propagation", "private", "--", "sh", "-c"],
  'mkdir -p "$0" && mount -t tmpfs -o size=256k,mode=700 state "$0" && exec "$@"',
];

/** Roles as the nodes themselves tell them; null where a node does not answer. */
export interface Roles {
  readonly views: Readonly<Record<NodeName, PairView | null>>;
  readonly active: NodeName | null;
  /** One active with its gate open, and the other a standby that holds everything. */
  readonly ready: boolean;
  /** Why not, in words. */
  readonly reasons: readonly string[];
}

/** Each node has its own copy of the pair's file, as on two machines. */
export const pairFileOf = (directory: string, node: NodeName): string => join(directory, node, "pair.yaml");

/** Writes keys and configuration of both nodes; returns their node files. */
export function writePairFiles(options: PairOptions): Readonly<Record<NodeName, string>> {
  const { topology, directory, seed, helpers } = options;
  const keys = { a: "", b: "" };
  const files = { a: "", b: "" };
  for (const node of topology.nodes) {
    const own = join(directory, node.name);
    mkdirSync(own, { recursive: true, mode: 0o700 });
    keys[node.name] = keygen(join(own, "node.key")).publicKey;
    files[node.name] = join(own, "node.yaml");
    writeFileSync(files[node.name], nodeFile(node, own));
  }
  const text = pairFile(topology, {
    keys,
    ...(seed === undefined ? {} : { seed }),
    ...(helpers === undefined ? {} : { helpers }),
  });
  for (const { name } of topology.nodes) writeFileSync(pairFileOf(directory, name), text);
  return files;
}

/** The two nodes, as processes. */
export interface Pair {
  readonly files: Readonly<Record<NodeName, string>>;
  start(node: NodeName): void;
  /** What a node says of itself; null where it does not answer. */
  view(node: NodeName): Promise<PairView | null>;
  /** What a node says of the pair's readiness; null where it does not answer. */
  readiness(node: NodeName): Promise<ReadinessView | null>;
  roles(): Promise<Roles>;
  /** Waits for `ready`; the last state is the result. */
  waitReady(timeoutMs: number): Promise<Roles>;
  /** Daemon, heart and whatever else of ours runs in the node's namespace. */
  processes(node: NodeName): readonly number[];
  /** Heart's or the daemon's process ids on a node. */
  processesNamed(node: NodeName, which: "heart" | "daemon"): readonly number[];
  /** What a node's heart says, its daemon not asked; null where it does not answer. */
  heart(node: NodeName): Promise<HeartState | null>;
  /** `understudy WORDS --node FILE` in the node's namespace. */
  command(node: NodeName, words: readonly string[]): Promise<RunResult>;
  /** The end of what the node has logged. */
  logTail(node: NodeName): string;
}

export function createPair(options: PairOptions, files: Readonly<Record<NodeName, string>>): Pair {
  const { pids, directory, environment } = options;
  const logOf = (node: NodeName): string => join(directory, `${node}.log`);
  const view = (node: NodeName): Promise<PairView | null> => askView(join(directory, node, "run"));
  const roles = async (): Promise<Roles> => {
    const [a, b] = await Promise.all([view("a"), view("b")]);
    return judgeRoles({ a, b });
  };
  return {
    files,
    view,
    readiness: (node) => askReadiness(join(directory, node, "run")),
    roles,
    start: (node) => {
      const log = openSync(logOf(node), "a", 0o600);
      const disk = options.ownDisk === true ? [...ON_OWN_DISK, join(directory, node, "state")] : [];
      const words = enter(pids.get(node)!, [...disk, PROGRAM, "run", "--node", files[node]]);
      const child: ChildProcess = spawn(words[0]!, words.slice(1), {
        stdio: ["ignore", log, log],
        env: environment,
        cwd: directory,
        detached: true,
      });
      // One that cannot start says so in its log, and never becomes ready.
      child.on("error", () => {});
      child.unref();
      closeSync(log);
    },
    waitReady: async (timeoutMs) => {
      let last: Roles | null = null;
      await until(timeoutMs, 100, async () => {
        last = await roles();
        return last.ready ? true : null;
      });
      return last ?? (await roles());
    },
    processes: (node) => processesInside(pids.get(node)!),
    processesNamed: (node, which) =>
      processesInside(pids.get(node)!).filter((pid) => nameOf(pid) === PROCESS_NAMES[which]),
    heart: (node) => askHeart(join(directory, node, "run")),
    command: (node, words) =>
      run([PROGRAM, ...words, "--node", files[node]], {
        inside: pids.get(node)!,
        environment,
        accept: Array.from({ length: 256 }, (_, code) => code),
      }),
    logTail: (node) => {
      try {
        return readFileSync(logOf(node), "utf8").slice(-LOG_TAIL_BYTES);
      } catch {
        return "";
      }
    },
  };
}

async function askDaemon(
  runtimeDirectory: string,
  what: "pair" | "readiness",
): Promise<DaemonMessage | null> {
  try {
    const client = await connectControl<DaemonRequest, DaemonMessage>({
      path: join(runtimeDirectory, "control.sock"),
      server: "the daemon",
    });
    try {
      return await client.request({ kind: "show", what }, 2000);
    } finally {
      client.close();
    }
  } catch {
    // Not there yet, frozen, or dead: nothing is known of it.
    return null;
  }
}

async function askView(runtimeDirectory: string): Promise<PairView | null> {
  const message = await askDaemon(runtimeDirectory, "pair");
  return message?.kind === "pair" ? message.view : null;
}

async function askReadiness(runtimeDirectory: string): Promise<ReadinessView | null> {
  const message = await askDaemon(runtimeDirectory, "readiness");
  return message?.kind === "readiness" ? message.view : null;
}

async function askHeart(runtimeDirectory: string): Promise<HeartState | null> {
  try {
    const client = await connectControl<HeartRequest, HeartMessage>({
      path: join(runtimeDirectory, "heart.sock"),
      server: "heart",
    });
    try {
      const message = await client.request({ kind: "state" }, 2000);
      return message.kind === "state" ? message.state : null;
    } finally {
      client.close();
    }
  } catch {
    return null;
  }
}

/** As the kernel shows them (`PR_SET_NAME` of heart.ts and daemon.ts). */
const PROCESS_NAMES = { heart: "understudyheart", daemon: "understudy" } as const;

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}

/** What two views make of the pair. */
export function judgeRoles(views: Readonly<Record<NodeName, PairView | null>>): Roles {
  const reasons: string[] = [];
  const actives = NODES.filter((node) => {
    const heart = views[node]?.heart;
    return heart?.role === "active" && heart.gate === "open";
  });
  for (const node of NODES) {
    const own = views[node];
    if (own === null) reasons.push(`${node} does not answer`);
    else if (own.heart === null) reasons.push(`${node}: no heart`);
    else if (own.heart.role === "idle") reasons.push(`${node} is idle${describeIdle(own.heart)}`);
  }
  if (actives.length === 0) reasons.push("no node is active");
  if (actives.length > 1) reasons.push("both nodes say that they are active");
  const active = actives.length === 1 ? actives[0]! : null;
  if (active !== null) {
    const standby = otherNode(active);
    const own = views[standby];
    if (own !== null && !own.ready)
      reasons.push(`${standby} is not ready${own.reasons.length > 0 ? `: ${own.reasons.join("; ")}` : ""}`);
    if (own !== null && own.heart?.role !== "standby") reasons.push(`${standby} is not standby`);
    if (own !== null && !own.replication.synchronised) reasons.push(`${standby} is not synchronised`);
    if (views[active]?.heart?.peer.ready === false)
      reasons.push(`${active} has not heard that ${standby} is ready`);
  }
  return { views, active, ready: reasons.length === 0, reasons };
}

/** What an idle node waits for, as far as it can be seen: the peer, a cable, a witness. */
function describeIdle(heart: HeartState): string {
  const waits = (heart.segments ?? []).flatMap(({ name, carrier, witnessMsAgo }) => {
    if (!carrier) return [`${name} has no carrier`];
    return witnessMsAgo === null || witnessMsAgo > WITNESS_MS ? [`no witness on ${name}`] : [];
  });
  if (!heart.peer.heard) waits.unshift("the peer is not heard");
  return waits.length === 0 ? "" : ` (${waits.join(", ")})`;
}

/** Process ids in the network namespace that `holder` holds, the holder left out. */
export function processesInside(holder: number): readonly number[] {
  const wanted = readlinkSync(`/proc/${holder}/ns/net`);
  return allProcesses().filter((pid) => {
    if (pid === holder) return false;
    try {
      return readlinkSync(`/proc/${pid}/ns/net`) === wanted;
    } catch {
      return false;
    }
  });
}
