// Session records for tests of the log, small and by number: session `id` is a UDP (or TCP) session from 10.x.y.z.

import { IPS_SEEN_REPLY } from "../../src/wire/sessionFields.ts";
import { encodeRecord } from "../../src/wire/sessionRecord.ts";

const FAR = Uint8Array.of(203, 0, 113, 7);
const NAT = Uint8Array.of(198, 51, 100, 2);

export const UDP = 17;
export const TCP = 6;
const TCP_ESTABLISHED = 3;

const keyOf = (id: number, protocol: number) => ({
  family: 4 as const,
  protocol,
  original: { source: Uint8Array.of(10, id >>> 16, id >>> 8, id), destination: FAR, a: 5000, b: 53 },
});

/** An upsert of session `id`. `version` (0..65535) is its state: the timeout, so that a later record can be told apart. */
export function session(
  id: number,
  version = 0,
  operation: "create" | "update" = "create",
  protocol = UDP,
): Uint8Array {
  const { original } = keyOf(id, protocol);
  return encodeRecord({
    ...keyOf(id, protocol),
    operation,
    state: {
      // A translated port of its own: two sessions with one reply tuple clash in a real kernel.
      reply: { source: original.destination, destination: NAT, a: original.b, b: (id % 64_000) + 1024 },
      mark: 1,
      timeoutSeconds: 30 + version,
      status: IPS_SEEN_REPLY,
      protocolState: protocol === TCP ? TCP_ESTABLISHED : 0,
    },
  });
}

export const deletion = (id: number, protocol = UDP): Uint8Array =>
  encodeRecord({ ...keyOf(id, protocol), operation: "delete" });

/** Records one after the other, in memory of their own (senders change a chunk in place). */
export function batchOf(records: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(records.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const each of records) {
    bytes.set(each, at);
    at += each.length;
  }
  return bytes;
}
