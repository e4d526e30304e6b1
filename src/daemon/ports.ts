// Port 1148, before anything is touched: a port in use is told with its owner's address while nothing is applied yet.

import { createServer } from "node:net";
import { join } from "node:path";
import { controlAnswers } from "../admin/control.ts";
import { BoundaryError } from "../base/errors.ts";
import { PORT } from "../base/limits.ts";
import type { Config, PathConfig } from "../core/config.ts";
import { openPathSocket } from "../kernel/pathSocket.ts";

const advice =
  "`understudy doctor` says who listens there. Stop that program, or take the path out of the pair's file.";

/** A path's refusal in words that help; the address that is not there is the node's own matter, not a stranger's. */
function refusalOf(path: PathConfig, protocol: "TCP" | "UDP", code: string, said: string): BoundaryError {
  const operation = `listen on ${path.local}, ${protocol} ${PORT} (path ${path.name})`;
  if (code === "EADDRNOTAVAIL")
    return new BoundaryError({
      operation,
      code,
      words: `${path.local} is on no interface of this node`,
      advice: `Is the port configured? Give ${path.device} that address (ip address show ${path.device}), or correct the path in the pair's file.`,
    });
  return new BoundaryError({ operation, code, words: said, ...(code === "EADDRINUSE" ? { advice } : {}) });
}

function assertTcpFree(path: PathConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(refusalOf(path, "TCP", error.code ?? "EIO", error.message)),
    );
    server.listen({ host: path.local, port: PORT }, () => server.close(() => resolve()));
  });
}

function assertUdpFree(path: PathConfig): void {
  try {
    openPathSocket(path).close();
  } catch (error) {
    if (!(error instanceof BoundaryError)) throw error;
    throw refusalOf(path, "UDP", error.code, error.words ?? error.code);
  }
}

/**
 * Throws a BoundaryError where TCP 1148 cannot be had on a replication path's address, or UDP 1148 on a heartbeat
 * path's. The heart of this node that already runs holds its UDP ports rightly.
 */
export async function assertPortsFree(config: Config): Promise<void> {
  for (const path of config.paths) if (path.replication) await assertTcpFree(path);
  if (await controlAnswers(join(config.runtimeDirectory, "heart.sock"))) return;
  for (const path of config.paths) if (path.heartbeat) assertUdpFree(path);
}
