// The two machines of a node in the log simulator, of this version or of version 1 (frozen): the same inputs, the same
// effects, so that a node can be either, and be another after a restart. What version 1 has no word for is not said to it;
// that nobody says it to a peer of version 1 either is checked where messages are sent.

import type { Millis } from "../../src/base/units.ts";
import { ChangedKeys, EndedKeys } from "../../src/core/replication/changedKeys.ts";
import type { Taking } from "../../src/core/replication/merge.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import {
  createReceiver,
  type ReceiverEffect,
  type ReceiverInput,
  type ReceiverState,
} from "../../src/core/replication/receiverState.ts";
import * as sender from "../../src/core/replication/sender.ts";
import {
  createSender,
  type SenderEffect,
  type SenderInput,
  type SenderLimits,
  type SenderState,
} from "../../src/core/replication/senderState.ts";
import { ChangedKeys as OldChangedKeys, EndedKeys as OldEndedKeys } from "../frozen/v1/changedKeys.ts";
import * as oldReceiver from "../frozen/v1/receiver.ts";
import * as oldSender from "../frozen/v1/sender.ts";
import type { Millis as OldMillis } from "../frozen/v1/units.ts";
import { type Mutation, meddle } from "./logMutations.ts";

export interface SenderMachine {
  readonly version: 1 | 2;
  feed(now: Millis, input: SenderInput): SenderEffect[];
  /** Number of the dump that a chunk is wanted of now, for a round or for a refresh; null where none is. */
  wantsChunk(now: Millis): number | null;
  wantsRefresh(now: Millis): number | null;
  readonly taking: Taking | null;
  readonly synchronised: boolean;
  /** Unacknowledged bytes, and how many there may be. */
  readonly inFlight: number;
  inFlightMax(chunkBytesMax: number): number;
  readonly losing: boolean;
  readonly counters: Readonly<Record<string, number>>;
  describe(): string;
}

export interface ReceiverMachine {
  readonly version: 1 | 2;
  feed(now: Millis, input: ReceiverInput): ReceiverEffect[];
  readonly following: boolean;
  readonly synchronised: boolean;
  relieves(now: Millis): boolean;
  readonly wantsSweep: boolean;
  readonly wantsGift: boolean;
  /** The merge under way on the side that gives; another object for each. */
  readonly giving: object | null;
  deadline(): Millis | null;
  /** What nobody else holds is forgotten to be that. */
  disown(): void;
  /** A mutation: what `act` feeds is not heard by a round. */
  deafly(act: () => void): void;
  readonly counters: Readonly<Record<string, number>>;
  describe(): string;
}

const SEED = 7;

export function newSender(
  version: 1 | 2,
  limits: SenderLimits,
  keysMax: number,
  mutation: Mutation | null,
): SenderMachine {
  return version === 1
    ? new OldSender(limits, keysMax, mutation)
    : new NewSender(
        createSender(limits, mutated(new ChangedKeys(keysMax, SEED), mutation), endedKeys(mutation)),
        mutation,
      );
}

const endedKeys = (mutation: Mutation | null): EndedKeys => {
  const ended = new EndedKeys(SEED);
  if (mutation === "ended-returns") ended.has = () => false;
  return ended;
};

function mutated<Keys extends { has: ChangedKeys["has"]; add: ChangedKeys["add"] }>(
  keys: Keys,
  mutation: Mutation | null,
): Keys {
  if (mutation === "send-changed-keys") keys.has = () => false;
  if (mutation === "keys-unmarked") {
    const add = keys.add.bind(keys);
    keys.add = (high, low) => add(high, low) || true;
  }
  return keys;
}

class NewSender implements SenderMachine {
  readonly version = 2;
  readonly #state: SenderState;
  readonly #mutation: Mutation | null;

  constructor(state: SenderState, mutation: Mutation | null) {
    this.#state = state;
    this.#mutation = mutation;
  }

