// The doctor's judgement: a healthy node has nothing wrong; each fault, alone, is found, with its code and level.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { DoctorFacts, Feature, FeatureFact, Listener } from "../../src/core/doctor/facts.ts";
import { FEATURES } from "../../src/core/doctor/facts.ts";
import { isHealthy, isOurs, judge } from "../../src/core/doctor/judge.ts";
import { renderDoctor } from "../../src/views/doctor.ts";
import { plainStyle } from "../../src/views/text.ts";
import type { HeartState, PairView } from "../../src/wire/control.ts";

const features = Object.fromEntries(
  Object.keys(FEATURES).map((feature) => [feature, { presence: "present" }]),
) as Record<Feature, FeatureFact>;
const tcp: Listener = {
  protocol: "tcp",
  address: "10.255.0.1",
  pid: 811,
  name: "understudy",
  commandLine: [],
};
const udp: Listener = { ...tcp, protocol: "udp", pid: 812, name: "understudy-hear" };
const heart = { peer: { heard: true, role: "standby" } } as unknown as HeartState;
const view = {
  ready: true,
  reasons: [],
  alarms: [],
  configurationDigest: "1f0c2a9b",
  heart,
  replication: { connected: true, path: "sync" },
} as unknown as PairView;

const healthy: DoctorFacts = {
  nodeFile: "/etc/understudy/node.yaml",
  asRoot: true,
  configuration: { pair: "office", node: "a", digest: "1f0c2a9b" },
  configurationErrors: [],
  key: {
    file: "node.key",
    publicKey: "ed25519:A",
    refusal: null,
    listed: ["ed25519:B", "ed25519:A"],
    fingerprints: { own: "SHA256:own", peer: ["SHA256:peer"] },
  },
  daemon: { mayAsk: true, answers: true, view, words: "" },
  heartAnswers: true,
  listeners: [tcp, udp],
  attempts: [],
  features,
  gate: "protected",
  tools: { nft: "nftables v1.0.6", ip: "ip utility", conntrack: "conntrack v1.4.7" },
  conntrack: { max: 262_144, buckets: 262_144, count: 12 },
  remains: ["nft table inet understudy"],
};
const down: DoctorFacts = {
  ...healthy,
  daemon: { mayAsk: true, answers: false, view: null, words: "no such socket" },
  heartAnswers: false,
  listeners: [],
  remains: [],
};
const reached = { name: "sync", local: "10.255.0.1", remote: "10.255.0.2", connected: true, code: "" };
const lacking = (feature: Feature, presence: "missing" | "unknown"): DoctorFacts => ({
  ...healthy,
  features: { ...features, [feature]: { presence, words: "as the kernel says" } },
});
const alarm = (code: string, severity: string): object => ({ code, severity, text: "It is so.", advice: "" });
const seen = (changes: object): DoctorFacts => ({
  ...healthy,
  daemon: { mayAsk: true, answers: true, view: { ...view, ...changes }, words: "" },
});

test("a healthy node: everything is fine", () => {
  const findings = judge(healthy);
  assert.deepEqual(new Set(findings.map((each) => each.level)), new Set(["fine"]));
  assert.ok(isHealthy(findings));
  assert.match(renderDoctor(findings, { style: plainStyle }), /\nNothing is wrong\.\n$/);
});

