// The audit in virtual time: two nodes with tables of their own, a log between them that delays and is cut at any point,
// packets that change the active's table all the while and are heard of late, and a hand that deletes, adds and changes
// sessions of the standby's. The machines of both sides run as they are; the log, its rounds and the kernels' dumps (one
// entry at a time, each as it is at that moment, some told twice) are a model. From outside it is checked: what a pass
// tells is what the hand did and nothing has overwritten since; what the hand did is found within two passes once the
// faults end, and put right; and nothing that the active holds is ever changed by it.

import { type Millis, millis } from "../../src/base/units.ts";
import * as audited from "../../src/core/audit/audited.ts";
import * as auditor from "../../src/core/audit/auditor.ts";
import {
  type AuditMessage,
  type AuditOutcome,
  type AuditorEffect,
  type AuditorState,
  createAuditor,
} from "../../src/core/audit/auditorState.ts";
import type { DifferenceKind } from "../../src/core/audit/fold.ts";
import { bucketOf, hasBucket } from "../../src/core/replication/buckets.ts";
import { keyHash } from "../../src/wire/session.ts";
import { deletion } from "../core/records.ts";
import { createRandom, type Random } from "./random.ts";

/** Rules that can be switched off, for the tests that show that somebody would notice. */
export const MUTATIONS = [
  // The standby, or the active, does not listen to the log while it looks.
  "standby-deaf",
  "active-deaf",
  // The active sends the end mark before what its kernel has told.
  "no-drain",
  // The standby takes the begin mark out of the log's order, before what came first is applied.
  "begin-early",
  // A loss does not end the look.
  "loss-unheard",
  // A repair is said to be done before it is.
  "repair-forgotten",
  // One look is enough.
  "one-look",
  // Nothing is told of what is there in another form.
  "wrong-unseen",
] as const;
export type Mutation = (typeof MUTATIONS)[number];

type Table = Map<number, number>;
type LogMessage =
  | { readonly kind: "change"; readonly id: number; readonly value: number | null }
  | { readonly kind: "round"; readonly buckets: Uint8Array | null; readonly table: Table }
  | { readonly kind: "audit"; readonly message: AuditMessage };

interface Reading {
  readonly ids: readonly number[];
  at: number;
  readonly salt: number;
}

interface Node {
  readonly table: Table;
  readonly active: AuditorState;
  readonly standby: audited.AuditedState;
  reading: Reading | null;
}

/** Of a run. */
export interface AuditRun {
  readonly totals: Readonly<Record<string, number>>;
}

const SEED = 0x5eed0001;
const STEPS = 700;
const TUNING = { cpuShare: 1, burst: 1, intervalMs: 100, delayMs: 5, retryMs: 10, settleMs: 12 };
/** A change is in the kernel's table so much before its event is in the socket, at most: less than `settleMs`. */
const EVENT_MS_MAX = 8;
const QUIET_STEPS_MAX = 30_000;
const KEYS = new Map<number, { readonly high: number; readonly low: number; readonly bytes: Uint8Array }>();

function keyOf(id: number) {
  let key = KEYS.get(id);
  if (key === undefined) {
    const bytes = deletion(id);
    const out = new Uint32Array(2);
    keyHash(bytes, 0, out, SEED);
    key = { high: out[0]!, low: out[1]!, bytes };
    KEYS.set(id, key);
  }
  return key;
}

class World {
  readonly #random: Random;
  readonly #mutation: Mutation | null;
  readonly #nodes: readonly [Node, Node];
  readonly #ids: number;
  #activeAt = 0;
  #now: Millis = millis(0);
  #connected = true;
  /** Of the log: a number for each time that it was whole; null: it is not. */
  #stretch: number | null = null;
  #stretches = 0;
  /** Changed in the active's kernel, and not in its event socket before `at`; then not sent yet. */
  #events: { readonly at: number; readonly id: number }[] = [];
  /** To the standby, and to the active, in order. */
  #down: { readonly at: number; readonly message: LogMessage }[] = [];
  #up: { readonly at: number; readonly message: AuditMessage | "swept" }[] = [];
  /** What the hand did, by session, and what kind of difference it makes; gone where the log has overwritten it. */
  readonly #planted = new Map<number, DifferenceKind>();
  /** As it was when the standby was told that the look ends: what comes later is no part of it. */
  #plantedAtEnd: ReadonlyMap<number, DifferenceKind> = new Map();
  /** Once in a run a kernel leaves out an entry of its dump, as it may while its table is resized. */
  #hiccups: number;
  /** How often the active's daemon reads its event socket. */
  readonly #attention: number;
  readonly totals: Record<string, number> = {};
  #version = 1;

