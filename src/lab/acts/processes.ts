// Scenarios in which processes die, stand still or are restarted, and cables do not.

import { sleep, until } from "../clock.ts";
import { boot, crashProcess, cutPower, type ProcessName, signalProcess } from "../faults.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage, watchReturn } from "../stage.ts";
import { type Act, endQuietly, expectAlarm, expectHandover, noteQuiet, scaled } from "./steps.ts";

/** As systemd would wait before it starts a service that failed (`RestartSec`). */
const RESTART_MS = 500;
/** How long the pair goes on without the daemon before somebody starts it again. */
const WITHOUT_DAEMON_MS = 3000;
/** Heart gives its daemon up after this (failover §6). */
const WEDGED_MS = 10_000;
/** Shorter than the long lease, longer than any other. */
const LONG_LEASE_MS = 1000;
const LONG_LEASE_TIMEOUT_MS = 10_000;
const FREEZES_MS = [60, 200, 3000];

/** `understudy restart` on a node; a refusal is a finding. */
async function orderRestart(stage: Stage, node: NodeName, which: ProcessName): Promise<void> {
  const { world } = stage;
  world.note(`${which} of ${node} is restarted`);
  const before = world.pair.processesNamed(node, "heart");
  const { code, stdout, stderr } = await world.pair.command(node, ["restart", which]);
  stage.options.progress(`restart of ${which} on ${node}: ${(stdout || stderr).trim()}`);
  if (code !== 0)
    stage.problems.push(`\`understudy restart ${which}\` on ${node} ended with ${code}: ${stderr.trim()}`);
  const isSame = String(world.pair.processesNamed(node, "heart")) === String(before);
  if (isSame !== (which === "daemon"))
    stage.problems.push(
      `after the restart of ${which} heart of ${node} is ${isSame ? "the same" : "another one"}`,
    );
}

async function untilLongLease(stage: Stage, node: NodeName): Promise<void> {
  const long = await until(LONG_LEASE_TIMEOUT_MS, 50, async () => {
    const heart = await stage.world.pair.heart(node);
    return heart !== null && heart.leaseMs >= LONG_LEASE_MS ? true : null;
  });
  if (long === null) stage.problems.push(`alone, ${node} did not take the long lease`);
}

export const PROCESS_ACTS = {
  "kill-heart": async (stage) => {
    const died = stage.active;
    crashProcess(stage.world, died, "heart");
    stage.options.progress(`heart of ${died} is dead`);
    await observe(stage);
    await noteTakeover(stage, died);
    await watchReturn(stage, "after heart's return");
  },
  "kill-daemon": async (stage) => {
    const { world, active } = stage;
    crashProcess(world, active, "daemon");
    stage.options.progress(`the daemon of ${active} is dead`);
    await sleep(WITHOUT_DAEMON_MS + RESTART_MS);
    world.pair.start(active);
    world.note(`the daemon of ${active} is started again`);
    await endQuietly(stage, "after the daemon's return");
  },
  "restart-daemon": async (stage) => {
    for (const node of [stage.active, otherNode(stage.active)]) {
      await orderRestart(stage, node, "daemon");
      await becomeReady(stage.world, `after the restart on ${node}`);
    }
    await endQuietly(stage, "after both restarts");
  },
  "restart-heart": async (stage) => {
    const { world, active } = stage;
    const gone = otherNode(active);
    await cutPower(world, gone);
    await untilLongLease(stage, active);
    await orderRestart(stage, active, "heart");
    await sleep(1000);
    await noteQuiet(stage, "after the restart of the one that was alone");
    await boot(world, gone);
    await endQuietly(stage, "after the other's boot");
  },
  upgrade: async (stage) => {
    const first = stage.active;
    for (const node of [otherNode(first), first])
      for (const which of ["heart", "daemon"] as const) {
        await orderRestart(stage, node, which);
        await becomeReady(stage.world, `after the restart of ${which} on ${node}`);
      }
    await observe(stage);
    await noteTakeover(stage, first);
    // A heart that starts leaves out every term that its earlier life had reserved: the steps say nothing here.
    stage.unasked = 0;
    stage.active = await becomeReady(stage.world, "after the upgrade");
    await becomeEqual(stage, "after the upgrade");
  },
  "wedge-daemon": async (stage) => {
    const { world, active } = stage;
    signalProcess(world, active, "daemon", "SIGSTOP");
    world.note(`the daemon of ${active} is stopped`);
    await expectAlarm(stage, active, "daemon-silent");
    await expectHandover(stage, active, { withinMs: WEDGED_MS + 2000, timeoutMs: WEDGED_MS + 10_000 });
    await sleep(scaled(stage, 45_000, 1000));
    await observe(stage);
    await noteTakeover(stage, active);
    signalProcess(world, active, "daemon", "SIGCONT");
    world.note("it goes on");
    await watchReturn(stage, "after the daemon's return");
  },
  "freeze-standby": async (stage) => {
    const { world } = stage;
    const standby = otherNode(stage.active);
    const times = scaled(stage, 20, 3);
    for (const forMs of FREEZES_MS) {
      for (let round = 0; round < times; round += 1) {
        signalProcess(world, standby, "heart", "SIGSTOP");
        await sleep(forMs);
        signalProcess(world, standby, "heart", "SIGCONT");
        // No multiple of any timer.
        await sleep(150 + Math.random() * 50);
      }
      world.note(`heart of ${standby} was stopped for ${forMs} ms, ${times} times`);
    }
    await endQuietly(stage, "after the freezes");
  },
} as const satisfies Readonly<Record<string, Act>>;
