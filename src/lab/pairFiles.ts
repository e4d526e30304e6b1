// The configuration of the laboratory's pair, as a user would write it: one text for both nodes, a few lines for each. Pure.

import type { LinkSpec, NodeSpec, Topology } from "./topology.ts";

export interface PairFileOptions {
  /** Public keys as `understudy keygen` prints them. */
  readonly keys: { readonly a: string; readonly b: string };
  /** Seed of the placement; default: derived from the pair's name. */
  readonly seed?: number;
  /** Helpers of connection tracking for the LAN's sessions; default: none. */
  readonly helpers?: readonly string[];
}

/** One element of `links`. */
export const linkLines = (link: LinkSpec): readonly string[] => [
  `  - id: ${link.id}`,
  `    name: ${link.name}`,
  `    interface: ${link.device}`,
  `    gateway: [${link.v4.gateway}, "${link.v6.gateway}"]`,
  `    addresses: [${link.v4.shared}/24, "${link.v6.shared}/64"]`,
  `    weight: ${link.weight}`,
];

/** Text of `pair.yaml`. */
export function pairFile(topology: Topology, options: PairFileOptions): string {
  const [a, b] = topology.nodes;
  const { lan } = topology;
  const links = topology.links.flatMap(linkLines);
  return [
    "version: 1",
    "pair: laboratory",
    "nodes:",
    `  a: { keys: ["${options.keys.a}"], priority: 100 }`,
    `  b: { keys: ["${options.keys.b}"], priority: 90 }`,
    "lan:",
    "  interface: lan",
    `  addresses: [${lan.shared4}/16, "${lan.shared6}/64"]`,
    `  witnesses: [${topology.hosts
      .slice(0, 2)
      .map((host) => host.v4)
      .join(", ")}]`,
    "links:",
    ...links,
    "paths:",
    `  - { name: sync, interface: sync, a: ${a.sync}, b: ${b.sync} }`,
    `  - { name: lan, interface: lan, a: ${a.lan4}, b: ${b.lan4} }`,
    ...(options.helpers === undefined ? [] : [`helpers: [${options.helpers.join(", ")}]`]),
    ...(options.seed === undefined ? [] : [`placement: { seed: ${options.seed} }`]),
    "",
  ].join("\n");
}

/** Text of `node.yaml` in the node's own directory; its devices have the names that the pair's file uses. */
export function nodeFile(node: NodeSpec, directory: string): string {
  return [
    `node: ${node.name}`,
    "pair: pair.yaml",
    "key: node.key",
    `state: ${directory}/state`,
    `runtime: ${directory}/run`,
    "",
  ].join("\n");
}
