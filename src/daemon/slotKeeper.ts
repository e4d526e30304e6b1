// The slots in force on this node: who decides on them, and how they outlive a restart. The active computes them from its
// configuration, moving as few as possible from those in force; a standby takes the ones that it is told (docs/protocol.md
// §5.6) and goes on with them when it takes over, so that the session which is placed again by its next packet gets
// the link that it had. They are kept in a file beside the terms: a node that starts alone begins where it was.
//
// It puts nothing into the kernel: that is the wardrobe's, whenever `inForce` is another.

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SLOTS } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import { adoptSlots, computeSlots, type PlacementLink } from "../core/placement.ts";
import { equalBytes } from "../wire/codec.ts";

const FILE = "slots.json";
const STORED_BYTES_MAX = 16 * 1024;

export interface SlotKeeperOptions {
  readonly config: Config;
  readonly log: (line: string) => void;
}

const linksOf = (config: Config): readonly PlacementLink[] =>
  config.links.map(({ id, weight, enabled }) => ({ id, weight, enabled }));

export class SlotKeeper {
  readonly #options: SlotKeeperOptions;
  #links: readonly PlacementLink[];
  #seed: number;
  #slots: Uint8Array;

  /** Begins with what this node had in force before it was started; without that, with what the configuration alone says. */
  constructor(options: SlotKeeperOptions) {
    this.#options = options;
    this.#links = linksOf(options.config);
    this.#seed = options.config.placementSeed;
    const stored = this.#read();
    this.#slots =
      stored?.seed === this.#seed
        ? computeSlots(this.#links, this.#seed, stored.slots)
        : computeSlots(this.#links, this.#seed);
    this.#store();
  }

  /** Link id of each of the 4096 slots, 0 for none; not to be written to. */
  get inForce(): Uint8Array {
    return this.#slots;
  }

  /** Of the placement hash: a slot is a number under this seed, and means nothing under another. */
  get seed(): number {
    return this.#seed;
  }

  /** Another configuration is in force: the fewest slots are moved that it asks for. True: some were. */
  configure(config: Config): boolean {
    const previous = config.placementSeed === this.#seed ? this.#slots : undefined;
    this.#links = linksOf(config);
    this.#seed = config.placementSeed;
    return this.#become(computeSlots(this.#links, this.#seed, previous));
  }

  /** The active's word, on a standby; `slots` were counted under this node's own seed. True: some were moved. */
  adopt(slots: Uint8Array): boolean {
    return this.#become(adoptSlots(slots, this.#links, this.#seed));
  }

  #become(slots: Uint8Array): boolean {
    if (equalBytes(slots, this.#slots)) return false;
    this.#slots = slots;
    this.#store();
    return true;
  }

  get #file(): string {
    return join(this.#options.config.stateDirectory, FILE);
  }

  /** null: there is none, or none that can be understood; placement then begins anew, which costs no session. */
  #read(): { readonly seed: number; readonly slots: Uint8Array } | null {
    try {
      const text = readFileSync(this.#file, "utf8");
      const value = JSON.parse(text.slice(0, STORED_BYTES_MAX)) as { seed?: unknown; slots?: unknown };
      const slots = Buffer.from(String(value.slots), "base64");
      if (typeof value.seed === "number" && slots.length === SLOTS)
        return { seed: value.seed, slots: new Uint8Array(slots) };
      throw new Error("not a table of slots");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#options.log(`slots begin anew: ${this.#file}: ${(error as Error).message}`);
      return null;
    }
  }

  /** A disk that refuses costs nothing but the memory of a restart; and no sync, for the same reason. */
  #store(): void {
    const content = { seed: this.#seed, slots: Buffer.from(this.#slots).toString("base64") };
    try {
      writeFileSync(`${this.#file}.new`, `${JSON.stringify(content)}\n`, { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      this.#options.log(`slots are not kept over a restart: ${this.#file}: ${(error as Error).message}`);
    }
  }
}
