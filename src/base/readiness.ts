// Readiness as a number, and its place in a heartbeat: beside the segments of `carrier`, in bits that version 1 of the protocol
// passes over (docs/protocol.md §4). What it is measured from is core/readiness.ts's business. Pure.

import { SEGMENTS_MAX } from "./limits.ts";

/** A share in ten-thousandths, of all sessions. */
export const READINESS_WHOLE = 10_000;
const SEGMENT_BITS = 2 ** SEGMENTS_MAX;

/**
 * What a node says of the readiness of the pair, as far as it can judge it itself: the share of the active's sessions that are
 * proven to be in the standby's kernel, in ten-thousandths, rounded down. Null: it does not say (it does not know, or is of
 * version 1). It stands one higher than it is in the bits of `carrier` above the segments (docs/protocol.md §4).
 */
export function readinessIn(carrier: number): number | null {
  const said = Math.floor(carrier / SEGMENT_BITS);
  return said === 0 || said > READINESS_WHOLE + 1 ? null : said - 1;
}

/** The segments alone. */
export const segmentsIn = (carrier: number): number => carrier % SEGMENT_BITS;

/** `segments` (bits of SEGMENTS_MAX segments) and readiness in one field. */
export const withReadiness = (segments: number, readiness: number | null): number =>
  segments + (readiness === null ? 0 : readiness + 1) * SEGMENT_BITS;
