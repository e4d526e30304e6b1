// Netlink messages: bytes <-> values, for every family (routes, conntrack, nftables). A writer that patches
// lengths as it goes, readers that refuse what does not add up. Knows no socket and no family; the families'
// attributes belong to their users. Pure.
//
// Layout (include/uapi/linux/netlink.h), host byte order, everything aligned to 4:
//   struct nlmsghdr { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }   struct nlattr { u16 len; u16 type; }

/** Netlink speaks the machine's own byte order; only fields named so (`be16`, `be32`) are network order. */
export const HOST_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

// The kernel's names kept verbatim.
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NLMSG_HDRLEN = 16;
export const NLA_HDRLEN = 4;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_MIN_TYPE = 16;
export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP = 0x300;
/** In an acknowledgement: the request's payload is left out, attributes with words follow. */
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLMSGERR_ATTR_MSG = 1;
export const NLMSGERR_ATTR_OFFS = 2;
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;

/** `#define NLMSG_ALIGN(len)`, and NLA_ALIGN: both round up to 4. */
export const align4 = (length: number): number => (length + 3) & ~3;

/** Netlink's attribute lengths are 16 bits wide. */
const ATTRIBUTE_BYTES_MAX = 0xffff;
const WRITER_BYTES_INITIAL = 512;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Writes one message: header, the family's fixed part, attributes. Lengths are patched by `finish`.
 * Sequence and port id are left 0 for the socket to fill in.
 */
export class MessageWriter {
  #bytes = new Uint8Array(WRITER_BYTES_INITIAL);
  #view = new DataView(this.#bytes.buffer);
  #length = NLMSG_HDRLEN;

  /** `type` as the kernel numbers it, `flags` of NLM_F_*; NLM_F_REQUEST is always added. */
  constructor(type: number, flags = 0) {
    this.#view.setUint16(4, type, HOST_LITTLE_ENDIAN);
    this.#view.setUint16(6, flags | NLM_F_REQUEST, HOST_LITTLE_ENDIAN);
  }

  /** Appends the family's fixed part (`struct ifinfomsg`, `nfgenmsg`...), padded to 4. */
  fixed(bytes: Uint8Array): this {
    const at = this.#reserve(align4(bytes.length));
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Appends an attribute with these bytes as its payload. */
  attribute(type: number, payload: Uint8Array): this {
    this.#bytes.set(payload, this.#header(type, payload.length));
    return this;
  }
  /** An attribute without payload: a flag. */
  flag(type: number): this {
    this.#header(type, 0);
    return this;
  }
  u8(type: number, value: number): this {
    const at = this.#header(type, 1);
    this.#view.setUint8(at, value);
    return this;
  }
  u16(type: number, value: number): this {
    const at = this.#header(type, 2);
    this.#view.setUint16(at, value, HOST_LITTLE_ENDIAN);
    return this;
  }
  u32(type: number, value: number): this {
    const at = this.#header(type, 4);
    this.#view.setUint32(at, value, HOST_LITTLE_ENDIAN);
    return this;
  }
  u64(type: number, value: bigint): this {
    const at = this.#header(type, 8);
    this.#view.setBigUint64(at, value, HOST_LITTLE_ENDIAN);
    return this;
  }
  /** Network byte order, as nfnetlink wants it. */
  be16(type: number, value: number): this {
    const at = this.#header(type, 2);
    this.#view.setUint16(at, value);
    return this;
  }
  be32(type: number, value: number): this {
    const at = this.#header(type, 4);
    this.#view.setUint32(at, value);
    return this;
  }
  /** A string with its terminating zero. */
  text(type: number, value: string): this {
    const bytes = encoder.encode(value);
    this.#bytes.set(bytes, this.#header(type, bytes.length + 1));
    return this;
  }
  /** An attribute made of attributes: `nested(IFLA_LINKINFO, (w) => w.text(IFLA_INFO_KIND, "macvlan"))`. */
  nested(type: number, fill: (writer: this) => void): this {
    const start = this.#header(type | NLA_F_NESTED, 0) - NLA_HDRLEN;
    fill(this);
    this.#patch(start);
    return this;
  }

  /** The message's bytes, its length in place. Valid until the writer is written to again. */
  finish(): Uint8Array {
    this.#view.setUint32(0, this.#length, HOST_LITTLE_ENDIAN);
    return this.#bytes.subarray(0, this.#length);
  }

  #patch(start: number): void {
    const length = this.#length - start;
    if (length > ATTRIBUTE_BYTES_MAX) throw new RangeError(`netlink attribute of ${length} bytes`);
    this.#view.setUint16(start, length, HOST_LITTLE_ENDIAN);
  }

  /** Reserves header and payload; returns the payload's offset. */
  #header(type: number, payloadLength: number): number {
    const length = NLA_HDRLEN + payloadLength;
    if (length > ATTRIBUTE_BYTES_MAX) throw new RangeError(`netlink attribute of ${length} bytes`);
    const at = this.#reserve(align4(length));
    this.#view.setUint16(at, length, HOST_LITTLE_ENDIAN);
    this.#view.setUint16(at + 2, type, HOST_LITTLE_ENDIAN);
    return at + NLA_HDRLEN;
  }

  #reserve(bytes: number): number {
    const at = this.#length;
    if (at + bytes > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, at + bytes));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length += bytes;
    return at;
  }
}

