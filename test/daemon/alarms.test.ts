// What the daemon calls an alarm: each condition alone, and what both processes have, put together.

import assert from "node:assert/strict";
import { test } from "node:test";
import { term } from "../../src/base/units.ts";
import { alarmOf } from "../../src/core/alarms.ts";
import type { Config } from "../../src/core/config.ts";
import { type AlarmFacts, conditionsOf, DaemonAlarms, wrongKey } from "../../src/daemon/alarms.ts";
import type { HeartState, PeerState, ReplicationState } from "../../src/wire/control.ts";
import type { AuditPass, AuditState } from "../../src/wire/controlAudit.ts";
import { PROTOCOL_VERSION } from "../../src/wire/peer.ts";
import { factsExample } from "../wire/nodeSamples.ts";

const DIGEST = "1f0c2a9b".repeat(8);
const peer: PeerState = {
  heard: true,
  role: "active",
  term: term(42),
  ready: true,
  position: null,
  sessions: 7,
  configurationDigest: DIGEST.slice(0, 16),
  alarms: 1,
  critical: false,
};
const heartWith = (changes: Partial<PeerState>): HeartState =>
  ({
    role: "standby",
    peer: { ...peer, ...changes },
    alarms: [],
    paths: [],
    segments: [],
  }) as unknown as HeartState;
const replication = {
  connected: true,
  synchronised: true,
  version: 2,
  direction: "receiving",
  path: "sync",
} as ReplicationState;
const fine: AlarmFacts = {
  heart: heartWith({}),
  replication,
  machines: { own: factsExample, peer: factsExample },
  refused: 0,
  lack: {
    "position-stuck": null,
    "events-overrun": null,
    "table-disturbed": null,
    "table-nearly-full": null,
    "drill-failed": null,
  },
  configuration: { difference: null, storeFault: null },
  config: {
    node: "b",
    digest: DIGEST,
    peerKeys: ["ed25519:A"],
    ownKeys: ["ed25519:B"],
    links: [
      { name: "fibre", enabled: true },
      { name: "spare", enabled: false },
    ] as unknown as Config["links"],
  },
};
const path = (name: string, heardMsAgo: number | null) => ({
  name,
  heardMsAgo,
  sent: 0,
  received: 0,
  refused: {},
});
const segment = (name: string, carrier: boolean) => ({
  name,
  carrier,
  witnessMsAgo: 1,
  askable: true,
  gated: true,
});

const auditOf = (found: Partial<AuditPass>): AuditState => {
  const pass = { at: "", sessions: 1000, missing: 0, extra: 0, wrong: 0, repaired: 0, seconds: 1, cpuMs: 1 };
  const totals = { passes: 1, missing: 0, extra: 0, wrong: 0, repaired: 0, abandoned: 0 };
  const last = { ...pass, ...found };
  return {
    phase: "waiting",
    text: "",
    passAgeMs: 5000,
    provenAgeMs: 6000,
    pass: last,
    passes: [last],
    totals,
    standing: 0,
    late: null,
  };
};

const holding = (facts: AlarmFacts): [string, string][] =>
  Object.entries(conditionsOf(facts)).filter((entry): entry is [string, string] => entry[1] !== null);

test("nothing is wrong with a pair that is well", () => {
  assert.deepEqual(holding(fine), []);
});

