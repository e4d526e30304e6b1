// What keys must be together. Each row is a change to a file that holds and the messages that it earns, as a user
// reads them: place, key, what was expected, what was found.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseYaml } from "../../src/admin/yamlTree.ts";
import { virtualMacOf } from "../../src/core/configBuild.ts";
import { checkTree } from "../../src/core/configCheck.ts";
import { NODE, PAIR } from "../../src/core/configKeys.ts";
import { applyRules, NODE_RULES, PAIR_RULES } from "../../src/core/configRules.ts";
import { formatErrors, inFile } from "../../src/core/configTree.ts";
import { FULL_NODE, FULL_PAIR, KEY_A, KEY_B } from "./configExamples.ts";

interface Row {
  /** The rule that is meant. */
  readonly rule: string;
  /** Text of the full example and what stands there instead. */
  readonly change: readonly (readonly [string, string])[];
  /** What a user reads, without the file's name; `[]`: it is allowed. */
  readonly says: readonly string[];
}

const PAIR_TABLE: readonly Row[] = [
  {
    rule: "names once",
    change: [["id: 2", "id: 1"]],
    says: ["31:9: links[1].id: expected an id of its own, found 1, as links[0].id on line 19"],
  },
  {
    rule: "names once",
    change: [["name: cable", "name: fibre"]],
    says: ['32:11: links[1].name: expected a name of its own, found "fibre", as links[0].name on line 20'],
  },
  {
    rule: "names once",
    change: [["name: cable", "name: lan"]],
    says: ['32:11: links[1].name: expected a name other than that of the inside, "lan", found "lan"'],
  },
  {
    rule: "names once",
    change: [["{ name: lan,", "{ name: sync,"]],
    says: ['42:13: paths[1].name: expected a name of its own, found "sync", as paths[0].name on line 37'],
  },
  {
    rule: "ports once",
    change: [["interface: wan2", "interface: wan1"]],
    says: [
      '33:16: links[1].interface: expected an interface of its own, found "wan1", as links[0].interface on line 21',
    ],
  },
  {
    rule: "ports once",
    change: [["interface: wan2", "interface: lan"]],
    says: [
      '33:16: links[1].interface: expected an interface of its own, found "lan", as lan.interface on line 11',
    ],
  },
  {
    rule: "addresses once",
    change: [["10.20.0.2, b", "10.20.0.1, b"]],
    says: [
      "42:37: paths[1].a: expected an address that is nowhere else, found 10.20.0.1, as lan.addresses[0] on line 12",
    ],
  },
  {
    rule: "addresses once",
    change: [["b: 10.20.0.3", "b: 10.20.0.2"]],
    says: [
      "42:51: paths[1].b: expected an address that is nowhere else, found 10.20.0.2, as paths[1].a on line 42",
    ],
  },
  {
    rule: "addresses once",
    change: [["fd20::1/64]", "fd20::1/64, fd20:0::0:1/64]"]],
    says: [
      "12:41: lan.addresses[2]: expected an address that is nowhere else, found fd20::1, as lan.addresses[1] on line 12",
    ],
  },
  {
    rule: "networks apart",
    change: [
      ["203.0.113.2/24", "10.20.128.1/24"],
      ["203.0.113.1", "10.20.128.254"],
    ],
    says: [
      "35:17: links[1].addresses[0]: expected a network apart from all others, found 10.20.128.0/24, which overlaps 10.20.0.0/16 (lan.addresses[0] on line 12)",
    ],
  },
  {
    rule: "networks apart",
    change: [["network: 10.30.0.0/16", "network: 198.51.0.0/16"]],
    says: [
      "15:16: lan.routes[0].network: expected a network apart from all others, found 198.51.0.0/16, which overlaps 198.51.100.0/24 (links[0].addresses[0] on line 23)",
    ],
  },
  {
    rule: "networks apart",
    change: [["a: 10.255.0.1", "a: 10.20.255.1"]],
    says: [
      '39:8: paths[0].a: expected an address outside the network of the LAN, or interface "lan", found 10.20.255.1 on interface "sync"',
    ],
  },
  {
    rule: "networks apart",
    change: [["addresses: [203.0.113.2/24]", "addresses: [203.0.113.2/24, 203.0.113.3/24]"]],
    says: [],
  },
  {
    rule: "gateways reachable",
    change: [["gateway: 203.0.113.1", "gateway: 203.0.114.1"]],
    says: ["34:14: links[1].gateway: expected an address in 203.0.113.0/24, found 203.0.114.1"],
  },
  {
    rule: "gateways reachable",
    change: [["gateway: 203.0.113.1", "gateway: 203.0.113.2"]],
    says: [
      "34:14: links[1].gateway: expected the provider's router, found 203.0.113.2, our own (links[1].addresses[0] on line 35)",
    ],
  },
  {
    rule: "gateways reachable",
    change: [["gateway: 203.0.113.1", "gateway: [203.0.113.1, 203.0.113.9]"]],
    says: ["34:28: links[1].gateway[1]: expected one gateway of each family, found a second IPv4 gateway"],
  },
  {
    rule: "gateways reachable",
    change: [["gateway: 203.0.113.1", "gateway: fe80::1"]],
    says: [
      "34:14: links[1].gateway: expected a gateway of the family of the link's addresses, found fe80::1, IPv6",
    ],
  },
  {
    rule: "gateways reachable",
    change: [["fe80::1", "2001:db8:2::1"]],
    says: ["22:29: links[0].gateway[1]: expected an address in 2001:db8:1::/64, found 2001:db8:2::1"],
  },
  { rule: "gateways reachable", change: [["fe80::1", "2001:db8:1::1"]], says: [] },
  {
    rule: "LAN hosts",
    change: [["10.20.1.1, fd20::53", "10.21.1.1, fd20::53"]],
    says: ["13:15: lan.witnesses[0]: expected an address in 10.20.0.0/16 or fd20::/64, found 10.21.1.1"],
  },
  {
    rule: "LAN hosts",
    change: [["10.20.1.1, fd20::53", "10.20.0.1, 10.20.0.3"]],
    says: [
      "13:15: lan.witnesses[0]: expected a third party, found 10.20.0.1, our own (lan.addresses[0] on line 12)",
      "13:26: lan.witnesses[1]: expected a third party, found 10.20.0.3, our own (paths[1].b on line 42)",
    ],
  },
  {
    rule: "LAN hosts",
    change: [["10.20.1.1, fd20::53", "fd20::53, FD20:0:0::53"]],
    says: [
      "13:25: lan.witnesses[1]: expected each witness once, found fd20::53, as lan.witnesses[0] on line 13",
    ],
  },
  {
    rule: "LAN hosts",
    change: [["via: 10.20.0.254", "via: 10.30.0.254"]],
    says: ["16:12: lan.routes[0].via: expected an address in 10.20.0.0/16 or fd20::/64, found 10.30.0.254"],
  },
  {
    rule: "LAN hosts",
    change: [["via: 10.20.0.254", "via: fd20::fe"]],
    says: ["16:12: lan.routes[0].via: expected an IPv4 router, as its network, found fd20::fe"],
  },
  {
    rule: "virtual MACs once",
    change: [["virtualMac: 02:00:00:00:00:02", "virtualMac: 02:00:00:00:00:01"]],
    says: [
      "29:17: links[0].virtualMac: expected a virtual MAC of its own, found 02:00:00:00:00:01, as lan.virtualMac on line 17",
    ],
  },
  {
    rule: "virtual MACs once",
    change: [["virtualMac: 02:00:00:00:00:01", `virtualMac: ${virtualMacOf("office", 2).toUpperCase()}`]],
    says: [
      `31:5: links[1]: expected a virtual MAC of its own, found ${virtualMacOf("office", 2)}, as lan.virtualMac on line 17`,
    ],
  },
  {
    rule: "keys once",
    change: [[KEY_B, KEY_A]],
    says: [
      "8:12: nodes.b.keys[0]: expected a key of its own for each node, found the key of nodes.a.keys[0] on line 5",
    ],
  },
  {
    rule: "keys once",
    change: [[KEY_B, `${KEY_B}, ${KEY_B}`]],
    says: [
      "8:66: nodes.b.keys[1]: expected a key of its own for each node, found the key of nodes.b.keys[0] on line 8",
    ],
  },
  {
    rule: "paths whole",
    change: [["b: 10.255.0.2", "b: fd00::2"]],
    says: ["40:8: paths[0].b: expected an IPv4 address, as the other end (10.255.0.1), found fd00::2"],
  },
  {
    rule: "paths whole",
    change: [
      ["use: [heartbeat, replication]", "use: [replication]"],
      ["b: 10.20.0.3 }", "b: 10.20.0.3, use: [replication] }"],
    ],
    says: ["36:1: paths: expected a path that carries heartbeat, found none"],
  },
  {
    rule: "paths whole",
    change: [
      ["use: [heartbeat, replication]", "use: [heartbeat]"],
      ["b: 10.20.0.3 }", "b: 10.20.0.3, use: [heartbeat, heartbeat] }"],
    ],
    says: [
      "36:1: paths: expected a path that carries replication, found none",
      '42:79: paths[1].use[1]: expected each use once, found "heartbeat" again',
    ],
  },
  {
    rule: "paths whole",
    change: [
      ["singleMac: false", "singleMac: true"],
      ["interface: sync", "interface: wan1"],
    ],
    says: [
      "38:16: paths[0].interface: expected a port that accepts the node's own MAC, found that of links[0], which is singleMac",
    ],
  },
  {
    rule: "somewhere to go",
    change: [
      ["weight: 3", "weight: 0"],
      ["name: cable", "name: cable\n    enabled: false"],
    ],
    says: ["18:1: links: expected one link at least that is enabled, with a weight above 0, found none"],
  },
  { rule: "somewhere to go", change: [["weight: 3", "weight: 0"]], says: [] },
  {
    rule: "timers agree",
    change: [["lease: 40ms", "lease: 50ms"]],
    says: ["46:10: timers.lease: expected a lease of at most 45ms, nine tenths of dead, found 50ms"],
  },
  { rule: "timers agree", change: [["lease: 40ms", "lease: 45ms"]], says: [] },
  {
    rule: "timers agree",
    change: [
      ["  lease: 40ms\n", ""],
      ["dead: 50ms", "dead: 40ms"],
    ],
    says: ["45:9: timers.dead: expected a lease of at most 36ms, nine tenths of dead, found 40ms"],
  },
  {
    rule: "timers agree",
    change: [["heartbeat: 10ms", "heartbeat: 14ms"]],
    says: ["44:14: timers.heartbeat: expected a heartbeat of at most 13ms, a third of the lease, found 14ms"],
  },
  {
    rule: "timers agree",
    change: [
      ["dead: 50ms", "dead: 2s"],
      ["soloLease: 10s", "soloLease: 2s"],
    ],
    says: ["47:14: timers.soloLease: expected a soloLease above dead, 2000ms, found 2000ms"],
  },
  {
    rule: "exceptions whole",
    change: [["    - network: 10.20.99.0/24", "    - port: 1\n    - protocol: sctp\n      port: 1"]],
    says: [],
  },
  {
    rule: "exceptions whole",
    change: [["    - network: 10.20.99.0/24", "    - {}"]],
    says: ["58:7: replication.except[1]: expected a protocol, a port or a network, found none of them"],
  },
  {
    rule: "exceptions whole",
    change: [["protocol: udp\n      port: 53", "protocol: gre\n      port: 53"]],
    says: ["56:13: replication.except[0].port: expected no port beside gre, which has none, found 53"],
  },
  {
    rule: "exceptions whole",
    change: [["    - network: 10.20.99.0/24", "    - { network: 10.20.98.0/24, port: 53, protocol: 17 }"]],
    says: [
      "58:7: replication.except[1]: expected each exception once, found the same as replication.except[0] on line 55",
    ],
  },
  {
    rule: "helpers once",
    change: [['"sip:5062"', "sip:5061, tftp, h323"]],
    says: [],
  },
  {
    rule: "helpers once",
    change: [['"sip:5062"', '"sip:5060"']],
    says: [
      "59:21: helpers[2]: expected each helper once for each port, found the same as helpers[1] on line 59",
    ],
  },
];

