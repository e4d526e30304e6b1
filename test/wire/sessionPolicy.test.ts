// The sending policy: the default as a table of its own, every policy against a slow model, and that no session's end is
// forgotten whose life was told.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { SessionOperation } from "../../src/wire/session.ts";
import { IPS_ASSURED, IPS_EXPECTED, IPS_SEEN_REPLY, SessionFields } from "../../src/wire/sessionFields.ts";
import { DEFAULT_SENDING, type SendingPolicy, SessionPolicy } from "../../src/wire/sessionPolicy.ts";
import { anyPolicy, anySeen, endOf, type Seen, wordOf } from "./policyModel.ts";

const { Create, Update } = SessionOperation;
const SEEN = IPS_SEEN_REPLY;
const BOTH = IPS_SEEN_REPLY | IPS_ASSURED;

/** Protocol, protocol state (0: the event did not tell), status, record, whether its end is told. */
const byDefault: readonly (readonly [string, number, number, number, SessionOperation | 0, boolean])[] = [
  ["TCP SYN_SENT", 6, 1, 0, 0, false],
  ["TCP SYN_RECV", 6, 2, SEEN, 0, false],
  ["TCP ESTABLISHED", 6, 3, BOTH, Create, true],
  ["TCP picked up in mid-stream", 6, 3, 0, Create, true],
  ["TCP FIN_WAIT", 6, 4, BOTH, Update, true],
  ["TCP CLOSE_WAIT", 6, 5, BOTH, Update, true],
  ["TCP LAST_ACK", 6, 6, BOTH, Update, true],
  ["TCP TIME_WAIT", 6, 7, BOTH, Update, true],
  ["TCP CLOSE", 6, 8, BOTH, Update, true],
  ["TCP CLOSE, never answered", 6, 8, 0, 0, true],
  ["TCP SYN_SENT2", 6, 9, SEEN, 0, false],
  ["TCP, state not told, assured", 6, 0, BOTH, Update, true],
  ["TCP, state not told, half open", 6, 0, SEEN, 0, true],
  ["UDP unanswered", 17, 0, 0, 0, false],
  ["UDP answered", 17, 0, SEEN, Create, true],
  ["UDP assured", 17, 0, BOTH, Update, true],
  ["UDP-Lite answered", 136, 0, SEEN, Create, true],
  ["ICMP unanswered", 1, 0, 0, 0, false],
  ["ICMP answered", 1, 0, SEEN, Create, true],
  ["ICMPv6 answered", 58, 0, SEEN, Create, true],
  ["ESP answered", 50, 0, SEEN, Create, true],
  ["GRE assured", 47, 0, BOTH, Update, true],
  ["TCP that a helper expected, SYN_SENT", 6, 1, IPS_EXPECTED, Create, true],
  ["UDP that a helper expected, unanswered", 17, 0, IPS_EXPECTED, Create, true],
  ["SCTP COOKIE_ECHOED", 132, 3, SEEN, 0, true],
  ["SCTP ESTABLISHED", 132, 4, BOTH, Create, true],
  ["SCTP SHUTDOWN_SENT", 132, 5, BOTH, Update, true],
];

describe("what is sent by default", () => {
  const policy = new SessionPolicy();
  for (const [name, protocol, state, status, record, told] of byDefault)
    test(name, () => {
      const fields = new SessionFields();
      Object.assign(fields, { protocol, protocolState: state, status, mark: 3 });
      assert.deepEqual([policy.recordFor(fields), policy.wasSent(fields)], [record, told]);
      // The node's own sessions have no link, whatever else their mark says.
      fields.mark = 0x00507100;
      assert.deepEqual([policy.recordFor(fields), policy.wasSent(fields)], [0, false]);
    });
});

function fieldsOf(seen: Seen): SessionFields {
  const fields = new SessionFields();
  const size = seen.source.length;
  const bytes = new Uint8Array(2 * size);
  bytes.set(seen.source);
  bytes.set(seen.destination, size);
  return Object.assign(fields, {
    bytes,
    family: seen.family,
    protocol: seen.protocol,
    originalSource: 0,
    originalDestination: size,
    originalB: seen.destinationPort,
    mark: seen.mark,
    protocolState: seen.state,
    status:
      (seen.replied ? IPS_SEEN_REPLY : 0) |
      (seen.assured ? IPS_ASSURED : 0) |
      (seen.expected ? IPS_EXPECTED : 0) |
      0x1b8,
  });
}

const NAMES = {
  0: null,
  [Create]: "create",
  [Update]: "update",
  [SessionOperation.Delete]: "delete",
} as const;

test("any policy, any session: as the model says", () => {
  fc.assert(
    fc.property(anyPolicy, anySeen, (sending, seen) => {
      const policy = new SessionPolicy(sending);
      const fields = fieldsOf(seen);
      assert.equal(NAMES[policy.recordFor(fields)], wordOf(sending, seen));
      assert.equal(policy.wasSent(fields), endOf(sending, seen));
    }),
    { numRuns: 20_000 },
  );
});

/** Whether the kernel can take an entry of this protocol from one state to the other (nf_conntrack_proto_tcp.c). */
function mayFollow(protocol: number, before: number, after: number): boolean {
  if (protocol !== 6) return true;
  const opening = (state: number): boolean => state === 1 || state === 9;
  if (before === 0 || after === 0) return true;
  if (opening(after)) return opening(before);
  return after !== 2 || opening(before) || before === 2;
}

test("whose life was told, its end is told: whatever it came through in between", () => {
  const policies: SendingPolicy[] = [];
  for (const tcp of ["opening", "syn-received", "established"] as const)
    for (const udp of ["first-packet", "reply", "assured"] as const)
      for (const others of ["first-packet", "reply"] as const)
        policies.push({ tcp, udp, others, except: [] });
  let told = 0;
  for (const sending of policies)
    for (const protocol of [6, 17, 132, 136, 1, 47]) {
      const states =
        protocol === 6 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : protocol === 132 ? [1, 2, 3, 4, 5, 6, 7] : [0];
      const policy = new SessionPolicy(sending);
      const fields = new SessionFields();
      for (const before of states)
        for (const after of states.filter((state) => mayFollow(protocol, before, state)))
          for (const [first, last] of [
            [0, 0],
            [0, SEEN],
            [SEEN, SEEN],
            [SEEN, BOTH],
            [BOTH, BOTH],
          ] as const) {
            // SCTP's ends are told in any state but CLOSED, to which an established association does not return silently.
            if (protocol === 132 && after === 1) continue;
            Object.assign(fields, { protocol, mark: 7, protocolState: before, status: first });
            if (policy.recordFor(fields) === 0) continue;
            Object.assign(fields, { protocolState: after, status: last });
            assert.ok(
              policy.wasSent(fields),
              `${JSON.stringify(sending)}: protocol ${protocol}, ${before}/${first} to ${after}/${last}`,
            );
            told += 1;
          }
    }
  assert.ok(told > 1000);
});

test("the default is today's", () => {
  assert.deepEqual(DEFAULT_SENDING, { tcp: "established", udp: "reply", others: "reply", except: [] });
});

test("a network that is none is a mistake of the caller's", () => {
  const network = { family: 4, address: "10.9.0", prefixLength: 8 } as const;
  assert.throws(
    () => new SessionPolicy({ ...DEFAULT_SENDING, except: [{ network }] }),
    /no address: 10\.9\.0/,
  );
});
