// The first synchronisation: a standby without a session joins an active with a full table. From the first entry in its
// kernel to the word that it holds everything, against a bare dump and a bare insert of the same table; and the longest
// interval between two heartbeats of the active meanwhile.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { nowMs, sleep, until } from "../src/lab/clock.ts";
import { run } from "../src/lab/commands.ts";
import { countEntries } from "../src/lab/oracles.ts";
import { otherNode } from "../src/lab/pair.ts";
import type { World } from "../src/lab/world.ts";
import { signal } from "../src/lab/worldState.ts";
import type { Beats } from "./beats.ts";
import { aside } from "./fill.ts";
import { placeGenerator } from "./generator.ts";
import type { InsertFloor } from "./insert.ts";
import { startProduct } from "./products.ts";
import { withWorld } from "./stage.ts";
import type { TablesCompared } from "./tables.ts";

export interface FirstResult {
  readonly sessions: number;
  readonly seconds: number | null;
  readonly longestBeatMs: number;
  readonly floor: InsertFloor;
  readonly tables: TablesCompared;
}

/** Asking costs the asked: seldom, where seconds are measured. */
const ASK_MS = 250;
const BEGIN_ASK_MS = 50;
const BEGUN_ENTRIES = 500;
const BEGIN_TIMEOUT_MS = 30_000;
const SYNCHRONISE_TIMEOUT_MS = 120_000;

export async function firstSynchronisation(sessions: number): Promise<FirstResult> {
  return withWorld(async (world) => {
    const product = await startProduct(world, "understudy");
    const generator = await placeGenerator(world);
    const standby = otherNode(product.active);
    const inside = world.pids.get(standby)!;
    for (const pid of world.pair.processes(standby)) signal(pid, "SIGKILL");
    await sleep(500);
    await run(["conntrack", "-F"], { inside });
    await generator.make({ protocol: "tcp", count: sessions, rate: 0 });
    const beats = listenToBeats(world, `${product.active}-sync`);
    world.pair.start(standby);
    const begun = await until(BEGIN_TIMEOUT_MS, BEGIN_ASK_MS, async () =>
      (await countEntries(inside)) > BEGUN_ENTRIES ? nowMs() : null,
    );
    const ended = await until(SYNCHRONISE_TIMEOUT_MS, ASK_MS, async () =>
      (await world.pair.view(standby))?.replication.synchronised === true ? nowMs() : null,
    );
    const { longestMs } = await beats();
    const [from, to] = [String(world.pids.get(product.active)!), String(inside)];
    const tables = await aside<TablesCompared>("tables", [from, to, generator.server]);
    const floor = await aside<InsertFloor>("insert", [from, String(world.pids.get("h4")!)]);
    const seconds = begun === null || ended === null ? null : (ended - begun) / 1000;
    return { sessions, seconds, longestBeatMs: longestMs, floor, tables };
  });
}

/** Hears a switch port's heartbeats until the result is called. */
function listenToBeats(world: World, port: string): () => Promise<Beats> {
  const file = fileURLToPath(new URL("./beats.ts", import.meta.url));
  const words = ["--disable-warning=ExperimentalWarning", file, String(world.pids.get("switch")!), port];
  const child = spawn(process.execPath, words, { stdio: ["pipe", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (bytes: Buffer) => {
    out += bytes.toString();
  });
  return () =>
    new Promise((resolve) => {
      child.on("close", () => resolve(JSON.parse(out) as Beats));
      child.stdin.end();
    });
}
