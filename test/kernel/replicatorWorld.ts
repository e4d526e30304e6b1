// A pair of replicators in one process, each in a network namespace of its own: real sockets between them, real
// connection tracking below each, heart played by the test. For tests of the daemon's replication only.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { linkId, millis, type NodeId, type Role } from "../../src/base/units.ts";
import type { AuditorOptions } from "../../src/core/audit/auditorState.ts";
import type { Config, PathConfig, ServiceConfig } from "../../src/core/config.ts";
import type { SenderLimits } from "../../src/core/replication/senderState.ts";
import { type NeighbourLog, openNeighbourLog } from "../../src/daemon/neighbourLog.ts";
import { openReplicationKernel, type ReplicationKernel } from "../../src/daemon/replicationKernel.ts";
import { replicationTransport } from "../../src/daemon/replicationSockets.ts";
import { createReplicator, type Replicator, type ReplicatorOptions } from "../../src/daemon/replicator.ts";
import type { NodeState } from "../../src/daemon/stateLog.ts";
import { NetlinkSocket } from "../../src/kernel/netlink.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import type { ConnectionTap } from "../../src/peer/connection.ts";
import type { Identity } from "../../src/peer/identity.ts";
import type { Transport } from "../../src/peer/pairLink.ts";
import type { LinkState, NodeFacts } from "../../src/wire/messagesNode.ts";
import { MessageWriter, NETLINK_ROUTE } from "../../src/wire/netlink.ts";
import { DEFAULT_SENDING } from "../../src/wire/sessionPolicy.ts";
import { batchOf, deletion, session, UDP } from "../core/records.ts";
import { newIdentity } from "../peer/loopback.ts";
import { ModelConfiguration } from "./modelConfiguration.ts";
import { makeNamespace, type Namespace } from "./namespace.ts";

const RTM_NEWLINK = 16;
const IFLA_IFNAME = 3;
const IFLA_NET_NS_FD = 28;
const NAMES = ["sync", "spare"];
/** What a test does to a table by hand stays as it is, unless it asks otherwise. */
const NO_AUDIT = { delayMs: 3_600_000 };

export interface Node {
  readonly id: NodeId;
  readonly space: Namespace;
  readonly config: Config;
  readonly identity: Identity;
  readonly lines: string[];
  readonly state: ModelState;
  /** Listens in on the connections of this node from the next one on. */
  tap: ConnectionTap | null;
  replicator: Replicator;
  /** Resolves when `condition` holds; asked at every change and, as the kernel does not tell, every few ms. */
  until(condition: (node: Node) => boolean, what: string): Promise<void>;
  setRole(role: Role, term: number, peerRole: Role): void;
  /** Closes the replicator and starts another, as a restart of the daemon does, with this of the configuration changed. */
  restart(changes?: Partial<Config>): Promise<void>;
  sh(command: string): string;
}

export interface Pair {
  readonly a: Node;
  readonly b: Node;
  cut(path: string): void;
  mend(path: string): void;
  close(): Promise<void>;
}