const NODE_TABLE: readonly Row[] = [
  {
    rule: "names known",
    change: [["wan1: eth1", "wna1: eth1"]],
    says: ['5:3: interfaces.wna1: expected "wan1", found "wna1", which the pair\'s file does not use'],
  },
  {
    rule: "names known",
    change: [["sync: eth3", "sync: eth3\n  management: eth4\n  wan3: eth5"]],
    says: [],
  },
  {
    rule: "devices once",
    change: [["sync: eth3", "sync: eth0"]],
    says: ['7:9: interfaces.sync: expected a device of its own, found "eth0", as "lan"'],
  },
  {
    rule: "devices once",
    change: [
      ["  sync: eth3\n", ""],
      ["lan: eth0", "lan: sync"],
    ],
    says: ['4:8: interfaces.lan: expected a device of its own, found "sync", as "lan"'],
  },
  { rule: "devices once", change: [["  sync: eth3\n", ""]], says: [] },
];

function changed(text: string, change: Row["change"]): string {
  return change.reduce((result, [from, to]) => {
    assert.ok(result.includes(from), `no "${from}" in the example`);
    return result.replace(from, to);
  }, text);
}

/** The messages as a user reads them, and the rules that spoke. */
function verdict(row: Row, kind: "pair" | "node"): { says: string[]; rules: string[] } {
  const pairTree = checkTree(
    PAIR,
    parseYaml(kind === "pair" ? changed(FULL_PAIR, row.change) : FULL_PAIR).tree!,
  );
  const nodeTree = checkTree(
    NODE,
    parseYaml(kind === "node" ? changed(FULL_NODE, row.change) : FULL_NODE).tree!,
  );
  assert.deepEqual([...pairTree.findings, ...nodeTree.findings], [], "each key alone is good");
  const pair = pairTree.value!.value;
  const both = { pair, node: nodeTree.value!.value };
  const spoken = [
    ...PAIR_RULES.map((rule) => ({ name: rule.name, findings: applyRules([rule], pair) })),
    ...(kind === "node" ? NODE_RULES : []).map((rule) => ({
      name: rule.name,
      findings: applyRules([rule], both),
    })),
  ].filter(({ findings }) => findings.length > 0);
  const text = formatErrors(
    inFile(
      "f",
      spoken.flatMap(({ findings }) => findings),
    ),
  );
  return {
    says: text === "" ? [] : text.split("\n").map((line) => line.slice(2)),
    rules: spoken.map(({ name }) => name),
  };
}

