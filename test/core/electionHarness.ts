// One machine under test with a willing kernel: effects are performed as heart's driver would, receipts come back at
// once, and everything that was done is kept for the test to read.

import assert from "node:assert/strict";
import { GateState, type Millis, millis, Role, term } from "../../src/base/units.ts";
import { viewOf } from "../../src/core/election/describe.ts";
import { deadline, step } from "../../src/core/election/election.ts";
import { createElection, type ElectionState } from "../../src/core/election/state.ts";
import type {
  ElectionConfig,
  ElectionEffect,
  ElectionInput,
  ElectionStart,
} from "../../src/core/election/types.ts";
import type { HeartbeatMessage } from "../../src/wire/heartbeat.ts";

export const CONFIG: ElectionConfig = {
  node: "b",
  priority: { a: 100, b: 100 },
  timers: {
    heartbeatMs: millis(10),
    deadAfterMs: millis(50),
    leaseMs: millis(40),
    soloLeaseMs: millis(10_000),
  },
  segments: [
    { name: "lan", singleMac: false },
    { name: "wan1", singleMac: false },
  ],
};

/** What the other node would say; tests change what matters. */
export function words(change: Partial<HeartbeatMessage>): HeartbeatMessage {
  return {
    node: "a",
    role: Role.Active,
    gate: GateState.Open,
    ready: true,
    handover: false,
    leaving: false,
    candidate: false,
    dressed: true,
    term: 2,
    sequence: 1,
    echo: 0,
    leaseMs: 40,
    position: { term: 2, sequence: 100 },
    sessions: 0,
    configurationDigest: "0000000000000000",
    priority: 100,
    carrier: 3,
    witnessed: 3,
    alarms: 0,
    critical: false,
    ...change,
  };
}

export class Bench {
  now = 1000;
  readonly state: ElectionState;
  /** Everything that was done, in order. */
  readonly done: ElectionEffect[] = [];
  /** The kernel's answer to `renew`; to `open` only within its time. */
  renews = true;
  /** The driver comes in time for `open`. */
  opens = true;
  readonly segments: number;
  #sequence = 0;
  #reported = Number.NEGATIVE_INFINITY;
  /** Segments on which a third party answers. */
  witnesses: readonly number[];
  /** Segments on which the virtual MAC answers. */
  answers: readonly number[] = [];
  /** Segments on which no probe leaves. */
  mute: readonly number[] = [];
  disk: "works" | "refuses" = "works";
  /** Our own daemon; silent, it hangs. */
  daemon: "speaks" | "silent" = "speaks";
  /** Which life of the other node speaks. */
  boot = 1;

  constructor(config: ElectionConfig = CONFIG, start: Partial<ElectionStart> = {}) {
    this.segments = config.segments.length;
    this.witnesses = config.segments.map((_, index) => index);
    this.state = createElection(config, {
      now: this.time,
      stored: { current: term(0), reserved: term(0) },
      adopted: null,
      carriers: config.segments.map(() => true),
      ...start,
    });
  }

  get time(): Millis {
    return millis(this.now);
  }

