// Faults, made where they happen: at the switch's ports, at processes, at a node's kernel. Each is noted with its time.
// They know nothing of what should come of it.

import { nowMs, sleep } from "./clock.ts";
import { run } from "./commands.ts";
import { NODES, type NodeName } from "./pair.ts";
import { nodeDevices } from "./topology.ts";
import type { World } from "./world.ts";
import { signal } from "./worldState.ts";

/** BR_STATE_DISABLED and BR_STATE_FORWARDING (linux/if_bridge.h). */
const DISABLED = 0;
const FORWARDING = 3;

/** All switch ports of a node stop forwarding at once; every carrier stays up. */
export async function killPorts(
  world: World,
  node: NodeName,
  devices = nodeDevices(world.topology),
): Promise<void> {
  await setPorts(world, node, devices, DISABLED);
  world.dead.push({ node, segments: devices, fromMs: nowMs(), untilMs: Infinity });
  world.note(`switch ports of ${node} stop forwarding: ${devices.join(", ")}`);
}

export async function revivePorts(
  world: World,
  node: NodeName,
  devices = nodeDevices(world.topology),
): Promise<void> {
  for (const window of world.dead)
    if (window.node === node && window.untilMs === Infinity && isWithin(window.segments, devices))
      window.untilMs = nowMs();
  world.note(`switch ports of ${node} forward again: ${devices.join(", ")}`);
  await setPorts(world, node, devices, FORWARDING);
}

const isWithin = (some: readonly string[], all: readonly string[]): boolean =>
  some.every((one) => all.includes(one));

/** Pulls cables out, or plugs them in: the carrier goes, the link lights with it. */
export async function setCarrier(
  world: World,
  node: NodeName,
  up: boolean,
  devices = nodeDevices(world.topology),
): Promise<void> {
  const lines = devices.map((device) => `link set ${node}-${device} ${up ? "up" : "down"}\n`);
  world.note(`cables of ${node} are ${up ? "plugged in" : "pulled out"}: ${devices.join(", ")}`);
  await run(["ip", "-batch", "-"], { inside: world.pids.get("switch")!, input: lines.join("") });
}

/** Every heartbeat is dropped where it enters a switch, on every path; everything else passes. */
export async function cutHeartbeats(world: World, cut: boolean): Promise<void> {
  const ports = NODES.flatMap((node) => nodeDevices(world.topology).map((device) => `"${node}-${device}"`));
  const table = `table netdev heartbeats {
    chain ingress { type filter hook ingress devices = { ${ports.join(", ")} } priority 0; udp dport 1148 drop; }
  }`;
  world.note(cut ? "every heartbeat is dropped on every path" : "heartbeats pass again");
  await run(["nft", "-f", "-"], {
    inside: world.pids.get("switch")!,
    input: cut ? table : "delete table netdev heartbeats\n",
  });
}

/** The log's connections cannot pass, on any path; heartbeats can. */
export async function cutReplication(world: World, cut: boolean): Promise<void> {
  const ports = NODES.flatMap((node) => nodeDevices(world.topology).map((device) => `"${node}-${device}"`));
  const table = `table netdev replication {
    chain ingress {
      type filter hook ingress devices = { ${ports.join(", ")} } priority 0;
      tcp dport 1148 drop
      tcp sport 1148 drop
    }
  }`;
  world.note(cut ? "replication is dropped on every path" : "replication passes again");
  await run(["nft", "-f", "-"], {
    inside: world.pids.get("switch")!,
    input: cut ? table : "delete table netdev replication\n",
  });
}

/** Of all frames between the nodes on `device`, so many in a hundred are lost at random, both ways; 0: none any more. */
export async function setLoss(world: World, device: string, percent: number): Promise<void> {
  const ports = NODES.map((node) => `"${node}-${device}"`).join(", ");
  const table = `table netdev loss {
    chain ingress {
      type filter hook ingress devices = { ${ports} } priority 0;
      numgen random mod 100 < ${percent} counter drop
    }
  }`;
  world.note(
    percent > 0 ? `${percent} % of all frames on ${device} are lost` : `no loss on ${device} any more`,
  );
  await run(["nft", "-f", "-"], {
    inside: world.pids.get("switch")!,
    input: percent > 0 ? table : "delete table netdev loss\n",
  });
}

/**
 * The log's connections get so much out of a node on each of `devices` and no more, as by a slow cable; nothing else is
 * slowed. 0: as before. Frames leave one by one (no segmentation offload), so that it flows evenly.
 */
export async function slowReplication(
  world: World,
  sender: NodeName,
  devices: readonly string[],
  bytesPerSecond: number,
): Promise<void> {
  const inside = world.pids.get(sender)!;
  const slow = bytesPerSecond > 0;
  world.note(
    slow
      ? `replication from ${sender} gets ${Math.round(bytesPerSecond / 1000)} kB/s`
      : `replication from ${sender} is as quick as before`,
  );
  for (const device of devices) {
    const filter = `filter add dev ${device} parent 1: protocol ip u32 match ip protocol 6 0xff`;
    const lines = slow
      ? [
          `qdisc add dev ${device} root handle 1: htb default 10`,
          `class add dev ${device} parent 1: classid 1:10 htb rate 10gbit`,
          `class add dev ${device} parent 1: classid 1:20 htb rate ${Math.ceil(bytesPerSecond * 8)}bit burst 3000`,
          `${filter} match ip sport 1148 0xffff flowid 1:20`,
          `${filter} match ip dport 1148 0xffff flowid 1:20`,
        ]
      : [`qdisc del dev ${device} root`];
    await run(["ip", "link", "set", "dev", device, "gso_max_segs", slow ? "1" : "65535"], { inside });
    await run(["tc", "-batch", "-"], { inside, input: `${lines.join("\n")}\n` });
  }
}

