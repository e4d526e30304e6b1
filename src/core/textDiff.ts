// Two texts compared line by line, as `diff -u` writes it: the shortest way from one to the other (Myers, "An O(ND) Difference
// Algorithm and Its Variations", 1986), as long as they have something in common. Pure.

/** Lines that are taken away and added at most before two texts are called different as a whole: bounds time and memory. */
const EDITS_MAX = 1000;
const CONTEXT_LINES = 3;

/** One step on the way: a line that stays, goes or comes. Counted from 0, in the old and in the new text. */
interface Step {
  readonly kind: "keep" | "remove" | "add";
  readonly old: number;
  readonly new: number;
}

/** What is before and what comes after; `names` are those of the two in the head of the difference. */
export interface Compared {
  readonly old: string;
  readonly new: string;
  readonly names: readonly [string, string];
}

/** The unified difference of two texts, with three lines around each change; empty where they are equal. */
export function unifiedDiff({ old: before, new: after, names }: Compared): string {
  if (before === after) return "";
  const [old, next] = [linesOf(before), linesOf(after)];
  const steps = stepsOf(old, next);
  const lines = [`--- ${names[0]}`, `+++ ${names[1]}`];
  for (const hunk of hunksOf(steps)) {
    lines.push(headOf(hunk));
    for (const step of hunk)
      lines.push(
        step.kind === "add" ? `+${next[step.new]!}` : `${step.kind === "keep" ? " " : "-"}${old[step.old]!}`,
      );
  }
  return `${lines.join("\n")}\n`;
}

/** The last line without a line feed says so, as in diff(1): it is another line than one with it. */
function linesOf(text: string): readonly string[] {
  if (text === "") return [];
  const lines = text.split("\n");
  const last = lines.pop()!;
  return last === "" ? lines : [...lines, `${last}\n\\ No newline at end of file`];
}

/** The way from `old` to `next`, in order. */
function stepsOf(old: readonly string[], next: readonly string[]): Step[] {
  let head = 0;
  while (head < old.length && head < next.length && old[head] === next[head]) head += 1;
  let tail = 0;
  while (
    tail < old.length - head &&
    tail < next.length - head &&
    old[old.length - 1 - tail] === next[next.length - 1 - tail]
  )
    tail += 1;
  const keep = (count: number, oldAt: number, newAt: number): Step[] =>
    Array.from({ length: count }, (_, index) => ({ kind: "keep", old: oldAt + index, new: newAt + index }));
  const middle = shortest(old.slice(head, old.length - tail), next.slice(head, next.length - tail));
  return [
    ...keep(head, 0, 0),
    ...middle.map((step) => ({ kind: step.kind, old: step.old + head, new: step.new + head })),
    ...keep(tail, old.length - tail, next.length - tail),
  ];
}

/** Myers' greedy algorithm: for each number of edits the farthest point on each diagonal, then the way back. */
function shortest(old: readonly string[], next: readonly string[]): Step[] {
  const most = Math.min(old.length + next.length, EDITS_MAX);
  const trace: Int32Array[] = [];
  let farthest = new Int32Array(2 * most + 3);
  const middle = most + 1;
  for (let edits = 0; edits <= most; edits += 1) {
    trace.push(farthest.slice(middle - edits - 1, middle + edits + 2));
    const reached = farthest.slice();
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const down =
        diagonal === -edits ||
        (diagonal !== edits && farthest[middle + diagonal - 1]! < farthest[middle + diagonal + 1]!);
      let x = down ? farthest[middle + diagonal + 1]! : farthest[middle + diagonal - 1]! + 1;
      while (x < old.length && x - diagonal < next.length && old[x] === next[x - diagonal]) x += 1;
      reached[middle + diagonal] = x;
      if (x >= old.length && x - diagonal >= next.length) return wayBack(trace, old.length, next.length);
    }
    farthest = reached;
  }
  // Nothing worth showing line by line.
  return [
    ...old.map((_, index): Step => ({ kind: "remove", old: index, new: 0 })),
    ...next.map((_, index): Step => ({ kind: "add", old: old.length, new: index })),
  ];
}

/** `trace[d]` holds the diagonals -d-1 to d+1 as they were before `d` edits were tried. */
function wayBack(trace: readonly Int32Array[], oldLength: number, newLength: number): Step[] {
  const steps: Step[] = [];
  let [x, y] = [oldLength, newLength];
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const diagonal = x - y;
    const at = (wanted: number): number => trace[edits]![wanted + edits + 1]!;
    const down = diagonal === -edits || (diagonal !== edits && at(diagonal - 1) < at(diagonal + 1));
    const before = down ? diagonal + 1 : diagonal - 1;
    const fromX = edits === 0 ? 0 : at(before);
    const fromY = edits === 0 ? 0 : fromX - before;
    const stop = edits === 0 ? 0 : down ? fromX : fromX + 1;
    while (x > stop) {
      x -= 1;
      y -= 1;
      steps.push({ kind: "keep", old: x, new: y });
    }
    if (edits > 0)
      steps.push(down ? { kind: "add", old: fromX, new: fromY } : { kind: "remove", old: fromX, new: fromY });
    [x, y] = [fromX, fromY];
  }
  return steps.reverse();
}

/** Runs of changes with the lines around them; runs that would touch are one. */
function hunksOf(steps: readonly Step[]): readonly (readonly Step[])[] {
  const hunks: { from: number; to: number }[] = [];
  steps.forEach(({ kind }, index) => {
    if (kind === "keep") return;
    const [from, to] = [
      Math.max(0, index - CONTEXT_LINES),
      Math.min(steps.length, index + CONTEXT_LINES + 1),
    ];
    const last = hunks.at(-1);
    if (last !== undefined && from <= last.to) last.to = to;
    else hunks.push({ from, to });
  });
  return hunks.map(({ from, to }) => steps.slice(from, to));
}

function headOf(hunk: readonly Step[]): string {
  const first = hunk[0]!;
  const count = (without: Step["kind"]): number => hunk.filter(({ kind }) => kind !== without).length;
  // An empty range is written with the number of the line before it.
  const range = (at: number, lines: number): string =>
    lines === 1 ? `${at + 1}` : `${lines === 0 ? at : at + 1},${lines}`;
  return `@@ -${range(first.old, count("add"))} +${range(first.new, count("remove"))} @@`;
}
