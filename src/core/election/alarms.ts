// The election's alarms: raised and cleared each exactly once, as effects. Their words are in core/alarms.ts. Pure.

import { alarmOf, type HeartAlarmCode } from "../alarms.ts";
import type { ElectionState } from "./state.ts";
import type { ElectionEffect } from "./types.ts";

/** Raises or clears an alarm; saying the same twice does nothing. */
export function setAlarm(
  state: ElectionState,
  code: HeartAlarmCode,
  raised: boolean,
  effects: ElectionEffect[],
): void {
  if (state.alarms.has(code) === raised) return;
  if (raised) {
    state.alarms.add(code);
    effects.push({ kind: "alarm", raised: true, alarm: alarmOf(code) });
  } else {
    state.alarms.delete(code);
    effects.push({ kind: "alarm", raised: false, code });
  }
}
