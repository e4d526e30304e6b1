// conntrackd on both nodes, as its manual has it for a pair with a cable between them: FTFW over UDP, large buffers, and the
// same filter as ours has (TCP from ESTABLISHED on). Its files and sockets are inside the world's directory; the system's own
// service is neither used nor touched.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleep, until } from "../src/lab/clock.ts";
import { enter, type RunResult, run } from "../src/lab/commands.ts";
import { NODES, type NodeName, otherNode } from "../src/lab/pair.ts";
import type { World } from "../src/lab/world.ts";

const PROGRAM = "conntrackd";
const READY_TIMEOUT_MS = 10_000;
const anyCode = Array.from({ length: 256 }, (_, code) => code);

export interface Conntrackd {
  readonly pids: Readonly<Record<NodeName, number>>;
  readonly files: Readonly<Record<NodeName, string>>;
  /** `conntrackd WORD` of a node: -s, -c, ... */
  ask(node: NodeName, word: string): Promise<RunResult>;
  /** Sessions in the cache of what the peer said. */
  cached(node: NodeName): Promise<number>;
  stop(): void;
}

/** `written`: each session goes into the standby's kernel as it comes (external cache off); else it waits for a commit. */
export async function startConntrackd(world: World, written: boolean): Promise<Conntrackd> {
  const files = { a: "", b: "" };
  const children = new Map<NodeName, ChildProcess>();
  const pids = { a: 0, b: 0 };
  for (const node of NODES) {
    const directory = join(world.directory, `conntrackd-${node}`);
    mkdirSync(directory, { recursive: true });
    files[node] = join(directory, "conntrackd.conf");
    writeFileSync(files[node], configuration(world, node, directory, written));
    const log = openSync(join(directory, "output"), "a");
    const words = enter(world.pids.get(node)!, [PROGRAM, "-C", files[node]]);
    const child = spawn(words[0]!, words.slice(1), { stdio: ["ignore", log, log], env: world.environment });
    children.set(node, child);
    pids[node] = child.pid!;
  }
  const ask = (node: NodeName, word: string): Promise<RunResult> =>
    run([PROGRAM, "-C", files[node], word], { inside: world.pids.get(node)!, accept: anyCode });
  for (const node of NODES) {
    const up = await until(READY_TIMEOUT_MS, 100, async () =>
      (await ask(node, "-s")).code === 0 ? true : null,
    );
    if (up === null) throw new Error(`conntrackd on ${node} does not answer`);
  }
  await sleep(500);
  return {
    pids,
    files,
    ask,
    cached: async (node) => {
      const { stdout } = await ask(node, "-s");
      const external = stdout.slice(stdout.indexOf("cache external"));
      return Number(/current active connections:\s+(\d+)/.exec(external)?.[1] ?? 0);
    },
    stop: () => {
      for (const child of children.values()) child.kill("SIGKILL");
    },
  };
}

function configuration(world: World, node: NodeName, directory: string, written: boolean): string {
  const { nodes, lan, links } = world.topology;
  const own = nodes.find(({ name }) => name === node)!;
  const peer = nodes.find(({ name }) => name === otherNode(node))!;
  const ignored = ["127.0.0.1", own.lan4, peer.lan4, own.sync, peer.sync, lan.shared4, links[0]!.v4.shared];
  return `Sync {
  Mode FTFW {
    ResendQueueSize 131072
    ACKWindowSize 300
    ${written ? "DisableExternalCache On" : "DisableExternalCache Off"}
  }
  UDP {
    IPv4_address ${own.sync}
    IPv4_Destination_Address ${peer.sync}
    Port 3780
    Interface sync
    SndSocketBuffer 25165824
    RcvSocketBuffer 25165824
    Checksum on
  }
}
General {
  HashSize 1048576
  HashLimit 4194304
  LogFile ${join(directory, "log")}
  LockFile ${join(directory, "lock")}
  UNIX { Path ${join(directory, "control")} }
  NetlinkBufferSize 25165824
  NetlinkBufferSizeMaxGrowth 67108864
  Filter From Kernelspace {
    Protocol Accept { TCP UDP ICMP }
    Address Ignore {
${ignored.map((address) => `      IPv4_address ${address}`).join("\n")}
    }
    State Accept { ESTABLISHED for TCP }
  }
}
`;
}
