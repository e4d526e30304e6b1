// The gate as a plain table, as on kernels before 6.9: anybody with the right can flush it, so it has to be noticed. And
// adoption, which there is between two processes that can both write.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createGate, type Gate } from "../../src/kernel/gate.ts";
import { OPTIONS as OWNED, sh } from "./gateWorld.ts";
import { inNamespace } from "./namespace.ts";

const OPTIONS = { ...OWNED, plain: true };
let gate: Gate;

if (inNamespace.skip === false) {
  before(() => {
    gate = createGate(OPTIONS);
    gate.install();
    sh("ip link set us-lan up");
  });
  after(() => gate.close());
}

test("a removed or altered gate is noticed; other tables are nobody's business", inNamespace, () => {
  const harm = [
    "nft flush ruleset",
    "nft delete table netdev understudy-gate",
    "nft delete chain netdev understudy-gate in-us-lan",
    "nft flush chain netdev understudy-gate out-us-lan",
    "nft insert rule netdev understudy-gate in-us-lan accept",
    "nft flush chain netdev understudy-gate renew",
    "nft add table netdev understudy-gate '{ flags dormant; }'",
  ];
  for (const command of harm) {
    gate.install();
    assert.equal(gate.present(), true);
    sh(command);
    assert.equal(gate.present(), false, command);
  }
  gate.install();
  sh("nft add table inet somebody; nft add chain inet somebody theirs");
  assert.equal(gate.present(), true);
  sh("nft delete table inet somebody");
  assert.equal(gate.present(), true);
  assert.equal(gate.renew("short"), false, "installed anew means shut");
});

test("without its table nothing is claimed to have been done", inNamespace, () => {
  sh("nft flush ruleset");
  assert.equal(gate.open("short"), false);
  assert.equal(gate.renew("short"), false);
  assert.equal(gate.shut(), false);
  gate.install();
  assert.equal(gate.shut(), true);
});

test(
  "a new heart adopts what it finds: lease and draining stay, the old heart's marks are void",
  inNamespace,
  () => {
    gate.install();
    gate.open("solo");
    gate.drain();
    const next = createGate(OPTIONS);
    assert.deepEqual(next.adopt(), { held: true, drained: true });
    assert.equal(gate.open("solo"), false);
    assert.equal(gate.renew("solo"), false);
    assert.equal(next.renew("solo"), true);
    assert.equal(next.present(), true);
    assert.equal(gate.present(), false);
    next.shut();
    next.close();
    assert.deepEqual(gate.adopt(), { held: false, drained: false });
    sh("nft delete table netdev understudy-gate");
    assert.equal(gate.adopt(), null, "nothing there");
    gate.install();
    const other = createGate({ ...OPTIONS, services: [{ device: "us-lan", portMac: "02:00:00:00:00:cc" }] });
    assert.equal(other.adopt(), null, "another port's MAC: another gate");
    other.close();
  },
);
