// What the streams saw, and what a death of the active made of them: which were older than what may be lost, which live,
// which could not be re-derived because their port was somebody else's. Pure.

export interface StreamCounts {
  readonly atMs: number;
  readonly started: number;
  readonly opened: number;
  readonly closed: number;
  readonly failed: number;
  /** Each reason once. */
  readonly failures: readonly string[];
}

/** One stream as its client saw it. Times in milliseconds of the laboratory's clock; 0: never. */
export interface StreamSeen {
  readonly host: string;
  readonly port: number;
  readonly startedMs: number;
  readonly openedMs: number;
  readonly failure: string | null;
  readonly closed: boolean;
  /** Messages that came back whole. */
  readonly answers: number;
  /** Times that the far side spoke unasked, and was right. */
  readonly heard: number;
  readonly lastMs: number;
}

/** The moment of a crash, as closely as it is known from outside. */
export interface Crash {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Until then nobody serves: what arrives later came through the new active. */
const DEAD_MS = 30;

/** It has moved since the crash, by the way that there is since. */
export const livesAfter = (stream: StreamSeen, crash: Crash): boolean =>
  stream.failure === null && stream.lastMs > crash.notAfterMs + DEAD_MS;

export interface StormVerdict {
  /** Begun longer before the crash than `youngMs`; and those of them that did not live. */
  readonly old: number;
  readonly oldDead: number;
  readonly young: number;
  readonly youngDead: number;
  /** Of the young dead: those whose translated port was not theirs, or was somebody else's afterwards. */
  readonly collided: number;
  /** Begun after the crash. */
  readonly later: number;
  /** A few of the dead that should have lived, in words. */
  readonly samples: readonly string[];
}

const SAMPLES_MAX = 5;

/** What the crash made of the streams. A stream's age counts from its first SYN. */
export function judgeStorm(
  streams: readonly StreamSeen[],
  crash: Crash,
  youngMs: number,
  collides: (stream: StreamSeen) => boolean,
): StormVerdict {
  let [old, oldDead, young, youngDead, collided, later] = [0, 0, 0, 0, 0, 0];
  const samples: string[] = [];
  for (const stream of streams) {
    if (stream.startedMs > crash.notAfterMs) {
      later += 1;
      continue;
    }
    const ageMs = crash.notBeforeMs - stream.startedMs;
    const isOld = ageMs >= youngMs;
    if (isOld) old += 1;
    else young += 1;
    if (livesAfter(stream, crash)) continue;
    if (isOld) {
      oldDead += 1;
      if (samples.length < SAMPLES_MAX) samples.push(describe(stream, crash));
    } else {
      youngDead += 1;
      if (collides(stream)) collided += 1;
    }
  }
  return { old, oldDead, young, youngDead, collided, later, samples };
}

function describe(stream: StreamSeen, crash: Crash): string {
  const opened = stream.openedMs === 0 ? "never opened" : `opened ${at(stream.openedMs, crash)}`;
  const last = stream.lastMs === 0 ? "never answered" : `last answer ${at(stream.lastMs, crash)}`;
  return `${stream.host} port ${stream.port}, begun ${at(stream.startedMs, crash)}, ${opened}, ${last}: ${stream.failure ?? "silent"}`;
}

const at = (timeMs: number, crash: Crash): string => {
  const ms = Math.round(timeMs - crash.notBeforeMs);
  return ms < 0 ? `${-ms} ms before` : `${ms} ms after`;
};
