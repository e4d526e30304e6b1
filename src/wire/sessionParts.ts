// The optional parts of a session record (docs/protocol.md §9.2), written and read: helper, master, sequence adjustment,
// labels. Few sessions have any; what all have is in session.ts. Pure.

import { refuse } from "./recordRefusals.ts";
import { ProtocolKind, protocolKind, type SessionFields } from "./sessionFields.ts";

/** In this order, each at most once. 6 was kept for expectations, which became records of their own. */
const Part = { Helper: 1, Master: 2, AdjustOriginal: 3, AdjustReply: 4, Labels: 5 } as const;
const HELPER_BYTES_MAX = 15;
const ADJUST_BYTES = 12;
const LABELS_BYTES = 16;

/** Writes the parts behind their common length at `start`; nothing at all where there are none. Returns what is behind. */
export function writeParts(bytes: Uint8Array, view: DataView, start: number, fields: SessionFields): number {
  let at = start + 1;
  if (fields.helperLength > 0 && fields.helperLength <= HELPER_BYTES_MAX)
    at = copyPart(bytes, at, Part.Helper, fields.bytes, fields.helperAt, fields.helperLength);
  if (fields.hasMaster) {
    const size = fields.addressBytes;
    at = partHead(bytes, at, Part.Master, 5 + 2 * size);
    bytes[at] = fields.masterProtocol;
    for (let index = 0; index < size; index += 1) {
      bytes[at + 1 + index] = fields.bytes[fields.masterSource + index]!;
      bytes[at + 1 + size + index] = fields.bytes[fields.masterDestination + index]!;
    }
    at += 1 + 2 * size;
    view.setUint16(at, fields.masterA);
    view.setUint16(at + 2, fields.masterB);
    at += 4;
  }
  if (fields.hasAdjustOriginal) at = adjustPart(bytes, view, at, Part.AdjustOriginal, fields.adjust, 0);
  if (fields.hasAdjustReply) at = adjustPart(bytes, view, at, Part.AdjustReply, fields.adjust, 3);
  if (fields.labelsAt >= 0)
    at = copyPart(bytes, at, Part.Labels, fields.bytes, fields.labelsAt, LABELS_BYTES);
  if (at === start + 1) return start;
  bytes[start] = at - start - 1;
  return at;
}

function partHead(bytes: Uint8Array, at: number, type: number, length: number): number {
  bytes[at] = type;
  bytes[at + 1] = length;
  return at + 2;
}

function copyPart(
  bytes: Uint8Array,
  start: number,
  type: number,
  from: Uint8Array,
  fromAt: number,
  length: number,
): number {
  const at = partHead(bytes, start, type, length);
  for (let index = 0; index < length; index += 1) bytes[at + index] = from[fromAt + index]!;
  return at + length;
}

function adjustPart(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  type: number,
  values: Uint32Array,
  from: number,
): number {
  const at = partHead(bytes, start, type, ADJUST_BYTES);
  for (let index = 0; index < 3; index += 1) view.setUint32(at + 4 * index, values[from + index]!);
  return at + ADJUST_BYTES;
}

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
const u32 = (bytes: Uint8Array, at: number): number => u16(bytes, at) * 0x10000 + u16(bytes, at + 2);

/** Reads the parts and their common length at `start` into `fields`; returns what is behind, or a refusal. */
export function readParts(bytes: Uint8Array, start: number, limit: number, fields: SessionFields): number {
  if (start >= limit) return refuse("truncated");
  const end = start + 1 + bytes[start]!;
  if (end > limit) return refuse("truncated");
  let at = start + 1;
  let last = 0;
  while (at < end) {
    if (end - at < 2) return refuse("bad optional part");
    const type = bytes[at]!;
    const length = bytes[at + 1]!;
    at += 2;
    if (type <= last || length > end - at || !readPart(bytes, at, type, length, fields))
      return refuse("bad optional part");
    last = type;
    at += length;
  }
  return last === 0 ? refuse("bad optional part") : end;
}

function readPart(
  bytes: Uint8Array,
  at: number,
  type: number,
  length: number,
  fields: SessionFields,
): boolean {
  switch (type) {
    case Part.Helper:
      fields.helperAt = at;
      fields.helperLength = length;
      for (let index = 0; index < length; index += 1)
        if (bytes[at + index]! <= 0x20 || bytes[at + index]! >= 0x7f) return false;
      return length >= 1 && length <= HELPER_BYTES_MAX;
    case Part.Master: {
      const size = fields.addressBytes;
      if (length !== 5 + 2 * size) return false;
      fields.hasMaster = true;
      fields.masterProtocol = bytes[at]!;
      fields.masterSource = at + 1;
      fields.masterDestination = at + 1 + size;
      fields.masterA = u16(bytes, at + 1 + 2 * size);
      fields.masterB = u16(bytes, at + 3 + 2 * size);
      return (
        (fields.masterA | fields.masterB) === 0 ||
        protocolKind(fields.family, fields.masterProtocol) !== ProtocolKind.Portless
      );
    }
    case Part.AdjustOriginal:
    case Part.AdjustReply: {
      if (length !== ADJUST_BYTES) return false;
      const reply = type === Part.AdjustReply;
      if (reply) fields.hasAdjustReply = true;
      else fields.hasAdjustOriginal = true;
      for (let index = 0; index < 3; index += 1)
        fields.adjust[(reply ? 3 : 0) + index] = u32(bytes, at + 4 * index);
      return true;
    }
    case Part.Labels:
      fields.labelsAt = at;
      return length === LABELS_BYTES;
    default:
      return false;
  }
}
