// Who claimed, and whether two did at once: from the runs of frames that a capture wrote down, and from when which
// node's ports forwarded. Frames that ran into a dead port are on no segment. Pure.

/** Consecutive claiming frames of one node on one segment (times in milliseconds of the laboratory's clock). */
export interface ClaimRun {
  readonly segment: string;
  readonly node: string;
  readonly firstMs: number;
  lastMs: number;
  frames: number;
}

/** A time in which a node's ports did not forward. */
export interface DeadWindow {
  readonly node: string;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Only on these segments; all of the node's where left out. */
  readonly segments?: readonly string[];
}

export interface Claims {
  /** Longest total over the segments of the time in which both nodes claimed. */
  readonly overlapMs: number;
  /** Where and when, for a reader. */
  readonly overlaps: readonly { readonly segment: string; readonly atMs: number; readonly forMs: number }[];
}

/** A node that is silent on a segment for this long does not claim it any more. */
const SILENCE_MS = 200;
/** One frame in the midst of the other's has no length, and is an overlap all the same. */
const OVERLAP_MIN_MS = 0.1;

interface Span {
  fromMs: number;
  untilMs: number;
}

/** How long both nodes claimed one segment at once. */
export function judgeClaims(runs: readonly ClaimRun[], dead: readonly DeadWindow[]): Claims {
  const overlaps: { segment: string; atMs: number; forMs: number }[] = [];
  const totals = new Map<string, number>();
  for (const segment of new Set(runs.map((run) => run.segment))) {
    const here = runs.filter((run) => run.segment === segment);
    const deadHere = dead.filter(({ segments }) => segments?.includes(segment) ?? true);
    const spansOf = (node: string): readonly Span[] =>
      join(
        here
          .filter((run) => run.node === node)
          .flatMap((run) => alive({ fromMs: run.firstMs, untilMs: run.lastMs }, node, deadHere)),
      );
    const nodes = [...new Set(here.map((run) => run.node))];
    for (const one of spansOf(nodes[0] ?? ""))
      for (const other of spansOf(nodes[1] ?? "")) {
        const atMs = Math.max(one.fromMs, other.fromMs);
        const untilMs = Math.min(one.untilMs, other.untilMs);
        if (untilMs < atMs) continue;
        const forMs = Math.max(untilMs - atMs, OVERLAP_MIN_MS);
        overlaps.push({ segment, atMs, forMs });
        totals.set(segment, (totals.get(segment) ?? 0) + forMs);
      }
  }
  return { overlapMs: Math.max(0, ...totals.values()), overlaps };
}

/** The parts of a span in which the node's ports forwarded. */
function alive(span: Span, node: string, dead: readonly DeadWindow[]): readonly Span[] {
  let parts: readonly Span[] = [span];
  for (const window of dead.filter((candidate) => candidate.node === node))
    parts = parts.flatMap((part) => {
      const before = { fromMs: part.fromMs, untilMs: Math.min(part.untilMs, window.fromMs) };
      const after = { fromMs: Math.max(part.fromMs, window.untilMs), untilMs: part.untilMs };
      if (window.untilMs <= part.fromMs || window.fromMs > part.untilMs) return [part];
      return [before, after].filter((piece) => piece.untilMs >= piece.fromMs);
    });
  return parts;
}

/** Spans in order, those with little silence between them made one. */
function join(spans: readonly Span[]): readonly Span[] {
  const joined: Span[] = [];
  for (const span of [...spans].sort((one, other) => one.fromMs - other.fromMs)) {
    const last = joined.at(-1);
    if (last !== undefined && span.fromMs - last.untilMs < SILENCE_MS)
      last.untilMs = Math.max(last.untilMs, span.untilMs);
    else joined.push({ ...span });
  }
  return joined;
}
