// What heart shows of itself: alarms with their times, the last change of its role, the last takeover, and the whole as one `HeartState` for the
// control socket. Derived from the machine's state and the driver's counters; it decides nothing.

import { Role } from "../base/units.ts";
import { AlarmBoard, type AlarmCode } from "../core/alarms.ts";
import type { ElectionEffect } from "../core/election/types.ts";
import type { AlarmState, RoleChangeReport, TakeoverReport } from "../wire/control.ts";

/** Alarms and takeovers, as the machine's effects raise and clear them. */
export class Notices {
  readonly #board = new AlarmBoard();
  #lastTakeover: TakeoverReport | null = null;
  #lastChange: RoleChangeReport | null = null;
  #role: Role = Role.Idle;
  #roleSince = performance.now();
  readonly #log: (line: string) => void;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  get alarms(): readonly AlarmState[] {
    return this.#board.raised;
  }
  get lastTakeover(): TakeoverReport | null {
    return this.#lastTakeover;
  }
  get lastChange(): RoleChangeReport | null {
    return this.#lastChange;
  }
  /** Milliseconds since the role last changed. */
  get sinceMs(): number {
    return Math.round(performance.now() - this.#roleSince);
  }

  alarm(effect: Extract<ElectionEffect, { kind: "alarm" }>): void {
    const now = { monotonicMs: performance.now(), wallMs: Date.now() };
    const { code, detail } = effect.raised ? effect.alarm : { code: effect.code, detail: null };
    const line = this.#board.observe(code as AlarmCode, detail, now);
    if (line !== null) this.#log(line);
  }

  roleChanged(effect: Extract<ElectionEffect, { kind: "role-changed" }>): void {
    const { role, term, gate, cause, silenceMs, openMs } = effect;
    const at = new Date().toISOString();
    // Draining, a lapse, a raised term: news of the same role.
    if (role !== this.#role) {
      this.#roleSince = performance.now();
      this.#lastChange = { from: this.#role, to: role, cause, term, silenceMs, openMs, at };
      this.#role = role;
    }
    const timing = silenceMs > 0 ? `, peer silent for ${silenceMs.toFixed(1)} ms` : "";
    this.#log(`${role} in term ${term}, gate ${gate} (${cause}${timing})`);
    if (cause !== "takeover" && cause !== "handover" && cause !== "election") return;
    if (role !== "active") return;
    this.#lastTakeover = { term, kind: cause, silenceMs, openMs, at };
  }
}
