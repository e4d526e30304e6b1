// Expectation records for tests: those of FTP and SIP by hand, and a fast-check arbitrary over everything that the
// layout can say (docs/protocol.md §9.6).

import fc from "fast-check";
import type { ExpectationRecord, ExpectationState } from "../../src/wire/expectationRecord.ts";
import { tuple } from "./sessionSamples.ts";

/** The data connection of active FTP: from any port of the server's to port 51210 of the link's, for 10.0.0.1. */
export const FTP_DATA: ExpectationRecord = {
  operation: "create",
  family: 4,
  protocol: 6,
  expected: tuple("198.51.100.7", 0, "192.0.2.1", 51210),
  state: {
    master: { protocol: 6, original: tuple("10.0.0.1", 40000, "198.51.100.7", 21) },
    timeoutSeconds: 300,
    permanent: false,
    policyClass: 0,
    helper: "ftp",
    translation: { direction: "reply", address: new Uint8Array(4), number: 51210 },
    translator: "nat-follow-master",
  },
};

/** Calls to a telephone that registered: whoever they come from. */
export const SIP_CALLS: ExpectationRecord = {
  operation: "create",
  family: 6,
  protocol: 17,
  expected: tuple("::", 0, "2001:db8::1", 5060),
  state: {
    master: { protocol: 17, original: tuple("fd00::2", 5060, "2001:db8::7", 5060) },
    timeoutSeconds: 3600,
    permanent: true,
    policyClass: 0,
    helper: "sip",
    sourceMask: new Uint8Array(16),
  },
};

const PORTS = [6, 17, 47, 132, 136];
/** Objects as the decoder makes them. */
const PLAIN = { noNullPrototype: true } as const;
const u16 = fc.integer({ min: 0, max: 0xffff });
const name = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ minLength: 1, maxLength, unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyzQ.-0123456789") });

/** Any record that the layout can carry. */
export const anyExpectation: fc.Arbitrary<ExpectationRecord> = fc
  .constantFrom<4 | 6>(4, 6)
  .chain((family) => {
    const size = family === 4 ? 4 : 16;
    const address = fc.uint8Array({ minLength: size, maxLength: size });
    const ends = fc.record({ source: address, destination: address, a: u16, b: u16 }, PLAIN);
    const state: fc.Arbitrary<ExpectationState> = fc.record(
      {
        master: fc.record({ protocol: fc.constantFrom(...PORTS), original: ends }, PLAIN),
        timeoutSeconds: fc.integer({ min: 0, max: 2_147_483 }),
        permanent: fc.boolean(),
        policyClass: fc.integer({ min: 0, max: 255 }),
        helper: name(15),
        sourceMask: address.filter((mask) => mask.some((byte) => byte !== 0xff)),
        aMask: fc.integer({ min: 1, max: 0xffff }),
        translation: fc.record(
          {
            direction: fc.constantFrom("original" as const, "reply" as const),
            address,
            number: u16,
          },
          PLAIN,
        ),
        translator: name(31),
      },
      { requiredKeys: ["master", "timeoutSeconds", "permanent", "policyClass", "helper"], ...PLAIN },
    );
    return fc
      .tuple(fc.constantFrom(...PORTS), ends, fc.option(state))
      .map(
        ([protocol, expected, drawn]): ExpectationRecord =>
          drawn === null
            ? { operation: "delete", family, protocol, expected }
            : { operation: "create", family, protocol, expected, state: drawn },
      );
  });
