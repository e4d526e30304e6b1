// The kernel's dress as the daemon wears it: interfaces, routes, rules, slots, in the order that heart's gate asks
// for, and off again. The steps themselves are kernel/dress.ts; here is when each is due, and what is in force.

import type { Config } from "../core/config.ts";
import { GUARD_TABLE } from "../core/guard.ts";
import { compileRuleset, RULESET_TABLE } from "../core/ruleset.ts";
import {
  createInterfaces,
  lowerInterfaces,
  openForwarding,
  raiseInterfaces,
  undress,
} from "../kernel/dress.ts";
import { applyGuard, removeGuard } from "../kernel/guardTable.ts";
import { applyRuleset, removeRuleset } from "../kernel/rulesetTable.ts";
import { OwnTables } from "../kernel/tables.ts";
import type { SlotKeeper } from "./slotKeeper.ts";

/** What a look at the dress found. */
export interface Mended {
  /** How many things were put back, and the last of them in words. */
  readonly changes: number;
  readonly last: string;
  /** The kernel's refusal where not everything could be put back. */
  readonly fault: string | null;
}

export class Wardrobe {
  #config: Config;
  /** Whom the guard lets in: longer than the configuration, where the peer may still speak by a path that it has not. */
  #guarded: Config;
  readonly #log: (line: string) => void;
  readonly #slots: Pick<SlotKeeper, "inForce">;
  /** Changes made so far, and the last one. */
  #told = 0;
  #last = "";
  #tables: OwnTables | null = null;

  constructor(config: Config, slots: Pick<SlotKeeper, "inForce">, log: (line: string) => void) {
    this.#config = config;
    this.#guarded = config;
    this.#slots = slots;
    this.#log = log;
  }

  /** From the next step on it is this configuration that is put on. */
  wear(config: Config): void {
    this.#config = config;
  }

  /** From the next `guard` on, the peer of this configuration is let in. */
  letIn(config: Config): void {
    this.#guarded = config;
  }

  /** Service interfaces that are to go, or to be made anew, are down: heart can take its gate off them. @throws KernelError */
  lower(devices: readonly string[]): void {
    this.#tell(lowerInterfaces(devices));
  }

  /** Service interfaces exist, down where they are new: heart can put its gate on them. */
  hang(): void {
    this.#tell(createInterfaces(this.#config));
  }

  /** Port 1148 is guarded: before anything of ours listens there. */
  guard(): void {
    if (applyGuard(this.#guarded, this.#own())) this.#tell([`rules: table inet ${GUARD_TABLE}`]);
  }

  /** What `guard` did, where nothing listens any more. */
  unguard(): void {
    removeGuard(this.#own());
  }

  /** The gate is on: everything up, translation in place, forwarding last. */
  dress(): void {
    this.guard();
    this.#tell(raiseInterfaces(this.#config));
    this.#putRuleset();
    this.#tell(openForwarding(this.#config));
  }

  /** The slots in force are others: where the node is dressed, they are moved in the kernel. @throws BoundaryError */
  moveSlots(): void {
    this.#putRuleset();
  }

  #putRuleset(): void {
    if (applyRuleset(compileRuleset(this.#config, this.#slots.inForce), this.#own()))
      this.#tell(["rules: table inet understudy"]);
  }

  /** The tables are there: a cheap look, often, for kernels on which anybody may flush them. @throws KernelError */
  tablesStand(): boolean {
    return this.#own().stand([RULESET_TABLE, GUARD_TABLE]);
  }

  /** As `dress`, quiet where nothing is missing: twice changes nothing. */
  mend(): Mended {
    const before = this.#told;
    try {
      this.dress();
      return { changes: this.#told - before, last: this.#last, fault: null };
    } catch (error) {
      const fault = (error as Error).message;
      this.#log(`could not put everything back: ${fault}`);
      return { changes: this.#told - before, last: this.#last, fault };
    }
  }

  /** Removes all of it and nothing else; what is not there is as good as removed. */
  undress(): void {
    this.#tell(undress(this.#config));
    removeRuleset(this.#own());
    this.unguard();
  }

  /** Open for the daemon's life: what it owns, others cannot flush. What it leaves in place, the next one adopts. */
  #own(): OwnTables {
    this.#tables ??= new OwnTables("inet");
    return this.#tables;
  }

  #tell(changes: readonly string[]): void {
    for (const change of changes) {
      this.#log(change);
      this.#told += 1;
      this.#last = change;
    }
  }
}
