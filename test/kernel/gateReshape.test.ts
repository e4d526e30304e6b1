// The gate goes on with other interfaces and other lengths of leases while it is held: nothing is let go, nothing is let
// through, and what is in the kernel afterwards is what a fresh install would have put there.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createGate, type Gate } from "../../src/kernel/gate.ts";
import type { GateService } from "../../src/kernel/gateTable.ts";
import { ETH_P_ALL_FRAMES, openTap, type Tap } from "./frames.ts";
import { OPTIONS, PORT_MAC, seenFromService, serviceFrame, sh, untilLapsed } from "./gateWorld.ts";
import { inNamespace } from "./namespace.ts";

const LAN: GateService = { device: "us-lan", portMac: PORT_MAC };
const LINK: GateService = { device: "us-l1", portMac: "02:00:00:00:01:aa" };
/** Longer than a busy machine keeps a test waiting: what ends here is ended by us. */
const TIMES = { leaseMs: 2000, soloLeaseMs: 10_000 };

let gate: Gate;
let far: Tap;

if (inNamespace.skip === false) {
  before(() => {
    sh(`ip link add wan1 type veth peer name far
      sysctl -qw net.ipv6.conf.far.disable_ipv6=1 net.ipv6.conf.wan1.disable_ipv6=1
      ip link set wan1 up; ip link set far up
      ip link add us-l1 link wan1 address 02:00:00:00:01:01 type macvlan mode bridge
      sysctl -qw net.ipv6.conf.us-l1.disable_ipv6=1`);
    far = openTap("far", ETH_P_ALL_FRAMES);
    gate = createGate({ ...OPTIONS, ...TIMES });
    gate.install();
    sh("ip link set us-lan up");
  });
  after(() => {
    gate.close();
    far.close();
  });
}

/** Whether a frame from the link's interface reaches the cable's other end. */
function leavesByLink(): boolean {
  const link = openTap("us-l1", 0);
  far.drain(() => {});
  link.send(serviceFrame());
  link.close();
  let seen = false;
  far.drain((frame) => {
    if (frame[12] === 0x88 && frame[13] === 0xb6) seen = true;
  });
  return seen;
}

/** Renews in every turn of the event loop until `change` has settled; how often. */
async function renewWhile(change: Promise<void>): Promise<number> {
  let [settled, renewed] = [false, 0];
  const done = change.finally(() => {
    settled = true;
  });
  while (!settled) {
    assert.equal(gate.renew("short"), true, "refused while the gate was changed");
    assert.equal(gate.present(), true, "taken for gone while it was changed");
    renewed += 1;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await done;
  return renewed;
}

/** The table as nft shows it, without what is held and what is drawn anew for each gate. */
const table = (): string =>
  sh("nft -s list table netdev understudy-gate")
    .replaceAll(/^\t\telements = .*\n/gm, "")
    .replaceAll(/0x[0-9a-f]{8}\b/g, "MARK")
    .replaceAll(/0x[0-9a-f]{12}\b/g, "MAC")
    .replaceAll(/\{ (MARK(, )?)+ \}/g, "MARKS");

/** The same, each chain on its own: their order is that of their making. */
const chains = (): string[] =>
  table()
    .split(/\n\n|(?<=\n\t\})\n/)
    .map((part) => part.trim())
    .sort();

test("a link comes: held throughout, and behind the gate before it is up", inNamespace, async () => {
  assert.equal(gate.open("short"), true);
  assert.ok((await renewWhile(gate.reshape([LAN, LINK], TIMES))) > 0);
  assert.equal(gate.present(), true);
  sh("ip link set us-l1 up");
  gate.open("solo");
  assert.equal(leavesByLink(), true);
  gate.shut();
  assert.equal(leavesByLink(), false);
  assert.equal(gate.renew("solo"), false, "and shut is shut");
});

test(
  "what was reshaped is what an install would have made, and the next heart adopts it",
  inNamespace,
  async () => {
    const grown = chains();
    gate.install();
    assert.deepEqual(grown, chains());
    await gate.reshape([LAN], TIMES);
    await gate.reshape([LAN, LINK], TIMES);
    gate.open("solo");
    gate.close();
    gate = createGate({ services: [LAN, LINK], ...TIMES });
    assert.deepEqual(gate.adopt(), { held: true, drained: false });
    assert.equal(gate.renew("short"), true);
  },
);

test(
  "other lengths of leases: what was held goes on, and lasts as long as it is told from then on",
  inNamespace,
  async () => {
    gate.open("short");
    await renewWhile(gate.reshape([LAN, LINK], { leaseMs: 300, soloLeaseMs: 20_000 }));
    assert.equal(gate.renew("short"), true);
    const from = performance.now();
    untilLapsed(gate);
    const lasted = performance.now() - from;
    assert.ok(lasted > 80 && lasted < 1500, `${lasted} ms`);
    await gate.reshape([LAN, LINK], TIMES);
  },
);

test("drained stays drained, shut stays shut, another port's MAC is taken over", inNamespace, async () => {
  gate.open("solo");
  gate.drain();
  const other = { ...LAN, portMac: "02:00:00:00:00:ac" };
  await gate.reshape([other, LINK], TIMES);
  assert.deepEqual(seenFromService(), [other.portMac]);
  gate.shut();
  await gate.reshape([LAN, LINK], TIMES);
  assert.deepEqual(seenFromService(), []);
  assert.equal(gate.renew("solo"), false);
});

test("a link goes: the others' chains are not touched", inNamespace, async () => {
  sh("ip link set us-l1 down");
  gate.open("short");
  await renewWhile(gate.reshape([LAN], TIMES));
  assert.equal(gate.present(), true);
  assert.doesNotMatch(table(), /us-l1/);
  gate.shut();
});

test("an interface that is not there: refused, and everything is as it was", inNamespace, async () => {
  const before = table();
  gate.open("short");
  await assert.rejects(
    gate.reshape([LAN, { device: "us-l9", portMac: PORT_MAC }], { leaseMs: 80, soloLeaseMs: 10_000 }),
    { name: "BoundaryError", operation: /change the gate/ },
  );
  assert.equal(table(), before);
  assert.equal(gate.present(), true);
  assert.equal(gate.open("short") && gate.renew("short"), true);
  await gate.reshape([LAN, LINK], TIMES);
});

test(
  "what was changed and is not whole is refused: the gate that is put back is the one of before",
  inNamespace,
  async () => {
    const before = chains();
    sh("ip link set us-l1 down; ip link set lo down");
    await assert.rejects(gate.reshape([LAN], { leaseMs: 5000, soloLeaseMs: 20_000 }), {
      code: "GATE_SILENT",
    });
    sh("ip link set lo up");
    assert.equal(gate.present(), false);
    gate.install();
    assert.equal(gate.present(), true);
    assert.deepEqual(chains(), before);
  },
);

test("a table that somebody removed is not reshaped into half a one", inNamespace, async () => {
  const plain = createGate({ ...OPTIONS, plain: true });
  gate.remove();
  gate.close();
  plain.install();
  sh("nft delete table netdev understudy-gate");
  assert.equal(plain.present(), false);
  await assert.rejects(plain.reshape([LAN, LINK], TIMES));
  assert.equal(sh("nft list tables netdev"), "");
  plain.close();
  gate = createGate(OPTIONS);
});
