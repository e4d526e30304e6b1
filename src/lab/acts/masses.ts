// Scenarios in which sessions come and go by the thousand: while the active dies, while the standby does not listen, and
// for minutes on end.

import { nowMs, sleep, until } from "../clock.ts";
import { isEqual, linkOf, type Table } from "../conntrackText.ts";
import { killPorts, signalProcess } from "../faults.ts";
import { residentMiB } from "../footprint.ts";
import { countResets } from "../leaks.ts";
import { compareOnce, readTable } from "../oracles.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage } from "../stage.ts";
import { startFlows, startStreams } from "../streams.ts";
import { PORT_STREAM } from "../traffic/ports.ts";
import { type Crash, judgeStorm, type StormVerdict, type StreamSeen } from "../traffic/streamVerdict.ts";
import { type Act, endQuietly, expectAlarm, expectTakeover, scaled } from "./steps.ts";

const STORM_RATE = 2000;
const YOUNG_MS = 50;
/** Where no figure in milliseconds decides: what is this old is lost by no delay. */
const SURELY_OLD_MS = 1000;
const YOUNG_LIVE_MIN = 0.95;
const JUDGED_AFTER_MS = 3000;
/** Functional: a machine that others use as well is slow, and what lives then lives. */
const GIVEN_UP_AFTER_MS = 12_000;

/** Which streams could not keep their translated port: from what both kernels hold of them. */
function collisions(stage: Stage, died: Table, lives: Table): (stream: StreamSeen) => boolean {
  const { hosts, server } = stage.world.topology;
  const portOf = (reply: string): string => / dport=(\d+)/.exec(reply)?.[1] ?? "";
  const ownerOf = new Map<string, string>();
  for (const [key, entry] of lives)
    if (key.includes(`dport=${PORT_STREAM}`))
      ownerOf.set(`${key.split(" ")[0]} ${linkOf(entry)} ${portOf(entry.reply)}`, key);
  return ({ host, port }) => {
    const spec = hosts.find(({ name }) => name === host)!;
    for (const [family, source, destination] of [
      ["ipv4", spec.v4, server.v4],
      ["ipv6", spec.v6, server.v6],
    ]) {
      const key = `${family} tcp src=${source} dst=${destination} sport=${port} dport=${PORT_STREAM}`;
      const entry = died.get(key);
      if (entry === undefined) continue;
      const owner = ownerOf.get(`${family} ${linkOf(entry)} ${port}`);
      return portOf(entry.reply) !== String(port) || (owner !== undefined && owner !== key);
    }
    return false;
  };
}

/** The active dies in the midst of connections that are being opened. */
async function storm(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const streams = await startStreams(stage);
  try {
    const resets = await countResets(world);
    const rate = scaled(stage, STORM_RATE, 300);
    const opening = streams.open({ count: rate * 4, rate, talkMs: 1500, livesMs: 0 });
    // A storm that the lab itself ends early is told where it is waited for.
    opening.catch(() => {});
    await sleep(3000);
    const notBeforeMs = nowMs();
    await killPorts(world, active);
    const crash: Crash = { notBeforeMs, notAfterMs: nowMs() };
    await sleep(JUDGED_AFTER_MS - (nowMs() - crash.notAfterMs));
    const early = await streams.report();
    await expectTakeover(stage, active);
    // The dead one's kernel still has what it had.
    const died = await readTable(world.pids.get(active)!);
    const lives = await readTable(world.pids.get(otherNode(active))!);
    const collides = collisions(stage, died, lives);
    const judge = (seen: readonly StreamSeen[]): StormVerdict => judgeStorm(seen, crash, YOUNG_MS, collides);
    let seen = early.streams;
    await until(GIVEN_UP_AFTER_MS, 500, async () => {
      ({ streams: seen } = await streams.report());
      const { oldDead, youngDead, collided } = judge(seen);
      return oldDead === 0 && youngDead === collided ? true : null;
    });
    const surely = judgeStorm(seen, crash, SURELY_OLD_MS, collides);
    if (surely.oldDead > 0)
      stage.problems.push(
        `${surely.oldDead} of ${surely.old} connections older than ${SURELY_OLD_MS / 1000} s died`,
        ...surely.samples,
      );
    noteStorm(stage, rate, judge(early.streams), judge(seen));
    const { opened, started } = await opening;
    stage.notes.push(`${opened} of all ${started} opened in the end.`);
    const sent = await resets.read();
    if (sent > 0) stage.problems.push(`${sent} resets left towards the Internet that no host had sent`);
    await observe(stage);
    await noteTakeover(stage, active);
  } finally {
    streams.stop();
  }
}

function noteStorm(stage: Stage, rate: number, soon: StormVerdict, last: StormVerdict): void {
  const alive = soon.young - soon.youngDead;
  stage.notes.push(
    `${rate} connections a second: of ${last.old} older than ${YOUNG_MS} ms ${last.oldDead} died; of ${soon.young} younger ones ${alive} lived after ${JUDGED_AFTER_MS / 1000} s, ${last.young - last.youngDead} in the end; ${last.collided} had lost their port to another; ${last.later} were begun later.`,
  );
  if (last.oldDead > 0)
    stage.late.push(
      `${last.oldDead} of ${last.old} connections older than ${YOUNG_MS} ms died`,
      ...last.samples,
    );
  if (soon.oldDead > 0 && last.oldDead === 0)
    stage.late.push(
      `${soon.oldDead} older connections needed longer than ${JUDGED_AFTER_MS / 1000} s: ${soon.samples[0]}`,
    );
  const judged = soon.young - last.collided;
  if (judged > 0 && alive < judged * YOUNG_LIVE_MIN)
    stage.late.push(`of ${judged} younger connections ${alive} lived after ${JUDGED_AFTER_MS / 1000} s`);
}

