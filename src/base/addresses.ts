// Addresses: IPv4, IPv6 and MAC addresses between text and bytes, and the little arithmetic on networks that
// the rooms share. Bytes are in network order, 4 or 16 (or 6) of them: their number is the family. Text comes
// out in canonical form (RFC 5952), so that two spellings of one address are one string. Reading is strict: no
// leading zeros in IPv4 (inet_aton would take them for octal), no zone (`%eth0`), no blanks. Pure.

/** 4 or 16 bytes in network order: their number is the family. */
export type AddressBytes = Uint8Array;

export interface Address {
  readonly family: 4 | 6;
  readonly bytes: AddressBytes;
}

/** An address with its prefix length. Host bits may be set: `10.20.0.1/16` is an interface's address. */
export interface Cidr extends Address {
  /** 0..32 or 0..128. */
  readonly prefixLength: number;
}

/** Reads an address; null where the text is none. */
export function parseAddress(text: string): Address | null {
  const bytes = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
  return bytes === null ? null : { family: familyOf(bytes), bytes };
}

/** Canonical text of 4 or 16 bytes: dotted, or RFC 5952 with IPv4-mapped addresses written as such (§5). */
export function formatAddress(bytes: AddressBytes): string {
  return familyOf(bytes) === 4 ? bytes.join(".") : formatIpv6(bytes);
}

/** The family of an address by its number of bytes. Throws where it is neither 4 nor 16. */
export function familyOf(bytes: AddressBytes): 4 | 6 {
  if (bytes.length === 4) return 4;
  if (bytes.length === 16) return 6;
  throw new Error(`an address has 4 or 16 bytes, not ${bytes.length}`);
}

/** The canonical spelling of an address, or null where the text is none. */
export function canonicalAddress(text: string): string | null {
  const address = parseAddress(text);
  return address === null ? null : formatAddress(address.bytes);
}

/** Reads `ADDRESS/LENGTH`; null where the text is none. Both parts are required. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf("/");
  if (slash < 0) return null;
  const address = parseAddress(text.slice(0, slash));
  if (address === null) return null;
  const prefixLength = parseDecimal(text.slice(slash + 1), address.bytes.length * 8);
  return prefixLength === null ? null : { ...address, prefixLength };
}

export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.bytes)}/${cidr.prefixLength}`;
}

/** The network that an interface's address is in: the same with its host bits cleared. */
export function networkOf(cidr: Cidr): Cidr {
  const bytes = new Uint8Array(cidr.bytes);
  const whole = cidr.prefixLength >> 3;
  for (let i = whole; i < bytes.length; i++) {
    bytes[i] = i === whole ? bytes[i]! & prefixByte(cidr.prefixLength & 7) : 0;
  }
  return { family: cidr.family, bytes, prefixLength: cidr.prefixLength };
}

/** The last address of a network: IPv4's broadcast address. */
export function lastOf(cidr: Cidr): AddressBytes {
  const bytes = new Uint8Array(cidr.bytes);
  const whole = cidr.prefixLength >> 3;
  for (let i = whole; i < bytes.length; i++) {
    bytes[i] = i === whole ? bytes[i]! | (0xff ^ prefixByte(cidr.prefixLength & 7)) : 0xff;
  }
  return bytes;
}

/** Whether `address` lies in the network of `cidr`. Of another family: no. */
export function contains(cidr: Cidr, address: AddressBytes): boolean {
  if (address.length !== cidr.bytes.length) return false;
  const whole = cidr.prefixLength >> 3;
  for (let i = 0; i < whole; i++) {
    if (address[i] !== cidr.bytes[i]) return false;
  }
  const mask = prefixByte(cidr.prefixLength & 7);
  return mask === 0 || (address[whole]! & mask) === (cidr.bytes[whole]! & mask);
}

/** Whether two networks have an address in common. */
export function overlaps(one: Cidr, other: Cidr): boolean {
  return one.prefixLength <= other.prefixLength ? contains(one, other.bytes) : contains(other, one.bytes);
}

