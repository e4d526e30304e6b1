// Burdens: programs that load the machine or a node's kernel for a while (busy loops, forks, a disk writer, nftables at
// work). Each is a group of processes that carries the laboratory's name, so that nothing outlives it.

import { spawn } from "node:child_process";
import { sleep } from "./clock.ts";
import { enter } from "./commands.ts";
import type { World } from "./world.ts";
import { signal } from "./worldState.ts";

export interface Burden {
  /** Ends it and everything that it started. */
  stop(): Promise<void>;
}

export interface BurdenOptions {
  /** Process id whose network namespace it works in; default: our own. */
  readonly inside?: number;
  /** `$1`, `$2`, ... of the script. */
  readonly words?: readonly string[];
}

/** Starts a shell script that goes on until it is stopped. */
export function startBurden(world: World, script: string, options: BurdenOptions = {}): Burden {
  const [program, ...args] = enter(options.inside, ["sh", "-c", script, "burden", ...(options.words ?? [])]);
  const child = spawn(program!, args, { stdio: "ignore", env: world.environment, detached: true });
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  child.once("exit", end);
  child.once("error", end);
  return {
    stop: async () => {
      // The whole group: what a loop has just started would go on without it.
      if (child.pid !== undefined) signal(-child.pid, "SIGKILL");
      while (!ended) await sleep(5);
    },
  };
}

/** Runs `during` under burdens, and ends them whatever comes of it. */
export async function under<T>(burdens: readonly Burden[], during: () => Promise<T>): Promise<T> {
  try {
    return await during();
  } finally {
    await Promise.all(burdens.map((burden) => burden.stop()));
  }
}

/** One processor's worth of nothing. */
export const BUSY_LOOP = "while :; do :; done";
/** New processes, one after the other. */
export const FORK_LOOP = "while :; do /bin/true; done";
/** Writes 256 MiB to the file `$1` and waits for the disk, again and again. */
export const DISK_WRITER =
  'trap "rm -f $1" EXIT; while :; do dd if=/dev/zero of="$1" bs=1M count=256 conv=fsync 2>/dev/null; done';