/** One message of a datagram. `payload` is a view of the datagram, from behind the header on. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Uint8Array;
}

/** Stamps sequence and port id into a finished message. */
export function stamp(message: Uint8Array, sequence: number, portId = 0): void {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  view.setUint32(8, sequence, HOST_LITTLE_ENDIAN);
  view.setUint32(12, portId, HOST_LITTLE_ENDIAN);
}

/** The messages of one datagram; null where its lengths do not add up. Payloads are views, not copies. */
export function readMessages(datagram: Uint8Array): Message[] | null {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  const messages: Message[] = [];
  let at = 0;
  while (at < datagram.length) {
    if (datagram.length - at < NLMSG_HDRLEN) return null;
    const length = view.getUint32(at, HOST_LITTLE_ENDIAN);
    if (length < NLMSG_HDRLEN || length > datagram.length - at) return null;
    messages.push({
      type: view.getUint16(at + 4, HOST_LITTLE_ENDIAN),
      flags: view.getUint16(at + 6, HOST_LITTLE_ENDIAN),
      sequence: view.getUint32(at + 8, HOST_LITTLE_ENDIAN),
      portId: view.getUint32(at + 12, HOST_LITTLE_ENDIAN),
      payload: datagram.subarray(at + NLMSG_HDRLEN, at + length),
    });
    at += align4(length);
  }
  return messages;
}

/** An NLMSG_ERROR's content. `errno` 0 is an acknowledgement. `words` are the kernel's own, "" where none. */
export interface Acknowledgement {
  readonly errno: number;
  readonly words: string;
}

/** Reads `struct nlmsgerr` and the extended acknowledgement behind it; null where truncated. */
export function readAcknowledgement(message: Message): Acknowledgement | null {
  const { payload } = message;
  if (payload.length < 4) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const errno = -view.getInt32(0, HOST_LITTLE_ENDIAN);
  if ((message.flags & NLM_F_ACK_TLVS) === 0 || payload.length < 4 + NLMSG_HDRLEN)
    return { errno, words: "" };
  // Behind the errno stands the request's header, and the request's body too unless NLM_F_CAPPED.
  const echoed = (message.flags & NLM_F_CAPPED) !== 0 ? NLMSG_HDRLEN : view.getUint32(4, HOST_LITTLE_ENDIAN);
  const start = 4 + align4(echoed);
  if (start > payload.length) return { errno, words: "" };
  const words = readAttributes(payload.subarray(start))?.get(NLMSGERR_ATTR_MSG);
  return { errno, words: words === undefined ? "" : readText(words) };
}

/**
 * The attributes in `bytes`, by type (NLA_F_* bits removed); of a repeated type the last. Null where lengths do
 * not add up. Values are views. For lists (`RTA_MULTIPATH`, nested arrays) use `forEachAttribute`.
 */
export function readAttributes(bytes: Uint8Array): Map<number, Uint8Array> | null {
  const attributes = new Map<number, Uint8Array>();
  const whole = forEachAttribute(bytes, (type, payload) => attributes.set(type, payload));
  return whole ? attributes : null;
}

/** Calls `visit` for each attribute in order; false where lengths do not add up (what came before was visited). */
export function forEachAttribute(
  bytes: Uint8Array,
  visit: (type: number, payload: Uint8Array) => void,
): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < NLA_HDRLEN) return false;
    const length = view.getUint16(at, HOST_LITTLE_ENDIAN);
    if (length < NLA_HDRLEN || length > bytes.length - at) return false;
    visit(
      view.getUint16(at + 2, HOST_LITTLE_ENDIAN) & NLA_TYPE_MASK,
      bytes.subarray(at + NLA_HDRLEN, at + length),
    );
    at += align4(length);
  }
  return true;
}

/** An attribute's integer in host byte order; undefined where absent or not exactly that long. */
export function readU8(payload: Uint8Array | undefined): number | undefined {
  return payload?.length === 1 ? payload[0] : undefined;
}
export function readU16(payload: Uint8Array | undefined): number | undefined {
  if (payload?.length !== 2) return undefined;
  return new DataView(payload.buffer, payload.byteOffset, 2).getUint16(0, HOST_LITTLE_ENDIAN);
}
export function readU32(payload: Uint8Array | undefined): number | undefined {
  if (payload?.length !== 4) return undefined;
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, HOST_LITTLE_ENDIAN);
}
/** Network byte order. */
export function readBe16(payload: Uint8Array | undefined): number | undefined {
  if (payload?.length !== 2) return undefined;
  return new DataView(payload.buffer, payload.byteOffset, 2).getUint16(0);
}
export function readBe32(payload: Uint8Array | undefined): number | undefined {
  if (payload?.length !== 4) return undefined;
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}
/** A string up to its first zero. */
export function readText(payload: Uint8Array): string {
  const zero = payload.indexOf(0);
  return decoder.decode(zero < 0 ? payload : payload.subarray(0, zero));
}
