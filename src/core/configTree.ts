// The located tree: what a configuration file says, before anybody judged it, with the place of every key and
// value. It exists so that judging is pure and knows nothing of YAML, and so that every error can say where.
// Duplicate keys are kept: refusing them is the judge's business. Pure: types and the words about them.

/** Where something stands in its file; both count from 1, columns in UTF-16 units as editors do. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface ScalarNode {
  readonly kind: "scalar";
  readonly place: Place;
  /** As YAML 1.2's core schema reads it. */
  readonly value: string | number | boolean | null;
  /** As it is written. */
  readonly source: string;
}

export interface ListNode {
  readonly kind: "list";
  readonly place: Place;
  readonly items: readonly TreeNode[];
}

export interface MapEntry {
  readonly key: string;
  readonly place: Place;
  readonly value: TreeNode;
}

export interface MapNode {
  readonly kind: "map";
  readonly place: Place;
  readonly entries: readonly MapEntry[];
}

export type TreeNode = ScalarNode | ListNode | MapNode;

/** What kind of mistake it is: stable, for programs. */
export const ConfigErrorCode = {
  /** The file cannot be read, or is not text. */
  File: "file",
  /** It is not YAML, or YAML that is not taken here. */
  Syntax: "syntax",
  Unknown: "unknown",
  Missing: "missing",
  Duplicate: "duplicate",
  Type: "type",
  Value: "value",
  /** Each value holds alone, but not together with another. */
  Conflict: "conflict",
  /** The file holds, but this machine is not as it says. */
  Machine: "machine",
  /** The file holds, but an interface that it names is not there, or not yet. */
  Absent: "absent",
} as const;
export type ConfigErrorCode = (typeof ConfigErrorCode)[keyof typeof ConfigErrorCode];

/** One mistake in a configuration file. */
export interface ConfigError {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Which key: `links[1].gateway` (lists count from 0); empty for the file as a whole. */
  readonly path: string;
  readonly code: ConfigErrorCode;
  readonly expected: string;
  readonly found: string;
}

/** A mistake before the name of its file is known. */
export type Finding = Omit<ConfigError, "file" | "line" | "column"> & { readonly place: Place };

/** A checked value that still knows where it stands. */
export interface Located<T> {
  readonly value: T;
  readonly place: Place;
  readonly path: string;
}

/** Values are quoted in messages up to this many characters: a file that is none of ours may hold anything. */
const QUOTE_LENGTH_MAX = 60;

export function quote(text: string): string {
  const short = text.length > QUOTE_LENGTH_MAX ? `${text.slice(0, QUOTE_LENGTH_MAX)}...` : text;
  return JSON.stringify(short);
}

/** A node in words: `the number 3`, `the text "fibre"`, `a list of 2`, `nothing`. */
export function describeNode(node: TreeNode): string {
  if (node.kind === "list")
    return node.items.length === 0 ? "an empty list" : `a list of ${node.items.length}`;
  if (node.kind === "map") return "a group of keys";
  if (node.value === null) return "nothing";
  if (typeof node.value === "string") return `the text ${quote(node.value)}`;
  if (typeof node.value === "number") return `the number ${quote(node.source).slice(1, -1)}`;
  return node.value ? "true" : "false";
}

/** `links` + 1 -> `links[1]`; `links[1]` + `gateway` -> `links[1].gateway`. */
export function childPath(parent: string, child: string | number): string {
  if (typeof child === "number") return `${parent}[${child}]`;
  const name = /^[A-Za-z0-9_-]+$/.test(child) ? child : quote(child);
  return parent === "" ? name : `${parent}.${name}`;
}

/** Puts the name of the file to what was found in it. */
export function inFile(file: string, findings: readonly Finding[]): ConfigError[] {
  return findings.map(({ place, ...rest }) => ({ file, line: place.line, column: place.column, ...rest }));
}

/**
 * One line an error, `file:line:column: path: expected X, found Y`, in the order of the files and lines; an error
 * that is there twice (two node files of one pair file) is said once.
 */
export function formatErrors(errors: readonly ConfigError[]): string {
  const files = [...new Set(errors.map((error) => error.file))];
  const sorted = [...errors].sort(
    (x, y) =>
      files.indexOf(x.file) - files.indexOf(y.file) ||
      x.line - y.line ||
      x.column - y.column ||
      (x.path < y.path ? -1 : x.path > y.path ? 1 : 0),
  );
  const lines = sorted.map(({ file, line, column, path, code, expected, found }) => {
    // Of a file that cannot be read there is no line to point at.
    if (code === ConfigErrorCode.File && path === "") return `${file}: cannot be read: ${found}`;
    const where = path === "" ? "" : `${path}: `;
    return `${file}:${line}:${column}: ${where}expected ${expected}, found ${found}`;
  });
  return [...new Set(lines)].join("\n");
}
