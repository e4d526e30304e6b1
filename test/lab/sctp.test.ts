// SCTP of the laboratory: its checksum against known ones, a handshake and its tags against RFC 9260, messages over a wire
// that loses, doubles and changes packets.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import {
  associate,
  crc32c,
  repeat,
  type SctpEnd,
  sctpEnd,
  sendMessage,
  takePacket,
} from "../../src/lab/traffic/sctp.ts";

const pair = (): [SctpEnd, SctpEnd] => [
  sctpEnd(40_001, 30_000, 0x4e000001),
  sctpEnd(30_000, 40_001, 0x46000001),
];
const chunkOf = (packet: Uint8Array | undefined): number | undefined => packet?.[12];
const tagOf = (packet: Uint8Array): number => new DataView(packet.buffer, packet.byteOffset).getUint32(4);

/** Carries packets to and fro until nobody says anything; returns the chunk types in their order. */
function settle(
  [one, other]: readonly [SctpEnd, SctpEnd],
  first: Uint8Array,
  now = 0,
): (number | undefined)[] {
  const types: (number | undefined)[] = [];
  let [to, next] = [other, [first] as readonly Uint8Array[]];
  while (next.length > 0) {
    const [packet] = next;
    types.push(chunkOf(packet));
    const taken = takePacket(to, packet!, now);
    assert.equal(taken.refused, null);
    next = taken.answers;
    to = to === other ? one : other;
  }
  return types;
}

suite("SCTP", () => {
  test("CRC32c: the check value, and the vectors of RFC 3720 §B.4", () => {
    assert.equal(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
    assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
    assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
    assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e);
  });

  test("INIT, INIT ACK, COOKIE ECHO, COOKIE ACK; the tag of INIT is 0, then each other's", () => {
    const ends = pair();
    const [near, far] = ends;
    const init = associate(near, 0);
    assert.equal(tagOf(init), 0);
    assert.deepEqual(settle(ends, init), [1, 2, 10, 11]);
    assert.deepEqual([near.state, far.state], ["established", "established"]);
    assert.deepEqual([near.peerTag, far.peerTag], [far.tag, near.tag]);
    assert.equal(tagOf(sendMessage(near, new Uint8Array(16), 0)), far.tag);
  });

  test("packets with another tag, checksum or port are passed over, and change nothing", () => {
    const ends = pair();
    const [near, far] = ends;
    settle(ends, associate(near, 0));
    const whole = sendMessage(near, Uint8Array.of(1, 2, 3, 4), 0);
    const before = JSON.stringify(far);
    const refusal = (change: (packet: Uint8Array) => void): string | null => {
      const packet = whole.slice();
      change(packet);
      return takePacket(far, packet, 0).refused;
    };
    const sum = (packet: Uint8Array): void => {
      packet.fill(0, 8, 12);
      new DataView(packet.buffer).setUint32(8, crc32c(packet), true);
    };
    const flip =
      (at: number) =>
      (packet: Uint8Array): void => {
        packet[at] = packet[at]! ^ 1;
      };
    const tag = (packet: Uint8Array): void => {
      packet[4] = 1;
      sum(packet);
    };
    assert.deepEqual(
      [refusal(flip(20)), refusal(tag), refusal(flip(1)), takePacket(far, whole.subarray(0, 15), 0).refused],
      ["checksum", "tag", "ports", "short"],
    );
    assert.equal(JSON.stringify(far), before);
    assert.deepEqual(takePacket(far, whole, 0).messages, [Uint8Array.of(1, 2, 3, 4)]);
  });

  test("a handshake whose packets are lost is said again after a second, at each of its steps", () => {
    const ends = pair();
    const [near, far] = ends;
    associate(near, 0);
    assert.equal(repeat(near, 999), null);
    const init = repeat(near, 1000)!;
    const [initAck] = takePacket(far, init, 1000).answers;
    const [lost] = takePacket(near, initAck!, 1000).answers;
    assert.deepEqual([chunkOf(lost), repeat(near, 1999)], [10, null]);
    const cookie = repeat(near, 2000)!;
    assert.deepEqual(settle([near, far], cookie, 2000), [10, 11]);
    assert.deepEqual([near.state, far.state], ["established", "established"]);
  });

  test("every message arrives once, whatever the wire loses and doubles", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("through", "lost", "twice"), { maxLength: 60 }), (wire) => {
        const ends = pair();
        const [near, far] = ends;
        settle(ends, associate(near, 0));
        const got: number[] = [];
        let [now, step] = [0, 0];
        const carry = (packet: Uint8Array): void => {
          // After its list the wire is a good one.
          const fate = wire[step] ?? "through";
          step += 1;
          for (let count = 0; count < { through: 1, lost: 0, twice: 2 }[fate]; count += 1) {
            const { answers, messages } = takePacket(far, packet, now);
            got.push(...messages.map((message) => message[0]!));
            for (const answer of answers)
              if ((wire[step++] ?? "through") !== "lost") takePacket(near, answer, now);
          }
        };
        for (let index = 0; index < 20; index += 1)
          carry(sendMessage(near, Uint8Array.of(index, 0, 0, 0), now));
        for (; near.unacknowledged.size > 0 && now < 60_000; now += 100) {
          const again = repeat(near, now);
          if (again !== null) carry(again);
        }
        assert.deepEqual(
          got.toSorted((one, other) => one - other),
          Array.from({ length: 20 }, (_, index) => index),
        );
        assert.deepEqual([near.unacknowledged.size, far.ahead.size, far.received], [0, 0, 20]);
      }),
    );
  });
});
