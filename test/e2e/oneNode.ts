// One node in a network namespace of its own, the real program with real files: what the tests of a single node's life
// share. The peer is never there. Where namespaces are not possible here, `skip` says why.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { keygen } from "../../src/peer/identity.ts";

export const program: string = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
const START_MS_MAX = 20_000;
/** What `OneNode.kernel` says where nothing of ours is there. */
export const NOTHING = "0\n";

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OneNode {
  /** Why no namespace can be made here; false where it was made. */
  readonly skip: string | false;
  readonly directory: string;
  readonly nodeFile: string;
  inside(...command: readonly string[]): Ran;
  understudy(...args: readonly string[]): Ran;
  /** What of ours is in the kernel, as `ip` and `nft` tell. */
  kernel(): string;
  /** Starts the node; resolves once it is dressed and answers. */
  start(): Promise<ChildProcess>;
  /** Ids of processes in the namespace whose name is `name`. */
  processes(name: string): readonly number[];
  /** True once `holds` does; false after `timeoutMs`. */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean>;
  close(): void;
}

const script = `
  ip link set lo up
  for port in lan wan1 wan2 sync; do
    ip link add $port type veth peer name far-$port
    ip link set $port up
    ip link set far-$port up
  done
  ip address add 10.20.0.2/16 dev lan
  ip address add 10.255.0.1/30 dev sync
  nft list tables
  echo ready
  exec cat`;

function writeConfiguration(directory: string): void {
  const keys = ["a", "b"].map((node) => keygen(join(directory, `${node}.key`)).publicKey);
  writeFileSync(
    join(directory, "pair.yaml"),
    `version: 1
pair: office
nodes: { a: { keys: ["${keys[0]}"] }, b: { keys: ["${keys[1]}"] } }
lan: { interface: lan, addresses: [10.20.0.1/16] }
links:
  - { id: 1, name: fibre, interface: wan1, gateway: 198.51.100.1, addresses: [198.51.100.2/24] }
  - { id: 2, name: cable, interface: wan2, gateway: 203.0.113.1, addresses: [203.0.113.2/24] }
paths:
  - { name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }
`,
  );
  writeFileSync(
    join(directory, "node.yaml"),
    `node: a
pair: pair.yaml
interfaces: { lan: lan, wan1: wan1, wan2: wan2, sync: sync }
key: a.key
state: state
runtime: run
`,
  );
}

/** Holds the namespace until it is killed; resolves to why it could not, or an empty text. */
function hold(env: NodeJS.ProcessEnv, root: boolean): Promise<{ holder: ChildProcess; fault: string }> {
  const holder = spawn("unshare", [...(root ? ["-n"] : ["-Urn"]), "--", "sh", "-ec", script], { env });
  return new Promise((resolve) => {
    let text = "";
    const take = (part: string): void => {
      text += part;
      if (text.includes("ready")) resolve({ holder, fault: "" });
    };
    holder.stdout.setEncoding("utf8").on("data", take);
    holder.stderr.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    holder.once("error", (error) => resolve({ holder, fault: error.message }));
    holder.once("exit", () => resolve({ holder, fault: text.trim() || "unshare ended" }));
  });
}

export async function makeOneNode(): Promise<OneNode> {
  const directory = mkdtempSync(join(tmpdir(), "understudy-node-"));
  const nodeFile = join(directory, "node.yaml");
  const root = process.getuid?.() === 0;
  const env = {
    ...process.env,
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    UNDERSTUDY_NODE: process.execPath,
  };
  writeConfiguration(directory);
  const { holder, fault } = await hold(env, root);
  const entered = [...(root ? ["-n"] : ["-U", "--preserve-credentials", "-n"]), "-t", `${holder.pid}`];
  const running: ChildProcess[] = [];
  const inside = (...command: readonly string[]): Ran =>
    spawnSync("nsenter", [...entered, "--", ...command], { env, encoding: "utf8", timeout: START_MS_MAX });
  const start = async (): Promise<ChildProcess> => {
    const child = spawn("nsenter", [...entered, "--", program, "run", "--node", nodeFile], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    running.push(child);
    let log = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        log += text;
        if (log.includes("ready to serve")) resolve();
      });
      child.once("exit", (code) => reject(new Error(`the node ended with ${code}: ${log}`)));
    });
    return child;
  };
  const processes = (name: string): readonly number[] =>
    readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter((pid) => isProcess(pid, name, holder.pid!));
  return {
    skip: fault === "" ? false : `no network namespaces with nft and ip here: ${fault}`,
    directory,
    nodeFile,
    inside,
    understudy: (...args) => inside(program, ...args, "--node", nodeFile),
    kernel: () =>
      inside("sh", "-c", "nft list tables; ip -o link | grep -o 'us-[a-z0-9]*'; ip rule | grep -c 1148")
        .stdout,
    start,
    processes,
    until: async (holds, timeoutMs) => {
      const deadline = performance.now() + timeoutMs;
      while (!holds()) {
        if (performance.now() > deadline) return false;
        await sleep(50);
      }
      return true;
    },
    close: () => {
      for (const name of ["understudy", "understudyheart"])
        for (const pid of processes(name)) process.kill(pid, "SIGKILL");
      for (const child of running) child.kill("SIGKILL");
      holder.kill("SIGKILL");
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Whether `pid` is a process called `name` in the namespace of `holder`. */
function isProcess(pid: number, name: string, holder: number): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name &&
      readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync(`/proc/${holder}/ns/net`)
    );
  } catch {
    return false; // It ended meanwhile, or is somebody else's.
  }
}
