// Two plain Linux routers with one translation rule, for the products that bring none of their own: what stands in our place
// on both nodes while conntrackd or a bare reader is measured, alike for all of them.

import { run } from "../src/lab/commands.ts";
import { ipBatch } from "../src/lab/namespaces.ts";
import type { NodeName } from "../src/lab/pair.ts";
import type { World } from "../src/lab/world.ts";

/** The mark that our own rules would give a session of link 1: readers that ask for the pair's sessions find one. */
const RULES = (device: string, address: string): string => `table ip plain {
  chain prerouting { type filter hook prerouting priority mangle; iifname "lan" ct mark set 1; }
  chain postrouting { type nat hook postrouting priority srcnat; oifname "${device}" snat to ${address}; }
}
`;

/** Forwarding and translation on both nodes: whoever gets the addresses can go on. */
export async function dressRouters(world: World): Promise<void> {
  const link = world.topology.links[0]!;
  for (const { name } of world.topology.nodes) {
    const inside = world.pids.get(name)!;
    await run(["nft", "-f", "-"], { inside, input: RULES(link.device, link.v4.shared) });
    await run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], { inside });
  }
}

/** Gives the shared addresses to a node for good. */
export async function giveAddresses(world: World, node: NodeName): Promise<void> {
  const link = world.topology.links[0]!;
  await ipBatch(
    world.pids.get(node)!,
    [
      `addr add ${world.topology.lan.shared4}/16 dev lan`,
      `addr add ${link.v4.shared}/24 dev ${link.device}`,
      `route add default via ${link.v4.gateway}`,
      "",
    ].join("\n"),
  );
}
