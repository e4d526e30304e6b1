// What a merge owes, judged from outside the nodes: once the loser of a split (or a former active whose successor was not
// synchronised) follows again, the winner must hold everything that the loser held when it yielded, but for what clashed (it is
// there, then, as the winner's own), was refused by its kernel, or ended there; and a TCP session that ended on the
// winner while nobody followed must not come back. Knows the packets' changes and both tables, never a machine's state,
// but for one thing: whether the winner was synchronised when it took over.

import { RELIEVED_MS_MAX } from "../../src/base/limits.ts";
import type { SimNode } from "./logNode.ts";
import { isTcp } from "./logRecords.ts";

type Name = "a" | "b";
const other = (name: Name): Name => (name === "a" ? "b" : "a");

interface Side {
  /** TCP sessions that ended here, and whose end nobody else can have heard of; the node knows of each. */
  readonly ended: Set<number>;
  /** All that ended here since the two were last equal, or since the other yielded. */
  readonly gone: Set<number>;
  readonly goneSinceYield: Set<number>;
  /** Taken over as a synchronised standby, then; nothing is owed for a while. */
  relievedAt: number | null;
}

const side = (): Side => ({ ended: new Set(), gone: new Set(), goneSinceYield: new Set(), relievedAt: null });

export class MergeJudge {
  readonly #nodes: Readonly<Record<Name, SimNode>>;
  readonly #sides: Readonly<Record<Name, Side>> = { a: side(), b: side() };
  #owed: { readonly by: Name; readonly ids: readonly number[] } | null = null;
  unions = 0;

  constructor(nodes: Readonly<Record<Name, SimNode>>) {
    this.#nodes = nodes;
  }

  /** `heard`: the kernel could tell its daemon. */
  changed(name: Name, operation: string, id: number, heard: boolean): void {
    const { ended, gone, goneSinceYield } = this.#sides[name];
    // Made anew on this side: the other's end of it says nothing.
    if (operation === "create") this.#sides[other(name)].ended.delete(id);
    if (operation !== "delete") return;
    gone.add(id);
    goneSinceYield.add(id);
    if (heard && isTcp(id)) ended.add(id);
    else ended.delete(id);
  }

  takesOver(name: Name): void {
    const own = this.#sides[name];
    own.ended.clear();
    own.relievedAt = this.#nodes[name].receiver.synchronised ? this.#nodes[name].now : null;
    // What it was owed is not its any more; what it owes itself is settled when it yields.
    this.#owed = null;
  }

  stepsDown(name: Name): void {
    const winner = this.#sides[other(name)];
    winner.goneSinceYield.clear();
    this.#nodes[other(name)].refusedGifts.clear();
    const { now, entries } = this.#nodes[name];
    const relieved = winner.relievedAt !== null && now - winner.relievedAt <= RELIEVED_MS_MAX;
    this.#owed = relieved ? null : { by: name, ids: [...entries.keys()] };
  }

  restarts(name: Name, emptied: boolean): void {
    this.#sides[name].ended.clear();
    this.#sides[name].relievedAt = null;
    if (emptied && this.#owed?.by === name) this.#owed = null;
  }

  /** The time of a session that `name` held as a standby is over: nobody could have given it. */
  ranOut(name: Name, id: number): void {
    if (this.#owed?.by === name) this.#owed = { by: name, ids: this.#owed.ids.filter((each) => each !== id) };
  }

  inserted(name: Name, id: number): void {
    if (this.#sides[name].ended.has(id))
      throw new Error(`M4: session ${id} ended on ${name} and was brought back`);
  }

  /** The standby follows, and both tables are equal. */
  level(active: Name): void {
    const { gone, goneSinceYield } = this.#sides[active];
    const { entries, refusedGifts } = this.#nodes[active];
    if (this.#owed !== null && this.#owed.by !== active) {
      this.unions += 1;
      for (const id of this.#owed.ids) {
        if (entries.has(id) || refusedGifts.has(id) || goneSinceYield.has(id)) continue;
        if (isTcp(id) && gone.has(id)) continue;
        throw new Error(`session ${id} of ${this.#owed.by} is lost: ${active} never got it`);
      }
    }
    this.#owed = null;
    for (const each of ["a", "b"] as const) {
      this.#sides[each].ended.clear();
      this.#sides[each].gone.clear();
    }
  }
}
