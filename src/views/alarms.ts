// Alarms as a page: the most severe first, each with since when, what is the case, what is particular about it and what
// to do. Drawn alike by `show alarms` and `show pair`. Pure.

import { peerOf } from "../base/units.ts";
import type { AlarmState, AlarmsView } from "../wire/control.ts";
import type { Style } from "./text.ts";
import { moment, plural, printable, wrap } from "./text.ts";

const WIDTH = 100;
const severityTone = { critical: "bad", warning: "warn", info: "plain" } as const;

/** One alarm in a few lines, indented by `indent`. `nowMs`: the wall clock, ms since 1970. */
export function alarmText(alarm: AlarmState, nowMs: number, style: Style, indent: number): string {
  const head = style(
    severityTone[alarm.severity],
    `${alarm.severity.toUpperCase()} ${printable(alarm.code)}`,
  );
  return [
    `${" ".repeat(indent)}${head}  ${printable(alarm.title)}, since ${moment(alarm.since, nowMs)}`,
    wrap(alarm.text, WIDTH, indent + 2),
    ...(alarm.detail === "" ? [] : [wrap(`Here: ${alarm.detail}`, WIDTH, indent + 2)]),
    ...(alarm.advice === "" ? [] : [wrap(`What to do: ${alarm.advice}`, WIDTH, indent + 2)]),
  ].join("\n");
}

/** `b has 2 alarms, critical: ...`; empty where the peer is not heard or has none. */
export function peerAlarmsText(peer: AlarmsView["peer"], node: AlarmsView["node"]): string {
  if (peer === null || peer.alarms === 0) return "";
  const critical = peer.critical ? ", critical" : "";
  return `${peerOf(node)} has ${plural(peer.alarms, "alarm")}${critical}: \`understudy show alarms\` there`;
}

/** The view as text that ends with a line feed. */
export function renderAlarms(
  view: AlarmsView,
  options: { readonly nowMs: number; readonly style: Style },
): string {
  const { nowMs, style } = options;
  const { alarms, peer, node } = view;
  const own = alarms.map((alarm) => alarmText(alarm, nowMs, style, 0));
  const theirs = peerAlarmsText(peer, node);
  return `${[
    ...(own.length === 0 ? [`No alarm on ${node}.`] : own),
    ...(theirs === "" ? [] : [style(peer?.critical === true ? "bad" : "warn", `${theirs}.`)]),
    ...(peer === null
      ? [style("warn", `${peerOf(node)} is not heard: whether it has alarms is not known.`)]
      : []),
  ].join("\n\n")}\n`;
}
