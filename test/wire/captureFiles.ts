// Capture files for tests, written by the book (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng) and not by the code that reads
// them; and packets to put into them.

export interface CaptureFile {
  readonly linkType: number;
  /** `at`: microseconds since 1970. `onWire`: bytes that there were. */
  readonly packets: readonly { readonly at: number; readonly bytes: Uint8Array; readonly onWire: number }[];
  /** pcapng: TLS keys in a block of secrets. */
  readonly keyLog?: string;
  /** pcapng: blocks that nobody here knows. */
  readonly others?: boolean;
  /** pcapng: one packet in a simple block. */
  readonly simple?: Uint8Array;
}

class Writer {
  readonly bytes: number[] = [];
  readonly #little: boolean;
  constructor(little: boolean) {
    this.#little = little;
  }
  #put(value: number, size: number): this {
    const all = Array.from({ length: size }, (_, index) => Math.floor(value / 256 ** index) % 256);
    this.bytes.push(...(this.#little ? all : all.reverse()));
    return this;
  }
  u16(value: number): this {
    return this.#put(value, 2);
  }
  u32(value: number): this {
    return this.#put(value, 4);
  }
  raw(bytes: Iterable<number>): this {
    this.bytes.push(...bytes);
    return this;
  }
}

export function pcap(
  { linkType, packets }: CaptureFile,
  { little, nanoseconds }: { readonly little: boolean; readonly nanoseconds: boolean },
): Uint8Array {
  const writer = new Writer(little);
  writer
    .u32(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4)
    .u16(2)
    .u16(4)
    .u32(0)
    .u32(0)
    .u32(262_144)
    .u32(linkType);
  for (const { at, bytes, onWire } of packets) {
    const fraction = (at % 1e6) * (nanoseconds ? 1000 : 1);
    writer
      .u32(Math.floor(at / 1e6))
      .u32(fraction)
      .u32(bytes.length)
      .u32(onWire)
      .raw(bytes);
  }
  return Uint8Array.from(writer.bytes);
}

/** `resolution`: if_tsresol; null: left out, millionths of a second. */
export function pcapng(
  { linkType, packets, keyLog, others, simple }: CaptureFile,
  { little, resolution }: { readonly little: boolean; readonly resolution: number | null },
): Uint8Array {
  const file = new Writer(little);
  const block = (type: number, fill: (body: Writer) => void): void => {
    const body = new Writer(little);
    fill(body);
    while (body.bytes.length % 4 !== 0) body.raw([0]);
    file
      .u32(type)
      .u32(12 + body.bytes.length)
      .raw(body.bytes)
      .u32(12 + body.bytes.length);
  };
  block(0x0a0d0d0a, (body) => body.u32(0x1a2b3c4d).u16(1).u16(0).u32(0xffffffff).u32(0xffffffff));
  if (others === true) block(0x0bad, (body) => body.raw([1, 2, 3]));
  block(1, (body) => {
    body.u16(linkType).u16(0).u32(0);
    // if_name first: options are looked through.
    if (resolution !== null)
      body.u16(2).u16(3).raw([0x65, 0x74, 0x68, 0]).u16(9).u16(1).raw([resolution, 0, 0, 0]).u32(0);
  });
  if (keyLog !== undefined) {
    const text = new TextEncoder().encode(keyLog);
    block(10, (body) => body.u32(0x544c534b).u32(text.length).raw(text));
    if (others === true) block(10, (body) => body.u32(0x57474b4c).u32(0));
  }
  const perMicrosecond =
    resolution === null ? 1 : (resolution & 0x80 ? 2 ** (resolution & 0x7f) : 10 ** resolution) / 1e6;
  for (const { at, bytes, onWire } of packets) {
    const ticks = (BigInt(Math.round(perMicrosecond * 1e6)) * BigInt(at)) / 1_000_000n;
    block(6, (body) =>
      body
        .u32(0)
        .u32(Number(ticks >> 32n))
        .u32(Number(ticks & 0xffffffffn))
        .u32(bytes.length)
        .u32(onWire)
        .raw(bytes),
    );
  }
  if (simple !== undefined) block(3, (body) => body.u32(simple.length).raw(simple));
  return Uint8Array.from(file.bytes);
}

export interface Segment {
  readonly source: readonly number[];
  readonly destination: readonly number[];
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
  /** TCP; without it the segment is UDP. */
  readonly tcp?: { readonly sequence: number; readonly flags?: number };
}

export const SYN = 0x02;
export const ACK = 0x10;
export const RST = 0x04;

function transport({ sourcePort, destinationPort, payload, tcp }: Segment): number[] {
  const writer = new Writer(false).u16(sourcePort).u16(destinationPort);
  if (tcp === undefined) writer.u16(8 + payload.length).u16(0);
  else
    writer
      .u32(tcp.sequence)
      .u32(0)
      .u16((5 << 12) | (tcp.flags ?? ACK))
      .u16(65_535)
      .u16(0)
      .u16(0);
  return [...writer.bytes, ...payload];
}

/** An IP packet with addresses of 4 or 16 bytes, without checksums. */
export function ipPacket(segment: Segment): Uint8Array {
  const { source, destination } = segment;
  const body = transport(segment);
  const protocol = segment.tcp === undefined ? 17 : 6;
  const writer = new Writer(false);
  if (source.length === 4) {
    writer
      .raw([0x45, 0])
      .u16(20 + body.length)
      .u32(0)
      .raw([255, protocol])
      .u16(0);
    writer.raw(source).raw(destination);
  } else {
    writer.u32(0x60000000).u16(body.length).raw([protocol, 255]).raw(source).raw(destination);
  }
  return Uint8Array.from([...writer.bytes, ...body]);
}

/** An Ethernet frame around it. */
export function ethernet(packet: Uint8Array, vlan: number | null = null): Uint8Array {
  const type = packet[0]! >> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  const tag = vlan === null ? [] : [0x81, 0x00, vlan >> 8, vlan & 0xff];
  return Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, ...tag, ...type, ...packet]);
}