const SLOW_RATE = 5000;
/** What a standby that does not listen may cost the active's daemon: the log's bound, and a heap that breathes. */
const MEMORY_GROWTH_MIB_MAX = 128;
const EQUAL_WITHIN_MS = 10_000;

const daemonMiB = (stage: Stage, node: NodeName): number =>
  Math.max(0, ...stage.world.pair.processesNamed(node, "daemon").map(residentMiB));

/** The standby's daemon stands still under a load of new sessions. */
async function slowStandby(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const flows = startFlows(stage);
  try {
    const before = daemonMiB(stage, active);
    signalProcess(world, standby, "daemon", "SIGSTOP");
    world.note(`the daemon of ${standby} stands still`);
    const rate = scaled(stage, SLOW_RATE, 500);
    const count = rate * scaled(stage, 30, 12);
    let [most, ended] = [before, false];
    const opening = flows.open(count, rate).finally(() => {
      ended = true;
    });
    const alarm = expectAlarm(stage, standby, "daemon-silent", 20_000);
    while (!ended) {
      most = Math.max(most, daemonMiB(stage, active));
      await sleep(200);
    }
    const { udp, seconds } = await opening;
    await alarm;
    if (udp < count) stage.problems.push(`${count - udp} of ${count} sessions were not answered`);
    signalProcess(world, standby, "daemon", "SIGCONT");
    const startMs = nowMs();
    world.note("it goes on");
    const { readMs } = await becomeEqual(stage, "after the standby's daemon went on");
    // Reading 150,000 sessions twice takes the laboratory seconds, which are not the pair's.
    const tookMs = nowMs() - startMs - readMs;
    most = Math.max(most, daemonMiB(stage, active));
    stage.notes.push(
      `${udp} sessions in ${seconds.toFixed(1)} s while the standby's daemon stood still; equal ${(tookMs / 1000).toFixed(1)} s after it went on.`,
      `The active's daemon: ${before} MiB before, ${most} MiB at most.`,
    );
    if (most - before > MEMORY_GROWTH_MIB_MAX)
      stage.problems.push(`the active's daemon grew from ${before} to ${most} MiB`);
    if (tookMs > EQUAL_WITHIN_MS) stage.late.push(`equal only after ${Math.round(tookMs)} ms`);
    await endQuietly(stage, "at the end");
  } finally {
    signalProcess(world, standby, "daemon", "SIGCONT");
    flows.stop();
  }
}

const CHURN_SESSIONS = 100_000;
const CHURN_MS = 300_000;
const MOMENTS = 10;
const PAUSE_MS = 1000;
/** Of the sessions that come and go, so many are TCP, with all that happens to it. */
const TCP_SHARE = 0.6;

/** Sessions open, change and close, and at moments that nobody chose both kernels must hold the same. */
async function churn(stage: Stage): Promise<void> {
  const { world } = stage;
  const streams = await startStreams(stage);
  const flows = startFlows(stage);
  try {
    const sessions = scaled(stage, CHURN_SESSIONS, 4000);
    const lastsMs = scaled(stage, CHURN_MS, 20_000);
    const moments = scaled(stage, MOMENTS, 2);
    const tcp = Math.round(sessions * TCP_SHARE);
    const perMs = 1 / lastsMs;
    const churning = Promise.all([
      streams.open({ count: tcp, rate: tcp * perMs * 1000, talkMs: 1000, livesMs: 20_000 }),
      flows.open(sessions - tcp, (sessions - tcp) * perMs * 1000),
    ]);
    churning.catch(() => {});
    const startMs = nowMs();
    // At random within its part of the time, and the parts are equally long.
    for (let moment = 0; moment < moments; moment += 1) {
      const atMs = startMs + ((moment + 0.2 + 0.6 * Math.random()) * lastsMs) / moments;
      await sleep(Math.max(0, atMs - nowMs()));
      await lookDuringPause(stage, [streams, flows], moment + 1);
    }
    const [{ opened, closed, failed, failures }, { udp }] = await churning;
    stage.notes.push(
      `${opened} TCP sessions were opened and ${closed} closed again, ${udp} UDP sessions were opened, in ${Math.round((nowMs() - startMs) / 1000)} s.`,
    );
    if (failed > 0) stage.problems.push(`${failed} TCP sessions failed: ${failures.join(", ")}`);
    if (udp < sessions - tcp) stage.problems.push(`${sessions - tcp - udp} UDP sessions were not answered`);
    await streams.pause();
    await observe(stage);
    stage.active = await becomeReady(world, "after the churn");
    await becomeEqual(stage, "after the churn");
  } finally {
    streams.stop();
    flows.stop();
  }
}

interface Pausing {
  pause(): Promise<unknown>;
  resume(): Promise<unknown>;
}

async function lookDuringPause(stage: Stage, churning: readonly Pausing[], moment: number): Promise<void> {
  const { world, active } = stage;
  await Promise.all(churning.map((traffic) => traffic.pause()));
  await sleep(PAUSE_MS);
  const standby = otherNode(active);
  const compared = await compareOnce(world.pids.get(active)!, world.pids.get(standby)!);
  const when = `at moment ${moment}`;
  stage.differences.push({ when, ...compared.difference });
  stage.options.progress(
    `${when} ${isEqual(compared.difference) ? "no difference" : "a difference"} among ${compared.active} sessions`,
  );
  await Promise.all(churning.map((traffic) => traffic.resume()));
}

export const MASS_ACTS = {
  storm,
  "slow-standby": slowStandby,
  churn,
} as const satisfies Readonly<Record<string, Act>>;
