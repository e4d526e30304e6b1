// What the daemon shows of the pair at a glance: everything that this node knows, put together. It judges nothing.

import type { Config } from "../core/config.ts";
import type { HeartState, MachinesView, PairView } from "../wire/control.ts";
import type { ReadinessView } from "../wire/controlReadiness.ts";
import type { DaemonAlarms } from "./alarms.ts";
import type { Replicator } from "./replicator.ts";
import { VERSION } from "./views.ts";

export interface PairSources {
  readonly config: Config;
  readonly dressed: boolean;
  readonly heart: HeartState | null;
  readonly alarms: DaemonAlarms;
  readonly guard: PairView["guard"];
  readonly replicator: Pick<Replicator, "state" | "report">;
  readonly machines: MachinesView;
  readonly readiness: ReadinessView | null;
}

/** All that one node knows of the pair. */
export function pairView(sources: PairSources): PairView {
  const { config, dressed, heart, alarms, guard, replicator, machines, readiness } = sources;
  const { ready, reasons, sessions } = replicator.report();
  const heartReasons = heart?.reasons ?? [];
  return {
    pair: config.pair,
    node: config.node,
    version: VERSION,
    ready: ready && dressed && heart !== null && heartReasons.length === 0,
    reasons: [
      ...(heart === null ? ["heart does not run"] : []),
      ...(dressed ? [] : ["forwarding is not set up yet"]),
      ...heartReasons,
      ...reasons,
    ],
    heart,
    alarms: alarms.all(heart),
    guard,
    replication: replicator.state(),
    machines,
    sessions,
    ...(readiness === null ? {} : { readiness }),
    configurationDigest: config.digest,
  };
}
