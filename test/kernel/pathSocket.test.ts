// A heartbeat socket under a flood: how much of it one turn takes. Real heartbeats that waited are taken whole.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { HEART_REFUSED_PER_TURN_MAX } from "../../src/base/limits.ts";
import { openPathSocket } from "../../src/kernel/pathSocket.ts";
import { inNamespace } from "./namespace.ts";

/** Received at once with one system call: the bound is looked at between two of them. */
const BATCH = 32;

test("refused datagrams are taken in portions, others whole; who sent them is told", inNamespace, () => {
  execFileSync("ip", ["address", "add", "127.0.0.2/8", "dev", "lo"]);
  const ends = { device: "lo", local: "127.0.0.1", remote: "127.0.0.2" };
  const receiver = openPathSocket({ name: "here", ...ends });
  const peer = openPathSocket({ name: "there", ...ends, local: ends.remote, remote: ends.local });
  const datagrams = 200;
  const take = (useful: boolean): number => {
    let taken = 0;
    receiver.drain((datagram, fromPeer) => {
      assert.deepEqual([datagram.length, fromPeer], [3, true]);
      taken += 1;
      return useful;
    });
    return taken;
  };
  const flood = (): void => {
    for (let sent = 0; sent < datagrams; sent += 1) assert.equal(peer.send(Uint8Array.of(1, 2, 3)), true);
  };

  flood();
  assert.equal(take(true), datagrams);

  flood();
  const portions: number[] = [];
  for (let taken = take(false); taken > 0; taken = take(false)) portions.push(taken);
  assert.equal(
    portions.reduce((sum, portion) => sum + portion, 0),
    datagrams,
  );
  assert.ok(Math.max(...portions) < HEART_REFUSED_PER_TURN_MAX + BATCH, portions.join(" "));
  receiver.close();
  peer.close();
});
