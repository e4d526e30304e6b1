// The two configuration files on disk: reads them, has them judged by core/configCheck.ts and core/configRules.ts,
// and returns the Config or every mistake in both. At start-up it also holds a Config against the machine that it
// is to run on. It decides nothing about what a good configuration is.

import { createPrivateKey, createPublicKey } from "node:crypto";
import { accessSync, closeSync, constants, openSync, readFileSync, readSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CONFIGURATION_BYTES_MAX, CONFIGURATION_ERRORS_MAX } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import { buildConfig, deviceOf } from "../core/configBuild.ts";
import { checkTree, nearest } from "../core/configCheck.ts";
import { NODE, type NodeFile, PAIR, type PairFile } from "../core/configKeys.ts";
import { applyRules, interfacesOf, NODE_RULES, PAIR_RULES } from "../core/configRules.ts";
import type { Spec, ValueOf } from "../core/configSpec.ts";
import {
  type ConfigError,
  ConfigErrorCode,
  childPath,
  type Finding,
  inFile,
  type Located,
  type Place,
  quote,
} from "../core/configTree.ts";
import { parseYaml } from "./yamlTree.ts";

export type Configuration =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly errors: readonly ConfigError[] };

/** What `understudy check` says of one file. */
export interface FileVerdict {
  readonly file: string;
  readonly kind: "pair" | "node";
  readonly errors: readonly ConfigError[];
}

const START: Place = { line: 1, column: 1 };
/** A private key in PEM has 119 bytes; what is far beyond is something else. */
const KEY_BYTES_MAX = 16 * 1024;

/** A file held against its table: its value as far as it holds, and every mistake so far. */
interface Sheet<S extends Spec> {
  readonly value: Located<ValueOf<S>> | undefined;
  readonly findings: readonly Finding[];
  /** Whether the text was YAML: only then is it worth asking what keys are together. */
  readonly whole: boolean;
}

/** A file's text, or why there is none. It is read once, so that a pipe (`<(...)`) is as good as a file. */
interface Source {
  readonly file: string;
  readonly read: { readonly text: string } | { readonly unread: string };
}

/**
 * Reads the node's file and the pair's file that it names.
 * @returns the configuration of this node, or every mistake of both files (`formatErrors` of core/configTree.ts
 * prints them). Files are named in messages as they were named by the caller.
 */
export function readConfiguration(nodeFile: string): Configuration {
  return configurationOf(readSource(nodeFile));
}

/** A pair's file that lies nowhere yet: its text, and its name in messages. */
export interface PairText {
  readonly file: string;
  readonly text: string;
}

/** As `readConfiguration`, and as if the pair's file had the text of `pair`; its paths are those of the node's file all the same. */
export function configurationWith(nodeFile: string, pair: PairText): Configuration {
  return configurationOf(readSource(nodeFile), { file: pair.file, read: { text: pair.text } });
}

/** Every mistake of a pair's file, alone. */
export function checkPairFile(file: string): readonly ConfigError[] {
  return pairErrors(file, sheetOf(PAIR, readSource(file)));
}

/** Every mistake of a node's file and of the pair's file that it names. */
export function checkNodeFile(file: string): readonly ConfigError[] {
  const result = readConfiguration(file);
  return result.ok ? [] : result.errors;
}

/** Checks a file of either kind; which one it is, its own outermost keys say. */
export function checkFile(file: string): FileVerdict {
  const source = readSource(file);
  const kind = kindOf(source);
  if (kind === "pair") return { file, kind, errors: pairErrors(file, sheetOf(PAIR, source)) };
  const result = configurationOf(source);
  return { file, kind, errors: result.ok ? [] : result.errors };
}

function configurationOf(source: Source, given?: Source): Configuration {
  const node = sheetOf(NODE, source);
  const named = node.value?.value.pair;
  const nodeErrors = (more: readonly Finding[]): readonly ConfigError[] =>
    limited(inFile(source.file, [...node.findings, ...more]));
  if (node.value === undefined || named === undefined) return { ok: false, errors: nodeErrors([]) };

  const pairSource = given ?? readSource(besides(source.file, named.value));
  if ("unread" in pairSource.read) {
    const { place, path } = named;
    const expected = "the pair's file (relative paths count from this file)";
    const found = `${pairSource.file}: ${pairSource.read.unread}`;
    return { ok: false, errors: nodeErrors([{ place, path, code: ConfigErrorCode.File, expected, found }]) };
  }
  const pair = sheetOf(PAIR, pairSource);
  const errors = pairErrors(pairSource.file, pair);
  if (pair.value === undefined || !node.whole || !pair.whole) {
    return { ok: false, errors: [...nodeErrors([]), ...errors] };
  }
  const together = applyRules(NODE_RULES, { node: node.value.value, pair: pair.value.value });
  const all = [...nodeErrors(together), ...errors];
  if (all.length > 0) return { ok: false, errors: all };

  const nodeFile = resolve(source.file);
  const { key, state, runtime } = node.value.value;
  const config = buildConfig(pair.value.value, node.value.value, {
    keyFile: besides(nodeFile, key?.value ?? "node.key"),
    stateDirectory: besides(nodeFile, state?.value ?? "/var/lib/understudy"),
    runtimeDirectory: besides(nodeFile, runtime?.value ?? "/run/understudy"),
    pairFile: besides(nodeFile, named.value),
    nodeFile,
  });
  return { ok: true, config };
}

