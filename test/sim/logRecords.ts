// What the log simulator's sessions are as records: bytes and back. A session is a number and a version; odd numbers are
// TCP, even ones UDP, and a version's lowest bit stands for the translation.

import { recordEnd } from "../../src/wire/session.ts";
import { deletion, session, TCP, UDP } from "../core/records.ts";

export interface Change {
  readonly operation: "create" | "update" | "delete";
  readonly id: number;
  readonly version: number;
}

export const VERSIONS = 64;
/** Half of the sessions are TCP: those whose end is a word. */
export const isTcp = (id: number): boolean => id % 2 === 1;
/** What stands for the translation: the same session with another one clashes. */
export const translationOf = (version: number): number => version & 1;
const names = new Map<string, Change>();
const cache = new Map<number, Uint8Array>();

/** The bytes of a change; remembered, because the codec for tests is slow. */
export function bytesOf(change: Change): Uint8Array {
  const { operation, id, version } = change;
  const key = (id * VERSIONS + version) * 3 + ["create", "update", "delete"].indexOf(operation);
  let bytes = cache.get(key);
  if (bytes === undefined) {
    const protocol = isTcp(id) ? TCP : UDP;
    bytes = operation === "delete" ? deletion(id, protocol) : session(id, version, operation, protocol);
    cache.set(key, bytes);
    names.set(nameOf(bytes), change);
  }
  return bytes;
}
const nameOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

export function changesIn(bytes: Uint8Array, count: number): Change[] {
  const changes: Change[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = recordEnd(bytes, at);
    const change = names.get(nameOf(bytes.subarray(at, end)));
    if (change === undefined) throw new Error("bytes that nobody wrote");
    changes.push(change);
    at = end;
  }
  if (changes.length !== count) throw new Error(`${changes.length} records where ${count} were said to be`);
  return changes;
}
