// Session records as objects: for tests, `show` and tools. Not for the hot path, which never makes one; both go
// through the same bytes (session.ts), so there is one layout. Pure.

import { assert } from "../base/assert.ts";
import { refusalOf } from "./recordRefusals.ts";
import { RecordBatch, readRecord, SessionOperation } from "./session.ts";
import { IPPROTO_SCTP, SessionFields } from "./sessionFields.ts";

/** One direction of a session. Addresses: 4 or 16 bytes, network order. */
export interface SessionTuple {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** Source port; for ICMP the identifier; 0 where the protocol has none. */
  readonly a: number;
  /** Destination port; for ICMP `type << 8 | code`; 0 where the protocol has none. */
  readonly b: number;
}

export interface SessionKey {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly original: SessionTuple;
  /** Which directions are in a conntrack zone, and which zone. */
  readonly zone?: { readonly id: number; readonly directions: "original" | "reply" | "both" };
}

/** nf_ct_seqadj: for sessions whose payload a helper lengthened or shortened. */
export interface SequenceAdjustment {
  readonly correctionPosition: number;
  readonly offsetBefore: number;
  readonly offsetAfter: number;
}

export interface SessionState {
  /** As the answers carry it: differs from the original turned round where translated. */
  readonly reply: SessionTuple;
  /** Without generation bits. */
  readonly mark: number;
  readonly timeoutSeconds: number;
  /** IPS_SEEN_REPLY, IPS_ASSURED, IPS_FIXED_TIMEOUT. */
  readonly status: number;
  /** TCP_CONNTRACK_*, SCTP_CONNTRACK_*; 0 elsewhere or where not told. */
  readonly protocolState: number;
  /** SCTP only. */
  readonly verificationTags?: { readonly original: number; readonly reply: number };
  readonly helper?: string;
  readonly master?: { readonly protocol: number; readonly original: SessionTuple };
  readonly adjustOriginal?: SequenceAdjustment;
  readonly adjustReply?: SequenceAdjustment;
  /** 16 bytes. */
  readonly labels?: Uint8Array;
}

export type SessionRecord =
  | (SessionKey & { readonly operation: "create" | "update"; readonly state: SessionState })
  | (SessionKey & { readonly operation: "delete" });

const operations = {
  create: SessionOperation.Create,
  update: SessionOperation.Update,
  delete: SessionOperation.Delete,
} as const;
const directions = ["original", "reply", "both"] as const;

/** The record's bytes. Throws where a value does not fit its place: a defect of the caller's. */
export function encodeRecord(record: SessionRecord): Uint8Array {
  const fields = new SessionFields();
  const source = new Uint8Array(256);
  fields.bytes = source;
  fields.family = record.family;
  fields.protocol = record.protocol;
  let used = 0;
  const place = (bytes: Uint8Array): number => {
    source.set(bytes, used);
    used += bytes.length;
    return used - bytes.length;
  };
  fields.originalSource = place(record.original.source);
  fields.originalDestination = place(record.original.destination);
  fields.originalA = record.original.a;
  fields.originalB = record.original.b;
  if (record.zone !== undefined) {
    fields.zone = record.zone.id;
    fields.zoneDirections = directions.indexOf(record.zone.directions) + 1;
  }
  if (record.operation !== "delete") placeState(record.state, fields, place);
  const batch = new RecordBatch();
  batch.append(operations[record.operation], fields);
  const end = readRecord(batch.bytes, 0, fields, batch.length);
  assert(end === batch.length, `session record: ${refusalOf(end)}`);
  return batch.records().slice();
}

