// The sending policy as one would say it aloud: slow, without tables, and the judge of what is clever
// (wire/sessionPolicy.ts, kernel/eventFilter.ts). And arbitrary policies for both.

import fc from "fast-check";
import { parseAddress } from "../../src/base/addresses.ts";
import type { SendingException, SendingPolicy } from "../../src/wire/sessionPolicy.ts";

/** What the policy may look at. Addresses in 4 or 16 bytes, original direction. */
export interface Seen {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
  readonly mark: number;
  /** 0: not told. */
  readonly state: number;
  readonly replied: boolean;
  readonly assured: boolean;
  /** A helper expected it. */
  readonly expected: boolean;
}

const bits = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");

function isIn(network: NonNullable<SendingException["network"]>, seen: Seen): boolean {
  if (network.family !== seen.family) return false;
  const prefix = bits(parseAddress(network.address)!.bytes).slice(0, network.prefixLength);
  return bits(seen.source).startsWith(prefix) || bits(seen.destination).startsWith(prefix);
}

export const isExcepted = (policy: SendingPolicy, seen: Seen): boolean =>
  policy.except.some(
    ({ protocol, port, network }) =>
      (protocol === undefined || protocol === seen.protocol) &&
      (port === undefined || ([6, 17, 132, 136].includes(seen.protocol) && port === seen.destinationPort)) &&
      (network === undefined || isIn(network, seen)),
  );

/** `create`, `update` or nothing. */
export function wordOf(policy: SendingPolicy, seen: Seen): "create" | "update" | null {
  if ((seen.mark & 0xff) === 0 || isExcepted(policy, seen)) return null;
  return stateWordOf(policy, seen) ?? (seen.expected ? "create" : null);
}

function stateWordOf(policy: SendingPolicy, seen: Seen): "create" | "update" | null {
  const { protocol, state, replied, assured } = seen;
  if (protocol === 6) {
    switch (state) {
      case 0:
        if (policy.tcp === "opening") return "update";
        return (policy.tcp === "syn-received" ? replied : assured) ? "update" : null;
      case 1:
      case 9:
        return policy.tcp === "opening" ? "create" : null;
      case 2:
        return policy.tcp === "established" ? null : "create";
      case 3:
        return "create";
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
        return replied || policy.tcp === "opening" ? "update" : null;
      default:
        return null;
    }
  }
  if (protocol === 132) {
    if (state === 4) return "create";
    if (state === 0) return assured ? "update" : null;
    return [5, 6, 7].includes(state) ? "update" : null;
  }
  const from = protocol === 17 || protocol === 136 ? policy.udp : policy.others;
  if (from === "assured") return assured ? "create" : null;
  if (from === "first-packet") return replied || assured ? "update" : "create";
  return !replied ? null : assured ? "update" : "create";
}

/** Whether the end of an entry that was seen last like this is told. */
export function endOf(policy: SendingPolicy, seen: Seen): boolean {
  if ((seen.mark & 0xff) === 0 || isExcepted(policy, seen)) return false;
  const { protocol, state, replied, assured } = seen;
  if (seen.expected) return true;
  if (protocol === 132) return replied || state !== 1;
  if (protocol !== 6) return wordOf(policy, seen) !== null;
  if (policy.tcp === "opening") return true;
  if (state === 0) return replied || assured;
  if (state === 1 || state === 9) return false;
  if (state === 2) return policy.tcp === "syn-received" || assured;
  return true;
}

/** Few of each, so that they meet. */
export const ADDRESSES = {
  4: ["10.9.0.2", "10.9.0.3", "10.10.255.1", "192.0.2.2", "255.255.255.254", "128.0.0.1"],
  6: ["fd09::2", "fd09::8000:0:0:3", "2001:db8::2", "2001:db8:0:1::2", "ffff::1"],
} as const;
export const PORTS = [53, 80, 443, 0x3500, 65535];
export const PROTOCOLS = [6, 17, 132, 136, 1, 58, 47, 50, 253];

const anyNetwork = fc.constantFrom<4 | 6>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    address: fc.constantFrom(...ADDRESSES[family]),
    prefixLength: fc.integer({ min: 1, max: family === 4 ? 32 : 128 }),
  }),
);

const anyException: fc.Arbitrary<SendingException> = fc
  .record(
    {
      protocol: fc.constantFrom(...PROTOCOLS),
      port: fc.constantFrom(...PORTS),
      network: anyNetwork,
    },
    { requiredKeys: [] },
  )
  .filter((exception) => Object.keys(exception).length > 0);

export const anyPolicy: fc.Arbitrary<SendingPolicy> = fc.record({
  tcp: fc.constantFrom("opening", "syn-received", "established"),
  udp: fc.constantFrom("first-packet", "reply", "assured"),
  others: fc.constantFrom("first-packet", "reply"),
  except: fc.array(anyException, { maxLength: 5 }),
});

export const anySeen: fc.Arbitrary<Seen> = fc.constantFrom<4 | 6>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    protocol: fc
      .constantFrom(...PROTOCOLS)
      // Each family has its own ICMP.
      .filter((protocol) => protocol !== (family === 4 ? 58 : 1)),
    source: fc.constantFrom(...ADDRESSES[family]).map((text) => parseAddress(text)!.bytes),
    destination: fc.constantFrom(...ADDRESSES[family]).map((text) => parseAddress(text)!.bytes),
    destinationPort: fc.constantFrom(...PORTS),
    mark: fc.constantFrom(0, 0x100, 0x30000000, 3, 0x00507103, 250),
    state: fc.integer({ min: 0, max: 15 }),
    replied: fc.boolean(),
    assured: fc.boolean(),
    expected: fc.boolean(),
  }),
);
