// The driver of the election machine: one synchronous turn after the other. Drain every socket without blocking,
// feed what came, feed `turn`, perform the effects in order (core/election/types.ts states the contract; the order
// is failover §3's: silence is judged only after draining). It decides nothing: every rule is in the machine.
//
// Between turns it gives way to the event loop every few milliseconds, for what is not timed: the control socket,
// the disk, the log. Nothing that is timed ever waits for the event loop.

import { performance } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { unreachable } from "../base/assert.ts";
import { type Millis, millis } from "../base/units.ts";
import type { ElectionEffect, ElectionInput } from "../core/election/types.ts";
import type { Gate } from "../kernel/gate.ts";
import { LITTLE_ENDIAN, pollResult, pollVector, ppoll } from "../kernel/libc.ts";
import type { HeartbeatMessage } from "../wire/peer.ts";
import type { TermStore } from "./termStore.ts";

const now = (): Millis => millis(performance.now());

/** How often the event loop gets its turn, and how often the gate's table is looked at (failover §1: 20 ms). */
const YIELD_MS = 5;
const GATE_CHECK_MS = 15;
const SLEEP_MS_MAX = 20;
/** A turn that loses more than this is told in the log: two heartbeats. */
const STALL_MS = 20;

/** The machine, bound to its state. */
export interface Machine {
  step(now: Millis, input: ElectionInput, effects: ElectionEffect[]): void;
  deadline(): Millis;
}

/** What the driver moves bytes with. Each function is synchronous and does not wait. */
export interface DriverPorts {
  readonly descriptors: readonly number[];
  /**
   * Reads everything that waits and feeds it. Heartbeat sockets always, whatever poll said (failover §3: silence is
   * judged after draining); the others where `isReady`, by index of their descriptor, says so.
   */
  drain(feed: (input: ElectionInput) => void, isReady: (index: number) => boolean): void;
  sendHeartbeat(message: HeartbeatMessage): void;
  probe(segment: number, broadcast: boolean): void;
  askWitness(segment: number): void;
  announce(): void;
}

export interface DriverOptions {
  readonly machine: Machine;
  readonly gate: Gate;
  readonly ports: DriverPorts;
  readonly terms: TermStore;
  /** Effects that concern people: alarms, answers, role changes. Must not block. */
  onEffect(effect: Extract<ElectionEffect, { kind: "alarm" | "answer-command" | "role-changed" }>): void;
  /** Puts the gate back after somebody removed it; throws where that fails, and is tried again. */
  repairGate(): void;
  log(line: string): void;
}

export interface DriverCounters {
  renewed: number;
  refused: number;
  /** Longest interval between two successful renewals of the same spell of holding, ms. */
  longestRenewalMs: number;
  turns: number;
  gateRepairs: number;
  stalls: number;
}

