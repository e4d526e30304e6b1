// The driver of the election machine: one synchronous turn after the other. Drain every socket without blocking,
// feed what came, feed `turn`, perform the effects in order (core/election/types.ts states the contract; the order
// is failover §3's: silence is judged only after draining). It decides nothing: every rule is in the machine.
//
// Between turns it gives way to the event loop every few milliseconds, for what is not timed: the control socket,
// the disk, the log. Nothing that is timed ever waits for the event loop.

import { performance } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { unreachable } from "../base/assert.ts";
import { BoundaryError } from "../base/errors.ts";
import { type Millis, millis } from "../base/units.ts";
import type { ElectionEffect, ElectionInput } from "../core/election/types.ts";
import type { Gate } from "../kernel/gate.ts";
import { LITTLE_ENDIAN, pollResult, pollVector, ppoll } from "../kernel/libc.ts";
import type { HeartbeatMessage } from "../wire/heartbeat.ts";
import type { Rescue } from "./rescue.ts";
import type { TermStore } from "./termStore.ts";

const now = (): Millis => millis(performance.now());

/** How often the event loop gets its turn, and how often the gate's table is looked at (failover §1: 20 ms). */
const YIELD_MS = 5;
const GATE_CHECK_MS = 15;
const SLEEP_MS_MAX = 20;
/** A turn that loses more than this is told in the log: two heartbeats. */
const STALL_MS = 20;
/** One exception is survived; so many within the window are a heart that cannot do its work. */
const DEFECTS_MAX = 25;
const DEFECTS_WINDOW_MS = 10_000;
/** Of those, so many are told in full. */
const DEFECTS_LOGGED = 3;

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
  /** False where it did not leave. */
  probe(segment: number, broadcast: boolean): boolean;
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
  /** Is told when heart sleeps and wakes; default: nobody watches. */
  readonly rescue?: Rescue;
}

