// The two machines beside each other, as each says of itself: for who wonders why one does not do what the other does. What
// differs is marked. Pure.

import { type NodeId, peerOf } from "../base/units.ts";
import type { MachinesView } from "../wire/control.ts";
import type { NodeFacts } from "../wire/messagesNode.ts";
import { type Cell, duration, plural, printable, type Style, table } from "./text.ts";

/** Two clocks that are further apart make two logs hard to read side by side. */
const CLOCK_MS = 2000;
const GIB = 2 ** 30;

const upperFirst = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What one machine says, in columns; empty where it does not know. */
function columnsOf(facts: NodeFacts): string[] {
  const { software, kernel, machine, processors, memoryBytes, conntrackMax, conntrackBuckets, nft } = facts;
  return [
    upperFirst(printable(software)),
    `Linux ${printable(kernel)} ${printable(machine)}`,
    `${plural(processors, "processor")}, ${(memoryBytes / GIB).toFixed(1)} GiB`,
    conntrackMax === 0
      ? ""
      : `at most ${plural(conntrackMax, "session")} in ${plural(conntrackBuckets, "bucket")}`,
    nft === "" ? "" : `nft ${printable(nft)}`,
  ];
}

function clockText(differenceMs: number | null): Cell {
  if (differenceMs === null || Math.abs(differenceMs) <= CLOCK_MS) return "";
  const side = differenceMs > 0 ? "ahead of" : "behind";
  return { text: `clock ${duration(Math.abs(differenceMs))} ${side} this node's`, tone: "warn" };
}

/** Rows by node, `a` first, each indented by four; the peer's is left out where it has not said anything yet. */
export function machinesText(node: NodeId, machines: MachinesView, nowMs: number, style: Style): string {
  const { own, peer, clockDifferenceMs } = machines;
  const theirs = peer === null ? null : columnsOf(peer);
  const row = (id: NodeId, facts: NodeFacts, other: readonly string[] | null, clock: Cell): Cell[] => [
    id,
    ...columnsOf(facts).map(
      (text, index): Cell => (other === null || other[index] === text ? text : { text, tone: "warn" }),
    ),
    `booted ${duration(Math.max(0, nowMs - facts.bootedAt))} ago`,
    clock,
  ];
  const rows = [row(node, own, theirs, "")];
  if (peer !== null) rows.push(row(peerOf(node), peer, columnsOf(own), clockText(clockDifferenceMs)));
  if (node === "b") rows.reverse();
  return table(
    rows[0]!.map(() => ({ title: "" })),
    rows,
    style,
    4,
  );
}
