// `show pair` at 3 a.m.: each situation, the first line that it must give, and the whole page of the good one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { term } from "../../src/base/units.ts";
import { alarmOf } from "../../src/core/alarms.ts";
import { renderPair, verdictOf } from "../../src/views/pair.ts";
import { colourStyle, plainStyle } from "../../src/views/text.ts";
import type {
  HeartState,
  PairView,
  PeerState,
  ReplicationState,
  RoleChangeReport,
} from "../../src/wire/control.ts";
import { factsExample } from "../wire/nodeSamples.ts";

const NOW = Date.parse("2026-11-20T15:26:01Z");
const DIGEST = "1f0c2a9b".repeat(8);

const peer: PeerState = {
  heard: true,
  role: "standby",
  term: term(42),
  ready: true,
  position: { term: 42, sequence: 10_021 },
  sessions: 20_412,
  configurationDigest: DIGEST.slice(0, 16),
  alarms: 0,
  critical: false,
};
const heart: HeartState = {
  node: "a",
  pid: 811,
  factsDigest: DIGEST,
  role: "active",
  term: term(42),
  gate: "open",
  leaseMs: 40,
  sinceMs: 273_600_000,
  peer,
  paths: [
    { name: "sync", heardMsAgo: 3, sent: 120_000, received: 119_990, refused: {} },
    { name: "lan", heardMsAgo: 14_000, sent: 120_000, received: 20, refused: { replayed: 2, magic: 0 } },
  ],
  segments: [
    { name: "lan", carrier: true, witnessMsAgo: 120, askable: true, gated: true },
    { name: "fibre", carrier: false, witnessMsAgo: null, askable: true, gated: true },
    { name: "cable", carrier: true, witnessMsAgo: 5000, askable: true, gated: false },
  ],
  lastTakeover: { term: 42, kind: "takeover", silenceMs: 51.2, openMs: 0.41, at: "2026-11-20T13:22:01.000Z" },
  lastChange: {
    from: "standby",
    to: "active",
    cause: "takeover",
    term: 42,
    silenceMs: 51.2,
    openMs: 0.41,
    at: "2026-11-20T13:22:01.000Z",
  },
  alarms: [],
  realTime: false,
  renewals: { done: 1000, refused: 0, longestMs: 12 },
  gateRepairs: 0,
};
const replication: ReplicationState = {
  connected: true,
  refusedKey: null,
  path: "sync",
  version: 2,
  direction: "sending",
  synchronised: true,
  produced: { term: 42, sequence: 10_024 },
  acknowledged: { term: 42, sequence: 10_021 },
  applied: null,
  counters: {},
};
const view: PairView = {
  pair: "office",
  node: "a",
  version: "0.1.0",
  ready: true,
  reasons: [],
  heart,
  alarms: [
    { ...alarmOf("gate-missing"), advice: "", since: "2026-11-20T15:26:00Z" },
    {
      ...alarmOf("foreign-traffic-1148", "10.20.0.66 on lan (foreign-source)"),
      since: "2026-11-20T15:25:47.000Z",
    },
  ],
  guard: { "foreign-source": 1200, flood: 0 },
  replication,
  machines: { own: factsExample, peer: { ...factsExample, nft: "" }, clockDifferenceMs: 0 },
  sessions: 20_412,
  configurationDigest: DIGEST,
};

const withHeart = (changes: Partial<HeartState>, rest: Partial<PairView> = {}): PairView => ({
  ...view,
  ...rest,
  heart: { ...heart, ...changes },
});
const asStandby = (rest: Partial<PairView>, peerChanges: Partial<PeerState> = {}): PairView =>
  withHeart({ role: "standby", gate: "shut", peer: { ...peer, role: "active", ...peerChanges } }, rest);

