// What readiness is measured from, as replication knows it at one moment. It judges nothing.

import type { LogReceiver } from "./logReceiver.ts";
import type { LogSender } from "./logSender.ts";

/** Beside `Replicator.state` and `report`. What is counted only grows. */
export interface ReplicatorEvidence {
  /** Since anything came from the peer; null: not connected. */
  readonly silentMs: number | null;
  /** Since the kernel's events were last read to their end. */
  readonly unreadMs: number;
  /** A standby's sessions that ended or were changed without a word of the active's; how often its events were lost. */
  readonly ended: number;
  readonly changed: number;
  readonly lost: number;
  /** Snapshots that began to be written here. */
  readonly snapshots: number;
}

export const evidenceOf = (
  sender: Pick<LogSender, "readAt" | "disturbed">,
  receiver: Pick<LogReceiver, "state">,
  silentMs: number | null,
): ReplicatorEvidence => ({
  silentMs,
  unreadMs: performance.now() - sender.readAt,
  ...sender.disturbed,
  snapshots: receiver.state.counters.snapshotsBegun,
});