export interface DriverCounters {
  renewed: number;
  refused: number;
  /** Longest interval between two successful renewals of the same spell of holding, ms. */
  longestRenewalMs: number;
  turns: number;
  gateRepairs: number;
  stalls: number;
  /** Probes of which not every frame left. */
  probesUnsent: number;
  /** Exceptions inside a turn, or of the event loop between turns. */
  defects: number;
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
    probesUnsent: 0,
    defects: 0,
  };
  readonly #options: DriverOptions;
  readonly #queue: ElectionInput[] = [];
  readonly #effects: ElectionEffect[] = [];
  #poll: Uint8Array;
  #polled: number;
  readonly #timeout = new DataView(new ArrayBuffer(16));
  readonly #timeoutBytes: Uint8Array;
  #lastRenewal = 0;
  /** The gate did not take `shut`: it is told again each turn, until it does or is opened. */
  #mustShut = false;
  #gatePresent = true;
  #ended = false;
  #defects = 0;
  #defectsSince = Number.NEGATIVE_INFINITY;
  #fatal: BoundaryError | null = null;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#poll = pollVector(options.ports.descriptors);
    this.#polled = options.ports.descriptors.length;
    this.#timeoutBytes = new Uint8Array(this.#timeout.buffer);
  }

  get gatePresent(): boolean {
    return this.#gatePresent;
  }

  feed(input: ElectionInput): void {
    this.#queue.push(input);
  }

  /**
   * Goes on with other sockets, segments and timers. `change` is carried out at once, in the event loop's turn, and returns what
   * the machine has to know: nothing that names a segment by its former index comes between the two. `ports.descriptors` are
   * those of afterwards.
   */
  reconfigure(change: () => Extract<ElectionInput, { kind: "configuration" }>): void {
    const input = change();
    const { descriptors } = this.#options.ports;
    this.#poll = pollVector(descriptors);
    this.#polled = descriptors.length;
    this.#step(input);
    this.#perform();
  }

  /**
   * Runs until the machine says `exit`. An exception inside a turn is told and survived.
   * @throws BoundaryError DEFECTS where they come again and again; the gate is shut then, if it can be.
   */
  async run(): Promise<void> {
    let yieldAt = 0;
    let checkAt = 0;
    while (!this.#ended) {
      const started = performance.now();
      if (started >= checkAt) {
        this.#guarded("looking at the gate", () => this.#checkGate());
        checkAt = started + GATE_CHECK_MS;
      }
      const checked = performance.now();
      if (this.#fatal === null) this.#guarded("in the turn", () => this.#turn());
      const turned = performance.now();
      if (turned >= yieldAt) {
        await setImmediate();
        yieldAt = performance.now() + YIELD_MS;
      }
      const yielded = performance.now();
      let overslept = 0;
      this.#guarded("sleeping", () => {
        overslept = this.#sleep();
      });
      this.#judgeStalls(checked - started, turned - checked, yielded - turned, overslept);
      if (this.#fatal !== null) throw this.#fatal;
    }
  }

  #guarded(doing: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.defect(doing, error);
    }
  }

  /** Notes an exception that nobody expected; also for those of the event loop. The last one allowed ends `run`. */
  defect(doing: string, error: unknown): void {
    const at = now();
    this.counters.defects += 1;
    if (at - this.#defectsSince > DEFECTS_WINDOW_MS) {
      this.#defectsSince = at;
      this.#defects = 0;
    }
    this.#defects += 1;
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (this.#defects <= DEFECTS_LOGGED) this.#options.log(`defect, ${doing}: ${words}`);
    if (this.#defects < DEFECTS_MAX || this.#fatal !== null) return;
    this.#fatal = new BoundaryError({
      operation: "keep the gate",
      code: "DEFECTS",
      words: `${this.#defects} exceptions within ${DEFECTS_WINDOW_MS / 1000} s, the last one ${doing}: ${words}`,
    });
    this.#options.log(`${this.#fatal.message}; the gate is shut`);
    this.#shutForGood();
  }

  /** Nothing is renewed after this; where even shutting fails, the lease runs out by itself. */
  #shutForGood(): void {
    try {
      if (this.#options.gate.shut()) return;
      this.#options.log("the gate could not be shut: its lease runs out by itself");
    } catch (error) {
      this.#options.log(`the gate could not be shut: ${(error as Error).message}`);
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
    // A kernel whose set is full of what has lapsed may refuse for a moment; until then nothing is renewed.
    if (this.#mustShut) this.#mustShut = !this.#options.gate.shut();
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
    // By index: receipts of `renew` and `open` append to the array while it is worked through. One that throws does
    // not take the others with it.
    for (let index = 0; index < this.#effects.length && !this.#ended; index += 1) {
      const effect = this.#effects[index]!;
      this.#guarded(`performing ${effect.kind}`, () => this.#performOne(effect));
      if (this.#fatal !== null) break;
    }
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
        this.#mustShut = false;
        const ok = at <= effect.notAfter && this.#succeeds("opening", () => gate.open("short"));
        this.#lastRenewal = at;
        this.#step({ kind: "opened", ok, at });
        return;
      }
      case "drain":
        gate.drain();
        return;
      case "shut":
        this.#mustShut = !gate.shut();
        this.#lastRenewal = 0;
        return;
      case "heartbeat":
        ports.sendHeartbeat(effect.message);
        return;
      case "probe":
        if (ports.probe(effect.segment, effect.broadcast)) return;
        this.counters.probesUnsent += 1;
        this.#step({ kind: "probe-failed", segment: effect.segment });
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

  /** The machine gets its receipt in every case. */
  #succeeds(doing: string, work: () => boolean): boolean {
    let ok = false;
    this.#guarded(doing, () => {
      ok = work();
    });
    return ok;
  }

  #renew(lease: "short" | "solo"): void {
    const at = now();
    const ok = this.#succeeds("renewing", () => this.#options.gate.renew(lease));
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
    this.#options.rescue?.rests(remaining);
    ppoll(this.#poll, this.#polled, this.#timeoutBytes);
    this.#options.rescue?.awake();
    return Math.max(0, performance.now() - before - remaining);
  }
}
