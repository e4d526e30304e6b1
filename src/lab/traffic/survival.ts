// What it means for a live session to survive, and the figures of their stalls. Pure.

export interface LiveHost {
  readonly name: string;
  /** Holder of its namespace. */
  readonly pid: number;
}

/** One live session as its client saw it since the mark. */
export interface LiveSession {
  readonly kind: "echo" | "download";
  readonly host: string;
  /** Its port at the host. */
  readonly port: number;
  readonly connected: boolean;
  /** Null while it lives. */
  readonly failure: string | null;
  /** Longest silence since the mark, the one that lasts included. */
  readonly stallMs: number;
  /** The silence that lasts. */
  readonly silentMs: number;
  /** From the first to the last right byte since the mark. */
  readonly movedMs: number;
  readonly bytes: number;
}

/** Right data must have moved for this long after the fault, */
export const MOVES_AT_LEAST_MS = 1000;
/** and never have stood still for longer than this. */
export const STALL_MAX_MS = 500;

/** Null: it survived. Else why not, in words. */
export function lossOf(session: LiveSession, stallMaxMs: number = STALL_MAX_MS): string | null {
  if (session.failure !== null) return session.failure;
  if (!session.connected) return "never connected";
  if (session.silentMs > STALL_MAX_MS) return "silent ever since";
  if (session.stallMs > stallMaxMs) return STOOD_STILL;
  if (session.movedMs < MOVES_AT_LEAST_MS) return `moved data for less than ${MOVES_AT_LEAST_MS} ms`;
  return null;
}

const STOOD_STILL = "stood still for too long, and went on";

export interface LiveSummary {
  readonly opened: number;
  readonly survived: number;
  readonly stallMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

export interface LiveVerdict extends LiveSummary {
  /** Why sessions were lost: reason -> how many. */
  readonly losses: ReadonlyMap<string, number>;
  /** How many of the lost ones went on, right in every byte, and were too slow: a matter of time alone. */
  readonly slow: number;
}

/** The figures of all live sessions that were opened. Stalls are those of every session, the lost ones too. */
export function judgeLive(sessions: readonly LiveSession[], stallMaxMs?: number): LiveVerdict {
  const losses = new Map<string, number>();
  let [survived, slow] = [0, 0];
  for (const session of sessions) {
    const loss = lossOf(session, stallMaxMs);
    if (loss === STOOD_STILL) slow += 1;
    if (loss === null) survived += 1;
    else losses.set(`${session.kind}: ${loss}`, (losses.get(`${session.kind}: ${loss}`) ?? 0) + 1);
  }
  const stalls = sessions.map((session) => session.stallMs).sort((one, other) => one - other);
  const opened = sessions.filter((session) => session.connected).length;
  const at = (share: number): number => round(percentile(stalls, share));
  return { opened, survived, stallMs: { p50: at(0.5), p99: at(0.99), max: at(1) }, losses, slow };
}

/** Nearest rank over sorted values; 0 where there are none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** One decimal: what a millisecond clock in user space is worth. */
export const round = (value: number): number => Math.round(value * 10) / 10;
