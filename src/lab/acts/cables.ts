// Scenarios in which cables, switch ports or paths fail, and processes do not.

import { nowMs, sleep, until } from "../clock.ts";
import { cutHeartbeats, killPorts, powerCycle, revivePorts, setCarrier } from "../faults.ts";
import { NODES, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage, watchReturn } from "../stage.ts";
import { type Act, endQuietly, expectAlarm, expectHandover, noteQuiet, scaled } from "./steps.ts";

/** A half failure is handed over within this (failover §6). */
const HANDOVER_MS = 1000;
const HANDOVER_TIMEOUT_MS = 5000;
const CONNECTED_TIMEOUT_MS = 20_000;
const OTHER_PATH_MS = 15_000;

/** Only these ports of the active stop forwarding, the rest is fine: the standby is better off. */
async function deafen(stage: Stage, devices: readonly string[]): Promise<void> {
  const deaf = stage.active;
  await killPorts(stage.world, deaf, devices);
  stage.options.progress(`${deaf} is deaf on ${devices.join(", ")}`);
  await expectHandover(stage, deaf, { withinMs: HANDOVER_MS, timeoutMs: HANDOVER_TIMEOUT_MS });
  await observe(stage);
  await noteTakeover(stage, deaf);
  await revivePorts(stage.world, deaf, devices);
  await watchReturn(stage, "after the port's return");
}

/** The same ports of both nodes stop forwarding: nobody is better off, and nothing is gained by a change. */
async function deafenBoth(stage: Stage, devices: readonly string[]): Promise<void> {
  for (const node of NODES) await killPorts(stage.world, node, devices);
  stage.options.progress(`both nodes are deaf on ${devices.join(", ")}`);
  await expectAlarm(stage, stage.active, "cannot-forward");
  await sleep(scaled(stage, 5000, 2000));
  await noteQuiet(stage, "while both were deaf");
  for (const node of NODES) await revivePorts(stage.world, node, devices);
  // TCP's own patience: the next retransmission comes as late again as the outage was long.
  await sleep(scaled(stage, 10_000, 5000));
  await endQuietly(stage, "after both ports' return");
}

async function unplug(stage: Stage, pull: (plugged: boolean) => Promise<void>): Promise<void> {
  const standby = otherNode(stage.active);
  await pull(false);
  stage.options.progress(`${standby} is cut off`);
  await sleep(scaled(stage, 30_000, 5000));
  await noteQuiet(stage, "while the standby was cut off");
  const own = await stage.world.pair.heart(standby);
  if (own?.gate !== "shut") stage.problems.push(`cut off, ${standby} has its gate ${own?.gate ?? "unknown"}`);
  await pull(true);
  await endQuietly(stage, "after the standby's return");
}

/** The snapshot's path dies under it: another path, from the beginning, without a person. */
async function cutSync(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  await powerCycle(world, [standby]);
  const fetching = await until(CONNECTED_TIMEOUT_MS, 2, async () =>
    (await world.pair.view(standby))?.replication.connected ? true : null,
  );
  if (fetching === null) stage.problems.push(`after its boot ${standby} did not connect`);
  await killPorts(world, standby, ["sync"]);
  const startMs = nowMs();
  await becomeReady(world, "with the sync cable dead");
  const tookMs = nowMs() - startMs;
  stage.notes.push(`Ready by the other path ${(tookMs / 1000).toFixed(1)} s after the sync cable died.`);
  if (tookMs > OTHER_PATH_MS) stage.late.push(`ready by the other path after ${Math.round(tookMs)} ms`);
  await becomeEqual(stage, "with the sync cable dead");
  await revivePorts(world, standby, ["sync"]);
  await endQuietly(stage, "after the sync cable's return");
}

export const CABLE_ACTS = {
  "sync-cut": cutSync,
  "heartbeats-cut": async (stage) => {
    const { world, active } = stage;
    await cutHeartbeats(world, true);
    await expectAlarm(stage, otherNode(active), "heartbeats-lost-gate-answers");
    await expectAlarm(stage, active, "peer-silent");
    await sleep(scaled(stage, 9000, 3000));
    await cutHeartbeats(world, false);
    await endQuietly(stage, "after the heartbeats' return");
  },
  "deaf-lan": (stage) => deafen(stage, ["lan"]),
  "deaf-wan": (stage) => deafen(stage, [stage.world.topology.links[0]!.device]),
  "deaf-lan-both": (stage) => deafenBoth(stage, ["lan"]),
  "deaf-wan-both": (stage) =>
    deafenBoth(
      stage,
      stage.world.topology.links.map((link) => link.device),
    ),
  carrier: async (stage) => {
    const pulled = stage.active;
    await setCarrier(stage.world, pulled, false, ["lan"]);
    await expectHandover(stage, pulled, { withinMs: HANDOVER_MS, timeoutMs: HANDOVER_TIMEOUT_MS });
    await observe(stage);
    await noteTakeover(stage, pulled);
    await setCarrier(stage.world, pulled, true, ["lan"]);
    await watchReturn(stage, "after the cable's return");
  },
  "unplug-standby": (stage) =>
    unplug(stage, (plugged) => setCarrier(stage.world, otherNode(stage.active), plugged)),
  "unplug-standby-ports": (stage) =>
    unplug(stage, (plugged) => (plugged ? revivePorts : killPorts)(stage.world, otherNode(stage.active))),
} as const satisfies Readonly<Record<string, Act>>;
