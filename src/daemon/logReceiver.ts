// The driver of core/replication/receiver.ts: takes the active's messages one after the other, has each checked
// wholly and then written into this node's kernel in slices short enough for the event loop, and feeds the outcome
// back. The order of the log is the order of the queue. What fails in the kernel is counted and withdraws
// readiness; it never ends the daemon.

import { APPLY_SLICE_RECORDS, RECEIVE_QUEUE_BYTES_MAX } from "../base/limits.ts";
import { type Millis, millis } from "../base/units.ts";
import type { AuditMessage } from "../core/audit/auditorState.ts";
import { deadline, isFollowing, isSynchronised, relieves, step } from "../core/replication/receiver.ts";
import {
  createReceiver,
  type ReceiverEffect,
  type ReceiverInput,
  type ReceiverState,
} from "../core/replication/receiverState.ts";
import type { MessageOf, PeerMessage } from "../wire/peer.ts";
import { recordEnd, validateRecords } from "../wire/session.ts";
import { MergeGiver } from "./mergeGiver.ts";
import type { ReplicationKernel } from "./replicationKernel.ts";
import { RoundSweeper } from "./roundSweeper.ts";

export interface LogReceiverOptions {
  readonly kernel: Pick<ReplicationKernel, "purge" | "carriedGenerations" | "openDump" | "openKeyDump"> & {
    readonly writer: Pick<ReplicationKernel["writer"], "apply" | "sweep">;
  };
  /** Those of the configuration in force. */
  readonly linkIds: () => readonly number[];
  readonly send: (message: PeerMessage) => void;
  readonly fail: (reason: string) => void;
  /** The connection is to be read no further, or again. */
  readonly pause: () => void;
  readonly resume: () => void;
  readonly installNeighbours: (message: MessageOf<"neighbours">) => void;
  readonly onChange: () => void;
  /** Hears of each change before it is applied, and of the active's words about the audit, in the log's order. */
  readonly audit?: {
    received(bytes: Uint8Array): void;
    asked(message: AuditMessage, synchronised: boolean): void;
  };
  readonly log: (line: string) => void;
}

type Apply = Extract<ReceiverEffect, { kind: "apply" }>;
type Job = Extract<ReceiverEffect, { kind: "apply" | "sweep" | "purge" }>;

/** Of the writer's counts those that are no refusal. */
const APPLIED = [
  "created",
  "updated",
  "deleted",
  "replaced",
  "absent",
  "expected",
  "unexpected",
  "notExpected",
] as const;

const now = (): Millis => millis(performance.now());
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const sizeOf = (message: PeerMessage): number =>
  message.kind === "sessions"
    ? message.records.length
    : message.kind === "neighbours"
      ? 32 * message.neighbours.length
      : 32;

export class LogReceiver {
  readonly state: ReceiverState = createReceiver();
  /** What the kernel did with records, and what was refused, by reason. */
  readonly counters: Record<string, number> = {};
  readonly #options: LogReceiverOptions;
  readonly #effects: ReceiverEffect[] = [];
  readonly #giver: MergeGiver;
  readonly #sweeper: RoundSweeper;
  #queue: PeerMessage[] = [];
  #queuedBytes = 0;
  #paused = false;
  #working = false;
  #jobs: Job[] = [];
  #retry: NodeJS.Timeout | null = null;
  #wasSynchronised = false;
  #closed = false;

