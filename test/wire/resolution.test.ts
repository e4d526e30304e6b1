// ARP (RFC 826, RFC 5227) and Neighbour Discovery (RFC 4861) as frames: golden bytes, round trips, and what must
// not be believed.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseAddress, parseMac } from "../../src/base/addresses.ts";
import {
  ArpOperation,
  arpRequest,
  decodeArp,
  ETHERNET_BYTES_MIN,
  encodeArp,
  gratuitousArp,
} from "../../src/wire/arp.ts";
import {
  decodeNd,
  encodeNd,
  icmpv6Checksum,
  neighbourSolicitation,
  solicitedNodeAddress,
} from "../../src/wire/nd.ts";
import { announceFrames, askFrame, readResolution } from "../../src/wire/resolution.ts";
import { assertGolden } from "../golden/golden.ts";

const mac = (text: string): Uint8Array => parseMac(text) ?? assert.fail(text);
const ip = (text: string): Uint8Array => parseAddress(text)?.bytes ?? assert.fail(text);

const virtualMac = mac("02:4f:46:46:49:00");
const portMac = mac("52:54:00:aa:00:02");
const shared4 = ip("10.20.0.1");
const shared6 = ip("fd20::1");
const ask4 = { senderMac: portMac, senderAddress: ip("10.20.0.3"), targetAddress: shared4 };
const ask6 = { senderMac: portMac, senderAddress: ip("fd20::3"), targetAddress: shared6 };

function read(frame: Uint8Array) {
  const result = readResolution(frame);
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}
const reasonOf = (frame: Uint8Array): string => {
  const result = readResolution(frame);
  return result.ok ? "accepted" : result.reason;
};

test("golden: the arbiter's probes, unicast to the virtual MAC and marked", () => {
  assertGolden("arp-probe", askFrame({ ...ask4, destinationMac: virtualMac, probeOf: "b" }));
  assertGolden("nd-probe", askFrame({ ...ask6, destinationMac: virtualMac, probeOf: "b" }));
});

test("golden: asking everybody", () => {
  assertGolden("arp-request", askFrame(ask4));
  assertGolden("nd-solicitation", askFrame(ask6));
});

test("golden: the announcements of a new active", () => {
  const [request, reply, nothing] = announceFrames(virtualMac, shared4);
  assert.ok(request && reply && nothing === undefined);
  assertGolden("arp-announcement-request", request);
  assertGolden("arp-announcement-reply", reply);
  const [advertisement] = announceFrames(virtualMac, shared6);
  assert.ok(advertisement);
  assertGolden("nd-announcement", advertisement);
});

test("a probe says who asks, for what, and whose probe it is", () => {
  for (const [ask, family] of [
    [ask4, 4],
    [ask6, 6],
  ] as const) {
    assert.deepEqual(read(askFrame({ ...ask, destinationMac: virtualMac, probeOf: "a" })), {
      family,
      kind: "ask",
      sourceMac: portMac,
      address: ask.senderAddress,
      mac: portMac,
      targetAddress: ask.targetAddress,
      gratuitous: false,
      probeOf: "a",
    });
    assert.equal(read(askFrame(ask)).probeOf, null);
  }
});

test("an answer says who holds the address; an announcement that it came unasked", () => {
  const reply = encodeArp({
    destinationMac: portMac,
    sourceMac: virtualMac,
    operation: ArpOperation.Reply,
    senderMac: virtualMac,
    senderAddress: shared4,
    targetMac: portMac,
    targetAddress: ask4.senderAddress,
    mark: new Uint8Array(6),
  });
  const answer = { kind: "answer", sourceMac: virtualMac, mac: virtualMac, probeOf: null };
  assert.deepEqual(read(reply), {
    ...answer,
    family: 4,
    address: shared4,
    targetAddress: ask4.senderAddress,
    gratuitous: false,
  });
  for (const frame of announceFrames(virtualMac, shared4)) {
    assert.deepEqual(read(frame), {
      ...answer,
      family: 4,
      address: shared4,
      targetAddress: shared4,
      gratuitous: true,
    });
  }
  for (const frame of announceFrames(virtualMac, shared6)) {
    assert.deepEqual(read(frame), {
      ...answer,
      family: 6,
      address: shared6,
      targetAddress: ip("ff02::1"),
      gratuitous: true,
    });
  }
});

test("an unsolicited advertisement has Router and Override set and Solicited not (failover §7)", () => {
  const [frame] = announceFrames(virtualMac, shared6);
  const result = decodeNd(frame ?? new Uint8Array(0));
  assert.ok(result.ok);
  const { router, override, solicited, linkLayerAddress } = result.value;
  assert.deepEqual({ router, override, solicited }, { router: true, override: true, solicited: false });
  assert.deepEqual(linkLayerAddress, virtualMac);
});

test("RFC 4291 §2.7.1: the solicited-node address of 4037::01:800:200E:8C6C is FF02::1:FF0E:8C6C", () => {
  assert.deepEqual(solicitedNodeAddress(ip("4037::1:800:200e:8c6c")), ip("ff02::1:ff0e:8c6c"));
});

test("RFC 1071 §3: the sum of 0001 f203 f4f5 f6f7, with the pseudo-header around it", () => {
  const none = new Uint8Array(16);
  // 0x0001 + 0xf203 + 0xf4f5 + 0xf6f7 = 0x2ddf0; with length 8 and next header 58: 0x2de32 -> 0xde34.
  const message = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(icmpv6Checksum(none, none, message), ~0xde34 & 0xffff);
});

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const plain = { noNullPrototype: true } as const;

