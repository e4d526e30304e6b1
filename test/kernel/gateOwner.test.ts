// The gate as a table of its heart's own (Linux 6.9): what others can do to it while heart lives, when it was killed, and
// while it is being made. The flood is a process beside this one: it finds a hole of microseconds.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createGate, type Gate, type GateOptions } from "../../src/kernel/gate.ts";
import { OwnTables } from "../../src/kernel/tables.ts";
import {
  answersToArp,
  arpRequest,
  OPTIONS,
  seenFromService,
  serviceFrame,
  sh,
  tap,
  VIRTUAL_MAC,
} from "./gateWorld.ts";
import { inNamespace } from "./namespace.ts";
import { macText } from "./packets.ts";

const OTHERS: GateOptions = {
  ...OPTIONS,
  services: [{ device: "us-lan", portMac: "02:00:00:00:00:cc" }],
};

function refusal(): string | false {
  if (inNamespace.skip !== false) return inNamespace.skip;
  const tables = new OwnTables("netdev");
  const reason = tables.areOwned ? false : "this kernel has no tables with an owner that persist";
  tables.close();
  return reason;
}
const owned = { skip: refusal() };

let gate: Gate;

if (owned.skip === false) {
  before(() => {
    gate = createGate(OPTIONS);
    gate.install();
    sh("ip link set us-lan up");
  });
  after(() => gate.close());
}

const fails = (command: string): boolean => {
  try {
    execFileSync("sh", ["-c", command], { stdio: "ignore" });
    return false;
  } catch {
    return true;
  }
};

