// Which of the kernel's times is an entry's: a table by protocol and state, with a different number for each setting. That
// the kernel agrees is shown in test/kernel/sessionTimes.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { protocolSeconds, protocolTimes } from "../../src/wire/protocolTimes.ts";
import { SessionFields } from "../../src/wire/sessionFields.ts";

const SETTINGS: Readonly<Record<string, number>> = {
  tcp_timeout_syn_sent: 201,
  tcp_timeout_syn_recv: 202,
  tcp_timeout_established: 203,
  tcp_timeout_fin_wait: 204,
  tcp_timeout_close_wait: 205,
  tcp_timeout_last_ack: 206,
  tcp_timeout_time_wait: 207,
  tcp_timeout_close: 208,
  sctp_timeout_closed: 301,
  sctp_timeout_cookie_wait: 302,
  sctp_timeout_cookie_echoed: 303,
  sctp_timeout_established: 304,
  sctp_timeout_shutdown_sent: 305,
  sctp_timeout_shutdown_recd: 306,
  sctp_timeout_shutdown_ack_sent: 307,
  sctp_timeout_heartbeat_sent: 308,
  udp_timeout: 17,
  udp_timeout_stream: 18,
  icmp_timeout: 11,
  icmpv6_timeout: 58,
  gre_timeout: 47,
  gre_timeout_stream: 48,
  generic_timeout: 99,
};
const REPLIED = 2;
const BOTH = 6;

/** Family, protocol, state, status, seconds. */
const rows: readonly (readonly [4 | 6, number, number, number, number | null])[] = [
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((state) => [4, 6, state, BOTH, 200 + state] as const),
  // SYN_SENT2 has two minutes, or what a SYN has where that is more.
  [4, 6, 9, REPLIED, 201],
  [6, 6, 3, BOTH, 203],
  // Not told, and not known: nobody can say.
  [4, 6, 0, BOTH, null],
  [4, 6, 10, BOTH, null],
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((state) => [4, 132, state, BOTH, 300 + state] as const),
  // A setting that this kernel has not got.
  [4, 132, 9, BOTH, 99],
  [4, 132, 0, BOTH, null],
  [4, 17, 0, 0, 17],
  [4, 17, 0, REPLIED, 17],
  [4, 17, 0, BOTH, 18],
  [6, 136, 0, BOTH, 18],
  [4, 1, 0, REPLIED, 11],
  [6, 58, 0, REPLIED, 58],
  // One family's ICMP in the other is a protocol like any.
  [6, 1, 0, REPLIED, 99],
  [4, 58, 0, REPLIED, 99],
  [4, 47, 0, 0, 47],
  [4, 47, 0, REPLIED, 48],
  [4, 47, 0, BOTH, 48],
  [4, 50, 0, BOTH, 99],
  [4, 253, 0, REPLIED, 99],
];

const times = protocolTimes((name) => SETTINGS[name] ?? null);

for (const [family, protocol, protocolState, status, seconds] of rows)
  test(`IPv${family}, protocol ${protocol}, state ${protocolState}, status ${status}: ${seconds} s`, () => {
    const fields = Object.assign(new SessionFields(), { family, protocol, protocolState, status });
    assert.equal(protocolSeconds(times, fields), seconds);
  });

test("a kernel without any of the settings gives everything its ten minutes", () => {
  const none = protocolTimes(() => null);
  for (const [family, protocol, protocolState, status, seconds] of rows) {
    const fields = Object.assign(new SessionFields(), { family, protocol, protocolState, status });
    assert.equal(protocolSeconds(none, fields), seconds === null ? null : 600);
  }
});

test("simultaneous opens keep their two minutes where a SYN has less", () => {
  const short = protocolTimes((name) => (name === "tcp_timeout_syn_sent" ? 20 : 30));
  const fields = Object.assign(new SessionFields(), { protocol: 6, protocolState: 9 });
  assert.equal(protocolSeconds(short, fields), 120);
});