  /** One turn of the driver at this moment. */
  turn(...inputs: readonly ElectionInput[]): readonly ElectionEffect[] {
    const effects: ElectionEffect[] = [];
    const before = this.done.length;
    for (const input of [...this.#daemon(), ...inputs, { kind: "turn" } as const])
      step(this.state, this.time, input, effects);
    const answers: ElectionInput[] = [];
    for (let index = 0; index < effects.length; index++) this.#perform(effects[index]!, effects, answers);
    for (const input of answers) step(this.state, this.time, input, effects);
    this.done.push(...effects);
    return this.done.slice(before);
  }

  /** Turns as the machine wants them, for this long; `speak` is heard by it every 10 ms. */
  run(forMs: number, speak?: () => Partial<HeartbeatMessage> | null): readonly ElectionEffect[] {
    const before = this.done.length;
    const end = this.now + forMs;
    let speaks = this.now;
    while (this.now < end) {
      const said = speak !== undefined && this.now >= speaks ? speak() : null;
      if (this.now >= speaks) speaks += 10;
      if (said !== null) this.hear(said);
      else this.turn();
      this.now = Math.min(end, speaks, Math.max(this.now + 0.5, deadline(this.state)));
    }
    return this.done.slice(before);
  }

  /** The other node's next heartbeat, which echoes our last one unless it says otherwise. */
  hear(change: Partial<HeartbeatMessage> = {}): readonly ElectionEffect[] {
    return this.turn(this.heartbeat(change));
  }

  heartbeat(change: Partial<HeartbeatMessage> = {}): ElectionInput {
    this.#sequence += 1;
    const message = words({ sequence: this.#sequence, echo: this.state.sequence, ...change });
    return { kind: "heartbeat", path: 0, boot: this.boot, message };
  }

  #daemon(): readonly ElectionInput[] {
    if (this.daemon === "silent") return [];
    if (this.now - this.#reported < 200) return [];
    this.#reported = this.now;
    const facts = {
      ready: true,
      dressed: true,
      position: { term: 2, sequence: 100 },
      sessions: 0,
      configurationDigest: "0000000000000000",
    };
    return [{ kind: "daemon", facts }];
  }

  #perform(effect: ElectionEffect, effects: ElectionEffect[], answers: ElectionInput[]): void {
    const at = this.time;
    if (effect.kind === "renew") step(this.state, at, { kind: "renewal", ok: this.renews, at }, effects);
    if (effect.kind === "open")
      step(this.state, at, { kind: "opened", ok: this.opens && at <= effect.notAfter, at }, effects);
    if (effect.kind === "ask-witness" && this.witnesses.includes(effect.segment))
      answers.push({ kind: "witness", segment: effect.segment });
    if (effect.kind === "probe" && this.mute.includes(effect.segment))
      step(this.state, at, { kind: "probe-failed", segment: effect.segment }, effects);
    else if (effect.kind === "probe" && this.answers.includes(effect.segment))
      answers.push({ kind: "answer", segment: effect.segment, sentAt: at });
    if (effect.kind === "store-term")
      answers.push(
        this.disk === "works"
          ? { kind: "term-stored", ok: true, reserved: effect.reserved }
          : { kind: "term-stored", ok: false, words: "read-only" },
      );
  }
}

export const kinds = (effects: readonly ElectionEffect[]): readonly string[] =>
  effects.map(({ kind }) => kind);

export const heartbeats = (effects: readonly ElectionEffect[]): readonly HeartbeatMessage[] =>
  effects.flatMap((effect) => (effect.kind === "heartbeat" ? [effect.message] : []));

export const opens = (effects: readonly ElectionEffect[]): number =>
  effects.filter(({ kind }) => kind === "open").length;

export const STANDBY = { role: Role.Standby, gate: GateState.Shut, leaseMs: 0, term: 2 } as const;

/** A standby that has followed `a` for a second. */
export function standby(bench = new Bench()): Bench {
  bench.run(1000, () => ({}));
  assert.equal(viewOf(bench.state).role, "standby");
  return bench;
}

/** An active that was granted its gate by a silent second of nobody, and hears a standby since. */
export function active(bench = new Bench(), segments = 3): Bench {
  bench.run(1500);
  assert.equal(viewOf(bench.state).role, "active");
  bench.run(500, () => ({ ...STANDBY, carrier: segments, witnessed: segments }));
  return bench;
}

/** Drains by command, hears no answer for 100 ms, has withdrawn the offer, and holds the standby's word of that. */
export function withdrawn(): { readonly bench: Bench; readonly word: ElectionInput } {
  const bench = active();
  bench.turn(bench.heartbeat(STANDBY), { kind: "command", command: "handover", request: 7 });
  const { sequence } = bench.state;
  bench.run(101, () => ({ ...STANDBY, echo: sequence }));
  assert.equal(viewOf(bench.state).gate, "drain");
  return { bench, word: bench.heartbeat(STANDBY) };
}
