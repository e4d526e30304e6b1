// Holds a located tree against a table of keys: every mistake at once, each with its place, what was expected
// and what was found, and of the rest a typed value that still knows where it stands. It judges each key alone;
// what keys must be together is configRules.ts. Pure.

import {
  countWords,
  type KeySpec,
  type Keys,
  type ListSpec,
  type MapSpec,
  type NamesSpec,
  type ScalarSpec,
  type Spec,
  type ValueOf,
} from "./configSpec.ts";
import {
  ConfigErrorCode,
  childPath,
  describeNode,
  type Finding,
  type Located,
  type MapNode,
  type Place,
  quote,
  type TreeNode,
} from "./configTree.ts";

/** A table's value as far as it holds, and everything that does not. */
export interface Checked<S extends Spec> {
  /** Undefined where not even the outermost group is one. */
  readonly value: Located<ValueOf<S>> | undefined;
  readonly findings: readonly Finding[];
}

/** Where a value was asked for: the key's place, which is where a missing one is reported. */
interface Spot {
  readonly place: Place;
  readonly path: string;
}

/** Checks `node` against `spec`. */
export function checkTree<S extends Spec>(spec: S, node: TreeNode): Checked<S> {
  const findings: Finding[] = [];
  const spot: Spot = { place: { line: 1, column: 1 }, path: "" };
  // The walk is untyped by nature (a table is data); its result has the table's type by construction.
  const value = check(spec, node, spot, findings) as Located<ValueOf<S>> | undefined;
  return { value, findings };
}

function check(spec: Spec, node: TreeNode, spot: Spot, findings: Finding[]): Located<unknown> | undefined {
  switch (spec.kind) {
    case "scalar":
      return checkScalar(spec, node, spot, findings);
    case "list":
      return checkList(spec, node, spot, findings);
    case "map":
      return checkMap(spec, node, spot, findings);
    case "names":
      return checkNames(spec, node, spot, findings);
  }
}

/** What a spec wants, to complete `expected ...`. */
export function describeSpec(spec: Spec): string {
  switch (spec.kind) {
    case "scalar":
      return spec.expected;
    case "list": {
      const whole = `a list of ${countWords(spec)} ${spec.of}`;
      return spec.single ? `${describeSpec(spec.item)}, or ${whole}` : whole;
    }
    case "map":
      return `${spec.name} as a group of keys (${Object.keys(spec.keys).join(", ")})`;
    case "names":
      return "a group of names, each with its device, such as { lan: eth0 }";
  }
}

function checkScalar(
  spec: ScalarSpec<unknown>,
  node: TreeNode,
  spot: Spot,
  findings: Finding[],
): Located<unknown> | undefined {
  const { place } = node;
  const { path } = spot;
  const refuse = (code: ConfigErrorCode, found: string): undefined => {
    findings.push({ place, path, code, expected: spec.expected, found });
  };
  if (node.kind !== "scalar" || node.value === null) return refuse(ConfigErrorCode.Type, describeNode(node));
  const { value } = node;
  if (!spec.types.some((type) => typeof value === type)) {
    const quoted = typeof value !== "string" && spec.types.includes("string");
    return refuse(ConfigErrorCode.Type, `${describeNode(node)}${quoted ? " (not in quotes)" : ""}`);
  }
  const reading = spec.read(value);
  if ("value" in reading) return { value: reading.value, place, path };
  const why = reading.refused === "" ? "" : ` (${reading.refused})`;
  return refuse(ConfigErrorCode.Value, `${describeNode(node)}${why}`);
}

function checkList(
  spec: ListSpec<Spec>,
  node: TreeNode,
  spot: Spot,
  findings: Finding[],
): Located<unknown> | undefined {
  const { path } = spot;
  // A list begins somewhere below its key; what is wrong with it as a whole is said at the key.
  const place = node.kind === "list" ? spot.place : node.place;
  const refuse = (code: ConfigErrorCode): undefined => {
    findings.push({ place, path, code, expected: describeSpec(spec), found: describeNode(node) });
  };
  if (node.kind !== "list") {
    if (!spec.single || node.kind !== "scalar" || node.value === null) return refuse(ConfigErrorCode.Type);
    const only = check(spec.item, node, { place, path }, findings);
    return { value: only === undefined ? [] : [only], place, path };
  }
  if (node.items.length < spec.min || node.items.length > spec.max) refuse(ConfigErrorCode.Value);
  // Beyond the limit nothing is looked at: a list of a million would be a million messages.
  const items = node.items.slice(0, spec.max).map((item, i) => {
    return check(spec.item, item, { place: item.place, path: childPath(path, i) }, findings);
  });
  return { value: items.filter((item) => item !== undefined), place, path };
}

