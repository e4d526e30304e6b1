// Scenarios with a session of every kind: what becomes of each when the active dies, and when it hands over.

import { sleep, until } from "../clock.ts";
import { killPorts } from "../faults.ts";
import {
  cellOf,
  fateOf,
  KINDS,
  type KindCell,
  type KindFault,
  type KindName,
  kindOf,
  skippedCell,
} from "../kinds.ts";
import { type KindTraffic, type MissingKind, startKinds } from "../kindTraffic.ts";
import { setOnNodes } from "../nodeSettings.ts";
import { readExpectations, readTable } from "../oracles.ts";
import { otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage } from "../stage.ts";
import { portOf } from "../traffic/channels.ts";
import type { Act } from "./steps.ts";

/** UDP that has been answered for two seconds is assured; a little more. */
const ASSURED_MS = 2500;
const REPLICATED_TIMEOUT_MS = 5000;
const CHANGE_TIMEOUT_MS = 15_000;
/** Half open for good only after the others: its next SYN comes within a second. */
/** A call outlasts everything that is looked at before its end. */
const CALL_MS = 20_000;
const OPENED_TIMEOUT_MS = 12_000;
const CALLS_END_TIMEOUT_MS = 30_000;
const FOR_EVER_MS = 600_000;
const HELPED = KINDS.filter((name) => ["ftp", "sip"].includes(kindOf(name).helper ?? ""));
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

/** What helpers expect must be the same on both. */
async function expectSameExpectations(stage: Stage): Promise<void> {
  const { pids } = stage.world;
  const [active, standby] = [pids.get(stage.active)!, pids.get(otherNode(stage.active))!];
  let different: readonly string[] = [];
  let count = 0;
  await until(REPLICATED_TIMEOUT_MS, 200, async () => {
    const [mine, theirs] = [await readExpectations(active), await readExpectations(standby)];
    count = mine.size;
    different = [
      ...[...mine].filter((each) => !theirs.has(each)).map((each) => `missing ${each}`),
      ...[...theirs].filter((each) => !mine.has(each)).map((each) => `extra ${each}`),
    ];
    return different.length === 0 ? true : null;
  });
  if (different.length === 0) stage.notes.push(`Both kernels expect the same ${count} sessions.`);
  else
    stage.problems.push(
      `before the fault ${different.length} expectations are not the same on both: ${different.slice(0, 4).join("; ")}`,
    );
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

/** Linux takes UDP-Lite's checksum for UDP's (nf_conntrack_proto_udp.c, udplite_error), and so for a wrong one. */
const withUdpLite = (stage: Stage): Promise<void> =>
  setOnNodes(stage.world, { "net/netfilter/nf_conntrack_checksum": 0 });

interface Playing {
  readonly fault: KindFault;
  readonly names: readonly KindName[];
  /** After so long the callers end their calls, and that is waited for; null: nobody does. */
  readonly callsLastMs: number | null;
}

async function playKinds(stage: Stage, { fault, names, callsLastMs }: Playing): Promise<void> {
  const families = stage.options.v6 ? ([4, 6] as const) : ([4] as const);
  const kinds = await startKinds(stage.world, { families, callsLastMs: callsLastMs ?? FOR_EVER_MS });
  try {
    const late = names.filter((name) => kindOf(name).late === true);
    const missing: MissingKind[] = [];
    const open = async (some: readonly KindName[]): Promise<void> => {
      const opened = await kinds.open(some);
      missing.push(...opened.missing);
      stage.problems.push(...opened.failures.map((failure) => `did not open: ${failure}`));
    };
    await open(names.filter((name) => !late.includes(name)));
    await sleep(ASSURED_MS);
    await becomeEqual(stage, "with sessions of every kind");
    for (const { kind, family, host, failure } of await kinds.report())
      if (failure !== null)
        stage.problems.push(`before the fault ${kind} over IPv${family} (${host}): ${failure}`);
    await expectSameExpectations(stage);
    await kinds.hold(true);
    await open(late.filter((name) => !HALF_OPEN.includes(name)));
    if (late.includes("udp-fresh"))
      await untilReplicated(stage, "udp-fresh", kinds.perKind * families.length);
    await open(late.filter((name) => HALF_OPEN.includes(name)));
    await kinds.mark();
    const from = stage.active;
    await strike(stage, fault);
    await kinds.hold(false);
    await kinds.wake();
    await observe(stage);
    await untilOpened(kinds);
    stage.kinds.push(...(await judgeKinds(kinds, fault, missing)));
    for (const cell of stage.kinds) {
      stage.problems.push(...cell.wrong);
      stage.late.push(...cell.late);
    }
    if (fault === "handover") stage.active = await becomeReady(stage.world, "after the handover");
    await noteTakeover(stage, from);
    if (callsLastMs !== null) await expectCallsEnd(stage, kinds);
  } finally {
    kinds.stop();
  }
}

/** On a machine that was slow to hand over, the next SYN of what was half open comes late: it has its time all the same. */
async function untilOpened(kinds: KindTraffic): Promise<void> {
  await until(OPENED_TIMEOUT_MS, 200, async () => {
    const sessions = await kinds.report();
    const waiting = sessions.some(
      (session) => HALF_OPEN.includes(session.kind) && fateOf(session).is === "dies",
    );
    return waiting ? null : true;
  });
}

/** The callers say BYE behind the node that took over, and are answered. */
async function expectCallsEnd(stage: Stage, kinds: KindTraffic): Promise<void> {
  const codes = await Promise.race([kinds.callsEnded(), sleep(CALLS_END_TIMEOUT_MS).then(() => null)]);
  const well = codes?.filter((code) => code === 0).length ?? 0;
  stage.notes.push(`${well} calls were ended by their callers, as SIP has it, behind the other node.`);
  if (codes === null) stage.problems.push("not every call had ended in time");
  else if (well < codes.length)
    stage.problems.push(`${codes.length - well} of ${codes.length} calls did not end as they should`);
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
  kinds: async (stage) => {
    await withUdpLite(stage);
    await playKinds(stage, { fault: "crash", names: KINDS, callsLastMs: null });
  },
  "kinds-handover": async (stage) => {
    await withUdpLite(stage);
    await playKinds(stage, { fault: "handover", names: KINDS, callsLastMs: null });
  },
  "ftp-sip": (stage) => playKinds(stage, { fault: "crash", names: HELPED, callsLastMs: CALL_MS }),
} as const satisfies Readonly<Record<string, Act>>;
