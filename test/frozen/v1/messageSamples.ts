// Any message of protocol version 1, and any heartbeat, as the frozen tables allow them: for tests of both directions.

import fc from "fast-check";
import { bytesToHex } from "./codec.ts";
import type { HeartbeatMessage, PeerMessage } from "./peer.ts";

/** Objects like those that a decoder makes. */
const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(fields, { noNullPrototype: true }) as fc.Arbitrary<T>;
const u8 = fc.nat({ max: 0xff });
const u16 = fc.nat({ max: 0xffff });
const u32 = fc.nat({ max: 0xffffffff });
const u48 = fc.nat({ max: 2 ** 48 - 1 });
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const hex = (length: number): fc.Arbitrary<string> => bytes(length).map(bytesToHex);
/** What a terminal would obey becomes a space on the way out, so it is left out here. */
const text = fc.string({ maxLength: 100, unit: fc.constantFrom(..."abcXYZ 019.:-_/äß…漢") });
const bool = fc.boolean();
const role = fc.constantFrom("idle" as const, "standby" as const, "active" as const);
const position = record({ term: u48, sequence: u48 });
const generation = fc.integer({ min: 1, max: 3 });
const node = fc.constantFrom("a" as const, "b" as const);

const neighbour = record({
  service: u8,
  removed: bool,
  address: fc.oneof(bytes(4), bytes(16)),
  mac: bytes(6),
});

const kinds: { readonly [K in PeerMessage["kind"]]: fc.Arbitrary<Extract<PeerMessage, { kind: K }>> } = {
  hello: record({
    kind: fc.constant("hello"),
    versionLowest: u8,
    versionHighest: u8,
    node,
    bootId: hex(16),
    pair: text,
    software: text,
    configurationDigest: hex(32),
    role,
    term: u48,
  }),
  refuse: record({
    kind: fc.constant("refuse"),
    code: fc.constantFrom(
      "wrong-key",
      "version",
      "same-node",
      "wrong-pair",
      "protocol",
      "replaced",
      "busy",
      "stopping",
    ),
    text,
  }),
  ping: record({ kind: fc.constant("ping"), nonce: u32 }),
  pong: record({ kind: fc.constant("pong"), nonce: u32 }),
  roleChanged: record({ kind: fc.constant("roleChanged"), role, term: u48 }),
  subscribe: record({ kind: fc.constant("subscribe"), term: u48, generation, own: bool }),
  snapshotBegin: record({ kind: fc.constant("snapshotBegin"), position, generation }),
  snapshotEnd: record({ kind: fc.constant("snapshotEnd"), position, generation, count: u48 }),
  sessions: record({
    kind: fc.constant("sessions"),
    origin: fc.constantFrom("change", "snapshot", "merge"),
    first: position,
    count: u16,
    records: fc.uint8Array({ maxLength: 300 }),
  }),
  acknowledge: record({ kind: fc.constant("acknowledge"), position }),
  neighbours: record({
    kind: fc.constant("neighbours"),
    part: fc.constantFrom("more", "begin"),
    neighbours: fc.array(neighbour, { maxLength: 20 }),
  }),
  mergeRequest: record({ kind: fc.constant("mergeRequest"), term: u48, generation }),
  mergeEnd: record({ kind: fc.constant("mergeEnd"), term: u48, generation, count: u48 }),
  mergeAcknowledge: record({ kind: fc.constant("mergeAcknowledge"), generation, sequence: u48 }),
};

/** A message of each kind: every one of the list is drawn in every run. */
export const oneOfEachKind: fc.Arbitrary<readonly PeerMessage[]> = fc.tuple(...Object.values(kinds));

export const anyHeartbeat: fc.Arbitrary<HeartbeatMessage> = record({
  node,
  role,
  gate: fc.constantFrom("shut", "open", "drain"),
  ready: bool,
  handover: bool,
  candidate: bool,
  dressed: bool,
  leaving: bool,
  term: u48,
  sequence: u48,
  echo: u48,
  leaseMs: u32,
  position,
  sessions: u32,
  configurationDigest: hex(8),
  priority: u16,
  carrier: u32,
  witnessed: u32,
  alarms: u8,
  critical: bool,
});
