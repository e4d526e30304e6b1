// What docs/ publishes about the configuration is made from the tables and equal to them. With REWRITE=1 in the
// environment the files are made again.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Ajv } from "ajv";
import { parse } from "yaml";
import { parseYaml } from "../../src/admin/yamlTree.ts";
import { checkTree } from "../../src/core/configCheck.ts";
import { configurationDocument, NODE_EXAMPLE, PAIR_EXAMPLE } from "../../src/core/configDocs.ts";
import { NODE, PAIR } from "../../src/core/configKeys.ts";
import { applyRules, NODE_RULES, PAIR_RULES } from "../../src/core/configRules.ts";
import { schemaDocument, schemaText } from "../../src/core/configSchema.ts";

const PUBLISHED: readonly (readonly [string, string])[] = [
  ["configuration.md", configurationDocument()],
  [
    "understudy-pair.schema.json",
    schemaText(schemaDocument(PAIR, "understudy-pair.schema.json", "Understudy: the pair's file")),
  ],
  [
    "understudy-node.schema.json",
    schemaText(schemaDocument(NODE, "understudy-node.schema.json", "Understudy: the node's file")),
  ],
];

describe("docs/ is made from the tables", () => {
  for (const [name, text] of PUBLISHED) {
    test(name, () => {
      const url = new URL(`../../docs/${name}`, import.meta.url);
      if (process.env["REWRITE"] === "1") writeFileSync(url, text);
      assert.equal(readFileSync(url, "utf8"), text, "run this test with REWRITE=1 to make it again");
    });
  }
});

describe("the documented examples", () => {
  const pair = checkTree(PAIR, parseYaml(PAIR_EXAMPLE).tree!);
  const node = checkTree(NODE, parseYaml(NODE_EXAMPLE).tree!);

  test("hold", () => {
    assert.deepEqual(pair.findings, []);
    assert.deepEqual(applyRules(PAIR_RULES, pair.value!.value), []);
    assert.deepEqual(node.findings, []);
    assert.deepEqual(applyRules(NODE_RULES, { node: node.value!.value, pair: pair.value!.value }), []);
  });

  test("are valid by the published schemas", () => {
    const ajv = new Ajv({ strict: true, strictTypes: false, allErrors: true });
    for (const [text, name] of [
      [PAIR_EXAMPLE, "understudy-pair.schema.json"],
      [NODE_EXAMPLE, "understudy-node.schema.json"],
    ] as const) {
      const published = readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
      const validate = ajv.compile(JSON.parse(published));
      assert.ok(validate(parse(text)), JSON.stringify(validate.errors));
    }
  });
});