for (const [fault, facts, code, level] of [
  [
    "a mistake in a file",
    { ...healthy, configuration: null, configurationErrors: ["pair.yaml:3:1: x"] },
    "CONFIGURATION",
    "wrong",
  ],
  [
    "a key that others can read",
    {
      ...healthy,
      key: { ...healthy.key!, publicKey: null, refusal: { words: "mode 0644", advice: "chmod" } },
    },
    "KEY_UNUSABLE",
    "wrong",
  ],
  [
    "a key that is not listed",
    { ...healthy, key: { ...healthy.key!, listed: [] } },
    "KEY_NOT_LISTED",
    "wrong",
  ],
  ["heart is down", { ...healthy, heartAnswers: false }, "HEART_DOWN", "wrong"],
  ["the daemon is down", { ...down, heartAnswers: true, listeners: [udp] }, "DAEMON_DOWN", "wrong"],
  ["nothing runs", down, "NOT_RUNNING", "warning"],
  ["a stranger on TCP", { ...down, listeners: [{ ...tcp, name: "elfiqd" }] }, "PORT_TAKEN", "wrong"],
  ["a stranger on UDP", { ...healthy, listeners: [tcp, { ...udp, name: "node" }] }, "PORT_TAKEN", "wrong"],
  ["somebody unseen", { ...down, listeners: [{ ...tcp, pid: null, name: "" }] }, "PORT_UNSEEN", "warning"],
  ["a daemon that does not listen", { ...healthy, listeners: [udp] }, "PORT_SILENT", "wrong"],
  ["a heart that does not listen", { ...healthy, listeners: [tcp] }, "PORT_SILENT", "wrong"],
  ["a silent peer", seen({ heart: { ...heart, peer: { heard: false } } }), "PEER_SILENT", "wrong"],
  [
    "a wrong key",
    seen({ alarms: [alarm("wrong-key", "warning")], replication: { connected: false } }),
    "PEER_KEY",
    "wrong",
  ],
  ["no replication", seen({ replication: { connected: false } }), "REPLICATION_DOWN", "wrong"],
  [
    "an edited file that is not loaded",
    seen({ configurationDigest: "00000000" }),
    "CONFIGURATION_NOT_LOADED",
    "warning",
  ],
  ["not ready", seen({ ready: false, reasons: ["no snapshot"] }), "NOT_READY", "wrong"],
  ["a critical alarm", seen({ alarms: [alarm("GATE_MISSING", "critical")] }), "GATE_MISSING", "wrong"],
  ["an alarm", seen({ alarms: [alarm("PATH_SILENT", "warning")] }), "PATH_SILENT", "warning"],
  [
    "a peer that refuses",
    { ...down, attempts: [{ ...reached, connected: false, code: "ECONNREFUSED" }] },
    "PEER_UNREACHED",
    "warning",
  ],
  ["no egress hook", lacking("netdevEgress", "missing"), "FEATURE_MISSING", "wrong"],
  ["no owned tables", lacking("ownedTables", "missing"), "FEATURE_MISSING", "warning"],
  ["a feature that cannot be seen", lacking("macvlan", "unknown"), "FEATURE_UNKNOWN", "note"],
  ["no nft", { ...healthy, tools: { ...healthy.tools, nft: null } }, "TOOL_MISSING", "warning"],
  ["no conntrack", { ...healthy, tools: { ...healthy.tools, conntrack: null } }, "TOOL_MISSING", "note"],
  [
    "a table nearly full",
    { ...healthy, conntrack: { max: 1000, buckets: 1000, count: 801 } },
    "TABLE_FULL",
    "wrong",
  ],
  [
    "a small table",
    { ...healthy, conntrack: { max: 65_535, buckets: 65_536, count: 0 } },
    "TABLE_SMALL",
    "warning",
  ],
  [
    "long chains",
    { ...healthy, conntrack: { max: 1 << 20, buckets: 1 << 16, count: 0 } },
    "TABLE_CROWDED",
    "warning",
  ],
  [
    "no table to see",
    { ...healthy, conntrack: { max: null, buckets: null, count: null } },
    "TABLE_UNSEEN",
    "note",
  ],
  ["a gate that others can flush", { ...healthy, gate: "open-to-others" }, "GATE_UNPROTECTED", "warning"],
  ["a gate that cannot be seen", { ...healthy, gate: "unseen" }, "GATE_UNSEEN", "note"],
  ["leftovers", { ...down, remains: ["interface us-lan"] }, "REMAINS", "warning"],
  ["leftovers unseen", { ...down, remains: null }, "REMAINS_UNSEEN", "note"],
  ["asked by an ordinary user", { ...healthy, asRoot: false }, "NOT_ROOT", "note"],
] as const satisfies readonly (readonly [string, DoctorFacts, string, string])[]) {
  test(`${fault}: ${code}`, () => {
    const findings = judge(facts);
    const found = findings.find((each) => each.code === code);
    assert.ok(found, `among ${findings.map((each) => each.code).join(" ")}`);
    assert.equal(found.level, level);
    assert.equal(isHealthy(findings), level !== "wrong");
    const page = renderDoctor(findings, { style: plainStyle });
    assert.ok(page.includes(found.subject));
    if (level === "wrong") assert.match(page, /^WRONG {2}/);
    // Whoever reads that something is wrong wants to know what follows or what to do.
    if (level === "wrong" || level === "warning")
      assert.ok(`${found.consequence}${found.advice}` !== "" || found.subject === "alarm");
  });
}

test("who may not ask the daemon does not claim that it is down, nor that its things are leftovers", () => {
  const facts: DoctorFacts = {
    ...down,
    asRoot: false,
    daemon: { ...down.daemon, mayAsk: false, words: "EACCES" },
    listeners: [{ ...tcp, pid: null, name: "" }],
    remains: ["interface us-lan"],
  };
  const codes = judge(facts).map((each) => each.code);
  assert.ok(codes.includes("PROCESSES_UNSEEN"));
  for (const code of ["NOT_RUNNING", "DAEMON_DOWN", "PORT_SILENT", "REMAINS"])
    assert.ok(!codes.includes(code));
});

test("fingerprints are there to be read aloud", () => {
  const page = renderDoctor(judge(healthy), { style: plainStyle });
  assert.match(page, /SHA256:own/);
  assert.match(page, /for the other node: SHA256:peer/);
});

test("what lies in the kernel is no leftover while it is in use", () => {
  assert.ok(judge(healthy).some((each) => each.code === "IN_USE"));
});

test("a key's fault that the configuration told already is told once", () => {
  const facts = {
    ...healthy,
    configurationErrors: ["node.yaml:4:6: key: expected"],
    key: { ...healthy.key!, listed: [] },
  };
  assert.ok(!judge(facts).some((each) => each.code === "KEY_NOT_LISTED"));
});

test("ours by name, or by what it runs", () => {
  assert.ok(isOurs(tcp));
  assert.ok(
    isOurs({ ...tcp, name: "node", commandLine: ["node", "/opt/understudy/src/heart.ts", "--node", "x"] }),
  );
  assert.ok(!isOurs({ ...tcp, name: "node", commandLine: ["node", "/opt/other/src/server.ts"] }));
});
