// A restart of heart: when it may be, what is asked for first, and what is refused. Heart here is a process that waits.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, test } from "node:test";
import { GateState, Role, type Term } from "../../src/base/units.ts";
import { type HeartKeeper, restartHeart } from "../../src/daemon/restart.ts";
import type { HeartState } from "../../src/wire/control.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function heart(change: { role: Role; heard: boolean; leaseMs: number }): HeartState {
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  children.push(child);
  return {
    pid: child.pid!,
    role: change.role,
    term: 4 as Term,
    gate: change.role === Role.Active ? GateState.Open : GateState.Shut,
    leaseMs: change.leaseMs,
    segments: [{ name: "lan", carrier: true, witnessMsAgo: 3, askable: true, gated: true }],
    peer: { heard: change.heard },
  } as unknown as HeartState;
}

/** A daemon that notices the death of its heart, and has another at once. */
function keeper(first: HeartState, asked: string[]): HeartKeeper {
  let state: HeartState | null = first;
  children[0]!.once("exit", () => {
    asked.push("killed");
    state = { ...first, pid: first.pid + 1, role: state!.role };
  });
  return {
    state: () => state,
    handover: async () => {
      asked.push("handover");
      state = { ...first, role: Role.Standby };
      return "b is active in term 5";
    },
    leaseMs: 40,
  };
}

test("a standby's is replaced without a word", async () => {
  const asked: string[] = [];
  const state = heart({ role: Role.Standby, heard: true, leaseMs: 0 });
  assert.equal(await restartHeart(keeper(state, asked)), "heart restarted: standby, term 4");
  assert.deepEqual(asked, ["killed"]);
});

test("an active's hands over first", async () => {
  const asked: string[] = [];
  const state = heart({ role: Role.Active, heard: true, leaseMs: 40 });
  assert.equal(await restartHeart(keeper(state, asked)), "heart restarted: standby, term 4");
  assert.deepEqual(asked, ["handover", "killed"]);
});

test("alone it goes on under the long lease, and under no other", async () => {
  const asked: string[] = [];
  const short = heart({ role: Role.Active, heard: false, leaseMs: 40 });
  await assert.rejects(restartHeart(keeper(short, asked), 0), { code: "SHORT_LEASE" });
  assert.equal(children[0]!.exitCode ?? children[0]!.signalCode, null);
  children[0]!.kill("SIGKILL");
  await once(children.shift()!, "exit");
  const long = heart({ role: Role.Active, heard: false, leaseMs: 10_000 });
  assert.equal(await restartHeart(keeper(long, [])), "heart restarted: active, term 4");
});

test("no heart, no restart", async () => {
  const none: HeartKeeper = { state: () => null, handover: async () => "", leaseMs: 40 };
  await assert.rejects(restartHeart(none), { code: "NO_HEART" });
});
