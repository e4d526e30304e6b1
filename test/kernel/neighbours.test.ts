// Neighbours on a real kernel, read as `ip neighbour` shows them.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  installNeighbours,
  listNeighbours,
  openNeighbourMonitor,
  removeNeighbours,
} from "../../src/kernel/neighbours.ts";
import { putOn, sh } from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";

test("neighbours: installed as STALE, listed, watched, removed", inNamespace, () => {
  putOn();
  const monitor = openNeighbourMonitor(["us-lan"]);
  const seen: string[] = [];
  const drain = (): boolean =>
    monitor.drain((change) => seen.push(`${change.device} ${change.address} ${change.mac}`));
  const neighbour = { device: "us-lan", address: "10.20.7.7", mac: "02:00:00:00:07:07" };
  assert.equal(installNeighbours([neighbour, { ...neighbour, device: "nowhere" }]), 1);
  assert.match(sh("ip neighbour show dev us-lan"), /10\.20\.7\.7 lladdr 02:00:00:00:07:07 STALE/);
  assert.ok(
    listNeighbours(["us-lan", "nowhere"]).some(
      (one) => one.address === "10.20.7.7" && one.mac === neighbour.mac,
    ),
  );
  assert.equal(
    listNeighbours(["us-l1"]).some((one) => one.address === "10.20.7.7"),
    false,
  );
  assert.equal(removeNeighbours([neighbour]), 1);
  assert.equal(removeNeighbours([neighbour]), 0);
  assert.equal(drain(), true);
  assert.equal(seen[0], "us-lan 10.20.7.7 02:00:00:00:07:07");
  assert.equal(seen.at(-1), "us-lan 10.20.7.7 ");
  monitor.close();
});
