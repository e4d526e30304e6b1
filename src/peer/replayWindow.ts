// Which sequence numbers of one sender were seen (RFC 6479): a ring of words, each word cleared whole when the
// window moves over it, so that nothing is ever shifted across words. Numbers go to 2^48, beyond what
// JavaScript's bit operators know: words are found by division, only the bit inside a word by shifting
// (`1 << 32` is 1 here, not 0).

import { assert } from "../base/assert.ts";
import { REPLAY_WINDOW_BITS } from "../base/limits.ts";

const WORD_BITS = 32;
const WORDS = REPLAY_WINDOW_BITS / WORD_BITS;
/** One word is always partly ahead of the newest number: what counts as recent is that much less. */
export const WINDOW = REPLAY_WINDOW_BITS - WORD_BITS;

assert(Number.isInteger(WORDS) && WORDS >= 2, "the window is made of whole words, at least two");

export class ReplayWindow {
  readonly #words = new Uint32Array(WORDS);
  #newest = 0;

  /** Highest number accepted; 0 before the first. */
  get newest(): number {
    return this.#newest;
  }

  /**
   * Remembers `sequence` (1 or more) and says whether it was new. False for one that was seen, and for one
   * that is so old (`WINDOW` behind the newest) that nobody can tell.
   */
  accept(sequence: number): boolean {
    if (sequence < 1 || sequence + WINDOW <= this.#newest) return false;
    const word = Math.floor(sequence / WORD_BITS);
    if (sequence > this.#newest) {
      const newestWord = Math.floor(this.#newest / WORD_BITS);
      const cleared = Math.min(word - newestWord, WORDS);
      for (let step = 1; step <= cleared; step++) this.#words[(newestWord + step) % WORDS] = 0;
      this.#newest = sequence;
    }
    const index = word % WORDS;
    const bit = 1 << (sequence % WORD_BITS);
    const seen = this.#words[index] ?? 0;
    if ((seen & bit) !== 0) return false;
    this.#words[index] = seen | bit;
    return true;
  }
}
