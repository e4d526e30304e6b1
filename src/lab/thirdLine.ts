// A third Internet line for a laboratory that was built with two: one more switch with both nodes on it, and a second port of
// the last ISP's router. Laid while everything runs, as a technician would; the pair knows nothing of it until it is configured.

import { run } from "./commands.ts";
import { ipBatch } from "./namespaces.ts";
import type { NodeName } from "./pair.ts";
import type { LinkSpec } from "./topology.ts";
import type { World } from "./world.ts";

const DEVICE = "wan3";
const SWITCH = `br-${DEVICE}`;

/** The link that the line makes possible. Its addresses: RFC 2544's and RFC 3849's. */
export function thirdLink(world: World, weight: number): LinkSpec {
  const { core } = world.topology.links.at(-1)!;
  return {
    id: 3,
    name: "radio",
    device: DEVICE,
    weight,
    v4: { gateway: "198.18.3.1", shared: "198.18.3.2", network: "198.18.3.0/24" },
    v6: { gateway: "2001:db8:3::1", shared: "2001:db8:3::2", network: "2001:db8:3::/64" },
    core,
  };
}

/** Lays the line as far as these nodes. */
export async function layThirdLine(world: World, nodes: readonly NodeName[]): Promise<void> {
  const { topology, pids } = world;
  const router = `isp${topology.links.at(-1)!.id}`;
  const link = thirdLink(world, 1);
  world.note(`a third line is laid: ${DEVICE} of ${nodes.join(" and ")}`);
  await ipBatch(
    pids.get("switch")!,
    [
      `link add ${SWITCH} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${SWITCH} up`,
      ...nodes.flatMap((node) => [
        `link add ${node}-${DEVICE} type veth peer name ${DEVICE} netns ${pids.get(node)}`,
        `link set ${node}-${DEVICE} master ${SWITCH} up`,
      ]),
      `link add isp3 type veth peer name in3 netns ${pids.get(router)}`,
      `link set isp3 master ${SWITCH} up`,
      "",
    ].join("\n"),
  );
  for (const node of nodes) await run(["ip", "link", "set", DEVICE, "up"], { inside: pids.get(node)! });
  await ipBatch(
    pids.get(router)!,
    [
      `addr add ${link.v4.gateway}/24 dev in3`,
      `addr add ${link.v6.gateway}/64 dev in3 nodad`,
      "link set in3 up",
      "",
    ].join("\n"),
  );
  await ipBatch(
    pids.get("internet")!,
    [
      `route add ${link.v4.network} via ${link.core.v4} src ${topology.server.v4}`,
      `route add ${link.v6.network} via ${link.core.v6} src ${topology.server.v6}`,
      "",
    ].join("\n"),
  );
}
