// One simulated node: a kernel that keeps the lease (exactly as failover §2 says), a disk, a clock, and heart's driver
// around the real machine. The driver keeps the contract of core/election/types.ts, and may be stopped anywhere.

import { type GateState, millis, term } from "../../src/base/units.ts";
import { deadline, step } from "../../src/core/election/election.ts";
import { createElection, type ElectionState } from "../../src/core/election/state.ts";
import type { ElectionEffect, ElectionInput, UnsafeElection } from "../../src/core/election/types.ts";
import type { HeartbeatMessage } from "../../src/wire/heartbeat.ts";

/** A socket buffer of the real heart holds about that many datagrams. */
const QUEUE_MAX = 200;

/** The kernel's side of the gate. Times are virtual. */
export interface SimKernel {
  heldUntil: number;
  drained: boolean;
  present: boolean;
}

export type SimInput =
  | { readonly kind: "input"; readonly input: ElectionInput }
  /** The driver does not know which probe an answer belongs to: it says when it last sent one. */
  | { readonly kind: "answer"; readonly segment: number }
  | {
      readonly kind: "datagram";
      readonly path: number;
      readonly fromBoot: number;
      readonly toBoot: number;
      readonly message: HeartbeatMessage;
    };

export interface SimNode {
  readonly index: 0 | 1;
  readonly rate: number;
  powered: boolean;
  heartUp: boolean;
  frozenUntil: number;
  paused: number;
  localBase: number;
  virtualBase: number;
  state: ElectionState | null;
  boot: number;
  knownPeerBoot: number;
  readonly queue: SimInput[];
  effects: ElectionEffect[];
  effectIndex: number;
  performing: boolean;
  /** Mutation only: the last turn judged, the next one reads. */
  judged: boolean;
  wakeAt: number;
  readonly kernel: SimKernel;
  disk: { current: number; reserved: number };
  /** Counts wipes of the disk: terms are unique within one life of it. */
  memory: number;
  diskRefuses: number;
  diskHangs: number;
  daemonSilent: number;
  /** Started again after it left, but not before. */
  leaveUntil: number;
  stallPercent: number;
  stallMaxMs: number;
  readonly probedAt: number[];
  /** Up to here its kernel is whole: what it produced as active, or what it has received in full since. */
  position: { term: number; sequence: number };
  /** Holds the whole state of the active, or of its own last term. */
  synced: boolean;
  /** The active's term that it follows over a connection of this moment, and since when; -1: none. */
  followsTerm: number;
  followsSince: number;
  /** Since when the daemon is silent; Infinity while it speaks. */
  daemonSilentSince: number;
}

export function createNode(index: 0 | 1, rate: number, segments: number): SimNode {
  return {
    index,
    rate,
    powered: false,
    heartUp: false,
    frozenUntil: 0,
    paused: 0,
    localBase: 1000 + index * 777,
    virtualBase: 0,
    state: null,
    boot: 0,
    knownPeerBoot: 0,
    queue: [],
    effects: [],
    effectIndex: 0,
    performing: false,
    judged: false,
    wakeAt: Number.POSITIVE_INFINITY,
    kernel: { heldUntil: -1, drained: false, present: false },
    disk: { current: 0, reserved: 0 },
    memory: 0,
    diskRefuses: 0,
    diskHangs: 0,
    daemonSilent: 0,
    leaveUntil: 0,
    stallPercent: 0,
    stallMaxMs: 0,
    probedAt: new Array<number>(segments).fill(Number.NEGATIVE_INFINITY),
    position: { term: 0, sequence: 0 },
    synced: false,
    followsTerm: -1,
    followsSince: 0,
    daemonSilentSince: Number.POSITIVE_INFINITY,
  };
}

/** The node's own monotonic clock at virtual time `at`. */
export const localNow = (node: SimNode, at: number): number =>
  node.paused > 0 ? node.localBase : node.localBase + (at - node.virtualBase) * node.rate;

export const virtualOf = (node: SimNode, local: number): number =>
  node.virtualBase + (local - node.localBase) / node.rate;

/** The gate forwards: open or draining. */
export const holds = (node: SimNode, at: number): boolean =>
  node.powered && node.kernel.present && at < node.kernel.heldUntil;

/** The gate claims: answers for the shared addresses, sends from the virtual MAC. */
export const claims = (node: SimNode, at: number): boolean =>
  node.powered &&
  node.paused === 0 &&
  at < node.kernel.heldUntil &&
  !node.kernel.drained &&
  node.kernel.present;

export const gateText = (node: SimNode, at: number): GateState =>
  !holds(node, at) ? "shut" : node.kernel.drained ? "drain" : "open";

/** What the world does for a node's driver. */
export interface NodeWorld {
  readonly now: number;
  readonly unsafe: UnsafeElection & { readonly leaseCheckOff?: boolean };
  readonly carriers: (node: SimNode) => readonly boolean[];
  /** Performs what concerns others than the node's own kernel; returns nothing. */
  perform(node: SimNode, effect: ElectionEffect): void;
  /** Is the driver held up before its next effect? Milliseconds, 0 mostly. */
  stallMs(node: SimNode): number;
  schedule(at: number, run: () => void): void;
  /** The kernel's gate has changed. */
  gateChanged(node: SimNode, opened: boolean): void;
  /** Up to 4 ms of a lease are lost to the granularity of the kernel's timers. */
  jiffyMs(): number;
  wakeLatency(): number;
}

