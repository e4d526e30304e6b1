// Scenarios of the configuration: one is put into force on both nodes, refused, different on both, and taken back, while sessions
// run. What is asked of the pair goes through its command line; what came of it is read from files, stores and kernels.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nowMs, sleep, until } from "../clock.ts";
import type { RunResult } from "../commands.ts";
import { changesOf, configurationOf, differencesOf, inForce } from "../configurationState.ts";
import { brokenFiles, withLink, withWeight } from "../configurationText.ts";
import { linkOf, type Table } from "../conntrackText.ts";
import { boot, cutPower } from "../faults.ts";
import { readTable } from "../oracles.ts";
import { NODES, otherNode, pairFileOf } from "../pair.ts";
import { becomeEqual, becomeReady, handOver, noteTakeover, observe, type Stage } from "../stage.ts";
import { startFlows } from "../streams.ts";
import { layThirdLine, thirdLink } from "../thirdLine.ts";
import { type Act, endQuietly, expectAlarm, noteQuiet, scaled } from "./steps.ts";

const FLOW_RATE = 5000;
/** Four standard deviations: few sessions scatter by themselves. */
const DEVIATIONS_MAX = 4;
const POINTS_MIN = 1.5;
const UNDISTURBED_MS = 5000;
const SETTLED_TIMEOUT_MS = 20_000;

const currentText = (stage: Stage): string =>
  readFileSync(pairFileOf(stage.world.directory, stage.active), "utf8");

/** `understudy apply` of this text on the active. */
async function applyText(stage: Stage, text: string, message: string): Promise<RunResult> {
  const { world, active } = stage;
  const file = join(world.directory, "new.yaml");
  writeFileSync(file, text);
  world.note(`apply on ${active}: ${message}`);
  return world.pair.command(active, ["apply", file, "--message", message]);
}

const wordsOf = ({ code, stdout, stderr }: RunResult): string => `${code}: ${(stdout + stderr).trim()}`;

/** Both must say the same, and it must be this text. */
async function expectInForce(stage: Stage, text: string, when: string): Promise<void> {
  const { world } = stage;
  const words = await until(SETTLED_TIMEOUT_MS, 500, async () => {
    const [a, b] = [await configurationOf(world, "a"), await configurationOf(world, "b")];
    return a.file === text && differencesOf(a, b).length === 0 ? a : null;
  });
  if (words !== null) {
    stage.notes.push(
      `${when} version ${inForce(words)?.split(" ")[0]} is in force on both; files and kernels are equal.`,
    );
    return;
  }
  const [a, b] = [await configurationOf(world, "a"), await configurationOf(world, "b")];
  if (a.file !== text) stage.problems.push(`${when} the file of a is not what was applied`);
  stage.problems.push(...differencesOf(a, b).map((what) => `${when} a and b differ: ${what}`));
}

/** Nobody of `before` may be gone or have changed its link or its translation. */
function expectUnmoved(stage: Stage, before: Table, after: Table, when: string): void {
  let [gone, moved] = [0, 0];
  for (const [key, entry] of before) {
    const now = after.get(key);
    if (now === undefined) gone += 1;
    else if (linkOf(now) !== linkOf(entry) || now.reply !== entry.reply) moved += 1;
  }
  if (gone > 0) stage.problems.push(`${when} ${gone} of ${before.size} sessions are gone`);
  if (moved > 0) stage.problems.push(`${when} ${moved} of ${before.size} sessions changed their link`);
  stage.notes.push(`${when} ${before.size - gone - moved} of ${before.size} sessions are where they were.`);
}

