// Scenarios in which a node or the whole machine is kept busy, or its kernel or disk is abused, while it has to serve.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AlarmCode } from "../../core/alarms.ts";
import { BUSY_LOOP, DISK_WRITER, FORK_LOOP, startBurden, under } from "../burdens.ts";
import { nowMs, sleep, until } from "../clock.ts";
import { run } from "../commands.ts";
import { flushRuleset, killPorts } from "../faults.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage } from "../stage.ts";
import type { FloodTarget } from "../traffic/flood.ts";
import { startTraffic } from "../traffic/process.ts";
import { type Act, endQuietly, expectAlarm, noteQuiet, scaled } from "./steps.ts";

const BACK_MS = 1000;
const BACK_TIMEOUT_MS = 10_000;
const FLOOD_RATE = 100_000;
const MAP_ELEMENTS = 100_000;
const LIST_TIMEOUT_MS = 30_000;

/** Somebody else's `nft flush ruleset` on a node, and how long until all of ours is back. */
async function flushAndWait(stage: Stage, node: NodeName): Promise<void> {
  const { world } = stage;
  const inside = world.pids.get(node)!;
  const tables = async (): Promise<string> => (await run(["nft", "list", "tables"], { inside })).stdout;
  const before = (await tables()).split("\n").sort().join("\n");
  const startMs = nowMs();
  await flushRuleset(world, node);
  const back = await until(BACK_TIMEOUT_MS, 50, async () => {
    if ((await tables()).split("\n").sort().join("\n") !== before) return null;
    return (await world.pair.roles()).ready ? true : null;
  });
  const tookMs = nowMs() - startMs;
  if (back === null) {
    const { reasons } = await world.pair.roles();
    stage.problems.push(
      `after a flush on ${node} not everything was back: ${reasons.join("; ") || "tables"}`,
    );
  } else if (tookMs > BACK_MS)
    stage.late.push(`everything was back ${Math.round(tookMs)} ms after a flush on ${node}`);
  stage.options.progress(`flushed on ${node}, all back after ${Math.round(tookMs)} ms`);
}

async function macOf(stage: Stage, node: NodeName): Promise<string> {
  const { stdout } = await run(["ip", "-j", "link", "show", "lan"], { inside: stage.world.pids.get(node)! });
  return (JSON.parse(stdout) as { address: string }[])[0]!.address;
}

/** One flood at both nodes, and what they and the sync cable's heartbeats made of it. */
async function flood(
  stage: Stage,
  name: string,
  sourceOf: (target: NodeName) => string,
  alarm: AlarmCode,
): Promise<void> {
  const { world } = stage;
  const targets: FloodTarget[] = [];
  for (const { name: node, lan4 } of world.topology.nodes)
    targets.push({ mac: await macOf(stage, node), source: sourceOf(node), destination: lan4 });
  const attacker = startTraffic("flood", { environment: world.environment });
  try {
    await attacker.order("start", { pid: world.pids.get("h3")!, device: "eth0", targets, rate: FLOOD_RATE });
    world.note(`a flood begins, ${name}`);
    let silenceMs = 0;
    const endMs = nowMs() + scaled(stage, 20_000, 4000);
    while (nowMs() < endMs) {
      for (const { name: node } of world.topology.nodes) {
        const sync = (await world.pair.heart(node))?.paths.find((path) => path.name === "sync");
        silenceMs = Math.max(silenceMs, sync?.heardMsAgo ?? 0);
      }
      await sleep(50);
    }
    for (const { name: node } of world.topology.nodes) await expectAlarm(stage, node, alarm);
    const { sent, seconds } = await attacker.order<{ sent: number; seconds: number }>("stop");
    stage.notes.push(
      `Flood ${name}: ${Math.round(sent / seconds)} datagrams a second; the sync cable was silent for ${Math.round(silenceMs)} ms at most.`,
    );
    const { deadMs } = { deadMs: 50 };
    if (silenceMs > deadMs)
      stage.late.push(`flood ${name}: the sync cable was silent for ${Math.round(silenceMs)} ms`);
  } finally {
    attacker.stop();
    world.note("the flood ends");
  }
  await noteQuiet(stage, `after the flood ${name}`);
}