  constructor(options: LogReceiverOptions) {
    this.#options = options;
    this.#giver = new MergeGiver({
      // What is expected is not merged: it is over in minutes, and its sessions are.
      openDump: () => options.kernel.openDump(false),
      giving: () => this.state.giving,
      onChunk: (bytes, count, more) => this.input({ kind: "merge-chunk", bytes, count, more }),
      onError: (error) => {
        // Begun again on the next connection: nothing of it is lost meanwhile (M2).
        options.log(`replication: the merge is cut off: ${error.message}`);
        options.fail("merge: this node's table cannot be read");
      },
    });
    this.#sweeper = new RoundSweeper({
      openKeyDump: () => options.kernel.openKeyDump(),
      state: this.state,
      onChunk: (bytes, count, more) => this.input({ kind: "round-chunk", bytes, count, more }),
      onError: (error) => this.#sweepFailed(error),
    });
    this.input({ kind: "carried", generations: options.kernel.carriedGenerations() });
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Asked before this node becomes active: it holds all that the former one did. */
  get relieves(): boolean {
    return relieves(this.state, now());
  }

  /** Takes a message of the log, in order. */
  push(message: PeerMessage): void {
    this.#queue.push(message);
    this.#queuedBytes += sizeOf(message);
    if (this.#queuedBytes > RECEIVE_QUEUE_BYTES_MAX && !this.#paused) {
      this.#paused = true;
      this.#options.pause();
    }
    if (!this.#working) void this.#work().catch((error: Error) => this.#defect(error));
  }

  /** The connection is gone, and with it what was not applied yet. */
  disconnected(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#paused = false;
    this.input({ kind: "disconnected" });
  }

  close(): void {
    this.#closed = true;
    this.disconnected();
    this.#giver.close();
    this.#sweeper.close();
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  /** Feeds one input; what takes time is left to the queue's worker. */
  input(input: ReceiverInput): void {
    step(this.state, now(), input, this.#effects);
    for (const effect of this.#effects.splice(0)) this.#perform(effect);
    const synchronised = isSynchronised(this.state);
    if (synchronised !== this.#wasSynchronised) {
      this.#wasSynchronised = synchronised;
      this.#options.onChange();
    }
    this.#plan();
    this.#giver.plan();
    this.#sweeper.plan();
  }

  #perform(effect: ReceiverEffect): void {
    const { send, fail } = this.#options;
    switch (effect.kind) {
      case "subscribe":
        send({ kind: "subscribe", ...effect.subscription, own: effect.own });
        return;
      case "merge-sessions": {
        const { first, count, bytes: records } = effect;
        send({ kind: "sessions", origin: "merge", first, count, records });
        return;
      }
      case "merge-end":
        send({ kind: "mergeEnd", ...effect.subscription, count: effect.count });
        return;
      case "acknowledge":
        send({ kind: "acknowledge", position: effect.position });
        return;
      case "round-swept":
        send({ kind: "roundSwept", position: effect.position, generation: effect.generation });
        return;
      case "remove":
        this.#remove(effect.bytes, effect.count);
        return;
      case "fail":
        this.#count(`failed-${effect.reason}`);
        fail(effect.reason);
        return;
      default:
        this.#jobs.push(effect);
    }
  }

  #plan(): void {
    const at = this.#closed ? null : deadline(this.state);
    if (this.#retry !== null) {
      clearTimeout(this.#retry);
      this.#retry = null;
    }
    if (at === null) return;
    this.#retry = setTimeout(
      () => {
        this.#retry = null;
        this.input({ kind: "turn" });
      },
      Math.max(1, at - now()),
    );
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let message = this.#queue.shift(); message !== undefined; message = this.#queue.shift()) {
      this.#handle(message);
      for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) await this.#run(job);
      this.#queuedBytes = Math.max(0, this.#queuedBytes - sizeOf(message));
      if (this.#paused && this.#queuedBytes * 2 < RECEIVE_QUEUE_BYTES_MAX) {
        this.#paused = false;
        this.#options.resume();
      }
    }
    this.#working = false;
  }

  /** A defect of ours ends this connection, not the daemon. */
  #defect(error: Error): void {
    this.#working = false;
    this.#jobs = [];
    this.#count("defect");
    this.#options.log(`replication: defect: ${error.stack ?? error.message}`);
    this.#options.fail("internal error");
  }

  #handle(message: PeerMessage): void {
    switch (message.kind) {
      case "roleChanged":
        this.input({ kind: "peer", role: message.role, term: message.term });
        return;
      case "snapshotBegin":
        this.input({
          kind: "snapshot-begin",
          position: message.position,
          generation: message.generation,
        });
        return;
      case "snapshotEnd":
        this.input({
          kind: "snapshot-end",
          position: message.position,
          generation: message.generation,
        });
        return;
      case "roundBegin":
        this.input({ ...message, kind: "round-begin" });
        return;
      case "roundEnd":
        this.input({ kind: "round-end", position: message.position, generation: message.generation });
        return;
      case "roundDue":
        this.input({ kind: "round-due", generation: message.generation });
        return;
      case "sessions":
        this.#onSessions(message);
        return;
      case "mergeRequest":
        this.input({
          kind: "merge-request",
          subscription: { term: message.term, generation: message.generation },
        });
        return;
      case "mergeAcknowledge":
        this.input({
          kind: "merge-acknowledge",
          generation: message.generation,
          sequence: message.sequence,
        });
        return;
      case "neighbours":
        if (this.state.standby) this.#options.installNeighbours(message);
        return;
      case "auditBegin":
      case "auditEnd":
      case "auditAsk":
      case "auditVoid":
      case "auditResult":
        this.#options.audit?.asked(message, isSynchronised(this.state));
        return;
      default:
        this.#count(`unexpected-${message.kind}`);
    }
  }

  /** All of it is checked before any of it is applied. */
  #onSessions(message: MessageOf<"sessions">): void {
    const verdict = validateRecords(message.records);
    if (!verdict.ok || verdict.count !== message.count) {
      const reason = verdict.ok ? "count of records" : verdict.reason;
      this.#count("malformed-records");
      this.#options.log(`replication: a message of ${message.count} sessions is malformed: ${reason}`);
      this.#options.fail(`sessions: ${reason}`);
      return;
    }
    if (message.origin === "change") this.#options.audit?.received(message.records);
    this.input({ kind: "sessions", first: message.first, count: message.count, bytes: message.records });
  }

  /** Whether the job at hand is still wanted: not after a takeover, a lost connection, a new subscription. */
  #wanted(): boolean {
    return !this.#closed && isFollowing(this.state);
  }

  async #run(job: Job): Promise<void> {
    if (!this.#wanted()) return;
    const { kernel, log } = this.#options;
    const linkIds = this.#options.linkIds();
    try {
      if (job.kind === "apply") await this.#apply(job);
      else if (job.kind === "purge") kernel.purge(linkIds, job.generation);
      else {
        for (const linkId of linkIds) {
          // A takeover in the middle ends the sweep (R4).
          if (!this.#wanted()) return;
          this.#count("swept", kernel.writer.sweep([linkId], job.generation));
          await nextTurn();
        }
      }
    } catch (error) {
      this.#count(`kernel-refused-${job.kind}`);
      log(`replication: ${(error as Error).message}`);
      // The state is not whole, and a later snapshot makes it so.
      if (job.kind === "sweep") this.input({ kind: "sweep-failed" });
      else this.input({ kind: "applied", count: 0, refused: 1 });
      return;
    }
    if (job.kind === "sweep" && this.#wanted()) this.input({ kind: "swept" });
  }

  async #apply({ bytes, count, generation }: Apply): Promise<void> {
    let offset = 0;
    for (let done = 0; done < count; ) {
      const records = Math.min(APPLY_SLICE_RECORDS, count - done);
      let end = offset;
      for (let index = 0; index < records; index += 1) end = recordEnd(bytes, end);
      const refused = this.#write(bytes.subarray(offset, end), records, generation);
      this.input({ kind: "applied", count: records, refused });
      offset = end;
      done += records;
      if (done === count) return;
      await nextTurn();
      if (!this.#wanted()) return;
    }
  }

  /** What a round has left behind goes now. Should the kernel not let go of it, nothing is claimed of the round. */
  #remove(bytes: Uint8Array, count: number): void {
    const refused = this.#write(bytes, count, this.state.generation);
    if (refused > 0) this.#sweepFailed(new Error(`${refused} sessions were not removed`));
  }

  #sweepFailed(error: Error): void {
    this.#count("round-sweep-failed");
    this.#options.log(`replication: the end of a round: ${error.message}`);
    this.input({ kind: "round-sweep-failed" });
  }

  /** How many the kernel would not take. */
  #write(bytes: Uint8Array, count: number, generation: number): number {
    let refused = 0;
    try {
      const result = this.#options.kernel.writer.apply(bytes, count, generation);
      for (const kind of APPLIED) this.#count(kind, result[kind]);
      for (const [code, times] of Object.entries(result.refused)) {
        this.#count(`refused-${code}`, times);
        refused += times;
      }
    } catch (error) {
      this.#count("kernel-refused-apply");
      this.#options.log(`replication: ${(error as Error).message}`);
      return count;
    }
    return refused;
  }

  #count(name: string, by = 1): void {
    if (by > 0) this.counters[name] = (this.counters[name] ?? 0) + by;
  }
}
