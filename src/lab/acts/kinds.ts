// Scenarios with a session of every kind: what becomes of each when the active dies, and when it hands over.

import { sleep, until } from "../clock.ts";
import { killPorts } from "../faults.ts";
import {
  cellOf,
  KINDS,
  type KindCell,
  type KindFault,
  type KindName,
  kindOf,
  skippedCell,
} from "../kinds.ts";
import { type KindTraffic, type MissingKind, startKinds } from "../kindTraffic.ts";
import { setOnNodes } from "../nodeSettings.ts";
import { readTable } from "../oracles.ts";
import { otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage } from "../stage.ts";
import { portOf } from "../traffic/channels.ts";
import type { Act } from "./steps.ts";

/** UDP that has been answered for two seconds is assured; a little more. */
const ASSURED_MS = 2500;
const REPLICATED_TIMEOUT_MS = 5000;
const CHANGE_TIMEOUT_MS = 15_000;
/** Half open for good only after the others: its next SYN comes within a second. */
const HALF_OPEN: readonly KindName[] = ["tcp-syn-sent", "tcp-syn-received"];

/** Waits until the standby's kernel has what was opened a moment ago. */
async function untilReplicated(stage: Stage, kind: KindName, count: number): Promise<void> {
  const inside = stage.world.pids.get(otherNode(stage.active))!;
  const port = ` dport=${portOf(kind)}`;
  const there = await until(REPLICATED_TIMEOUT_MS, 20, async () => {
    const keys = [...(await readTable(inside)).keys()].filter((key) => key.endsWith(port));
    return keys.length >= count ? true : null;
  });
  if (there === null) stage.problems.push(`${kind}: not in the standby's kernel before the fault`);
}

async function strike(stage: Stage, fault: KindFault): Promise<void> {
  const { world, active } = stage;
  const next = otherNode(active);
  if (fault === "crash") await killPorts(world, active);
  else world.note(`handover from ${active}`);
  // It ends when the role has changed: whoever waits for its end comes late.
  const command = fault === "crash" ? null : world.pair.command(active, ["handover"]);
  const changed = await until(CHANGE_TIMEOUT_MS, 10, async () => {
    const heart = await world.pair.heart(next);
    return heart?.role === "active" && heart.gate === "open" ? true : null;
  });
  if (changed === null) stage.problems.push(`${next} did not become active`);
  const result = await command;
  if (result !== null && result.code !== 0)
    stage.problems.push(`\`understudy handover\` ended with ${result.code}: ${result.stderr.trim()}`);
}

async function playKinds(stage: Stage, fault: KindFault): Promise<void> {
  const families = stage.options.v6 ? ([4, 6] as const) : ([4] as const);
  const kinds = await startKinds(stage.world, families);
  try {
    // Linux takes UDP-Lite's checksum for UDP's (nf_conntrack_proto_udp.c, udplite_error), and so for a wrong one.
    await setOnNodes(stage.world, { "net/netfilter/nf_conntrack_checksum": 0 });
    const early = KINDS.filter((name) => kindOf(name).late !== true);
    const fresh = KINDS.filter((name) => kindOf(name).late === true && !HALF_OPEN.includes(name));
    const missing: MissingKind[] = [];
    const open = async (names: readonly KindName[]): Promise<void> => {
      const opened = await kinds.open(names);
      missing.push(...opened.missing);
      stage.problems.push(...opened.failures.map((failure) => `did not open: ${failure}`));
    };
    await open(early);
    await sleep(ASSURED_MS);
    await becomeEqual(stage, "with sessions of every kind");
    await kinds.hold(true);
    await open(fresh);
    await untilReplicated(stage, "udp-fresh", kinds.perKind * families.length);
    await open(HALF_OPEN);
    await kinds.mark();
    const from = stage.active;
    await strike(stage, fault);
    await kinds.hold(false);
    await kinds.wake();
    await observe(stage);
    stage.kinds.push(...(await judgeKinds(kinds, fault, missing)));
    for (const { wrong, late } of stage.kinds) {
      stage.problems.push(...wrong);
      stage.late.push(...late);
    }
    if (fault === "handover") stage.active = await becomeReady(stage.world, "after the handover");
    await noteTakeover(stage, from);
  } finally {
    kinds.stop();
  }
}

/** One cell a kind and family; what this kernel has no sockets for is named. */
async function judgeKinds(
  kinds: KindTraffic,
  fault: KindFault,
  missing: readonly MissingKind[],
): Promise<readonly KindCell[]> {
  const sessions = await kinds.report();
  const cells = KINDS.flatMap((kind) =>
    ([4, 6] as const).flatMap((family) => {
      const own = sessions.filter((session) => session.kind === kind && session.family === family);
      const lack = missing.find((item) => item.kind === kind && item.family === family);
      if (lack !== undefined) return [skippedCell(kind, family, fault, lack.why)];
      return own.length === 0 ? [] : [cellOf(own, fault)];
    }),
  );
  return cells;
}

export const KIND_ACTS = {
  kinds: (stage) => playKinds(stage, "crash"),
  "kinds-handover": (stage) => playKinds(stage, "handover"),
} as const satisfies Readonly<Record<string, Act>>;
