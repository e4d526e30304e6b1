// The measurement most rows come from: sessions pass the active, from SYN to ESTABLISHED, and what that costs each side is
// taken from before the first to when the standby has been told of the last.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { nowMs, sleep } from "../src/lab/clock.ts";
import { type NodeName, otherNode } from "../src/lab/pair.ts";
import type { World } from "../src/lab/world.ts";
import { type Generator, placeGenerator } from "./generator.ts";
import type { InsertFloor } from "./insert.ts";
import { type Used, used } from "./meters.ts";
import { type Product, type ProductName, startProduct } from "./products.ts";
import { withWorld } from "./stage.ts";
import type { TablesCompared } from "./tables.ts";

export interface FillOptions {
  readonly protocol: "tcp" | "udp";
  readonly sessions: number;
  /** Sessions a second; 0: as many as go through. */
  readonly rate: number;
  /** Also the bare insert of the same table. */
  readonly floor?: boolean;
}

export interface SideCost {
  /** Microseconds of processor time a session, in all, and the part in the kernel. */
  readonly cpuUs: number;
  readonly kernelUs: number;
  /** What it used before, with nothing to do, in microseconds a second. It is not taken off. */
  readonly restingUs: number;
  /** Bytes of resident memory that came with a session. */
  readonly memory: number;
}

export interface FillResult {
  readonly product: ProductName;
  readonly protocol: "tcp" | "udp";
  readonly sessions: number;
  /** At a given rate; else as many as went through. */
  readonly paced: boolean;
  /** Sessions a second that the generator reached. */
  readonly rate: number;
  /** First packets that were sent once more, for no answer came. */
  readonly repeated: number | null;
  /** Of our pair's, meanwhile: there is no reason for any. Null, as above: not recorded. */
  readonly takeovers: number | null;
  readonly active: SideCost | null;
  readonly standby: SideCost | null;
  readonly wireBytes: number;
  /** From the generator's end to the last that the standby was told of; null: it never had all. */
  readonly behindSeconds: number | null;
  readonly commitSeconds: number;
  readonly tables: TablesCompared | null;
  readonly floor: InsertFloor | null;
}

/** Daemons that have just started are not at rest. */
const SETTLE_MS = 3000;
const BASELINE_MS = 2000;
const POLL_MS = 100;
/** Whoever has not been told anything for this long will not be. */
const STUCK_MS = 4000;

export async function fill(name: ProductName, options: FillOptions): Promise<FillResult> {
  return withWorld(async (world) => {
    const product = await startProduct(world, name);
    try {
      return await measure(world, product, await placeGenerator(world), options);
    } finally {
      product.stop();
    }
  });
}

async function measure(
  world: World,
  product: Product,
  generator: Generator,
  options: FillOptions,
): Promise<FillResult> {
  const sides: readonly NodeName[] = [product.active, otherNode(product.active)];
  const reading = (): readonly Used[] => sides.map((node) => used(product.processes(node)));
  await sleep(SETTLE_MS);
  const idle = [reading()] as const;
  await sleep(BASELINE_MS);
  const before = [reading(), await product.wire()] as const;
  const termBefore = await product.term();
  const toldBefore = await product.told();
  const done = await generator.make({
    protocol: options.protocol,
    count: options.sessions,
    rate: options.rate,
  });
  const endMs = nowMs();
  const behindMs = await untilTold(product, toldBefore + done.completed, endMs);
  const after = [reading(), await product.wire()] as const;
  const cost = (side: number): SideCost | null => {
    const [rest, first, last] = [idle[0][side]!, before[0][side]!, after[0][side]!];
    if (last.memory === 0) return null;
    const cpuUs = (last.cpuUs - first.cpuUs) / done.completed;
    const kernel = last.kernelTicks - first.kernelTicks;
    const ticks = kernel + last.userTicks - first.userTicks;
    return {
      cpuUs,
      kernelUs: ticks === 0 ? 0 : (cpuUs * kernel) / ticks,
      restingUs: (first.cpuUs - rest.cpuUs) / (BASELINE_MS / 1000),
      memory: (last.memory - first.memory) / done.completed,
    };
  };
  const commitSeconds = await product.commit();
  const pids = sides.map((node) => world.pids.get(node)!);
  const bare = product.name === "reader";
  return {
    product: product.name,
    protocol: options.protocol,
    sessions: done.completed,
    paced: options.rate > 0,
    rate: done.completed / done.seconds,
    repeated: done.repeated,
    takeovers: (await product.term()) - termBefore,
    active: cost(0),
    standby: cost(1),
    wireBytes: (after[1].bytes - before[1].bytes) / done.completed,
    behindSeconds: behindMs === null ? null : behindMs / 1000,
    commitSeconds,
    tables: bare ? null : await aside<TablesCompared>("tables", [...pids.map(String), generator.server]),
    floor:
      options.floor === true
        ? await aside<InsertFloor>("insert", [String(pids[0]), String(world.pids.get("h4")!)])
        : null,
  };
}

/** Milliseconds from `endMs` until the standby was told of `count` sessions; null where it comes to a standstill before. */
async function untilTold(product: Product, count: number, endMs: number): Promise<number | null> {
  let [most, movedMs] = [0, nowMs()];
  for (;;) {
    const told = await product.told();
    if (told >= count) return nowMs() - endMs;
    if (told > most) [most, movedMs] = [told, nowMs()];
    else if (nowMs() - movedMs > STUCK_MS) return null;
    await sleep(POLL_MS);
  }
}

/** Runs a program of this room to its end; its answer. */
export function aside<T>(program: "tables" | "insert" | "beats", args: readonly string[]): Promise<T> {
  const file = fileURLToPath(new URL(`./${program}.ts`, import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (bytes: Buffer) => {
      out += bytes.toString();
    });
    child.stderr.on("data", (bytes: Buffer) => {
      err += bytes.toString();
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(out) as T);
      else reject(new Error(`${program} ended with ${code}: ${err.trim()}`));
    });
  });
}