function pairErrors(file: string, sheet: Sheet<typeof PAIR>): readonly ConfigError[] {
  const together = sheet.whole && sheet.value !== undefined ? applyRules(PAIR_RULES, sheet.value.value) : [];
  return limited(inFile(file, [...sheet.findings, ...together]));
}

/** The kind of file whose table has more of the outermost keys; a file that cannot be read counts as the pair's. */
function kindOf({ read }: Source): "pair" | "node" {
  const tree = "text" in read ? parseYaml(read.text).tree : undefined;
  if (tree?.kind !== "map") return "pair";
  const known = (spec: typeof PAIR | typeof NODE): number =>
    tree.entries.filter(({ key }) => Object.hasOwn(spec.keys, key)).length;
  return known(NODE) > known(PAIR) ? "node" : "pair";
}

/** Holds one file against its table. */
function sheetOf<S extends Spec>(spec: S, { read }: Source): Sheet<S> {
  if ("unread" in read) {
    const expected = "a text file that can be read";
    const finding = { place: START, path: "", code: ConfigErrorCode.File, expected, found: read.unread };
    return { value: undefined, findings: [finding], whole: false };
  }
  const { tree, findings } = parseYaml(read.text);
  if (tree === undefined) return { value: undefined, findings, whole: false };
  const checked = checkTree(spec, tree);
  if (findings.length === 0) return { value: checked.value, findings: checked.findings, whole: true };
  return {
    value: checked.value,
    findings: [...findings, ...beforeBreak(checked.findings, findings)],
    whole: false,
  };
}

/**
 * After a syntax error the rest of the file is guessed, so that what seems missing there may be a consequence. What
 * stands well before the first one is a mistake of its own; a bracket that nobody closes is noticed a line late.
 */
function beforeBreak(findings: readonly Finding[], syntax: readonly Finding[]): readonly Finding[] {
  const broken = Math.min(...syntax.map(({ place }) => place.line)) - 1;
  return findings.filter(({ place, code }) => place.line < broken && code !== ConfigErrorCode.Missing);
}

/**
 * What of the machine is not as the configuration says, before anything is touched: interfaces that are not there, a
 * private key that is missing, unreadable, readable by others or not the one that the pair's file lists, directories
 * that cannot be written. Every mistake points at the line of the node's file that says so. Reads the interfaces of
 * the network namespace that it runs in. `given`: where `config` was made of a pair's file that lies nowhere yet.
 */
export function checkMachine(config: Config, given?: PairText): readonly ConfigError[] {
  const node = sheetOf(NODE, readSource(config.files.node)).value;
  const source = given === undefined ? readSource(config.files.pair) : { ...given, read: given };
  const pair = sheetOf(PAIR, source).value;
  if (node === undefined || pair === undefined) return [];
  const at = (key: keyof NodeFile): Spot => node.value[key] ?? { place: START, path: key };
  const findings = [
    ...missingInterfaces(node.value, pair.value, interfacesHere()),
    ...wrongKey(config, at("key")),
    ...unwritable(config.stateDirectory, at("state")),
    ...unwritable(config.runtimeDirectory, at("runtime")),
  ];
  return limited(inFile(config.files.node, findings));
}

/** Where something is said. */
type Spot = Pick<Located<unknown>, "place" | "path">;

function machineFinding({ place, path }: Spot, expected: string, found: string): Finding {
  return { place, path, code: ConfigErrorCode.Machine, expected, found };
}

/** The interfaces of this network namespace. (/sys shows those of whoever mounted it.) */
function interfacesHere(): readonly string[] {
  const lines = readFileSync("/proc/net/dev", "utf8").split("\n").slice(2);
  return lines.map((line) => line.slice(0, line.lastIndexOf(":")).trim()).filter((name) => name !== "");
}

