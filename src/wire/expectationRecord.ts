// Expectation records as objects: for tests and tools, as sessionRecord.ts is for sessions. Both go through the bytes of
// expectation.ts, so there is one layout. Pure.

import { assert } from "../base/assert.ts";
import { ExpectationFields, isCarried, readExpectation, writeExpectation } from "./expectation.ts";
import { refusalOf } from "./recordRefusals.ts";
import type { SessionTuple } from "./sessionRecord.ts";

export interface ExpectationKey {
  readonly family: 4 | 6;
  /** Of the expected session. */
  readonly protocol: number;
  /** Its original tuple, as far as it is known: what is not stands behind a mask. */
  readonly expected: SessionTuple;
}

export interface ExpectationState {
  readonly master: { readonly protocol: number; readonly original: SessionTuple };
  readonly timeoutSeconds: number;
  /** It stays when a session has come of it. */
  readonly permanent: boolean;
  /** The helper's own class of expectations: 0..255. */
  readonly policyClass: number;
  /** The master's helper. */
  readonly helper: string;
  /** Bits of the source address that must match; all of them where left out. 4 or 16 bytes. */
  readonly sourceMask?: Uint8Array;
  /** Bits of the source port that must match; none where left out. */
  readonly aMask?: number;
  /** How the expected session is translated: with its master, in this direction. */
  readonly translation?: {
    readonly direction: "original" | "reply";
    readonly address: Uint8Array;
    readonly number: number;
  };
  /** The kernel's name for what translates it. */
  readonly translator?: string;
}

export type ExpectationRecord =
  | (ExpectationKey & { readonly operation: "create"; readonly state: ExpectationState })
  | (ExpectationKey & { readonly operation: "delete" });

const [CREATE, DELETE] = [1, 3];
/** The longest record is below 200 bytes; its parts take no more. */
const BYTES_MAX = 256;

/** The record's bytes. Throws where a value does not fit its place: a defect of the caller's. */
export function encodeExpectation(record: ExpectationRecord): Uint8Array {
  const fields = new ExpectationFields();
  const source = new Uint8Array(BYTES_MAX);
  let used = 0;
  const place = (bytes: Uint8Array): number => {
    source.set(bytes, used);
    used += bytes.length;
    return used - bytes.length;
  };
  fields.bytes = source;
  fields.family = record.family;
  fields.protocol = record.protocol;
  fields.source = place(record.expected.source);
  fields.destination = place(record.expected.destination);
  fields.a = record.expected.a;
  fields.b = record.expected.b;
  if (record.operation === "create") {
    placeState(record.state, fields, place);
    assert(isCarried(fields), "an expectation record: names and protocols within their bounds");
  }
  const bytes = new Uint8Array(BYTES_MAX);
  const length = writeExpectation(bytes, 0, record.operation === "create" ? CREATE : DELETE, fields);
  const end = readExpectation(bytes, 0, new ExpectationFields(), length);
  assert(end === length, `expectation record: ${refusalOf(end)}`);
  return bytes.slice(0, length);
}

function placeState(
  state: ExpectationState,
  fields: ExpectationFields,
  place: (bytes: Uint8Array) => number,
): void {
  const text = new TextEncoder();
  fields.masterProtocol = state.master.protocol;
  fields.masterSource = place(state.master.original.source);
  fields.masterDestination = place(state.master.original.destination);
  fields.masterA = state.master.original.a;
  fields.masterB = state.master.original.b;
  fields.timeoutSeconds = state.timeoutSeconds;
  fields.permanent = state.permanent;
  fields.policyClass = state.policyClass;
  const helper = text.encode(state.helper);
  fields.helperAt = place(helper);
  fields.helperLength = helper.length;
  if (state.sourceMask !== undefined) fields.sourceMask = place(state.sourceMask);
  fields.aMask = state.aMask ?? 0;
  if (state.translation !== undefined) {
    fields.hasTranslation = true;
    fields.direction = state.translation.direction === "original" ? 0 : 1;
    fields.translatedAddress = place(state.translation.address);
    fields.translatedNumber = state.translation.number;
  }
  if (state.translator === undefined) return;
  const translator = text.encode(state.translator);
  fields.functionAt = place(translator);
  fields.functionLength = translator.length;
}

/** The record at `offset` and the offset behind it, or a reason. Addresses are copies. */
export function decodeExpectation(
  bytes: Uint8Array,
  offset = 0,
):
  | { readonly ok: true; readonly record: ExpectationRecord; readonly end: number }
  | { readonly ok: false; readonly reason: string } {
  const fields = new ExpectationFields();
  const end = readExpectation(bytes, offset, fields);
  if (end < 0) return { ok: false, reason: refusalOf(end) };
  return { ok: true, record: expectationOf(fields), end };
}

/** The object for what a reader left in `fields`. */
export function expectationOf(fields: ExpectationFields): ExpectationRecord {
  const size = fields.addressBytes;
  const address = (at: number): Uint8Array => fields.bytes.slice(at, at + size);
  const text = (at: number, length: number): string =>
    new TextDecoder().decode(fields.bytes.slice(at, at + length));
  const key: ExpectationKey = {
    family: fields.family === 4 ? 4 : 6,
    protocol: fields.protocol,
    expected: {
      source: address(fields.source),
      destination: address(fields.destination),
      a: fields.a,
      b: fields.b,
    },
  };
  if (fields.operation === DELETE) return { ...key, operation: "delete" };
  const { masterSource, masterDestination, masterA: a, masterB: b } = fields;
  const original = { source: address(masterSource), destination: address(masterDestination), a, b };
  const state: ExpectationState = {
    master: { protocol: fields.masterProtocol, original },
    timeoutSeconds: fields.timeoutSeconds,
    permanent: fields.permanent,
    policyClass: fields.policyClass,
    helper: text(fields.helperAt, fields.helperLength),
    ...(fields.sourceMask < 0 ? {} : { sourceMask: address(fields.sourceMask) }),
    ...(fields.aMask === 0 ? {} : { aMask: fields.aMask }),
    ...(fields.hasTranslation
      ? {
          translation: {
            direction: fields.direction === 0 ? "original" : "reply",
            address: address(fields.translatedAddress),
            number: fields.translatedNumber,
          },
        }
      : {}),
    ...(fields.functionLength === 0 ? {} : { translator: text(fields.functionAt, fields.functionLength) }),
  };
  return { ...key, operation: "create", state };
}
