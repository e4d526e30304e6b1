// The replicated log as the election sees it: up to where each simulated kernel is whole, and whether it holds the
// active's whole state. The log itself is simulated in log.ts. It reads the two nodes' kernels and writes their positions alone.

import { holds, type SimNode } from "./node.ts";

/** From the subscription to the end of the snapshot. */
const SYNC_MS = 300;
/** The log's connection ends after this long without a word of the other daemon. */
const CONNECTION_SILENT_MS = 3000;

/**
 * What became of the log since the last look. Whoever was active is whole up to what it produced, and nothing more until
 * the next one's snapshot has arrived; a daemon that hangs produces nothing, and its connections end.
 */
export function followLog(node: SimNode, other: SimNode, pathsWork: boolean, now: number): void {
  if (holds(node, now)) {
    node.followsTerm = -1;
    node.synced = true;
    if (node.daemonSilent === 0 && node.paused === 0)
      node.position = { term: node.state?.term ?? 0, sequence: Math.floor(now) };
    return;
  }
  // A machine that stands still receives nothing, and has to catch up first.
  if (node.paused > 0 || !node.powered) {
    node.synced = false;
    node.followsTerm = -1;
    return;
  }
  if (!holds(other, now)) return;
  const connected =
    pathsWork && node.daemonSilent === 0 && now - other.daemonSilentSince < CONNECTION_SILENT_MS;
  if (!connected) {
    node.synced = false;
    node.followsTerm = -1;
    return;
  }
  const term = other.state?.term ?? 0;
  if (node.followsTerm !== term) {
    node.followsTerm = term;
    node.followsSince = now;
  }
  // Its position is the active's own: a young active's daemon has not produced anything yet.
  node.synced = now - node.followsSince >= SYNC_MS && other.position.term === term;
  if (node.synced) node.position = { ...other.position };
}

/** Its kernel lacks something that the other's holds. */
export const isBehind = (node: SimNode, other: SimNode): boolean =>
  node.position.term < other.position.term ||
  (node.position.term === other.position.term && node.position.sequence < other.position.sequence);
