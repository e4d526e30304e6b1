// Scenarios about a standby that knows nothing, little or the wrong thing: it boots, its active dies while it is still
// fetching, its kernel is full of what is not true any more.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { REFRESH_ROUND_MS } from "../../base/limits.ts";
import { nowMs, sleep, until } from "../clock.ts";
import { run } from "../commands.ts";
import { isEqual, type Table } from "../conntrackText.ts";
import {
  boot,
  crashProcess,
  cutPower,
  killPorts,
  powerCycle,
  revivePorts,
  slowReplication,
} from "../faults.ts";
import { compareOnce, readTable } from "../oracles.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, ScenarioFailure, type Stage } from "../stage.ts";
import { damageScript, staleScript } from "../staleEntries.ts";
import { startFlows, startStreams } from "../streams.ts";
import type { Topology } from "../topology.ts";
import { PORT_DOWNLOAD, PORT_ECHO } from "../traffic/ports.ts";
import { type LiveSession, lossOf } from "../traffic/survival.ts";
import { type Act, endQuietly, expectIdle, expectTakeover, noteQuiet, openIdle, scaled } from "./steps.ts";

const NOT_READY_TIMEOUT_MS = 20_000;
const OFF_MS = 2000;
/** The first synchronisation is slowed down to about this: long enough to be looked at while it lasts. */
const SNAPSHOT_MS = 5000;
/** Fewer sessions come in one piece. */
const SNAPSHOT_SESSIONS_MIN = 20_000;
const SNAPSHOT_SESSIONS_PER_SECOND = 8000;
const PATHS = ["sync", "lan"];
/** A session on the wire, with the frames that carry it. */
const RECORD_BYTES = 40;
const SNAPSHOT_TIMEOUT_MS = 30_000;
const SHARES = [0.1, 0.5, 0.9] as const;
const STALE_ENTRIES = 10_000;
const DAMAGED_ENTRIES = 2000;
const MENDED_SLACK_MS = 60_000;
const MENDED_INTERVAL_MS = 10_000;

/** Both must say it: the standby of itself, and the active of the standby. */
async function expectNotReady(stage: Stage, standby: NodeName, when: string): Promise<void> {
  const { pair } = stage.world;
  const said = await until(NOT_READY_TIMEOUT_MS, 10, async () => {
    const [own, peer] = [await pair.view(standby), await pair.heart(otherNode(standby))];
    return own !== null && !own.ready && peer !== null && !peer.peer.ready ? own.reasons : null;
  });
  if (said === null) stage.problems.push(`${when} nobody said that ${standby} is not ready`);
  else stage.notes.push(`${when} ${standby} said: not ready (${said.join("; ")}).`);
}

async function rebootStandby(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const streams = await startStreams(stage);
  try {
    const idle = await openIdle(stage, streams, scaled(stage, 1000, 100));
    await cutPower(world, standby);
    await sleep(scaled(stage, OFF_MS, 500));
    await boot(world, standby);
    const bootedMs = nowMs();
    await expectNotReady(stage, standby, "after its boot");
    await becomeReady(world, "after the standby's boot");
    stage.notes.push(`Ready ${((nowMs() - bootedMs) / 1000).toFixed(1)} s after its boot.`);
    await becomeEqual(stage, "after the standby's boot");
    await noteQuiet(stage, "over the standby's boot");
    const { unasked } = stage;
    await killPorts(world, active);
    stage.options.progress(`${active} is dead to the world`);
    await observe(stage);
    await noteTakeover(stage, active);
    // A heart that starts leaves out every term that its earlier life had reserved: the step of the term says nothing.
    stage.unasked = unasked;
    await expectIdle(stage, streams, idle);
  } finally {
    streams.stop();
  }
}

/** Whether a node's table has the session. */
function holds(table: Table, topology: Topology, { host, kind, port }: LiveSession): boolean {
  const spec = topology.hosts.find(({ name }) => name === host)!;
  const { server } = topology;
  const ports = `sport=${port} dport=${kind === "echo" ? PORT_ECHO : PORT_DOWNLOAD}`;
  return (
    table.has(`ipv4 tcp src=${spec.v4} dst=${server.v4} ${ports}`) ||
    table.has(`ipv6 tcp src=${spec.v6} dst=${server.v6} ${ports}`)
  );
}

/** The standby boots and fetches slowly; resolves to what its kernel has once it has `share` of it all. */
async function fetchUntil(stage: Stage, standby: NodeName, share: number): Promise<Table> {
  const { world, active } = stage;
  const whole = (await readTable(world.pids.get(active)!)).size;
  await slowReplication(world, active, PATHS, (whole * RECORD_BYTES * 1000) / SNAPSHOT_MS);
  await powerCycle(world, [standby]);
  const table = await until(SNAPSHOT_TIMEOUT_MS, 5, async () => {
    const held = await readTable(world.pids.get(standby)!);
    return held.size >= share * whole ? held : null;
  });
  if (table === null)
    throw new ScenarioFailure(`${standby} did not come to ${share * 100} % of the sessions after its boot`);
  if (table.size >= whole)
    throw new ScenarioFailure(`the whole table came at once: nothing to be seen of ${share * 100} %`);
  return table;
}