test("any ARP frame comes back, with padding of any length behind it", () => {
  const arp = fc.record(
    {
      destinationMac: bytesOf(6),
      sourceMac: bytesOf(6),
      operation: fc.constantFrom(ArpOperation.Request, ArpOperation.Reply),
      senderMac: bytesOf(6),
      senderAddress: bytesOf(4),
      targetMac: bytesOf(6),
      targetAddress: bytesOf(4),
      mark: bytesOf(6),
    },
    plain,
  );
  fc.assert(
    fc.property(arp, fc.uint8Array({ maxLength: 20 }), (value, padding) => {
      const frame = encodeArp(value);
      assert.equal(frame.length, ETHERNET_BYTES_MIN);
      assert.deepEqual(decodeArp(Buffer.from([...frame, ...padding])), { ok: true, value });
      assert.deepEqual(decodeArp(frame.subarray(0, 42)), {
        ok: true,
        value: { ...value, mark: new Uint8Array(6) },
      });
    }),
  );
});

test("any solicitation and advertisement comes back, with padding behind it", () => {
  const unicast = bytesOf(16).map((raw) => Uint8Array.of(0x20, ...raw.subarray(1)));
  const fields = {
    destinationMac: bytesOf(6),
    sourceMac: bytesOf(6),
    sourceAddress: unicast,
    destinationAddress: unicast,
    targetAddress: unicast,
    linkLayerAddress: fc.option(bytesOf(6)),
    mark: bytesOf(6),
  };
  const off = fc.constant(false);
  const nd = fc.oneof(
    fc.record(
      {
        ...fields,
        message: fc.constant("solicitation" as const),
        router: off,
        solicited: off,
        override: off,
      },
      plain,
    ),
    fc.record(
      {
        ...fields,
        message: fc.constant("advertisement" as const),
        router: fc.boolean(),
        solicited: fc.boolean(),
        override: fc.boolean(),
      },
      plain,
    ),
  );
  fc.assert(
    fc.property(nd, fc.uint8Array({ maxLength: 20 }), (value, padding) => {
      assert.deepEqual(decodeNd(Buffer.from([...encodeNd(value), ...padding])), { ok: true, value });
    }),
  );
});

test("every truncation of every frame is refused (of ARP: to less than its 42 bytes)", () => {
  for (const [frame, shortest] of [
    [arpRequest(ask4), 42],
    [gratuitousArp(virtualMac, shared4, ArpOperation.Reply), 42],
    [neighbourSolicitation(ask6), 86],
    ...announceFrames(virtualMac, shared6).map((each) => [each, 86] as const),
  ] as const) {
    for (let length = 0; length < shortest; length++) {
      assert.equal(readResolution(frame.subarray(0, length)).ok, false, `cut to ${length}`);
    }
  }
});

test("every changed byte of an IPv6 packet that the checksum covers is refused", () => {
  const frame = neighbourSolicitation({ ...ask6, destinationMac: virtualMac });
  for (let offset = 22; offset < frame.length; offset++) {
    const changed = frame.slice();
    changed[offset] = (changed[offset] ?? 0) ^ 0x10;
    assert.notEqual(reasonOf(changed), "accepted", `byte ${offset}`);
  }
});

test("RFC 4861 §7.1: what a router has forwarded, or what cannot be, is not believed", () => {
  const changed = (frame: Uint8Array, offset: number, value: number) =>
    frame.slice().fill(value, offset, offset + 1);
  const frame = neighbourSolicitation(ask6);
  assert.equal(reasonOf(changed(frame, 21, 254)), "hop limit");
  assert.equal(reasonOf(changed(frame, 20, 6)), "not ICMPv6");
  assert.equal(reasonOf(changed(frame, 14, 0x40)), "not version 6");
  assert.equal(reasonOf(changed(frame, 12, 0x08)), "neither ARP nor IPv6");
  assert.equal(reasonOf(changed(frame, 19, 200)), "payload length");
  const base = decodeNd(frame);
  assert.ok(base.ok);
  const nd = base.value;
  const none = new Uint8Array(16);
  const wrong = {
    "multicast target": { ...nd, targetAddress: ip("ff02::5") },
    "no source, but its link-layer address": { ...nd, sourceAddress: none },
    "no source, but not to the solicited-node address": {
      ...nd,
      sourceAddress: none,
      linkLayerAddress: null,
      destinationAddress: shared6,
    },
    "solicited, but to everybody": { ...nd, message: "advertisement" as const, solicited: true },
  };
  for (const [reason, value] of Object.entries(wrong)) assert.equal(reasonOf(encodeNd(value)), reason);
  assert.equal(reasonOf(changed(arpRequest(ask4), 15, 6)), "not Ethernet and IPv4");
  assert.equal(reasonOf(changed(arpRequest(ask4), 21, 3)), "operation 3");
});

test("an option without length ends the frame, not the reader", () => {
  const frame = neighbourSolicitation(ask6);
  const message = frame.subarray(54);
  message[25] = 0;
  message.fill(0, 2, 4);
  const sum = icmpv6Checksum(frame.subarray(22, 38), frame.subarray(38, 54), message);
  message.set([sum >> 8, sum & 0xff], 2);
  assert.equal(reasonOf(frame), "options");
});

test("any bytes are read without a throw", () => {
  const heads = [Uint8Array.of(0x08, 0x06), Uint8Array.of(0x86, 0xdd), Uint8Array.of(0x08, 0x00)];
  fc.assert(
    fc.property(fc.constantFrom(...heads), fc.uint8Array({ maxLength: 120, size: "max" }), (type, noise) => {
      readResolution(Uint8Array.of(...virtualMac, ...portMac, ...type, ...noise));
      readResolution(noise);
    }),
    { numRuns: 1000 },
  );
});
