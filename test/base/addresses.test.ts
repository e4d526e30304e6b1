// Addresses against Node's own reader and against the system's canonical text.

import assert from "node:assert/strict";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  canonicalAddress,
  contains,
  equalAddresses,
  familyOf,
  formatAddress,
  formatCidr,
  formatMac,
  kindOfAddress,
  lastOf,
  networkOf,
  overlaps,
  parseAddress,
  parseCidr,
  parseMac,
} from "../../src/base/addresses.ts";

const v4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Sixteen bytes with long runs of zeros, as real addresses have. */
const v6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])));
const anyBytes = fc.oneof(v4Bytes, v6Bytes);

/** Text that is nearly an address: the interesting neighbourhood of the grammar. */
const nearly = fc
  .array(
    fc.constantFrom(
      "::",
      ":",
      ".",
      "0",
      "1",
      "ff",
      "01",
      "255",
      "256",
      "ffff",
      "12345",
      "g",
      "%eth0",
      " ",
      "-1",
    ),
    {
      maxLength: 16,
    },
  )
  .map((parts) => parts.join(""));

describe("addresses in text", () => {
  test("what comes out goes in again", () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        assert.deepEqual(parseAddress(formatAddress(bytes))?.bytes, bytes);
        assert.equal(isIP(formatAddress(bytes)), familyOf(bytes));
      }),
    );
  });

  test("what node:net takes for an address is one, nothing else (zones apart)", () => {
    const check = (text: string): void => {
      assert.equal(parseAddress(text) !== null, (isIPv4(text) || isIPv6(text)) && !text.includes("%"), text);
    };
    fc.assert(fc.property(nearly, check), { numRuns: 3000 });
    fc.assert(fc.property(fc.ipV4(), check));
    fc.assert(fc.property(fc.ipV6(), check), { numRuns: 1000 });
    fc.assert(fc.property(fc.string(), check));
  });

  test("canonical text is the one that URL makes (RFC 5952), but for IPv4-mapped addresses", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV6(), v6Bytes.map(formatAddress)), (text) => {
        const ours = canonicalAddress(text)!;
        if (ours.startsWith("::ffff:") && ours.includes(".")) return;
        assert.equal(ours, new URL(`http://[${text}]/`).hostname.slice(1, -1));
      }),
      { numRuns: 1000 },
    );
  });

  test("RFC 5952 by its own examples", () => {
    const table: readonly (readonly [string, string | null])[] = [
      ["2001:0db8::0001", "2001:db8::1"], // §4.1
      ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"], // §4.2.1
      ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"], // §4.2.2: one group is not shortened
      ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"], // §4.2.3: the longest run
      ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"], // §4.2.3: the first of equals
      ["2001:DB8::AaAa", "2001:db8::aaaa"], // §4.3
      ["::ffff:c000:0201", "::ffff:192.0.2.1"], // §5
      ["0:0:0:0:0:0:0:0", "::"],
      ["::1.2.3.4", "::102:304"],
      ["1::2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
      ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
      ["::1:2:3:4:5:6:7:8", null],
      ["1:2:3:4:5:6:7:1.2.3.4", null],
      ["1.2.3.4::", null],
      [":::", null],
      [":1::", null],
      ["fe80::1%eth0", null],
      ["010.0.0.1", null],
      ["10.1", null],
      ["10.0.0.256", null],
      ["", null],
    ];
    for (const [text, expected] of table) assert.equal(canonicalAddress(text), expected, text);
  });
});

describe("networks", () => {
  const cidr = anyBytes.chain((bytes) =>
    fc.nat(bytes.length * 8).map((prefixLength) => ({ family: familyOf(bytes), bytes, prefixLength })),
  );

  test("contains agrees with node:net's BlockList", () => {
    fc.assert(
      fc.property(cidr, anyBytes, fc.boolean(), (network, other, near) => {
        const address = new Uint8Array(near && other.length === network.bytes.length ? network.bytes : other);
        if (near) address[address.length >> 1]! ^= 1;
        const list = new BlockList();
        const name = network.family === 4 ? "ipv4" : "ipv6";
        list.addSubnet(formatAddress(network.bytes), network.prefixLength, name);
        if (familyOf(address) === network.family) {
          assert.equal(contains(network, address), list.check(formatAddress(address), name));
        } else {
          assert.equal(contains(network, address), false);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("a network contains its first and its last address and is its own network", () => {
    fc.assert(
      fc.property(cidr, (network) => {
        const first = networkOf(network);
        assert.ok(contains(network, first.bytes));
        assert.ok(contains(network, lastOf(network)));
        assert.deepEqual(networkOf(first), first);
        assert.ok(overlaps(network, first));
        assert.deepEqual(parseCidr(formatCidr(network)), network);
      }),
    );
  });

  test("two networks overlap where one contains the other's first address", () => {
    fc.assert(
      fc.property(cidr, cidr, (one, other) => {
        const expected = contains(one, networkOf(other).bytes) || contains(other, networkOf(one).bytes);
        assert.equal(overlaps(one, other), expected);
        assert.equal(overlaps(other, one), expected);
      }),
    );
  });

  test("prefix lengths are read strictly", () => {
    for (const text of [
      "10.0.0.0",
      "10.0.0.0/",
      "10.0.0.0/33",
      "10.0.0.0/08",
      "10.0.0.0/+8",
      "::/129",
      "::/1e1",
      "/8",
    ]) {
      assert.equal(parseCidr(text), null, text);
    }
    assert.equal(formatCidr(parseCidr("10.20.3.4/16")!), "10.20.3.4/16");
    assert.equal(formatCidr(networkOf(parseCidr("10.20.3.4/16")!)), "10.20.0.0/16");
    assert.equal(formatAddress(lastOf(parseCidr("10.20.3.4/19")!)), "10.20.31.255");
    assert.equal(formatCidr(networkOf(parseCidr("2001:db8:1:2::1/44")!)), "2001:db8::/44");
  });

  test("kinds", () => {
    const table: readonly (readonly [string, string])[] = [
      ["0.0.0.0", "unspecified"],
      ["127.0.0.1", "loopback"],
      ["224.0.0.1", "multicast"],
      ["255.255.255.255", "reserved"],
      ["169.254.1.1", "linkLocal"],
      ["10.0.0.1", "unicast"],
      ["::", "unspecified"],
      ["::1", "loopback"],
      ["::2", "unicast"],
      ["ff02::1", "multicast"],
      ["fe80::1", "linkLocal"],
      ["febf::1", "linkLocal"],
      ["fec0::1", "unicast"],
      ["fd00::1", "unicast"],
      ["::ffff:1.2.3.4", "reserved"],
    ];
    for (const [text, kind] of table) assert.equal(kindOfAddress(parseAddress(text)!.bytes), kind, text);
    assert.ok(equalAddresses(parseAddress("::1")!.bytes, parseAddress("0::1")!.bytes));
    assert.ok(!equalAddresses(parseAddress("::1")!.bytes, parseAddress("0.0.0.1")!.bytes));
  });
});

describe("MAC addresses", () => {
  test("round trip, canonical in lower case", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        assert.deepEqual(parseMac(formatMac(bytes)), bytes);
        assert.deepEqual(parseMac(formatMac(bytes).toUpperCase()), bytes);
      }),
    );
    for (const text of ["", "02:00:00:00:00", "02-00-00-00-00-01", "2:0:0:0:0:1", "02:00:00:00:00:0g"]) {
      assert.equal(parseMac(text), null, text);
    }
  });
});
