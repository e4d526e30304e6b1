// Kernel settings of both nodes that a scenario is about, inside their namespaces alone: as an administrator would set
// them, at any time. They go with the world.

import { run } from "./commands.ts";
import type { World } from "./world.ts";

/** Sets `/proc/sys/PATH` on both nodes, for each path. */
export async function setOnNodes(world: World, settings: Readonly<Record<string, number>>): Promise<void> {
  const script = Object.entries(settings)
    .map(([path, value]) => `echo ${value} > /proc/sys/${path}`)
    .join("\n");
  for (const { name } of world.topology.nodes)
    await run(["sh", "-ec", script], { inside: world.pids.get(name)! });
  world.note(
    `on both nodes: ${Object.entries(settings)
      .map(([path, value]) => `${path.split("/").at(-1)}=${value}`)
      .join(", ")}`,
  );
}
