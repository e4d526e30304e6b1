// What a node has of the pair's configuration, seen from outside: the file on its disk, the versions that it keeps, and what its
// kernel was told. Two of them can be compared: between nodes, or before and after.

import { readFileSync } from "node:fs";
import { run } from "./commands.ts";
import { type NodeName, pairFileOf } from "./pair.ts";
import type { World } from "./world.ts";

export interface ConfigurationState {
  /** The pair's file, byte for byte. */
  readonly file: string;
  /** `understudy show config --versions`: id, number and whether it is in force, the newest first. */
  readonly versions: readonly string[];
  /** Interfaces, addresses, rules, routes and the pair's tables, as `ip` and `nft` print them. */
  readonly kernel: string;
}

/** What a node's own addresses and the kernel's clocks make different is left out. */
const KERNEL = `
ip -o link show | sed -n 's/^[0-9]*: \\(us-[^@:]*\\).*link.ether \\([0-9a-f:]*\\).*/\\1 \\2/p' | sort
ip -o addr show | awk '$2 ~ /^us-/ { print $2, $3, $4 }' | grep -v ' fe80' | sort
for f in -4 -6; do
  ip $f rule show
  ip $f route show table all proto 148 | sed 's/ pref medium//; s/ *$//' | sort
done
nft -s list table inet understudy
`;

interface VersionsAnswer {
  readonly versions: readonly {
    readonly header: { readonly id: string; readonly number: number };
    readonly inForce: boolean;
  }[];
}

export async function configurationOf(world: World, node: NodeName): Promise<ConfigurationState> {
  const { stdout: kernel } = await run(["sh", "-c", KERNEL], { inside: world.pids.get(node)! });
  const shown = await world.pair.command(node, ["show", "config", "--versions", "--json"]);
  const { versions } = (shown.code === 0 ? JSON.parse(shown.stdout) : { versions: [] }) as VersionsAnswer;
  return {
    file: readFileSync(pairFileOf(world.directory, node), "utf8"),
    versions: versions.map(({ header, inForce }) => `${header.number} ${header.id}${inForce ? " *" : ""}`),
    kernel,
  };
}

/** The version in force: its number and its id; null where the node does not say. */
export const inForce = (state: ConfigurationState): string | null =>
  state.versions.find((line) => line.endsWith(" *"))?.slice(0, -2) ?? null;

/** Which parts differ, in words; empty where none does. */
export function differencesOf(one: ConfigurationState, other: ConfigurationState): readonly string[] {
  const words: string[] = [];
  if (one.file !== other.file) words.push("the pair's files");
  if (inForce(one) !== inForce(other))
    words.push(`the version in force (${inForce(one)} and ${inForce(other)})`);
  if (one.kernel !== other.kernel) words.push(`the kernels (${firstDifference(one.kernel, other.kernel)})`);
  return words;
}

/** As `differencesOf`, and every version that is kept. */
export function changesOf(before: ConfigurationState, after: ConfigurationState): readonly string[] {
  const kept = before.versions.join() === after.versions.join() ? [] : ["the versions that are kept"];
  return [...differencesOf(before, after), ...kept];
}

function firstDifference(one: string, other: string): string {
  const [left, right] = [one.split("\n"), other.split("\n")];
  const at = left.findIndex((line, index) => line !== right[index]);
  return at < 0
    ? `more: ${right[left.length]?.trim()}`
    : `${left[at]?.trim()} | ${right[at]?.trim() ?? "nothing"}`;
}
