// Expectations into the kernel: what the active's helpers expect, this node's shall too (docs/protocol.md §9.6). Part of the
// session writer, over its requests. One that the kernel will not take is left out and counted, and costs no session its
// place: the peer's word on it comes again with every round.

import {
  EXPECTATIONS_TOLD_MAX,
  MARK_LINK_MASK,
  REFRESH_ROUND_MS,
  SESSION_REQUESTS_PER_SEND,
  STANDBY_ROUNDS,
} from "../base/limits.ts";
import {
  createExpectation,
  deleteExpectation,
  readExpectationMessage,
  setExpectationTimeout,
} from "../wire/conntrackExpect.ts";
import { ExpectationFields, isExpectation, readExpectation } from "../wire/expectation.ts";
import { SessionOperation } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import { lookUpMaster, openExpectationTable } from "./expectationTeller.ts";
import { REQUESTS_PER_REPLACEMENT, type SessionExchange } from "./sessionExchange.ts";

export interface ExpectationCounts {
  expected: number;
  /** Ends, of what was there or not. */
  unexpected: number;
  /** The master is not here, or has no helper here; or something else is expected there. */
  notExpected: number;
}

/** A helper lengthens the life of what stays (SIP's registrations) without an event: it outlives the rounds that tell it. */
const PERMANENT_SECONDS = (REFRESH_ROUND_MS * STANDBY_ROUNDS) / 1000;

export class ExpectationWriter {
  readonly #kernel: SessionExchange;
  readonly #fields = new ExpectationFields();
  readonly #master = new SessionFields();
  /** Keys of what was heard of in this generation; null where they were too many to remember. */
  #told: Set<string> | null = new Set();
  #generation = 0;

  constructor(kernel: SessionExchange) {
    this.#kernel = kernel;
  }

  /**
   * Writes the expectation records from `start` on, up to the first that is of a session, or `count` of them: how many, and
   * the offset behind them. What is there with the same key makes way: neither flags nor translation can be changed.
   */
  apply(
    bytes: Uint8Array,
    start: number,
    count: number,
    generation: number,
    counts: ExpectationCounts,
  ): { readonly taken: number; readonly end: number } {
    const kernel = this.#kernel;
    this.#begin(generation);
    const most = Math.min(count, SESSION_REQUESTS_PER_SEND);
    const created: boolean[] = [];
    let end = start;
    kernel.begin();
    while (created.length < most && isExpectation(bytes, end)) {
      const offset = end;
      end = readExpectation(bytes, offset, this.#fields);
      if (end < 0) throw new Error(`expectation records at ${offset} were not validated`);
      const create = this.#fields.operation === SessionOperation.Create;
      this.#request(create, kernel.sequence + created.length * REQUESTS_PER_REPLACEMENT);
      created.push(create);
    }
    kernel.perform(created.length * REQUESTS_PER_REPLACEMENT, null);
    created.forEach((create, index) => {
      // Of a create's three requests the second makes it.
      if (!create) counts.unexpected += 1;
      else if (kernel.errors[index * REQUESTS_PER_REPLACEMENT + 1] === 0) counts.expected += 1;
      else counts.notExpected += 1;
    });
    return { taken: created.length, end };
  }

  #request(create: boolean, sequence: number): void {
    const fields = this.#fields;
    const { requests } = this.#kernel;
    const key = keyOf(fields);
    deleteExpectation(requests, fields, sequence);
    if (!create) {
      this.#told?.delete(key);
      return;
    }
    createExpectation(requests, fields, sequence + 1);
    const seconds = fields.timeoutSeconds + (fields.permanent ? PERMANENT_SECONDS : 0);
    // A new one lasts as long as its helper says, whatever is asked for.
    setExpectationTimeout(requests, fields, sequence + 2, Math.max(seconds, 1));
    if (this.#told !== null && this.#told.size < EXPECTATIONS_TOLD_MAX) this.#told.add(key);
    else this.#told = null;
  }

  #begin(generation: number): void {
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.#told = new Set();
  }

  /**
   * Ends what is expected on account of these links' sessions and was not heard of in this generation; returns how much.
   * Call it in the writer's network namespace.
   */
  sweep(linkIds: readonly number[], generation: number): number {
    this.#begin(generation);
    const told = this.#told;
    // They end by themselves in minutes: better than to end what the active has.
    if (told === null) return 0;
    const table = openExpectationTable();
    let swept = 0;
    try {
      while (
        table.next((bytes, start, end) => {
          swept += this.#sweepOne(bytes, start, end, linkIds, told);
          return true;
        })
      );
      return swept;
    } finally {
      table.close();
    }
  }

  /** 1 where the entry of the table was ended, else 0. */
  #sweepOne(
    bytes: Uint8Array,
    start: number,
    end: number,
    linkIds: readonly number[],
    told: ReadonlySet<string>,
  ): number {
    const fields = this.#fields;
    const kernel = this.#kernel;
    if (!readExpectationMessage(bytes, start, end, fields) || told.has(keyOf(fields))) return 0;
    const master = lookUpMaster(kernel, fields, this.#master);
    if (master === null || !linkIds.includes(master.mark & MARK_LINK_MASK)) return 0;
    kernel.begin();
    deleteExpectation(kernel.requests, fields, kernel.sequence);
    return kernel.perform(1, null) === 0 ? 1 : 0;
  }
}

function keyOf(fields: ExpectationFields): string {
  const { bytes, source, destination, addressBytes, protocol, a, b } = fields;
  const address = (at: number): string => bytes.subarray(at, at + addressBytes).join(".");
  return `${protocol} ${address(source)} ${a} ${address(destination)} ${b}`;
}
