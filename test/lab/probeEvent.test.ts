// The laboratory's own reading of a session event, on bytes as the kernel lays them out (a UDP session of IPv4).

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { readProbeEvent } from "../../src/lab/traffic/probeEvent.ts";

const native = (value: number): readonly number[] => [...new Uint8Array(new Uint16Array([value]).buffer)];
const attribute = (type: number, value: readonly number[]): readonly number[] => {
  const padding = Array.from({ length: (4 - (value.length % 4)) % 4 }, () => 0);
  return [...native(value.length + 4), ...native(type), ...value, ...padding];
};
const NESTED = 0x8000;

function eventOf(sourcePort: number, destinationPort: number, status: number): Uint8Array {
  const ip = attribute(NESTED | 1, [...attribute(1, [10, 20, 1, 201]), ...attribute(2, [203, 0, 113, 10])]);
  const protocol = attribute(NESTED | 2, [
    ...attribute(1, [17]),
    ...attribute(2, [sourcePort >> 8, sourcePort & 255]),
    ...attribute(3, [destinationPort >> 8, destinationPort & 255]),
  ]);
  const body = [
    ...attribute(NESTED | 1, [...ip, ...protocol]),
    ...attribute(NESTED | 2, [...ip, ...protocol]),
    ...attribute(3, [0, 0, status >> 8, status & 255]),
  ];
  const length = new Uint8Array(new Uint32Array([20 + body.length]).buffer);
  return Uint8Array.from([...length, ...Array.from({ length: 16 }, () => 0), ...body]);
}

suite("probe events", () => {
  test("ports of the original direction, and whether it was answered", () => {
    const port = fc.integer({ min: 0, max: 65535 });
    fc.assert(
      fc.property(port, port, port, (source, destination, status) => {
        assert.deepEqual(readProbeEvent(eventOf(source, destination, status)), {
          ports: source * 65536 + destination,
          replied: (status & 2) !== 0,
        });
      }),
    );
  });

  test("the source's address lies where the kernel's filter looks for it", () => {
    assert.deepEqual([...eventOf(1, 2, 0).subarray(32, 36)], [10, 20, 1, 201]);
  });

  test("what is cut off or no session is nothing, and never an exception", () => {
    const whole = eventOf(40_000, 20_000, 2);
    for (let length = 0; length < 60; length += 1)
      assert.equal(readProbeEvent(whole.subarray(0, length)), null);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        readProbeEvent(bytes);
      }),
    );
  });
});
