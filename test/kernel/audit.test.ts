// The audit between two real kernels: what somebody does to the standby's table by hand is found, told by kind and put right,
// and sessions that come, go and change meanwhile are no difference. Each node has a namespace of its own, heart is
// played by the test.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { AuditPass, AuditState } from "../../src/wire/controlAudit.ts";
import { inNamespace } from "./namespace.ts";
import { makePair, type Node, type Pair, Traffic } from "./replicatorWorld.ts";
import { table } from "./sessionWorld.ts";

/** Quick, and unbounded in what it takes: how much that is, is measured elsewhere. */
const QUICK = { cpuShare: 1, burst: 1, intervalMs: 50, delayMs: 20, retryMs: 50, settleMs: 20 };

const auditOf = (node: Node): AuditState => node.replicator.state().audit!;
const whole = ({ missing, extra, wrong, repaired }: AuditPass) => ({ missing, extra, wrong, repaired });

/** a active in term 2 with `sessions` of them, b its synchronised standby. */
async function follow(
  t: TestContext,
  sessions: number,
  tuning: Parameters<typeof makePair>[1] = {},
): Promise<Pair & { active: Traffic; byHand: Traffic }> {
  const pair = makePair({}, { audit: QUICK, ...tuning });
  const [active, byHand] = [new Traffic(pair.a), new Traffic(pair.b)];
  t.after(async () => {
    active.close();
    byHand.close();
    await pair.close();
  });
  active.open(0, sessions);
  pair.a.setRole("active", 2, "standby");
  pair.b.setRole("standby", 0, "active");
  await pair.b.until(({ replicator }) => replicator.report().ready, "ready");
  return { ...pair, active, byHand };
}

/** Waits for a pass that was begun from now on. */
async function nextPass({ a }: Pair): Promise<AuditPass> {
  // The one under way may have read its table before.
  const before = auditOf(a).totals.passes;
  await a.until((node) => auditOf(node).totals.passes >= before + 2, "another two passes");
  return auditOf(a).pass!;
}

