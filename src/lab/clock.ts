// The laboratory's one clock: milliseconds of CLOCK_MONOTONIC, the same number in every process of the machine, so
// that what a client saw and what a fault did can be put in order. It may not be used outside the laboratory.

const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds since boot, with fractions; comparable between processes. */
export function nowMs(): number {
  return performance.now() + offsetMs;
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