for (const [what, changes, expected] of [
  ["heart is gone", { heart: null }, ["heart-gone", ""]],
  ["no connection", { replication: { ...replication, connected: false } }, ["replication-down", ""]],
  [
    "not the whole state",
    { replication: { ...replication, synchronised: false } },
    ["replication-incomplete", "receiving over sync"],
  ],
  [
    "tables of different size",
    { machines: { own: factsExample, peer: { ...factsExample, conntrackMax: 65_536 } } },
    ["tables-differ", "b 262144, a 65536"],
  ],
  [
    "an older protocol",
    { replication: { ...replication, version: 1 } },
    ["older-protocol", `version 1 instead of ${PROTOCOL_VERSION}`],
  ],
  [
    "a comparison that found something",
    { replication: { ...replication, audit: auditOf({ missing: 3, wrong: 1, repaired: 4 }) } },
    ["audit-found-differences", "3 missing, 0 extra, 1 wrong, 4 repaired, of 1000"],
  ],
  [
    "no comparison for too long",
    { replication: { ...replication, audit: { ...auditOf({}), late: "the log was interrupted" } } },
    ["audit-late", "the log was interrupted"],
  ],
  ["sessions refused", { refused: 3 }, ["sessions-refused", "3 sessions"]],
  [
    "one of two paths is silent",
    { heart: { ...heartWith({}), paths: [path("sync", 700), path("lan", 3)] } },
    ["path-silent", "sync"],
  ],
  [
    "a link's cable is out, and one that is not in use",
    {
      heart: {
        ...heartWith({}),
        segments: [segment("lan", true), segment("fibre", false), segment("spare", false)],
      },
    },
    ["link-no-carrier", "fibre"],
  ],
  [
    "a segment on which nobody can be asked",
    {
      heart: {
        ...heartWith({}),
        segments: [segment("lan", true), { ...segment("fibre", true), askable: false }],
      },
    },
    ["segment-not-askable", "fibre"],
  ],
  [
    "another configuration",
    { configuration: { difference: "b has version 6", storeFault: null } },
    ["configuration-differs", "b has version 6"],
  ],
  [
    "versions that are not kept",
    { configuration: { difference: null, storeFault: "database or disk is full" } },
    ["configuration-not-kept", "database or disk is full"],
  ],
] as const)
  test(what, () => {
    assert.deepEqual(holding({ ...fine, ...changes }), [expected]);
  });

test("another configuration: connected nodes know why; others go by the digests in their heartbeats", () => {
  const heart = heartWith({ configurationDigest: "0".repeat(16) });
  assert.deepEqual(holding({ ...fine, heart }), [], "one is on its way");
  assert.deepEqual(holding({ ...fine, heart, replication: { ...replication, connected: false } }), [
    ["replication-down", ""],
    ["configuration-differs", "1f0c2a9b here, 00000000 there"],
  ]);
});

test("of a silent peer there is one alarm, heart's: not one for everything that it does not do", () => {
  const heart = heartWith({ heard: false, configurationDigest: "0".repeat(16) });
  assert.deepEqual(holding({ ...fine, heart, replication: { ...replication, connected: false } }), []);
});

test("a wrong key: what each node knows of it", () => {
  const silent = heartWith({ heard: false });
  const cut = { ...replication, connected: false, refusedKey: null };
  const facts: AlarmFacts = { ...fine, heart: silent, replication: cut };
  assert.equal(wrongKey(facts, false), null, "merely silent");
  assert.match(wrongKey(facts, true) ?? "", /^what arrives from a was not sealed with ed25519:A/);
  assert.equal(wrongKey({ ...facts, heart: heartWith({}) }, true), null, "somebody else's datagrams");
  const shown: AlarmFacts = { ...facts, replication: { ...cut, refusedKey: { by: "us", key: "ed25519:X" } } };
  assert.match(wrongKey(shown, false) ?? "", /^a shows ed25519:X; .* lists ed25519:A for a$/);
  const refused: AlarmFacts = { ...facts, replication: { ...cut, refusedKey: { by: "peer", key: null } } };
  assert.match(wrongKey(refused, false) ?? "", /^a refuses the key of this node, ed25519:B/);
  assert.equal(wrongKey({ ...shown, replication: { ...replication, refusedKey: null } }, true), null);
});

test("both processes' alarms, the most severe first, and the other node's number", () => {
  const lines: string[] = [];
  const alarms = new DaemonAlarms((line) => lines.push(line));
  alarms.observe("flood-1148", "path lan");
  alarms.observe("heart-gone", "");
  assert.deepEqual(alarms.count, { alarms: 2, critical: true });
  const heart = {
    ...heartWith({}),
    alarms: [{ ...alarmOf("isolated"), since: "2020-01-01T00:00:00.000Z" }],
  };
  const view = alarms.view(heart, "a");
  assert.deepEqual(
    view.alarms.map(({ code }) => code),
    ["isolated", "heart-gone", "flood-1148"],
  );
  assert.deepEqual(view.peer, { alarms: 1, critical: false });
  assert.equal(alarms.view(heartWith({ heard: false }), "a").peer, null);
  assert.equal(lines.length, 2);
});
