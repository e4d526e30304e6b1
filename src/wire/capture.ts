// Capture files as tcpdump and Wireshark write them, cut into packets: pcap (libpcap's own) and pcapng, of either byte order.
// What a capture holds was written by others: every length is judged before anything is read by it. Pure.
//
// Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng (blocks: §4; the TLS key log in a secrets block: §4.7).

export interface CapturedPacket {
  /** From 1, as Wireshark counts. */
  readonly number: number;
  /** Microseconds since 1970; null where the file does not say. */
  readonly at: number | null;
  /** LINKTYPE_*: what the packet begins with. */
  readonly linkType: number;
  /** A view of the file. */
  readonly bytes: Uint8Array;
  /** The capture has less of it than was on the wire. */
  readonly cut: boolean;
}

export type CaptureResult =
  | {
      readonly ok: true;
      readonly packets: readonly CapturedPacket[];
      /** TLS keys that the file brings along (pcapng), in the format of SSLKEYLOGFILE. */
      readonly keyLogs: readonly string[];
      /** Where the file ends in mid-packet (the capture was killed): what is missing, in words; else null. */
      readonly incomplete: string | null;
    }
  | { readonly ok: false; readonly reason: string };

const PCAP_MICROSECONDS = 0xa1b2c3d4;
const PCAP_NANOSECONDS = 0xa1b23c4d;
const PCAP_HEAD_BYTES = 24;
const PCAP_RECORD_BYTES = 16;
const PCAPNG_SECTION = 0x0a0d0d0a;
const PCAPNG_BYTE_ORDER = 0x1a2b3c4d;
const PCAPNG_INTERFACE = 1;
const PCAPNG_SIMPLE = 3;
const PCAPNG_PACKET = 6;
const PCAPNG_SECRETS = 10;
const SECRETS_TLS_KEY_LOG = 0x544c534b;
const OPTION_END = 0;
const OPTION_TIME_RESOLUTION = 9;
const MICROSECONDS = 1e6;
/** No interface has larger packets; libpcap refuses more, too (MAXIMUM_SNAPLEN). */
const PACKET_BYTES_MAX = 262_144;

/** True where the file begins as a capture does. */
export function isCapture(raw: Uint8Array): boolean {
  if (raw.length < 4) return false;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const magics = [view.getUint32(0, true), view.getUint32(0, false)];
  return magics.some((magic) => [PCAP_MICROSECONDS, PCAP_NANOSECONDS, PCAPNG_SECTION].includes(magic));
}

/** All packets of a capture file, or why it is none. */
export function readCapture(raw: Uint8Array): CaptureResult {
  if (!isCapture(raw)) return refused("neither a pcap nor a pcapng file begins like this");
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  return view.getUint32(0, true) === PCAPNG_SECTION ? readPcapng(raw, view) : readPcap(raw, view);
}

const refused = (reason: string): CaptureResult => ({ ok: false, reason });

function readPcap(raw: Uint8Array, view: DataView): CaptureResult {
  if (raw.length < PCAP_HEAD_BYTES) return refused("a pcap file's head has 24 bytes");
  const little = [PCAP_MICROSECONDS, PCAP_NANOSECONDS].includes(view.getUint32(0, true));
  const perSecond = view.getUint32(0, little) === PCAP_NANOSECONDS ? 1e9 : MICROSECONDS;
  // The upper bits say how long a frame check sequence is.
  const linkType = view.getUint32(20, little) & 0x0fffffff;
  const packets: CapturedPacket[] = [];
  let at = PCAP_HEAD_BYTES;
  while (at < raw.length) {
    const number = packets.length + 1;
    if (at + PCAP_RECORD_BYTES > raw.length) return complete(packets, [], endsIn(number, at));
    const length = view.getUint32(at + 8, little);
    if (length > PACKET_BYTES_MAX)
      return refused(`packet ${number} at byte ${at} says that it has ${length} bytes`);
    const start = at + PCAP_RECORD_BYTES;
    if (start + length > raw.length) return complete(packets, [], endsIn(number, at));
    const seconds = view.getUint32(at, little);
    const fraction = view.getUint32(at + 4, little);
    packets.push({
      number,
      at: seconds * MICROSECONDS + Math.floor((fraction * MICROSECONDS) / perSecond),
      linkType,
      bytes: raw.subarray(start, start + length),
      cut: length < view.getUint32(at + 12, little),
    });
    at = start + length;
  }
  return complete(packets, [], null);
}

const endsIn = (number: number, at: number): string =>
  `the file ends in packet ${number}, which begins at byte ${at}`;

function complete(
  packets: readonly CapturedPacket[],
  keyLogs: readonly string[],
  incomplete: string | null,
): CaptureResult {
  return { ok: true, packets, keyLogs, incomplete };
}

