// An oracle at the ISPs' switches: frames that a node sends towards the Internet with an address of the LAN as their
// source were forwarded without translation, and none may ever be seen. The kernel counts; nothing is copied.

import { run } from "./commands.ts";
import type { World } from "./world.ts";

export interface LeakCounter {
  /** Untranslated frames since it was put in place. */
  read(): Promise<number>;
}

const LAN_4 = "10.20.0.0/16";
const LAN_6 = "fd20::/64";

/** Puts counters on every Internet port of both nodes, in the switches' namespace. */
export async function countLeaks(world: World): Promise<LeakCounter> {
  const inside = world.pids.get("switch")!;
  const ports = world.topology.nodes.flatMap((node) =>
    world.topology.links.map((link) => `"${node.name}-${link.device}"`),
  );
  const table = `table netdev leaks {
    counter untranslated { }
    chain ingress {
      type filter hook ingress devices = { ${ports.join(", ")} } priority 0; policy accept;
      ip saddr ${LAN_4} counter name untranslated
      ip6 saddr ${LAN_6} counter name untranslated
    }
  }`;
  await run(["nft", "-f", "-"], { inside, input: table });
  return {
    read: async () => {
      const { stdout } = await run(["nft", "list", "counter", "netdev", "leaks", "untranslated"], { inside });
      return Number(/packets (\d+)/.exec(stdout)?.[1] ?? 0);
    },
  };
}