function checkMap(
  spec: MapSpec<Keys>,
  node: TreeNode,
  spot: Spot,
  findings: Finding[],
): Located<unknown> | undefined {
  const { path } = spot;
  if (node.kind !== "map") {
    const expected = describeSpec(spec);
    findings.push({
      place: node.place,
      path,
      code: ConfigErrorCode.Type,
      expected,
      found: describeNode(node),
    });
    return undefined;
  }
  const value: Record<string, Located<unknown>> = {};
  for (const entry of firstOfEach(node, path, findings)) {
    const key: KeySpec<Spec> | undefined = Object.hasOwn(spec.keys, entry.key)
      ? spec.keys[entry.key]
      : undefined;
    const at: Spot = { place: entry.place, path: childPath(path, entry.key) };
    if (key === undefined) {
      const expected = expectedKey(spec, entry.key);
      findings.push({
        ...at,
        code: ConfigErrorCode.Unknown,
        expected,
        found: `the unknown key ${quote(entry.key)}`,
      });
      continue;
    }
    const found = check(key.spec, entry.value, at, findings);
    if (found !== undefined) value[entry.key] = found;
  }
  for (const [name, key] of Object.entries(spec.keys)) {
    if (!key.required || node.entries.some((entry) => entry.key === name)) continue;
    const at = { place: spot.place, path: childPath(path, name) };
    findings.push({
      ...at,
      code: ConfigErrorCode.Missing,
      expected: describeSpec(key.spec),
      found: "no such key",
    });
  }
  return { value, place: spot.place, path };
}

function checkNames(
  spec: NamesSpec<unknown>,
  node: TreeNode,
  spot: Spot,
  findings: Finding[],
): Located<unknown> | undefined {
  const { path } = spot;
  if (node.kind !== "map" || node.entries.length > spec.max) {
    const isMap = node.kind === "map";
    findings.push({
      place: node.place,
      path,
      code: isMap ? ConfigErrorCode.Value : ConfigErrorCode.Type,
      expected: isMap ? `at most ${spec.max} names` : describeSpec(spec),
      found: isMap ? `${node.entries.length}` : describeNode(node),
    });
    return undefined;
  }
  const pairs: { name: Located<unknown>; value: Located<unknown> }[] = [];
  for (const entry of firstOfEach(node, path, findings)) {
    const at: Spot = { place: entry.place, path: childPath(path, entry.key) };
    const key: TreeNode = { kind: "scalar", place: entry.place, value: entry.key, source: entry.key };
    const name = checkScalar(spec.key, key, at, findings);
    const value = checkScalar(spec.value, entry.value, at, findings);
    if (name !== undefined && value !== undefined) pairs.push({ name, value });
  }
  return { value: pairs, place: spot.place, path };
}

/** The entries of a group without those whose key was there before, which are reported. */
function firstOfEach(node: MapNode, path: string, findings: Finding[]): MapNode["entries"] {
  const first = new Map<string, Place>();
  return node.entries.filter(({ key, place }) => {
    const earlier = first.get(key);
    if (earlier === undefined) {
      first.set(key, place);
      return true;
    }
    findings.push({
      place,
      path: childPath(path, key),
      code: ConfigErrorCode.Duplicate,
      expected: "each key once",
      found: `${quote(key)} again, first on line ${earlier.line}`,
    });
    return false;
  });
}

/** What could have been meant by an unknown key: the nearest known one first. */
function expectedKey(spec: MapSpec<Keys>, unknown: string): string {
  const known = Object.keys(spec.keys);
  const near = nearest(unknown, known);
  if (near === undefined) return `one of the keys of ${spec.name}: ${known.join(", ")}`;
  return `${quote(near)} or another key of ${spec.name}`;
}

/** The candidate that is fewest edits away from `text`, if these are few enough to be a slip: two in five letters. */
export function nearest(text: string, candidates: readonly string[]): string | undefined {
  if (text.length > 40) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(text.length * 0.4)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(text.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours from one to the other (Damerau), row by row. */
function editDistance(one: string, other: string): number {
  let [before, row] = [[] as number[], Array.from({ length: other.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const replaced = row[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      const swap = swapped ? before[j - 2]! + 1 : replaced;
      next.push(Math.min(replaced, swap, row[j]! + 1, next[j - 1]! + 1));
    }
    [before, row] = [row, next];
  }
  return row[other.length]!;
}