async function setPorts(
  world: World,
  node: NodeName,
  devices: readonly string[],
  state: number,
): Promise<void> {
  const lines = devices.map((device) => `link set dev ${node}-${device} state ${state}\n`);
  await run(["bridge", "-batch", "-"], { inside: world.pids.get("switch")!, input: lines.join("") });
}

/** Nodes with a switch port that does not forward (`port`), or a cable that is out (`cable`). */
export async function nodesCutOff(world: World, by: "port" | "cable"): Promise<readonly NodeName[]> {
  const inside = world.pids.get("switch")!;
  const command = by === "port" ? ["bridge", "-json", "link", "show"] : ["ip", "-json", "link", "show"];
  const { stdout } = await run(command, { inside });
  const rows = JSON.parse(stdout) as readonly { ifname: string; state?: string; flags?: readonly string[] }[];
  const isCut = ({ state, flags = [] }: (typeof rows)[number]): boolean =>
    by === "port" ? state === "disabled" : !flags.includes("UP");
  const ports = new Set(rows.filter(isCut).map(({ ifname }) => ifname));
  return NODES.filter((node) => nodeDevices(world.topology).some((device) => ports.has(`${node}-${device}`)));
}

/** Power loss: cables dead, every process of the node gone, and nothing left in its kernel but what its boot sets up. */
export async function cutPower(world: World, node: NodeName): Promise<void> {
  await killPorts(world, node);
  for (const pid of world.pair.processes(node)) signal(pid, "SIGKILL");
  world.note(`${node} loses power`);
  await wipe(world, node);
}

/** Power comes back as soon as it has gone, on all of `nodes` in the same instant; cables stay where they are. */
export async function powerCycle(world: World, nodes: readonly NodeName[]): Promise<void> {
  for (const node of nodes) for (const pid of world.pair.processes(node)) signal(pid, "SIGKILL");
  for (const node of nodes) await wipe(world, node);
  world.note(`${nodes.join(" and ")} lose power, and boot`);
  for (const node of nodes) world.pair.start(node);
}

/** The way back: ports forward, the program is started, as an init system would. */
export async function boot(world: World, node: NodeName): Promise<void> {
  await revivePorts(world, node);
  world.pair.start(node);
  world.note(`${node} boots`);
}

const WIPE = `
for d in $(ip -o link show | sed -n 's/^[0-9]*: \\(us-[^@:]*\\).*/\\1/p'); do ip link del "$d"; done
nft flush ruleset
conntrack -F 2>/dev/null
for f in -4 -6; do
  for p in $(ip $f rule show | sed 's/:.*//'); do
    case $p in 0|32766|32767) ;; *) ip $f rule del pref "$p" ;; esac
  done
  ip $f route flush table all proto 148 2>/dev/null
  ip $f neigh flush all
done
for f in /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/arp_ignore \\
  /proc/sys/net/ipv4/conf/*/arp_announce /proc/sys/net/ipv6/conf/*/forwarding; do echo 0 > "$f"; done
true
`;

async function wipe(world: World, node: NodeName): Promise<void> {
  await run(["sh", "-c", WIPE], { inside: world.pids.get(node)! });
}

/** What `systemctl reload nftables` does on Debian, and many a script. */
export async function flushRuleset(world: World, node: NodeName): Promise<void> {
  world.note(`nft flush ruleset on ${node}`);
  await run(["nft", "flush", "ruleset"], { inside: world.pids.get(node)! });
}

/** Every process of the node stands still for `forMs`, and goes on as if nothing had been. */
export async function freeze(world: World, node: NodeName, forMs: number): Promise<void> {
  const pids = world.pair.processes(node);
  for (const pid of pids) signal(pid, "SIGSTOP");
  world.note(`${pids.length} processes of ${node} are stopped`);
  await sleep(forMs);
  world.note(`they go on`);
  for (const pid of pids) signal(pid, "SIGCONT");
}

export type ProcessName = "heart" | "daemon";

/** Sends a signal to heart or to the daemon of a node, and to nothing else. */
export function signalProcess(
  world: World,
  node: NodeName,
  which: ProcessName,
  name: NodeJS.Signals,
): readonly number[] {
  const pids = world.pair.processesNamed(node, which);
  for (const pid of pids) signal(pid, name);
  return pids;
}

/** Kills heart or the daemon, and nothing else. */
export function crashProcess(world: World, node: NodeName, which: ProcessName): void {
  world.note(`${which} of ${node} is killed`);
  signalProcess(world, node, which, "SIGKILL");
}
