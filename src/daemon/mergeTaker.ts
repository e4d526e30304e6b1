// The driver of a merge on the side that takes, an active whose gate is open (core/replication/merge.ts): checks each message
// of the standby wholly, hands it to the machine in slices short enough for the event loop, and adds to the kernel what
// is absent there. Before each slice it has the kernel's events drained: what has just ended must not come back.

import { BATCH_BYTES_MAX, MERGE_SLICE_RECORDS, MERGE_WINDOW_BYTES } from "../base/limits.ts";
import type { Taking } from "../core/replication/merge.ts";
import type { SenderInput } from "../core/replication/senderState.ts";
import type { MessageOf } from "../wire/peer.ts";
import { recordEnd, recordOperation, SessionOperation, validateRecords } from "../wire/session.ts";
import type { ReplicationKernel } from "./replicationKernel.ts";

export type MergeMessage = MessageOf<"sessions"> | MessageOf<"mergeEnd">;

export interface MergeTakerOptions {
  readonly insert: ReplicationKernel["writer"]["insert"];
  /** The merge under way; another object for each. */
  readonly taking: () => Taking | null;
  /** Reads what the kernel has to say. */
  readonly drain: () => void;
  readonly input: (input: SenderInput) => void;
  readonly fail: (reason: string) => void;
  readonly log: (line: string) => void;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const bytesOf = (message: MergeMessage): number => (message.kind === "sessions" ? message.records.length : 0);

export class MergeTaker {
  /** What became of the records of all merges. */
  readonly counters = { inserted: 0, same: 0, clashed: 0, refused: 0 };
  readonly #options: MergeTakerOptions;
  #queue: { readonly message: MergeMessage; readonly taking: Taking }[] = [];
  #queuedBytes = 0;
  #working = false;

  constructor(options: MergeTakerOptions) {
    this.#options = options;
  }

  /** Takes a message of a merge, in order; what belongs to none is passed over by the machine, counted. */
  push(message: MergeMessage): void {
    const taking = this.#options.taking();
    if (taking === null) {
      this.#feed(message);
      return;
    }
    // More than an honest standby ever has on its way.
    if (this.#queuedBytes + bytesOf(message) > MERGE_WINDOW_BYTES + 2 * BATCH_BYTES_MAX) {
      this.#options.fail("merge: more than was acknowledged");
      return;
    }
    this.#queue.push({ message, taking });
    this.#queuedBytes += bytesOf(message);
    if (!this.#working) void this.#work().catch((error: Error) => this.#defect(error));
  }

  /** Adds records to the kernel: the machine's effect. */
  insert(bytes: Uint8Array, count: number): void {
    try {
      const result = this.#options.insert(bytes, count);
      this.counters.inserted += result.inserted;
      this.counters.same += result.same;
      this.counters.clashed += result.clashed;
      for (const times of Object.values(result.refused)) this.counters.refused += times;
    } catch (error) {
      this.counters.refused += count;
      this.#options.log(`replication: merge: ${(error as Error).message}`);
    }
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let item = this.#queue.shift(); item !== undefined; item = this.#queue.shift()) {
      if (item.message.kind === "sessions") await this.#take(item.message, item.taking);
      else if (this.#wanted(item.taking)) this.#feed(item.message);
      this.#queuedBytes -= bytesOf(item.message);
    }
    this.#working = false;
  }

  /** A role change, another subscription or a lost connection voids what is queued (M1). */
  #wanted(taking: Taking): boolean {
    return this.#options.taking() === taking;
  }

  async #take({ first, count, records }: MessageOf<"sessions">, taking: Taking): Promise<void> {
    const fault = faultIn(records, count);
    if (fault !== null) {
      this.#options.log(`replication: merge: a message of ${count} sessions is malformed: ${fault}`);
      if (this.#wanted(taking)) this.#options.fail(`sessions: ${fault}`);
      return;
    }
    for (let done = 0, offset = 0; done < count; ) {
      this.#options.drain();
      if (!this.#wanted(taking)) return;
      const slice = Math.min(MERGE_SLICE_RECORDS, count - done);
      let end = offset;
      for (let index = 0; index < slice; index += 1) end = recordEnd(records, end);
      this.#options.input({
        kind: "merge-sessions",
        first: { term: first.term, sequence: first.sequence + done },
        count: slice,
        bytes: records.subarray(offset, end),
      });
      offset = end;
      done += slice;
      await nextTurn();
    }
  }

  #feed(message: MergeMessage): void {
    const { input, log } = this.#options;
    if (message.kind === "sessions") {
      input({ kind: "merge-sessions", first: message.first, count: message.count, bytes: message.records });
      return;
    }
    const { term, generation, count } = message;
    input({ kind: "merge-end", subscription: { term, generation }, count });
    const { inserted, same, clashed, refused } = this.counters;
    log(
      `replication: merge of ${count} sessions done; in all ${inserted} taken over, ${same} known, ${clashed} clashed, ${refused} refused`,
    );
  }

  #defect(error: Error): void {
    this.#working = false;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#options.log(`replication: defect: ${error.stack ?? error.message}`);
    this.#options.fail("internal error");
  }
}

/** What is wrong with records that are to be merged; null where nothing is. */
function faultIn(records: Uint8Array, count: number): string | null {
  const verdict = validateRecords(records);
  if (!verdict.ok) return verdict.reason;
  if (verdict.count !== count || count === 0) return "count of records";
  for (let offset = 0; offset < records.length; offset = recordEnd(records, offset))
    if (recordOperation(records, offset) !== SessionOperation.Create) return "a merge only creates";
  return null;
}
