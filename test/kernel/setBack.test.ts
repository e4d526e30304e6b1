// A session's time on its way through a pair: what is left on the active and three refresh rounds on the standby, its
// protocol's own after a takeover. Two real kernels, the daemon's own replicator.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { inNamespace, type Namespace } from "./namespace.ts";
import { makePair, type Node } from "./replicatorWorld.ts";

/** Seconds that are left, by source port. */
function left(space: Namespace): Record<string, number> {
  const text = space.run(() =>
    execFileSync("conntrack", ["-L"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  );
  return Object.fromEntries(
    [...text.matchAll(/^\S+ +\d+ (\d+) .*? sport=(\d+) /gm)].map(([, seconds, port]) => [
      port,
      Number(seconds),
    ]),
  );
}

/** A few seconds may pass. */
const isAbout = (found: number | undefined, expected: number): boolean =>
  found !== undefined && found <= expected && found > expected - 10;

function insert(node: Node, words: string): void {
  node.sh(`conntrack -I ${words} -m 1 >/dev/null 2>&1`);
}

/** A call, a tunnel's TCP connection, and one that is closing. */
function openSome(node: Node): void {
  const ends = "-s 10.9.0.7 -d 203.0.113.7 --dport 4500";
  insert(node, `-p udp ${ends} --sport 5001 -t 50 -u SEEN_REPLY`);
  insert(node, `-p udp ${ends} --sport 5002 -t 100 -u SEEN_REPLY,ASSURED`);
  insert(node, `-p tcp ${ends} --sport 5003 -t 400000 -u SEEN_REPLY,ASSURED --state ESTABLISHED`);
  insert(node, `-p tcp ${ends} --sport 5004 -t 110 -u SEEN_REPLY,ASSURED --state FIN_WAIT`);
}

describe("a session's time", inNamespace, () => {
  test("on a standby, and after a takeover", async (t) => {
    const pair = makePair();
    t.after(() => pair.close());
    const { a, b } = pair;
    openSome(a);
    a.setRole("active", 2, "standby");
    b.setRole("standby", 0, "active");
    await b.until(({ replicator }) => replicator.report().ready, "ready");
    const standby = left(b.space);
    const expected = { 5001: 950, 5002: 1000, 5003: 400_900, 5004: 1010 };
    for (const [port, seconds] of Object.entries(expected))
      assert.ok(isAbout(standby[port], seconds), `${port}: ${standby[port]} s`);

    b.setRole("active", 3, "active");
    await b.until(({ lines }) => lines.some((line) => line.includes("were set back")), "set back");
    const active = left(b.space);
    // The TCP connection had less than its protocol's five days.
    const own = { 5001: 30, 5002: 120, 5003: 400_900, 5004: 120 };
    for (const [port, seconds] of Object.entries(own))
      assert.ok(isAbout(active[port], seconds), `${port}: ${active[port]} s`);
    assert.match(b.lines.join("\n"), /3 of 4 sessions were set back to their protocol's time/);
    const { counters } = b.replicator.state();
    assert.deepEqual(
      [counters["set-back.setBack"], counters["set-back.walks"], counters["set-back.refused"]],
      [3, 2, 0],
    );
    // It is no news for whoever follows: not one change came of it.
    assert.deepEqual(b.replicator.state().produced, { term: 3, sequence: 0 });
  });
});
