// The guard's text, and what two readings of it say. What it does with packets: test/kernel/guard.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { millis } from "../../src/base/units.ts";
import type { PathConfig } from "../../src/core/config.ts";
import {
  compileGuard,
  datagramsPerSecond,
  droppedBy,
  type GuardReading,
  judgeGuard,
} from "../../src/core/guard.ts";
import { pairConfig } from "./configFixture.ts";

const path = (name: string, device: string, local: string, remote: string): PathConfig => ({
  name,
  device,
  local,
  remote,
  heartbeat: true,
  replication: true,
});
const paths = [path("sync", "eth3", "10.255.0.1", "10.255.0.2"), path("lan", "eth0", "fd20::2", "fd20::3")];
const config = pairConfig({ paths });

/** The rules of one chain. */
const chain = (text: string, name: string): string[] =>
  new RegExp(`^ chain ${name} \\{\n([\\s\\S]*?)\n \\}`, "m")
    .exec(text)![1]!
    .split("\n")
    .map((line) => line.trim());

test("each path lets in its peer, by its device and to its address; nobody else is let in", () => {
  const text = compileGuard(config);
  assert.deepEqual(chain(text, "port"), [
    'iifname "lo" accept',
    'iifname "eth3" ip saddr 10.255.0.2 ip daddr 10.255.0.1 goto path-0',
    'iifname "eth0" ip6 saddr fd20::3 ip6 daddr fd20::2 goto path-1',
    "ip saddr { 10.255.0.2 } goto wrong-interface",
    "ip6 saddr { fd20::3 } goto wrong-interface",
    "goto foreign-source",
  ]);
  assert.deepEqual(chain(text, "path-1"), [
    'ip6 hoplimit != 255 tcp flags & syn != syn counter name "stray-segment" drop',
    "ip6 hoplimit != 255 goto wrong-hop-limit",
    'meta l4proto udp limit rate over 2000/second burst 200 packets counter name "flood-1" drop',
    'tcp flags & (syn | ack) == syn limit rate over 100/second burst 200 packets counter name "flood-1" drop',
    "accept",
  ]);
  assert.deepEqual(chain(text, "arriving"), [
    "type filter hook input priority -400; policy accept;",
    "meta l4proto { tcp, udp } th dport 1148 goto port",
  ]);
});

test("what leaves for the peer leaves with a hop limit of 255, requests and answers", () => {
  assert.deepEqual(chain(compileGuard(config), "leaving").slice(1), [
    'oifname "eth3" ip daddr 10.255.0.2 meta l4proto { tcp, udp } th dport 1148 ip ttl set 255',
    'oifname "eth3" ip daddr 10.255.0.2 meta l4proto { tcp, udp } th sport 1148 ip ttl set 255',
    'oifname "eth0" ip6 daddr fd20::3 meta l4proto { tcp, udp } th dport 1148 ip6 hoplimit set 255',
    'oifname "eth0" ip6 daddr fd20::3 meta l4proto { tcp, udp } th sport 1148 ip6 hoplimit set 255',
  ]);
});

test("quicker heartbeats have more room", () => {
  assert.equal(datagramsPerSecond(config), 2000);
  const quick = pairConfig({ timers: { ...config.timers, heartbeatMs: millis(2) } });
  assert.equal(datagramsPerSecond(quick), 4000);
});

const reading = (counters: Record<string, number>, offenders: GuardReading["offenders"] = []) => ({
  counters,
  offenders,
});

test("news are what came between two readings, with who it was", () => {
  const before = reading({ "foreign-source": 7, "wrong-hop-limit": 3, "flood-0": 0, "flood-1": 5 });
  const nothing = { foreign: null, flood: null, surplus: [] };
  assert.deepEqual(judgeGuard(null, before, paths), nothing, "what an earlier daemon saw");
  assert.deepEqual(judgeGuard(before, before, paths), nothing);
  const offenders = [
    { reason: "foreign-source", source: "10.20.0.66", device: "eth0" },
    { reason: "wrong-hop-limit", source: "10.255.0.2", device: "eth3" },
  ] as const;
  assert.deepEqual(
    judgeGuard(before, reading({ ...before.counters, "foreign-source": 8 }, offenders), paths),
    {
      foreign: "10.20.0.66 on eth0 (foreign-source)",
      flood: null,
      surplus: [],
    },
  );
});

test("a flood lasts, or is more than a queue can have held; a backlog is neither", () => {
  const at = (packets: number) => reading({ "flood-0": 0, "flood-1": packets });
  const once = judgeGuard(at(5), at(300), paths);
  assert.deepEqual([once.flood, once.surplus], [null, ["lan"]], "a cable was plugged in again");
  assert.deepEqual(judgeGuard(at(300), at(300), paths, once.surplus), {
    foreign: null,
    flood: null,
    surplus: [],
  });
  assert.equal(judgeGuard(at(300), at(301), paths, once.surplus).flood, "path lan", "and it goes on");
  assert.equal(judgeGuard(at(5), at(2006), paths).flood, "path lan", "more than any queue");
});

test("a table that was replaced counts from nothing; stray segments are no news", () => {
  const before = reading({ "foreign-source": 7, "stray-segment": 1 });
  assert.equal(judgeGuard(before, reading({ "foreign-source": 0, "stray-segment": 9 }), paths).foreign, null);
  assert.equal(judgeGuard(before, reading({ "foreign-source": 2 }), paths).foreign, "foreign-source");
});

test("many offenders are not all named", () => {
  const offenders = Array.from({ length: 9 }, (_, index) => ({
    reason: "foreign-source" as const,
    source: `10.20.0.${index}`,
    device: "eth0",
  }));
  const { foreign } = judgeGuard(reading({}), reading({ "foreign-source": 9 }, offenders), paths);
  assert.match(foreign ?? "", /^10\.20\.0\.0 on eth0 .* and 6 more$/);
});

test("dropped, by reason: floods of all paths together", () => {
  assert.deepEqual(droppedBy(reading({ "foreign-source": 7, "flood-0": 2, "flood-1": 5, other: 9 })), {
    "foreign-source": 7,
    "wrong-interface": 0,
    "wrong-hop-limit": 0,
    flood: 7,
    "stray-segment": 0,
  });
});
