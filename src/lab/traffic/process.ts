// The laboratory's handle on one traffic process: started, given orders, ended with its input. A traffic process that
// dies is a defect of the laboratory and is said so; it is never taken for a fault of the pair.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export type TrafficProgram =
  | "liveServers"
  | "liveClients"
  | "ping"
  | "backgroundServers"
  | "backgroundClients"
  | "streamServers"
  | "streamClients"
  | "lag"
  | "chatter"
  | "flood"
  | "kinds"
  | "capture";

export interface TrafficProcess {
  readonly pid: number;
  /** Gives an order and resolves to its answer. */
  order<Answer>(kind: string, body?: object): Promise<Answer>;
  /** Lets it go on without us, for a world that is left standing. */
  leave(): Promise<void>;
  stop(): void;
}

export interface TrafficOptions {
  readonly environment: NodeJS.ProcessEnv;
}

interface Waiter {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** Starts a traffic program as a process of its own. */
export function startTraffic(program: TrafficProgram, options: TrafficOptions): TrafficProcess {
  const file = fileURLToPath(new URL(`./${program}.ts`, import.meta.url));
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file], {
    stdio: ["pipe", "pipe", "pipe"],
    env: options.environment,
    detached: true,
  });
  const waiting = new Map<number, Waiter>();
  let number = 0;
  let ended: Error | null = null;
  watchEnd(child, program, (error) => {
    ended = error;
    for (const waiter of waiting.values()) waiter.reject(error);
    waiting.clear();
  });
  createInterface({ input: child.stdout! }).on("line", (line) => {
    const answer = JSON.parse(line) as { id: number };
    waiting.get(answer.id)?.resolve(answer);
    waiting.delete(answer.id);
  });
  const order = <Answer>(kind: string, body: object = {}): Promise<Answer> =>
    new Promise<Answer>((resolve, reject) => {
      if (ended !== null) {
        reject(ended);
        return;
      }
      number += 1;
      waiting.set(number, { resolve: resolve as (answer: unknown) => void, reject });
      child.stdin!.write(`${JSON.stringify({ ...body, id: number, kind })}\n`);
    });
  return {
    pid: child.pid ?? 0,
    order,
    leave: async () => {
      await order("stay");
      child.stdin!.end();
      child.unref();
      for (const stream of [child.stdin, child.stdout, child.stderr])
        (stream as unknown as { unref(): void }).unref();
    },
    stop: () => {
      child.stdin!.end();
      child.kill("SIGKILL");
    },
  };
}

function watchEnd(child: ChildProcess, program: string, onEnd: (error: Error) => void): void {
  let words = "";
  child.stderr!.on("data", (bytes: Buffer) => {
    words = (words + bytes.toString()).slice(-4000);
  });
  child.stdin!.on("error", () => {});
  child.on("error", (error) => onEnd(error));
  child.on("exit", (code, signal) =>
    onEnd(new Error(`the traffic process ${program} ended (${signal ?? `exit ${code}`}): ${words.trim()}`)),
  );
}
