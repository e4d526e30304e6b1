// What the log simulator's sessions are as records: bytes and back. A session is a number and a version; odd numbers are
// TCP, even ones UDP, a version's lowest bit stands for the translation, and each has a time that is left to it.

import { readRecord, SessionOperation } from "../../src/wire/session.ts";
import { IPS_SEEN_REPLY, SessionFields } from "../../src/wire/sessionFields.ts";
import { encodeRecord } from "../../src/wire/sessionRecord.ts";

export interface Change {
  readonly operation: "create" | "update" | "delete";
  readonly id: number;
  readonly version: number;
  /** Until it expires, when this was said; 0 in a delete. */
  readonly seconds: number;
}

export const VERSIONS = 64;
const UDP = 17;
const TCP = 6;
const TCP_ESTABLISHED = 3;
const LINK = 1;
const VERSION_SHIFT = 12;
/** Of a record over IPv4 without a zone (docs/protocol.md §9.1). */
const SECONDS_AT = 19;
const operations = {
  create: SessionOperation.Create,
  update: SessionOperation.Update,
  delete: SessionOperation.Delete,
};
const names = ["", "create", "update", "delete"] as const;

/** Half of the sessions are TCP: those whose end is a word. */
export const isTcp = (id: number): boolean => id % 2 === 1;
/** What stands for the translation: the same session with another one clashes. */
export const translationOf = (version: number): number => version & 1;
const cache = new Map<number, Uint8Array>();

/** The bytes of a change; all but the time is remembered, because the codec for tests is slow. */
export function bytesOf({ operation, id, version, seconds }: Change): Uint8Array {
  const name = (id * VERSIONS + version) * 4 + operations[operation];
  let template = cache.get(name);
  if (template === undefined) {
    template = encode(operation, id, version);
    cache.set(name, template);
  }
  const bytes = template.slice();
  if (operation !== "delete") new DataView(bytes.buffer).setUint32(SECONDS_AT, seconds);
  return bytes;
}

function encode(operation: Change["operation"], id: number, version: number): Uint8Array {
  const original = {
    source: Uint8Array.of(10, id >>> 16, id >>> 8, id),
    destination: Uint8Array.of(203, 0, 113, 7),
    a: 5000,
    b: 53,
  };
  const key = { family: 4 as const, protocol: isTcp(id) ? TCP : UDP, original };
  if (operation === "delete") return encodeRecord({ ...key, operation });
  return encodeRecord({
    ...key,
    operation,
    state: {
      reply: { source: original.destination, destination: original.source, a: 53, b: 5000 },
      mark: LINK | (version << VERSION_SHIFT),
      timeoutSeconds: 0,
      status: IPS_SEEN_REPLY,
      protocolState: isTcp(id) ? TCP_ESTABLISHED : 0,
    },
  });
}

const fields = new SessionFields();

export function changesIn(bytes: Uint8Array, count: number): Change[] {
  const changes: Change[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = readRecord(bytes, at, fields);
    const operation = names[fields.operation];
    if (end < 0 || operation === undefined || operation === "") throw new Error("bytes that nobody wrote");
    const source = fields.originalSource;
    const id = (bytes[source + 1]! << 16) | (bytes[source + 2]! << 8) | bytes[source + 3]!;
    const gone = operation === "delete";
    const version = gone ? 0 : fields.mark >>> VERSION_SHIFT;
    changes.push({ operation, id, version, seconds: gone ? 0 : fields.timeoutSeconds });
    at = end;
  }
  if (changes.length !== count) throw new Error(`${changes.length} records where ${count} were said to be`);
  return changes;
}
