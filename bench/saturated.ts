// Takeovers that nobody asked for while the machine has no processor to spare: the burdens of the laboratory's scenario
// `saturated`, under our pair and under keepalived.

import { join } from "node:path";
import { BUSY_LOOP, DISK_WRITER, FORK_LOOP, startBurden, under } from "../src/lab/burdens.ts";
import { sleep } from "../src/lab/clock.ts";
import type { World } from "../src/lab/world.ts";
import { startConntrackd } from "./conntrackd.ts";
import { startKeepalived } from "./keepalived.ts";
import { startProduct } from "./products.ts";
import { dressRouters } from "./router.ts";
import { withWorld } from "./stage.ts";

export interface SaturatedResult {
  /** Adverts of keepalived in milliseconds; null: our pair. */
  readonly advertMs: number | null;
  readonly seconds: number;
  readonly takeovers: number;
}

const BUSY_LOOPS = 8;
const FORK_LOOPS = 4;
const SETTLE_MS = 2000;

export async function saturated(advertMs: number | null, seconds: number): Promise<SaturatedResult> {
  return withWorld(async (world) => {
    const subject = advertMs === null ? await ours(world) : await theirs(world, advertMs);
    try {
      await sleep(SETTLE_MS);
      const before = await subject.terms();
      const burdens = [
        ...Array.from({ length: BUSY_LOOPS }, () => startBurden(world, BUSY_LOOP)),
        ...Array.from({ length: FORK_LOOPS }, () => startBurden(world, FORK_LOOP)),
        startBurden(world, DISK_WRITER, { words: [join(world.directory, "burden")] }),
      ];
      await under(burdens, () => sleep(seconds * 1000));
      await sleep(SETTLE_MS);
      return { advertMs, seconds, takeovers: (await subject.terms()) - before };
    } finally {
      subject.stop();
    }
  });
}

interface Subject {
  /** Grows by one with each takeover. */
  terms(): Promise<number>;
  stop(): void;
}

async function ours(world: World): Promise<Subject> {
  await startProduct(world, "understudy");
  return {
    terms: async () =>
      Math.max((await world.pair.heart("a"))?.term ?? 0, (await world.pair.heart("b"))?.term ?? 0),
    stop: () => {},
  };
}

async function theirs(world: World, advertMs: number): Promise<Subject> {
  await dressRouters(world);
  const daemons = await startConntrackd(world, false);
  const pair = await startKeepalived(world, advertMs, daemons.files);
  return {
    terms: async () => pair.masters(),
    stop: () => {
      pair.stop();
      daemons.stop();
    },
  };
}
