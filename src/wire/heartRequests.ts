// Heart's control requests: what the daemon (and nobody else) may say on heart's socket, read strictly: heart
// believes nothing that it did not check, not even from its own daemon. Pure.

import { READINESS_WHOLE } from "../base/readiness.ts";
import type { HeartRequest } from "./control.ts";

export type HeartRequestRead =
  | { readonly ok: true; readonly request: HeartRequest }
  /** `number` is the request's own number where it had one, else 0. */
  | { readonly ok: false; readonly number: number; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;
type Check = readonly [string, (value: unknown) => boolean];

const REASONS_MAX = 64;
const WITNESSES_MAX = 64;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTexts = (max: number) => (value: unknown) =>
  Array.isArray(value) && value.length <= max && value.every((item) => typeof item === "string");
const isPosition = (value: unknown): boolean =>
  isFields(value) && Object.keys(value).length === 2 && isCount(value.term) && isCount(value.sequence);

const bool: Check = ["true or false", (value) => typeof value === "boolean"];
const count: Check = ["a whole number", isCount];

const keysOf: Readonly<Record<HeartRequest["kind"], Readonly<Record<string, Check>>>> = {
  daemon: {
    ready: bool,
    dressed: bool,
    reasons: [`at most ${REASONS_MAX} texts`, isTexts(REASONS_MAX)],
    position: ["a term and a sequence", isPosition],
    sessions: count,
    configurationDigest: ["64 hex digits", (value) => /^[0-9a-f]{64}$/.test(String(value))],
    alarms: count,
    critical: bool,
  },
  witnesses: {
    segment: count,
    addresses: [`at most ${WITNESSES_MAX} addresses`, isTexts(WITNESSES_MAX)],
  },
  readiness: {
    readiness: [
      `0 to ${READINESS_WHOLE}, or null`,
      (value) => value === null || (isCount(value) && (value as number) <= READINESS_WHOLE),
    ],
  },
  "daemon-restarting": {},
  subscribe: {},
  state: { request: count },
  handover: { request: count },
  leave: { request: count },
  // What is in it is looked at by whoever goes by it: core/heartConfig.ts.
  configure: { request: count, config: ["an object", isFields] },
};

/** Reads one request on heart's socket. Every key is required and looked at; an unknown one is refused. */
export function readHeartRequest(value: unknown): HeartRequestRead {
  if (!isFields(value)) return { ok: false, number: 0, reason: "expected a JSON object" };
  const number = isCount(value.request) ? value.request : 0;
  const refuse = (reason: string): HeartRequestRead => ({ ok: false, number, reason });
  const kind = value.kind;
  if (typeof kind !== "string" || !Object.hasOwn(keysOf, kind))
    return refuse(`kind: expected one of ${Object.keys(keysOf).join(", ")}`);
  const keys = keysOf[kind as HeartRequest["kind"]];
  for (const key of Object.keys(value))
    if (key !== "kind" && !Object.hasOwn(keys, key)) return refuse(`${key}: not a key of ${kind}`);
  for (const [key, [expected, holds]] of Object.entries(keys))
    if (!holds(value[key])) return refuse(`${key}: expected ${expected}`);
  return { ok: true, request: value as unknown as HeartRequest };
}
