// The traffic of one run, as one thing: servers in the Internet, live sessions, background, pings, a talkative standby, a
// capture. It starts and asks the traffic processes; what their answers mean is decided elsewhere.

import { parseAddress, parseMac } from "../base/addresses.ts";
import type { ClaimRun } from "./claimants.ts";
import { sleep } from "./clock.ts";
import { linkOf } from "./conntrackText.ts";
import { readTable, serviceInterfaces } from "./oracles.ts";
import type { NodeName } from "./pair.ts";
import { nodeDevices } from "./topology.ts";
import type { PingFlow } from "./traffic/ping.ts";
import { PORT_PING } from "./traffic/ports.ts";
import { startTraffic, type TrafficProcess, type TrafficProgram } from "./traffic/process.ts";
import type { LiveSession } from "./traffic/survival.ts";
import type { World } from "./world.ts";

export interface BackgroundReport {
  readonly udp: number;
  readonly tcp: number;
  readonly icmp: number;
  readonly repeats: number;
  readonly seconds: number;
}

export interface PingReport {
  readonly flows: readonly { readonly sent: number; readonly lost: number; readonly gapMs: number }[];
}

export interface Load {
  openLive(count: number): Promise<{ readonly opened: number; readonly failures: readonly string[] }>;
  /** More of them, from these hosts alone, tried from other ports until each has found a link that works. */
  openLiveOn(
    hosts: readonly string[],
    count: number,
  ): Promise<{ readonly opened: number; readonly failures: readonly string[] }>;
  openBackground(count: number): Promise<BackgroundReport>;
  /** The same background sessions say the same again. */
  repeatBackground(): Promise<BackgroundReport>;
  /** Pings from the first host: one flow a link where the active's kernel tells them apart, else one. */
  startPings(intervalMs: number, active: NodeName): Promise<number>;
  /** The standby talks on its own account. */
  startChatter(standby: NodeName): Promise<void>;
  startCapture(): Promise<void>;
  /** From here on stalls, gaps and losses count. Resolves to the laboratory's time. */
  mark(): Promise<number>;
  liveSessions(): Promise<readonly LiveSession[]>;
  /** Stops the pings, waits for the late ones. */
  stopPings(): Promise<PingReport>;
  /** Starts the same flows again. */
  resumePings(): Promise<void>;
  stopCapture(): Promise<{ readonly runs: readonly ClaimRun[]; readonly frames: number }>;
  /** Lets the servers go on without us (`--up`). */
  leave(): Promise<void>;
  stop(): void;
}

/** UDP ports that the Internet's server answers on for background sessions. */
const BACKGROUND_PORTS = 500;
const LIVE_RATE = 500;
/** A link of a quarter of all sessions is found by then, almost surely. */
const LIVE_RETRIES = 60;
const BACKGROUND_RATE = 20_000;
/** Real connections among the background, at most (each costs two descriptors). */
const IDLE_TCP_MAX = 2000;
const ICMP_MAX = 100;
/** Source ports that are tried until every link has a ping of its own. */
const PING_CANDIDATES = 16;
const PING_PORT_FIRST = 6001;
const CHATTER_INTERVAL_MS = 20;

export async function startLoad(world: World, families: readonly (4 | 6)[]): Promise<Load> {
  const processes = new Map<TrafficProgram | "pong", TrafficProcess>();
  const start = (program: TrafficProgram, name: TrafficProgram | "pong" = program): TrafficProcess => {
    const process = startTraffic(program, { environment: world.environment });
    processes.set(name, process);
    return process;
  };
  const get = (name: TrafficProgram | "pong"): TrafficProcess =>
    processes.get(name) ?? start(name === "pong" ? "ping" : name, name);
  const { server } = world.topology;
  const servers = families.map((family) => (family === 4 ? server.v4 : server.v6));
  const internet = { pid: world.pids.get("internet")!, addresses: servers };
  await Promise.all([
    get("liveServers").order("start", internet),
    get("pong").order("answer", internet),
    get("backgroundServers").order("start", { ...internet, ports: BACKGROUND_PORTS }),
  ]);
  const hosts = world.topology.hosts.map((host) => ({
    name: host.name,
    pid: world.pids.get(host.name)!,
    addresses: families.map((family) => (family === 4 ? host.v4 : host.v6)),
  }));
  return {
    openLive: (count) => get("liveClients").order("open", { hosts, servers, count, rate: LIVE_RATE }),
    openLiveOn: (names, count) =>
      get("liveClients").order("open", {
        hosts: hosts.filter(({ name }) => names.includes(name)),
        servers,
        count,
        rate: LIVE_RATE,
        retries: LIVE_RETRIES,
      }),
    openBackground: (count) =>
      get("backgroundClients").order("open", {
        hosts,
        servers,
        ...shares(count),
        ports: BACKGROUND_PORTS,
        rate: BACKGROUND_RATE,
      }),
    repeatBackground: () => get("backgroundClients").order("again"),
    startPings: (intervalMs, active) => startPings(world, get("ping"), { families, intervalMs, active }),
    startChatter: async (standby) => {
      await get("chatter").order("start", {
        pid: world.pids.get(standby)!,
        pairs: chatterPairs(world, standby),
        intervalMs: CHATTER_INTERVAL_MS,
      });
    },
    startCapture: async () => {
      await get("capture").order("start", await captureOf(world));
    },
    mark: async () => {
      const marked = [
        get("ping").order<{ atMs: number }>("mark"),
        get("liveClients").order<{ atMs: number }>("mark"),
      ];
      return Math.max(...(await Promise.all(marked)).map((answer) => answer.atMs));
    },
    liveSessions: async () =>
      (await get("liveClients").order<{ sessions: readonly LiveSession[] }>("report")).sessions,
    stopPings: () => get("ping").order("stop"),
    resumePings: async () => {
      await get("ping").order("resume");
    },
    stopCapture: () => get("capture").order("stop"),
    leave: async () => {
      await Promise.all([...processes.values()].map((process) => process.leave()));
    },
    stop: () => {
      for (const process of processes.values()) process.stop();
    },
  };
}

