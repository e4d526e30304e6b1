// What is measured, each behind the same few questions: our pair, conntrackd with and without its external cache, and the bare
// reader under all of them.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { enter, run } from "../src/lab/commands.ts";
import { countEntries } from "../src/lab/oracles.ts";
import { type NodeName, otherNode } from "../src/lab/pair.ts";
import { becomeReady } from "../src/lab/stage.ts";
import type { World } from "../src/lab/world.ts";
import { startConntrackd } from "./conntrackd.ts";
import { deviceCounters, logCounters, type WireCounters } from "./meters.ts";
import { dressRouters, giveAddresses } from "./router.ts";

export type ProductName = "understudy" | "cached" | "written" | "reader";

export interface Product {
  readonly name: ProductName;
  readonly active: NodeName;
  /** The processes that replicate sessions, on a node. */
  processes(node: NodeName): readonly number[];
  /** How many sessions the standby has been told of. */
  told(): Promise<number>;
  wire(): Promise<WireCounters>;
  /** Grows by one with each takeover; 0 where there is none to be. */
  term(): Promise<number>;
  /** Puts what the standby knows into its kernel, where it is not there yet; seconds. */
  commit(): Promise<number>;
  stop(): void;
}

/** Starts a product on both nodes and waits until it does its work. */
export async function startProduct(world: World, name: ProductName): Promise<Product> {
  switch (name) {
    case "understudy":
      return startOurs(world);
    case "cached":
    case "written":
      return startTheirs(world, name);
    case "reader":
      return startReader(world);
  }
}

async function startOurs(world: World): Promise<Product> {
  world.pair.start("a");
  world.pair.start("b");
  const active = await becomeReady(world, "before a measurement");
  const standby = world.pids.get(otherNode(active))!;
  return {
    name: "understudy",
    active,
    processes: (node) => world.pair.processesNamed(node, "daemon"),
    told: () => countEntries(standby),
    wire: () => logCounters(world.pids.get(active)!),
    term: async () => {
      const hearts = await Promise.all([world.pair.heart("a"), world.pair.heart("b")]);
      return Math.max(...hearts.map((heart) => heart?.term ?? 0));
    },
    commit: async () => 0,
    stop: () => {},
  };
}

async function startTheirs(world: World, name: "cached" | "written"): Promise<Product> {
  await dressRouters(world);
  await giveAddresses(world, "a");
  const daemons = await startConntrackd(world, name === "written");
  const standby = world.pids.get("b")!;
  return {
    name,
    active: "a",
    processes: (node) => [daemons.pids[node]],
    told: () => (name === "written" ? countEntries(standby) : daemons.cached("b")),
    wire: async () => deviceCounters(world.pids.get("a")!, "sync"),
    term: async () => 0,
    commit: async () => {
      if (name === "written") return 0;
      const start = performance.now();
      await daemons.ask("b", "-c");
      return (performance.now() - start) / 1000;
    },
    stop: daemons.stop,
  };
}

async function startReader(world: World): Promise<Product> {
  await dressRouters(world);
  await giveAddresses(world, "a");
  const file = fileURLToPath(new URL("./reader.ts", import.meta.url));
  const words = enter(world.pids.get("a")!, [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    file,
  ]);
  const child = spawn(words[0]!, words.slice(1), { stdio: "ignore", env: world.environment });
  await run(["sleep", "1"]);
  return {
    name: "reader",
    active: "a",
    processes: (node) => (node === "a" ? [child.pid!] : []),
    told: async () => Infinity,
    wire: async () => ({ bytes: 0, packets: 0 }),
    term: async () => 0,
    commit: async () => 0,
    stop: () => child.kill("SIGKILL"),
  };
}
