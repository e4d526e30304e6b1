// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// Units: the branded numbers and names that every room shares, so that a link id is never taken for a
// term nor a millisecond for a second. Pure: no clock, no chance, no `node:`.

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** A duration, or an instant of a monotonic clock, in milliseconds (fractions allowed). */
export type Millis = Branded<number, "Millis">;
/** A link's stable id, 1..250; bits 0-7 of the session mark. */
export type LinkId = Branded<number, "LinkId">;
/** The number that grows with every change of the active. Terms of `a` are even, of `b` odd. */
export type Term = Branded<number, "Term">;

/** The two nodes of a pair. */
export type NodeId = "a" | "b";

export const Role = { Idle: "idle", Standby: "standby", Active: "active" } as const;
export type Role = (typeof Role)[keyof typeof Role];

/** What the gate lets through: nothing; everything; or everything that does not claim (failover §6). */
export const GateState = { Shut: "shut", Open: "open", Drain: "drain" } as const;
export type GateState = (typeof GateState)[keyof typeof GateState];

export const millis = (value: number): Millis => value as Millis;
export const linkId = (value: number): LinkId => value as LinkId;
export const term = (value: number): Term => value as Term;
export const peerOf = (node: NodeId): NodeId => (node === "a" ? "b" : "a");

/** The smallest term of `node` that is greater than `than` (failover §5: terms of `a` even, of `b` odd). */
export function nextTermOf(node: NodeId, than: Term): Term {
  const parity = node === "a" ? 0 : 1;
  const next = than + 1;
  return term(next % 2 === parity ? next : next + 1);
}
