// Oracles at the ISPs' switches: frames that a node sends towards the Internet with an address of the LAN as their
// source were forwarded without translation, and none may ever be seen; nor a reset that no host has sent. The kernel
// counts; nothing is copied.

import { run } from "./commands.ts";
import type { World } from "./world.ts";

export interface LeakCounter {
  /** Frames since it was put in place. */
  read(): Promise<number>;
}

const LAN_4 = "10.20.0.0/16";
const LAN_6 = "fd20::/64";

/** Puts a counter for frames that match and come in by these ports, in the switches' namespace. */
async function countFrames(
  world: World,
  name: string,
  ports: readonly string[],
  matches: readonly string[],
): Promise<LeakCounter> {
  const inside = world.pids.get("switch")!;
  const table = `table netdev ${name} {
    counter frames { }
    chain ingress {
      type filter hook ingress devices = { ${ports.map((port) => `"${port}"`).join(", ")} } priority 0; policy accept;
      ${matches.map((match) => `${match} counter name frames`).join("\n      ")}
    }
  }`;
  await run(["nft", "-f", "-"], { inside, input: table });
  return {
    read: async () => {
      const { stdout } = await run(["nft", "list", "counter", "netdev", name, "frames"], { inside });
      return Number(/packets (\d+)/.exec(stdout)?.[1] ?? 0);
    },
  };
}

/** Every Internet port of both nodes. */
const outwards = ({ topology }: World): readonly string[] =>
  topology.nodes.flatMap((node) => topology.links.map((link) => `${node.name}-${link.device}`));

/** Frames that leave untranslated. */
export const countLeaks = (world: World): Promise<LeakCounter> =>
  countFrames(world, "leaks", outwards(world), [`ip saddr ${LAN_4}`, `ip6 saddr ${LAN_6}`]);

/** TCP resets that leave and that no host has sent: the answer of a box to a session that it does not know. */
export async function countResets(world: World): Promise<LeakCounter> {
  const isReset = ["tcp flags & rst == rst"];
  const out = await countFrames(world, "resets-out", outwards(world), isReset);
  const hosts = world.topology.hosts.map(({ name }) => name);
  const own = await countFrames(world, "resets-of-hosts", hosts, isReset);
  return {
    read: async () => Math.max(0, (await out.read()) - (await own.read())),
  };
}
