// What replication wants of the kernel, as one interface: the real one here, a model in tests. It decides nothing.

import * as libc from "../kernel/libc.ts";
import { openSessionDump, type SessionDump } from "../kernel/sessionDump.ts";
import { openSessionEvents, type SessionEvents } from "../kernel/sessionEvents.ts";
import { openSessionFold, type SessionFold, type SessionFoldOptions } from "../kernel/sessionFold.ts";
import { carriedGenerations, openKeyDump, purgeGeneration } from "../kernel/sessionGenerations.ts";
import { countEntries } from "../kernel/sessions.ts";
import { openSessionTimes, type SessionTimes, type SetBackWalk } from "../kernel/sessionTimes.ts";
import type { ApplyResult, SessionWriter } from "../kernel/sessionWriter.ts";
import { openSessionWriter } from "../kernel/sessionWriter.ts";
import { type SendingPolicy, SessionPolicy } from "../wire/sessionPolicy.ts";

export interface ReplicationKernel {
  readonly events: SessionEvents;
  readonly writer: Pick<SessionWriter, "sweep" | "insert"> & {
    apply(bytes: Uint8Array, count: number, generation: number): ApplyResult;
  };
  /** With what helpers expect, where `events.expectations` says that the peer is told; `false`: without. */
  openDump(expectations?: false): Pick<SessionDump, "next" | "close">;
  /** Every session of the pair in this node's table, whether or not it would be sent: a delete of each. */
  openKeyDump(): Pick<SessionDump, "next" | "close">;
  /** For the audit: the pair's sessions as hashes; `active`: as the one who sends. */
  openFold(options: Omit<SessionFoldOptions, "policy">, active: boolean): SessionFold;
  carriedGenerations(): readonly number[];
  purge(linkIds: readonly number[], generation: number): void;
  /** Begins to set times back, through the whole table. */
  walkTimes(): SetBackWalk;
  /** Whether the active says each session's time again, round after round (`SessionWriter.refreshed`). */
  setRefreshed(refreshed: boolean): void;
  /** Entries of the table, the node's own among them. */
  count(): number;
  /** True where one of the descriptors became readable within `timeoutMs`. */
  wait(fds: readonly number[], timeoutMs: number): Promise<boolean>;
  close(): void;
}

/**
 * Opens the sockets, in the network namespace of the calling thread, for the sessions that `sending` wants told. Throws
 * KernelError.
 */
export function openReplicationKernel(sending?: SendingPolicy): ReplicationKernel {
  const policy = new SessionPolicy(sending);
  const writer = openSessionWriter();
  let times: SessionTimes | null = null;
  try {
    const opened = openSessionTimes();
    times = opened;
    // What this node writes for its peer is not told back, and a time that is set back is nothing that happened.
    const events = openSessionEvents({ ignore: [writer.portId, opened.portId], policy });
    return {
      events,
      writer,
      openDump: (expectations) =>
        openSessionDump({ policy, expectations: expectations ?? events.expectations }),
      openKeyDump,
      openFold: (options, active) => openSessionFold({ ...options, policy: active ? policy : null }),
      carriedGenerations,
      purge: purgeGeneration,
      walkTimes: () => opened.walk(),
      setRefreshed: (refreshed) => {
        writer.refreshed = refreshed;
      },
      count: () => countEntries(),
      wait: async (fds, timeoutMs) => (await libc.pollAsync(libc.pollVector(fds), fds.length, timeoutMs)) > 0,
      close: () => {
        events.close();
        opened.close();
        writer.close();
      },
    };
  } catch (error) {
    times?.close();
    writer.close();
    throw error;
  }
}
