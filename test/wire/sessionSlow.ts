// The session record's layout a second time, slowly: one table of fields and objects in and out, written from
// docs/protocol.md and not from src/wire/session.ts. The property tests hold the two against each other.

import type { SessionRecord, SessionState, SessionTuple } from "../../src/wire/sessionRecord.ts";

const number = (value: number, size: number): number[] => {
  const bytes: number[] = [];
  for (let shift = size - 1; shift >= 0; shift -= 1) bytes.push(Math.floor(value / 256 ** shift) % 256);
  return bytes;
};
const same = (left: Uint8Array, right: Uint8Array): boolean => left.join() === right.join();

/** ICMP's answer to each type; what is not here has none. */
const ICMP = new Map([
  [0, 8], [8, 0], [13, 14], [14, 13], [15, 16], [16, 15], [17, 18], [18, 17],
]); // biome-ignore format: pairs
const ICMPV6 = new Map([
  [128, 129], [129, 128], [139, 140], [140, 139],
]); // biome-ignore format: pairs

/** The reply tuple of an untranslated session. */
export function turned(family: 4 | 6, protocol: number, original: SessionTuple): SessionTuple {
  const { source, destination, a, b } = original;
  const answers = family === 4 && protocol === 1 ? ICMP : family === 6 && protocol === 58 ? ICMPV6 : null;
  if (answers === null) return { source: destination, destination: source, a: b, b: a };
  return {
    source: destination,
    destination: source,
    a,
    b: answers.get(Math.floor(b / 256))! * 256 + (b % 256),
  };
}

const tupleBytes = (tuple: SessionTuple): number[] => [
  ...tuple.source,
  ...tuple.destination,
  ...number(tuple.a, 2),
  ...number(tuple.b, 2),
];

type Row = readonly [present: boolean, bytes: () => readonly number[]];

function replyRows(reply: SessionTuple, derived: SessionTuple): Row[] {
  return [
    [!same(reply.source, derived.source), () => [...reply.source]],
    [!same(reply.destination, derived.destination), () => [...reply.destination]],
    [reply.a !== derived.a, () => number(reply.a, 2)],
    [reply.b !== derived.b, () => number(reply.b, 2)],
  ];
}

function parts(state: SessionState): number[] {
  const adjust = (value: SessionState["adjustReply"]): number[] | undefined =>
    value &&
    [value.correctionPosition, value.offsetBefore, value.offsetAfter].flatMap((word) => number(word, 4));
  const contents: (number[] | undefined)[] = [
    state.helper === undefined ? undefined : [...state.helper].map((letter) => letter.charCodeAt(0)),
    state.master && [state.master.protocol, ...tupleBytes(state.master.original)],
    adjust(state.adjustOriginal),
    adjust(state.adjustReply),
    state.labels && [...state.labels],
  ];
  return contents.flatMap((content, index) =>
    content === undefined ? [] : [index + 1, content.length, ...content],
  );
}

export function slowEncode(record: SessionRecord): Uint8Array {
  const { operation, family, protocol, original, zone } = record;
  const key: number[] = [protocol, ...tupleBytes(original)];
  if (zone !== undefined)
    key.push({ original: 1, reply: 2, both: 3 }[zone.directions], ...number(zone.id, 2));
  const head =
    { create: 1, update: 2, delete: 3 }[operation] + (family === 6 ? 4 : 0) + (zone === undefined ? 0 : 8);
  if (record.operation === "delete") return Uint8Array.from([head, 0, ...key]);
  const { state } = record;
  const rows = replyRows(state.reply, turned(family, protocol, original));
  const optional = parts(state);
  let shape = optional.length > 0 ? 16 : 0;
  rows.forEach(([present], index) => {
    if (present) shape += 2 ** index;
  });
  const status = [0x2, 0x4, 0x400].reduce(
    (sum, bit, index) => sum + (Math.floor(state.status / bit) % 2) * 2 ** index,
    0,
  );
  const tags = state.verificationTags;
  return Uint8Array.from([
    head,
    shape,
    ...key,
    ...number(state.mark, 4),
    ...number(state.timeoutSeconds, 4),
    status + 16 * state.protocolState,
    ...(tags === undefined ? [] : [...number(tags.original, 4), ...number(tags.reply, 4)]),
    ...rows.flatMap(([present, bytes]) => (present ? bytes() : [])),
    ...(optional.length > 0 ? [optional.length, ...optional] : []),
  ]);
}
