// A scenario: everything that a run of the simulator needs beside the machine itself, as plain data and as a text that
// a person can read, write and replay. A failing seed is printed in this form (shrink.ts).

import { assert } from "../../src/base/assert.ts";

/** What can be done to the world. Durations in ms; a fault undoes itself after `forMs`. */
export type Action =
  /** Heart dies (its kernel does not) and starts again. */
  | { kind: "kill"; node: number; forMs: number }
  /** The machine loses its power; `forgets`: its disk is wiped as well. */
  | { kind: "crash"; node: number; forMs: number; forgets: boolean }
  /** SIGSTOP of heart. */
  | { kind: "freeze"; node: number; forMs: number }
  /** The whole machine stands still, its clock included. */
  | { kind: "pause"; node: number; forMs: number }
  /** Stalls of up to `maxMs` between any two effects, each with probability `percent`. */
  | { kind: "stalls"; node: number; percent: number; maxMs: number; forMs: number }
  /** The medium is parted between the nodes: `from` cannot reach the other; -1: neither the other. */
  | { kind: "cut"; medium: number; from: number; forMs: number }
  /** A switch port that keeps its carrier and loses frames: out of the node, into it, or both. */
  | { kind: "port"; node: number; medium: number; direction: "mute" | "deaf" | "dead"; forMs: number }
  | { kind: "carrier"; node: number; medium: number; forMs: number }
  /** All of a node's ports at once, carriers up. */
  | { kind: "ports"; node: number; forMs: number }
  | { kind: "loss"; medium: number; percent: number; forMs: number }
  | { kind: "slow"; medium: number; extraMs: number; forMs: number }
  /** Heartbeats alone are dropped, on every path: from one node, or (-1) from both. */
  | { kind: "heartbeats"; from: number; forMs: number }
  /** The third party of a segment is silent towards a node. */
  | { kind: "witness"; node: number; medium: number; forMs: number }
  /** The daemon is silent; `announced`: it said that it restarts. */
  | { kind: "daemon"; node: number; announced: boolean; forMs: number }
  | { kind: "disk"; node: number; how: "refuses" | "hangs"; forMs: number }
  | { kind: "handover"; node: number }
  | { kind: "leave"; node: number; forMs: number }
  /** Somebody flushes the ruleset. */
  | { kind: "flush"; node: number };

export interface TimedAction {
  readonly at: number;
  readonly action: Action;
}

export interface Scenario {
  readonly title: string;
  /** Of the noise: delays, losses, jitter. */
  readonly seed: number;
  readonly heartbeatMs: number;
  readonly deadMs: number;
  readonly leaseMs: number;
  readonly soloMs: number;
  /** Service segments; medium 0 is the LAN, the last medium (after the segments) is the sync cable. */
  readonly segments: number;
  /** Media that carry heartbeats. */
  readonly paths: readonly number[];
  readonly singleMac: readonly number[];
  /** Clock rates of a and b relative to true time. */
  readonly rates: readonly [number, number];
  readonly bootAt: readonly [number, number];
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly lossPercent: number;
  /** Latest wake-up of heart after something happened, ms. */
  readonly wakeMs: number;
  readonly actions: readonly TimedAction[];
  /** How long after the last fault the world goes on. */
  readonly quietMs: number;
}

export const QUIET_DEFAULTS: Scenario = {
  title: "",
  seed: 1,
  heartbeatMs: 10,
  deadMs: 50,
  leaseMs: 40,
  soloMs: 10_000,
  segments: 3,
  paths: [3, 0],
  singleMac: [],
  rates: [1, 1],
  bootAt: [0, 30],
  delayMs: 0.1,
  jitterMs: 0.2,
  lossPercent: 0,
  wakeMs: 0.2,
  actions: [],
  quietMs: 4000,
};

const NODES = ["a", "b"];

export const mediumName = (segments: number, medium: number): string =>
  medium === segments ? "sync" : medium === 0 ? "lan" : `wan${medium}`;

const round = (value: number): number => Math.round(value * 1000) / 1000;

/** When the last fault of the scenario is over. */
export function faultsEndAt(scenario: Scenario): number {
  let end = Math.max(...scenario.bootAt);
  for (const { at, action } of scenario.actions)
    end = Math.max(end, at + ("forMs" in action ? action.forMs : 0));
  return end;
}

function actionText(action: Action, segments: number): string {
  const node = "node" in action ? NODES[action.node]! : "";
  const medium = "medium" in action ? mediumName(segments, action.medium) : "";
  const lasts = "forMs" in action ? ` for ${round(action.forMs)}` : "";
  const direction = "from" in action ? (action.from < 0 ? "both" : NODES[action.from]!) : "";
  switch (action.kind) {
    case "crash":
      return `crash ${node}${action.forgets ? " forgets" : ""}${lasts}`;
    case "stalls":
      return `stalls ${node} ${round(action.percent)} ${round(action.maxMs)}${lasts}`;
    case "cut":
      return `cut ${medium} ${direction}${lasts}`;
    case "port":
      return `port ${node} ${medium} ${action.direction}${lasts}`;
    case "loss":
      return `loss ${medium} ${round(action.percent)}${lasts}`;
    case "slow":
      return `slow ${medium} ${round(action.extraMs)}${lasts}`;
    case "heartbeats":
      return `heartbeats ${direction}${lasts}`;
    case "carrier":
    case "witness":
      return `${action.kind} ${node} ${medium}${lasts}`;
    case "daemon":
      return `daemon ${node}${action.announced ? " announced" : ""}${lasts}`;
    case "disk":
      return `disk ${node} ${action.how}${lasts}`;
    default:
      return `${action.kind} ${node}${lasts}`;
  }
}

