// Each key of both files wrong, missing, duplicated, of the wrong type, misspelt: made from the table of keys, so
// that a new key is tested before anybody thinks of it. Beside it runs the published schema, which may know less
// than the check but never refuses what the check accepts.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv } from "ajv";
import fc from "fast-check";
import {
  type Document,
  isMap,
  LineCounter,
  parse,
  parseDocument,
  type Scalar,
  stringify,
  type YAMLMap,
} from "yaml";
import { parseYaml } from "../../src/admin/yamlTree.ts";
import { checkTree, nearest } from "../../src/core/configCheck.ts";
import { NODE, PAIR } from "../../src/core/configKeys.ts";
import { applyRules, NODE_RULES, PAIR_RULES } from "../../src/core/configRules.ts";
import { schemaDocument } from "../../src/core/configSchema.ts";
import type { KeySpec, Keys, MapSpec, Spec } from "../../src/core/configSpec.ts";
import type { Finding } from "../../src/core/configTree.ts";
import { FULL_NODE, FULL_PAIR } from "./configExamples.ts";

interface KeyPlace {
  /** Where it is in a full file: keys, and 0 for the first item of a list. */
  readonly path: readonly (string | number)[];
  readonly key: KeySpec<Spec>;
}

/** Every key of a table, through the first item of every list. */
function keysOf(spec: Spec, path: readonly (string | number)[] = []): KeyPlace[] {
  if (spec.kind === "list") return keysOf(spec.item, [...path, 0]);
  if (spec.kind !== "map") return [];
  return Object.entries(spec.keys).flatMap(([name, key]) => [
    { path: [...path, name], key },
    ...keysOf(key.spec, [...path, name]),
  ]);
}

