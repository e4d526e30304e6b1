// The words behind `--fault`: which faults there are, what each takes, and what is wrong with a use. Pure: doing them is
// standing.ts, so that a wrong word is a wrong use before any laboratory is looked for.

const NODE_WORDS = ["a", "b", "active", "standby"];
const SECONDS_MAX = 3600;

interface FaultUse {
  /** Null: it takes no node. `whose`: without one, the node that the fault concerns is found by looking. */
  readonly node: "optional" | "required" | "whose" | null;
  readonly also: "devices" | "seconds" | null;
}

export const FAULT_USES = {
  "port-dead": { node: "optional", also: "devices" },
  "port-alive": { node: "whose", also: "devices" },
  power: { node: "optional", also: null },
  boot: { node: "required", also: null },
  freeze: { node: "optional", also: "seconds" },
  "heart-crash": { node: "optional", also: null },
  "daemon-crash": { node: "optional", also: null },
  unplug: { node: "optional", also: "devices" },
  plug: { node: "whose", also: "devices" },
  "heartbeats-cut": { node: null, also: null },
  "heartbeats-back": { node: null, also: null },
  flush: { node: "optional", also: null },
  handover: { node: null, also: null },
} as const satisfies Readonly<Record<string, FaultUse>>;

export type FaultName = keyof typeof FAULT_USES;

const isFault = (word: string): word is FaultName => Object.hasOwn(FAULT_USES, word);

/** What is wrong with the words, in a sentence; null where nothing is. */
export function faultMistake([name = "", node, ...rest]: readonly string[]): string | null {
  if (!isFault(name)) return `there is no fault "${name}"; there are: ${Object.keys(FAULT_USES).join(", ")}`;
  const use: FaultUse = FAULT_USES[name];
  if (use.node === null) return node === undefined ? null : `the fault ${name} takes nothing more`;
  if (node === undefined)
    return use.node === "required" ? `the fault ${name} needs a node: ${NODE_WORDS.join(", ")}` : null;
  if (!NODE_WORDS.includes(node)) return `"${node}" is no node: ${NODE_WORDS.join(", ")}`;
  if (use.also === "seconds") {
    const [seconds, ...more] = rest;
    const fits = seconds === undefined || (/^\d+$/.test(seconds) && Number(seconds) <= SECONDS_MAX);
    return fits && more.length === 0 ? null : `${name} takes whole seconds, at most ${SECONDS_MAX}`;
  }
  return use.also === null && rest.length > 0 ? `the fault ${name} takes nothing behind the node` : null;
}
