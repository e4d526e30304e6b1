// Sessions as a table: who talks to whom, through which link, seen as what from outside. Pure.

import type { SessionView } from "../wire/control.ts";
import type { Cell, Style } from "./text.ts";
import { count, duration, plural, table } from "./text.ts";

export interface SessionsShown {
  readonly sessions: readonly SessionView[];
  /** How many match the filter; more than `sessions.length` where `truncated`. */
  readonly total: number;
  readonly truncated: boolean;
}

/** Protocols whose sessions have ports; ICMP carries its identifier in the same place. */
const withPorts = new Set(["tcp", "udp", "sctp", "dccp", "udplite"]);

/** `192.0.2.1:80`, `[2001:db8::1]:80`, or the address alone where the protocol has no ports. */
export function endText(protocol: string, address: string, port: number): string {
  if (!withPorts.has(protocol)) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The view as text that ends with a line feed. */
export function renderSessions(shown: SessionsShown, options: { readonly style: Style }): string {
  const { sessions, total } = shown;
  if (sessions.length === 0) return "No session matches.\n";
  const rows = sessions.map((session): Cell[] => [
    session.protocol,
    endText(session.protocol, session.source, session.sourcePort),
    endText(session.protocol, session.destination, session.destinationPort),
    session.link === 0 ? { text: "own", tone: "dim" } : String(session.link),
    endText(session.protocol, session.translatedSource, session.translatedPort),
    session.state,
    duration(session.timeoutSeconds * 1000),
  ]);
  const columns = [
    { title: "protocol" },
    { title: "from" },
    { title: "to" },
    { title: "link", align: "right" },
    { title: "seen outside as" },
    { title: "state" },
    { title: "forgotten in", align: "right" },
  ] as const;
  const summary = shown.truncated
    ? `${count(sessions.length)} of ${plural(total, "session")}; narrow it down with a filter, or raise --limit.`
    : plural(total, "session");
  return `${table(columns, rows, options.style)}\n${options.style("dim", summary)}\n`;
}
