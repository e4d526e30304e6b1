// The kinds of value that a configuration holds: names, addresses, durations, rates, keys. Each says in one
// place how it is read, what is expected where it is refused, its JSON Schema, and which values are wrong. Pure.

import {
  contains,
  equalAddresses,
  formatAddress,
  formatCidr,
  formatMac,
  kindOfAddress,
  lastOf,
  networkOf,
  parseAddress,
  parseCidr,
  parseMac,
} from "../base/addresses.ts";
import { CAPACITY_BPS_MAX, CAPACITY_BPS_MIN, NAME_LENGTH_MAX } from "../base/limits.ts";
import { type Millis, millis } from "../base/units.ts";
import type { InterfaceAddress } from "./config.ts";
import type { Reading, ScalarSpec, ScalarValue } from "./configSpec.ts";
import type { DrillSchedule } from "./drill.ts";
import { HELPER_NAMES, HELPERS, type HelperConfig, type HelperName, usualPorts } from "./helpers.ts";

const IPV4_PATTERN =
  "((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const IPV6_PATTERN = "[0-9A-Fa-f:]*:[0-9A-Fa-f:]*([0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+)?";

/** A scalar that is text of one pattern, and perhaps more than that. */
function text<T>(options: {
  readonly name: string;
  readonly expected: string;
  readonly pattern: string;
  readonly read: (text: string) => Reading<T>;
  readonly wrong: readonly ScalarValue[];
}): ScalarSpec<T> {
  const { name, expected, pattern, read, wrong } = options;
  const anchored = new RegExp(`^(?:${pattern})$`, "u");
  return {
    kind: "scalar",
    name,
    expected,
    types: ["string"],
    schema: { type: "string", pattern: anchored.source },
    read: (value) => (anchored.test(value as string) ? read(value as string) : { refused: "" }),
    wrong,
  };
}

const asIs = (value: string): Reading<string> => ({ value });

/** A name that appears in file names, in messages and in kernel objects: the pair's, a link's, a path's. */
export const NAME: ScalarSpec<string> = text({
  name: "name",
  expected: `a name of a letter and up to ${NAME_LENGTH_MAX - 1} more letters, digits, "-" or "_"`,
  pattern: `[A-Za-z][A-Za-z0-9_-]{0,${NAME_LENGTH_MAX - 1}}`,
  read: asIs,
  wrong: ["", "1st", "two words", "a/b", "x".repeat(NAME_LENGTH_MAX + 1), "é"],
});

/**
 * A network interface's name, or a logical one for it: what the kernel allows (IFNAMSIZ: 15 bytes) without what
 * would have to be quoted in nftables text and file names.
 */
export const INTERFACE: ScalarSpec<string> = text({
  name: "interface",
  expected:
    'the name of a network interface: 1 to 15 letters, digits, "_", "-" or ".", none of ours (us-...)',
  pattern: "(?!us-|(all|default|lo|\\.{1,2})$)[A-Za-z0-9_.-]{1,15}",
  read: asIs,
  wrong: ["", "lo", "all", "..", "eth 0", "us-lan", "eth0/1", "x".repeat(16)],
});

/** A path of a file or a directory; relative ones count from the file that they stand in. */
export const FILE: ScalarSpec<string> = text({
  name: "file",
  expected: "the path of a file or directory",
  pattern: "[^\\u0000\\r\\n]{1,4000}",
  read: asIs,
  wrong: ["", "a\u0000b"],
});

/** Why an address cannot be one machine's on a network; null where it can. */
function unfit(bytes: Uint8Array, linkLocal: "v4" | "both"): string | null {
  const kind = kindOfAddress(bytes);
  if (kind === "unicast") return null;
  if (kind === "linkLocal" && (linkLocal === "both" || bytes.length === 4)) return null;
  const words = { unspecified: "the unspecified", loopback: "a loopback", multicast: "a multicast" } as const;
  return `${kind === "linkLocal" ? "a link-local" : kind === "reserved" ? "a reserved" : words[kind]} address`;
}

function readHost(text: string, linkLocal: "v4" | "both"): Reading<string> {
  const address = parseAddress(text);
  if (address === null) return { refused: "" };
  const why = unfit(address.bytes, linkLocal);
  return why === null ? { value: formatAddress(address.bytes) } : { refused: why };
}

const WRONG_ADDRESSES = [
  "",
  "10.0.0",
  "10.0.0.256",
  "010.0.0.1",
  "fe80::1%eth0",
  "1::2::3",
  "10.0.0.1/24",
] as const;

/** The address of one machine, canonical. */
export const ADDRESS: ScalarSpec<string> = text({
  name: "address",
  expected: "the IPv4 or IPv6 address of one machine, such as 192.0.2.1 or 2001:db8::1",
  pattern: `${IPV4_PATTERN}|${IPV6_PATTERN}`,
  read: (value) => readHost(value, "v4"),
  wrong: [...WRONG_ADDRESSES, "224.0.0.1", "127.0.0.1", "0.0.0.0", "::", "255.255.255.255", "fe80::1"],
});

/** The same where IPv6 routers usually have a link-local one. */
export const GATEWAY_ADDRESS: ScalarSpec<string> = text({
  name: "gateway address",
  expected: "the IPv4 or IPv6 address of a router, such as 192.0.2.1 or fe80::1",
  pattern: `${IPV4_PATTERN}|${IPV6_PATTERN}`,
  read: (value) => readHost(value, "both"),
  wrong: [...WRONG_ADDRESSES, "224.0.0.1", "127.0.0.1", "0.0.0.0", "::"],
});

const toInterfaceAddress = (cidr: NonNullable<ReturnType<typeof parseCidr>>): InterfaceAddress => ({
  family: cidr.family,
  address: formatAddress(cidr.bytes),
  prefixLength: cidr.prefixLength,
});

/** An interface's address with its prefix length: not the network's own, not its broadcast address. */
export const INTERFACE_ADDRESS: ScalarSpec<InterfaceAddress> = text({
  name: "interface address",
  expected: "an address with its prefix length, such as 192.0.2.2/24 or 2001:db8::2/64",
  pattern: `(${IPV4_PATTERN})/(3[0-2]|[12]?[0-9])|(${IPV6_PATTERN})/(12[0-8]|1[01][0-9]|[1-9]?[0-9])`,
  read: (value) => {
    const cidr = parseCidr(value);
    if (cidr === null) return { refused: "" };
    const why = unfit(cidr.bytes, "v4");
    if (why !== null) return { refused: why };
    if (cidr.prefixLength === 0) return { refused: "a network of everything" };
    // RFC 3021: the two addresses of a /31 are hosts; IPv6's subnet-router anycast address (RFC 4291 §2.6.1)
    // belongs to routers, of which we are one, but answers for all of them.
    const bits = cidr.bytes.length * 8;
    if (cidr.prefixLength < bits - 1) {
      if (equalAddresses(networkOf(cidr).bytes, cidr.bytes))
        return { refused: "the address of the network itself" };
      if (cidr.family === 4 && equalAddresses(lastOf(cidr), cidr.bytes))
        return { refused: "the broadcast address" };
    }
    return { value: toInterfaceAddress(cidr) };
  },
  wrong: [
    "",
    "192.0.2.2",
    "192.0.2.2/33",
    "192.0.2.0/24",
    "192.0.2.255/24",
    "fd00::/64",
    "fd00::1/129",
    "fe80::1/64",
  ],
});

/** A network: no host bits. */
export const NETWORK: ScalarSpec<InterfaceAddress> = text({
  name: "network",
  expected: "a network without host bits, such as 10.30.0.0/16 or fd30::/64",
  pattern: `(${IPV4_PATTERN})/(3[0-2]|[12]?[0-9])|(${IPV6_PATTERN})/(12[0-8]|1[01][0-9]|[1-9]?[0-9])`,
  read: (value) => {
    const cidr = parseCidr(value);
    if (cidr === null) return { refused: "" };
    const network = networkOf(cidr);
    if (!equalAddresses(network.bytes, cidr.bytes))
      return { refused: `its network is ${formatCidr(network)}` };
    if (cidr.prefixLength === 0) return { refused: "a network of everything" };
    const why = unfit(cidr.bytes, "v4");
    return why === null ? { value: toInterfaceAddress(cidr) } : { refused: why };
  },
  wrong: ["", "10.30.0.0", "10.30.0.1/16", "0.0.0.0/0", "::/0", "224.0.0.0/8", "fd30::/129"],
});

/** A locally administered unicast MAC address (IEEE 802: second-lowest bit of the first byte set, lowest clear). */
export const VIRTUAL_MAC: ScalarSpec<string> = text({
  name: "virtual MAC",
  expected: "a locally administered unicast MAC address, such as 02:00:5e:10:00:01",
  pattern: "[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}",
  read: (value) => {
    const bytes = parseMac(value);
    if (bytes === null) return { refused: "" };
    if ((bytes[0]! & 1) !== 0) return { refused: "a multicast address" };
    if ((bytes[0]! & 2) === 0)
      return { refused: "a maker's address: its second-lowest bit of the first byte is 0" };
    return { value: formatMac(bytes) };
  },
  wrong: [
    "",
    "02:00:00:00:00",
    "02-00-00-00-00-01",
    "00:00:5e:00:01:01",
    "03:00:00:00:00:01",
    "ff:ff:ff:ff:ff:ff",
  ],
});

/** `ed25519:` and the 32 bytes in Base64: 43 digits, of which the last has two bits to spare, and one `=`. */
export const PUBLIC_KEY: ScalarSpec<string> = text({
  name: "public key",
  expected: "a public key as `understudy keygen` prints it: ed25519: and 44 characters of Base64",
  pattern: "ed25519:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=",
  read: asIs,
  wrong: [
    "",
    "ed25519:",
    `rsa:${"A".repeat(43)}=`,
    `ed25519:${"A".repeat(43)}`,
    `ed25519:${"A".repeat(42)}B=`,
  ],
});

/** Names of IP protocols, as the kernel's connection tracking tells them apart, and their numbers. */
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
};
/** Those of them whose sessions have a port to be opened to. */
export const PORT_PROTOCOLS: readonly string[] = ["tcp", "udp", "sctp", "udplite"];

