// The cables and switches between the nodes: what reaches whom, when, and what is lost. Faults are counters, so that
// overlapping ones undo themselves independently.

import type { Random } from "./random.ts";

export interface Medium {
  readonly name: string;
  /** Parted, seen from this node: its frames do not reach the other. */
  readonly cut: [number, number];
  readonly mute: [number, number];
  readonly deaf: [number, number];
  readonly carrierDown: [number, number];
  readonly witnessSilent: [number, number];
  lossPercent: number;
  slowMs: number;
  /** Who last sent from the virtual MAC here: where the switch believes it to be; -1: nowhere. */
  macAt: number;
}

export function createMedium(name: string): Medium {
  return {
    name,
    cut: [0, 0],
    mute: [0, 0],
    deaf: [0, 0],
    carrierDown: [0, 0],
    witnessSilent: [0, 0],
    lossPercent: 0,
    slowMs: 0,
    macAt: -1,
  };
}

const speaks = (medium: Medium, node: 0 | 1): boolean =>
  medium.mute[node] === 0 && medium.carrierDown[node] === 0;
const hears = (medium: Medium, node: 0 | 1): boolean =>
  medium.deaf[node] === 0 && medium.carrierDown[node] === 0;

/** Frames of `from` reach the other node, leaving chance aside. */
export const reaches = (medium: Medium, from: 0 | 1): boolean =>
  medium.cut[from] === 0 && speaks(medium, from) && hears(medium, from === 0 ? 1 : 0);

/** Both can disturb each other here. */
export const isConnected = (medium: Medium): boolean => reaches(medium, 0) && reaches(medium, 1);

/** A question to the third party gets through and its answer comes back, leaving chance aside. */
export const witnessAnswers = (medium: Medium, node: 0 | 1): boolean =>
  speaks(medium, node) && hears(medium, node) && medium.witnessSilent[node] === 0;

/** One way of one frame: its delay in ms, or -1 where it is lost. */
export function travelMs(
  medium: Medium,
  random: Random,
  delayMs: number,
  jitterMs: number,
  lossPercent: number,
): number {
  const loss = Math.max(lossPercent, medium.lossPercent);
  if (loss > 0 && random.chance(loss / 100)) return -1;
  const slow = medium.slowMs > 0 ? random.between(0, medium.slowMs) : 0;
  return delayMs + random.next() * jitterMs + slow;
}