function missingInterfaces(node: NodeFile, pair: PairFile, here: readonly string[]): readonly Finding[] {
  const others = here.filter((name) => name !== "lo" && !name.startsWith("us-")).sort();
  const used = new Set(interfacesOf(pair).map((name) => deviceOf(node, name)));
  return interfacesOf(pair).flatMap((name) => {
    const device = deviceOf(node, name);
    if (here.includes(device)) return [];
    const mapped = node.interfaces?.value.find((entry) => entry.name.value === name)?.value;
    const at = mapped ?? { place: node.interfaces?.place ?? START, path: childPath("interfaces", name) };
    const role = mapped === undefined ? " (not mapped: the same name)" : "";
    const expected = `an interface of this machine${role}`;
    const found = `no ${quote(device)}; ${freeHere(device, others, used)}`;
    return [{ place: at.place, path: at.path, code: ConfigErrorCode.Absent, expected, found }];
  });
}

/** Which interfaces could be meant instead: those that nothing else is mapped to, the likeliest first. */
function freeHere(device: string, here: readonly string[], used: ReadonlySet<string>): string {
  const free = here.filter((name) => !used.has(name));
  if (free.length === 0)
    return here.length === 0 ? "here are none" : `here are ${here.join(", ")}, each mapped already`;
  const near = nearest(device, free);
  const ordered = near === undefined ? free : [near, ...free.filter((name) => name !== near)];
  return `free here: ${ordered.join(", ")}`;
}

function wrongKey(config: Config, at: Spot): readonly Finding[] {
  const file = config.keyFile;
  try {
    const stat = statSync(file);
    if (!stat.isFile()) return [machineFinding(at, "a private key file", `${file}, which is no file`)];
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
      const expected = `a private key that its owner alone can read (chmod 600 ${file})`;
      return [machineFinding(at, expected, `mode ${mode}`)];
    }
    const listed = stat.size > KEY_BYTES_MAX ? null : publicKeyOf(readFileSync(file));
    if (listed === null)
      return [machineFinding(at, "an Ed25519 private key, made by `understudy keygen`", file)];
    if (config.ownKeys.includes(listed)) return [];
    return [
      machineFinding(at, `the private key of one of nodes.${config.node}.keys in the pair's file`, listed),
    ];
  } catch (error) {
    return [
      machineFinding(at, "a private key, made by `understudy keygen`", `${file}: ${systemWords(error)}`),
    ];
  }
}

/** The public half of a private key in PEM, as the pair's file lists it; null where the bytes are no such key. */
function publicKeyOf(pem: Buffer): string | null {
  try {
    const { crv, x } = createPublicKey(createPrivateKey(pem)).export({ format: "jwk" });
    if (crv !== "Ed25519" || x === undefined) return null;
    return `ed25519:${Buffer.from(x, "base64url").toString("base64")}`;
  } catch {
    return null;
  }
}

/** A directory must be writable, or where it is not there yet, the nearest directory above it. */
function unwritable(directory: string, at: Spot): readonly Finding[] {
  for (let here = directory; ; here = dirname(here)) {
    try {
      if (!statSync(here).isDirectory()) return [machineFinding(at, "a directory", `${here}, which is none`)];
      accessSync(here, constants.W_OK | constants.X_OK);
      return [];
    } catch (error) {
      const absent = (error as NodeJS.ErrnoException).code === "ENOENT" && here !== dirname(here);
      if (!absent)
        return [machineFinding(at, "a directory that can be written", `${here}: ${systemWords(error)}`)];
    }
  }
}

function readSource(file: string): Source {
  const buffer = new Uint8Array(CONFIGURATION_BYTES_MAX + 1);
  let length = 0;
  try {
    const fd = openSync(file, "r");
    try {
      for (;;) {
        const count = readSync(fd, buffer, length, buffer.length - length, null);
        length += count;
        if (count === 0 || length === buffer.length) break;
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return { file, read: { unread: systemWords(error) } };
  }
  if (length === buffer.length)
    return { file, read: { unread: `more than ${CONFIGURATION_BYTES_MAX} bytes` } };
  try {
    return {
      file,
      read: { text: new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length)) },
    };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { file, read: { unread: "bytes that are not UTF-8" } };
  }
}

/** The system's own words, without the call and the path that Node puts behind them. */
export function systemWords(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
  if (code === "ENOENT") return "no such file (ENOENT)";
  const words = /^[A-Z0-9]+: ([^,]+)/.exec(message)?.[1];
  return words === undefined ? code : `${words} (${code})`;
}

/** `path` as a file at `file` means it. */
function besides(file: string, path: string): string {
  return path.startsWith("/") ? path : joined(dirname(file), path);
}

function joined(directory: string, path: string): string {
  if (directory.startsWith("/")) return resolve(directory, path);
  return directory === "." ? path : `${directory}/${path}`;
}

/** A file that is none of ours may have any number of mistakes; the first ones say so. */
function limited(errors: readonly ConfigError[]): readonly ConfigError[] {
  const sorted = [...errors].sort((x, y) => x.line - y.line || x.column - y.column);
  return sorted.slice(0, CONFIGURATION_ERRORS_MAX);
}
