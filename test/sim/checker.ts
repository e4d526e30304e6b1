// The judge of a run, from outside: it looks at the two kernels and at what really crossed the media, never at what the
// machines believe (failover §8). It names every overlap of two claims, and what it cannot name is a violation.

import { isConnected, type Medium, reaches } from "./media.ts";
import { claims, holds, type SimNode } from "./node.ts";

export type OverlapKind = "heal" | "losses" | "paused";

export interface Overlap {
  readonly kind: OverlapKind;
  readonly from: number;
  readonly forMs: number;
}

interface Sent {
  readonly at: number;
  /** Earliest arrival over all paths; Infinity where every copy was lost. */
  arrival: number;
}

interface Probe {
  readonly at: number;
  readonly medium: number;
  arrival: number;
}

const HISTORY = 64;

/** A ring of the last things that were sent. */
class Ring<T> {
  readonly #items: T[] = [];
  #next = 0;
  push(item: T): void {
    if (this.#items.length < HISTORY) this.#items.push(item);
    else this.#items[this.#next % HISTORY] = item;
    this.#next += 1;
  }
  get items(): readonly T[] {
    return this.#items;
  }
}

export interface CheckerOptions {
  readonly nodes: readonly [SimNode, SimNode];
  readonly media: readonly Medium[];
  readonly segments: number;
  readonly deadMs: number;
  readonly leaseMs: number;
  readonly soloMs: number;
  /** Some segment is probed: an overlap needs lost answers as well. */
  readonly arbitrated: boolean;
  /** Once nothing is wrong any more, an overlap ends within this time. */
  readonly healMs: number;
  /** Since when nothing is wrong; Infinity while something is. */
  readonly cleanSince: () => number;
}

export class Checker {
  readonly violations: string[] = [];
  readonly overlaps: Overlap[] = [];
  readonly #options: CheckerOptions;
  readonly #sent: readonly [Ring<Sent>, Ring<Sent>] = [new Ring(), new Ring()];
  readonly #probes: readonly [Ring<Probe>, Ring<Probe>] = [new Ring(), new Ring()];
  readonly #claimSince: [number, number] = [-1, -1];
  readonly #pausedAt: [number, number] = [-1e9, -1e9];
  readonly #witnessAt: [number, number] = [-1e9, -1e9];
  readonly #terms = new Set<string>();
  #wasConnected = true;
  /** When the nodes last came to share a segment again. */
  #healedAt = -1e9;
  #overlap: { kind: OverlapKind; from: number } | null = null;
  /** Longest time without any gate since it was last asked for; and since when there is none. */
  #gapSince = 0;
  longestGapMs = 0;

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  sent(node: 0 | 1, at: number, arrival: number): void {
    this.#sent[node].push({ at, arrival });
  }

  probed(node: 0 | 1, medium: number, at: number, arrival: number): void {
    this.#probes[node].push({ at, medium, arrival });
  }

  witnessed(node: 0 | 1, at: number): void {
    this.#witnessAt[node] = at;
  }

  /** A machine goes on after it stood still: to it, no time has passed. */
  paused(node: 0 | 1, at: number, forMs: number): void {
    this.#pausedAt[node] = at;
    this.#witnessAt[node] += forMs;
  }