async function started(program: string, ...words: string[]): Promise<{ child: ChildProcess; said: string }> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path, ...words], { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  return { child, said: said.toString() };
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

const heart = (state: "open" | "shut", options: GateOptions = OPTIONS) =>
  started("gateHeart.ts", state, JSON.stringify(options));

/** Frames with the virtual MAC that got out while `work` was done under a flood from inside; as many as a socket keeps. */
async function leakedDuring(work: () => void): Promise<number> {
  tap.drain(() => {});
  const { child } = await started("gateFlood.ts", Buffer.from(serviceFrame()).toString("hex"));
  try {
    work();
  } finally {
    await kill(child);
  }
  let leaked = 0;
  tap.drain((frame) => {
    if (macText(frame.subarray(6, 12)) === VIRTUAL_MAC) leaked += 1;
  });
  return leaked;
}

test("while its heart lives, nobody else removes, empties or changes it", owned, () => {
  assert.equal(gate.isProtected(), true);
  gate.open("solo");
  for (const command of [
    "nft delete table netdev understudy-gate",
    "nft flush table netdev understudy-gate",
    "nft delete chain netdev understudy-gate in-us-lan",
    "nft flush chain netdev understudy-gate out-us-lan",
    "nft insert rule netdev understudy-gate in-us-lan accept",
    "nft add element netdev understudy-gate held { 1148 timeout 1h }",
    "nft add table netdev understudy-gate '{ flags dormant; }'",
  ])
    assert.equal(fails(command), true, command);
  sh("nft flush ruleset");
  assert.equal(gate.present(), true);
  assert.equal(gate.renew("solo"), true, "the lease is what it was");
  assert.equal(answersToArp().length, 1);
  assert.match(sh("nft list table netdev understudy-gate"), /chain in-us-lan/, "anybody may look");
});

test("20 flushes of a shut gate: not a frame with the virtual MAC gets out", owned, async () => {
  gate.shut();
  const leaked = await leakedDuring(() => {
    for (let round = 0; round < 20; round += 1) {
      sh("nft flush ruleset");
      tap.send(arpRequest());
    }
  });
  assert.equal(leaked, 0);
  assert.equal(gate.present(), true);
  gate.open("solo");
  const through = await leakedDuring(() => sh("nft flush ruleset"));
  assert.ok(through > 0, "the flood is seen where the gate is open");
  gate.shut();
});

test("a second heart is told whose gate it is, and changes nothing", owned, () => {
  gate.open("solo");
  const second = createGate(OPTIONS);
  const whose = new RegExp(`TABLE_OWNED: the table belongs to process ${process.pid} \\(`);
  assert.throws(() => second.adopt(), whose);
  assert.throws(() => second.install(), whose);
  assert.throws(() => second.remove(), whose);
  second.close();
  sh("ip link set us-lan up");
  assert.equal(gate.present(), true);
  assert.equal(gate.renew("solo"), true);
  gate.remove();
  assert.equal(sh("nft list tables"), "");
});

test("heart killed: the gate works on until its lease ends, and stays shut then", owned, async () => {
  sh("ip link set us-lan down");
  const { child, said } = await heart("open", { ...OPTIONS, soloLeaseMs: 500 });
  assert.deepEqual(JSON.parse(said), { adopted: null, isProtected: true });
  sh("ip link set us-lan up");
  assert.deepEqual(seenFromService(), [VIRTUAL_MAC]);
  await kill(child);
  assert.match(sh("nft list table netdev understudy-gate"), /chain in-us-lan/);
  // The lease has 500 ms; each question takes milliseconds.
  for (let asked = 0; asked < 1000 && seenFromService().length > 0; asked += 1) tap.wait(2);
  assert.deepEqual(seenFromService(), []);
  assert.deepEqual(answersToArp(), []);
  gate = createGate(OPTIONS);
  assert.deepEqual(gate.adopt(), { held: false, drained: false });
  assert.equal(gate.isProtected(), true);
  assert.equal(gate.renew("solo"), false, "what has lapsed is not renewed");
  gate.remove();
  gate.close();
});

test("heart killed and back: the lease and what lies in the table are kept", owned, async () => {
  const { child } = await heart("open");
  sh("ip link set us-lan up");
  await kill(child);
  const next = await heart("shut");
  assert.deepEqual(JSON.parse(next.said), { adopted: { held: true, drained: false }, isProtected: true });
  sh("nft flush ruleset");
  assert.deepEqual(seenFromService(), [VIRTUAL_MAC]);
  await kill(next.child);
  gate = createGate(OPTIONS);
  assert.deepEqual(gate.adopt(), { held: true, drained: false });
  assert.equal(gate.renew("solo"), true);
  sh("nft flush ruleset");
  assert.equal(gate.present(), true);
});

test("an orphan can be flushed by others: then there is nothing to adopt", owned, () => {
  gate.open("solo");
  gate.close();
  sh("nft flush ruleset");
  assert.equal(sh("nft list tables"), "");
  gate = createGate(OPTIONS);
  assert.equal(gate.adopt(), null);
  gate.install();
  assert.equal(gate.isProtected(), true);
  assert.deepEqual(seenFromService(), []);
});

test("put in the place of whatever has its name, nothing gets out meanwhile", owned, async () => {
  const leaked = await leakedDuring(() => {
    for (let round = 0; round < 4; round += 1) {
      gate.install();
      gate.close();
      // Over an orphan of another shape: emptied and filled in one transaction.
      gate = createGate(OTHERS);
      assert.equal(gate.adopt(), null);
      gate.install();
      gate.remove();
      gate.close();
      // Over a plain one: behind the bar. (Removing took the interface down, which a plain gate is there for now.)
      const plain = createGate({ ...OPTIONS, plain: true });
      plain.install();
      sh("ip link set us-lan up");
      plain.close();
      gate = createGate(OPTIONS);
      gate.install();
      assert.equal(gate.isProtected(), true);
      assert.equal(sh("nft list tables"), "table netdev understudy-gate\n", "and no bar is left");
    }
  });
  assert.equal(leaked, 0);
});

test("a plain gate is adopted as it is, lease and all, and owned from the next install on", owned, () => {
  gate.remove();
  gate.close();
  const plain = createGate({ ...OPTIONS, plain: true });
  plain.install();
  plain.open("solo");
  plain.close();
  gate = createGate(OPTIONS);
  assert.deepEqual(gate.adopt(), { held: true, drained: false });
  assert.equal(gate.isProtected(), false);
  gate.install();
  assert.equal(gate.isProtected(), true);
});

test("a bar that an interrupted install left standing is taken away by the next heart", owned, () => {
  const bar = `nft 'table netdev understudy-gate-bar {
    chain out-us-lan { type filter hook egress device "us-lan" priority -500; policy drop; }
  }'`;
  sh(bar);
  gate.install();
  assert.equal(sh("nft list tables"), "table netdev understudy-gate\n");
  sh(bar);
  gate.close();
  gate = createGate(OPTIONS);
  assert.deepEqual(gate.adopt(), { held: false, drained: false });
  assert.equal(sh("nft list tables"), "table netdev understudy-gate\n");
  sh(bar);
  gate.remove();
  assert.equal(sh("nft list tables"), "");
});