const sh = (command: string): string =>
  execFileSync("sh", ["-ec", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Sessions made and ended in a node's kernel as packets would: not by its own replicator. */
export class Traffic {
  readonly #writer: SessionWriter;
  readonly #node: Node;
  constructor(node: Node) {
    this.#node = node;
    this.#writer = node.space.run(() => openSessionWriter());
  }
  open(from: number, count: number, protocol = UDP): void {
    for (let at = from; at < from + count; at += 500) {
      const ids = Array.from({ length: Math.min(500, from + count - at) }, (_, index) => at + index);
      const result = this.#writer.apply(
        batchOf(ids.map((id) => session(id, 0, "create", protocol))),
        ids.length,
        0,
      );
      assert.equal(result.created, ids.length, this.#node.id);
    }
  }
  end(from: number, count: number, protocol = UDP): void {
    const ids = Array.from({ length: count }, (_, index) => from + index);
    this.#writer.apply(batchOf(ids.map((id) => deletion(id, protocol))), count, 0);
  }
  close(): void {
    this.#writer.close();
  }
}

/** What a test makes smaller than it is. */
export interface Tuning {
  readonly limits?: Partial<SenderLimits>;
  /** Receive buffer of the event sockets. */
  readonly receiveBytes?: number;
  /** Absent: there is none. */
  readonly audit?: Partial<AuditorOptions>;
}

export function makePair(changes: Partial<Record<NodeId, Partial<Config>>> = {}, tuning: Tuning = {}): Pair {
  const spaces = { a: makeNamespace(), b: makeNamespace() };
  for (const [index, name] of NAMES.entries()) joinByVeth(spaces, name, index + 1);
  for (const space of [spaces.a, spaces.b])
    space.run(() => {
      writeFileSync("/proc/sys/net/netfilter/nf_conntrack_events", "1");
      sh(
        "ip link add us-lan type veth peer name lan-far; ip addr add 10.9.0.1/24 dev us-lan; ip link set us-lan up; ip link set lan-far up",
      );
    });
  const identities = { a: newIdentity(), b: newIdentity() };
  const make = (id: NodeId): Node => {
    const peer = id === "a" ? "b" : "a";
    const config = { ...configOf(id, identities[peer].publicKey), ...changes[id] };
    return makeNode(id, spaces[id], config, identities[id], tuning);
  };
  const [a, b] = [make("a"), make("b")];
  return {
    a,
    b,
    cut: (path) => spaces.a.run(() => sh(`ip link set ${path} down`)),
    mend: (path) => spaces.a.run(() => sh(`ip link set ${path} up`)),
    close: async () => {
      await Promise.all([a.replicator.close(), b.replicator.close()]);
      for (const space of [spaces.a, spaces.b]) space.close();
    },
  };
}

/** What a node has to tell beside its sessions, in a model: slots of one value, and what came of the other's. */
export class ModelState implements NodeState {
  /** Every slot has this link. */
  link: number;
  adopted: number | null = null;
  /** The kernel's words where it does not take slots. */
  refusal = "";
  readonly #id: NodeId;

  constructor(id: NodeId) {
    this.#id = id;
    this.link = id === "a" ? 1 : 2;
  }
  slots(): { readonly seed: number; readonly slots: Uint8Array } {
    return { seed: 1, slots: new Uint8Array(4096).fill(this.link) };
  }
  links(): readonly LinkState[] {
    return [{ link: this.link, state: "up", reason: "none", since: 1, detail: this.#id }];
  }
  facts(): NodeFacts {
    const texts = { software: `understudy of ${this.#id}`, kernel: "", machine: "", nft: "" };
    const numbers = {
      processors: 1,
      memoryBytes: 0,
      conntrackMax: 0,
      conntrackBuckets: 0,
      bootedAt: 0,
      clock: 0,
    };
    return { ...texts, ...numbers };
  }
  adoptSlots(_: number, slots: Uint8Array): string {
    if (this.refusal === "") this.adopted = slots[0]!;
    return this.refusal;
  }
}

function makeNode(
  id: NodeId,
  space: Namespace,
  config: Config,
  identity: Identity,
  { limits, receiveBytes, audit }: Tuning,
): Node {
  const lines: string[] = [];
  const state = new ModelState(id);
  const log = (line: string): number => lines.push(`${id}: ${line}`);
  const start = (changes: Partial<Config> = {}): Replicator =>
    space.run(() => {
      const options: ReplicatorOptions = {
        config: { ...config, ...changes },
        configuration: new ModelConfiguration(config),
        identity,
        node: state,
        tap: () => node.tap,
        log,
        onChange: () => {},
        kernel: kernelIn(space, { ...config, ...changes }.sending, receiveBytes),
        neighbours: neighboursIn(space, config),
        transport: transportIn(space),
        ...(limits === undefined ? {} : { limits }),
        audit: audit ?? NO_AUDIT,
      };
      return createReplicator(options);
    });
  const node: Node = {
    id,
    space,
    config,
    identity,
    lines,
    state,
    tap: null,
    replicator: start(),
    until: async (condition, what) => {
      const end = performance.now() + 10_000;
      while (!condition(node)) {
        if (performance.now() > end)
          throw new Error(
            `${id} waited in vain: ${what}\n${JSON.stringify(node.replicator.state(), null, 1)}\n${node.replicator.report().reasons}\n${lines.join("\n")}`,
          );
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
    },
    setRole: (role, term, peerRole) => node.replicator.setRole(role, term, peerRole),
    restart: async (changes) => {
      await node.replicator.close();
      node.replicator = start(changes);
    },
    sh: (command) => space.run(() => sh(command)),
  };
  return node;
}

/** The daemon's kernel, whose every socket is opened inside `space`. */
function kernelIn(space: Namespace, sending: Config["sending"], receiveBytes?: number): ReplicationKernel {
  const kernel = space.run(() => openReplicationKernel(sending));
  const { portId } = kernel.writer as SessionWriter;
  const events =
    receiveBytes === undefined
      ? kernel.events
      : space.run(() => openSessionEvents({ ignore: [portId], receiveBytes }));
  return {
    events,
    writer: {
      apply: (bytes, count, generation) => kernel.writer.apply(bytes, count, generation),
      insert: (bytes, count) => kernel.writer.insert(bytes, count),
      sweep: (linkIds, generation) => space.run(() => kernel.writer.sweep(linkIds, generation)),
    },
    openDump: (expectations) => space.run(() => kernel.openDump(expectations)),
    openKeyDump: () => space.run(() => kernel.openKeyDump()),
    openFold: (options, active) => space.run(() => kernel.openFold(options, active)),
    carriedGenerations: () => space.run(() => kernel.carriedGenerations()),
    walkTimes: () => {
      const walk = space.run(() => kernel.walkTimes());
      return { step: () => walk.step(), close: () => walk.close() };
    },
    setRefreshed: kernel.setRefreshed,
    purge: (linkIds, generation) => space.run(() => kernel.purge(linkIds, generation)),
    count: () => space.run(() => kernel.count()),
    wait: kernel.wait,
    close: () => {
      if (events !== kernel.events) events.close();
      kernel.close();
    },
  };
}

function neighboursIn(space: Namespace, config: Config): NeighbourLog {
  const log = space.run(() => openNeighbourLog(config));
  return {
    fds: log.fds,
    full: () => space.run(() => log.full()),
    changes: () => space.run(() => log.changes()),
    install: (message) => space.run(() => log.install(message)),
    close: () => log.close(),
  };
}

export function transportIn(space: Namespace): Transport {
  const transport = replicationTransport();
  return {
    listen: (path, server) => space.run(() => transport.listen(path, server)),
    // Opens its socket before its first wait.
    dial: (path, timeoutMs) => space.run(() => transport.dial(path, timeoutMs)),
  };
}

function joinByVeth(spaces: { a: Namespace; b: Namespace }, name: string, net: number): void {
  spaces.a.run(() => {
    sh(
      `ip link add ${name} type veth peer name ${name}-b; ip addr add 10.255.${net}.1/24 dev ${name}; ip link set ${name} up`,
    );
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    const index = Number(
      sh(`cat /sys/class/net/${name}-b/ifindex 2>/dev/null || ip -o link show ${name}-b | cut -d: -f1`),
    );
    const header = new Uint8Array(16);
    new DataView(header.buffer).setInt32(4, index, true);
    const move = new MessageWriter(RTM_NEWLINK)
      .fixed(header)
      .text(IFLA_IFNAME, name)
      .u32(IFLA_NET_NS_FD, spaces.b.fd);
    socket.request(`move ${name}-b`, move);
    socket.close();
  });
  spaces.b.run(() => sh(`ip addr add 10.255.${net}.2/24 dev ${name}; ip link set ${name} up`));
}

function configOf(node: NodeId, peerKey: string): Config {
  const service = (name: string, id: number, device: string): ServiceConfig => ({
    name,
    id,
    device,
    port: device,
    virtualMac: "02:00:00:00:00:01",
    addresses: [],
    witnesses: [],
    singleMac: false,
  });
  const paths: PathConfig[] = NAMES.map((name, index) => {
    const [a, b] = [`10.255.${index + 1}.1`, `10.255.${index + 1}.2`];
    const [local, remote] = node === "a" ? [a, b] : [b, a];
    return { name, device: name, local, remote, heartbeat: true, replication: true };
  });
  return {
    pair: "office",
    node,
    priority: { a: 100, b: 100 },
    lan: { service: service("lan", 0, "us-lan"), routes: [] },
    links: [1, 2].map((id) => ({
      id: linkId(id),
      name: `link${id}`,
      service: service(`link${id}`, id, `us-l${id}`),
      gateway: {},
      weight: 1,
      capacity: {},
      enabled: true,
    })),
    paths,
    timers: {
      heartbeatMs: millis(10),
      deadAfterMs: millis(50),
      leaseMs: millis(40),
      soloLeaseMs: millis(10_000),
    },
    placementSeed: 1,
    helpers: [],
    drill: null,
    sending: DEFAULT_SENDING,
    peerKeys: [peerKey],
    ownKeys: [],
    keyFile: "",
    stateDirectory: "",
    runtimeDirectory: "",
    digest: "ab".repeat(32),
    files: { pair: "", node: "" },
  };
}
