// The driver of core/replication/setBack.ts: walks this node's own table in the background after a takeover, one
// datagram at a time, and tells the log what came of it. Everything in it is synchronous and short; it decides nothing.

import { type Millis, millis } from "../base/units.ts";
import {
  createSetBack,
  deadline,
  type SetBackEffect,
  type SetBackInput,
  type SetBackState,
  step,
} from "../core/replication/setBack.ts";
import type { SetBackWalk } from "../kernel/sessionTimes.ts";

export interface SetBackOptions {
  /** Begins a walk of the table. Throws KernelError. */
  readonly walk: () => SetBackWalk;
  readonly log: (line: string) => void;
}

const now = (): Millis => millis(performance.now());

/** Sets times back for as long as this node is active and there is something to set back. */
export class SetBack {
  readonly #options: SetBackOptions;
  readonly #state = createSetBack();
  readonly #effects: SetBackEffect[] = [];
  /** What the kernel refused, by errno name. */
  readonly #refused: Record<string, number> = {};
  #walk: SetBackWalk | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: SetBackOptions) {
    this.#options = options;
  }

  get phase(): SetBackState["phase"] {
    return this.#state.phase;
  }

  get counters(): Readonly<Record<string, number>> {
    const refused = Object.entries(this.#refused).map(([code, times]) => [`refused-${code}`, times] as const);
    return { ...this.#state.counters, ...Object.fromEntries(refused) };
  }

  /** Whenever it may have changed. */
  role(active: boolean): void {
    if (!this.#closed) this.#input({ kind: "role", active });
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#walk?.close();
    this.#walk = null;
  }

  #input(input: SetBackInput): void {
    step(this.#state, now(), input, this.#effects);
    for (let effect = this.#effects.shift(); effect !== undefined; effect = this.#effects.shift())
      this.#perform(effect);
    this.#plan();
  }

  #perform(effect: SetBackEffect): void {
    switch (effect.kind) {
      case "open":
      case "close":
        // A walk that is begun anew is opened with its first step, where a refusal is heard.
        this.#walk?.close();
        this.#walk = null;
        return;
      case "step":
        this.#step();
        return;
      case "done": {
        const { seen, setBack, tookMs } = effect;
        // Nothing came by replication: the first active of a pair.
        if (seen === 0) return;
        const refused = this.#state.counters.refused;
        this.#options.log(
          `replication: ${setBack} of ${seen} sessions were set back to their protocol's time: nobody has spoken in them ` +
            `since this node became active ${(tookMs / 1000).toFixed(1)} s ago${refused > 0 ? `; ${refused} refused` : ""}`,
        );
      }
    }
  }

  #step(): void {
    const began = performance.now();
    try {
      this.#walk ??= this.#options.walk();
      const { seen, setBack, refused, more } = this.#walk.step();
      let refusals = 0;
      for (const [code, times] of Object.entries(refused)) {
        this.#refused[code] = (this.#refused[code] ?? 0) + times;
        refusals += times;
      }
      const tookMs = performance.now() - began;
      step(
        this.#state,
        now(),
        { kind: "stepped", seen, setBack, refused: refusals, more, tookMs },
        this.#effects,
      );
    } catch (error) {
      this.#options.log(`replication: times cannot be set back yet: ${(error as Error).message}`);
      step(this.#state, now(), { kind: "failed" }, this.#effects);
    }
  }

  #plan(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const at = this.#closed ? null : deadline(this.#state);
    if (at === null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#input({ kind: "turn" });
      },
      Math.max(1, Math.ceil(at - now())),
    );
  }
}
