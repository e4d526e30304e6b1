// The faults of a scenario: each function does one to the world, and returns what undoes it.

import { unreachable } from "../../src/base/assert.ts";
import type { Checker } from "./checker.ts";
import type { Medium } from "./media.ts";
import { localNow, type NodeWorld, receive, type SimNode, stopHeart, thaw } from "./node.ts";
import type { Action } from "./scenario.ts";

/** What a fault needs of the world. */
export interface FaultWorld extends NodeWorld {
  readonly nodes: readonly [SimNode, SimNode];
  readonly media: readonly Medium[];
  readonly segments: number;
  readonly checker: Checker;
  /** Heartbeats of each node that are dropped on every path: a counter. */
  readonly heartbeatsCut: [number, number];
  boot(node: SimNode): void;
  restart(node: SimNode): void;
  /** How long a missing gate goes unnoticed. */
  repairMs(): number;
}

type MediaAction = Extract<
  Action,
  { kind: "cut" | "port" | "carrier" | "ports" | "loss" | "slow" | "heartbeats" | "witness" }
>;

/** Does it; returns how it is undone, or null where there is nothing to undo. */
export function applyFault(world: FaultWorld, action: Action): (() => void) | null {
  switch (action.kind) {
    case "cut":
    case "port":
    case "carrier":
    case "ports":
    case "loss":
    case "slow":
    case "heartbeats":
    case "witness":
      return applyToMedia(world, action);
    default:
      return applyToNode(world, action, world.nodes[action.node]!);
  }
}

function applyToMedia(world: FaultWorld, action: MediaAction): () => void {
  switch (action.kind) {
    case "cut":
      return bump(world.media[action.medium]!.cut, action.from);
    case "heartbeats":
      return bump(world.heartbeatsCut, action.from);
    case "witness":
      return bump(world.media[action.medium]!.witnessSilent, action.node);
    case "port": {
      const medium = world.media[action.medium]!;
      const undo: (() => void)[] = [];
      if (action.direction !== "deaf") undo.push(bump(medium.mute, action.node));
      if (action.direction !== "mute") undo.push(bump(medium.deaf, action.node));
      return () => runAll(undo);
    }
    case "ports": {
      const undo = world.media.flatMap((medium) => [
        bump(medium.mute, action.node),
        bump(medium.deaf, action.node),
      ]);
      return () => runAll(undo);
    }
    case "carrier":
      return carrier(world, world.nodes[action.node]!, action.medium);
    case "loss": {
      const medium = world.media[action.medium]!;
      medium.lossPercent += action.percent;
      return () => {
        medium.lossPercent -= action.percent;
      };
    }
    case "slow": {
      const medium = world.media[action.medium]!;
      medium.slowMs += action.extraMs;
      return () => {
        medium.slowMs -= action.extraMs;
      };
    }
  }
}

function carrier(world: FaultWorld, node: SimNode, index: number): () => void {
  const medium = world.media[index]!;
  const undo = bump(medium.carrierDown, node.index);
  const tell = (): void => {
    if (index >= world.segments) return;
    const up = medium.carrierDown[node.index] === 0;
    receive(world, node, { kind: "input", input: { kind: "carrier", segment: index, up } });
  };
  tell();
  return () => {
    undo();
    tell();
  };
}

function applyToNode(
  world: FaultWorld,
  action: Exclude<Action, MediaAction>,
  node: SimNode,
): (() => void) | null {
  switch (action.kind) {
    case "kill":
      stopHeart(node);
      return () => world.restart(node);
    case "crash":
      return crash(world, node, action.forgets);
    case "freeze":
      node.frozenUntil = Math.max(node.frozenUntil, world.now + action.forMs);
      return () => thaw(world, node);
    case "pause":
      return pause(world, node);
    case "stalls":
      node.stallPercent = action.percent;
      node.stallMaxMs = action.maxMs;
      return () => {
        node.stallPercent = 0;
      };
    case "daemon":
      node.daemonSilent += 1;
      node.daemonSilentSince = Math.min(node.daemonSilentSince, world.now);
      if (action.announced) receive(world, node, { kind: "input", input: { kind: "daemon-restarting" } });
      else receive(world, node, { kind: "input", input: { kind: "daemon-gone" } });
      return () => {
        node.daemonSilent -= 1;
        if (node.daemonSilent === 0) node.daemonSilentSince = Number.POSITIVE_INFINITY;
      };
    case "disk":
      return disk(node, action.how);
    case "handover":
    case "leave":
      receive(world, node, { kind: "input", input: { kind: "command", command: action.kind, request: 1 } });
      if (action.kind === "leave") node.leaveUntil = world.now + action.forMs;
      return null;
    case "flush":
      flush(world, node);
      return null;
    default:
      return unreachable(action);
  }
}

function crash(world: FaultWorld, node: SimNode, forgets: boolean): () => void {
  stopHeart(node);
  node.powered = false;
  node.kernel.heldUntil = -1;
  node.kernel.drained = false;
  node.kernel.present = false;
  node.synced = false;
  node.followsTerm = -1;
  node.position = { term: 0, sequence: 0 };
  if (forgets) {
    node.disk = { current: 0, reserved: 0 };
    node.memory += 1;
  }
  return () => {
    if (!node.powered) world.boot(node);
  };
}

function pause(world: FaultWorld, node: SimNode): () => void {
  if (node.paused === 0) {
    node.localBase = localNow(node, world.now);
    node.virtualBase = world.now;
  }
  node.paused += 1;
  const since = world.now;
  return () => {
    node.paused -= 1;
    if (node.paused > 0) return;
    if (node.kernel.heldUntil > since) node.kernel.heldUntil += world.now - node.virtualBase;
    world.checker.paused(node.index, world.now, world.now - node.virtualBase);
    node.virtualBase = world.now;
    thaw(world, node);
  };
}

function disk(node: SimNode, how: "refuses" | "hangs"): () => void {
  if (how === "refuses") node.diskRefuses += 1;
  else node.diskHangs += 1;
  return () => {
    if (how === "refuses") node.diskRefuses -= 1;
    else node.diskHangs -= 1;
  };
}

/** The table is gone; the driver sees it, takes the interfaces down, and puts it back, shut. */
function flush(world: FaultWorld, node: SimNode): void {
  if (!node.heartUp || !node.kernel.present) return;
  const { boot } = node;
  node.kernel.present = false;
  node.kernel.heldUntil = -1;
  node.kernel.drained = false;
  world.schedule(world.now + world.repairMs(), () => {
    if (node.boot !== boot || !node.heartUp) return;
    receive(world, node, { kind: "input", input: { kind: "gate-missing" } });
    node.kernel.present = true;
    receive(world, node, { kind: "input", input: { kind: "gate-restored" } });
  });
}

/** Counts a fault on one of two directions, or on both (-1); returns what undoes it. */
function bump(counters: [number, number], which: number): () => void {
  const affected = which < 0 ? [0, 1] : [which];
  for (const index of affected) counters[index]! += 1;
  return () => {
    for (const index of affected) counters[index]! -= 1;
  };
}

function runAll(functions: readonly (() => void)[]): void {
  for (const each of functions) each();
}
