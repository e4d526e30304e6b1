// How far the standby's kernel is behind the active's while sessions come at a given rate: the laboratory's probes, each a session
// of its own, seen by the events of both kernels.

import { sleep } from "../src/lab/clock.ts";
import { otherNode } from "../src/lab/pair.ts";
import type { LagReport } from "../src/lab/traffic/lag.ts";
import { startTraffic } from "../src/lab/traffic/process.ts";
import { placeGenerator } from "./generator.ts";
import { type ProductName, startProduct } from "./products.ts";
import { withWorld } from "./stage.ts";

export interface LagResult extends LagReport {
  readonly product: ProductName;
  /** Sessions a second that the generator reached. */
  readonly rate: number;
  /** Of our pair's, meanwhile; with one, who is behind whom has changed. Null: not recorded. */
  readonly takeovers: number | null;
}

const PORTS = 500;
const PROBE_MS = 5;
/** Before it counts: programs are compiled as they run. */
const WARM_SECONDS = 2;
const LATE_MS = 1500;

export async function lag(
  name: ProductName,
  options: { readonly rate: number; readonly seconds: number },
): Promise<LagResult> {
  return withWorld(async (world) => {
    const product = await startProduct(world, name);
    const servers = startTraffic("backgroundServers", { environment: world.environment });
    const probes = startTraffic("lag", { environment: world.environment });
    try {
      const generator = await placeGenerator(world);
      const term = await product.term();
      const host = world.topology.hosts[2]!;
      const server = world.topology.server.v4;
      await servers.order("start", { pid: world.pids.get("internet")!, addresses: [server], ports: PORTS });
      await generator.make({ protocol: "tcp", count: options.rate * WARM_SECONDS, rate: options.rate });
      await probes.order("start", {
        host: world.pids.get(host.name)!,
        address: host.v4,
        server,
        ports: PORTS,
        active: world.pids.get(product.active)!,
        standby: world.pids.get(otherNode(product.active))!,
        intervalMs: PROBE_MS,
      });
      const count = options.rate * options.seconds;
      const done = await generator.make({ protocol: "tcp", count, rate: options.rate });
      await probes.order("stop");
      await sleep(LATE_MS);
      return {
        ...(await probes.order<LagReport>("report")),
        product: name,
        takeovers: (await product.term()) - term,
        rate: done.completed / done.seconds,
      };
    } finally {
      probes.stop();
      servers.stop();
      product.stop();
    }
  });
}
