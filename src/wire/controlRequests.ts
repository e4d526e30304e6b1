// Control requests: what the command line may ask of the daemon, read strictly from what arrived on the
// socket. Anything else is refused with a reason that names the key. Pure.

import {
  AUTHOR_BYTES_MAX,
  CONFIGURATION_VERSIONS_SHOWN_MAX,
  CONTROL_LINE_BYTES_MAX,
  LINK_ID_MAX,
  LINK_ID_MIN,
  PATH_LENGTH_MAX,
  RECORDING_BYTES_MAX,
  RECORDING_SECONDS_MAX,
  SESSIONS_SHOWN_MAX,
  TEXT_BYTES_MAX,
} from "../base/limits.ts";
import type { ApplySource, DaemonRequest, SessionFilter } from "./control.ts";

export type RequestRead =
  | { readonly ok: true; readonly request: DaemonRequest }
  /** `number` is the request's own number where it had one, else 0. */
  | { readonly ok: false; readonly number: number; readonly reason: string };

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCount = (value: unknown, min: number, max: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;

/** One check a key of the filter: what it must be, in words, and whether a value is it. */
const filterKeys: Readonly<Record<keyof SessionFilter, readonly [string, (value: unknown) => boolean]>> = {
  link: [`a link id, 0 to ${LINK_ID_MAX}`, (value) => isCount(value, LINK_ID_MIN - 1, LINK_ID_MAX)],
  protocol: ["a protocol's name", (value) => typeof value === "string" && /^[a-z0-9-]{1,16}$/.test(value)],
  address: ["an address", (value) => typeof value === "string" && /^[0-9a-fA-F.:]{2,45}$/.test(value)],
  port: ["a port, 0 to 65535", (value) => isCount(value, 0, 65_535)],
  family: ["4 or 6", (value) => value === 4 || value === 6],
};

/** The filter's first fault in words, or null where it holds. */
function filterFault(filter: unknown): string | null {
  if (!isFields(filter)) return "filter: expected an object";
  for (const [key, value] of Object.entries(filter)) {
    const rule = Object.hasOwn(filterKeys, key) ? filterKeys[key as keyof SessionFilter] : undefined;
    if (rule === undefined) return `filter.${key}: not a key of a session filter`;
    if (!rule[1](value)) return `filter.${key}: expected ${rule[0]}`;
  }
  return null;
}

const keysOf: Readonly<Record<DaemonRequest["kind"], readonly string[]>> = {
  show: ["kind", "request", "what", "filter", "limit"],
  handover: ["kind", "request"],
  drill: ["kind", "request", "force"],
  restart: ["kind", "request", "what"],
  stop: ["kind", "request"],
  apply: ["kind", "request", "source", "author", "message", "replace", "base"],
  configuration: ["kind", "request", "of", "version"],
  versions: ["kind", "request", "limit"],
  record: ["kind", "request", "order"],
};

/** `show, handover, restart or stop`. */
const kindsText = Object.keys(keysOf)
  .join(", ")
  .replace(/, (?=[^,]*$)/, " or ");

/** The fault of a `show` request in words, or null. */
function showFault(value: Fields): string | null {
  if (["pair", "links", "alarms", "readiness"].includes(String(value.what)))
    return "filter" in value || "limit" in value ? "filter and limit belong to sessions" : null;
  if (value.what !== "sessions") return "what: expected pair, links, alarms, readiness or sessions";
  if (!isCount(value.limit, 1, SESSIONS_SHOWN_MAX)) return `limit: expected 1 to ${SESSIONS_SHOWN_MAX}`;
  return filterFault(value.filter);
}

const restartFault = (value: Fields): string | null =>
  value.what === "daemon" || value.what === "heart" ? null : "what: expected daemon or heart";

const isText =
  (bytesMax: number) =>
  (value: unknown): boolean =>
    typeof value === "string" && value.length <= bytesMax;
const isReference = (value: unknown): boolean => typeof value === "string" && /^[0-9a-f]{1,64}$/.test(value);
const isReferenceOrNone = (value: unknown): boolean => value === null || isReference(value);

type Rules = Readonly<Record<string, readonly [string, (value: unknown) => boolean]>>;

/** The first key of `rules` that `value` has wrongly, in words, or null. */
function faultOf(rules: Rules, value: Fields): string | null {
  for (const [key, [expected, holds]] of Object.entries(rules))
    if (!holds(value[key])) return `${key}: expected ${expected}`;
  return null;
}

const sourceRules: Readonly<Record<ApplySource["kind"], Rules>> = {
  // Whether it is too long in bytes, the daemon says in words.
  text: {
    file: ["a name", isText(TEXT_BYTES_MAX)],
    text: ["text", isText(CONTROL_LINE_BYTES_MAX)],
  },
  version: { version: ["a version's number or id", isReference] },
  peer: {},
  "in-force": {},
};

function applyFault(value: Fields): string | null {
  const { source } = value;
  if (!isFields(source) || typeof source.kind !== "string" || !Object.hasOwn(sourceRules, source.kind))
    return `source: expected one of ${Object.keys(sourceRules).join(", ")}`;
  const rules = sourceRules[source.kind as ApplySource["kind"]];
  const unknown = Object.keys(source).find((key) => key !== "kind" && !Object.hasOwn(rules, key));
  if (unknown !== undefined) return `source.${unknown}: not a key of ${source.kind}`;
  const fault = faultOf(rules, source);
  if (fault !== null) return `source.${fault}`;
  return faultOf(
    {
      author: ["a name", isText(AUTHOR_BYTES_MAX)],
      message: ["text", isText(TEXT_BYTES_MAX)],
      replace: ["true or false", (replace) => typeof replace === "boolean"],
      base: ["a version's number or id, or null", isReferenceOrNone],
    },
    value,
  );
}

const orderRules: Rules = {
  file: ["an absolute path", (file) => isText(PATH_LENGTH_MAX)(file) && (file as string).startsWith("/")],
  what: ["frames or keys", (what) => what === "frames" || what === "keys"],
  seconds: [`1 to ${RECORDING_SECONDS_MAX}`, (seconds) => isCount(seconds, 1, RECORDING_SECONDS_MAX)],
  megabytes: [`1 to ${RECORDING_BYTES_MAX >> 20}`, (size) => isCount(size, 1, RECORDING_BYTES_MAX >> 20)],
  reconnect: ["true or false", (reconnect) => typeof reconnect === "boolean"],
};

function recordFault({ order }: Fields): string | null {
  if (order === null) return null;
  if (!isFields(order)) return "order: expected an object, or null";
  const unknown = Object.keys(order).find((key) => !Object.hasOwn(orderRules, key));
  if (unknown !== undefined) return `order.${unknown}: not a key of a recording`;
  const fault = faultOf(orderRules, order);
  return fault === null ? null : `order.${fault}`;
}

const faultsOf: Readonly<Record<DaemonRequest["kind"], (value: Fields) => string | null>> = {
  show: showFault,
  restart: restartFault,
  handover: () => null,
  drill: (value) => faultOf({ force: ["true or false", (force) => typeof force === "boolean"] }, value),
  stop: () => null,
  record: recordFault,
  apply: applyFault,
  configuration: (value) =>
    faultOf(
      {
        of: ["own or peer", (of) => of === "own" || of === "peer"],
        version: ["a version's number or id, or null", isReferenceOrNone],
      },
      value,
    ),
  versions: (value) =>
    faultOf(
      {
        limit: [
          `1 to ${CONFIGURATION_VERSIONS_SHOWN_MAX}`,
          (limit) => isCount(limit, 1, CONFIGURATION_VERSIONS_SHOWN_MAX),
        ],
      },
      value,
    ),
};

/** Reads one request of the command line. Every key is looked at; an unknown one is refused. */
export function readDaemonRequest(value: unknown): RequestRead {
  if (!isFields(value)) return { ok: false, number: 0, reason: "expected a JSON object" };
  const number = isCount(value.request, 0, Number.MAX_SAFE_INTEGER) ? value.request : null;
  const refuse = (reason: string): RequestRead => ({ ok: false, number: number ?? 0, reason });
  if (number === null) return refuse("request: expected a whole number");
  const kind = value.kind;
  if (typeof kind !== "string" || !Object.hasOwn(keysOf, kind)) return refuse(`kind: expected ${kindsText}`);
  const known = keysOf[kind as DaemonRequest["kind"]];
  for (const key of Object.keys(value))
    if (!known.includes(key)) return refuse(`${key}: not a key of ${kind}`);
  const fault = faultsOf[kind as DaemonRequest["kind"]](value);
  if (fault !== null) return refuse(fault);
  return { ok: true, request: value as unknown as DaemonRequest };
}