/** New sessions must spread over the links as `weights` (by id) say. */
async function expectSpread(
  stage: Stage,
  weights: Readonly<Record<number, number>>,
  when: string,
): Promise<void> {
  const inside = stage.world.pids.get(stage.active)!;
  const before = await readTable(inside);
  const flows = startFlows(stage);
  try {
    await flows.open(scaled(stage, 10_000, 1000), FLOW_RATE);
    const shares = new Map<number, number>();
    let total = 0;
    for (const [key, entry] of await readTable(inside)) {
      if (before.has(key) || !key.includes(" udp ")) continue;
      total += 1;
      shares.set(linkOf(entry), (shares.get(linkOf(entry)) ?? 0) + 1);
    }
    const sum = Object.values(weights).reduce((one, other) => one + other, 0);
    const words = Object.entries(weights).map(([id, weight]) => {
      const expected = (weight / sum) * 100;
      const found = ((shares.get(Number(id)) ?? 0) / total) * 100;
      const deviation = Math.sqrt((expected * (100 - expected)) / total);
      if (Math.abs(found - expected) > Math.max(POINTS_MIN, DEVIATIONS_MAX * deviation))
        stage.problems.push(
          `${when} link ${id} got ${found.toFixed(1)} % instead of ${expected.toFixed(1)} %`,
        );
      return `${found.toFixed(1)} % on link ${id}`;
    });
    stage.notes.push(`${when} of ${total} new sessions ${words.join(", ")}.`);
  } finally {
    flows.stop();
  }
}

/** Applies, and looks at everything that must come of it. */
async function applyAndLook(stage: Stage, text: string, what: string): Promise<void> {
  const before = await readTable(stage.world.pids.get(stage.active)!);
  const startMs = nowMs();
  const result = await applyText(stage, text, what);
  stage.options.progress(`apply ended with ${wordsOf(result)}`);
  if (result.code !== 0) stage.problems.push(`apply (${what}) ended with ${wordsOf(result)}`);
  else stage.notes.push(`Applied in ${((nowMs() - startMs) / 1000).toFixed(1)} s: ${what}.`);
  await becomeReady(stage.world, `after ${what}`);
  expectUnmoved(stage, before, await readTable(stage.world.pids.get(stage.active)!), `After ${what}`);
  await expectInForce(stage, text, `After ${what}`);
}

async function applyNew(stage: Stage): Promise<void> {
  const { world } = stage;
  await layThirdLine(world, NODES);
  const text = withLink(
    withWeight(withWeight(currentText(stage), "fibre", 1), "cable", 3),
    thirdLink(world, 2),
  );
  await applyAndLook(stage, text, "other weights and a third link");
  await expectSpread(stage, { 1: 1, 2: 3, 3: 2 }, "After the apply");
  await noteQuiet(stage, "after the apply");
  await becomeEqual(stage, "after the apply");
  // The other one knows it as well, by doing it.
  const from = stage.active;
  stage.handovers = { asked: 1, done: 0 };
  stage.active = await handOver(world, from);
  stage.handovers.done = 1;
  await expectSpread(stage, { 1: 1, 2: 3, 3: 2 }, "Behind the other node");
  await observe(stage);
  await noteTakeover(stage, from);
  await becomeEqual(stage, "at the end");
}

async function applyBroken(stage: Stage): Promise<void> {
  const { world, active } = stage;
  await layThirdLine(world, [active]);
  const text = currentText(stage);
  const before = { a: await configurationOf(world, "a"), b: await configurationOf(world, "b") };
  const files = brokenFiles(text, thirdLink(world, 2), otherNode(active));
  for (const { what, text: broken, says } of files) {
    const result = await applyText(stage, broken, what);
    const said = result.stdout + result.stderr;
    if (result.code === 0) stage.problems.push(`${what}: it was taken`);
    if (!says.test(said)) stage.problems.push(`${what}: it said ${wordsOf(result)}`);
    for (const node of NODES)
      stage.problems.push(
        ...changesOf(before[node], await configurationOf(world, node)).map(
          (change) => `${what}: changed on ${node}: ${change}`,
        ),
      );
    stage.options.progress(`${what}: ${said.trim().replaceAll("\n", " ")}`);
  }
  const standby = await world.pair.command(otherNode(active), ["apply", pairFileOf(world.directory, active)]);
  if (standby.code === 0) stage.problems.push("the standby took an apply");
  stage.notes.push(`${files.length} files were refused, and changed nothing on either node.`);
  await endQuietly(stage, "after the refusals");
}