function placeState(state: SessionState, fields: SessionFields, place: (bytes: Uint8Array) => number): void {
  fields.replySource = place(state.reply.source);
  fields.replyDestination = place(state.reply.destination);
  fields.replyA = state.reply.a;
  fields.replyB = state.reply.b;
  fields.mark = state.mark;
  fields.timeoutSeconds = state.timeoutSeconds;
  fields.status = state.status;
  fields.protocolState = state.protocolState;
  fields.tagOriginal = state.verificationTags?.original ?? 0;
  fields.tagReply = state.verificationTags?.reply ?? 0;
  if (state.helper !== undefined) {
    const name = new TextEncoder().encode(state.helper);
    fields.helperAt = place(name);
    fields.helperLength = name.length;
  }
  if (state.master !== undefined) {
    fields.hasMaster = true;
    fields.masterProtocol = state.master.protocol;
    fields.masterSource = place(state.master.original.source);
    fields.masterDestination = place(state.master.original.destination);
    fields.masterA = state.master.original.a;
    fields.masterB = state.master.original.b;
  }
  fields.hasAdjustOriginal = placeAdjustment(state.adjustOriginal, fields.adjust, 0);
  fields.hasAdjustReply = placeAdjustment(state.adjustReply, fields.adjust, 3);
  if (state.labels !== undefined) fields.labelsAt = place(state.labels);
}

function placeAdjustment(value: SequenceAdjustment | undefined, into: Uint32Array, at: number): boolean {
  if (value === undefined) return false;
  into.set([value.correctionPosition, value.offsetBefore, value.offsetAfter], at);
  return true;
}

/** The record at `offset` and the offset behind it, or a reason. Addresses are copies. */
export function decodeRecord(
  bytes: Uint8Array,
  offset = 0,
):
  | { readonly ok: true; readonly record: SessionRecord; readonly end: number }
  | { readonly ok: false; readonly reason: string } {
  const fields = new SessionFields();
  const end = readRecord(bytes, offset, fields);
  if (end < 0) return { ok: false, reason: refusalOf(end) };
  return { ok: true, record: recordOf(fields), end };
}

/** The object for what a reader left in `fields`. */
export function recordOf(fields: SessionFields): SessionRecord {
  const size = fields.addressBytes;
  const address = (at: number): Uint8Array => fields.bytes.slice(at, at + size);
  const key: SessionKey = {
    family: fields.family === 4 ? 4 : 6,
    protocol: fields.protocol,
    original: {
      source: address(fields.originalSource),
      destination: address(fields.originalDestination),
      a: fields.originalA,
      b: fields.originalB,
    },
    ...(fields.zoneDirections === 0
      ? {}
      : { zone: { id: fields.zone, directions: directions[fields.zoneDirections - 1]! } }),
  };
  if (fields.operation === SessionOperation.Delete) return { ...key, operation: "delete" };
  const operation = fields.operation === SessionOperation.Create ? "create" : "update";
  return { ...key, operation, state: stateOf(fields, address) };
}

function stateOf(fields: SessionFields, address: (at: number) => Uint8Array): SessionState {
  const adjustment = (at: number): SequenceAdjustment => ({
    correctionPosition: fields.adjust[at]!,
    offsetBefore: fields.adjust[at + 1]!,
    offsetAfter: fields.adjust[at + 2]!,
  });
  return {
    reply: {
      source: address(fields.replySource),
      destination: address(fields.replyDestination),
      a: fields.replyA,
      b: fields.replyB,
    },
    mark: fields.mark,
    timeoutSeconds: fields.timeoutSeconds,
    status: fields.status,
    protocolState: fields.protocolState,
    ...(fields.protocol === IPPROTO_SCTP
      ? { verificationTags: { original: fields.tagOriginal, reply: fields.tagReply } }
      : {}),
    ...(fields.helperLength > 0
      ? {
          helper: new TextDecoder().decode(
            fields.bytes.slice(fields.helperAt, fields.helperAt + fields.helperLength),
          ),
        }
      : {}),
    ...(fields.hasMaster
      ? {
          master: {
            protocol: fields.masterProtocol,
            original: {
              source: address(fields.masterSource),
              destination: address(fields.masterDestination),
              a: fields.masterA,
              b: fields.masterB,
            },
          },
        }
      : {}),
    ...(fields.hasAdjustOriginal ? { adjustOriginal: adjustment(0) } : {}),
    ...(fields.hasAdjustReply ? { adjustReply: adjustment(3) } : {}),
    ...(fields.labelsAt >= 0 ? { labels: fields.bytes.slice(fields.labelsAt, fields.labelsAt + 16) } : {}),
  };
}
