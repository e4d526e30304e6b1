// What may be wrong with a record of the log (session.ts, expectation.ts), as numbers in the hot path and as words for
// people. Pure.

/** A reader returns the negative of the position in this list. */
const REFUSALS = [
  "",
  "truncated",
  "unknown operation",
  "unknown flag",
  "delete with state",
  "numbers of a protocol without ports",
  "unknown icmp type",
  "bad zone",
  "mark without link",
  "mark with generation",
  "timeout out of range",
  "unknown status",
  "unknown protocol state",
  "reply part that can be derived",
  "bad optional part",
  "expectation of a protocol without ports",
  "mask that can be derived",
  "bad name",
  "bad direction",
] as const;

export type Refusal = (typeof REFUSALS)[number];

/** What a reader returns for `reason`. */
export const refuse = (reason: Refusal): number => -REFUSALS.indexOf(reason);

/** The reason behind a negative result of a reader. */
export const refusalOf = (result: number): string => REFUSALS[-result] ?? "unknown refusal";
