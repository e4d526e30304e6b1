// The two machines of the log as tests drive them: inputs in few words, effects as lines of text.

import { type Millis, millis } from "../../src/base/units.ts";
import { Buckets } from "../../src/core/replication/buckets.ts";
import { ChangedKeys } from "../../src/core/replication/changedKeys.ts";
import * as receiver from "../../src/core/replication/receiver.ts";
import {
  createReceiver,
  type ReceiverEffect,
  type ReceiverInput,
} from "../../src/core/replication/receiverState.ts";
import * as sender from "../../src/core/replication/sender.ts";
import {
  createSender,
  type SenderEffect,
  type SenderInput,
  type SenderLimits,
  type SenderState,
} from "../../src/core/replication/senderState.ts";
import { batchOf, deletion, session } from "./records.ts";

const sizeOf = (bits: Uint8Array): number => {
  const set = new Buckets();
  set.addAll(bits);
  return set.size;
};

/** An active. The test keeps its clock. */
export class Sender {
  readonly state: SenderState;
  now: Millis = millis(0);
  readonly effects: SenderEffect[] = [];

  constructor(limits: Partial<SenderLimits> = {}, keysMax?: number) {
    this.state = createSender(limits, new ChangedKeys(keysMax));
  }

  feed(input: SenderInput): string[] {
    this.effects.length = 0;
    sender.step(this.state, this.now, input, this.effects);
    return this.effects.map(text);
  }

  events(...ids: number[]): string[] {
    const bytes = batchOf(ids.map((id) => session(id)));
    return this.feed({ kind: "events", bytes, count: ids.length });
  }

  deletes(...ids: number[]): string[] {
    const bytes = batchOf(ids.map((id) => deletion(id)));
    return this.feed({ kind: "events", bytes, count: ids.length });
  }

  chunk(ids: readonly number[], more: boolean, round = this.state.round?.number ?? 0): string[] {
    const bytes = batchOf(ids.map((id) => session(id)));
    return this.feed({ kind: "chunk", round, bytes, count: ids.length, more });
  }

  acknowledge(sequence: number, term = 2): string[] {
    return this.feed({ kind: "acknowledge", position: { term, sequence } });
  }

  swept(sequence: number, generation = 1): string[] {
    return this.feed({ kind: "round-swept", position: { term: 2, sequence }, generation });
  }

  subscribe(generation: number, knowsRounds = true): string[] {
    return this.feed({ kind: "subscribe", subscription: { term: 2, generation }, own: false, knowsRounds });
  }

  /** Active in term 2, subscribed. */
  static subscribed(limits: Partial<SenderLimits> = {}, keysMax?: number, knowsRounds = true): Sender {
    const result = new Sender(limits, keysMax);
    result.feed({ kind: "active", term: 2, relieved: false });
    result.subscribe(1, knowsRounds);
    return result;
  }

  /** Synchronised, at 2/1. */
  static streaming(limits: Partial<SenderLimits> = {}, keysMax?: number, knowsRounds = true): Sender {
    const result = Sender.subscribed(limits, keysMax, knowsRounds);
    result.chunk([], false);
    result.acknowledge(1);
    return result;
  }
}

function text(effect: SenderEffect): string {
  switch (effect.kind) {
    case "sessions": {
      const last = effect.first.sequence + effect.count - 1;
      return `${effect.read ? "snapshot" : "change"} ${effect.first.term}/${effect.first.sequence}-${last}`;
    }
    case "snapshot-begin":
      return `begin ${effect.position.term}/${effect.position.sequence} generation ${effect.generation}`;
    case "snapshot-end":
      return `end ${effect.position.sequence} count ${effect.count}`;
    case "round-due":
      return `due ${effect.generation}`;
    case "round-begin":
      return `round of ${sizeOf(effect.buckets)} from ${effect.position.term}/${effect.position.sequence}`;
    case "round-end":
      return `round ends at ${effect.position.sequence} count ${effect.count}`;
    case "fail":
      return `fail ${effect.reason}`;
    default:
      return effect.kind;
  }
}

/** A standby, whose kernel the test plays. */
export class Receiver {
  readonly state = createReceiver();
  now: Millis = millis(0);
  readonly effects: ReceiverEffect[] = [];

  feed(input: ReceiverInput): string[] {
    this.effects.length = 0;
    receiver.step(this.state, this.now, input, this.effects);
    return this.effects.map(receivedText);
  }

  begin(sequence: number, generation = this.state.subscription.generation, term = 2): string[] {
    return this.feed({ kind: "snapshot-begin", position: { term, sequence }, generation });
  }

  sessions(sequence: number, count: number, term = 2): string[] {
    return this.feed({ kind: "sessions", first: { term, sequence }, count, bytes: new Uint8Array(0) });
  }

  applied(count: number, refused = 0): string[] {
    return this.feed({ kind: "applied", count, refused });
  }

  end(sequence: number, generation = this.state.subscription.generation): string[] {
    return this.feed({ kind: "snapshot-end", position: { term: 2, sequence }, generation });
  }

  /** Begins a snapshot that writes one record and is never finished. */
  unfinished(): string[] {
    const effects = [...this.begin(0), ...this.sessions(1, 1)];
    this.applied(1);
    return effects;
  }

  static waiting(): Receiver {
    const result = new Receiver();
    result.feed({ kind: "role", standby: true });
    result.feed({ kind: "peer", role: "active", term: 2 });
    return result;
  }

  /** Synchronised, at 2/2. */
  static streaming(): Receiver {
    const result = Receiver.waiting();
    result.unfinished();
    result.end(2);
    result.feed({ kind: "swept" });
    return result;
  }
}

function receivedText(effect: ReceiverEffect): string {
  switch (effect.kind) {
    case "subscribe":
      return `subscribe ${effect.subscription.term} generation ${effect.subscription.generation}`;
    case "apply":
      return `apply ${effect.count} as ${effect.generation}`;
    case "acknowledge":
      return `acknowledge ${effect.position.term}/${effect.position.sequence}`;
    case "remove":
      return `remove ${effect.count}`;
    case "round-swept":
      return `swept ${effect.position.term}/${effect.position.sequence}`;
    case "fail":
      return `fail ${effect.reason}`;
    case "merge-sessions":
      return `give ${effect.first.term}/${effect.first.sequence} count ${effect.count}`;
    case "merge-end":
      return `given ${effect.count}`;
    default:
      return `${effect.kind} ${effect.generation}`;
  }
}
