// Addresses of a port as heart hears of them: those that are there, those that come and go later, nobody else's.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { formatAddress } from "../../src/base/addresses.ts";
import { openAddressMonitor } from "../../src/kernel/addressMonitor.ts";
import { inNamespace } from "./namespace.ts";

const ip = (...words: string[]): void => void execFileSync("ip", words);

test("what a device has, what comes and what goes; other devices are not watched", inNamespace, () => {
  ip("link", "add", "port", "type", "veth", "peer", "name", "other");
  ip("address", "add", "192.0.2.1/24", "dev", "port");
  const monitor = openAddressMonitor(["port"]);
  const addresses = (): string[] => monitor.of("port").map(formatAddress);
  assert.ok(monitor.drain());
  assert.deepEqual(addresses(), ["192.0.2.1"]);
  assert.ok(!monitor.drain());

  ip("address", "add", "2001:db8::1/64", "dev", "port", "nodad");
  ip("address", "add", "192.0.2.9/24", "dev", "other");
  assert.ok(monitor.drain());
  assert.deepEqual(addresses(), ["192.0.2.1", "2001:db8::1"]);

  ip("address", "delete", "192.0.2.1/24", "dev", "port");
  assert.ok(monitor.drain());
  assert.deepEqual(addresses(), ["2001:db8::1"]);
  ip("address", "delete", "192.0.2.9/24", "dev", "other");
  assert.ok(!monitor.drain());
  assert.deepEqual(monitor.of("nobody"), []);
  monitor.close();
});

test("messages that were lost are asked for again", inNamespace, () => {
  ip("link", "add", "many", "type", "veth", "peer", "name", "end");
  const monitor = openAddressMonitor(["many"]);
  monitor.drain();
  const count = 6_000;
  const lines = (verb: string, from: number, to: number): string =>
    Array.from({ length: to - from }, (_, index) => {
      const host = from + index;
      return `address ${verb} 10.${host >> 16}.${(host >> 8) & 255}.${host & 255}/32 dev many`;
    }).join("\n");
  execFileSync("ip", ["-batch", "-"], { input: lines("add", 1, count) });
  execFileSync("ip", ["-batch", "-"], { input: lines("delete", 1, count - 1) });
  for (let turn = 0; turn < 3; turn += 1) monitor.drain();
  assert.deepEqual(monitor.of("many").map(formatAddress), [`10.0.${(count - 1) >> 8}.${(count - 1) & 255}`]);
  monitor.close();
});