/** Heart's loop. `feed` is for what comes through the event loop (control socket); it is taken up in the next turn. */
export class Driver {
  readonly counters: DriverCounters = {
    renewed: 0,
    refused: 0,
    longestRenewalMs: 0,
    turns: 0,
    gateRepairs: 0,
    stalls: 0,
  };
  readonly #options: DriverOptions;
  readonly #queue: ElectionInput[] = [];
  readonly #effects: ElectionEffect[] = [];
  readonly #poll: Uint8Array;
  readonly #timeout = new DataView(new ArrayBuffer(16));
  readonly #timeoutBytes: Uint8Array;
  #lastRenewal = 0;
  #gatePresent = true;
  #ended = false;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#poll = pollVector(options.ports.descriptors);
    this.#timeoutBytes = new Uint8Array(this.#timeout.buffer);
  }

  get gatePresent(): boolean {
    return this.#gatePresent;
  }

  feed(input: ElectionInput): void {
    this.#queue.push(input);
  }

  /** Runs until the machine says `exit`. */
  async run(): Promise<void> {
    let yieldAt = 0;
    let checkAt = 0;
    while (!this.#ended) {
      const started = performance.now();
      if (started >= checkAt) {
        this.#checkGate();
        checkAt = started + GATE_CHECK_MS;
      }
      const checked = performance.now();
      this.#turn();
      const turned = performance.now();
      if (turned >= yieldAt) {
        await setImmediate();
        yieldAt = performance.now() + YIELD_MS;
      }
      const yielded = performance.now();
      const overslept = this.#sleep();
      this.#judgeStalls(checked - started, turned - checked, yielded - turned, overslept);
    }
  }

  /** Says where time was lost: in our own code, in the event loop's turn, or because nobody let us run. */
  #judgeStalls(check: number, turn: number, yielded: number, overslept: number): void {
    const longest = Math.max(check, turn, yielded, overslept);
    if (longest < STALL_MS) return;
    this.counters.stalls += 1;
    const ms = (value: number): string => value.toFixed(1);
    this.#options.log(
      `stalled: ${ms(check)} ms looking at the gate, ${ms(turn)} in the turn, ${ms(yielded)} in the event loop, ` +
        `${ms(overslept)} overslept`,
    );
  }

  #turn(): void {
    const { machine, ports, terms } = this.#options;
    this.counters.turns += 1;
    const step = this.#step;
    ports.drain(step, this.#isReady);
    for (const input of this.#queue.splice(0)) step(input);
    const stored = terms.takeResult();
    if (stored !== null)
      step(
        stored.ok
          ? { kind: "term-stored", ok: true, reserved: stored.terms.reserved }
          : { kind: "term-stored", ok: false, words: stored.words },
      );
    machine.step(now(), { kind: "turn" }, this.#effects);
    this.#perform();
  }

  readonly #isReady = (index: number): boolean => pollResult(this.#poll, index) !== 0;

  /** Feeds one input; its effects wait for the end of the turn, in order. */
  readonly #step = (input: ElectionInput): void => {
    this.#options.machine.step(now(), input, this.#effects);
  };

  #perform(): void {
    // By index: receipts of `renew` and `open` append to the array while it is worked through.
    for (let index = 0; index < this.#effects.length && !this.#ended; index += 1)
      this.#performOne(this.#effects[index]!);
    this.#effects.length = 0;
  }

  #performOne(effect: ElectionEffect): void {
    const { gate, ports, terms } = this.#options;
    switch (effect.kind) {
      case "renew":
        this.#renew(effect.lease);
        return;
      case "open": {
        const at = now();
        const ok = at <= effect.notAfter && gate.open("short");
        this.#lastRenewal = at;
        this.#step({ kind: "opened", ok, at });
        return;
      }
      case "drain":
        gate.drain();
        return;
      case "shut":
        gate.shut();
        this.#lastRenewal = 0;
        return;
      case "heartbeat":
        ports.sendHeartbeat(effect.message);
        return;
      case "probe":
        ports.probe(effect.segment, effect.broadcast);
        return;
      case "ask-witness":
        ports.askWitness(effect.segment);
        return;
      case "announce":
        ports.announce();
        return;
      case "store-term":
        terms.store({ current: effect.current, reserved: effect.reserved });
        return;
      case "alarm":
      case "answer-command":
      case "role-changed":
        this.#options.onEffect(effect);
        return;
      case "exit":
        this.#ended = true;
        return;
      default:
        unreachable(effect);
    }
  }

  #renew(lease: "short" | "solo"): void {
    const at = now();
    const ok = this.#options.gate.renew(lease);
    if (ok) {
      this.counters.renewed += 1;
      if (this.#lastRenewal > 0)
        this.counters.longestRenewalMs = Math.max(this.counters.longestRenewalMs, at - this.#lastRenewal);
      this.#lastRenewal = at;
    } else {
      this.counters.refused += 1;
      this.#lastRenewal = 0;
    }
    this.#step({ kind: "renewal", ok, at });
  }

  /** No gate, no interface: a table that somebody removed is noticed here and put back, shut (failover §1). */
  #checkGate(): void {
    const { gate, repairGate, log } = this.#options;
    if (this.#gatePresent && gate.present()) return;
    if (this.#gatePresent) {
      this.#gatePresent = false;
      log("the gate's table is gone or was changed: putting it back");
      this.feed({ kind: "gate-missing" });
    }
    try {
      repairGate();
      this.#gatePresent = true;
      this.counters.gateRepairs += 1;
      log("the gate is back, shut");
      this.feed({ kind: "gate-restored" });
    } catch (error) {
      log(`the gate could not be put back: ${(error as Error).message}`);
    }
  }

  /** Sleeps until the deadline or until something is readable; milliseconds beyond the deadline. */
  #sleep(): number {
    const before = performance.now();
    const wanted = this.#queue.length > 0 ? 0 : this.#options.machine.deadline() - before;
    const remaining = Math.max(0, Math.min(SLEEP_MS_MAX, wanted));
    this.#timeout.setBigInt64(0, 0n, LITTLE_ENDIAN);
    this.#timeout.setBigInt64(8, BigInt(Math.floor(remaining * 1e6)), LITTLE_ENDIAN);
    ppoll(this.#poll, this.#options.ports.descriptors.length, this.#timeoutBytes);
    return Math.max(0, performance.now() - before - remaining);
  }
}
