// The placement scenario: how sessions are spread over the links, whether they stay where they are, and whether both
// nodes put the same tuple on the same link. Read from both kernels; the formula is nowhere here.

import { run } from "./commands.ts";
import { linkOf, type Table } from "./conntrackText.ts";
import { startLoad } from "./load.ts";
import { readTable } from "./oracles.ts";
import type { PlacementRun } from "./outcome.ts";
import { otherNode } from "./pair.ts";
import { becomeReady, handOver, type StageOptions } from "./stage.ts";
import type { World } from "./world.ts";

/** Share of link 1 that weights 3:1 stand for, in percent. */
const EXPECTED_SHARE = 75;
const HANDOVER_ATTEMPTS = 5;

/**
 * One seed of the placement: sessions over both links through one node; the same tuples again through the other one
 * after both kernels have forgotten them, so that it places them by itself.
 */
export async function playPlacement(
  world: World,
  seed: number,
  options: StageOptions,
): Promise<PlacementRun> {
  const { progress, background } = options;
  world.pair.start("a");
  world.pair.start("b");
  const load = await startLoad(world, options.v6 ? [4, 6] : [4]);
  try {
    const first = await becomeReady(world, "at the start");
    await load.openBackground(background);
    const placed = await readTable(world.pids.get(first)!);
    // The same sessions speak again: whoever has a link keeps it.
    await load.repeatBackground();
    const later = await readTable(world.pids.get(first)!);
    progress(`seed ${seed}: ${placed.size} sessions placed by ${first}`);
    await forget(world);
    await becomeReady(world, "after the tables were emptied");
    // A machine that stood still may have handed it back: once more then.
    for (let [active, attempt] = [first, 0]; active === first && attempt < HANDOVER_ATTEMPTS; attempt += 1)
      active = await handOver(world, first);
    await load.repeatBackground();
    const again = await readTable(world.pids.get(otherNode(first))!);
    progress(`seed ${seed}: ${again.size} sessions placed by ${otherNode(first)}`);
    return { seed, expected: EXPECTED_SHARE, ...comparePlacement(placed, later, again) };
  } finally {
    load.stop();
  }
}

async function forget(world: World): Promise<void> {
  for (const node of world.topology.nodes)
    await run(["conntrack", "-F"], { inside: world.pids.get(node.name)! });
}

/** Shares of all sessions; changes of the UDP ones, which alone speak again with the same tuple. */
export function comparePlacement(
  placed: Table,
  later: Table,
  again: Table,
): { sessions: number; share: number; moved: number; unlike: number } {
  let [sessions, first, moved, unlike] = [0, 0, 0, 0];
  for (const [key, entry] of placed) {
    const link = linkOf(entry);
    sessions += 1;
    if (link === 1) first += 1;
    if (!key.includes(" udp ")) continue;
    const now = later.get(key);
    if (now !== undefined && linkOf(now) !== link) moved += 1;
    const other = again.get(key);
    if (other === undefined || linkOf(other) !== link) unlike += 1;
  }
  return { sessions, share: sessions === 0 ? 0 : (first / sessions) * 100, moved, unlike };
}