interface Interface {
  readonly linkType: number;
  /** Units of a time stamp in a second. */
  readonly perSecond: number;
}

/** A pcapng file while it is read: byte order and interfaces are those of the section at hand. */
interface Section {
  little: boolean;
  interfaces: Interface[];
}

function readPcapng(raw: Uint8Array, view: DataView): CaptureResult {
  const packets: CapturedPacket[] = [];
  const keyLogs: string[] = [];
  const section: Section = { little: true, interfaces: [] };
  let at = 0;
  while (at < raw.length) {
    const ends = `the file ends in the block at byte ${at}`;
    if (at + 12 > raw.length) return complete(packets, keyLogs, ends);
    if (view.getUint32(at, true) === PCAPNG_SECTION) {
      section.little = view.getUint32(at + 8, true) === PCAPNG_BYTE_ORDER;
      section.interfaces = [];
      if (view.getUint32(at + 8, section.little) !== PCAPNG_BYTE_ORDER)
        return refused(`the section at byte ${at} has no byte order`);
    }
    const type = view.getUint32(at, section.little);
    const length = view.getUint32(at + 4, section.little);
    if (length < 12 || length % 4 !== 0)
      return refused(`the block at byte ${at} says that it has ${length} bytes`);
    if (at + length > raw.length) return complete(packets, keyLogs, ends);
    const body = raw.subarray(at + 8, at + length - 4);
    const reason = readBlock(type, body, section, packets, keyLogs);
    if (reason !== null) return refused(`the block at byte ${at}: ${reason}`);
    at += length;
  }
  return complete(packets, keyLogs, null);
}

/** null, or what is wrong with it. Blocks of other types are not ours to read. */
function readBlock(
  type: number,
  body: Uint8Array,
  section: Section,
  packets: CapturedPacket[],
  keyLogs: string[],
): string | null {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const { little, interfaces } = section;
  if (type === PCAPNG_INTERFACE) {
    if (body.length < 8) return "an interface has at least 8 bytes";
    interfaces.push({
      linkType: view.getUint16(0, little),
      perSecond: timeResolution(body.subarray(8), little),
    });
    return null;
  }
  if (type === PCAPNG_SECRETS) {
    if (body.length < 8) return "secrets have at least 8 bytes";
    const length = view.getUint32(4, little);
    if (8 + length > body.length) return `${length} bytes of secrets in a block of ${body.length}`;
    if (view.getUint32(0, little) === SECRETS_TLS_KEY_LOG)
      keyLogs.push(new TextDecoder("latin1").decode(body.subarray(8, 8 + length)));
    return null;
  }
  if (type !== PCAPNG_PACKET && type !== PCAPNG_SIMPLE) return null;
  const headBytes = type === PCAPNG_PACKET ? 20 : 4;
  if (body.length < headBytes) return `a packet has at least ${headBytes} bytes`;
  const index = type === PCAPNG_PACKET ? view.getUint32(0, little) : 0;
  const of = interfaces[index];
  if (of === undefined) return `a packet of interface ${index}, which was not described`;
  const onWire = view.getUint32(headBytes - 4, little);
  const captured = type === PCAPNG_PACKET ? view.getUint32(12, little) : Math.min(onWire, body.length - 4);
  if (captured > body.length - headBytes) return `${captured} bytes of a packet in a block of ${body.length}`;
  packets.push({
    number: packets.length + 1,
    at: type === PCAPNG_PACKET ? timeOf(view, little, of.perSecond) : null,
    linkType: of.linkType,
    bytes: body.subarray(headBytes, headBytes + captured),
    cut: captured < onWire,
  });
  return null;
}

/** Of a packet's block: two words of ticks, the upper one first, in microseconds. */
function timeOf(view: DataView, little: boolean, perSecond: number): number {
  const ticks = view.getUint32(4, little) * 2 ** 32 + view.getUint32(8, little);
  return Math.floor((ticks / perSecond) * MICROSECONDS);
}

/** if_tsresol: a power of ten, or of two where its highest bit is set; a millionth where it is absent. */
function timeResolution(options: Uint8Array, little: boolean): number {
  const view = new DataView(options.buffer, options.byteOffset, options.length);
  for (let at = 0; at + 4 <= options.length; ) {
    const code = view.getUint16(at, little);
    const length = view.getUint16(at + 2, little);
    if (code === OPTION_END) break;
    if (code === OPTION_TIME_RESOLUTION && at + 4 < options.length) {
      const value = options[at + 4]!;
      return value & 0x80 ? 2 ** (value & 0x7f) : 10 ** value;
    }
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return MICROSECONDS;
}