/** An IP protocol by name, or by number where it has none here; its number. */
export const PROTOCOL: ScalarSpec<number> = {
  kind: "scalar",
  name: "protocol",
  expected: `an IP protocol: ${Object.keys(PROTOCOL_NUMBERS).join(", ")}, or a number from 0 to 255`,
  types: ["string", "number"],
  schema: { anyOf: [{ enum: Object.keys(PROTOCOL_NUMBERS) }, { type: "integer", minimum: 0, maximum: 255 }] },
  read: (value) => {
    const number = typeof value === "string" ? PROTOCOL_NUMBERS[value] : value;
    const fits = typeof number === "number" && Number.isInteger(number) && number >= 0 && number <= 255;
    return fits ? { value: number } : { refused: "" };
  },
  wrong: ["", "TCP", "dns", "6", -1, 256, 6.5],
};

/** The protocol's name, or its number. */
export function protocolText(number: number): string {
  return Object.entries(PROTOCOL_NUMBERS).find(([, known]) => known === number)?.[0] ?? String(number);
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `10ms`, `10s`, `1m`: whole numbers, the unit always written, in milliseconds from `min` to `max`. */
export function duration(minMs: number, maxMs: number): ScalarSpec<Millis> {
  const words = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`);
  return text({
    name: "duration",
    expected: `a duration with its unit (ms, s, m) from ${words(minMs)} to ${words(maxMs)}`,
    pattern: "(0|[1-9][0-9]{0,9})(ms|s|m|h)",
    read: (value) => {
      const [, digits, unit] = /^([0-9]+)([a-z]+)$/.exec(value) ?? [];
      const ms = Number(digits) * (DURATION_UNITS_MS[unit ?? ""] ?? Number.NaN);
      return ms >= minMs && ms <= maxMs ? { value: millis(ms) } : { refused: "out of range" };
    },
    wrong: ["", "10", "ms", "10 ms", "-1ms", "1.5s", "10sec", `${minMs - 1}ms`, `${maxMs + 1}ms`],
  });
}

const RATE_UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };

/** Helpers that read one protocol on one port: another one can be said. */
const PORTED_HELPERS = HELPER_NAMES.filter((name) => usualPorts(name).length === 1);

/** `ftp`, `sip:5062`: a helper of connection tracking, on its usual port or on another one. */
export const HELPER: ScalarSpec<HelperConfig> = text({
  name: "helper",
  expected: `a helper: ${HELPER_NAMES.join(", ")}; on another port than its usual one as in sip:5062 (not h323)`,
  pattern: `(${HELPER_NAMES.join("|")})|(${PORTED_HELPERS.join("|")}):[1-9][0-9]{0,4}`,
  read: (value) => {
    const [name, digits] = value.split(":") as [HelperName, string?];
    if (digits === undefined) return { value: { name } };
    const port = Number(digits);
    if (port > 65_535) return { refused: "no port" };
    return { value: port === HELPERS[name][0].port ? { name } : { name, port } };
  },
  wrong: ["", "FTP", "amanda", "sip:", "sip:0", "sip:65536", "h323:1720", "sip 5060", "sip:05060"],
});

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** `Sun 03:00`, `daily 03:00`: a minute of each week, or of each day. */
export const SCHEDULE: ScalarSpec<DrillSchedule> = text({
  name: "schedule",
  expected: `a day (${DAYS.join(", ")}, or daily) and a time, such as "Sun 03:00"`,
  pattern: `(${DAYS.join("|")}|daily) ([01][0-9]|2[0-3]):[0-5][0-9]`,
  read: (value) => {
    const [day = "", time = ""] = value.split(" ");
    const index = DAYS.indexOf(day);
    return {
      value: { day: index < 0 ? null : index, hour: Number(time.slice(0, 2)), minute: Number(time.slice(3)) },
    };
  },
  wrong: ["", "Sun", "03:00", "sun 03:00", "Sun 3:00", "Sun 24:00", "Sun 03:60", "Sunday 03:00"],
});

/** The schedule as it is written. */
export function scheduleText({ day, hour, minute }: DrillSchedule): string {
  const digits = (value: number): string => String(value).padStart(2, "0");
  return `${day === null ? "daily" : DAYS[day]} ${digits(hour)}:${digits(minute)}`;
}

/** A rate in bit/s: `100M`, `2.5G`; powers of 1000, as lines are sold. */
export const RATE: ScalarSpec<number> = {
  kind: "scalar",
  name: "rate",
  expected: `a rate in bit/s with k, M or G, such as 100M, from ${CAPACITY_BPS_MIN / 1000}k to ${CAPACITY_BPS_MAX / 1e9}G`,
  types: ["string", "number"],
  schema: {
    anyOf: [
      { type: "string", pattern: "^[0-9]{1,12}(\\.[0-9]{1,3})?[kMG]?$" },
      { type: "integer", minimum: CAPACITY_BPS_MIN, maximum: CAPACITY_BPS_MAX },
    ],
  },
  read: (value) => {
    const [whole, digits, unit] = /^([0-9]{1,12}(?:\.[0-9]{1,3})?)([kMG]?)$/.exec(String(value)) ?? [];
    if (whole === undefined) return { refused: "" };
    const bitsPerSecond = Math.round(Number(digits) * RATE_UNITS[unit ?? ""]!);
    const fits = bitsPerSecond >= CAPACITY_BPS_MIN && bitsPerSecond <= CAPACITY_BPS_MAX;
    return fits ? { value: bitsPerSecond } : { refused: "out of range" };
  },
  wrong: ["", "fast", "100 M", "100MB", "-5M", "1e6", 100, 0, -1, "9999G"],
};

export function integer(name: string, min: number, max: number): ScalarSpec<number> {
  return {
    kind: "scalar",
    name,
    expected: `a whole number from ${min} to ${max}`,
    types: ["number"],
    schema: { type: "integer", minimum: min, maximum: max },
    read: (value) => {
      const fits = Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
      return fits ? { value: value as number } : { refused: "" };
    },
    wrong: [min - 1, max + 1, min + 0.5],
  };
}

/** One of a few words, or one number. */
export function choice<const T extends string | number>(...values: readonly T[]): ScalarSpec<T> {
  const type = typeof values[0] === "number" ? "number" : "string";
  return {
    kind: "scalar",
    name: values.map((value) => `\`${value}\``).join(" or "),
    expected: values.length === 1 ? `${values[0]}` : values.join(" or "),
    types: [type],
    schema: values.length === 1 ? { const: values[0] } : { enum: values },
    read: (value) => {
      const found = values.find((known) => known === value);
      return found === undefined ? { refused: "" } : { value: found };
    },
    wrong: type === "number" ? [-1] : ["", "none-of-these"],
  };
}

export const FLAG: ScalarSpec<boolean> = {
  kind: "scalar",
  name: "true or false",
  expected: "true or false",
  types: ["boolean"],
  schema: { type: "boolean" },
  read: (value) => ({ value: value as boolean }),
  wrong: [],
};

/** Whether an interface's address has `address` in its network. */
export function inNetworkOf(own: InterfaceAddress, address: string): boolean {
  const bytes = parseAddress(address)?.bytes;
  return bytes !== undefined && contains(cidrOf(own), bytes);
}

/** The bytes of a checked address. */
export function cidrOf(own: InterfaceAddress): NonNullable<ReturnType<typeof parseCidr>> {
  const cidr = parseCidr(`${own.address}/${own.prefixLength}`);
  if (cidr === null) throw new Error(`a checked address is no address: ${own.address}/${own.prefixLength}`);
  return cidr;
}
