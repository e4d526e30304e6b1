// What heart shows of itself: alarms with their times, the last takeover, and the whole as one `HeartState` for the
// control socket. Derived from the machine's state and the driver's counters; it decides nothing.

import type { ElectionEffect } from "../core/election/types.ts";
import type { AlarmState, TakeoverReport } from "../wire/control.ts";

/** Alarms and takeovers, as the machine's effects raise and clear them. */
export class Notices {
  readonly #alarms = new Map<string, AlarmState>();
  #lastTakeover: TakeoverReport | null = null;
  #roleSince = performance.now();
  readonly #log: (line: string) => void;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  get alarms(): readonly AlarmState[] {
    return [...this.#alarms.values()];
  }
  get lastTakeover(): TakeoverReport | null {
    return this.#lastTakeover;
  }
  /** Milliseconds since the role last changed. */
  get sinceMs(): number {
    return Math.round(performance.now() - this.#roleSince);
  }

  alarm(effect: Extract<ElectionEffect, { kind: "alarm" }>): void {
    if (!effect.raised) {
      if (this.#alarms.delete(effect.code)) this.#log(`alarm cleared: ${effect.code}`);
      return;
    }
    const { alarm } = effect;
    const since = this.#alarms.get(alarm.code)?.since ?? new Date().toISOString();
    if (!this.#alarms.has(alarm.code))
      this.#log(`alarm ${alarm.severity} ${alarm.code}: ${alarm.text} (${alarm.advice})`);
    this.#alarms.set(alarm.code, { ...alarm, since });
  }

  roleChanged(effect: Extract<ElectionEffect, { kind: "role-changed" }>): void {
    const { role, term, gate, cause, silenceMs, openMs } = effect;
    this.#roleSince = performance.now();
    const timing = silenceMs > 0 ? `, peer silent for ${silenceMs.toFixed(1)} ms` : "";
    this.#log(`${role} in term ${term}, gate ${gate} (${cause}${timing})`);
    if (cause !== "takeover" && cause !== "handover" && cause !== "election") return;
    if (role !== "active") return;
    this.#lastTakeover = { term, kind: cause, silenceMs, openMs, at: new Date().toISOString() };
  }
}
