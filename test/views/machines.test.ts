// The two machines beside each other: what is said of each, what is marked, what is left out.

import assert from "node:assert/strict";
import { test } from "node:test";
import { machinesText } from "../../src/views/machines.ts";
import { plainStyle, type Style } from "../../src/views/text.ts";
import type { MachinesView } from "../../src/wire/control.ts";
import { factsExample } from "../wire/nodeSamples.ts";

const nowMs = factsExample.bootedAt + 3 * 86_400_000;
const lines = (machines: MachinesView, node: "a" | "b" = "a", style: Style = plainStyle): string[] =>
  machinesText(node, machines, nowMs, style).split("\n");
/** Marks what is coloured as a warning. */
const marking: Style = (tone, text) => (tone === "warn" ? `<${text}>` : text);

test("two machines that are the same, a first whoever asks", () => {
  const machines = { own: factsExample, peer: factsExample, clockDifferenceMs: 12 };
  const row =
    "Understudy 0.1.0  Linux 6.18.0 x86_64  4 processors, 8.0 GiB  at most 262,144 sessions in 65,536 buckets  nft 1.0.6  booted 3 d ago";
  for (const node of ["a", "b"] as const)
    assert.deepEqual(lines(machines, node, marking), [`    a  ${row}`, `    b  ${row}`]);
});

test("what differs is marked on both, and a clock that is far off is told", () => {
  const peer = { ...factsExample, kernel: "6.1.0", conntrackMax: 65_536 };
  const [own, theirs] = lines({ own: factsExample, peer, clockDifferenceMs: -90_000 }, "a", marking);
  assert.match(own!, /a {2}Understudy 0\.1\.0 +<Linux 6\.18\.0 x86_64> +4 processors/);
  assert.match(own!, /<at most 262,144 sessions in 65,536 buckets>/);
  assert.match(theirs!, /b {2}Understudy 0\.1\.0 +<Linux 6\.1\.0 x86_64> +4 processors/);
  assert.match(theirs!, / {2}<clock 1 min 30 s behind this node's>$/);
});

test("a peer that has said nothing is left out; what a machine does not know is empty", () => {
  const own = { ...factsExample, conntrackMax: 0, nft: "" };
  assert.deepEqual(lines({ own, peer: null, clockDifferenceMs: null }, "b", marking), [
    "    b  Understudy 0.1.0  Linux 6.18.0 x86_64  4 processors, 8.0 GiB      booted 3 d ago",
  ]);
});

test("a machine's words cannot move the cursor", () => {
  const peer = { ...factsExample, software: "x\u001b[2J", nft: "\u009b1" };
  const text = lines({ own: factsExample, peer, clockDifferenceMs: 0 }).join("");
  assert.deepEqual(
    [text.includes("\u001b"), text.includes("\u009b"), text.includes("?[2J")],
    [false, false, true],
  );
});