function writeMap(stage: Stage): string {
  const file = join(stage.world.directory, "map.nft");
  const elements = Array.from(
    { length: MAP_ELEMENTS },
    (_, index) => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255} : ${index + 1}`,
  );
  writeFileSync(
    file,
    `table inet busy {\n map many {\n  type ipv4_addr : mark\n  elements = { ${elements.join(", ")} }\n }\n}\n`,
  );
  return file;
}

/** The active dies as in `crash`, whatever the standby's disk is doing. */
async function crashActive(stage: Stage): Promise<void> {
  const died = stage.active;
  await killPorts(stage.world, died);
  stage.options.progress(`${died} is dead to the world`);
  await observe(stage);
  await noteTakeover(stage, died);
}

/** As heart or the daemon sees its state directory, in its own mount namespace. */
const stateOf = (stage: Stage, node: NodeName): { pid: number; directory: string } => ({
  pid: stage.world.pair.processesNamed(node, "heart")[0]!,
  directory: join(stage.world.directory, node, "state"),
});

export const BURDENED_ACTS = {
  "foreign-flush": async (stage) => {
    const times = scaled(stage, 10, 2);
    for (let round = 0; round < times; round += 1)
      for (const node of [stage.active, otherNode(stage.active)]) {
        await flushAndWait(stage, node);
        await sleep(300 + Math.random() * 50);
      }
    stage.active = await becomeReady(stage.world, "after the flushes");
    await observe(stage);
    await becomeEqual(stage, "after the flushes");
  },
  flood: async (stage) => {
    const { nodes, hosts } = stage.world.topology;
    const peerOf = (target: NodeName): string => nodes.find(({ name }) => name !== target)!.lan4;
    await flood(stage, "with the peer's address", peerOf, "flood-1148");
    await flood(stage, "by a stranger", () => hosts[2]!.v4, "foreign-traffic-1148");
    await endQuietly(stage, "after both floods");
  },
  "busy-nft": async (stage) => {
    const { world, active } = stage;
    const inside = world.pids.get(active)!;
    const before = (await world.pair.heart(active))?.renewals.refused ?? 0;
    const file = writeMap(stage);
    const writer = startBurden(world, 'while :; do nft -f "$1"; nft delete table inet busy; done', {
      inside,
      words: [file],
    });
    let lists = 0;
    await under([writer], async () => {
      world.note(`maps of ${MAP_ELEMENTS} elements are loaded and deleted on ${active}`);
      const endMs = nowMs() + scaled(stage, 60_000, 6000);
      while (nowMs() < endMs) {
        const listed = await Promise.race([
          run(["nft", "list", "ruleset"], { inside, onLine: () => {} }).then(() => true),
          sleep(LIST_TIMEOUT_MS).then(() => false),
        ]);
        if (!listed)
          stage.problems.push(`a list of the ruleset had not ended after ${LIST_TIMEOUT_MS / 1000} s`);
        if (!listed) break;
        lists += 1;
      }
    });
    await run(["nft", "delete", "table", "inet", "busy"], { inside, accept: [0, 1] });
    const { refused = 0, longestMs = 0 } = (await world.pair.heart(active))?.renewals ?? {};
    stage.notes.push(
      `${lists} lists of the ruleset ended; the longest interval between two renewals was ${longestMs} ms.`,
    );
    if (refused > before) stage.late.push(`the lease lapsed ${refused - before} times`);
    await endQuietly(stage, "after the nftables work");
  },
  "busy-disk": async (stage) => {
    const { world } = stage;
    const file = join(world.directory, otherNode(stage.active), "state", "burden");
    const writer = startBurden(world, DISK_WRITER, { words: [file] });
    await under([writer], async () => {
      world.note("the standby's disk is being written to");
      await sleep(scaled(stage, 10_000, 2000));
      await crashActive(stage);
    });
  },
  "full-disk": async (stage) => {
    const standby = otherNode(stage.active);
    const { pid, directory } = stateOf(stage, standby);
    await run([
      "sh",
      "-c",
      'cat /dev/zero > "$1" 2>/dev/null || true',
      "fill",
      `/proc/${pid}/root${directory}/filler`,
    ]);
    stage.world.note(`the disk of ${standby} is full`);
    await crashActive(stage);
    await expectAlarm(stage, standby, "term-not-stored");
  },
  "read-only-disk": async (stage) => {
    const standby = otherNode(stage.active);
    const { pid, directory } = stateOf(stage, standby);
    await run(["nsenter", "-t", String(pid), "-m", "--", "mount", "-o", "remount,ro", directory]);
    stage.world.note(`the disk of ${standby} is read-only`);
    await crashActive(stage);
    await expectAlarm(stage, standby, "term-not-stored");
  },
  saturated: async (stage) => {
    const { world } = stage;
    const burdens = [
      ...Array.from({ length: 8 }, () => startBurden(world, BUSY_LOOP)),
      ...Array.from({ length: 4 }, () => startBurden(world, FORK_LOOP)),
      startBurden(world, DISK_WRITER, { words: [join(world.directory, "burden")] }),
    ];
    await under(burdens, async () => {
      world.note("8 busy loops, 4 fork loops, a disk writer");
      await sleep(scaled(stage, 120_000, 8000));
      await noteQuiet(stage, "while the machine was saturated");
    });
    await endQuietly(stage, "after the saturation");
  },
} as const satisfies Readonly<Record<string, Act>>;
