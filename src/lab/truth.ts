// Whether what a pair says of its readiness was ever above the truth, judged from outside: from both kernels' tables, read again
// and again, and from the times in which the other node could not have taken over at all. Pure.
//
// What a claim has to answer for. It was made between `fromMs` (it was asked) and `untilMs` (the answer was there). A session
// speaks against it where the active's kernel had it, the same, in every reading from one that was over `boundMs` before the
// claim to one that was begun after it; and the standby's kernel lacked it, or had another translation or link, in the last reading
// before the claim and in the first one after it. What came, went or changed within that time speaks against nobody.

import { LINK_MARK, type Table } from "./conntrackText.ts";

/** One reading of a kernel's table. */
export interface Reading {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly table: Table;
}

export interface Claim {
  readonly fromMs: number;
  readonly untilMs: number;
  /** The node that was asked. */
  readonly node: string;
  /** 0 to 1. */
  readonly proven: number;
}

/** A time in which nobody could have taken over. */
export interface Inability {
  readonly why: string;
  readonly fromMs: number;
  untilMs: number;
}

export interface TruthReport {
  readonly claims: number;
  /** Claims of the whole, and claims of nothing. */
  readonly whole: number;
  readonly nothing: number;
  /** Claims that tables on both sides could speak against, or an inability could. */
  readonly judged: number;
  /** Sessions that spoke against the whole at the worst moment. */
  readonly lackingMax: number;
  readonly above: number;
  readonly samples: readonly string[];
}

const SAMPLES_MAX = 5;
/** A share is said in ten-thousandths, rounded down. */
const WHOLE = 10_000;

/** Takes readings and claims in the order of time, and judges each claim as soon as it can be. */
export class TruthKeeper {
  readonly #boundMs: number;
  readonly #active: Reading[] = [];
  readonly #standby: Reading[] = [];
  readonly #inabilities: Inability[] = [];
  #waiting: Claim[] = [];
  #report = { claims: 0, whole: 0, nothing: 0, judged: 0, lackingMax: 0, above: 0 };
  readonly #samples: string[] = [];

  /** A claim speaks of the sessions that the active had `boundMs` before it. */
  constructor(boundMs: number) {
    this.#boundMs = boundMs;
  }

  get report(): TruthReport {
    return { ...this.#report, samples: this.#samples };
  }

  /** It begins with nobody able to; ends where `untilMs` is set. */
  unable(why: string, fromMs: number): Inability {
    const inability = { why, fromMs, untilMs: Number.POSITIVE_INFINITY };
    this.#inabilities.push(inability);
    return inability;
  }

  claim(claim: Claim): void {
    this.#report.claims += 1;
    if (claim.proven === 1) this.#report.whole += 1;
    if (claim.proven === 0) this.#report.nothing += 1;
    this.#judgeAbility(claim);
    this.#waiting.push(claim);
  }

  /** `standby`: of the one that would take over. */
  reading(of: "active" | "standby", reading: Reading): void {
    (of === "active" ? this.#active : this.#standby).push(reading);
    this.#judgeWaiting();
  }

  /** The roles changed: what was read is of no use for what is said from now on, and what waits cannot be judged. */
  forget(): void {
    this.#active.length = 0;
    this.#standby.length = 0;
    this.#waiting = [];
  }

  #judgeAbility({ fromMs, untilMs, node, proven }: Claim): void {
    for (const inability of this.#inabilities) {
      if (fromMs < inability.fromMs + this.#boundMs || untilMs > inability.untilMs) continue;
      this.#report.judged += 1;
      if (proven > 0) this.#blame(`${node} said ${proven} while ${inability.why}`);
    }
  }

  #judgeWaiting(): void {
    const left: Claim[] = [];
    for (const claim of this.#waiting) {
      const after = this.#active.findIndex(({ fromMs }) => fromMs >= claim.untilMs);
      const next = this.#standby.findIndex(({ fromMs }) => fromMs >= claim.untilMs);
      if (after < 0 || next < 0) {
        left.push(claim);
        continue;
      }
      const before = this.#active.findLastIndex(({ untilMs }) => untilMs <= claim.fromMs - this.#boundMs);
      const last = this.#standby.findLastIndex(({ untilMs }) => untilMs <= claim.fromMs);
      if (before < 0 || last < 0) continue;
      this.#judge(claim, this.#active.slice(before, after + 1), [this.#standby[last]!, this.#standby[next]!]);
    }
    this.#waiting = left;
    this.#trim();
  }

  #judge({ node, proven }: Claim, actives: readonly Reading[], standbys: readonly Reading[]): void {
    this.#report.judged += 1;
    const lacking: string[] = [];
    let total = 0;
    for (const { table } of actives) total = Math.max(total, table.size);
    for (const [key] of actives[0]!.table) {
      const stood = actives.every(({ table }) => isSame(table, actives[0]!.table, key));
      if (stood && standbys.every(({ table }) => !isSame(table, actives[0]!.table, key))) lacking.push(key);
    }
    this.#report.lackingMax = Math.max(this.#report.lackingMax, lacking.length);
    if (lacking.length === 0) return;
    const most = Math.floor(((total - lacking.length) / total) * WHOLE) / WHOLE;
    if (proven > most)
      this.#blame(
        `${node} said ${proven}, and ${lacking.length} of ${total} sessions were lacking: ${lacking[0]}`,
      );
  }

  #blame(words: string): void {
    this.#report.above += 1;
    if (this.#samples.length < SAMPLES_MAX) this.#samples.push(words);
  }

  /** Keeps what a claim that is made from now on, or waits, may need. */
  #trim(): void {
    const now = Math.max(this.#active.at(-1)?.untilMs ?? 0, this.#standby.at(-1)?.untilMs ?? 0);
    const oldest = Math.min(now, ...this.#waiting.map(({ fromMs }) => fromMs));
    drop(this.#active, oldest - this.#boundMs);
    drop(this.#standby, oldest);
  }
}

/** Leaves the last one that was over by `atMs`, and all after it. */
function drop(readings: Reading[], atMs: number): void {
  const last = readings.findLastIndex(({ untilMs }) => untilMs <= atMs);
  if (last > 0) readings.splice(0, last);
}

/** Translation and link are what a session lives by after a takeover; its state is not. */
function isSame(one: Table, other: Table, key: string): boolean {
  const [entry, wanted] = [one.get(key), other.get(key)];
  if (entry === undefined || wanted === undefined) return false;
  return entry.reply === wanted.reply && (entry.mark & LINK_MARK) === (wanted.mark & LINK_MARK);
}
