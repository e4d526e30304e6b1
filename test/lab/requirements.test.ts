// What is said where the machine cannot hold a laboratory: what is missing, and who may do something about it.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { missingConntrackRoom, missingDescriptors, missingPrograms } from "../../src/lab/requirements.ts";

suite("requirements", () => {
  test("programs that are not installed are named with their Debian packages", () => {
    const [missing] = missingPrograms("/nonexistent");
    assert.match(missing!.what, /nft, ip, bridge, tc, conntrack, nsenter, unshare/);
    assert.match(missing!.advice, /apt-get install nftables iproute2 conntrack util-linux/);
  });

  test("a table that is too small is told with the setting that would make it larger, and for how many", () => {
    const missing = missingConntrackRoom(1e12);
    // Where connection tracking is not loaded, there is nothing to read yet.
    if (missing === null) return;
    assert.match(missing.what, /1000000000000 sessions were asked for, \d+ fit/);
    assert.match(missing.advice, /sysctl -w net.netfilter.nf_conntrack_max=\d+/);
    assert.equal(missingConntrackRoom(0), null);
  });

  test("so is a limit of open files", () => {
    assert.equal(missingDescriptors(10), null);
    assert.match(missingDescriptors(1e12)?.advice ?? "ulimit", /ulimit/);
  });
});