  feed(now: Millis, input: SenderInput): SenderEffect[] {
    const effects: SenderEffect[] = [];
    const state = this.#state;
    const hadRound = state.round !== null;
    const { add } = state.dirty;
    if (this.#mutation === "full-unmarked") state.dirty.add = () => {};
    sender.step(state, now, input, effects);
    state.dirty.add = add;
    meddle(state, this.#mutation, hadRound);
    return this.#mutation === "due-untold" ? effects.filter(({ kind }) => kind !== "round-due") : effects;
  }

  wantsChunk(now: Millis): number | null {
    return sender.wantsChunk(this.#state, now) ? this.#state.round!.number : null;
  }

  wantsRefresh(now: Millis): number | null {
    if (this.#mutation === "refresh-never" || !sender.wantsRefresh(this.#state, now)) return null;
    return this.#state.refresh!.number;
  }

  get taking(): Taking | null {
    return this.#state.taking;
  }

  get synchronised(): boolean {
    return sender.isSynchronised(this.#state);
  }

  get inFlight(): number {
    return this.#state.changesInFlight.bytes + this.#state.readInFlight.bytes;
  }

  inFlightMax(chunkBytesMax: number): number {
    return this.#state.limits.logBytesMax + this.#state.limits.snapshotWindowBytes + chunkBytesMax;
  }

  get losing(): boolean {
    return this.#state.losing;
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#state.counters };
  }

  describe(): string {
    return sender.describe(this.#state);
  }
}

/** A moment as version 1's files call it: the same number under another name. */
const old = (now: Millis): OldMillis => now as number as OldMillis;

class OldSender implements SenderMachine {
  readonly version = 1;
  readonly losing = false;
  readonly #state: oldSender.SenderState;

  constructor(limits: SenderLimits, keysMax: number, mutation: Mutation | null) {
    const keys = mutated(new OldChangedKeys(keysMax, SEED), mutation === "keys-unmarked" ? null : mutation);
    const ended = new OldEndedKeys(SEED);
    if (mutation === "ended-returns") ended.has = () => false;
    const { logBytesMax, snapshotWindowBytes, roundPaceMs: restartPaceMs } = limits;
    const window = Math.min(snapshotWindowBytes, logBytesMax);
    this.#state = oldSender.createSender(
      { logBytesMax, snapshotWindowBytes: window, restartPaceMs },
      keys,
      ended,
    );
  }

  feed(now: Millis, input: SenderInput): SenderEffect[] {
    switch (input.kind) {
      case "drained":
      case "turn":
        return [];
      case "dirty":
      case "round-swept":
      case "refresh-chunk":
      case "refresh-failed":
        throw new Error(`version 1 is told ${input.kind}`);
      case "chunk":
        return this.#step(now, { ...input, snapshot: input.round });
      default:
        return this.#step(now, input);
    }
  }

  #step(now: Millis, input: oldSender.SenderInput): SenderEffect[] {
    const effects: oldSender.SenderEffect[] = [];
    oldSender.step(this.#state, old(now), input, effects);
    return effects.map((effect) =>
      effect.kind === "sessions" ? { ...effect, read: effect.snapshot } : effect,
    );
  }

  wantsChunk(now: Millis): number | null {
    return oldSender.wantsChunk(this.#state, old(now)) ? oldSender.snapshotNumber(this.#state) : null;
  }

  wantsRefresh(): number | null {
    return null;
  }

  get taking(): Taking | null {
    return this.#state.taking;
  }

  get synchronised(): boolean {
    return oldSender.isSynchronised(this.#state);
  }

  get inFlight(): number {
    return this.#state.flight.bytes;
  }

  inFlightMax(chunkBytesMax: number): number {
    return this.#state.limits.logBytesMax + chunkBytesMax;
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#state.counters };
  }

  describe(): string {
    return oldSender.describe(this.#state);
  }
}

export const newReceiver = (version: 1 | 2): ReceiverMachine =>
  version === 1 ? new OldReceiver() : new NewReceiver();

class NewReceiver implements ReceiverMachine {
  readonly version = 2;
  readonly #state: ReceiverState = createReceiver();

  feed(now: Millis, input: ReceiverInput): ReceiverEffect[] {
    const effects: ReceiverEffect[] = [];
    receiver.step(this.#state, now, input, effects);
    return effects;
  }

  get following(): boolean {
    return receiver.isFollowing(this.#state);
  }

  get synchronised(): boolean {
    return receiver.isSynchronised(this.#state);
  }

  relieves(now: Millis): boolean {
    return receiver.relieves(this.#state, now);
  }

  get wantsSweep(): boolean {
    return receiver.wantsSweep(this.#state);
  }

  get wantsGift(): boolean {
    return receiver.wantsChunk(this.#state);
  }

  get giving(): object | null {
    return this.#state.giving;
  }

  deadline(): Millis | null {
    return receiver.deadline(this.#state);
  }

  disown(): void {
    this.#state.own = false;
  }

  deafly(act: () => void): void {
    const { round } = this.#state;
    this.#state.round = null;
    act();
    this.#state.round = round;
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#state.counters };
  }

  describe(): string {
    return receiver.describe(this.#state);
  }
}

class OldReceiver implements ReceiverMachine {
  readonly version = 1;
  readonly wantsSweep = false;
  readonly #state = oldReceiver.createReceiver();

  feed(now: Millis, input: ReceiverInput): ReceiverEffect[] {
    switch (input.kind) {
      case "round-due":
      case "round-begin":
      case "round-end":
      case "round-chunk":
      case "round-sweep-failed":
        throw new Error(`version 1 is told ${input.kind}`);
      default: {
        const effects: oldReceiver.ReceiverEffect[] = [];
        oldReceiver.step(this.#state, old(now), input, effects);
        return effects;
      }
    }
  }

  get following(): boolean {
    return oldReceiver.isFollowing(this.#state);
  }

  get synchronised(): boolean {
    return oldReceiver.isSynchronised(this.#state);
  }

  relieves(now: Millis): boolean {
    return oldReceiver.relieves(this.#state, old(now));
  }

  get wantsGift(): boolean {
    return oldReceiver.wantsChunk(this.#state);
  }

  get giving(): object | null {
    return this.#state.giving;
  }

  deadline(): Millis | null {
    return oldReceiver.deadline(this.#state) as number | null as Millis | null;
  }

  disown(): void {
    this.#state.own = false;
  }

  deafly(act: () => void): void {
    act();
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...this.#state.counters };
  }

  describe(): string {
    return oldReceiver.describe(this.#state);
  }
}