/** How many background sessions of each kind. */
function shares(count: number): { udp: number; tcp: number; icmp: number } {
  const icmp = Math.min(ICMP_MAX, Math.floor(count / 100));
  const tcp = Math.min(IDLE_TCP_MAX, Math.floor(count / 10));
  return { udp: count - tcp - icmp, tcp, icmp };
}

function chatterPairs(world: World, standby: NodeName): readonly { local: string; remote: string }[] {
  const own = world.topology.nodes.find((node) => node.name === standby)!;
  const peer = world.topology.nodes.find((node) => node.name !== standby)!;
  return [
    { local: own.sync, remote: peer.sync },
    { local: own.lan4, remote: peer.lan4 },
    ...world.topology.hosts.slice(0, 4).map((host) => ({ local: own.lan4, remote: host.v4 })),
    { local: own.lan6, remote: world.topology.hosts[0]!.v6 },
  ];
}

/** Which link a flow takes is read from the active's kernel, not computed: the oracle must not share the formula. */
async function startPings(
  world: World,
  ping: TrafficProcess,
  options: { families: readonly (4 | 6)[]; intervalMs: number; active: NodeName },
): Promise<number> {
  const host = world.topology.hosts[0]!;
  const { server } = world.topology;
  const candidates: PingFlow[] = options.families.flatMap((family) =>
    Array.from({ length: PING_CANDIDATES }, (_, index) => ({
      pid: world.pids.get(host.name)!,
      address: family === 4 ? host.v4 : host.v6,
      port: PING_PORT_FIRST + index,
      server: family === 4 ? server.v4 : server.v6,
    })),
  );
  await ping.order("start", { flows: candidates, intervalMs: 20 });
  await sleep(100);
  const table = await readTable(world.pids.get(options.active)!);
  const chosen = new Map<string, PingFlow>();
  for (const flow of candidates) {
    const tail = `src=${flow.address} dst=${flow.server} sport=${flow.port} dport=${PORT_PING}`;
    const entry = table.get(`${flow.address.includes(":") ? "ipv6" : "ipv4"} udp ${tail}`);
    const key = `${flow.address} ${entry === undefined ? "?" : linkOf(entry)}`;
    if (entry !== undefined && !chosen.has(key)) chosen.set(key, flow);
  }
  const flows = chosen.size > 0 ? [...chosen.values()] : candidates.slice(0, 1);
  await ping.order("start", { flows, intervalMs: options.intervalMs });
  return flows.length;
}

async function captureOf(world: World): Promise<object> {
  const macs = new Set<string>();
  for (const node of world.topology.nodes)
    for (const mac of (await serviceInterfaces(world.pids.get(node.name)!)).values()) macs.add(mac);
  const shared = [world.topology.lan.shared4, ...world.topology.links.map((link) => link.v4.shared)];
  return {
    pid: world.pids.get("switch")!,
    ports: world.topology.nodes.flatMap((node) =>
      nodeDevices(world.topology).map((segment) => ({
        device: `${node.name}-${segment}`,
        node: node.name,
        segment,
      })),
    ),
    virtualMacs: [...macs].flatMap((mac) => {
      const bytes = parseMac(mac);
      return bytes === null ? [] : [[...bytes]];
    }),
    shared: shared.map((address) => [...parseAddress(address)!.bytes]),
  };
}
