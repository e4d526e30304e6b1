// The driver of a round's sweep on the standby (core/replication/receivedRound.ts): walks this node's table one step a turn
// of the event loop, between the messages of the log, and hands over the key of each of the pair's sessions. It judges
// nothing: which of them have to go, the machine says.

import { wantsSweep } from "../core/replication/receiver.ts";
import type { ReceiverState } from "../core/replication/receiverState.ts";
import { RecordBatch } from "../wire/session.ts";
import type { ReplicationKernel } from "./replicationKernel.ts";

export interface RoundSweeperOptions {
  readonly openKeyDump: ReplicationKernel["openKeyDump"];
  readonly state: ReceiverState;
  readonly onChunk: (bytes: Uint8Array, count: number, more: boolean) => void;
  readonly onError: (error: Error) => void;
}

const NOTHING = new Uint8Array(0);

export class RoundSweeper {
  readonly #options: RoundSweeperOptions;
  readonly #chunk = new RecordBatch();
  #walk: {
    readonly dump: ReturnType<ReplicationKernel["openKeyDump"]>;
    readonly round: ReceiverState["round"];
  } | null = null;
  #soon: NodeJS.Immediate | null = null;

  constructor(options: RoundSweeperOptions) {
    this.#options = options;
  }

  /** After every step of the machine: goes on, or lets go of a walk that nobody wants any more. */
  plan(): void {
    const { state } = this.#options;
    if (this.#walk !== null && this.#walk.round !== state.round) this.#drop();
    if (!wantsSweep(state)) return;
    this.#soon ??= setImmediate(() => {
      this.#soon = null;
      this.#turn();
    });
  }

  close(): void {
    if (this.#soon !== null) clearImmediate(this.#soon);
    this.#soon = null;
    this.#drop();
  }

  #turn(): void {
    const { state, openKeyDump, onChunk, onError } = this.#options;
    if (!wantsSweep(state)) return;
    let more = true;
    try {
      this.#walk ??= { dump: openKeyDump(), round: state.round };
      this.#chunk.reset();
      more = this.#walk.dump.next(this.#chunk);
    } catch (error) {
      this.#drop();
      onError(error as Error);
      return;
    }
    // The end of the walk is a step of its own: where the kernel will not let go of what was found last, it is not reached.
    // A step that has met nothing of the pair's is told as well: the next one is planned by it.
    if (this.#chunk.count > 0 || more) onChunk(this.#chunk.records(), this.#chunk.count, true);
    if (!more) onChunk(NOTHING, 0, false);
  }

  #drop(): void {
    this.#walk?.dump.close();
    this.#walk = null;
  }
}
