// keepalived on both nodes with conntrackd beside it, as the two are used together: one VRRP instance with the shared addresses,
// and a script that commits the sessions when it becomes master (conntrackd's own `primary-backup.sh`, step by step). Everything
// lies in the world's directory; the system's own service is neither used nor touched.

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../src/lab/clock.ts";
import { enter, run } from "../src/lab/commands.ts";
import { NODES, type NodeName } from "../src/lab/pair.ts";
import type { World } from "../src/lab/world.ts";

export interface Keepalived {
  /** Times a node became master since the start, on both nodes together. */
  masters(): number;
  stop(): void;
}

const READY_TIMEOUT_MS = 15_000;
/** Of 255: `a` is master first. Nobody preempts. */
const PRIORITIES: Readonly<Record<NodeName, number>> = { a: 200, b: 150 };
/** Its processes run with real-time priority, as heart does. */
const REAL_TIME_PRIORITY = 50;

/** Starts both, with adverts of `advertMs` (a multiple of 10), and waits until `a` is master and `b` is not. */
export async function startKeepalived(
  world: World,
  advertMs: number,
  conntrackd: Readonly<Record<NodeName, string>>,
): Promise<Keepalived> {
  const children: ChildProcess[] = [];
  const logOf = (node: NodeName): string => join(world.directory, `keepalived-${node}`, "output");
  for (const node of NODES) {
    const directory = join(world.directory, `keepalived-${node}`);
    mkdirSync(directory, { recursive: true });
    const script = join(directory, "notify.sh");
    writeFileSync(script, notifyScript(conntrackd[node]));
    chmodSync(script, 0o700);
    const file = join(directory, "keepalived.conf");
    writeFileSync(file, configuration(world, node, advertMs, script), { mode: 0o600 });
    const log = openSync(logOf(node), "a");
    const pidFiles = ["-p", join(directory, "pid"), "-r", join(directory, "vrrp.pid")];
    const words = enter(world.pids.get(node)!, ["keepalived", "-n", "-l", "-P", "-f", file, ...pidFiles]);
    children.push(spawn(words[0]!, words.slice(1), { stdio: ["ignore", log, log], env: world.environment }));
    // The first is master before the second looks around.
    if (node === "a") await becomesMaster(world, node, logOf(node));
  }
  const masters = (): number =>
    NODES.reduce(
      (total, node) => total + readFileSync(logOf(node), "utf8").split("Entering MASTER STATE").length - 1,
      0,
    );
  return {
    masters,
    stop: () => {
      for (const child of children) child.kill("SIGTERM");
    },
  };
}

async function becomesMaster(world: World, node: NodeName, log: string): Promise<void> {
  const up = await until(READY_TIMEOUT_MS, 100, async () => {
    const { stdout } = await run(["ip", "-4", "-o", "addr", "show", "dev", "lan"], {
      inside: world.pids.get(node)!,
    });
    return stdout.includes(`${world.topology.lan.shared4}/`) ? true : null;
  });
  if (up === null)
    throw new Error(`keepalived on ${node} did not become master: ${readFileSync(log, "utf8").slice(-2000)}`);
}

function notifyScript(conntrackd: string): string {
  const ask = `conntrackd -C ${conntrackd}`;
  return `#!/bin/sh
case "$1" in
  primary) ${ask} -c; ${ask} -f; ${ask} -R; ${ask} -B ;;
  backup) ${ask} -t; ${ask} -n ;;
esac
`;
}

function configuration(world: World, node: NodeName, advertMs: number, script: string): string {
  const link = world.topology.links[0]!;
  return `global_defs {
  router_id ${node}
  vrrp_version 3
  vrrp_rt_priority ${REAL_TIME_PRIORITY}
  script_user root
}
vrrp_instance pair {
  state BACKUP
  nopreempt
  interface lan
  virtual_router_id 51
  priority ${PRIORITIES[node]}
  advert_int ${(advertMs / 1000).toFixed(2)}
  virtual_ipaddress {
    ${world.topology.lan.shared4}/16 dev lan
    ${link.v4.shared}/24 dev ${link.device}
  }
  virtual_routes {
    0.0.0.0/0 via ${link.v4.gateway} dev ${link.device}
  }
  notify_master "${script} primary" root
  notify_backup "${script} backup" root
}
`;
}