/** The standby boots with another file; what both make of it, and how it is resolved. */
async function driftOnce(stage: Stage, resolution: "--replace-peer" | "--take-peer"): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const mine = currentText(stage);
  const theirs = withWeight(mine, "cable", resolution === "--take-peer" ? 5 : 2);
  await cutPower(world, standby);
  writeFileSync(pairFileOf(world.directory, standby), theirs);
  await boot(world, standby);
  for (const node of NODES) await expectAlarm(stage, node, "configuration-differs", 30_000);
  await sleep(scaled(stage, UNDISTURBED_MS, 1500));
  for (const node of NODES) {
    const shown = await world.pair.command(node, ["diff", "peer"]);
    const [minus, plus] = node === active ? [mine, theirs] : [theirs, mine];
    const lines = changedLines(minus, plus);
    if (shown.code !== 0 || !lines.every((line) => shown.stdout.includes(line)))
      stage.problems.push(`diff peer on ${node} does not show ${lines.join(" and ")}: ${wordsOf(shown)}`);
    const { file } = await configurationOf(world, node);
    if (file !== minus) stage.problems.push(`${node} changed its file by itself`);
  }
  const { ready, reasons } = await world.pair.roles();
  if (ready) stage.problems.push("the pair says that it is ready, with two configurations");
  else stage.notes.push(`With two configurations it said: ${reasons.join("; ")}.`);
  const before = await readTable(world.pids.get(active)!);
  const result = await world.pair.command(active, ["apply", resolution]);
  stage.options.progress(`apply ${resolution} ended with ${wordsOf(result)}`);
  if (result.code !== 0) stage.problems.push(`apply ${resolution} ended with ${wordsOf(result)}`);
  await becomeReady(world, `after apply ${resolution}`);
  await expectInForce(stage, resolution === "--take-peer" ? theirs : mine, `After apply ${resolution}`);
  expectUnmoved(stage, before, await readTable(world.pids.get(active)!), `After apply ${resolution}`);
  await noteQuiet(stage, `after apply ${resolution}`);
}

/** The lines that a unified difference has to show. */
function changedLines(minus: string, plus: string): readonly string[] {
  const [old, next] = [minus.split("\n"), plus.split("\n")];
  return old.flatMap((line, index) => (line === next[index] ? [] : [`-${line}`, `+${next[index]}`]));
}

async function drift(stage: Stage): Promise<void> {
  await driftOnce(stage, "--replace-peer");
  await driftOnce(stage, "--take-peer");
  await endQuietly(stage, "at the end");
}

async function rollBack(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const first = currentText(stage);
  const number = inForce(await configurationOf(world, active))?.split(" ")[0] ?? "1";
  await applyAndLook(stage, withWeight(withWeight(first, "fibre", 1), "cable", 9), "other weights");
  await expectSpread(stage, { 1: 1, 2: 9 }, "After the apply");
  const before = await readTable(world.pids.get(active)!);
  world.note(`rollback ${number} on ${active}`);
  const result = await world.pair.command(active, ["rollback", number]);
  stage.options.progress(`rollback ended with ${wordsOf(result)}`);
  if (result.code !== 0) stage.problems.push(`rollback ${number} ended with ${wordsOf(result)}`);
  await becomeReady(world, "after the rollback");
  expectUnmoved(stage, before, await readTable(world.pids.get(active)!), "After the rollback");
  await expectInForce(stage, first, "After the rollback");
  const { versions } = await configurationOf(world, active);
  if (versions.length < 3) stage.problems.push(`a rollback is a version of its own: ${versions.join(", ")}`);
  await expectSpread(stage, { 1: 3, 2: 1 }, "After the rollback");
  await endQuietly(stage, "at the end");
}

export const CONFIGURATION_ACTS = {
  apply: applyNew,
  "apply-broken": applyBroken,
  drift,
  rollback: rollBack,
} as const satisfies Readonly<Record<string, Act>>;
