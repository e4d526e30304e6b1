// A plain Linux router in place of the pair: one node with the shared addresses, masquerading towards the first link.
// It is what the laboratory is tried out against, and the yardstick of what the machine itself costs. It knows
// nothing of failover.

import { run } from "./commands.ts";
import { ipBatch, type Namespaces } from "./namespaces.ts";
import type { Topology } from "./topology.ts";

const RULES = `table inet plain {
  chain prerouting { type filter hook prerouting priority mangle; policy accept; iifname "lan" ct mark set 1; }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept; oifname "wan1" masquerade; }
}
`;

/** Dresses node `a` as a plain router over link 1. */
export async function dressPlainRouter(topology: Topology, pids: Namespaces): Promise<void> {
  const inside = pids.get("a")!;
  const link = topology.links[0]!;
  await ipBatch(
    inside,
    [
      `addr add ${topology.lan.shared4}/16 dev lan`,
      `addr add ${topology.lan.shared6}/64 dev lan nodad`,
      `addr add ${link.v4.shared}/24 dev ${link.device}`,
      `addr add ${link.v6.shared}/64 dev ${link.device} nodad`,
      `route add default via ${link.v4.gateway}`,
      `route add ::/0 via ${link.v6.gateway}`,
      "",
    ].join("\n"),
  );
  await run(["nft", "-f", "-"], { inside, input: RULES });
  await run(
    ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"],
    { inside },
  );
}