for (const [kind, table, rules] of [
  ["pair", PAIR_TABLE, PAIR_RULES],
  ["node", NODE_TABLE, NODE_RULES],
] as const) {
  describe(`rules of the ${kind}'s file`, () => {
    test("each has a row here and a sentence for the documentation", () => {
      for (const { name, text } of rules) {
        assert.ok(
          table.some((row) => row.rule === name && row.says.length > 0),
          `no row for "${name}"`,
        );
        assert.match(text, /^[A-Z`].*[.)]$/);
      }
      for (const row of table)
        assert.ok(
          rules.some(({ name }) => name === row.rule),
          `no rule "${row.rule}"`,
        );
    });

    for (const row of table) {
      test(`${row.rule}: ${row.change.map(([, to]) => to.trim().replaceAll("\n", " ")).join(", ") || "less"}`, () => {
        const { says, rules: spoke } = verdict(row, kind);
        assert.deepEqual(says, row.says);
        assert.deepEqual(spoke, row.says.length === 0 ? [] : [row.rule]);
      });
    }
  });
}

test("one mistake in each of many places: all of them at once, in the order of the lines", () => {
  const change: Row["change"] = [
    ["id: 2", "id: 1"],
    ["gateway: 203.0.113.1", "gateway: 203.0.114.1"],
    ["lease: 40ms", "lease: 50ms"],
    [KEY_B, KEY_A],
  ];
  const { says } = verdict({ rule: "", change, says: [] }, "pair");
  assert.deepEqual(
    says.map((line) => line.split(": ")[1]),
    ["nodes.b.keys[0]", "links[1].id", "links[1].gateway", "timers.lease"],
  );
});
