// The two configuration files on disk: reads them, has them judged by core/configCheck.ts and core/configRules.ts,
// and returns the Config or every mistake in both. At start-up it also holds a Config against the machine that it
// is to run on. It decides nothing about what a good configuration is.

import { createPrivateKey, createPublicKey } from "node:crypto";
import { accessSync, constants, readFileSync, statSync } from "node:fs";
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

/**
 * Reads the node's file and the pair's file that it names.
 * @returns the configuration of this node, or every mistake of both files (`formatErrors` of core/configTree.ts prints them).
 */
export function readConfiguration(nodeFile: string): Configuration {
  const file = resolve(nodeFile);
  const node = readSheet(NODE, nodeFile);
  const findings = [...node.findings];
  const named = node.value?.value.pair;
  const errors: ConfigError[] = [];
  let config: Config | undefined;
  if (named !== undefined) {
    // Messages name a file as its reader would: relative to where he is, if he said it that way.
    const pairFile = besides(nodeFile, named.value);
    const missing = unreadable(pairFile);
    if (missing !== null) {
      const expected = "the pair's file (relative paths count from this file)";
      findings.push({
        ...placeOf(named),
        code: ConfigErrorCode.File,
        expected,
        found: `${pairFile}: ${missing}`,
      });
    } else {
      const pair = readSheet(PAIR, pairFile);
      const pairFindings = [...pair.findings, ...pairRules(pair)];
      if (node.value !== undefined && pair.value !== undefined && node.whole && pair.whole) {
        findings.push(...applyRules(NODE_RULES, { node: node.value.value, pair: pair.value.value }));
        if (findings.length === 0 && pairFindings.length === 0) {
          const { key, state, runtime } = node.value.value;
          config = buildConfig(pair.value.value, node.value.value, {
            keyFile: besides(file, key?.value ?? "node.key"),
            stateDirectory: besides(file, state?.value ?? "/var/lib/understudy"),
            runtimeDirectory: besides(file, runtime?.value ?? "/run/understudy"),
            pairFile: besides(file, named.value),
            nodeFile: file,
          });
        }
      }
      errors.push(...limited(inFile(pairFile, pairFindings)));
    }
  }
  if (config !== undefined) return { ok: true, config };
  return { ok: false, errors: [...limited(inFile(nodeFile, findings)), ...errors] };
}

/** Every mistake of a pair's file, alone. */
export function checkPairFile(file: string): readonly ConfigError[] {
  const sheet = readSheet(PAIR, file);
  return limited(inFile(file, [...sheet.findings, ...pairRules(sheet)]));
}

/** Every mistake of a node's file and of the pair's file that it names. */
export function checkNodeFile(file: string): readonly ConfigError[] {
  const result = readConfiguration(file);
  return result.ok ? [] : result.errors;
}

/** Checks a file of either kind; which one it is, its own outermost keys say. */
export function checkFile(file: string): FileVerdict {
  const kind = kindOfFile(file);
  return { file, kind, errors: kind === "pair" ? checkPairFile(file) : checkNodeFile(file) };
}

function pairRules(sheet: Sheet<typeof PAIR>): readonly Finding[] {
  return sheet.whole && sheet.value !== undefined
    ? applyRules(PAIR_RULES, sheet.value.value satisfies PairFile)
    : [];
}

/** The kind of file whose table has more of the outermost keys; a file that cannot be read counts as the pair's. */
function kindOfFile(file: string): "pair" | "node" {
  const read = readText(file);
  const tree = "text" in read ? parseYaml(read.text).tree : undefined;
  if (tree?.kind !== "map") return "pair";
  const known = (spec: typeof PAIR | typeof NODE): number =>
    tree.entries.filter(({ key }) => Object.hasOwn(spec.keys, key)).length;
  return known(NODE) > known(PAIR) ? "node" : "pair";
}

/** Reads one file and holds it against its table. */
function readSheet<S extends Spec>(spec: S, file: string): Sheet<S> {
  const read = readText(file);
  if ("finding" in read) return { value: undefined, findings: [read.finding], whole: false };
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
 * the network namespace that it runs in.
 */
export function checkMachine(config: Config): readonly ConfigError[] {
  const node = readSheet(NODE, config.files.node).value;
  const pair = readSheet(PAIR, config.files.pair).value;
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
  return interfacesOf(pair).flatMap((name) => {
    const device = deviceOf(node, name);
    if (here.includes(device)) return [];
    const mapped = node.interfaces?.value.find((entry) => entry.name.value === name)?.value;
    const at = mapped ?? { place: node.interfaces?.place ?? START, path: childPath("interfaces", name) };
    const near = nearest(device, others);
    const hint = near === undefined ? `here are ${others.join(", ") || "none"}` : `here is ${near}`;
    const role = mapped === undefined ? " (not mapped: the same name)" : "";
    return [machineFinding(at, `an interface of this machine${role}`, `no ${quote(device)}; ${hint}`)];
  });
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

/** The text of a file, or why there is none. */
function readText(file: string): { readonly text: string } | { readonly finding: Finding } {
  const refuse = (expected: string, found: string): { finding: Finding } => ({
    finding: { place: START, path: "", code: ConfigErrorCode.File, expected, found },
  });
  const missing = unreadable(file);
  if (missing !== null) return refuse("a file that can be read", missing);
  const bytes = readFileSync(file);
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return refuse("text in UTF-8", "other bytes");
  }
}

/** Why a file cannot be read, in words with the system's code; null where it can. */
function unreadable(file: string): string | null {
  try {
    const { size } = statSync(file);
    if (size > CONFIGURATION_BYTES_MAX) return `${size} bytes (at most ${CONFIGURATION_BYTES_MAX})`;
    readFileSync(file);
    return null;
  } catch (error) {
    return systemWords(error);
  }
}

/** The system's own words, without the call and the path that Node puts behind them. */
export function systemWords(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
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

function placeOf({ place, path }: Located<unknown>): { readonly place: Place; readonly path: string } {
  return { place, path };
}

/** A file that is none of ours may have any number of mistakes; the first ones say so. */
function limited(errors: readonly ConfigError[]): readonly ConfigError[] {
  const sorted = [...errors].sort((x, y) => x.line - y.line || x.column - y.column);
  return sorted.slice(0, CONFIGURATION_ERRORS_MAX);
}
