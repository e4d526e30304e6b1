// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// What was sent and not acknowledged yet, in bytes, by message: the measure by which a log, a snapshot and a merge are
// held back. Knows numbers and sizes, no contents. Pure.

/** Sent and not acknowledged: how many bytes, by message. At most one entry a record, so bounded by what bounds it. */
export class Flight {
  #sequences: number[] = [];
  #sizes: number[] = [];
  #head = 0;
  bytes = 0;

  clear(): void {
    this.#sequences = [];
    this.#sizes = [];
    this.#head = 0;
    this.bytes = 0;
  }

  /** A message of `size` bytes that ends with number `sequence` was sent. */
  push(sequence: number, size: number): void {
    this.#sequences.push(sequence);
    this.#sizes.push(size);
    this.bytes += size;
  }

  /** Every message that ends at or before `sequence` is in the other's kernel. */
  acknowledge(sequence: number): void {
    while (this.#head < this.#sequences.length && this.#sequences[this.#head]! <= sequence) {
      this.bytes -= this.#sizes[this.#head]!;
      this.#head += 1;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#sequences.length) {
      this.#sequences = this.#sequences.slice(this.#head);
      this.#sizes = this.#sizes.slice(this.#head);
      this.#head = 0;
    }
  }
}
