// The scenario of times: what goes on for longer than its protocol's time without the standby hearing of it, and what has
// ended without a word. Refreshes by traffic raise no event, so that the standby's entries would run out under a call, and
// must not stay for ever where it is over.

import { nowMs, sleep, until } from "../clock.ts";
import { killPorts } from "../faults.ts";
import { cellOf, type KindName } from "../kinds.ts";
import { startKinds } from "../kindTraffic.ts";
import { setOnNodes } from "../nodeSettings.ts";
import { readTable } from "../oracles.ts";
import { type NodeName, otherNode } from "../pair.ts";
import { becomeEqual, noteTakeover, observe, type Stage } from "../stage.ts";
import { type Flows, startFlows } from "../streams.ts";
import { type Act, expectTakeover, scaled } from "./steps.ts";

/** UDP is assured two seconds after its first packet, if it is spoken again. */
const ASSURED_MS = 2200;
/** What is opened last is there, and compared, within this. */
const LAST_MS = 5000;
const FLOW_RATE = 20_000;
/** After a takeover, the walk that gives what has no traffic its own protocol's time. */
const SET_BACK_MS = 60_000;
const LOOK_MS = 1000;
const CALL: KindName = "udp-both";
const IDLE: KindName = "tcp-idle";

/** All times in milliseconds; those of the protocols are whole seconds. */
const timesOf = (stage: Stage) => ({
  udpMs: scaled(stage, 10_000, 8000),
  tcpMs: scaled(stage, 60_000, 16_000),
  callMs: scaled(stage, 60_000, 18_000),
  idleMs: scaled(stage, 50_000, 13_000),
});

/** Flows that speak twice, are answered twice, and then no more; the keys that they have in the active's kernel. */
async function openToEnd(stage: Stage, flows: Flows, count: number): Promise<ReadonlySet<string>> {
  const inside = stage.world.pids.get(stage.active)!;
  const before = await readTable(inside);
  await flows.open(count, FLOW_RATE);
  await sleep(ASSURED_MS);
  await flows.again();
  await becomeEqual(stage, "with what is about to end");
  const keys = [...(await readTable(inside)).keys()].filter(
    (key) => key.includes(" udp ") && !before.has(key),
  );
  if (keys.length < count) stage.problems.push(`only ${keys.length} of ${count} flows were there to end`);
  return new Set(keys);
}

async function countOf(stage: Stage, node: NodeName, keys: ReadonlySet<string>): Promise<number> {
  let count = 0;
  for (const key of (await readTable(stage.world.pids.get(node)!)).keys()) if (keys.has(key)) count += 1;
  return count;
}

/** How long after the takeover the flows that had ended before it are gone from the new active's kernel. */
async function expectGone(
  stage: Stage,
  node: NodeName,
  keys: ReadonlySet<string>,
  since: { readonly startMs: number; readonly boundMs: number },
): Promise<void> {
  const elapsed = (): number => nowMs() - since.startMs;
  let left = keys.size;
  await until(since.boundMs - elapsed(), LOOK_MS, async () => {
    left = await countOf(stage, node, keys);
    return left === 0 ? true : null;
  });
  const within = `${Math.round(since.boundMs / 1000)} s`;
  if (left > 0)
    stage.problems.push(`${left} of ${keys.size} flows that had ended are still there after ${within}`);
  else
    stage.notes.push(
      `${keys.size} flows that had ended were gone ${(elapsed() / 1000).toFixed(0)} s after the takeover (bound: ${within}).`,
    );
}

async function idleCall(stage: Stage): Promise<void> {
  const { world } = stage;
  const { udpMs, tcpMs, callMs, idleMs } = timesOf(stage);
  const kinds = await startKinds(world, { families: stage.options.v6 ? [4, 6] : [4], callsLastMs: 0 });
  const flows = startFlows(stage);
  try {
    await setOnNodes(world, {
      "net/netfilter/nf_conntrack_udp_timeout": udpMs / 1000,
      "net/netfilter/nf_conntrack_udp_timeout_stream": udpMs / 1000,
      "net/netfilter/nf_conntrack_tcp_timeout_established": tcpMs / 1000,
    });
    const open = async (kind: KindName): Promise<void> => {
      const { failures } = await kinds.open([kind]);
      stage.problems.push(...failures.map((failure) => `did not open: ${failure}`));
    };
    await open(CALL);
    await sleep(callMs - idleMs);
    await open(IDLE);
    await sleep(idleMs - LAST_MS);
    const ended = await openToEnd(stage, flows, scaled(stage, 10_000, 1000));
    await kinds.mark();
    const died = stage.active;
    const next = otherNode(died);
    await killPorts(world, died);
    await expectTakeover(stage, died);
    const startMs = nowMs();
    stage.options.progress(`${died} is dead to the world, ${next} serves`);
    await kinds.wake();
    const inherited = await countOf(stage, next, ended);
    if (inherited === 0)
      stage.problems.push("nothing that had ended was there at the takeover: nothing is proven");
    await observe(stage);
    await noteTakeover(stage, died);
    const sessions = await kinds.report();
    for (const kind of [CALL, IDLE])
      for (const family of [4, 6] as const) {
        const own = sessions.filter((session) => session.kind === kind && session.family === family);
        if (own.length > 0) stage.kinds.push(cellOf(own, "crash"));
      }
    stage.notes.push(
      `A UDP call had lasted ${callMs / 1000} s with a protocol time of ${udpMs / 1000} s, a TCP session was silent for ${idleMs / 1000} s of ${tcpMs / 1000}; ${inherited} flows that had ended were still in ${next}'s kernel at the takeover.`,
    );
    for (const { wrong, late } of stage.kinds) {
      stage.problems.push(...wrong);
      stage.late.push(...late);
    }
    await expectGone(stage, next, ended, { startMs, boundMs: udpMs + SET_BACK_MS });
  } finally {
    kinds.stop();
    flows.stop();
  }
}

export const TIME_ACTS = { "idle-call": idleCall } as const satisfies Readonly<Record<string, Act>>;