describe("the audit between two kernels", inNamespace, () => {
  test("two tables that are equal: every session is compared, nothing is found", async (t) => {
    const pair = await follow(t, 5000);
    const pass = await nextPass(pair);
    assert.deepEqual(whole(pass), { missing: 0, extra: 0, wrong: 0, repaired: 0 });
    assert.equal(pass.sessions, 5000);
    await pair.b.until((node) => auditOf(node).pass !== null, "the standby is told");
    const { passAgeMs, provenAgeMs } = auditOf(pair.b);
    assert.ok(passAgeMs !== null && provenAgeMs !== null && provenAgeMs >= passAgeMs);
    assert.equal(pair.a.replicator.state().counters["sender.dirtyAsked"], 0);
  });

  test("1,000 deleted, 1,000 alien ones, 100 with another mark: found, told by kind, and put right", async (t) => {
    const pair = await follow(t, 6000);
    await nextPass(pair);
    const before = table(pair.a.space);
    // In one turn of the event loop: no pass sees half of it.
    pair.byHand.end(3000, 1000);
    pair.byHand.open(100_000, 1000);
    for (let id = 5000; id < 5100; id += 1)
      pair.b.sh(`conntrack -U -p udp -s 10.0.${id >> 8}.${id & 255} --mark 2 >/dev/null 2>&1`);
    const { totals } = auditOf(pair.a);
    assert.deepEqual(totals.missing + totals.extra + totals.wrong, 0);
    await pair.a.until((node) => auditOf(node).totals.repaired > 0, "repaired");
    const found = auditOf(pair.a).passes.find(({ repaired }) => repaired > 0)!;
    assert.deepEqual(whole(found), { missing: 1000, extra: 1000, wrong: 100, repaired: 2100 });
    await pair.b.until((node) => auditOf(node).totals.repaired === 2100, "the standby is told");
    assert.ok(pair.a.lines.some((line) => line.includes("1000 missing, 1000 extra, 100 wrong")));
    await pair.b.until(({ replicator }) => replicator.report().ready, "ready again");
    assert.deepEqual(table(pair.b.space), table(pair.a.space));
    assert.deepEqual(table(pair.a.space), before, "nothing of the active's was touched");
    assert.deepEqual(whole(await nextPass(pair)), { missing: 0, extra: 0, wrong: 0, repaired: 0 });
  });

  test("a translation that differs is found, and made anew", async (t) => {
    const pair = await follow(t, 500);
    pair.b.sh(
      "conntrack -D -p udp -s 10.0.0.7 >/dev/null 2>&1; " +
        "conntrack -I -p udp -s 10.0.0.7 -d 203.0.113.7 --sport 5000 --dport 53 --reply-src 203.0.113.7 " +
        "--reply-dst 198.51.100.99 --reply-port-src 53 --reply-port-dst 7777 -n 198.51.100.99:7777 --mark 1 --timeout 500 " +
        "-u SEEN_REPLY",
    );
    await pair.a.until((node) => auditOf(node).totals.repaired > 0, "repaired");
    assert.equal(auditOf(pair.a).totals.wrong, 1);
    assert.deepEqual(table(pair.b.space), table(pair.a.space));
  });

  test("while sessions come and go, nothing is found that is not so", async (t) => {
    const pair = await follow(t, 4000);
    let next = 20_000;
    let first = 0;
    const until = auditOf(pair.a).totals.passes + 6;
    while (auditOf(pair.a).totals.passes < until) {
      pair.active.open(next, 40);
      pair.active.end(first, 40);
      next += 40;
      first += 40;
      if (first >= 4000) first = Math.max(first, 20_000);
      await new Promise(setImmediate);
    }
    const { missing, extra, wrong } = auditOf(pair.a).totals;
    assert.deepEqual({ missing, extra, wrong }, { missing: 0, extra: 0, wrong: 0 });
    assert.ok(next > 21_000, `${next - 20_000} sessions came meanwhile`);
    assert.equal(pair.a.replicator.state().counters["sender.dirtyAsked"], 0);
  });

  test("beside churn, what is planted is found all the same, and nothing else", async (t) => {
    const pair = await follow(t, 4000);
    pair.byHand.end(100, 50);
    pair.byHand.open(200_000, 50);
    let next = 20_000;
    while (auditOf(pair.a).totals.repaired === 0) {
      pair.active.open(next, 20);
      pair.active.end(next, 20);
      next += 20;
      await new Promise(setImmediate);
    }
    const { missing, extra, wrong } = auditOf(pair.a).totals;
    assert.deepEqual({ missing, extra, wrong }, { missing: 50, extra: 50, wrong: 0 });
  });

  test("sessions that are not sent by policy are no difference, on either node", async (t) => {
    const pair = await follow(t, 300);
    // Unanswered: the standby is not told of it.
    pair.a.sh(
      "conntrack -I -p udp -s 10.7.0.1 -d 203.0.113.7 --sport 9 --dport 53 --mark 1 --timeout 500 -u UNSET",
    );
    // And one that the standby may have from when it was in another state.
    pair.a.sh(
      "conntrack -I -p udp -s 10.7.0.2 -d 203.0.113.7 --sport 9 --dport 53 --mark 1 --timeout 500 -u UNSET",
    );
    pair.b.sh(
      "conntrack -I -p udp -s 10.7.0.2 -d 203.0.113.7 --sport 9 --dport 53 --mark 1 --timeout 500 -u SEEN_REPLY",
    );
    // Each node's own have no link.
    pair.b.sh("conntrack -I -p udp -s 10.9.0.7 -d 10.9.0.8 --sport 7 --dport 8 --timeout 60");
    const pass = await nextPass(pair);
    assert.deepEqual(whole(pass), { missing: 0, extra: 0, wrong: 0, repaired: 0 });
    assert.equal(pass.sessions, 300);
  });

  test("a takeover in mid-pass: the new active looks by itself, and nobody repairs backwards", async (t) => {
    const pair = await follow(t, 3000);
    pair.byHand.end(10, 5);
    pair.a.setRole("standby", 3, "active");
    pair.b.setRole("active", 3, "standby");
    await pair.a.until(({ replicator }) => replicator.report().ready, "a is b's standby");
    await pair.b.until((node) => auditOf(node).pass !== null, "b has looked");
    const pass = auditOf(pair.b).pass!;
    assert.deepEqual(whole(pass), { missing: 0, extra: 0, wrong: 0, repaired: 0 });
  });
});
