// More traffic beside the load of every run, for the scenarios that are about replication: streams by the thousand, new
// UDP sessions at a steady pace, and the meter of how far the standby's kernel is behind. Started and ended by the scenario.

import { sleep } from "./clock.ts";
import { run } from "./commands.ts";
import { otherNode } from "./pair.ts";
import type { Stage } from "./stage.ts";
import type { LagReport } from "./traffic/lag.ts";
import { startTraffic, type TrafficProcess } from "./traffic/process.ts";
import type { OpenStreams } from "./traffic/streamClients.ts";
import type { StreamCounts, StreamSeen } from "./traffic/streamVerdict.ts";

export interface Streams {
  /** Resolves when all of them are decided; they go on. */
  open(wanted: Omit<OpenStreams, "hosts" | "servers">): Promise<StreamCounts>;
  counts(): Promise<StreamCounts>;
  /** Every open stream that waits for nothing says something. */
  speak(): Promise<StreamCounts>;
  /** The far side says to everyone again what it said last, unasked. */
  say(): Promise<void>;
  /** Nobody opens, speaks or closes, until `resume`. */
  pause(): Promise<StreamCounts>;
  resume(): Promise<StreamCounts>;
  report(): Promise<{ readonly atMs: number; readonly streams: readonly StreamSeen[] }>;
  stop(): void;
}

const families = (stage: Stage): readonly (4 | 6)[] => (stage.options.v6 ? [4, 6] : [4]);

const serversOf = (stage: Stage): readonly string[] => {
  const { server } = stage.world.topology;
  return families(stage).map((family) => (family === 4 ? server.v4 : server.v6));
};

export async function startStreams(stage: Stage): Promise<Streams> {
  const { world } = stage;
  const servers = startTraffic("streamServers", { environment: world.environment });
  const clients = startTraffic("streamClients", { environment: world.environment });
  await servers.order("start", { pid: world.pids.get("internet")!, addresses: serversOf(stage) });
  const hosts = world.topology.hosts.map(({ name }) => ({ name, pid: world.pids.get(name)! }));
  return {
    open: (wanted) => clients.order("open", { ...wanted, hosts, servers: serversOf(stage) }),
    counts: () => clients.order("counts"),
    speak: () => clients.order("speak"),
    say: async () => {
      await servers.order("say");
    },
    pause: () => clients.order("pause"),
    resume: () => clients.order("resume"),
    report: () => clients.order("report"),
    stop: () => {
      clients.stop();
      servers.stop();
    },
  };
}

/** New UDP sessions, each a datagram and its answer, towards the servers of the background. */
export interface Flows {
  /** Resolves when `count` of them were answered, `rate` a second. */
  open(count: number, rate: number): Promise<{ readonly udp: number; readonly seconds: number }>;
  /** The same sessions say the same again. */
  again(): Promise<void>;
  /** No new ones, until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  stop(): void;
}

/** As many ports of the server answer as load.ts has it listen on. */
const FLOW_PORTS = 500;

export function startFlows(stage: Stage): Flows {
  const { world } = stage;
  const clients = startTraffic("backgroundClients", { environment: world.environment });
  const hosts = world.topology.hosts.map(({ name, v4, v6 }) => ({
    pid: world.pids.get(name)!,
    addresses: families(stage).map((family) => (family === 4 ? v4 : v6)),
  }));
  return {
    open: (count, rate) =>
      clients.order("open", {
        hosts,
        servers: serversOf(stage),
        udp: count,
        tcp: 0,
        icmp: 0,
        ports: FLOW_PORTS,
        rate,
      }),
    again: async () => {
      await clients.order("again");
    },
    pause: async () => {
      await clients.order("pause");
    },
    resume: async () => {
      await clients.order("resume");
    },
    stop: () => clients.stop(),
  };
}

/** Probes whose way into both kernels is timed. */
export interface LagMeter {
  /** From here on probes count. */
  mark(): Promise<void>;
  /** No more probes; what was seen of them since the mark. */
  finish(): Promise<LagReport>;
  stop(): void;
}

/** No host has it (topology.ts gives them 10.20.1.1 to 10.20.1.100). */
const PROBE_ADDRESS = "10.20.1.201";
/** What is not in the standby's kernel this long after the last probe is missing. */
const PROBE_LINGER_MS = 2000;

/** Probes every `intervalMs` from the first host. */
export async function startLagMeter(stage: Stage, intervalMs: number): Promise<LagMeter> {
  const { world, active } = stage;
  const host = world.pids.get(world.topology.hosts[0]!.name)!;
  await run(["ip", "addr", "replace", `${PROBE_ADDRESS}/16`, "dev", "eth0"], { inside: host });
  const meter: TrafficProcess = startTraffic("lag", { environment: world.environment });
  await meter.order("start", {
    host,
    address: PROBE_ADDRESS,
    server: world.topology.server.v4,
    ports: FLOW_PORTS,
    active: world.pids.get(active)!,
    standby: world.pids.get(otherNode(active))!,
    intervalMs,
  });
  return {
    mark: async () => {
      await meter.order("mark");
    },
    finish: async () => {
      await meter.order("stop");
      await sleep(PROBE_LINGER_MS);
      return meter.order("report");
    },
    stop: () => meter.stop(),
  };
}
