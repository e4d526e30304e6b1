// One of each message of the audit: the examples of docs/protocol.md §5.8.

import type { PeerMessage } from "../../src/wire/peer.ts";

/** Buckets 0, 9 and 4095. */
const buckets = Uint8Array.from({ length: 512 }, (_, at) =>
  at === 0 ? 1 : at === 1 ? 2 : at === 511 ? 128 : 0,
);
/** Of a table with sessions in bucket 1254 alone. */
const digests = new Uint8Array(4096 * 8);
digests.set([0x1f, 0x83, 0xd9, 0xab, 0xfb, 0x41, 0xbd, 0x6b], 1254 * 8);
/** One key: that of the example of §5.5. */
const keys = Uint8Array.of(0x4e, 0x61, 0xd4, 0x0d, 0x08, 0x67, 0x7a, 0x0f, 0xde, 0xad, 0xbe, 0xef);

export const auditExamples = {
  auditBegin: { kind: "auditBegin", look: 7, seed: 0x5eed0001, salt: 0x5a170001, buckets },
  auditFolded: { kind: "auditFolded", look: 7, sessions: 200_000 },
  auditEnd: { kind: "auditEnd", look: 7 },
  auditDigests: { kind: "auditDigests", look: 7, cpuMicros: 412_000, digests },
  auditAsk: { kind: "auditAsk", look: 7, buckets },
  auditKeys: { kind: "auditKeys", look: 7, more: false, keys },
  auditVoid: { kind: "auditVoid", look: 7, reason: "the standby is not synchronised" },
  auditResult: {
    kind: "auditResult",
    look: 8,
    sessions: 199_990,
    missing: 3,
    extra: 2,
    wrong: 1,
    repaired: 6,
    milliseconds: 9_500,
    ageMs: 9_700,
  },
} as const satisfies Readonly<Record<string, PeerMessage>>;
