// What lies between two configurations: in words, and in what it takes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { linkId, millis } from "../../src/base/units.ts";
import type { Config, LinkConfig, PathConfig } from "../../src/core/config.ts";
import { originOf, planEffect, whileLeaving, withoutLinks, withPathsOf } from "../../src/core/configPlan.ts";
import { interfaceAddress, pairConfig } from "./configFixture.ts";

const path = (name: string, local: string, change: Partial<PathConfig> = {}): PathConfig => ({
  name,
  device: name,
  local,
  remote: `${local}9`,
  heartbeat: true,
  replication: true,
  ...change,
});
const now = pairConfig({ digest: "a", paths: [path("sync", "10.255.0.1")], peerKeys: ["ed25519:x"] });
const [one, two] = now.links as [LinkConfig, LinkConfig];
const next = (part: Partial<Config>): Config => ({ ...now, digest: "b", ...part });
const changed = (link: LinkConfig, part: Partial<LinkConfig>): LinkConfig => ({ ...link, ...part });
const served = (link: LinkConfig, part: Partial<LinkConfig["service"]>): LinkConfig => ({
  ...link,
  service: { ...link.service, ...part },
});
const three: LinkConfig = {
  ...served(two, { id: 3, device: "us-l3", port: "wan3", name: "link3" }),
  id: linkId(3),
  name: "link3",
};

test("the same: nothing to do, not even for another digest's sake", () => {
  const plan = planEffect(now, { ...now });
  assert.deepEqual([plan.kind, plan.changes, plan.renewsLog, plan.ends], ["nothing", [], false, []]);
});

test("each change has its sentence, and only what concerns the log renews it", () => {
  const cases: readonly (readonly [Config, readonly string[], boolean])[] = [
    [next({ links: [changed(one, { weight: 7 }), two] }), ["link link1: weight 7, was 3"], false],
    [
      next({ links: [one, changed(two, { enabled: false })] }),
      ["link link2: disabled; the sessions on it go on"],
      false,
    ],
    [next({ links: [one, two, three] }), ["link link3 (3) added"], false],
    [next({ links: [two] }), ["link link1 (1) removed: its sessions end"], false],
    [next({ links: [changed(one, { name: "fibre" }), two] }), ["link fibre: was called link1"], false],
    [
      next({ links: [changed(one, { capacity: { up: 1e6 } }), two] }),
      ["link link1: capacity up 1000000 bit/s, was unknown"],
      false,
    ],
    [
      next({ links: [changed(one, { gateway: { v4: "198.51.100.7", v6: "2001:db8:1::1" } }), two] }),
      ["link link1: gateway 198.51.100.1 removed", "link link1: gateway 198.51.100.7 added"],
      false,
    ],
    [
      next({ links: [served(one, { addresses: [...one.service.addresses].reverse() }), two] }),
      ["link link1: address order 2001:db8:1::2/64, 198.51.100.2/24"],
      false,
    ],
    [
      next({ lan: { ...now.lan, routes: [] } }),
      ["the LAN: route 10.30.0.0/16 via 10.20.0.254 removed"],
      false,
    ],
    [next({ timers: { ...now.timers, leaseMs: millis(30) } }), ["timers: lease 30ms, was 40ms"], false],
    [next({ priority: { a: 100, b: 60 } }), ["node b: priority 60, was 50"], false],
    [next({ placementSeed: 1 }), ["placement: seed 1, was 12345"], false],
    [next({ ownKeys: ["ed25519:z"] }), ["this node's keys: ed25519:z added"], false],
    [next({ peerKeys: ["ed25519:x", "ed25519:y"] }), ["the other node's keys: ed25519:y added"], true],
    [
      next({ paths: [path("sync", "10.255.0.1", { heartbeat: false })] }),
      [
        "path sync: 10.255.0.1 to 10.255.0.19 on sync (heartbeat, replication) removed",
        "path sync: 10.255.0.1 to 10.255.0.19 on sync (replication) added",
      ],
      true,
    ],
    [
      next({ paths: [...now.paths, path("lan", "10.20.0.2", { replication: false })] }),
      ["path lan: 10.20.0.2 to 10.20.0.29 on lan (heartbeat) added"],
      false,
    ],
    // A key that this file has never heard of: named, and to be on the safe side.
    [next({ novelty: 1 } as Partial<Config>), ["novelty changed"], true],
  ];
  for (const [config, words, renewsLog] of cases) {
    const plan = planEffect(now, config);
    assert.deepEqual([plan.kind, plan.changes, plan.renewsLog], ["live", words, renewsLog]);
  }
});

test("another pair, node or directory is no change of this one", () => {
  for (const part of [
    { pair: "home" },
    { node: "b" },
    { stateDirectory: "/else" },
    { keyFile: "/k" },
  ] as const) {
    const plan = planEffect(now, next(part));
    assert.equal(plan.kind, "refused");
    assert.equal(plan.refusals.length, 1);
  }
});

test("sessions end with their link, and with the address that they are translated to; otherwise they go on", () => {
  const ends = (config: Config) => planEffect(now, config).ends.map(({ link, keeps }) => [link.id, keeps]);
  assert.deepEqual(ends(next({ links: [two] })), [[1, []]]);
  assert.deepEqual(ends(next({ links: [changed(one, { enabled: false, weight: 0 }), two] })), []);
  const moved = served(one, { addresses: [interfaceAddress("198.51.100.3/24"), one.service.addresses[1]!] });
  assert.deepEqual(ends(next({ links: [moved, two] })), [[1, ["198.51.100.3", "2001:db8:1::2"]]]);
  const more = served(one, { addresses: [interfaceAddress("198.51.100.3/24"), ...one.service.addresses] });
  assert.deepEqual(ends(next({ links: [more, two] })), []);
});

test("a link on another port is made anew, and so is the LAN", () => {
  const plan = planEffect(now, next({ links: [served(one, { port: "wan9" }), two] }));
  assert.deepEqual([plan.moved.map(({ id }) => id), plan.removed, plan.movesLan], [[1], [], false]);
  const lan = { ...now.lan, service: { ...now.lan.service, port: "lan9" } };
  assert.equal(planEffect(now, next({ lan })).movesLan, true);
});

test("what is in force while links leave: those that stay, by their new weights; nothing where none of them takes any", () => {
  const to = next({ links: [changed(two, { weight: 9 }), three], placementSeed: 5 });
  const staying = whileLeaving(now, to)!;
  assert.deepEqual(
    staying.links.map(({ id, weight }) => [id, weight]),
    [[2, 9]],
  );
  assert.equal(staying.placementSeed, now.placementSeed);
  assert.equal(whileLeaving(now, next({ links: [three] })), null);
  assert.equal(whileLeaving(now, next({ links: [changed(two, { weight: 0 }), three] })), null);
  assert.deepEqual(withoutLinks(now, [1]).links, [two]);
});

test("paths of before stay beside those of now, but not two at one end", () => {
  const lan = path("lan", "10.20.0.2");
  assert.deepEqual(withPathsOf(now, next({ paths: [lan] })).paths, [lan, now.paths[0]]);
  const same = path("sync", "10.255.0.1", { remote: "10.255.0.7" });
  const alone = next({ paths: [same] });
  assert.equal(withPathsOf(now, alone), alone);
});

test("where each segment was before", () => {
  const to = next({ links: [served(one, { port: "wan9" }), three, two].sort((x, y) => x.id - y.id) });
  assert.deepEqual(originOf(now, to), [0, -1, 2, -1]);
});
