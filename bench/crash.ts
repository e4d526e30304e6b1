// The crash of the active box, for our pair and for keepalived with conntrackd alike: live sessions, a UDP ping every 2 ms, a
// table of any size, and all switch ports of the active stop forwarding at once.

import { sleep } from "../src/lab/clock.ts";
import { killPorts } from "../src/lab/faults.ts";
import { startLoad } from "../src/lab/load.ts";
import { startStallMeter } from "../src/lab/stallMeter.ts";
import { judgeLive } from "../src/lab/traffic/survival.ts";
import type { World } from "../src/lab/world.ts";
import { startConntrackd } from "./conntrackd.ts";
import { placeGenerator } from "./generator.ts";
import { startKeepalived } from "./keepalived.ts";
import { type Product, startProduct } from "./products.ts";
import { dressRouters } from "./router.ts";
import { withWorld } from "./stage.ts";

export interface CrashOptions {
  /** Adverts of keepalived in milliseconds; null: our pair. */
  readonly advertMs: number | null;
  readonly live: number;
  /** Sessions in the table beside the live ones. */
  readonly sessions: number;
}

export interface CrashResult {
  readonly advertMs: number | null;
  readonly sessions: number;
  /** Longest silence of the ping. */
  readonly gapMs: number;
  readonly opened: number;
  /** Went on, right in every byte, however late (a stall of up to STALL_MAX_MS). */
  readonly survived: number;
  readonly stallMedianMs: number;
  /** Longest time that the machine itself stood still meanwhile. */
  readonly machineStallMs: number;
}

const PING_MS = 2;
const STALL_MAX_MS = 5000;
const OBSERVE_MS = 3500;
const SETTLE_MS = 1500;

export async function crash(options: CrashOptions): Promise<CrashResult> {
  return withWorld(async (world) => {
    const product =
      options.advertMs === null
        ? await startProduct(world, "understudy")
        : await startTheirs(world, options.advertMs);
    try {
      return await measure(world, product, options);
    } finally {
      product.stop();
    }
  });
}

type Crashable = Pick<Product, "active" | "told" | "stop">;

async function startTheirs(world: World, advertMs: number): Promise<Crashable> {
  await dressRouters(world);
  const daemons = await startConntrackd(world, false);
  const pair = await startKeepalived(world, advertMs, daemons.files);
  await sleep(SETTLE_MS);
  return {
    active: "a",
    told: () => daemons.cached("b"),
    stop: () => {
      pair.stop();
      daemons.stop();
    },
  };
}

async function measure(world: World, product: Crashable, options: CrashOptions): Promise<CrashResult> {
  const load = await startLoad(world, [4]);
  const meter = startStallMeter();
  try {
    await load.startPings(PING_MS, product.active);
    const { opened } = await load.openLive(options.live);
    if (options.sessions > 0) {
      const generator = await placeGenerator(world);
      await generator.make({ protocol: "tcp", count: options.sessions, rate: 0 });
      for (let before = -1; ; ) {
        const told = await product.told();
        if (told === before || told >= options.sessions + opened) break;
        before = told;
        await sleep(2000);
      }
    }
    await sleep(SETTLE_MS);
    const markedMs = await load.mark();
    // No multiple of any timer.
    await sleep(400 + Math.random() * 100);
    await killPorts(world, product.active);
    await sleep(OBSERVE_MS);
    const live = judgeLive(await load.liveSessions(), STALL_MAX_MS);
    const pings = await load.stopPings();
    return {
      advertMs: options.advertMs,
      sessions: options.sessions,
      gapMs: Math.max(0, ...pings.flows.map((flow) => flow.gapMs)),
      opened,
      survived: live.survived,
      stallMedianMs: live.stallMs.p50,
      machineStallMs: meter.longest(markedMs, markedMs + OBSERVE_MS),
    };
  } finally {
    load.stop();
    await meter.stop();
  }
}
