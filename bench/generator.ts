// Puts the session generator (handshakes.ts) into a laboratory: what the hosts and lines at both ends must know of it, and
// its runs. The addresses that it speaks from and to are nobody's, so that no kernel answers in its stead.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as libc from "../src/kernel/libc.ts";
import { until } from "../src/lab/clock.ts";
import { run } from "../src/lab/commands.ts";
import { openUdp, socketAddress } from "../src/lab/traffic/sockets.ts";
import type { World } from "../src/lab/world.ts";
import type { Done, Order } from "./handshakes.ts";

/** An address of the Internet that nobody has; behind every line. */
const SERVER = "203.0.113.99";
const DISCARD = 9;
const NEIGHBOUR_TIMEOUT_MS = 5000;

export interface Generator {
  /** Makes `count` sessions that were not made before. */
  make(options: {
    readonly protocol: "tcp" | "udp";
    readonly count: number;
    /** Begun a second; 0: as many as go through. */
    readonly rate: number;
  }): Promise<Done>;
  readonly server: string;
}

/** Once the active answers for the LAN's router. */
export async function placeGenerator(world: World): Promise<Generator> {
  const host = world.topology.hosts[0]!;
  const inside = world.pids.get(host.name)!;
  const asking = openUdp(inside, socketAddress(host.v4, 0));
  const routerMac = await until(NEIGHBOUR_TIMEOUT_MS, 100, async () => {
    // Whatever is sent there makes the kernel ask who it is.
    libc.sendto(asking, Uint8Array.of(0), 1, 0, socketAddress(world.topology.lan.shared4, DISCARD));
    const shown = await run(["ip", "-j", "neigh", "show", world.topology.lan.shared4], { inside });
    const [found] = JSON.parse(shown.stdout || "[]") as { lladdr?: string }[];
    return found?.lladdr ?? null;
  });
  libc.close(asking);
  if (routerMac === null) throw new Error(`nobody answers for ${world.topology.lan.shared4} on the LAN`);
  const servers = world.topology.links.map((link) => ({
    pid: world.pids.get(`isp${link.id}`)!,
    device: "in",
  }));
  // Frame sockets hear them before; the kernels behind are not to answer.
  await deafen(inside, "eth0", `ip saddr ${SERVER}`);
  for (const { pid, device } of servers) await deafen(pid, device, `ip daddr ${SERVER}`);
  const [device] = JSON.parse((await run(["ip", "-j", "link", "show", "eth0"], { inside })).stdout) as [
    { address: string },
  ];
  let first = 0;
  return {
    server: SERVER,
    make: async (options) => {
      const order: Order = {
        ...options,
        first,
        client: { pid: inside, device: "eth0", mac: device.address, v4: host.v4 },
        routerMac,
        servers,
        server: SERVER,
      };
      first += options.count;
      return perform(order);
    },
  };
}

async function deafen(inside: number, device: string, match: string): Promise<void> {
  const input = `table netdev generator {
    chain ingress { type filter hook ingress device "${device}" priority 0; ${match} drop; }
  }`;
  await run(["nft", "-f", "-"], { inside, input });
}

function perform(order: Order): Promise<Done> {
  const file = fileURLToPath(new URL("./handshakes.ts", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", file, JSON.stringify(order)],
      {
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let [out, err] = ["", ""];
    child.stdout.on("data", (bytes: Buffer) => {
      out += bytes.toString();
    });
    child.stderr.on("data", (bytes: Buffer) => {
      err += bytes.toString();
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(out) as Done);
      else reject(new Error(`the generator ended with ${code}: ${err.trim()}`));
    });
  });
}
