// The laboratory's network as text for `ip`: who hangs on which switch, and who has which address.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { describeTopology, insideBatch, namespaceNames, switchBatch } from "../../src/lab/topology.ts";

suite("topology", () => {
  const topology = describeTopology(2);
  const pids = new Map(namespaceNames(topology).map((name, index) => [name, 1000 + index]));

  test("one namespace each, the switch first", () => {
    assert.deepEqual(namespaceNames(topology), ["switch", "internet", "isp1", "isp2", "a", "b", "h1", "h2"]);
  });

  test("every cable has its far end inside its owner's namespace", () => {
    const text = switchBatch(topology, pids);
    assert.ok(
      text.includes("link add a-wan2 type veth peer name wan2 netns 1004\nlink set a-wan2 master br-wan2 up"),
    );
    assert.ok(text.includes("link add h2 type veth peer name eth0 netns 1007\nlink set h2 master br-lan up"));
    assert.equal(text.match(/type bridge stp_state 0/g)?.length, 4);
  });

  test("a node has no address of its own towards its providers", () => {
    assert.deepEqual(insideBatch(topology, "b", pids).split("\n"), [
      "link set lo up",
      "addr add 10.20.0.3/16 dev lan",
      "addr add fd20::3/64 dev lan nodad",
      "addr add 10.255.0.2/24 dev sync",
      "link set lan up",
      "link set wan1 up",
      "link set wan2 up",
      "link set sync up",
      "",
    ]);
  });

  test("device names fit the kernel's 15 bytes, with 100 hosts too", () => {
    const text = switchBatch(describeTopology(100), pids);
    for (const [, name = ""] of text.matchAll(/(?:link add|peer name) (\S+)/g))
      assert.ok(name.length <= 15, name);
  });
});
