// The daemon's alarms: what it sees of heart, of replication, of the kernel's dress and of port 1148, held against the
// conditions of core/alarms.ts, and put together with heart's own for whoever asks. It decides nothing else.

import { AlarmBoard, type AlarmCount, type DaemonAlarmCode, type Instant, inOrder } from "../core/alarms.ts";
import type { AlarmState, AlarmsView, HeartState, ReplicationState } from "../wire/control.ts";

/** What is looked at anew each time. */
export interface AlarmFacts {
  /** Null where heart does not run. */
  readonly heart: HeartState | null;
  readonly replication: ReplicationState;
  /** Sessions of the other node that this one's kernel does not take. */
  readonly refused: number;
  /** Of our configuration, hex. */
  readonly configurationDigest: string;
}

type Conditions = Partial<Readonly<Record<DaemonAlarmCode, string | null>>>;

/** Each condition's detail, or null where it does not hold. Those that are noticed elsewhere are not in it. */
export function conditionsOf(facts: AlarmFacts): Conditions {
  const { heart, replication, refused, configurationDigest } = facts;
  const peer = heart?.peer.heard === true ? heart.peer : null;
  const takesPart = heart?.role === "active" || heart?.role === "standby";
  const theirs = peer?.configurationDigest ?? null;
  const differs = theirs !== null && !configurationDigest.startsWith(theirs);
  const incomplete = peer !== null && takesPart && replication.connected && !replication.synchronised;
  return {
    "heart-gone": heart === null ? "" : null,
    "replication-down": peer !== null && !replication.connected ? "" : null,
    "replication-incomplete": incomplete ? `${replication.direction} over ${replication.path ?? "?"}` : null,
    "sessions-refused": refused > 0 ? `${refused} sessions` : null,
    "configuration-differs": differs
      ? `${configurationDigest.slice(0, 8)} here, ${theirs.slice(0, 8)} there`
      : null,
  };
}

const instant = (): Instant => ({ monotonicMs: performance.now(), wallMs: Date.now() });

/** One a daemon. */
export class DaemonAlarms {
  readonly #board = new AlarmBoard();
  readonly #log: (line: string) => void;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Says whether one condition holds now: its detail, or null. To be said regularly, whatever it is. */
  observe(code: DaemonAlarmCode, detail: string | null): void {
    const line = this.#board.observe(code, detail, instant());
    if (line !== null) this.#log(line);
  }

  look(facts: AlarmFacts): void {
    for (const [code, detail] of Object.entries(conditionsOf(facts)))
      this.observe(code as DaemonAlarmCode, detail);
  }

  get count(): AlarmCount {
    return this.#board.count;
  }

  /** All of this node. Heart's go by what it said last. */
  all(heart: HeartState | null): readonly AlarmState[] {
    return inOrder([...(heart?.alarms ?? []), ...this.#board.raised]);
  }

  view(heart: HeartState | null, node: AlarmsView["node"]): AlarmsView {
    const peer = heart?.peer;
    const { alarms = null, critical = false } = peer ?? {};
    return {
      node,
      alarms: this.all(heart),
      peer: peer?.heard === true && alarms !== null ? { alarms, critical } : null,
    };
  }
}
