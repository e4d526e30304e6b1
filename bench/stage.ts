// A laboratory for one measurement: built, used, gone, whatever ends it.

import { buildWorld, type World } from "../src/lab/world.ts";

/** The session generator's host, and one for everything else that speaks. */
const HOSTS = 4;

const open = new Set<World>();

/** A world for as long as `use` takes. */
export async function withWorld<T>(use: (world: World) => Promise<T>): Promise<T> {
  const world = await buildWorld({ hosts: HOSTS, standing: false, userNamespace: false });
  open.add(world);
  try {
    return await use(world);
  } finally {
    open.delete(world);
    await world.close();
  }
}

/** For whoever was interrupted. */
export async function closeWorlds(): Promise<void> {
  await Promise.all([...open].map((world) => world.close()));
}
