// Control requests: what the command line may ask of the daemon, read strictly from what arrived on the
// socket. Anything else is refused with a reason that names the key. Pure.

import { LINK_ID_MAX, LINK_ID_MIN, SESSIONS_SHOWN_MAX } from "../base/limits.ts";
import type { DaemonRequest, SessionFilter } from "./control.ts";

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
  restart: ["kind", "request", "what"],
  stop: ["kind", "request"],
};

/** The fault of a `show` request in words, or null. */
function showFault(value: Fields): string | null {
  if (value.what === "pair" || value.what === "links" || value.what === "alarms")
    return "filter" in value || "limit" in value ? "filter and limit belong to sessions" : null;
  if (value.what !== "sessions") return "what: expected pair, links, alarms or sessions";
  if (!isCount(value.limit, 1, SESSIONS_SHOWN_MAX)) return `limit: expected 1 to ${SESSIONS_SHOWN_MAX}`;
  return filterFault(value.filter);
}

const restartFault = (value: Fields): string | null =>
  value.what === "daemon" || value.what === "heart" ? null : "what: expected daemon or heart";

/** Reads one request of the command line. Every key is looked at; an unknown one is refused. */
export function readDaemonRequest(value: unknown): RequestRead {
  if (!isFields(value)) return { ok: false, number: 0, reason: "expected a JSON object" };
  const number = isCount(value.request, 0, Number.MAX_SAFE_INTEGER) ? value.request : null;
  const refuse = (reason: string): RequestRead => ({ ok: false, number: number ?? 0, reason });
  if (number === null) return refuse("request: expected a whole number");
  const kind = value.kind;
  if (typeof kind !== "string" || !Object.hasOwn(keysOf, kind))
    return refuse("kind: expected show, handover, restart or stop");
  const known = keysOf[kind as DaemonRequest["kind"]];
  for (const key of Object.keys(value))
    if (!known.includes(key)) return refuse(`${key}: not a key of ${kind}`);
  const fault = kind === "show" ? showFault(value) : kind === "restart" ? restartFault(value) : null;
  if (fault !== null) return refuse(fault);
  return { ok: true, request: value as unknown as DaemonRequest };
}