for (const [situation, shown, level, text, reasons] of [
  ["all is well, seen from the active", view, "good", "a is active, b is ready to take over.", []],
  ["all is well, seen from the standby", asStandby({}), "good", "b is active, a is ready to take over.", []],
  [
    "the standby has another configuration",
    withHeart({ peer: { ...peer, ready: false, configurationDigest: "00" } }),
    "warn",
    "a is active, b is NOT READY: a takeover now would lose sessions.",
    ["the two nodes have different configurations"],
  ],
  [
    "replication is cut",
    withHeart({ peer: { ...peer, ready: false } }, { replication: { ...replication, connected: false } }),
    "warn",
    "a is active, b is NOT READY: a takeover now would lose sessions.",
    ["replication is not connected"],
  ],
  [
    "the standby lacks sessions",
    withHeart({ peer: { ...peer, ready: false, sessions: 20_000 } }),
    "warn",
    "a is active, b is NOT READY: a takeover now would lose sessions.",
    ["b holds 20,000 of 20,412 sessions"],
  ],
  [
    "the standby's daemon says why it is not ready",
    asStandby({ ready: false, reasons: ["the snapshot is not complete"] }),
    "warn",
    "b is active, a is NOT READY: a takeover now would lose sessions.",
    ["the snapshot is not complete"],
  ],
  [
    "the active is alone",
    withHeart({ peer: { ...peer, heard: false } }),
    "bad",
    "a is active and ALONE: nobody takes over if it fails.",
    ["b is not heard on any path"],
  ],
  [
    "two actives",
    withHeart({ peer: { ...peer, role: "active" } }),
    "bad",
    "BOTH nodes say that they are active.",
    [],
  ],
  [
    "active with a shut gate",
    withHeart({ gate: "shut" }),
    "bad",
    "a is active but its gate is shut: nothing passes through it.",
    [],
  ],
  [
    "two standbys",
    asStandby({ reasons: ["no witness"] }, { role: "standby" }),
    "bad",
    "NOBODY is active: a stands by, b is standby.",
    ["no witness"],
  ],
  [
    "an idle node beside an active one",
    withHeart({ role: "idle", peer: { ...peer, role: "active" } }),
    "warn",
    "b is active, a is idle: nobody takes over if b fails.",
    [],
  ],
  [
    "idle and alone",
    withHeart({ role: "idle", peer: { ...peer, heard: false } }),
    "bad",
    "a is idle, b is not heard.",
    [],
  ],
  [
    "idle beside a standby",
    withHeart({ role: "idle", peer }),
    "bad",
    "NOBODY is active: a is idle, b is standby.",
    [],
  ],
  [
    "idle, and the other one's key is wrong",
    withHeart(
      { role: "idle", peer: { ...peer, heard: false } },
      { alarms: [{ ...alarmOf("wrong-key", "b shows ed25519:X"), since: "2026-11-20T15:26:00Z" }] },
    ),
    "bad",
    "a is idle, b is not heard.",
    ["wrong key: b shows ed25519:X"],
  ],
  [
    "idle beside a node that serves unheard",
    withHeart(
      { role: "idle", peer: { ...peer, heard: false } },
      { alarms: [{ ...alarmOf("heartbeats-lost-gate-answers"), since: "2026-11-20T15:26:00Z" }] },
    ),
    "bad",
    "a is idle, b is not heard.",
    ["b answers for the shared addresses: it serves"],
  ],
  [
    "no heart",
    { ...view, heart: null },
    "bad",
    "Heart does not run on a: it cannot serve, and it cannot take over.",
    [],
  ],
] as const) {
  test(`verdict: ${situation}`, () => {
    assert.deepEqual(verdictOf(shown), { level, text, reasons });
    // The whole page can be drawn in every situation, with colours and without.
    assert.match(renderPair(shown, { nowMs: NOW, style: plainStyle }), /^(OK|NOT PROTECTED|ALARM) {2}/);
    assert.ok(renderPair(shown, { nowMs: NOW, style: colourStyle }).includes("\u001b["));
  });
}

test("a standby that hears nobody says so first", () => {
  const verdict = verdictOf(asStandby({}, { heard: false }));
  assert.equal(verdict.level, "bad");
  assert.equal(verdict.text, "b is not heard, and a has not taken over.");
});

