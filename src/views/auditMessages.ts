// The audit's messages (docs/protocol.md §5.8) in words, one line each: for whoever decodes a connection. Pure.

import { unreachable } from "../base/assert.ts";
import { AUDIT_KEY_BYTES, LOG_BUCKETS } from "../base/limits.ts";
import type { PeerMessage } from "../wire/peer.ts";
import { plural, printable } from "./text.ts";

type Audit = Extract<PeerMessage, { kind: `audit${string}` }>;

function ones(bits: Uint8Array): number {
  let count = 0;
  for (const byte of bits) for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
}

/** What `message` says. */
export function auditMessageText(message: Audit): string {
  const of = `audit: look ${message.look}:`;
  switch (message.kind) {
    case "auditBegin":
      return `${of} read ${ones(message.buckets)} of ${LOG_BUCKETS} buckets, seed ${message.seed}`;
    case "auditFolded":
      return `${of} my table is read, ${plural(message.sessions, "session")}`;
    case "auditEnd":
      return `${of} what changed until here is left out`;
    case "auditDigests":
      return `${of} my digests, for ${(message.cpuMicros / 1000).toFixed(1)} ms of a processor`;
    case "auditAsk":
      return `${of} which keys are in these ${ones(message.buckets)} buckets?`;
    case "auditKeys":
      return `${of} ${plural(message.keys.length / AUDIT_KEY_BYTES, "key")}${message.more ? ", more follow" : ""}`;
    case "auditVoid":
      return `${of} over without a result: ${printable(message.reason)}`;
    case "auditResult": {
      const { sessions, missing, extra, wrong, repaired, milliseconds } = message;
      const found = `${missing} missing, ${extra} extra, ${wrong} wrong, ${repaired} repaired`;
      return `${of} ${plural(sessions, "session")} compared in ${milliseconds} ms: ${found}`;
    }
    default:
      return unreachable(message);
  }
}
