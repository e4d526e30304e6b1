// Who else is on the replication segment: heard by their ARP, told apart from the peer by their MAC.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ThirdParties } from "../../src/daemon/thirdParties.ts";

/** An ARP request of `mac` for anybody. */
function arp(mac: number, address: readonly number[]): Uint8Array {
  const frame = new Uint8Array(42);
  frame.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, mac, 0x08, 0x06]);
  frame.set(address, 28);
  return frame;
}

test("third parties: named once the peer's MAC is known, and forgotten when they were named", () => {
  const parties = new ThirdParties("eth3");
  parties.hear(arp(2, [10, 255, 0, 2]));
  parties.hear(arp(9, [10, 255, 0, 9]));
  assert.equal(parties.judge(null), null, "who is who is not known yet");
  assert.equal(parties.judge("02:00:00:00:00:02"), "02:00:00:00:00:09 (10.255.0.9) on eth3");
  assert.equal(parties.judge("02:00:00:00:00:02"), null);
  for (let mac = 0; mac < 200; mac += 1) parties.hear(arp(mac, [10, 255, 0, mac]));
  assert.match(parties.judge("02:00:00:00:00:02") ?? "", / and 60 more on eth3$/);
});
