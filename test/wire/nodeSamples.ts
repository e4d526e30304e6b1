// One of each message of a node's own state: and of drills: the examples of docs/protocol.md §5.6.

import type { PeerMessage } from "../../src/wire/peer.ts";

/** The first half of the slots to link 1, a quarter to link 2, the last quarter to none: long runs, for a short example. */
const slots = new Uint8Array(4096).fill(1, 0, 2048).fill(2, 2048, 3072);

/** A machine. */
export const factsExample = {
  software: "understudy 0.1.0",
  kernel: "6.18.0",
  machine: "x86_64",
  processors: 4,
  memoryBytes: 8 * 2 ** 30,
  conntrackMax: 262_144,
  conntrackBuckets: 65_536,
  nft: "1.0.6",
  bootedAt: 1_763_990_000_000,
  clock: 1_764_000_000_000,
};

export const drillExamples = {
  drillReturn: { kind: "drillReturn", number: 1 },
  drillAnswer: { kind: "drillAnswer", number: 1, ok: true, words: "a is active in term 43" },
  drillReport: {
    kind: "drillReport",
    report: {
      at: 1_764_000_000_000,
      node: "a",
      result: "passed",
      scheduled: true,
      forced: false,
      duration: 92,
      words: "b served for 4.1 s, and a serves again",
      counts: [
        { a: 20_216, b: 20_200 },
        { a: 20_310, b: 20_316 },
        { a: 20_300, b: 0xffffffff },
      ],
      switches: [
        { to: "b", ms: 61, gapMs: 0 },
        { to: "a", ms: 70, gapMs: 0xffffffff },
      ],
      probesSent: 410,
      probesLost: 1,
    },
  },
} as const satisfies Readonly<Record<string, PeerMessage>>;

export const nodeExamples = {
  slots: { kind: "slots", number: 2, term: 7, seed: 0x01020304, slots },
  links: {
    kind: "links",
    number: 3,
    term: 7,
    links: [
      { link: 1, state: "up", reason: "none", since: 1_764_000_000_000, detail: "" },
      { link: 2, state: "down", reason: "carrier", since: 1_764_000_060_000, detail: "" },
      { link: 3, state: "disabled", reason: "configuration", since: 1_764_000_000_000, detail: "" },
    ],
  },
  nodeFacts: {
    kind: "nodeFacts",
    number: 1,
    facts: factsExample,
  },
  stateAcknowledge: { kind: "stateAcknowledge", number: 3 },
} as const satisfies Readonly<Record<string, PeerMessage>>;
