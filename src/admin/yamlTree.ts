// YAML text as a located tree: the YAML library reads, this file keeps of it what a configuration may use, with
// the place of everything, and refuses the rest by name (aliases, merge keys, several documents). It knows no key
// of ours and touches no file.

import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseAllDocuments,
  type Node as YamlNode,
} from "yaml";
import { ConfigErrorCode, childPath, type Finding, type Place, type TreeNode } from "../core/configTree.ts";

/** Deeper than any configuration: a list of addresses in a link in the list of links is at four. */
const DEPTH_MAX = 16;

const START: Place = { line: 1, column: 1 };

export interface YamlTree {
  /** What could be read; undefined where nothing could. After a syntax error it is the library's best guess. */
  readonly tree: TreeNode | undefined;
  readonly findings: readonly Finding[];
}

/** Reads YAML 1.2 (core schema). Never throws: whatever is wrong is a finding. */
export function parseYaml(text: string): YamlTree {
  const lines = new LineCounter();
  let documents: readonly Document[];
  try {
    const parsed = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      strict: true,
      uniqueKeys: false,
      version: "1.2",
      logLevel: "silent",
    });
    documents = Array.isArray(parsed) ? parsed : [];
  } catch (error) {
    // The library recurses; a file of brackets alone ends its stack.
    if (error instanceof RangeError) return { tree: undefined, findings: [syntax(START, TOO_DEEP)] };
    throw error;
  }
  const [document, second] = documents;
  if (document === undefined) return { tree: undefined, findings: [syntax(START, "an empty file")] };
  const reader = new TreeReader(lines);
  const { contents } = document;
  const empty = contents === null || (isScalar(contents) && contents.value === null);
  const read = (): TreeNode | undefined => (empty ? undefined : reader.read(contents, START, "", 0));
  if (document.errors.length > 0) {
    const tree = read();
    return { tree, findings: breakOf(document, reader) };
  }
  for (const { pos, message } of document.warnings)
    reader.findings.push(syntax(reader.placeAt(pos[0]), lowerFirst(message)));
  if (second !== undefined) {
    const at = reader.placeAt(second.contents?.range?.[0] ?? second.range?.[0] ?? 0);
    reader.findings.push(syntax(at, "a second document (a line of ---)"));
  }
  if (empty && reader.findings.length === 0) reader.findings.push(syntax(START, "an empty file"));
  const tree = read();
  return { tree, findings: reader.findings };
}

/**
 * The first break alone: what follows it is mostly its consequence (one tab is one mistake). Where we ourselves refuse
 * something there or before, in our words.
 */
function breakOf(document: Document, reader: TreeReader): readonly Finding[] {
  const first = document.errors.reduce((one, other) => (other.pos[0] < one.pos[0] ? other : one));
  const place = reader.placeAt(first.pos[0]);
  const own = reader.findings.filter(
    ({ place: { line, column } }) => line < place.line || (line === place.line && column <= place.column),
  );
  return own.length > 0 ? own.slice(0, 1) : [syntax(place, lowerFirst(first.message))];
}

const TOO_DEEP = `values nested more than ${DEPTH_MAX} deep`;

function syntax(place: Place, found: string, path = ""): Finding {
  return { place, path, code: ConfigErrorCode.Syntax, expected: "plain YAML", found };
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

/** Turns the library's nodes into ours, collecting what is refused. */
class TreeReader {
  readonly findings: Finding[] = [];
  readonly #lines: LineCounter;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  placeAt(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  /** `at` is the place of what has no place of its own: the value that `key:` leaves out. */
  read(node: unknown, at: Place, path: string, depth: number): TreeNode {
    const place = isNode(node) && node.range ? this.placeAt(node.range[0]) : at;
    const nothing: TreeNode = { kind: "scalar", place, value: null, source: "" };
    if (depth > DEPTH_MAX) {
      this.findings.push(syntax(place, TOO_DEEP, path));
      return nothing;
    }
    if (isAlias(node)) {
      this.findings.push(syntax(place, `the alias *${node.source} (write the value out)`, path));
      return nothing;
    }
    if (isSeq(node)) {
      const items = node.items.map((item, i) => this.read(item, place, childPath(path, i), depth + 1));
      return { kind: "list", place, items };
    }
    if (isMap(node)) {
      const entries = node.items.map((pair) => this.#entry(pair, place, path, depth));
      return { kind: "map", place, entries: entries.filter((entry) => entry !== null) };
    }
    if (!isScalar(node)) return nothing;
    return this.#scalar(node.value, node.source ?? String(node.value), place, path);
  }

  #scalar(value: unknown, source: string, place: Place, path: string): TreeNode {
    switch (typeof value) {
      case "string":
      case "number":
      case "boolean":
        return { kind: "scalar", place, value, source };
      case "object":
        if (value === null) return { kind: "scalar", place, value, source };
    }
    // !!binary, !!timestamp and whatever else a tag makes.
    this.findings.push(syntax(place, "a value with a tag that is not used here", path));
    return { kind: "scalar", place, value: null, source };
  }

  #entry(pair: Pair, at: Place, path: string, depth: number) {
    const key = pair.key as YamlNode | null;
    const place = key?.range ? this.placeAt(key.range[0]) : at;
    if (!isScalar(key) || key.value === null) {
      this.findings.push(syntax(place, "a key that is not a word", path));
      return null;
    }
    const name = typeof key.value === "string" ? key.value : (key.source ?? String(key.value));
    const value = this.read(pair.value, place, childPath(path, name), depth + 1);
    return { key: name, place, value };
  }
}