export function equalAddresses(one: AddressBytes, other: AddressBytes): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** What kind of address it is, as far as a configuration cares (RFC 6890 and the like). */
export function kindOfAddress(
  bytes: AddressBytes,
): "unspecified" | "loopback" | "multicast" | "reserved" | "linkLocal" | "unicast" {
  const [first, second] = [bytes[0]!, bytes[1]!];
  if (familyOf(bytes) === 4) {
    if (first === 0) return "unspecified";
    if (first === 127) return "loopback";
    if (first >= 224 && first < 240) return "multicast";
    if (first >= 240) return "reserved";
    return first === 169 && second === 254 ? "linkLocal" : "unicast";
  }
  if (first === 0xff) return "multicast";
  if (first === 0xfe && (second & 0xc0) === 0x80) return "linkLocal";
  if (!bytes.subarray(0, 15).every((byte) => byte === 0)) return isIpv4Mapped(bytes) ? "reserved" : "unicast";
  if (bytes[15] === 0) return "unspecified";
  return bytes[15] === 1 ? "loopback" : "unicast";
}

/** The 6 bytes of a MAC address in text (`02:00:5e:10:00:01`, any case), or null where the text is none. */
export function parseMac(text: string): Uint8Array | null {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return null;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}

/** Canonical text of 6 bytes: lower case, colons. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** The byte that has its `bits` (0..7) uppermost bits set. */
function prefixByte(bits: number): number {
  return (0xff00 >> bits) & 0xff;
}

/** A decimal number 0..max without sign, blank or leading zero. */
function parseDecimal(text: string, max: number): number | null {
  if (!/^(0|[1-9][0-9]{0,2})$/.test(text)) return null;
  const value = Number(text);
  return value <= max ? value : null;
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const value = parseDecimal(parts[i]!, 255);
    if (value === null) return null;
    bytes[i] = value;
  }
  return bytes;
}

/** RFC 4291 §2.2: eight groups, one run of zero groups as `::`, the last two groups perhaps dotted. */
function parseIpv6(text: string): Uint8Array | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 1 ? [] : parseGroups(halves[1]!, true);
  if (head === null || tail === null) return null;
  const count = head.length + tail.length;
  // `::` stands for at least one group (RFC 4291 §2.2: "one or more groups").
  if (halves.length === 1 ? count !== 8 : count > 7) return null;
  const bytes = new Uint8Array(16);
  head.forEach((group, i) => {
    writeGroup(bytes, i, group);
  });
  tail.forEach((group, i) => {
    writeGroup(bytes, 8 - tail.length + i, group);
  });
  return bytes;
}

/** The groups of one side of `::`; null where one is none. Only the end of the address may be dotted. */
function parseGroups(text: string, atEnd: boolean): number[] | null {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (part.includes(".") && atEnd && i === parts.length - 1) {
      const dotted = parseIpv4(part);
      if (dotted === null) return null;
      groups.push((dotted[0]! << 8) | dotted[1]!, (dotted[2]! << 8) | dotted[3]!);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return null;
    }
  }
  return groups;
}

function writeGroup(bytes: Uint8Array, index: number, group: number): void {
  bytes[index * 2] = group >> 8;
  bytes[index * 2 + 1] = group & 0xff;
}

function isIpv4Mapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
}

/** RFC 5952 §4: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function formatIpv6(bytes: Uint8Array): string {
  if (isIpv4Mapped(bytes)) return `::ffff:${bytes.subarray(12).join(".")}`;
  const groups: number[] = [];
  for (let i = 0; i < 8; i++) groups.push((bytes[i * 2]! << 8) | bytes[i * 2 + 1]!);
  let [runStart, runLength] = [0, 0];
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > runLength) [runStart, runLength] = [start, length];
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  if (runLength < 2) return text(groups);
  return `${text(groups.slice(0, runStart))}::${text(groups.slice(runStart + runLength))}`;
}
