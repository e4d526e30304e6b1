// What a laboratory leaves written about itself (one directory in the system's temporary directory, one file in it), so
// that another command can break it or take it down, and the next start can clear away what a crash left. Processes
// are known by an environment variable that they all inherit, never by a process id alone: ids are used again.

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "./clock.ts";

/** Names the laboratory's directory in the environment of every process of it. */
export const LAB_VARIABLE = "UNDERSTUDY_LAB";
const PREFIX = "understudy-lab-";
const STATE_FILE = "lab.json";

export interface WorldState {
  readonly lab: string;
  readonly directory: string;
  /** Who built it; null once it was left standing (`--up`). */
  readonly owner: { readonly pid: number; readonly startTime: string } | null;
  /** Name -> process id of the holder. */
  readonly namespaces: Readonly<Record<string, number>>;
  /** True where the namespaces belong to a user namespace: entering needs `nsenter -U --preserve-credentials`. */
  readonly userNamespace: boolean;
  readonly hosts: number;
  readonly nodeFiles: Readonly<Record<string, string>>;
}

/** Makes the directory of a new laboratory, readable for its user alone. Its name's end is the laboratory's name. */
export function makeDirectory(): { readonly lab: string; readonly directory: string } {
  mkdirSync(tmpdir(), { recursive: true });
  const directory = mkdtempSync(join(tmpdir(), PREFIX));
  return { lab: directory.slice(-6), directory };
}

export function writeState(state: WorldState): void {
  const file = join(state.directory, STATE_FILE);
  writeFileSync(`${file}.new`, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

/** The kernel's start time of a process (`/proc/PID/stat`), or null where it is gone. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name before it may contain anything, brackets too.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

/** Every laboratory of this user that left a directory. A file that cannot be read counts as a crashed one. */
export function findWorlds(): readonly (WorldState & { readonly crashed: boolean })[] {
  const found: (WorldState & { readonly crashed: boolean })[] = [];
  for (const name of readdirSync(tmpdir())) {
    const directory = join(tmpdir(), name);
    if (!name.startsWith(PREFIX) || !isOurs(directory)) continue;
    const state = readState(directory);
    const { owner } = state;
    found.push({ ...state, crashed: owner !== null && startTimeOf(owner.pid) !== owner.startTime });
  }
  return found;
}

function isOurs(directory: string): boolean {
  const stat = statSync(directory, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === process.getuid?.();
}

function readState(directory: string): WorldState {
  try {
    return { ...(JSON.parse(readFileSync(join(directory, STATE_FILE), "utf8")) as WorldState), directory };
  } catch {
    const fresh = (statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0) > Date.now() - 60_000;
    return {
      lab: directory.slice(-6),
      directory,
      // One that is being built right now has not written its file yet.
      owner: fresh ? null : { pid: 0, startTime: "" },
      namespaces: {},
      userNamespace: false,
      hosts: 0,
      nodeFiles: {},
    };
  }
}

/** Process ids of everything that was started for the laboratory in `directory`, ourselves left out. */
export function processesOf(directory: string): readonly number[] {
  const wanted = `${LAB_VARIABLE}=${directory}\0`;
  return allProcesses().filter((pid) => {
    if (pid === process.pid) return false;
    try {
      return `${readFileSync(`/proc/${pid}/environ`, "latin1")}\0`.includes(wanted);
    } catch {
      return false;
    }
  });
}

export function allProcesses(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Ends every process of a laboratory and removes its directory; the kernel removes the namespaces. */
export async function removeWorld(directory: string): Promise<void> {
  // A process that was being started while we looked is found the next time.
  for (let round = 0; round < 50; round += 1) {
    const left = processesOf(directory);
    if (left.length === 0) break;
    for (const pid of left) signal(pid, "SIGKILL");
    await sleep(20);
  }
  rmSync(directory, { recursive: true, force: true });
}

/** Sends a signal; a process that is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
