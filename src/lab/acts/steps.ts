// Steps that several scenarios have in common: what to wait for, what to look at, and how what was seen is noted. They
// look from outside (control sockets, kernels, switches) and decide nothing about the pair.

import type { AlarmCode } from "../../core/alarms.ts";
import { nowMs, sleep, until } from "../clock.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, observe, ScenarioFailure, type Stage } from "../stage.ts";
import type { Streams } from "../streams.ts";

/** What happens between "everything counts" and "everything was read". */
export type Act = (stage: Stage) => Promise<void>;

/** A duration or a count, the smaller one where long times are played shorter. */
export const scaled = (stage: Stage, full: number, short: number): number =>
  stage.options.short ? short : full;

const ALARM_TIMEOUT_MS = 10_000;
const ALARM_INTERVAL_MS = 50;

/** Waits until an alarm is up on a node, as heart tells it or else the daemon; it is a finding where it does not come. */
export async function expectAlarm(
  stage: Stage,
  node: NodeName,
  code: AlarmCode,
  timeoutMs = ALARM_TIMEOUT_MS,
): Promise<void> {
  const { pair } = stage.world;
  const startMs = nowMs();
  const seen = await until(timeoutMs, ALARM_INTERVAL_MS, async () => {
    const alarms = (await pair.heart(node))?.alarms ?? [];
    if (alarms.some((alarm) => alarm.code === code)) return true;
    const view = await pair.view(node);
    return view?.alarms.some((alarm) => alarm.code === code) ? true : null;
  });
  if (seen === null) stage.problems.push(`no alarm ${code} on ${node} within ${timeoutMs / 1000} s`);
  else
    stage.notes.push(
      `Alarm ${code} on ${node}, ${((nowMs() - startMs) / 1000).toFixed(1)} s after it was looked for.`,
    );
}

/** Nobody else may have become active, in whatever time: same node, same term. Else counted as unasked. */
export async function noteQuiet(stage: Stage, when: string): Promise<void> {
  const { pair } = stage.world;
  const hearts = { a: await pair.heart("a"), b: await pair.heart("b") };
  const term = Math.max(hearts.a?.term ?? 0, hearts.b?.term ?? 0);
  const own = hearts[stage.active];
  if (own?.role === "active" && own.gate === "open" && term === stage.term) return;
  const other = otherNode(stage.active);
  stage.unasked += Math.max(1, term - stage.term);
  stage.options.progress(
    `${when}: ${stage.active} is ${own?.role ?? "silent"}, ${other} is ${hearts[other]?.role ?? "silent"}, term ${term} after ${stage.term}`,
  );
  stage.term = term;
  if (hearts[other]?.role === "active") stage.active = other;
}

/** The last part of a scenario in which nobody may notice anything: ready again, sessions alive, tables equal. */
export async function endQuietly(stage: Stage, when: string): Promise<void> {
  const active = await becomeReady(stage.world, when);
  await observe(stage);
  await noteQuiet(stage, when);
  stage.active = active;
  await becomeEqual(stage, when);
}

/** Waits until the other node is active with an open gate; how long it took, and whether that was in time. */
export async function expectHandover(
  stage: Stage,
  from: NodeName,
  bounds: { readonly withinMs: number; readonly timeoutMs: number },
): Promise<void> {
  const to = otherNode(from);
  const startMs = nowMs();
  const done = await until(bounds.timeoutMs, 20, async () => {
    const heart = await stage.world.pair.heart(to);
    return heart?.role === "active" && heart.gate === "open" ? true : null;
  });
  const tookMs = nowMs() - startMs;
  if (done === null) {
    const own = await stage.world.pair.heart(from);
    stage.problems.push(
      `${from} did not hand over within ${bounds.timeoutMs / 1000} s (it is ${own?.role ?? "silent"})`,
    );
    return;
  }
  stage.notes.push(`Handed over to ${to} in ${(tookMs / 1000).toFixed(2)} s.`);
  if (tookMs > bounds.withinMs)
    stage.late.push(`the handover took ${Math.round(tookMs)} ms, more than ${bounds.withinMs}`);
  await sleep(100);
}

const TAKEOVER_TIMEOUT_MS = 10_000;

/** Waits until the other one serves in place of `from`; without it nothing that follows has a meaning. */
export async function expectTakeover(stage: Stage, from: NodeName): Promise<void> {
  const to = otherNode(from);
  const taken = await until(TAKEOVER_TIMEOUT_MS, 20, async () => {
    const heart = await stage.world.pair.heart(to);
    return heart?.role === "active" && heart.gate === "open" ? true : null;
  });
  if (taken === null) throw new ScenarioFailure(`${to} did not take over from ${from}`);
}

const IDLE_RATE = 500;
const ANSWER_TIMEOUT_MS = 10_000;

/** Opens TCP sessions that say one thing and are silent from then on, and waits until both kernels have them. */
export async function openIdle(stage: Stage, streams: Streams, count: number): Promise<number> {
  const { opened, failures } = await streams.open({ count, rate: IDLE_RATE, talkMs: 0, livesMs: 0 });
  if (opened < count) stage.problems.push(`${count - opened} idle sessions did not open: ${failures[0]}`);
  stage.options.progress(`${opened} idle sessions open`);
  await becomeEqual(stage, "with idle sessions");
  return opened;
}

/**
 * Every idle session is still there: first its far side speaks, which nobody lets in who does not know the session; then
 * its near side.
 */
export async function expectIdle(stage: Stage, streams: Streams, count: number): Promise<void> {
  const seen = async (isRight: (stream: { heard: number; answers: number }) => boolean): Promise<number> => {
    let right = 0;
    await until(ANSWER_TIMEOUT_MS, 200, async () => {
      const report = await streams.report();
      right = report.streams.filter((stream) => stream.failure === null && isRight(stream)).length;
      return right === count ? true : null;
    });
    return right;
  };
  await streams.say();
  const heard = await seen((stream) => stream.heard > 0);
  await streams.speak();
  const answered = await seen((stream) => stream.heard > 0 && stream.answers > 1);
  stage.notes.push(
    `${count} sessions that had been idle: the far side of ${heard} was let in, ${answered} went on in both directions.`,
  );
  if (answered < count) stage.problems.push(`${count - answered} of ${count} idle sessions were lost`);
}
