// A node's connection tracking in the log simulator: entries with a time to live, an event queue that overruns as the
// kernel's does (once it has, it drops everything, without a further word, until it has been read empty), dumps that are
// as stale as the kernel's (a step is made when the one before it is read), and a table that is silently refreshed by
// traffic. Knows no machine.

import type { Change } from "./logRecords.ts";
import type { Random } from "./random.ts";

export interface Entry {
  readonly version: number;
  generation: number;
  /** When it ends, unless traffic extends it; in ms of virtual time. */
  until: number;
  /** Traffic extends it again and again. */
  readonly talks: boolean;
}

/** Lives of sessions in ms, by number: below and above the time of two refresh rounds of the simulator. */
const LIVES = [2000, 5000, 60_000, 600_000];
export const lifeOf = (id: number): number => LIVES[(id >> 1) % LIVES.length]!;

/** A walk through the table; a dump is one, and so is that of a round's sweep. */
export class Walk {
  readonly #kernel: SimKernel;
  readonly #steps: number;
  #prepared: Change[];
  /** Where the step behind the prepared one begins; null at the end of the table. */
  #next: number | null = 0;

  constructor(kernel: SimKernel, steps: number) {
    this.#kernel = kernel;
    this.#steps = steps;
    this.#prepared = this.#prepare();
  }

  /** One step, as it was when the step before it was taken. */
  step(): { readonly changes: readonly Change[]; readonly more: boolean } {
    const changes = this.#prepared;
    const more = this.#next !== null;
    this.#prepared = this.#prepare();
    return { changes, more };
  }

  #prepare(): Change[] {
    if (this.#next === null) return [];
    const from = this.#next;
    const { entries, now } = this.#kernel;
    const ids = [...entries.keys()].filter((id) => id >= from).sort((left, right) => left - right);
    const taken = ids.slice(0, this.#steps);
    this.#next = ids.length > taken.length ? taken.at(-1)! + 1 : null;
    return taken.map((id) => {
      const { version, until } = entries.get(id)!;
      return { operation: "create", id, version, seconds: Math.max(0, Math.floor((until - now) / 1000)) };
    });
  }
}

export class SimKernel {
  readonly entries = new Map<number, Entry>();
  now = 0;
  /**
   * A kernel that is easier to live with: it drops only what finds no room, and says so behind everything that waits. So
   * version 1 believed, and it is not judged by what it did not know.
   */
  kind = false;
  /** Some of what is written is refused. */
  refusing = false;
  overruns = 0;
  /** Events that were there to be read. */
  told = 0;
  readonly #random: Random;
  readonly #eventsMax: number;
  #events: Change[] = [];
  /** Drops everything until the queue is empty. */
  #congested = false;
  /** Says so once, at the next reading. */
  #overrun = false;

  constructor(random: Random, eventsMax: number) {
    this.#random = random;
    this.#eventsMax = eventsMax;
  }

  /** Nothing waits to be read. */
  get idle(): boolean {
    return this.#events.length === 0 && !this.#overrun;
  }

  /** Packets change the table: an entry comes, changes or ends. False: the kernel could not tell. */
  change(operation: Change["operation"], id: number, version: number): boolean {
    const until = this.now + lifeOf(id);
    const { generation = 0, talks = this.#random.chance(0.6) } = this.entries.get(id) ?? {};
    if (operation === "delete") this.entries.delete(id);
    else this.entries.set(id, { version, generation, until, talks });
    return this.#tell({ operation, id, version, seconds: lifeOf(id) / 1000 });
  }

  /**
   * Time has passed: traffic extends what talks, where packets pass here; the rest ends when its time has come. `ended` is told
   * of each, and whether the kernel could tell.
   */
  pass(now: number, traffic: boolean, ended: (id: number, heard: boolean) => void): void {
    this.now = now;
    for (const [id, entry] of this.entries) {
      if (traffic && entry.talks && entry.until - now < lifeOf(id) / 2) entry.until = now + lifeOf(id);
      if (entry.until > now) continue;
      this.entries.delete(id);
      ended(id, this.#tell({ operation: "delete", id, version: 0, seconds: 0 }));
    }
  }

  #tell(change: Change): boolean {
    if (this.#congested || this.#events.length >= this.#eventsMax) {
      if (!this.#congested) this.#overrun = true;
      this.#congested = !this.kind;
      return false;
    }
    this.#events.push(change);
    this.told += 1;
    return true;
  }

  /** Up to `count` events. `overrun`: some were dropped, which is told first. `empty`: nothing is left. */
  read(count: number): {
    readonly changes: readonly Change[];
    readonly overrun: boolean;
    readonly empty: boolean;
  } {
    const changes = this.#events.splice(0, count);
    const empty = this.#events.length === 0;
    const overrun = this.#overrun && (empty || !this.kind);
    if (overrun) {
      this.overruns += 1;
      this.#overrun = false;
    }
    if (empty) this.#congested = false;
    return { changes, overrun, empty };
  }

  discard(): void {
    this.#events = [];
    this.#overrun = false;
    this.#congested = false;
  }

  /** A record of the peer's. `standbyMs`: how much longer than its own time it lives here. False: refused. */
  write({ operation, id, version, seconds }: Change, generation: number, standbyMs: number): boolean {
    if (operation === "delete") {
      this.entries.delete(id);
      return true;
    }
    if (this.refusing && this.#random.chance(0.3)) return false;
    const { talks = this.#random.chance(0.6) } = this.entries.get(id) ?? {};
    this.entries.set(id, { version, generation, until: this.now + seconds * 1000 + standbyMs, talks });
    return true;
  }

  /** Ends what carries another generation than `generation`, or (`purge`) that one. */
  sweep(generation: number, purge: boolean): void {
    for (const [id, entry] of this.entries)
      if ((entry.generation === generation) === purge) this.entries.delete(id);
  }

  generations(): number[] {
    return [0, 1, 2, 3].filter((each) =>
      [...this.entries.values()].some(({ generation }) => generation === each),
    );
  }
}