export function startHeart(world: NodeWorld, node: SimNode, config: ElectionState["config"]): void {
  node.boot += 1;
  node.knownPeerBoot = 0;
  node.heartUp = true;
  node.queue.length = 0;
  node.effects = [];
  node.effectIndex = 0;
  node.performing = false;
  const had = node.kernel.present;
  node.kernel.present = true;
  node.state = createElection(
    config,
    {
      now: millis(localNow(node, world.now)),
      stored: { current: term(node.disk.current), reserved: term(node.disk.reserved) },
      adopted: had ? { held: world.now < node.kernel.heldUntil, drained: node.kernel.drained } : null,
      skip: Math.floor(world.now / 5),
      carriers: world.carriers(node),
    },
    world.unsafe,
  );
  wake(world, node, world.now);
}

export function stopHeart(node: SimNode): void {
  node.heartUp = false;
  node.queue.length = 0;
  node.effects = [];
  node.performing = false;
  node.wakeAt = Number.POSITIVE_INFINITY;
}

const stands = (world: NodeWorld, node: SimNode): boolean => node.paused > 0 || world.now < node.frozenUntil;

export function receive(world: NodeWorld, node: SimNode, input: SimInput): void {
  if (!node.powered || !node.heartUp || node.queue.length >= QUEUE_MAX) return;
  node.queue.push(input);
  wake(world, node, world.now + world.wakeLatency());
}

export function wake(world: NodeWorld, node: SimNode, at: number): void {
  if (at >= node.wakeAt) return;
  node.wakeAt = at;
  world.schedule(at, () => {
    if (node.wakeAt === at) runTurn(world, node);
  });
}

/** Thawed, resumed: whatever waited goes on. */
export function thaw(world: NodeWorld, node: SimNode): void {
  if (!node.heartUp || stands(world, node)) return;
  if (node.performing) perform(world, node);
  else {
    node.wakeAt = Number.POSITIVE_INFINITY;
    wake(world, node, world.now);
  }
}

function runTurn(world: NodeWorld, node: SimNode): void {
  node.wakeAt = Number.POSITIVE_INFINITY;
  if (!node.heartUp || node.performing || stands(world, node) || node.state === null) return;
  const now = millis(localNow(node, world.now));
  const { state, effects, queue } = node;
  // Mutation: what is due is judged and done first, sockets are read afterwards, as an event loop does it.
  const judgesFirst = world.unsafe.judgeBeforeDraining === true;
  const judges = !judgesFirst || !node.judged;
  if (!judgesFirst || node.judged) {
    for (const item of queue) {
      const input = open(node, item);
      if (input !== null) step(state, now, input, effects);
    }
    queue.length = 0;
  }
  if (judges) step(state, now, { kind: "turn" }, effects);
  node.judged = judges;
  node.performing = true;
  perform(world, node);
}

/** The sealed layer: only what echoes our boot is fresh; the rest makes its sender's boot known (protocol §3). */
function open(node: SimNode, item: SimInput): ElectionInput | null {
  if (item.kind === "input") return item.input;
  if (item.kind === "answer")
    return { kind: "answer", segment: item.segment, sentAt: millis(node.probedAt[item.segment]!) };
  node.knownPeerBoot = item.fromBoot;
  if (item.toBoot !== node.boot) return null;
  return { kind: "heartbeat", path: item.path, boot: item.fromBoot, message: item.message };
}

function perform(world: NodeWorld, node: SimNode): void {
  const { boot } = node;
  while (node.effectIndex < node.effects.length) {
    if (stands(world, node)) return;
    const stall = world.stallMs(node);
    if (stall > 0) {
      world.schedule(world.now + stall, () => {
        if (node.boot !== boot || !node.heartUp || stands(world, node)) return;
        performNext(world, node);
        perform(world, node);
      });
      return;
    }
    performNext(world, node);
    if (!node.heartUp || node.boot !== boot) return;
  }
  node.effects.length = 0;
  node.effectIndex = 0;
  node.performing = false;
  if (node.queue.length > 0) wake(world, node, world.now + world.wakeLatency());
  wake(world, node, Math.max(world.now, virtualOf(node, deadline(node.state!))) + world.wakeLatency());
}

function performNext(world: NodeWorld, node: SimNode): void {
  const effect = node.effects[node.effectIndex];
  if (effect === undefined) return;
  node.effectIndex += 1;
  switch (effect.kind) {
    case "renew":
      renewLease(world, node, effect.lease === "solo");
      return;
    case "open":
      openGate(world, node, effect.notAfter);
      return;
    case "drain":
      node.kernel.drained = true;
      world.gateChanged(node, false);
      return;
    case "shut":
      node.kernel.heldUntil = -1;
      node.kernel.drained = false;
      world.gateChanged(node, false);
      return;
    default:
      world.perform(node, effect);
  }
}

function leaseEnd(world: NodeWorld, node: SimNode, solo: boolean): number {
  if (world.unsafe.leaseCheckOff === true) return Number.MAX_VALUE;
  const { leaseMs, soloLeaseMs } = node.state!.config.timers;
  return world.now + ((solo ? soloLeaseMs : leaseMs) - world.jiffyMs()) / node.rate;
}

function renewLease(world: NodeWorld, node: SimNode, solo: boolean): void {
  const now = millis(localNow(node, world.now));
  const held = node.kernel.present && world.now < node.kernel.heldUntil;
  const ok = node.kernel.present && (held || world.unsafe.blindRenewal === true);
  if (ok) node.kernel.heldUntil = leaseEnd(world, node, solo);
  if (ok && !held) world.gateChanged(node, true);
  step(node.state!, now, { kind: "renewal", ok, at: now }, node.effects);
}

function openGate(world: NodeWorld, node: SimNode, notAfter: number): void {
  const now = millis(localNow(node, world.now));
  const ok = now <= notAfter && node.kernel.present;
  if (ok) {
    node.kernel.heldUntil = leaseEnd(world, node, false);
    node.kernel.drained = false;
    world.gateChanged(node, true);
  }
  step(node.state!, now, { kind: "opened", ok, at: now }, node.effects);
}
