// The session table read for the audit (docs/protocol.md §5.8): one netlink datagram a step, and of each of the pair's sessions
// three numbers, the hash of its key and of what it comes to, without an object for one. It compares nothing, and writes
// nothing.

import { sessionContentHash, sessionKeyHash } from "../wire/sessionDigest.ts";
import type { SessionFields } from "../wire/sessionFields.ts";
import { isPairs, type SessionPolicy } from "../wire/sessionPolicy.ts";
import { openSessionScan, type SessionScan } from "./sessionDump.ts";

export interface SessionFoldOptions {
  /** Of the hashes of keys, and of what they stand for. */
  readonly seed: number;
  readonly salt: number;
  /**
   * On the active: which sessions are sent; those of the others that are the pair's come with a content of 0, for the standby
   * may have been told of them in another state. Null on the standby: all of the pair's.
   */
  readonly policy: SessionPolicy | null;
}

/** Takes one session: the two words of its key's hash, and its content (0: not to be compared). */
export type FoldSink = (high: number, low: number, content: number) => void;

export interface SessionFold {
  /** Gives the sessions of the next datagram (some 130) to `sink`. False: that was the end. Throws KernelError. */
  next(sink: FoldSink): boolean;
  close(): void;
}

/** Begins to read the table of the calling thread's network namespace. Throws KernelError. */
export const openSessionFold = (options: SessionFoldOptions): SessionFold =>
  new Fold(openSessionScan(), options);

class Fold implements SessionFold {
  readonly #scan: SessionScan;
  readonly #options: SessionFoldOptions;
  readonly #hash = new Uint32Array(2);
  #sink: FoldSink = () => {};

  constructor(scan: SessionScan, options: SessionFoldOptions) {
    this.#scan = scan;
    this.#options = options;
  }

  next(sink: FoldSink): boolean {
    this.#sink = sink;
    return this.#scan.next(this.#take);
  }

  close(): void {
    this.#scan.close();
  }

  readonly #take = (fields: SessionFields): boolean => {
    if (!isPairs(fields)) return true;
    const { seed, salt, policy } = this.#options;
    const isCompared = policy === null || policy.recordFor(fields) !== 0;
    sessionKeyHash(fields, this.#hash, seed);
    this.#sink(this.#hash[0]!, this.#hash[1]!, isCompared ? sessionContentHash(fields, salt) : 0);
    return true;
  };
}
