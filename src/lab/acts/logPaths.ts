// Scenarios about the way that replication takes between the nodes: it is cut, it loses frames, it is gone altogether; and
// what traffic notices of replication being there at all.

import { sleep, until } from "../clock.ts";
import { cutReplication, killPorts, revivePorts, setLoss } from "../faults.ts";
import { readRetransmissions } from "../oracles.ts";
import { otherNode } from "../pair.ts";
import { becomeEqual, becomeReady, noteTakeover, observe, type Stage, watchReturn } from "../stage.ts";
import { type LagMeter, type Streams, startFlows, startLagMeter, startStreams } from "../streams.ts";
import { type Act, endQuietly, expectAlarm, expectIdle, noteQuiet, openIdle, scaled } from "./steps.ts";

const PROBE_INTERVAL_MS = 10;
const OTHER_PATH_MS = 1000;
const LAG_P99_MS = 25;
const FLOWS_PER_SECOND = 5000;
const NOT_READY_TIMEOUT_MS = 10_000;

/** What the meter saw, as a note; what never arrived is a finding, what came late is one of time. */
async function judgeLag(
  stage: Stage,
  meter: LagMeter,
  bound: { readonly what: "p99" | "max"; readonly ms: number; readonly when: string },
): Promise<void> {
  const { probes, unanswered, missing, lagMs } = await meter.finish();
  stage.notes.push(
    `Kernel to kernel ${bound.when}: ${lagMs.p50} ms for half of ${probes} probes, ${lagMs.p99} ms at the 99th percentile, ${lagMs.max} ms at the worst.`,
  );
  if (missing > 0)
    stage.problems.push(`${bound.when} ${missing} of ${probes} probes never came to the standby's kernel`);
  if (unanswered * 2 > probes)
    stage.problems.push(`${bound.when} ${unanswered} of ${probes} probes were not answered`);
  if (lagMs[bound.what] > bound.ms)
    stage.late.push(`${bound.when} the standby's kernel was ${lagMs[bound.what]} ms behind (${bound.what})`);
}

/** Cut while all is well: another path takes over, and a crash meanwhile costs nothing. */
async function syncLost(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const streams = await startStreams(stage);
  const meter = await startLagMeter(stage, PROBE_INTERVAL_MS);
  try {
    await sleep(1000);
    await meter.mark();
    await killPorts(world, standby, ["sync"]);
    stage.options.progress("the sync cable is dead");
    await sleep(scaled(stage, 10_000, 4000));
    await judgeLag(stage, meter, { what: "max", ms: OTHER_PATH_MS, when: "over the cut" });
    const path = (await world.pair.view(standby))?.replication.path ?? null;
    if (path === null || path === "sync")
      stage.problems.push(`with the sync cable dead replication is by ${path ?? "no path"}`);
    const idle = await openIdle(stage, streams, scaled(stage, 500, 50));
    await killPorts(world, active);
    stage.options.progress(`${active} is dead to the world, the sync cable too`);
    await observe(stage);
    await noteTakeover(stage, active);
    await expectIdle(stage, streams, idle);
    await revivePorts(world, standby, ["sync"]);
    await revivePorts(world, active);
    await watchReturn(stage, "after everything's return");
  } finally {
    meter.stop();
    streams.stop();
  }
}

/** No path is left to replication alone: it is said on both nodes, and mended by itself. */
async function pathsCut(stage: Stage): Promise<void> {
  const { world, active } = stage;
  const standby = otherNode(active);
  const streams = await startStreams(stage);
  try {
    await cutReplication(world, true);
    const heard = await until(NOT_READY_TIMEOUT_MS, 20, async () => {
      const own = await world.pair.view(standby);
      const peer = await world.pair.heart(active);
      return own?.ready === false && peer?.peer.ready === false ? own.reasons : null;
    });
    if (heard === null) stage.problems.push(`without replication ${standby} was still said to be ready`);
    else stage.notes.push(`Without replication ${standby} said: not ready (${heard.join("; ")}).`);
    for (const node of [active, standby]) await expectAlarm(stage, node, "replication-down");
    const { opened } = await streams.open({
      count: scaled(stage, 2000, 200),
      rate: 500,
      talkMs: 1000,
      livesMs: 20_000,
    });
    stage.notes.push(`${opened} sessions were opened meanwhile.`);
    await noteQuiet(stage, "without replication");
    await cutReplication(world, false);
    await endQuietly(stage, "after replication's return");
    await streams.pause();
  } finally {
    streams.stop();
  }
}

