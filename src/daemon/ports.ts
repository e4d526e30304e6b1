// Port 1148, before anything is touched: a port in use is told with its owner's address while nothing is applied yet.

import { createServer } from "node:net";
import { join } from "node:path";
import { controlAnswers } from "../admin/control.ts";
import { BoundaryError } from "../base/errors.ts";
import { PORT } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import { openPathSocket } from "../kernel/pathSocket.ts";

const advice =
  "`understudy doctor` says who listens there. Stop that program, or take the path out of the pair's file.";

function assertTcpFree(host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        new BoundaryError({
          operation: `listen on ${host}, TCP ${PORT}`,
          code: error.code ?? "EIO",
          words: error.message,
          advice,
        }),
      ),
    );
    server.listen({ host, port: PORT }, () => server.close(() => resolve()));
  });
}

/**
 * Throws a BoundaryError where TCP 1148 cannot be had on a replication path's address, or UDP 1148 on a heartbeat
 * path's. The heart of this node that already runs holds its UDP ports rightly.
 */
export async function assertPortsFree(config: Config): Promise<void> {
  for (const path of config.paths) if (path.replication) await assertTcpFree(path.local);
  if (await controlAnswers(join(config.runtimeDirectory, "heart.sock"))) return;
  for (const path of config.paths) if (path.heartbeat) openPathSocket(path).close();
}