  /** A node claims a term: nobody ever claimed it before, in this life of its disk. */
  claimed(node: SimNode, claimedTerm: number, at: number): void {
    const key = `${node.index}.${node.memory}.${claimedTerm}`;
    if (this.#terms.has(key)) this.violate(at, `term ${claimedTerm} is claimed twice by ${name(node.index)}`);
    this.#terms.add(key);
    if (claimedTerm % 2 !== node.index)
      this.violate(at, `term ${claimedTerm} is not one of ${name(node.index)}'s`);
  }

  /** A gate was opened by `node` just now; `goesOn`: the one that was open a moment ago. */
  opened(node: SimNode, at: number, goesOn: boolean): void {
    this.#claimSince[node.index] = at;
    const { deadMs, leaseMs } = this.#options;
    const heard = this.#heardWithin(node.index, at, deadMs);
    if (!heard && !goesOn && at - this.#witnessAt[node.index] > 2 * (deadMs + leaseMs))
      this.violate(at, `${name(node.index)} opens in silence although no third party answered it`);
    if (!heard && !goesOn) this.#checkLongLease(node, at);
  }

  /** A heart that stands still cannot renew: what its kernel still holds by then is a long lease, to be waited out. */
  #checkLongLease(node: SimNode, at: number): void {
    const other = this.#options.nodes[node.index === 0 ? 1 : 0];
    const { leaseMs, segments, media } = this.#options;
    const still = !other.heartUp || other.frozenUntil > at;
    if (!still || !claims(other, at) || other.kernel.heldUntil - at < 1.2 * leaseMs) return;
    // Excepted: every segment is witnessed and unanswered (failover §5).
    for (let medium = 0; medium < segments; medium++) {
      if (media[medium]!.witnessSilent[node.index] === 0) continue;
      this.violate(
        at,
        `${name(node.index)} opens against a long lease, with ${media[medium]!.name} not witnessed`,
      );
      return;
    }
  }

  restartGap(at: number): void {
    this.longestGapMs = 0;
    this.#gapSince = at;
  }

  /** After every event. */
  look(at: number): void {
    const [a, b] = this.#options.nodes;
    if (holds(a, at) || holds(b, at)) this.#gapSince = at;
    else this.longestGapMs = Math.max(this.longestGapMs, at - this.#gapSince);
    const connected = this.#connected();
    if (connected && !this.#wasConnected) this.#healedAt = at;
    this.#wasConnected = connected;
    if (!connected || !claims(a, at) || !claims(b, at)) this.#endOverlap(at);
    else if (this.#overlap === null) this.#startOverlap(at);
  }

  violate(at: number, what: string): void {
    this.violations.push(`${at.toFixed(3)}: ${what}`);
  }

  /** Some service segment on which frames of one reach the other. */
  #connected(): boolean {
    for (let medium = 0; medium < this.#options.segments; medium++) {
      const entry = this.#options.media[medium]!;
      if (reaches(entry, 0) || reaches(entry, 1)) return true;
    }
    return false;
  }

  #heardWithin(node: 0 | 1, at: number, withinMs: number): boolean {
    return this.#sent[node === 0 ? 1 : 0].items.some(
      ({ arrival }) => arrival <= at && arrival >= at - withinMs,
    );
  }

  #startOverlap(at: number): void {
    const kind = this.#classify(at);
    if (kind !== null) {
      this.#overlap = { kind, from: at };
      return;
    }
    const since = this.#claimSince.map((value) => value.toFixed(3)).join(" and ");
    this.violate(at, `two gates claim on a connected segment (claims since ${since})`);
    this.#overlap = { kind: "losses", from: at };
  }

  #classify(at: number): OverlapKind | null {
    const { leaseMs, soloMs, healMs } = this.#options;
    // Also where the second gate opens in this moment: what it was opened on was seen before.
    if (at - this.#healedAt <= healMs) return "heal";
    const opener: 0 | 1 = this.#claimSince[0] > this.#claimSince[1] ? 0 : 1;
    const other: 0 | 1 = opener === 0 ? 1 : 0;
    if (at - this.#pausedAt[0] < 1.1 * leaseMs || at - this.#pausedAt[1] < 1.1 * leaseMs) return "paused";
    // A long lease that was paused is one lease as well.
    if (at - this.#pausedAt[other] < 1.1 * soloMs) return "paused";
    return this.#allLost(opener, other, at) ? "losses" : null;
  }

  /** Nothing that the old holder sent, and no answer of its gate, reached the opener in its window. */
  #allLost(opener: 0 | 1, other: 0 | 1, at: number): boolean {
    const { deadMs, leaseMs, arbitrated } = this.#options;
    const windowFrom = at - 0.94 * deadMs;
    if (this.#heardWithin(opener, at, 0.94 * deadMs)) return false;
    if (!this.#sent[other].items.some((sent) => sent.at >= windowFrom && sent.at <= at && sent.arrival > at))
      return false;
    const probes = this.#probes[opener].items.filter((probe) => probe.at >= at - (deadMs - leaseMs) * 1.2);
    return (probes.length > 0 || !arbitrated) && probes.every((probe) => probe.arrival > at);
  }

  #endOverlap(at: number): void {
    if (this.#overlap === null) return;
    this.overlaps.push({
      kind: this.#overlap.kind,
      from: this.#overlap.from,
      forMs: at - this.#overlap.from,
    });
    this.#overlap = null;
  }

  finish(at: number): void {
    this.#endOverlap(at);
  }

  /** Both ways on some service segment: for messages to the reader. */
  connectedSegments(): string {
    return this.#options.media
      .slice(0, this.#options.segments)
      .filter(isConnected)
      .map((medium) => medium.name)
      .join(" ");
  }
}

export const name = (index: number): string => (index === 0 ? "a" : "b");
