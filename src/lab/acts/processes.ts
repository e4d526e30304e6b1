// Scenarios in which processes die, stand still or are restarted, and cables do not.

import { sleep } from "../clock.ts";
import { crashProcess, signalProcess } from "../faults.ts";
import { otherNode } from "../pair.ts";
import { noteTakeover, observe, watchReturn } from "../stage.ts";
import { type Act, endQuietly, scaled } from "./steps.ts";

/** As systemd would wait before it starts a service that failed (`RestartSec`). */
const RESTART_MS = 500;
/** How long the pair goes on without the daemon before somebody starts it again. */
const WITHOUT_DAEMON_MS = 3000;
const FREEZES_MS = [60, 200, 3000];

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
