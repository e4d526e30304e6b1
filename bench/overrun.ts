// An artificial overrun: the active's daemon is stopped while more sessions pass than its event socket holds, and let go on. How
// soon it says so, and how soon the standby has everything; for conntrackd the same, and what is missing in the end.

import { nowMs, sleep, until } from "../src/lab/clock.ts";
import { countEntries } from "../src/lab/oracles.ts";
import { otherNode } from "../src/lab/pair.ts";
import { signal } from "../src/lab/worldState.ts";
import { aside } from "./fill.ts";
import { placeGenerator } from "./generator.ts";
import { type ProductName, startProduct } from "./products.ts";
import { withWorld } from "./stage.ts";
import type { TablesCompared } from "./tables.ts";

export interface OverrunResult {
  readonly product: ProductName;
  readonly sessions: number;
  /** Until the daemon counted it; null: it never did (conntrackd: is not asked). */
  readonly noticedSeconds: number | null;
  /** Until the standby's kernel held as many as the active's; null: not within the time that is waited. */
  readonly repairedSeconds: number | null;
  readonly tables: TablesCompared;
}

const NOTICE_TIMEOUT_MS = 10_000;
const REPAIR_TIMEOUT_MS = 20_000;
const SETTLE_MS = 1000;

export async function overrun(name: ProductName, sessions: number): Promise<OverrunResult> {
  return withWorld(async (world) => {
    const product = await startProduct(world, name);
    try {
      const generator = await placeGenerator(world);
      const [here, there] = [world.pids.get(product.active)!, world.pids.get(otherNode(product.active))!];
      const daemons = product.processes(product.active);
      for (const pid of daemons) signal(pid, "SIGSTOP");
      const count = async (): Promise<number> =>
        (await world.pair.view(product.active))?.replication.counters.overruns ?? 0;
      await generator.make({ protocol: "tcp", count: sessions, rate: 0 });
      for (const pid of daemons) signal(pid, "SIGCONT");
      const startMs = nowMs();
      const [noticedMs, repairedMs] = await Promise.all([
        name !== "understudy"
          ? null
          : until(NOTICE_TIMEOUT_MS, 20, async () => ((await count()) > 0 ? nowMs() - startMs : null)),
        until(REPAIR_TIMEOUT_MS, 50, async () => {
          const [own, told] = [await countEntries(here), await countEntries(there)];
          return told >= Math.min(own, sessions) ? nowMs() - startMs : null;
        }),
      ]);
      await sleep(SETTLE_MS);
      const words = [String(here), String(there), generator.server];
      return {
        product: name,
        sessions,
        noticedSeconds: noticedMs === null ? null : noticedMs / 1000,
        repairedSeconds: repairedMs === null ? null : repairedMs / 1000,
        tables: await aside<TablesCompared>("tables", words),
      };
    } finally {
      product.stop();
    }
  });
}
