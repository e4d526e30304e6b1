// What this machine is: held against what the system itself says, by other ways.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readMachine } from "../../src/kernel/machine.ts";

const said = (...command: readonly [string, ...string[]]): string =>
  execFileSync(command[0], command.slice(1), { encoding: "utf8" }).trim();

test("kernel, processors, the size of the table, the moment of the boot", () => {
  const machine = readMachine();
  assert.deepEqual([machine.kernel, machine.machine], [said("uname", "-r"), said("uname", "-m")]);
  assert.equal(machine.processors, Number(said("nproc")));
  const proc = (name: string): number => {
    try {
      return Number(readFileSync(`/proc/sys/net/netfilter/${name}`, "utf8"));
    } catch {
      // A kernel whose connection tracking is not loaded yet.
      return 0;
    }
  };
  assert.equal(machine.conntrackMax, proc("nf_conntrack_max"));
  assert.equal(machine.conntrackBuckets, proc("nf_conntrack_buckets"));
  const [uptime] = readFileSync("/proc/uptime", "utf8").split(" ");
  assert.ok(Math.abs(Date.now() - Number(uptime) * 1000 - machine.bootedAt) < 5000);
});
