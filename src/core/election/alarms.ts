// The election's alarms: one table of what can be wrong, in words for the person who is called at night, and the
// two functions that raise and clear each exactly once. Pure.

import type { ElectionState } from "./state.ts";
import type { ElectionAlarm, ElectionEffect } from "./types.ts";

type AlarmText = Pick<ElectionAlarm, "severity" | "text" | "advice">;

export const ELECTION_ALARMS = {
  "peer-silent": {
    severity: "warning",
    text: "The other node is not heard on any path.",
    advice: "Is it running? Check the sync cable and the paths with `understudy show pair` on both nodes.",
  },
  "peer-deaf": {
    severity: "warning",
    text: "The other node is heard but does not hear this one.",
    advice: "One direction of every heartbeat path is broken: check cables, and packet filters for UDP 1148.",
  },
  "heartbeats-lost-gate-answers": {
    severity: "critical",
    text: "No heartbeat arrives, but the other node's gate answers on a service segment: no takeover.",
    advice:
      "Heartbeats are lost while the other node serves. Check the paths, and packet filters for UDP 1148.",
  },
  isolated: {
    severity: "critical",
    text: "No third party is heard on any service segment: this node does not claim the shared addresses.",
    advice: "Check this node's cables and switch ports; configure witnesses that always answer.",
  },
  "cannot-forward": {
    severity: "critical",
    text: "This active node has no working LAN or no working link, and the other node is no better off.",
    advice: "Check the LAN switch and the links' gateways.",
  },
  "lease-lapsed": {
    severity: "warning",
    text: "The lease ended before it was renewed: the gate was shut for a moment.",
    advice:
      "The machine stalled for longer than a lease. Does heart have real-time priority (`understudy doctor`)?",
  },
  "two-actives": {
    severity: "critical",
    text: "Both nodes had their gates open: a split that has healed. One has yielded.",
    advice: "Find out which cables or switches parted the nodes; both kept serving their half meanwhile.",
  },
  "claimant-on-segment": {
    severity: "critical",
    text: "Somebody else answers for the shared addresses from the virtual MAC, and no heartbeat is heard.",
    advice: "Either the other node is active behind broken paths, or a host on this segment forges answers.",
  },
  "term-not-stored": {
    severity: "critical",
    text: "The term could not be written to disk: this node is not ready.",
    advice: "Is the state directory's disk full, read-only or failing?",
  },
  "gate-missing": {
    severity: "critical",
    text: "The gate's nftables table was removed by somebody; it is being restored.",
    advice:
      "Do not flush the whole ruleset on a node; leave the tables `understudy` and `understudy-gate` alone.",
  },
  "daemon-silent": {
    severity: "warning",
    text: "The daemon of this node is silent.",
    advice: "Look at its log; it may hang or be gone. Heart goes on without it.",
  },
} as const satisfies Record<string, AlarmText>;
export type ElectionAlarmCode = keyof typeof ELECTION_ALARMS;

/** Raises or clears an alarm; saying the same twice does nothing. */
export function setAlarm(
  state: ElectionState,
  code: ElectionAlarmCode,
  raised: boolean,
  effects: ElectionEffect[],
): void {
  if (state.alarms.has(code) === raised) return;
  if (raised) {
    state.alarms.add(code);
    effects.push({ kind: "alarm", raised: true, alarm: { code, ...ELECTION_ALARMS[code] } });
  } else {
    state.alarms.delete(code);
    effects.push({ kind: "alarm", raised: false, code });
  }
}
