// A split: every switch is cut in two halves, one with each node, and healed again. Half of the LAN's hosts and the first
// ISP stay with one node, the other half and the last ISP with the other, as when the cable between two buildings
// is cut. Nothing loses its carrier.

import { nowMs } from "./clock.ts";
import { run } from "./commands.ts";
import { type NodeName, otherNode } from "./pair.ts";
import { nodeDevices } from "./topology.ts";
import type { World } from "./world.ts";

/** Who is with a node while the switches are apart. */
export interface Half {
  readonly node: NodeName;
  /** Names of the LAN's hosts. */
  readonly hosts: readonly string[];
  /** Id of the only link that has its ISP on this side. */
  readonly link: number;
}

export interface Halves {
  /** Where the node is that was active. */
  readonly near: Half;
  readonly far: Half;
}

/** Cuts every switch in two; `active` keeps the first ISP and every other host. */
export async function cutApart(world: World, active: NodeName): Promise<Halves> {
  const { topology } = world;
  const far = otherNode(active);
  const devices = nodeDevices(topology);
  const farLink = topology.links.at(-1)!;
  const farHosts = topology.hosts.filter((_, index) => index % 2 === 1);
  const lines = devices.flatMap((device) => [
    `link add far-${device} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set far-${device} up`,
  ]);
  lines.push(...moves(world, far, "far"));
  world.note("every switch is cut in two halves");
  world.dead.push({ node: far, segments: devices, fromMs: nowMs(), untilMs: Infinity });
  await run(["ip", "-batch", "-"], {
    inside: world.pids.get("switch")!,
    input: lines.map((line) => `${line}\n`).join(""),
  });
  return {
    near: {
      node: active,
      hosts: topology.hosts.filter((host) => !farHosts.includes(host)).map(({ name }) => name),
      link: topology.links[0]!.id,
    },
    far: { node: far, hosts: farHosts.map(({ name }) => name), link: farLink.id },
  };
}

/** Every port goes back to the switch that it was on. */
export async function heal(world: World, halves: Halves): Promise<void> {
  const { topology } = world;
  const { node } = halves.far;
  const lines = [
    ...moves(world, node, "br"),
    ...nodeDevices(topology).map((device) => `link del far-${device}`),
  ];
  await run(["ip", "-batch", "-"], {
    inside: world.pids.get("switch")!,
    input: lines.map((line) => `${line}\n`).join(""),
  });
  for (const window of world.dead)
    if (window.node === node && window.untilMs === Infinity) window.untilMs = nowMs();
  world.note("the switches are whole again");
}

/** The far half's ports, each to the switch `PREFIX-DEVICE`. */
function moves(world: World, far: NodeName, prefix: "br" | "far"): readonly string[] {
  const { topology } = world;
  const link = topology.links.at(-1)!;
  return [
    ...nodeDevices(topology).map((device) => `link set ${far}-${device} master ${prefix}-${device}`),
    ...topology.hosts
      .filter((_, index) => index % 2 === 1)
      .map(({ name }) => `link set ${name} master ${prefix}-lan`),
    `link set isp${link.id} master ${prefix}-${link.device}`,
  ];
}