const pathText = (path: readonly (string | number)[]): string =>
  path.map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`)).join("");

/** Values of every type, to be put where each is wrong. */
const ANY_TYPE: readonly unknown[] = [null, [], {}, [null], "some text", 7.5, true, [["x"]], { x: 1 }];

/** Whether a value's type is one that a spec may take (its content apart). */
function takes(spec: Spec, value: unknown): boolean {
  switch (spec.kind) {
    case "scalar":
      return spec.types.some((type) => typeof value === type);
    case "list":
      return (
        (Array.isArray(value) && (value.length > 0 || spec.min === 0)) ||
        (spec.single && takes(spec.item, value))
      );
    default:
      return typeof value === "object" && value !== null && !Array.isArray(value);
  }
}

/** Values of the right type that are wrong in themselves. */
function wrongValues(spec: Spec, example: unknown): readonly unknown[] {
  switch (spec.kind) {
    case "scalar":
      return spec.wrong;
    case "list": {
      const items = wrongValues(spec.item, Array.isArray(example) ? example[0] : example).map((item) => [
        item,
      ]);
      const first = Array.isArray(example) ? example[0] : example;
      return [...items, ...(spec.min > 0 ? [[]] : []), Array.from({ length: spec.max + 1 }, () => first)];
    }
    case "map":
      return [];
    case "names":
      return [
        { "": "eth0" },
        { "a b": "eth0" },
        { lan: "" },
        { lan: null },
        { lan: ["eth0"] },
        { lan: "lo" },
      ];
  }
}

function verify(
  title: string,
  table: MapSpec<Keys>,
  full: string,
  rules: (findings: MapSpec<Keys>, text: string) => Finding[],
) {
  const validate = new Ajv({ strict: true, strictTypes: false }).compile(
    schemaDocument(table, "test.json", title),
  );

  /** Every finding of a text; and the schema may not know better than they do. */
  const findingsOf = (text: string): readonly Finding[] => {
    const { tree, findings } = parseYaml(text);
    assert.deepEqual(findings, [], `not YAML any more:\n${text}`);
    const checked = checkTree(table, tree!).findings;
    const duplicates = checked.some(({ code }) => code === "duplicate");
    const valid = validate(parse(text, { uniqueKeys: false }));
    if (checked.length === 0)
      assert.ok(valid, `accepted, but not by the schema: ${JSON.stringify(validate.errors)}`);
    const structural = checked.some(
      ({ code }) => code === "unknown" || code === "missing" || code === "type",
    );
    if (structural && !duplicates) assert.ok(!valid, `the schema accepts what is refused:\n${text}`);
    return checked.length > 0 ? checked : rules(table, text);
  };

  const changed = (change: (document: Document) => void): string => {
    const document = parseDocument(full, { uniqueKeys: false });
    change(document);
    return document.toString({ lineWidth: 0 });
  };

  /** The full example with one key set, in one line as the rest of it is. */
  const withKey = (path: readonly (string | number)[], value: unknown): string =>
    changed((document) =>
      document.setIn(path, document.createNode(value, { flow: true, aliasDuplicateObjects: false })),
    );

  /** The only finding of a text, or a failure that shows the others. */
  const only = (text: string): Finding => {
    const found = findingsOf(text);
    assert.equal(found.length, 1, `${JSON.stringify(found, null, 1)}\n${text}`);
    return found[0]!;
  };

  describe(title, () => {
    test("the full example has every key of the table and holds", () => {
      const document = parseDocument(full);
      for (const { path } of keysOf(table))
        assert.ok(document.hasIn(path), `no ${pathText(path)} in the full example`);
      assert.deepEqual(findingsOf(full), []);
    });

    for (const { path, key } of keysOf(table)) {
      const name = pathText(path);

      test(`${name}: its example is good`, () => {
        const found = findingsOf(withKey(path, parse(key.example)));
        assert.deepEqual(
          found.filter((finding) => finding.path.startsWith(name) && finding.code !== "conflict"),
          [],
        );
      });

      test(`${name}: of the wrong type`, () => {
        for (const value of ANY_TYPE.filter((candidate) => !takes(key.spec, candidate))) {
          const finding = only(withKey(path, value));
          assert.equal(finding.path, name);
          assert.ok(finding.code === "type" || finding.code === "value", finding.code);
        }
      });

      test(`${name}: wrong`, () => {
        for (const value of wrongValues(key.spec, parse(key.example))) {
          const text = withKey(path, value);
          const finding = only(text);
          assert.ok(finding.path.startsWith(name), `${finding.path} for ${JSON.stringify(value)}`);
          assert.equal(finding.place.line, lineOf(text, path), `the line of ${name} in\n${text}`);
          assert.notEqual(finding.expected, "");
        }
      });

      test(`${name}: missing`, () => {
        const text = changed((document) => document.deleteIn(path));
        if (!key.required) {
          assert.deepEqual(findingsOf(text), []);
          return;
        }
        const finding = only(text);
        assert.equal(finding.path, name);
        assert.equal(finding.code, "missing");
        assert.equal(finding.place.line, path.length === 1 ? 1 : lineOf(text, path.slice(0, -1)));
      });

      test(`${name}: duplicated`, () => {
        const text = changed((document) => {
          const parent = document.getIn(path.slice(0, -1), true);
          assert.ok(isMap(parent));
          parent.items.push(document.createPair(path.at(-1), parse(key.example)) as YAMLMap["items"][number]);
        });
        const finding = only(text);
        assert.equal(finding.path, name);
        assert.equal(finding.code, "duplicate");
        assert.match(
          finding.found,
          new RegExp(`"${path.at(-1)}" again, first on line ${lineOf(text, path)}$`),
        );
        assert.ok(finding.place.line > lineOf(text, path));
      });

      test(`${name}: misspelt`, () => {
        const misspelt = [...path.slice(0, -1), `${path.at(-1)}x`];
        const finding = only(withKey(misspelt, parse(key.example)));
        assert.equal(finding.path, pathText(misspelt));
        assert.equal(finding.code, "unknown");
        assert.match(finding.expected, new RegExp(`^"${path.at(-1)}" or `));
      });
    }
  });
}

/** The line of a key in a text. */
function lineOf(text: string, path: readonly (string | number)[]): number {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: false });
  const last = path.at(-1)!;
  const parent = document.getIn(path.slice(0, -1), true);
  if (typeof last === "number" || !isMap(parent)) {
    return lineCounter.linePos((document.getIn(path, true) as Scalar).range![0]).line;
  }
  const pair = parent.items.find((item) => (item.key as Scalar).value === last);
  return lineCounter.linePos((pair!.key as Scalar).range![0]).line;
}

verify("the pair's file", PAIR, FULL_PAIR, (_table, text) => {
  return applyRules(PAIR_RULES, checkTree(PAIR, parseYaml(text).tree!).value!.value);
});
verify("the node's file", NODE, FULL_NODE, (_table, text) => {
  const pair = checkTree(PAIR, parseYaml(FULL_PAIR).tree!).value!.value;
  return applyRules(NODE_RULES, { node: checkTree(NODE, parseYaml(text).tree!).value!.value, pair });
});

describe("whatever a file holds", () => {
  test("any tree is judged, none is accepted by accident, and nothing throws", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const { tree } = parseYaml(stringify(value));
        if (tree === undefined) return;
        for (const spec of [PAIR, NODE]) assert.ok(checkTree(spec, tree).findings.length > 0);
      }),
      { numRuns: 300 },
    );
  });

  test("a good file with some characters replaced: rules live with whatever is left", () => {
    const characters = fc.constantFrom(
      ":",
      "-",
      " ",
      "\n",
      "[",
      "]",
      "{",
      "}",
      ",",
      "0",
      "x",
      '"',
      "&",
      "*",
      "!",
      "#",
      "\t",
    );
    const edits = fc.array(fc.tuple(fc.nat(FULL_PAIR.length - 1), characters), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(edits, (list) => {
        let text = FULL_PAIR;
        for (const [at, character] of list) text = text.slice(0, at) + character + text.slice(at + 1);
        const { tree } = parseYaml(text);
        if (tree === undefined) return;
        const { value } = checkTree(PAIR, tree);
        if (value !== undefined) applyRules(PAIR_RULES, value.value);
      }),
      { numRuns: 500 },
    );
  });

  test("hasOwnProperty and friends are unknown keys like any other", () => {
    for (const key of ["toString", "__proto__", "constructor", "hasOwnProperty"]) {
      const { findings } = checkTree(NODE, parseYaml(`node: a\npair: p\n${key}: 1\n`).tree!);
      assert.equal(findings.length, 1, key);
      assert.equal(findings[0]!.code, "unknown");
    }
  });
});

test("the nearest known key is one that a finger could have meant", () => {
  const keys = Object.keys(PAIR.keys);
  assert.equal(nearest("lniks", keys), "links");
  assert.equal(nearest("Links", keys), "links");
  assert.equal(nearest("path", keys), "paths");
  assert.equal(nearest("gateway", keys), undefined);
  assert.equal(nearest("x".repeat(1000), keys), undefined);
});