/** The scenario as text; `parseScenario` reads it back. */
export function formatScenario(scenario: Scenario): string {
  const { segments } = scenario;
  const list = (media: readonly number[]): string =>
    media.map((medium) => mediumName(segments, medium)).join(" ");
  const lines = [
    `# ${scenario.title}`,
    `seed ${scenario.seed}`,
    `timers heartbeat ${scenario.heartbeatMs} dead ${scenario.deadMs} lease ${scenario.leaseMs} solo ${scenario.soloMs}`,
    `segments ${segments}`,
    `paths ${list(scenario.paths)}`,
    ...(scenario.singleMac.length > 0 ? [`singleMac ${list(scenario.singleMac)}`] : []),
    `clocks ${scenario.rates.map(round).join(" ")}`,
    `boot ${scenario.bootAt.map(round).join(" ")}`,
    `network delay ${round(scenario.delayMs)} jitter ${round(scenario.jitterMs)} loss ${round(scenario.lossPercent)} wake ${round(scenario.wakeMs)}`,
    `quiet ${scenario.quietMs}`,
    ...scenario.actions.map(({ at, action }) => `at ${round(at)} ${actionText(action, segments)}`),
  ];
  return `${lines.join("\n")}\n`;
}

const nodeOf = (word: string | undefined): number => {
  const index = NODES.indexOf(word ?? "");
  assert(index >= 0, `a node: ${word}`);
  return index;
};
const directionOf = (word: string | undefined): number => (word === "both" ? -1 : nodeOf(word));

function mediumOf(segments: number, word: string | undefined): number {
  for (let medium = 0; medium <= segments; medium++) if (mediumName(segments, medium) === word) return medium;
  throw new Error(`no such medium: ${word}`);
}

function parseAction(words: readonly string[], segments: number): Action {
  const lasting = words.indexOf("for");
  const forMs = lasting < 0 ? 0 : Number(words[lasting + 1]);
  const [kind, first, second, third] = words;
  switch (kind) {
    case "kill":
    case "freeze":
    case "pause":
    case "leave":
      return { kind, node: nodeOf(first), forMs };
    case "ports":
      return { kind, node: nodeOf(first), forMs };
    case "handover":
    case "flush":
      return { kind, node: nodeOf(first) };
    case "crash":
      return { kind, node: nodeOf(first), forgets: second === "forgets", forMs };
    case "stalls":
      return { kind, node: nodeOf(first), percent: Number(second), maxMs: Number(third), forMs };
    case "cut":
      return { kind, medium: mediumOf(segments, first), from: directionOf(second), forMs };
    case "port":
      return {
        kind,
        node: nodeOf(first),
        medium: mediumOf(segments, second),
        direction: third as "mute" | "deaf" | "dead",
        forMs,
      };
    case "carrier":
    case "witness":
      return { kind, node: nodeOf(first), medium: mediumOf(segments, second), forMs };
    case "loss":
      return { kind, medium: mediumOf(segments, first), percent: Number(second), forMs };
    case "slow":
      return { kind, medium: mediumOf(segments, first), extraMs: Number(second), forMs };
    case "heartbeats":
      return { kind, from: directionOf(first), forMs };
    case "daemon":
      return { kind, node: nodeOf(first), announced: second === "announced", forMs };
    case "disk":
      return { kind, node: nodeOf(first), how: second as "refuses" | "hangs", forMs };
    default:
      throw new Error(`no such action: ${words.join(" ")}`);
  }
}

/** Reads the text form; what is not said has its quiet default. */
export function parseScenario(text: string): Scenario {
  const scenario: { -readonly [Key in keyof Scenario]: Scenario[Key] } = { ...QUIET_DEFAULTS };
  const actions: TimedAction[] = [];
  const value = (words: readonly string[], name: string): number => Number(words[words.indexOf(name) + 1]);
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/);
    switch (words[0]) {
      case "":
        break;
      case "#":
        scenario.title = line.trim().slice(2);
        break;
      case "seed":
        scenario.seed = Number(words[1]);
        break;
      case "timers":
        scenario.heartbeatMs = value(words, "heartbeat");
        scenario.deadMs = value(words, "dead");
        scenario.leaseMs = value(words, "lease");
        scenario.soloMs = value(words, "solo");
        break;
      case "segments":
        scenario.segments = Number(words[1]);
        scenario.paths = [scenario.segments, 0];
        break;
      case "paths":
        scenario.paths = words.slice(1).map((word) => mediumOf(scenario.segments, word));
        break;
      case "singleMac":
        scenario.singleMac = words.slice(1).map((word) => mediumOf(scenario.segments, word));
        break;
      case "clocks":
        scenario.rates = [Number(words[1]), Number(words[2])];
        break;
      case "boot":
        scenario.bootAt = [Number(words[1]), Number(words[2])];
        break;
      case "network":
        scenario.delayMs = value(words, "delay");
        scenario.jitterMs = value(words, "jitter");
        scenario.lossPercent = value(words, "loss");
        scenario.wakeMs = value(words, "wake");
        break;
      case "quiet":
        scenario.quietMs = Number(words[1]);
        break;
      case "at":
        actions.push({ at: Number(words[1]), action: parseAction(words.slice(2), scenario.segments) });
        break;
      default:
        throw new Error(`a scenario line: ${line}`);
    }
  }
  scenario.actions = actions.sort((left, right) => left.at - right.at);
  return scenario;
}
