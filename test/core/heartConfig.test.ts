// What heart takes from the daemon: everything that it goes by is looked at, whatever else may be in it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config } from "../../src/core/config.ts";
import { readHeartConfig } from "../../src/core/heartConfig.ts";
import { pairConfig } from "./configFixture.ts";

const config: Config = pairConfig({
  digest: "ab".repeat(32),
  peerKeys: [`ed25519:${"A".repeat(43)}=`],
  paths: [
    {
      name: "sync",
      device: "sync",
      local: "10.255.0.1",
      remote: "10.255.0.2",
      heartbeat: true,
      replication: true,
    },
  ],
});

/** As it comes over the socket, with `value` at `at`. */
function altered(at: string, value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(config)) as Record<string, unknown>;
  const keys = at.split(".");
  const last = keys.pop()!;
  const group = keys.reduce((holder, key) => holder[key] as Record<string, unknown>, copy);
  if (value === undefined) delete group[last];
  else group[last] = value;
  return copy;
}

test("a configuration that was sent as JSON is the same behind it", () => {
  const read = readHeartConfig(altered("extra", 1), config);
  assert.deepEqual(read, { ok: true, config: { ...config, extra: 1 } });
});

test("each value that heart goes by is refused by its place where it is not as it should be", () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ["digest", "ab"],
    ["priority.b", 1000],
    ["lan.service.device", "us-l1"],
    ["lan.service.port", "a name that is too long"],
    ["lan.service.virtualMac", "02:00"],
    ["lan.service.addresses", []],
    ["lan.service.addresses.0.address", "10.20.0.300"],
    ["lan.service.addresses.0.family", 6],
    ["lan.service.addresses.0.prefixLength", 33],
    ["lan.service.witnesses", ["router"]],
    ["lan.service.singleMac", "no"],
    ["links.0.service.id", 2],
    ["links.1.id", 1],
    ["links.1.service.device", "eth0"],
    ["links.0.enabled", undefined],
    ["paths", []],
    ["paths.0.local", "fd00::1"],
    ["paths.0.device", ""],
    ["paths.0.heartbeat", 1],
    ["timers.heartbeatMs", 20],
    ["timers.leaseMs", 50],
    ["timers.soloLeaseMs", 1],
    ["peerKeys", []],
    ["peerKeys.0", "rsa:AAAA"],
    ["node", "c"],
  ];
  for (const [at, value] of cases) {
    const read = readHeartConfig(altered(at, value), null);
    assert.equal(read.ok, false, at);
    assert.ok(!read.ok && read.reason.startsWith(at.split(".")[0]!), `${at}: ${!read.ok && read.reason}`);
  }
  for (const value of [null, [], "text", 7]) assert.equal(readHeartConfig(value, null).ok, false);
});

test("a heart is that of one pair, one node, one key, for its life", () => {
  for (const key of ["pair", "node", "keyFile", "stateDirectory", "runtimeDirectory"]) {
    const value = altered(key, key === "node" ? "b" : "/other");
    assert.equal(readHeartConfig(value, null).ok, true, key);
    const read = readHeartConfig(value, config);
    assert.ok(!read.ok && read.reason.startsWith(`${key}: expected`), key);
  }
});
