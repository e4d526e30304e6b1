// From files to the configuration: what replication is told to send, and the digest that two nodes compare.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseYaml } from "../../src/admin/yamlTree.ts";
import { buildConfig, digestOf, pairValues, SENDING_DEFAULT } from "../../src/core/configBuild.ts";
import { checkTree } from "../../src/core/configCheck.ts";
import { NODE, PAIR } from "../../src/core/configKeys.ts";
import { wordsOf } from "../../src/core/configWords.ts";
import { DEFAULT_SENDING } from "../../src/wire/sessionPolicy.ts";
import { FULL_NODE, FULL_PAIR } from "./configExamples.ts";

const PATHS = { keyFile: "", stateDirectory: "", runtimeDirectory: "", pairFile: "", nodeFile: "" };
const WITHOUT = FULL_PAIR.slice(0, FULL_PAIR.indexOf("replication:"));

function pairOf(text: string) {
  const { value, findings } = checkTree(PAIR, parseYaml(text).tree!);
  assert.deepEqual(findings, []);
  return value!.value;
}
const node = checkTree(NODE, parseYaml(FULL_NODE).tree!).value!.value;
const configOf = (text: string) => buildConfig(pairOf(text), node, PATHS);
const digest = (text: string): string => digestOf(pairValues(pairOf(text)));

test("what is sent: as the file says, with the defaults for what it leaves out", () => {
  assert.deepEqual(configOf(FULL_PAIR).sending, {
    tcp: "established",
    udp: "assured",
    others: "reply",
    except: [
      { protocol: 17, port: 53, network: { family: 4, address: "10.20.98.0", prefixLength: 24 } },
      { network: { family: 4, address: "10.20.99.0", prefixLength: 24 } },
    ],
  });
  assert.deepEqual(configOf(WITHOUT).sending, DEFAULT_SENDING);
  assert.deepEqual(configOf(`${WITHOUT}replication: { tcp: opening }\n`).sending, {
    ...DEFAULT_SENDING,
    tcp: "opening",
  });
  assert.deepEqual(SENDING_DEFAULT, DEFAULT_SENDING);
});

test("a file that says the default has the digest of one that says nothing; any other has its own", () => {
  const plain = digest(WITHOUT);
  assert.equal(digest(`${WITHOUT}replication: {}\n`), plain);
  assert.equal(
    digest(`${WITHOUT}replication: { others: reply, udp: reply, tcp: established, except: [] }\n`),
    plain,
  );
  const others = [
    "{ tcp: opening }",
    "{ udp: assured }",
    "{ others: first-packet }",
    "{ except: [{ port: 53 }] }",
  ];
  const digests = others.map((text) => digest(`${WITHOUT}replication: ${text}\n`));
  assert.equal(new Set([plain, ...digests]).size, others.length + 1);
});

test("what changed is said in words", () => {
  const now = configOf(`${WITHOUT}replication: { udp: assured, except: [{ protocol: gre }] }\n`);
  const next = configOf(
    `${WITHOUT}replication: { tcp: opening, except: [{ protocol: udp, port: 53, network: fd20:9::/64 }, { protocol: 253 }] }\n`,
  );
  assert.deepEqual(wordsOf(now, next), [
    "replication: tcp opening, was established",
    "replication: udp reply, was assured",
    "replication: exception gre removed",
    "replication: exception udp port 53 fd20:9::/64 added",
    "replication: exception 253 added",
  ]);
});
