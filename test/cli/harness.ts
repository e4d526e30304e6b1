// A command line without a process: what a user would see of it, and a daemon that answers as told.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ControlServer, serveControl } from "../../src/admin/control.ts";
import { runCli } from "../../src/cli/program.ts";
import { plainStyle } from "../../src/views/text.ts";
import type { DaemonMessage, DaemonRequest } from "../../src/wire/control.ts";
import { readDaemonRequest } from "../../src/wire/controlRequests.ts";

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** Runs one command line; the clock stands at 2026-11-20 15:26:01 UTC. */
export async function cli(...args: readonly string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const exitCode = await runCli(args, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    style: plainStyle,
    nowMs: () => Date.parse("2026-11-20T15:26:01Z"),
  });
  return { exitCode, out, err };
}

/** A directory for one test, with a node's file whose runtime directory is in it. */
export interface World {
  readonly directory: string;
  readonly nodeFile: string;
  /** A daemon at the place where the node's file says; every request it gets is kept. */
  serve(answer: (request: DaemonRequest) => DaemonMessage): Promise<DaemonRequest[]>;
  end(): Promise<void>;
}

export function createWorld(): World {
  const directory = mkdtempSync(join(tmpdir(), "understudy-cli-"));
  const nodeFile = join(directory, "node.yaml");
  // Not a whole configuration: asking a daemon must not need one.
  writeFileSync(nodeFile, "node: a\nruntime: run\n");
  let server: ControlServer | null = null;
  return {
    directory,
    nodeFile,
    async serve(answer) {
      const requests: DaemonRequest[] = [];
      server = await serveControl<DaemonRequest, DaemonMessage>({
        path: join(directory, "run", "control.sock"),
        service: {
          read: readDaemonRequest,
          answer: (request) => {
            requests.push(request);
            return answer(request);
          },
        },
      });
      return requests;
    },
    async end() {
      await server?.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
