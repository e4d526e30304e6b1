// The session table looked at: listed for people, counted for reports. Not the hot path: what lists makes objects,
// and gives the event loop back between datagrams, for a table can hold a million entries.

import { formatAddress } from "../base/addresses.ts";
import { MARK_LINK_MASK } from "../base/limits.ts";
import {
  CTA_STATS_GLOBAL_ENTRIES,
  IPCTNL_MSG_CT_GET_STATS,
  NFNL_SUBSYS_CTNETLINK,
  protocolName,
  stateName,
} from "../wire/conntrack.ts";
import type { SessionFilter, SessionView } from "../wire/control.ts";
import { MessageWriter, NETLINK_NETFILTER, readAttributes, readBe32 } from "../wire/netlink.ts";
import { ProtocolKind, protocolKind, type SessionFields } from "../wire/sessionFields.ts";
import { isPairs } from "../wire/sessionPolicy.ts";
import { NetlinkSocket } from "./netlink.ts";
import { openSessionScan, type SessionDumpOptions } from "./sessionDump.ts";

export interface SessionList {
  readonly sessions: readonly SessionView[];
  /** How many match; `sessions` holds at most `limit` of them. */
  readonly total: number;
  readonly truncated: boolean;
}

/** The pair's sessions that match, in the table's order. Steps aside after each datagram (about 130 entries). */
export async function listSessions(filter: SessionFilter, limit: number): Promise<SessionList> {
  const sessions: SessionView[] = [];
  let total = 0;
  const options: SessionDumpOptions = {
    ...(filter.family === undefined ? {} : { family: filter.family }),
    ...(filter.link === undefined ? {} : { mark: { value: filter.link, mask: MARK_LINK_MASK } }),
  };
  await scan(options, (fields) => {
    if (!isPairs(fields) || !matches(fields, filter)) return;
    total += 1;
    if (sessions.length < limit) sessions.push(viewOf(fields));
  });
  return { sessions, total, truncated: total > sessions.length };
}

/** How many of the pair's sessions each link has (by link id; a link without one is left out), half-open ones included. Steps aside as `listSessions` does. */
export async function countSessions(): Promise<Readonly<Record<number, number>>> {
  const counts: Record<number, number> = {};
  await scan({}, (fields) => {
    const link = fields.mark & MARK_LINK_MASK;
    if (link !== 0) counts[link] = (counts[link] ?? 0) + 1;
  });
  return counts;
}

async function scan(options: SessionDumpOptions, visit: (fields: SessionFields) => void): Promise<void> {
  const table = openSessionScan(options);
  const take = (fields: SessionFields): boolean => {
    visit(fields);
    return true;
  };
  try {
    while (table.next(take)) await new Promise<void>((resolve) => setImmediate(resolve));
  } finally {
    table.close();
  }
}

/**
 * Entries of this network namespace's table, the node's own among them: the kernel's counter, whatever the size.
 * Without a `socket` one is opened for the occasion.
 */
export function countEntries(socket?: NetlinkSocket): number {
  const used = socket ?? new NetlinkSocket(NETLINK_NETFILTER);
  try {
    const request = new MessageWriter((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET_STATS).fixed(
      Uint8Array.of(0, 0, 0, 0),
    );
    const [answer] = used.get("count the session table", request);
    if (answer === undefined) return 0;
    return readBe32(readAttributes(answer.payload.subarray(4))?.get(CTA_STATS_GLOBAL_ENTRIES)) ?? 0;
  } finally {
    if (socket === undefined) used.close();
  }
}

function matches(fields: SessionFields, filter: SessionFilter): boolean {
  if (filter.protocol !== undefined && protocolName(fields.protocol) !== filter.protocol.toLowerCase())
    if (String(fields.protocol) !== filter.protocol) return false;
  if (filter.port !== undefined) {
    if (protocolKind(fields.family, fields.protocol) !== ProtocolKind.Ports) return false;
    if (![fields.originalA, fields.originalB, fields.replyB].includes(filter.port)) return false;
  }
  if (filter.address === undefined) return true;
  const ends = [
    fields.originalSource,
    fields.originalDestination,
    fields.replySource,
    fields.replyDestination,
  ];
  return ends.some((at) => textAt(fields, at) === filter.address);
}

function viewOf(fields: SessionFields): SessionView {
  const ports = protocolKind(fields.family, fields.protocol) === ProtocolKind.Ports;
  const icmp = protocolKind(fields.family, fields.protocol) === ProtocolKind.Icmp;
  return {
    protocol: protocolName(fields.protocol),
    family: fields.family === 4 ? 4 : 6,
    source: textAt(fields, fields.originalSource),
    destination: textAt(fields, fields.originalDestination),
    // For ICMP the identifier stands in the source port's place.
    sourcePort: fields.originalA,
    destinationPort: ports ? fields.originalB : 0,
    translatedSource: textAt(fields, fields.replyDestination),
    translatedPort: icmp ? fields.replyA : fields.replyB,
    link: fields.mark & MARK_LINK_MASK,
    state: stateName(fields),
    timeoutSeconds: fields.timeoutSeconds,
  };
}

function textAt(fields: SessionFields, at: number): string {
  return formatAddress(fields.bytes.subarray(at, at + fields.addressBytes));
}
