// The driver of a merge on the side that gives (core/replication/merge.ts): reads this node's table one step a turn of the
// event loop, for as long as the machine wants more. It judges nothing: what is in the table is offered.

import { type Giving, wantsGift } from "../core/replication/merge.ts";
import { RecordBatch } from "../wire/session.ts";
import type { ReplicationKernel } from "./replicationKernel.ts";

export interface MergeGiverOptions {
  readonly openDump: ReplicationKernel["openDump"];
  /** The merge under way; another object for each. */
  readonly giving: () => Giving | null;
  readonly onChunk: (bytes: Uint8Array, count: number, more: boolean) => void;
  readonly onError: (error: Error) => void;
}

export class MergeGiver {
  readonly #options: MergeGiverOptions;
  readonly #chunk = new RecordBatch();
  #dump: { readonly dump: ReturnType<ReplicationKernel["openDump"]>; readonly giving: Giving } | null = null;
  #soon: NodeJS.Immediate | null = null;

  constructor(options: MergeGiverOptions) {
    this.#options = options;
  }

  /** After every step of the machine: goes on, or lets go of a dump that nobody wants any more. */
  plan(): void {
    const giving = this.#options.giving();
    if (this.#dump !== null && (this.#dump.giving !== giving || giving.ended)) this.#drop();
    if (giving === null || !wantsGift(giving)) return;
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
    const giving = this.#options.giving();
    if (giving === null || !wantsGift(giving)) return;
    let more = true;
    try {
      this.#dump ??= { dump: this.#options.openDump(), giving };
      this.#chunk.reset();
      more = this.#dump.dump.next(this.#chunk);
    } catch (error) {
      this.#drop();
      this.#options.onError(error as Error);
      return;
    }
    this.#options.onChunk(this.#chunk.records(), this.#chunk.count, more);
  }

  #drop(): void {
    this.#dump?.dump.close();
    this.#dump = null;
  }
}
