// Namespaces: one small process holds each (no name in /run/netns, nothing to clean up but a process), and the
// topology is put into them. A holder reads a pipe from the laboratory and ends with it, whatever ends the
// laboratory; holders of a world that is to stand (`--up`) wait instead and are ended by `--down`.

import { type ChildProcess, spawn } from "node:child_process";
import { BoundaryError } from "../base/errors.ts";
import { run } from "./commands.ts";
import { insideBatch, namespaceNames, switchBatch, sysctlsOf, type Topology } from "./topology.ts";

/** Name of a namespace -> process id that holds it. */
export type Namespaces = ReadonlyMap<string, number>;

export interface Holders {
  readonly pids: Namespaces;
  /** Ends every holder; the kernel removes a namespace with its last process. */
  release(): void;
}

/** Starts a holder for every name and resolves when all are inside namespaces of their own. */
export async function holdNamespaces(
  names: readonly string[],
  options: { readonly standing: boolean; readonly environment: NodeJS.ProcessEnv },
): Promise<Holders> {
  const children: ChildProcess[] = [];
  const release = (): void => {
    for (const child of children) child.kill("SIGKILL");
  };
  try {
    const started = names.map((name) => startHolder(name, options, children));
    const pids = new Map<string, number>();
    for (const [index, pid] of (await Promise.all(started)).entries()) pids.set(names[index]!, pid);
    return { pids, release };
  } catch (error) {
    release();
    throw error;
  }
}

function startHolder(
  name: string,
  options: { readonly standing: boolean; readonly environment: NodeJS.ProcessEnv },
  children: ChildProcess[],
): Promise<number> {
  const wait = options.standing ? "exec sleep infinity" : "exec cat";
  return new Promise((resolve, reject) => {
    const child = spawn("unshare", ["-n", "--", "sh", "-c", `echo held; ${wait} >/dev/null 2>&1`], {
      stdio: options.standing ? ["ignore", "pipe", "pipe"] : "pipe",
      env: options.environment,
      detached: true,
    });
    children.push(child);
    let words = "";
    const refuse = (code: string): void =>
      reject(
        new BoundaryError({
          operation: `make the network namespace of ${name}`,
          code,
          words: words.trim(),
        }),
      );
    child.stderr?.on("data", (bytes: Buffer) => {
      words += bytes.toString();
    });
    child.stdin?.on("error", () => {});
    child.once("error", (error: NodeJS.ErrnoException) => refuse(error.code ?? "EUNKNOWN"));
    child.once("exit", (code, signal) => refuse(signal ?? `exit ${code}`));
    child.stdout?.once("data", () => {
      child.unref();
      for (const stream of [child.stdin, child.stdout, child.stderr])
        (stream as unknown as { unref?: () => void } | null)?.unref?.();
      resolve(child.pid!);
    });
  });
}

/** Puts the topology into namespaces that are held: sysctls first, then cables, then addresses and routes. */
export async function buildTopology(topology: Topology, pids: Namespaces): Promise<void> {
  const names = namespaceNames(topology);
  const inside = (name: string): number => pids.get(name)!;
  await Promise.all(
    names.map((name) => run(["sh", "-c", sysctlScript(sysctlsOf(topology, name))], { inside: inside(name) })),
  );
  await ipBatch(inside("switch"), switchBatch(topology, pids));
  // Routers before the Internet: they bring the lines to it.
  const routers = names.filter((name) => name.startsWith("isp"));
  const others = names.filter((name) => !routers.includes(name));
  await Promise.all(routers.map((name) => ipBatch(inside(name), insideBatch(topology, name, pids))));
  await Promise.all(others.map((name) => ipBatch(inside(name), insideBatch(topology, name, pids))));
}

/** Feeds `ip -batch` inside the namespace of process `inside`. */
export async function ipBatch(inside: number, batch: string): Promise<void> {
  await run(["ip", "-batch", "-"], { inside, input: batch });
}

/** A setting that this kernel does not have is passed over: what needs it says so itself. */
function sysctlScript(settings: readonly (readonly [string, string])[]): string {
  return settings
    .map(([path, value]) => `[ ! -e /proc/sys/${path} ] || echo ${value} > /proc/sys/${path}`)
    .join("\n");
}
