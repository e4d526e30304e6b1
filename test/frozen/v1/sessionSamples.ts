// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// Session records for tests: a fast-check arbitrary over everything that the layout
// can say (docs/protocol.md §9).

import fc from "fast-check";
import type { SequenceAdjustment, SessionRecord, SessionState, SessionTuple } from "./sessionRecord.ts";

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

/** Families with their protocols and ICMP's pairs of question and answer. */
const ANSWERS = new Map<string, readonly (readonly [number, number])[]>([
  [
    "4/1",
    [
      [8, 0],
      [0, 8],
      [13, 14],
      [14, 13],
      [15, 16],
      [16, 15],
      [17, 18],
      [18, 17],
    ],
  ],
  [
    "6/58",
    [
      [128, 129],
      [129, 128],
      [139, 140],
      [140, 139],
    ],
  ],
]);
const PORTS = [6, 17, 47, 132, 136];

interface Tuples {
  readonly original: SessionTuple;
  readonly reply: SessionTuple;
}

/** Both tuples: each part of the reply either derived or anything at all that the protocol allows. */
function tuples(family: 4 | 6, protocol: number): fc.Arbitrary<Tuples> {
  const address = bytes(family === 4 ? 4 : 16);
  const answers = ANSWERS.get(`${family}/${protocol}`);
  const ports = PORTS.includes(protocol);
  return fc
    .record({
      source: address,
      destination: address,
      a: ports || answers !== undefined ? u16 : fc.constant(0),
      b: ports ? u16 : fc.constant(0),
      icmp: fc.constantFrom(...(answers ?? [[0, 0] as const])),
      code: fc.integer({ min: 0, max: 255 }),
      replySource: fc.option(address),
      replyDestination: fc.option(address),
      replyA: fc.option(u16),
      replyB: fc.option(u16),
    })
    .map((drawn) => {
      const { source, destination, a, code, icmp } = drawn;
      const b = answers === undefined ? drawn.b : (icmp[0] << 8) | code;
      const derivedA = answers === undefined ? b : a;
      const derivedB = answers === undefined ? a : (icmp[1] << 8) | code;
      return {
        original: { source, destination, a, b },
        reply: {
          source: drawn.replySource ?? destination,
          destination: drawn.replyDestination ?? source,
          a: ports || answers !== undefined ? (drawn.replyA ?? derivedA) : 0,
          b: ports ? (drawn.replyB ?? derivedB) : derivedB,
        },
      };
    });
}

const adjustment: fc.Arbitrary<SequenceAdjustment> = fc
  .tuple(u32, u32, u32)
  .map(([correctionPosition, offsetBefore, offsetAfter]) => ({
    correctionPosition,
    offsetBefore,
    offsetAfter,
  }));
const helper = fc.string({
  minLength: 1,
  maxLength: 15,
  unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz-0123456789"),
});

function state(family: 4 | 6, protocol: number, reply: SessionTuple): fc.Arbitrary<SessionState> {
  const address = bytes(family === 4 ? 4 : 16);
  const hasStates = protocol === 6 || protocol === 132;
  const master = fc
    .tuple(fc.constantFrom(6, 17, 47, 132, 136), address, address, u16, u16)
    .map(([inner, source, destination, a, b]) => ({
      protocol: inner,
      original: { source, destination, a, b },
    }));
  return fc
    .record(
      {
        link: fc.integer({ min: 1, max: 255 }),
        upper: fc.integer({ min: 0, max: 0xfffff }),
        flags: fc.integer({ min: 0, max: 3 }),
        timeoutSeconds: fc.integer({ min: 0, max: 2_147_483 }),
        status: fc.subarray([0x2, 0x4, 0x400]).map((bits) => bits.reduce((sum, bit) => sum | bit, 0)),
        protocolState: hasStates ? fc.integer({ min: 0, max: 9 }) : fc.constant(0),
        tags: fc.tuple(u32, u32).map(([first, second]) => ({ original: first, reply: second })),
        helper,
        master,
        adjustOriginal: adjustment,
        adjustReply: adjustment,
        labels: bytes(16),
      },
      { requiredKeys: ["link", "upper", "flags", "timeoutSeconds", "status", "protocolState", "tags"] },
    )
    .map(({ link, upper, flags, tags, ...rest }) => ({
      ...rest,
      reply,
      mark: (link | (upper << 8) | (flags << 30)) >>> 0,
      ...(protocol === 132 ? { verificationTags: tags } : {}),
    }));
}

/** Any record that the layout can carry. */
export const anyRecord: fc.Arbitrary<SessionRecord> = fc
  .tuple(fc.constantFrom<4 | 6>(4, 6), fc.constantFrom(1, 6, 17, 47, 50, 58, 132, 136))
  .chain(([family, protocol]) =>
    tuples(family, protocol).chain(({ original, reply }) =>
      fc
        .record(
          {
            operation: fc.constantFrom("create" as const, "update" as const, "delete" as const),
            zone: fc
              .tuple(
                fc.integer({ min: 1, max: 0xffff }),
                fc.constantFrom("original" as const, "reply" as const, "both" as const),
              )
              .map(([id, directions]) => ({ id, directions })),
            state: state(family, protocol, reply),
          },
          { requiredKeys: ["operation", "state"] },
        )
        .map(({ operation, state: drawn, ...zone }): SessionRecord => {
          const key = { family, protocol, original, ...zone };
          return operation === "delete" ? { ...key, operation } : { ...key, operation, state: drawn };
        }),
    ),
  );
