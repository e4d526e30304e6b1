// Scenarios about what the pair finds out by itself: somebody changes the standby's kernel by hand, and events of the active's are
// lost. Whether it was found, told and put right is asked of the nodes; that it was, is seen in both kernels.

import type { AuditState } from "../../wire/controlAudit.ts";
import { nowMs, sleep, until } from "../clock.ts";
import { signalProcess } from "../faults.ts";
import { shrinkSessionEvents } from "../foreignSocket.ts";
import { compareOnce, countEntries, readTable } from "../oracles.ts";
import type { AuditFigures } from "../outcome.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, ScenarioFailure, type Stage } from "../stage.ts";
import { type HandWork, handScript } from "../staleEntries.ts";
import { startFlows } from "../streams.ts";
import { writeSessions } from "./resync.ts";
import { type Act, endQuietly, scaled } from "./steps.ts";

type Totals = AuditState["totals"];

const AUDIT_TIMEOUT_MS = 180_000;
const LOOK_INTERVAL_MS = 50;
const FOUND = "audit-found-differences";

export async function totalsOf(stage: Stage, node: NodeName): Promise<Totals> {
  const totals = (await stage.world.pair.view(node))?.replication.audit?.totals;
  if (totals === undefined) throw new ScenarioFailure(`${node} says nothing of an audit`);
  return totals;
}

const figuresSince = (before: Totals, now: Totals, startMs: number): AuditFigures => ({
  missing: now.missing - before.missing,
  extra: now.extra - before.extra,
  wrong: now.wrong - before.wrong,
  repaired: now.repaired - before.repaired,
  seconds: Math.round(nowMs() - startMs) / 1000,
});

/** The first pass of this connection is over: what is done from now on is found by a pass that began after it. */
async function waitForPass(stage: Stage): Promise<void> {
  const passed = await until(AUDIT_TIMEOUT_MS, LOOK_INTERVAL_MS, async () => {
    const audit = (await stage.world.pair.view(stage.active))?.replication.audit;
    return audit?.passAgeMs == null ? null : true;
  });
  if (passed === null)
    throw new ScenarioFailure(`no pass of the audit was over after ${AUDIT_TIMEOUT_MS / 1000} s`);
}

/** Somebody works in the standby's table by hand; resolves to what was done. */
export async function workByHand(stage: Stage, standby: NodeName, wanted: HandWork): Promise<HandWork> {
  const { world, active } = stage;
  const table = await readTable(world.pids.get(active)!);
  const { texts, done } = handScript(table, wanted, world.topology, Math.random);
  let words = "";
  for (const text of texts) words = await writeSessions(stage, standby, text);
  world.note(
    `in the kernel of ${standby} ${done.deleted} sessions are deleted, ${done.alien} inserted, ${done.marked} marks changed`,
  );
  if (done.deleted < wanted.deleted || done.marked < wanted.marked || done.alien < wanted.alien)
    throw new ScenarioFailure(`too few sessions to work on: ${JSON.stringify(done)}`);
  const { difference } = await compareOnce(world.pids.get(active)!, world.pids.get(standby)!);
  stage.options.progress(
    `seen from outside: ${difference.missing} missing, ${difference.extra} extra, ${difference.wrong} wrong (${words})`,
  );
  return done;
}

