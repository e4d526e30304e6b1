// What `understudy decode` prints: messages, heartbeats and what became of connections, each with its time and its direction, as
// text or as JSON. Where they came from (a recorded file, a capture) is not its business.

import type { NodeId } from "../base/units.ts";
import { heartbeatText, messageText } from "../views/messages.ts";
import { type Plain, plainOf } from "../views/plain.ts";
import { type NamedRecord, recordPlain } from "../views/records.ts";
import type { Style } from "../views/text.ts";
import { protocolName, stateName } from "../wire/conntrack.ts";
import { isExpectation } from "../wire/expectation.ts";
import { decodeExpectation } from "../wire/expectationRecord.ts";
import type { HeartbeatMessage } from "../wire/heartbeat.ts";
import type { PeerMessage } from "../wire/peer.ts";
import { refusalOf } from "../wire/recordRefusals.ts";
import { readRecord } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import { recordOf } from "../wire/sessionRecord.ts";

/** Who said it: a node's letter where it is known, else an address with its port. */
export interface Direction {
  readonly from: NodeId | string;
  readonly to: NodeId | string;
}

export type Decoded = {
  /** Microseconds since 1970; null where the file does not say. */
  readonly at: number | null;
  readonly direction: Direction;
} & (
  | { readonly kind: "message"; readonly message: PeerMessage }
  | { readonly kind: "heartbeat"; readonly number: number; readonly message: HeartbeatMessage }
  /** A connection began or ended, or something cannot be read: in words. `isFault`: the file or the keys fall short. */
  | { readonly kind: "note"; readonly text: string; readonly isFault: boolean }
);

/** The records of a message of sessions with their names; the last one may be a reason why the rest cannot be read. */
export function namedRecords(bytes: Uint8Array): {
  readonly records: readonly NamedRecord[];
  readonly fault: string | null;
} {
  const records: NamedRecord[] = [];
  const fields = new SessionFields();
  for (let at = 0; at < bytes.length; ) {
    if (isExpectation(bytes, at)) {
      const read = decodeExpectation(bytes, at);
      if (!read.ok) return { records, fault: `record ${records.length + 1} at byte ${at}: ${read.reason}` };
      const { record } = read;
      const masterProtocol = record.operation === "create" ? protocolName(record.state.master.protocol) : "";
      records.push({ kind: "expectation", record, protocol: protocolName(record.protocol), masterProtocol });
      at = read.end;
      continue;
    }
    const end = readRecord(bytes, at, fields);
    if (end < 0) return { records, fault: `record ${records.length + 1} at byte ${at}: ${refusalOf(end)}` };
    const record = recordOf(fields);
    const state = record.operation === "delete" ? "" : stateName(fields);
    records.push({ kind: "session", record, protocol: protocolName(record.protocol), state });
    at = end;
  }
  return { records, fault: null };
}

/** `2026-11-20 16:26:33.123456`, UTC; dashes of the same width where the time is not known. */
function timeText(at: number | null): string {
  if (at === null) return "-".repeat(26);
  const iso = new Date(Math.floor(at / 1000)).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}${String(at % 1000).padStart(3, "0")}`;
}

const INDENT = " ".repeat(4);

/** Lines of text for one thing that was said, each ending with a line feed. */
export function decodedText(decoded: Decoded, style: Style): string {
  const { from, to } = decoded.direction;
  const head = `${style("dim", timeText(decoded.at))} ${from} > ${to}  `;
  if (decoded.kind === "note")
    return `${head}${style(decoded.isFault ? "bad" : "dim", `-- ${decoded.text} --`)}\n`;
  if (decoded.kind === "heartbeat") return `${head}${heartbeatText(decoded.message)}\n`;
  const { message } = decoded;
  const { records, fault } =
    message.kind === "sessions" ? namedRecords(message.records) : { records: [], fault: null };
  const [first, ...rest] = messageText(message, records);
  const more = [...rest, ...(fault === null ? [] : [style("bad", fault)])];
  return `${head}${first}\n${more.map((line) => `${INDENT}${line}\n`).join("")}`;
}

/** The same as a value for one line of JSON. */
export function decodedPlain(decoded: Decoded): Plain {
  const at = decoded.at === null ? null : `${timeText(decoded.at).replace(" ", "T")}Z`;
  const head = { at, ...decoded.direction };
  if (decoded.kind === "note") return { ...head, kind: "note", text: decoded.text, isFault: decoded.isFault };
  if (decoded.kind === "heartbeat")
    return { ...head, kind: "heartbeat", number: decoded.number, heartbeat: plainOf(decoded.message) };
  const { kind, ...fields } = decoded.message;
  if (decoded.message.kind !== "sessions")
    return { ...head, kind, ...(plainOf(fields) as { [name: string]: Plain }) };
  const { records, fault } = namedRecords(decoded.message.records);
  const { origin, first, count } = decoded.message;
  const said = { origin, first: plainOf(first), count, records: records.map(recordPlain) };
  return { ...head, kind, ...said, ...(fault === null ? {} : { fault }) };
}