/** A path that loses frames, under load. */
async function loss(stage: Stage): Promise<void> {
  const { world } = stage;
  const flows = startFlows(stage);
  const meter = await startLagMeter(stage, PROBE_INTERVAL_MS);
  try {
    await setLoss(world, "sync", 1);
    await meter.mark();
    const rate = scaled(stage, FLOWS_PER_SECOND, 500);
    const count = rate * scaled(stage, 20, 4);
    const { udp, seconds } = await flows.open(count, rate);
    stage.notes.push(
      `${udp} sessions were opened in ${seconds.toFixed(1)} s, ${Math.round(udp / seconds)} a second.`,
    );
    if (udp < count) stage.problems.push(`${count - udp} of ${count} sessions were not answered`);
    await judgeLag(stage, meter, { what: "p99", ms: LAG_P99_MS, when: "at a loss of 1 %" });
    await becomeEqual(stage, "at a loss of 1 %");
    await setLoss(world, "sync", 0);
    await endQuietly(stage, "after the loss");
  } finally {
    meter.stop();
    flows.stop();
  }
}

interface Cost {
  readonly failed: number;
  readonly retransmitted: number;
  readonly opened: number;
}

/** The same traffic once, and what it lost. */
async function busyFor(stage: Stage, streams: Streams): Promise<Cost> {
  const count = scaled(stage, 3000, 300);
  const before = await readRetransmissions(stage.world);
  const { failed: failedBefore } = await streams.counts();
  const { failed, failures } = await streams.open({ count, rate: count / 10, talkMs: 250, livesMs: 3000 });
  await sleep(3500);
  if (failed > failedBefore) stage.options.progress(`streams failed: ${failures.join(", ")}`);
  return {
    failed: failed - failedBefore,
    retransmitted: (await readRetransmissions(stage.world)) - before,
    opened: count,
  };
}

/** TCP sends again what was late as well as what was lost: on a busy machine some of it is only late. */
const RETRANSMITTED_MORE_MAX = 0.005;

/** The same traffic with replication and without: it must cost nobody a packet. */
async function onOff(stage: Stage): Promise<void> {
  const { world } = stage;
  const streams = await startStreams(stage);
  try {
    const on = await busyFor(stage, streams);
    await cutReplication(world, true);
    const off = await busyFor(stage, streams);
    await cutReplication(world, false);
    await becomeReady(world, "with replication again");
    for (const [name, cost] of [
      ["with replication", on],
      ["without", off],
    ] as const) {
      stage.notes.push(
        `${cost.opened} sessions ${name}: ${cost.failed} failed, ${cost.retransmitted} segments were sent again.`,
      );
      if (cost.failed > 0) stage.problems.push(`${name} ${cost.failed} of ${cost.opened} sessions failed`);
    }
    if (on.retransmitted - off.retransmitted > on.opened * RETRANSMITTED_MORE_MAX)
      stage.late.push(
        `with replication ${on.retransmitted} segments were sent again, without ${off.retransmitted}`,
      );
    await streams.pause();
    await endQuietly(stage, "at the end");
  } finally {
    streams.stop();
  }
}

export const LOG_PATH_ACTS = {
  "sync-lost": syncLost,
  "paths-cut": pathsCut,
  loss,
  "on-off": onOff,
} as const satisfies Readonly<Record<string, Act>>;