async function audit(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  await waitForPass(stage);
  const [before, beforeThere] = [await totalsOf(stage, active), await totalsOf(stage, standby)];
  const wanted = {
    deleted: scaled(stage, 1000, 100),
    alien: scaled(stage, 1000, 100),
    marked: scaled(stage, 100, 10),
  };
  const { deleted, alien, marked } = await workByHand(stage, standby, wanted);
  const startMs = nowMs();
  const told = new Set<NodeName>();
  let figures: AuditFigures | null = null;
  const repaired = await until(AUDIT_TIMEOUT_MS, LOOK_INTERVAL_MS, async () => {
    for (const node of [active, standby]) {
      const view = await world.pair.view(node);
      if (view?.alarms.some(({ code }) => code === FOUND)) told.add(node);
    }
    figures = figuresSince(before, await totalsOf(stage, active), startMs);
    const there = figuresSince(beforeThere, await totalsOf(stage, standby), startMs);
    const isWhole = figures.repaired >= deleted + alien + marked && there.repaired === figures.repaired;
    return isWhole && told.size === 2 ? true : null;
  });
  stage.audit = figures;
  const { missing, extra, wrong } = stage.audit!;
  // What a pass saw before all of it was done is found by the next one; nothing is found twice, for it was repaired.
  if (missing !== deleted || extra !== alien || wrong !== marked)
    stage.problems.push(
      `the audit found ${missing} missing, ${extra} extra and ${wrong} wrong sessions of ${deleted}, ${alien} and ${marked}`,
    );
  if (repaired === null) stage.problems.push("not all of it was found, told on both nodes and repaired");
  stage.notes.push(
    `Found and put right ${stage.audit!.seconds.toFixed(1)} s after it was done: ${missing} missing, ${extra} extra, ${wrong} wrong.`,
  );
  await endQuietly(stage, "after the repair");
}

const OVERRUN_RATE = 5000;
const NOTICED_WITHIN_MS = 1000;
const NOTICED_TIMEOUT_MS = 10_000;
const REPAIRED_WITHIN_MS = 10_000;

/** The active's event sockets have no room while `count` sessions come; resolves to how many the standby then lacks. */
export async function loseEvents(stage: Stage, count: number): Promise<number> {
  const { world, active } = stage;
  const flows = startFlows(stage);
  const shrunk: { restore(): void }[] = [];
  try {
    signalProcess(world, active, "daemon", "SIGSTOP");
    const sockets = world.pair.processesNamed(active, "daemon").map((pid) => shrinkSessionEvents(pid));
    shrunk.push(...sockets);
    if (sockets.every((each) => each.sockets === 0))
      throw new ScenarioFailure(`the daemon of ${active} has no socket for session events`);
    world.note(`the event socket of ${active} holds next to nothing, and its daemon stands still`);
    const { udp } = await flows.open(count, OVERRUN_RATE);
    if (udp < count) stage.problems.push(`${count - udp} of ${count} sessions were not answered`);
    const [here, there] = [world.pids.get(active)!, world.pids.get(otherNode(active))!];
    return (await countEntries(here)) - (await countEntries(there));
  } finally {
    for (const each of shrunk) each.restore();
    signalProcess(world, active, "daemon", "SIGCONT");
    world.note("it has its room again, and goes on");
    flows.stop();
  }
}

async function overrun(stage: Stage): Promise<void> {
  const { world, active } = stage;
  await waitForPass(stage);
  const overruns = async (): Promise<number> =>
    (await world.pair.view(active))?.replication.counters["sender.overruns"] ?? 0;
  const [count, before] = [await overruns(), await totalsOf(stage, active)];
  const lacking = await loseEvents(stage, scaled(stage, 20_000, 1000));
  const startMs = nowMs();
  const noticed = await until(NOTICED_TIMEOUT_MS, 10, async () => ((await overruns()) > count ? true : null));
  const noticedMs = nowMs() - startMs;
  if (noticed === null) throw new ScenarioFailure(`${active} did not notice that it had lost events`);
  const { readMs } = await becomeEqual(stage, "after the lost events");
  const repairedMs = nowMs() - startMs - readMs;
  stage.audit = figuresSince(before, await totalsOf(stage, active), startMs);
  stage.notes.push(
    `${lacking} sessions more were on ${active} than on the other one; noticed within ${Math.round(noticedMs)} ms, equal ${(repairedMs / 1000).toFixed(1)} s after the daemon went on.`,
  );
  if (noticedMs > NOTICED_WITHIN_MS) stage.late.push(`noticed only after ${Math.round(noticedMs)} ms`);
  if (repairedMs > REPAIRED_WITHIN_MS) stage.late.push(`equal only after ${Math.round(repairedMs)} ms`);
  await sleep(500);
  await endQuietly(stage, "at the end");
}

export const AUDIT_ACTS = { audit, overrun } as const satisfies Readonly<Record<string, Act>>;
