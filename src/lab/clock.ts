// The laboratory's one clock: milliseconds of CLOCK_MONOTONIC, the same number in every process of the machine, so
// that what a client saw and what a fault did can be put in order. It may not be used outside the laboratory.

/** `performance.now()` to CLOCK_MONOTONIC. A process that is put aside between the two readings makes the difference
 * too small, never too large: the largest of some is right. */
const offsetMs = Math.max(
  ...Array.from({ length: 16 }, () => Number(process.hrtime.bigint()) / 1e6 - performance.now()),
);

/** Milliseconds since boot, with fractions; comparable between processes. */
export function nowMs(): number {
  return performance.now() + offsetMs;
}

/**
 * What to add to a time of the wall clock (the kernel's timestamps) to get the laboratory's. Read where the wall clock
 * goes on to its next millisecond; a process that is put aside just then sees it too late: the smallest is right.
 */
export function wallClockOffsetMs(): number {
  let smallest = Infinity;
  for (let sample = 0; sample < 16; sample += 1) {
    const startMs = Date.now();
    let wallMs = startMs;
    while (wallMs === startMs) wallMs = Date.now();
    smallest = Math.min(smallest, nowMs() - wallMs);
  }
  return smallest;
}

/** Resolves after `ms`. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Asks `probe` until it gives something other than null, or `timeoutMs` are over (null). Never rejects because of
 * time: what was not reached is the caller's finding.
 */
export async function until<T>(
  timeoutMs: number,
  intervalMs: number,
  probe: () => Promise<T | null> | T | null,
): Promise<T | null> {
  const endMs = nowMs() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== null) return found;
    if (nowMs() >= endMs) return null;
    await sleep(intervalMs);
  }
}
