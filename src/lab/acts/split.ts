// The split: both halves are served, sessions are made on both, and in the whole again all of them go on.

import { nowMs, sleep, until } from "../clock.ts";
import { linkOf } from "../conntrackText.ts";
import { readTable } from "../oracles.ts";
import { cutApart, type Half, type Halves, heal } from "../split.ts";
import { becomeEqual, becomeReady, observe, ScenarioFailure, type Stage } from "../stage.ts";
import { PORT_DOWNLOAD, PORT_ECHO } from "../traffic/ports.ts";
import { type Act, scaled } from "./steps.ts";

const SERVED_TIMEOUT_MS = 20_000;
/** A heal: both speak again, the loser's sessions come over, and TCP sends once more what was dropped meanwhile. */
const WITH_WAY_STALL_MAX_MS = 1500;
/** New sessions on each side, of those that there were; no fewer than a few of both kinds. */
const NEW_SHARE = 0.25;
const NEW_MIN = 4;

async function untilBothServed(stage: Stage, { near, far }: Halves): Promise<void> {
  const { pair } = stage.world;
  const both = await until(SERVED_TIMEOUT_MS, 50, async () => {
    const hearts = [await pair.heart(near.node), await pair.heart(far.node)];
    return hearts.every((heart) => heart?.role === "active" && heart.gate === "open") ? true : null;
  });
  if (both === null) throw new ScenarioFailure("in the split not both halves were served");
  stage.options.progress("both halves are served");
}

/** How many of the live sessions in `table` have their host and their link on the same side. */
function countWithWay(
  stage: Stage,
  table: Awaited<ReturnType<typeof readTable>>,
  halves: readonly Half[],
): number {
  const { hosts } = stage.world.topology;
  const sideOf = (key: string): Half | undefined => {
    const source = /src=(\S+)/.exec(key)?.[1];
    const host = hosts.find(({ v4, v6 }) => v4 === source || v6 === source);
    return halves.find((half) => host !== undefined && half.hosts.includes(host.name));
  };
  let count = 0;
  for (const [key, entry] of table) {
    const port = Number(/ dport=(\d+)/.exec(key)?.[1]);
    if (!key.includes(" tcp ") || (port !== PORT_ECHO && port !== PORT_DOWNLOAD)) continue;
    if (sideOf(key)?.link === linkOf(entry)) count += 1;
  }
  return count;
}

async function openOnBothSides(stage: Stage, { near, far }: Halves): Promise<number> {
  const each = Math.max(NEW_MIN, Math.floor(stage.options.live * NEW_SHARE));
  for (const { node, hosts, link } of [near, far]) {
    const { opened, failures } = await stage.load.openLiveOn(hosts, each);
    stage.options.progress(`${opened} of ${each} new live sessions through ${node} and link ${link}`);
    if (opened < each)
      stage.problems.push(
        `in the split ${each - opened} sessions of ${node}'s side did not open: ${failures[0]}`,
      );
  }
  return each * 2;
}

/** What the winner made of the loser's sessions, by its own counters. */
async function noteMerge(stage: Stage): Promise<void> {
  const counters = (await stage.world.pair.view(stage.active))?.replication.counters ?? {};
  const of = (name: string): number =>
    Object.entries(counters).find(
      ([key]) => key.startsWith("merge") && key.toLowerCase().endsWith(name),
    )?.[1] ?? 0;
  stage.notes.push(
    `${stage.active} took ${of("inserted")} sessions over from the other half, knew ${of("same")}; ${of("clashed")} clashed.`,
  );
}

export const SPLIT_ACTS = {
  split: async (stage) => {
    const { world, active } = stage;
    const table = await readTable(world.pids.get(active)!);
    const halves = await cutApart(world, active);
    const withWay = countWithWay(stage, table, [halves.near, halves.far]);
    await untilBothServed(stage, halves);
    const opened = await openOnBothSides(stage, halves);
    await sleep(scaled(stage, 5000, 1000));
    const apartMs = nowMs() - stage.markedMs;
    await heal(world, halves);
    stage.active = await becomeReady(world, "after the heal");
    stage.options.progress(`${stage.active} is active after the heal`);
    // The next retransmission of a session that had no way comes as late again as the split was long.
    await sleep(apartMs);
    await observe(stage);
    const steady = stage.live.filter(({ stallMs }) => stallMs <= WITH_WAY_STALL_MAX_MS).length;
    stage.notes.push(
      `${withWay} of ${stage.options.live} live sessions had a way in their half, ${opened} were made there; ${steady} of all never stood still for ${WITH_WAY_STALL_MAX_MS} ms.`,
    );
    if (steady < withWay + opened)
      stage.late.push(`${withWay + opened - steady} live sessions that had a way stood still for too long`);
    await noteMerge(stage);
    await becomeEqual(stage, "after the heal");
  },
} as const satisfies Readonly<Record<string, Act>>;
