// What a drill's probes come to: how many were lost while the other node served, and how long nobody was seen to serve at either
// change. All on one clock, the prober's: its own gate's changes, and the other one's answers. Pure.

/** A change of who serves, seen from outside as far as it can be. */
interface Gap {
  /** When the one that ceases was last seen to serve. */
  readonly fromMs: number;
  ms: number | null;
}

export class ProbeTally {
  readonly #answerMs: number;
  /** Not answered yet, the oldest first. */
  #asked: number[] = [];
  #itself = true;
  #sawOther = false;
  #lastAnswerMs: number | null = null;
  #gaps: Gap[] = [];
  sent = 0;
  lost = 0;

  /** `answerMs`: how long an answer is waited for. */
  constructor(answerMs: number) {
    this.#answerMs = answerMs;
  }

  /** At each change: until the other one answered, or this gate opened, in ms; null where neither came. */
  get gapsMs(): readonly (number | null)[] {
    return this.#gaps.map(({ ms }) => ms);
  }

  /** This node's gate is open, or shut, from now on. Saying it again changes nothing. */
  serves(itself: boolean, nowMs: number): void {
    if (itself === this.#itself) return;
    this.#itself = itself;
    if (itself) {
      // What was asked in the last moments is nobody's to answer: a gate that opens here takes the segment along.
      this.#settle(nowMs);
      this.#asked = [];
      if (this.#lastAnswerMs !== null)
        this.#gaps.push({ fromMs: this.#lastAnswerMs, ms: Math.max(0, nowMs - this.#lastAnswerMs) });
      else this.#gaps.push({ fromMs: nowMs, ms: null });
      return;
    }
    this.#sawOther = false;
    this.#gaps.push({ fromMs: nowMs, ms: null });
  }

  /** A question was sent. It counts once the other node was seen to serve, and while this one does not. */
  asked(nowMs: number): void {
    this.#settle(nowMs);
    if (this.#itself || !this.#sawOther) return;
    this.sent += 1;
    this.#asked.push(nowMs);
  }

  /** The other node answered: the oldest question that waits. */
  answered(nowMs: number): void {
    this.#settle(nowMs);
    this.#lastAnswerMs = nowMs;
    this.#asked.shift();
    // Both gates may be open for a moment in a handover: an answer before this one shut is no gap at all.
    if (this.#itself || this.#sawOther) return;
    this.#sawOther = true;
    const gap = this.#gaps.at(-1);
    if (gap !== undefined && gap.ms === null) gap.ms = Math.max(0, nowMs - gap.fromMs);
  }

  /** No more will come. */
  end(nowMs: number): void {
    this.#settle(nowMs);
    this.#asked = [];
  }

  #settle(nowMs: number): void {
    while (this.#asked.length > 0 && nowMs - this.#asked[0]! > this.#answerMs) {
      this.#asked.shift();
      this.lost += 1;
    }
  }
}
