// Session and expectation records in words, one line each, and as plain values for JSON: for `understudy decode`. Pure.

import { formatAddress } from "../base/addresses.ts";
import { MARK_APPLICATION_SHIFT, MARK_CLASS_SHIFT, MARK_LINK_MASK } from "../base/limits.ts";
import type { ExpectationRecord } from "../wire/expectationRecord.ts";
import type { SessionRecord, SessionTuple } from "../wire/sessionRecord.ts";
import { bytesText, type Plain, plainOf } from "./plain.ts";
import { printable } from "./text.ts";

/** A record with what only the bytes' own room can name. */
export type NamedRecord =
  | {
      readonly kind: "session";
      readonly record: SessionRecord;
      /** `tcp`, or the number. */
      readonly protocol: string;
      /** `ESTABLISHED`, `ASSURED`; empty in a delete. */
      readonly state: string;
    }
  | {
      readonly kind: "expectation";
      readonly record: ExpectationRecord;
      readonly protocol: string;
      readonly masterProtocol: string;
    };

const ICMP = ["icmp", "icmpv6"];
/** Protocols whose tuples have no numbers. */
const NO_NUMBERS: readonly number[] = [50, 51];

/** `10.0.0.1:40000`, `[2001:db8::1]:443`; an address alone where the protocol has no ports. */
function endText(address: Uint8Array, port: number | null): string {
  const text = formatAddress(address);
  if (port === null) return text;
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
}

function endsText(protocol: string, tuple: SessionTuple, hasPorts: boolean): string {
  const { source, destination, a, b } = tuple;
  if (ICMP.includes(protocol))
    return `${formatAddress(source)} > ${formatAddress(destination)} id ${a} type ${b >> 8}${(b & 0xff) === 0 ? "" : `/${b & 0xff}`}`;
  return `${endText(source, hasPorts ? a : null)} > ${endText(destination, hasPorts ? b : null)}`;
}

const sameAddress = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, index) => byte === other[index]);

/** Whether its tuples carry numbers: every protocol's do that has any in this session. */
const hasNumbers = (protocol: number, ...tuples: readonly SessionTuple[]): boolean =>
  !NO_NUMBERS.includes(protocol) && tuples.some(({ a, b }) => a !== 0 || b !== 0);

/** Where the answers go, and where they come from, as far as either is not who the original says. */
function translationText(
  protocol: string,
  record: SessionRecord & { operation: "create" | "update" },
): string {
  const { original } = record;
  const { reply } = record.state;
  const ports = hasNumbers(record.protocol, original, reply);
  const isIcmp = ICMP.includes(protocol);
  // The reply's source answers for the original destination; of ICMP's numbers only the identifier is anybody's.
  const from = isIcmp ? null : ports ? reply.a : null;
  const to = isIcmp ? null : ports ? reply.b : null;
  const source =
    !sameAddress(reply.destination, original.source) ||
    (ports && (isIcmp ? reply.a !== original.a : reply.b !== original.a));
  const destination =
    !sameAddress(reply.source, original.destination) || (ports && !isIcmp && reply.a !== original.b);
  const as = source ? ` as ${endText(reply.destination, to)}${isIcmp ? ` id ${reply.a}` : ""}` : "";
  return `${as}${destination ? ` by ${endText(reply.source, from)}` : ""}`;
}

function markText(mark: number): string {
  const service = (mark >>> MARK_CLASS_SHIFT) & 0xf;
  const application = (mark >>> MARK_APPLICATION_SHIFT) & 0xffff;
  return (
    `link ${mark & MARK_LINK_MASK}` +
    `${service === 0 ? "" : ` class ${service}`}${application === 0 ? "" : ` application ${application}`}`
  );
}

function partsText(record: SessionRecord & { operation: "create" | "update" }): string {
  const { helper, master, adjustOriginal, adjustReply, labels, verificationTags } = record.state;
  const parts = [
    helper === undefined ? "" : `helper ${printable(helper)}`,
    master === undefined ? "" : `expected by ${endsText("", master.original, true)}`,
    adjustOriginal === undefined && adjustReply === undefined ? "" : "sequence adjusted",
    labels === undefined ? "" : `labels ${bytesText(labels)}`,
    verificationTags === undefined
      ? ""
      : `tags ${verificationTags.original.toString(16)} ${verificationTags.reply.toString(16)}`,
  ];
  return parts
    .filter((part) => part !== "")
    .map((part) => `, ${part}`)
    .join("");
}

function sessionText({ record, protocol, state }: Extract<NamedRecord, { kind: "session" }>): string {
  const zone = record.zone === undefined ? "" : ` zone ${record.zone.id} (${record.zone.directions})`;
  const named = `${record.operation} ${protocol} `;
  if (record.operation === "delete")
    return `${named}${endsText(protocol, record.original, hasNumbers(record.protocol, record.original))}${zone}`;
  const { reply, mark, timeoutSeconds } = record.state;
  const ends = endsText(protocol, record.original, hasNumbers(record.protocol, record.original, reply));
  return (
    `${named}${ends}${translationText(protocol, record)} ${markText(mark)}${zone}` +
    ` ${state} ${timeoutSeconds} s${partsText(record)}`
  );
}

function expectationText(named: Extract<NamedRecord, { kind: "expectation" }>): string {
  const { record, protocol, masterProtocol } = named;
  const head = `${record.operation === "create" ? "expect" : "expect no more"} ${protocol}`;
  const ends = endsText(protocol, record.expected, true);
  if (record.operation === "delete") return `${head} ${ends}`;
  const { master, helper, timeoutSeconds, permanent, translation } = record.state;
  const translated =
    translation === undefined
      ? ""
      : `, translated as the ${translation.direction} of it to ${endText(translation.address, translation.number)}`;
  const until = permanent ? "for good" : `${timeoutSeconds} s`;
  return `${head} ${ends} for ${printable(helper)} of ${masterProtocol} ${endsText(masterProtocol, master.original, true)}${translated}, ${until}`;
}

/** `create tcp 10.0.0.1:40000 > 198.51.100.7:443 as 192.0.2.1:40000 link 3 ESTABLISHED 432000 s` */
export function recordText(named: NamedRecord): string {
  return named.kind === "session" ? sessionText(named) : expectationText(named);
}

/** The same for JSON: addresses as text, other bytes in hexadecimal digits. */
export function recordPlain(named: NamedRecord): Plain {
  const { kind, record, protocol } = named;
  const state = named.kind === "session" && named.state !== "" ? { stateName: named.state } : {};
  return plainOf({ what: kind, protocolName: protocol, ...state, ...record });
}