/** What was in the standby's kernel is still there, and its live sessions go on. */
async function judgeKept(
  stage: Stage,
  before: Table,
  known: readonly LiveSession[],
  share: string,
): Promise<void> {
  const { world } = stage;
  const after = await readTable(world.pids.get(stage.active)!);
  const gone = [...before].filter(([key, { reply }]) => after.get(key)?.reply !== reply);
  if (gone.length > 0)
    stage.problems.push(
      `crash at ${share}: ${gone.length} of ${before.size} sessions that the standby had were gone: ${gone[0]![0]}`,
    );
  const later = await stage.load.liveSessions();
  let [kept, others, lost] = [0, 0, 0];
  for (const [index, session] of later.entries()) {
    if (known[index]!.failure !== null) continue;
    if (!holds(before, world.topology, session)) {
      others += 1;
      continue;
    }
    kept += 1;
    const loss = lossOf(session);
    if (loss === null) continue;
    lost += 1;
    stage.problems.push(`crash at ${share}: a live session that the standby had was lost: ${loss}`);
  }
  stage.notes.push(
    `Crash at ${share}: ${before.size} sessions were there and stayed; of the live ones ${kept - lost} of ${kept} that were there went on, ${others} were not there yet.`,
  );
}

async function crashWhileFetching(stage: Stage, share: number): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const before = await fetchUntil(stage, standby, share);
  const [own, peer] = [await world.pair.view(standby), await world.pair.heart(active)];
  if (own?.ready !== false || peer?.peer.ready !== false)
    stage.problems.push(`at ${share * 100} % ${standby} was said to be ready`);
  await stage.load.mark();
  const known = await stage.load.liveSessions();
  await killPorts(world, active);
  await expectTakeover(stage, active);
  stage.active = standby;
  await sleep(3000);
  const name = `${share * 100} %`;
  await judgeKept(stage, before, known, name);
  await slowReplication(world, active, PATHS, 0);
  await revivePorts(world, active);
  stage.active = await becomeReady(world, `after the return of the one that died at ${name}`);
  await becomeEqual(stage, `after the crash at ${name}`);
}

async function stale(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  crashProcess(world, standby, "daemon");
  const table = await readTable(world.pids.get(active)!);
  const { text, entries } = staleScript(table, scaled(stage, STALE_ENTRIES, 600), world.topology);
  const words = await writeSessions(stage, standby, text);
  const filled = await readTable(world.pids.get(standby)!);
  const wrong = [...filled].filter(([key, { reply }]) => table.get(key)?.reply !== reply).length;
  stage.notes.push(`${wrong} of ${filled.size} entries in the kernel of ${standby} were not true.`);
  if (wrong < entries)
    throw new ScenarioFailure(
      `only ${wrong} of ${entries} stale entries could be put into the kernel of ${standby}: ${words}`,
    );
  world.pair.start(standby);
  world.note(`the daemon of ${standby} is started again, over a kernel full of what is not true`);
  await becomeReady(world, "after one synchronisation");
  await becomeEqual(stage, "after one synchronisation");
  const counters = Object.entries((await world.pair.view(standby))?.replication.counters ?? {});
  const told = counters
    .filter(([name]) => /(replaced|swept)$/i.test(name))
    .map(([name, count]) => `${name} ${count}`);
  stage.notes.push(`By its own counters: ${told.join(", ") || "none replaced, none swept"}.`);
  await endQuietly(stage, "at the end");
}

/** The kernel of `node` is given the lines of `conntrack -R`; its own words come back. */
export async function writeSessions(stage: Stage, node: NodeName, text: string): Promise<string> {
  const file = join(stage.world.directory, "sessions.conntrack");
  writeFileSync(file, text);
  const done = await run(["conntrack", "-R", file], {
    inside: stage.world.pids.get(node)!,
    accept: [0, 1],
  });
  return done.stderr.trim().split("\n").at(-1) ?? "";
}

/** Silently wrong: nobody told either daemon, and no connection was cut. */
async function damaged(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const table = await readTable(world.pids.get(active)!);
  const { text, entries } = damageScript(table, scaled(stage, DAMAGED_ENTRIES, 100), world.topology);
  const words = await writeSessions(stage, standby, text);
  const { difference } = await compareOnce(world.pids.get(active)!, world.pids.get(standby)!);
  if (difference.missing + difference.wrong < entries)
    throw new ScenarioFailure(
      `only ${difference.missing + difference.wrong} of ${entries} sessions of ${standby} could be damaged: ${words}`,
    );
  world.note(`${entries} sessions of ${standby} are deleted or changed behind its back`);
  const startMs = nowMs();
  const mended = await until(REFRESH_ROUND_MS + MENDED_SLACK_MS, MENDED_INTERVAL_MS, async () => {
    const now = await compareOnce(world.pids.get(active)!, world.pids.get(standby)!);
    return isEqual(now.difference) ? true : null;
  });
  const took = `${((nowMs() - startMs) / 1000).toFixed(1)} s`;
  stage.notes.push(
    `${difference.missing} sessions were missing and ${difference.wrong} wrong on ${standby}; ${mended === null ? "not equal" : "equal again"} after ${took}.`,
  );
  await endQuietly(stage, "at the end");
}

export const RESYNC_ACTS = {
  damaged,
  "reboot-standby": rebootStandby,
  "mid-snapshot": async (stage) => {
    const startedMs = nowMs();
    const flows = startFlows(stage);
    try {
      const more = Math.max(0, SNAPSHOT_SESSIONS_MIN - stage.options.background);
      if (more > 0) await flows.open(more, SNAPSHOT_SESSIONS_PER_SECOND);
      await becomeEqual(stage, "with enough sessions");
      for (const share of SHARES) await crashWhileFetching(stage, share);
    } finally {
      flows.stop();
    }
    // A session that nobody knew for a while speaks again when its far side tries again: as late as it was long.
    await sleep(Math.min(20_000, (nowMs() - startedMs) / SHARES.length));
    await stage.load.mark();
    await observe(stage);
    // Each boot leaves out terms, and each round is a takeover: `expectTakeover` has seen to it that it was the right one.
  },
  stale,
} as const satisfies Readonly<Record<string, Act>>;
