// One direction of a TCP connection, put together again from captured segments: in order, without what was sent twice, with
// what came early held back until the rest is there. What the capture missed is said, not guessed. Pure.

/** Segments that came early are held up to so many bytes; a capture that lost more is given up at the gap. */
const HELD_BYTES_MAX = 64 << 20;

interface Held {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

export class TcpStream {
  /** Sequence number of the next byte; null: none was seen yet. */
  #next: number | null = null;
  #held: Held[] = [];
  #heldBytes = 0;
  #given = 0;
  /** The stream was seen from its first byte on. */
  fromStart = false;

  /** Bytes given out so far: where in the stream the next one is. */
  get offset(): number {
    return this.#given;
  }

  /** Takes a segment and gives out what is in order now: views of what was pushed, none of it twice. */
  push(sequence: number, payload: Uint8Array, syn: boolean): readonly Uint8Array[] {
    if (syn) {
      if (this.#next !== null) return [];
      this.#next = (sequence + 1) >>> 0;
      this.fromStart = true;
    }
    // A capture that began later: from here on, whatever was before.
    this.#next ??= sequence;
    if (payload.length === 0) return [];
    const first = syn ? (sequence + 1) >>> 0 : sequence;
    if (distance(this.#next, first) > 0) {
      this.#hold(first, payload);
      return [];
    }
    const given: Uint8Array[] = [];
    this.#give(first, payload, given);
    this.#giveHeld(given);
    return given;
  }

  /** Bytes that are missing between what was given out and what came after it; 0: nothing is. */
  get missing(): number {
    if (this.#next === null || this.#held.length === 0) return 0;
    return Math.min(...this.#held.map((held) => distance(this.#next!, held.sequence)));
  }

  #hold(sequence: number, payload: Uint8Array): void {
    if (this.#heldBytes + payload.length > HELD_BYTES_MAX) return;
    this.#held.push({ sequence, payload });
    this.#heldBytes += payload.length;
  }

  #give(sequence: number, payload: Uint8Array, into: Uint8Array[]): void {
    const known = -distance(this.#next!, sequence);
    if (known >= payload.length) return;
    const fresh = payload.subarray(known);
    this.#next = (this.#next! + fresh.length) >>> 0;
    this.#given += fresh.length;
    into.push(fresh);
  }

  #giveHeld(into: Uint8Array[]): void {
    for (;;) {
      const index = this.#held.findIndex((held) => distance(this.#next!, held.sequence) <= 0);
      if (index < 0) return;
      const [held] = this.#held.splice(index, 1);
      this.#heldBytes -= held!.payload.length;
      this.#give(held!.sequence, held!.payload, into);
    }
  }
}

/** From `one` to `other` in a circle of 2^32: negative where it lies behind (RFC 9293 §3.4). */
const distance = (one: number, other: number): number => (other - one) | 0;