  constructor(seed: number, mutation: Mutation | null) {
    this.#random = createRandom(seed);
    this.#mutation = mutation;
    this.#ids = 5 + this.#random.below(40);
    this.#hiccups = this.#random.below(2);
    this.#attention = this.#random.pick([0.6, 0.6, 0.04]);
    const node = (salt: number): Node => ({
      table: new Map(),
      active: createAuditor({ ...TUNING, seed: SEED, salt }),
      standby: audited.createAudited(TUNING),
      reading: null,
    });
    this.#nodes = [node(seed), node(seed + 1)];
  }

  get #active(): Node {
    return this.#nodes[this.#activeAt]!;
  }
  get #standby(): Node {
    return this.#nodes[1 - this.#activeAt]!;
  }

  run(): AuditRun {
    this.#connect();
    const churn = this.#random.pick([0, 0.2, 0.6, 0.9]);
    const hands = this.#random.pick([0, 0.02, 0.1]);
    const faults = this.#random.pick([0, 0.005, 0.02]);
    for (let step = 0; step < STEPS; step += 1) {
      if (this.#random.chance(churn)) this.#packet();
      if (this.#random.chance(hands)) this.#hand();
      if (this.#random.chance(faults)) this.#fault();
      this.#pass(this.#random.pick([0.2, 1, 3]));
    }
    this.#quiet();
    return { totals: this.totals };
  }

  /** No more faults: two passes later, both tables are the same. */
  #quiet(): void {
    if (!this.#connected) this.#connect();
    const { active } = this.#active;
    let until = active.passes + 3;
    for (let step = 0; step < QUIET_STEPS_MAX && active.passes < until; step += 1) {
      this.#pass(3);
      // What was found again and again is put off: then it takes longer.
      if (active.vain > 0) until = Math.max(until, active.repairAgainAt + 1);
    }
    this.#check(active.passes >= until, `no passes any more: ${auditor.describe(active)}`);
    for (let step = 0; step < 50; step += 1) this.#pass(1);
    const [one, other] = [this.#active.table, this.#standby.table];
    const same = one.size === other.size && [...one].every(([id, value]) => other.get(id) === value);
    this.#check(same, `not equal after ${until} passes: ${[...this.#planted].join(" ")}`);
    this.#count("passes", active.passes);
    this.#count("repaired", active.totals.repaired);
    this.#count("abandoned", active.totals.abandoned);
  }

  #check(holds: boolean, words: string): void {
    if (!holds) throw new Error(words);
  }

  #count(name: string, by = 1): void {
    this.totals[name] = (this.totals[name] ?? 0) + by;
  }

  #pass(ms: number): void {
    this.#now = millis(this.#now + ms);
    this.#hear();
    if (this.#random.chance(0.7)) this.#deliver();
    for (const node of this.#nodes) this.#turn(node);
  }

  #turn(node: Node): void {
    const at = auditor.deadline(node.active);
    if (at !== null && at <= this.#now) {
      this.#look(node, { kind: "turn" });
      auditor.spend(node.active, this.#now, 0);
    }
    const due = audited.deadline(node.standby);
    if (due !== null && due <= this.#now) {
      this.#answer(node, { kind: "turn" });
      audited.spend(node.standby, this.#now, 0);
    }
  }

  /** A packet makes, changes or ends a session on the active; or, of one that is gone, nothing. */
  #packet(): void {
    const id = this.#random.below(this.#ids);
    const { table } = this.#active;
    this.#write(table, id, 0.3);
    const at = this.#now + this.#random.between(0, EVENT_MS_MAX);
    // Events do not overtake each other.
    this.#events.push({ at: Math.max(at, this.#events.at(-1)?.at ?? 0), id });
    this.#count("packets");
  }

  /** Ends a session that is there, with this chance; makes it, or another of it, otherwise. */
  #write(table: Table, id: number, ends: number): void {
    if (table.has(id) && this.#random.chance(ends)) table.delete(id);
    else {
      this.#version += 1;
      table.set(id, this.#version);
    }
  }

  /** Somebody works on the standby's table by hand. */
  #hand(): void {
    const { table } = this.#standby;
    const own = this.#active.table;
    const id = this.#random.below(this.#ids + 10);
    this.#write(table, id, 0.5);
    this.#judgeHand(id, own, table);
    this.#count("hands");
  }

  #judgeHand(id: number, own: Table, table: Table): void {
    // As the standby was told: what is on its way will overwrite it.
    if (!table.has(id)) this.#planted.set(id, "missing");
    else this.#planted.set(id, own.has(id) ? "wrong" : "extra");
  }

  #fault(): void {
    const which = this.#random.pick(["overrun", "cut", "takeover", "dump"] as const);
    this.#count(which);
    if (which === "overrun") {
      this.#events = [];
      this.#interrupt(null);
    } else if (which === "dump") {
      const node = this.#random.pick(this.#nodes);
      if (node.reading === null) return;
      const failed = { kind: "failed", reason: "the kernel ended the dump" } as const;
      if (node === this.#active) this.#look(node, failed);
      else this.#answer(node, failed);
    } else {
      this.#cut();
      if (which === "takeover") {
        this.#activeAt = 1 - this.#activeAt;
        this.#planted.clear();
      }
      this.#connect();
    }
  }

  #cut(): void {
    this.#connected = false;
    this.#events = [];
    this.#down = [];
    this.#up = [];
    this.#stretch = null;
    for (const node of this.#nodes) {
      this.#look(node, { kind: "log", followed: false, stretch: null });
      this.#answer(node, { kind: "over" });
      node.reading = null;
    }
    this.#up = [];
    this.#down = [];
  }

  #connect(): void {
    this.#connected = true;
    this.#events = [];
    this.#look(this.#active, { kind: "log", followed: true, stretch: null });
    this.#interrupt(null);
  }

  /** A round over these buckets follows; null: over everything. */
  #interrupt(buckets: Uint8Array | null): void {
    this.#stretch = null;
    this.#tellLog();
    this.#drain(Number.POSITIVE_INFINITY);
    this.#send({ kind: "round", buckets, table: new Map(this.#active.table) });
  }

  #renewStretch(): void {
    this.#stretches += 1;
    this.#stretch = this.#stretches;
  }

  #tellLog(): void {
    if (this.#mutation === "loss-unheard" && this.#stretch === null && this.#active.active.listening) return;
    this.#look(this.#active, { kind: "log", followed: this.#connected, stretch: this.#stretch });
  }

  /** What the kernel has told by now is sent. */
  #hear(): void {
    if (this.#random.chance(this.#attention)) this.#drain(this.#now);
  }

  #drain(until: number): void {
    for (let event = this.#events[0]; event !== undefined && event.at <= until; event = this.#events[0]) {
      this.#events.shift();
      const { id } = event;
      this.#send({ kind: "change", id, value: this.#active.table.get(id) ?? null });
      if (this.#mutation !== "active-deaf")
        this.#look(this.#active, { kind: "changes", bytes: keyOf(id).bytes });
    }
  }

  #send(message: LogMessage): void {
    const at = this.#now + this.#random.pick([0, 1, 10]);
    this.#down.push({ at: Math.max(at, this.#down.at(-1)?.at ?? 0), message });
  }

  #deliver(): void {
    while (this.#down.length > 0 && this.#down[0]!.at <= this.#now) this.#take(this.#down.shift()!.message);
    while (this.#up.length > 0 && this.#up[0]!.at <= this.#now) {
      const { message } = this.#up.shift()!;
      if (message !== "swept") this.#look(this.#active, { kind: "message", message });
      else if (this.#stretch === null && !this.#down.some((each) => each.message.kind === "round")) {
        this.#renewStretch();
        this.#tellLog();
      }
    }
  }

  /** A message of the log, on the standby. */
  #take(message: LogMessage): void {
    const node = this.#standby;
    if (message.kind === "change") {
      const { id, value } = message;
      if (this.#mutation !== "standby-deaf") this.#answer(node, { kind: "changes", bytes: keyOf(id).bytes });
      if (value === null) node.table.delete(id);
      else node.table.set(id, value);
      this.#planted.delete(id);
      return;
    }
    if (message.kind === "round") {
      const { buckets, table } = message;
      const isIn = (id: number): boolean => buckets === null || hasBucket(buckets, bucketOf(keyOf(id).high));
      for (const id of [...node.table.keys()]) if (isIn(id) && !table.has(id)) node.table.delete(id);
      for (const [id, value] of table) if (isIn(id)) node.table.set(id, value);
      for (const id of [...this.#planted.keys()]) if (isIn(id)) this.#planted.delete(id);
      this.#up.push({ at: this.#now + this.#random.pick([0, 5]), message: "swept" });
      return;
    }
    if (message.message.kind === "auditEnd") this.#plantedAtEnd = new Map(this.#planted);
    this.#answer(node, { kind: "message", message: message.message, synchronised: true });
  }

  #look(node: Node, input: Parameters<typeof auditor.step>[2]): void {
    const effects: AuditorEffect[] = [];
    auditor.step(node.active, this.#now, input, effects);
    for (const effect of effects) this.#perform(node, effect);
  }

  #perform(node: Node, effect: AuditorEffect): void {
    switch (effect.kind) {
      case "send": {
        const { message } = effect;
        if (this.#mutation === "begin-early" && message.kind === "auditBegin")
          this.#answer(this.#standby, { kind: "message", message, synchronised: true });
        else this.#send({ kind: "audit", message });
        return;
      }
      case "open":
        this.#open(node, effect.salt);
        if (this.#mutation === "one-look") {
          node.active.isSecond = true;
          for (const suspects of Object.values(node.active.suspects)) suspects.has = () => true;
        }
        return;
      case "step":
        this.#look(node, { kind: "read", more: this.#read(node, node.active.fold) });
        return;
      case "close":
        node.reading = null;
        return;
      case "drain":
        if (this.#mutation !== "no-drain") this.#drain(this.#now);
        this.#look(node, { kind: "drained", all: true });
        return;
      case "dirty":
        this.#count("repairs");
        if (this.#mutation === "repair-forgotten") this.#renewStretch();
        else this.#interrupt(effect.buckets);
        this.#tellLog();
        return;
      case "done":
        this.#done(node, effect.outcome);
        return;
      case "abandoned":
        return;
    }
  }

  /** What is told is what the hand did. */
  #done({ active }: Node, outcome: AuditOutcome): void {
    if (outcome.repaired > 0) return;
    const told = outcome.missing + outcome.extra + outcome.wrong;
    this.#count("told", told);
    const keys: string[] = [];
    active.confirmed.visit((high, low) => keys.push(`${high} ${low}`));
    this.#check(keys.length === told, `${told} told of ${keys.length}`);
    const planted = new Set([...this.#plantedAtEnd.keys()].map((id) => `${keyOf(id).high} ${keyOf(id).low}`));
    for (const key of keys) this.#check(planted.has(key), `told of a session that nobody touched: ${key}`);
  }

  #answer(node: Node, input: audited.AuditedInput): void {
    const effects: audited.AuditedEffect[] = [];
    audited.step(node.standby, this.#now, input, effects);
    for (const effect of effects)
      switch (effect.kind) {
        case "send": {
          const { message } = effect;
          const copy =
            message.kind === "auditDigests" ? { ...message, digests: message.digests.slice() } : message;
          this.#up.push({ at: Math.max(this.#now, this.#up.at(-1)?.at ?? 0), message: copy });
          break;
        }
        case "open":
          this.#open(node, effect.salt);
          break;
        case "step":
          this.#answer(node, { kind: "read", more: this.#read(node, node.standby.fold) });
          break;
        case "close":
          node.reading = null;
          break;
        case "told":
          this.#count("results");
      }
  }

  /** In an order of this kernel's own, and now and then one twice. */
  #open(node: Node, salt: number): void {
    const ids = [...Array(this.#ids + 10).keys()]
      .map((id) => ({ id, rank: this.#random.next() }))
      .sort((one, other) => one.rank - other.rank)
      .map(({ id }) => id);
    const twice = ids.filter(() => this.#random.chance(0.02));
    node.reading = { ids: [...ids, ...twice], at: 0, salt };
  }

  #read(node: Node, fold: { add(high: number, low: number, content: number): void }): boolean {
    const { reading } = node;
    if (reading === null) return false;
    const id = reading.ids[reading.at]!;
    reading.at += 1;
    const value = node.table.get(id);
    if (value !== undefined && this.#hiccups > 0 && this.#random.chance(0.01)) {
      this.#hiccups -= 1;
      this.#count("hiccups");
    } else if (value !== undefined) {
      const { high, low } = keyOf(id);
      const said = this.#mutation === "wrong-unseen" ? 1 : value;
      fold.add(high, low, (Math.imul(said, 0x9e3779b1) ^ reading.salt) >>> 0 || 1);
    }
    return reading.at < reading.ids.length;
  }
}

/** One run. Throws where something does not hold, with the seed. */
export function runAudit(seed: number, mutation: Mutation | null = null): AuditRun {
  try {
    return new World(seed, mutation).run();
  } catch (error) {
    throw new Error(`audit simulation, seed ${seed}: ${(error as Error).message}`, { cause: error });
  }
}