test("of a silent peer nothing is shown that is no longer known", () => {
  const page = renderPair(withHeart({ peer: { ...peer, heard: false } }), { nowMs: NOW, style: plainStyle });
  assert.match(page, /^ {2}b {2}SILENT +heard 3 ms ago$/m);
  assert.match(page, /^ {2}Sessions +20,412 on a$/m);
  assert.match(page, /^ {2}Configuration +digest 1f0c2a9b here, the peer's is not known$/m);
});

test("a few sessions more or less are no share", () => {
  const few = withHeart({ peer: { ...peer, sessions: 0 } }, { sessions: 2 });
  assert.match(renderPair(few, { nowMs: NOW, style: plainStyle }), /^ {2}Sessions +2 on a, 0 on b$/m);
});

test("the whole page", () => {
  const shown = withHeart({ peer: { ...peer, alarms: 2, critical: true } });
  const page = renderPair(shown, { nowMs: NOW, style: plainStyle });
  assert.deepEqual(page.split("\n"), [
    "OK  a is active, b is ready to take over.",
    "Pair office, seen from node a, Understudy 0.1.0",
    "",
    "  a  ACTIVE   ready  term 42  20,412 sessions  for 3 d 4 h, gate open, lease 40 ms (this node)",
    "  b  STANDBY  ready  term 42  20,412 sessions  heard 3 ms ago",
    "",
    "  Last change    takeover to a, term 42, 2026-11-20 13:22:01 UTC, 2 h 4 min ago: after 51 ms of silence, gate open in 0.4 ms",
    "  Sessions       20,412 on a, 20,412 on b (100 % on both)",
    "  Replication    sending over sync, synchronised, 3 changes behind",
    "  Configuration  the same on both nodes (digest 1f0c2a9b)",
    "  Paths between the nodes",
    "    sync  ok      heard 3 ms ago  120,000 sent, 119,990 received",
    "    lan   SILENT  heard 14 s ago  120,000 sent, 20 received       refused: replayed 2",
    "  Segments served",
    "    lan    ok          witness 120 ms ago    gate in place",
    "    fibre  NO CARRIER  NO WITNESS ever       gate in place",
    "    cable  ok          NO WITNESS for 5.0 s  NO GATE",
    "  Machines",
    "    a  Understudy 0.1.0  Linux 6.18.0 x86_64  4 processors, 8.0 GiB  at most 262,144 sessions in 65,536 buckets  nft 1.0.6  booted 361 d 2 h ago",
    "    b  Understudy 0.1.0  Linux 6.18.0 x86_64  4 processors, 8.0 GiB  at most 262,144 sessions in 65,536 buckets             booted 361 d 2 h ago",
    "  Port 1148      dropped: foreign-source 1,200",
    "  Alarms",
    "    CRITICAL gate-missing  the gate was removed, since 2026-11-20 15:26:00 UTC, 1.0 s ago",
    "      The gate's nftables table was removed by somebody; it is put back, shut, within 20 ms.",
    "    WARNING foreign-traffic-1148  strangers on port 1148, since 2026-11-20 15:25:47 UTC, 14 s ago",
    "      Somebody other than the peer sends to port 1148 of this node; the kernel drops it.",
    "      Here: 10.20.0.66 on lan (foreign-source)",
    "      What to do: Find the sender: a scanner, a second pair with wrong addresses, or an attacker.",
    "    b has 2 alarms, critical: `understudy show alarms` there",
    "  Note           heart has no real-time priority here: a busy machine may delay it",
    "",
  ]);
});

test("the last change is told in either direction, with its cause", () => {
  const line = (shown: HeartState): string =>
    renderPair({ ...view, heart: shown }, { nowMs: NOW, style: plainStyle })
      .split("\n")
      .find((each) => each.includes("Last change"))!
      .replace(/^ *Last change +/, "");
  const at = new Date(NOW - 7).toISOString();
  const told = (change: Partial<RoleChangeReport>): string =>
    line({
      ...heart,
      lastChange: {
        from: "active",
        to: "standby",
        cause: "",
        term: 3,
        silenceMs: 0,
        openMs: 0,
        at,
        ...change,
      },
    });
  const ago = "term 3, 2026-11-20 15:26:00 UTC, 7 ms ago";
  assert.equal(told({ cause: "handover" }), `handover to b, ${ago}`);
  assert.equal(
    told({ from: "standby", to: "active", cause: "handover", openMs: 0.4 }),
    `handover to a, ${ago}: gate open in 0.4 ms`,
  );
  assert.equal(told({ cause: "isolated" }), `a shut its gate: it heard nobody on any segment, ${ago}`);
  assert.equal(told({ cause: "follows" }), `takeover by b: the lease of a had lapsed, ${ago}`);
  assert.equal(told({ from: "idle", cause: "follows" }), `a follows b, ${ago}`);
  assert.equal(told({ cause: "yielded" }), `a yielded to b: both were active, ${ago}`);
  assert.equal(line({ ...heart, lastChange: null }), "none since heart started");
  const { lastChange: _, ...before } = heart;
  assert.match(line(before), /^takeover to a, term 42, /);
});
