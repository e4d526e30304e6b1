// The oracle's reading of `conntrack -L` and its comparison, on lines as the program prints them.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import {
  compareBetween,
  compareTables,
  isEqual,
  linkOf,
  type Table,
  takeLine,
} from "../../src/lab/conntrackText.ts";

const TCP =
  "ipv4     2 tcp      6 431999 ESTABLISHED src=10.20.1.1 dst=203.0.113.10 sport=40000 dport=7 src=203.0.113.10 dst=198.51.100.2 sport=7 dport=40000 [ASSURED] mark=1 use=1";
const UDP =
  "ipv4     2 udp      17 299 src=10.20.1.1 dst=203.0.113.10 sport=20001 dport=20000 src=203.0.113.10 dst=192.0.2.2 sport=20000 dport=1024 mark=536870914 use=1";
const UDP6 =
  "ipv6     10 udp      17 299 src=fd20::1:1 dst=2001:db8:ff::10 sport=20001 dport=20000 src=2001:db8:ff::10 dst=2001:db8:1::2 sport=20000 dport=20001 mark=1 use=1";
const ICMP =
  "ipv4     2 icmp     1 29 src=10.20.1.1 dst=203.0.113.10 type=8 code=0 id=7 src=203.0.113.10 dst=198.51.100.2 type=0 code=0 id=7 mark=1 use=1";

const tableOf = (...lines: readonly string[]): Table => {
  const table: Table = new Map();
  for (const line of lines) takeLine(table, line);
  return table;
};

suite("conntrackText", () => {
  test("reads every kind of session: key, translation, mark without flags, state", () => {
    assert.deepEqual(
      [...tableOf(TCP, UDP, UDP6, ICMP)],
      [
        [
          "ipv4 tcp src=10.20.1.1 dst=203.0.113.10 sport=40000 dport=7",
          {
            reply: "src=203.0.113.10 dst=198.51.100.2 sport=7 dport=40000",
            mark: 1,
            state: "ESTABLISHED [ASSURED]",
          },
        ],
        [
          "ipv4 udp src=10.20.1.1 dst=203.0.113.10 sport=20001 dport=20000",
          { reply: "src=203.0.113.10 dst=192.0.2.2 sport=20000 dport=1024", mark: 2, state: "" },
        ],
        [
          "ipv6 udp src=fd20::1:1 dst=2001:db8:ff::10 sport=20001 dport=20000",
          { reply: "src=2001:db8:ff::10 dst=2001:db8:1::2 sport=20000 dport=20001", mark: 1, state: "" },
        ],
        [
          "ipv4 icmp src=10.20.1.1 dst=203.0.113.10 type=8 code=0 id=7",
          { reply: "src=203.0.113.10 dst=198.51.100.2 type=0 code=0 id=7", mark: 1, state: "" },
        ],
      ],
    );
    assert.equal(linkOf(tableOf(UDP).values().next().value!), 2);
  });

  test("leaves out the node's own sessions and what is half open", () => {
    const own = TCP.replace("mark=1", "mark=0");
    const ownFlagged = TCP.replace("mark=1", "mark=268435456");
    const opening = TCP.replace("ESTABLISHED", "SYN_SENT");
    const unanswered = UDP.replace("dport=20000 src", "dport=20000 [UNREPLIED] src");
    assert.equal(tableOf(own, ownFlagged, opening, unanswered, "", "nonsense").size, 0);
  });

  test("protocols that `conntrack` has no name for are told apart by their numbers", () => {
    const line = (number: number): string =>
      `ipv4     2 unknown  ${number} 599 src=10.20.1.1 dst=203.0.113.101 src=203.0.113.101 dst=192.0.2.2 [ASSURED] mark=2 use=1`;
    assert.deepEqual(
      [...tableOf(line(50), line(253)).keys()],
      [50, 253].map((number) => `ipv4 unknown-${number} src=10.20.1.1 dst=203.0.113.101`),
    );
  });

  test("counters and time-outs are no difference", () => {
    const counted = TCP.replace("dport=7 src", "dport=7 packets=3 bytes=180 src")
      .replace("dport=40000 [", "dport=40000 packets=2 bytes=90 [")
      .replace("431999", "12");
    assert.ok(isEqual(compareTables(tableOf(TCP), tableOf(counted))));
  });

  test("tells missing, extra and wrong apart, and shows samples", () => {
    const otherPort = UDP.replace("dport=1024", "dport=1025");
    const difference = compareTables(tableOf(TCP, UDP), tableOf(otherPort, ICMP));
    assert.deepEqual(
      { ...difference, samples: difference.samples.length },
      {
        missing: 1,
        extra: 1,
        wrong: 1,
        samples: 3,
      },
    );
  });

  test("the mark's link, the state and the way back each count; its flags do not", () => {
    const counts = (one: string, other: string): number => compareTables(tableOf(one), tableOf(other)).wrong;
    assert.equal(counts(UDP, UDP.replace("mark=536870914", "mark=1")), 1);
    assert.equal(counts(TCP, TCP.replace("ESTABLISHED", "TIME_WAIT")), 1);
    assert.equal(counts(TCP, TCP.replace(" [ASSURED]", "")), 1);
    assert.equal(counts(UDP, UDP.replace("mark=536870914", "mark=2")), 0);
  });
});

suite("an active that goes on changing while it is read", () => {
  const one = (state: string): Table => new Map([["k", { reply: "r", mark: 1, state }]]);
  const none: Table = new Map();
  const counts = (before: Table, standby: Table, after: Table): readonly number[] => {
    const { missing, extra, wrong } = compareBetween(before, standby, after);
    return [missing, extra, wrong];
  };

  test("what stayed as it was is judged", () => {
    assert.deepEqual(counts(one("A"), none, one("A")), [1, 0, 0]);
    assert.deepEqual(counts(one("A"), one("B"), one("A")), [0, 0, 1]);
    assert.deepEqual(counts(one("A"), one("A"), one("A")), [0, 0, 0]);
    assert.deepEqual(counts(none, one("A"), none), [0, 1, 0]);
  });

  test("what came, went or changed meanwhile is no difference, whatever the standby has", () => {
    for (const standby of [none, one("A"), one("B")]) {
      assert.deepEqual(counts(none, standby, one("A")), [0, 0, 0]);
      assert.deepEqual(counts(one("A"), standby, none), [0, 0, 0]);
      assert.deepEqual(counts(one("A"), standby, one("B")), [0, 0, 0]);
    }
  });

  test("on tables of any kind, against one key at a time", () => {
    const states = fc.constantFrom(null, "A", "B");
    const row = fc.record({ before: states, standby: states, after: states });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 30 }), (rows) => {
        const tables = (["before", "standby", "after"] as const).map((when): Table => {
          const table: Table = new Map();
          rows.forEach((cell, index) => {
            const state = cell[when];
            if (state !== null) table.set(`k${index}`, { reply: "r", mark: 1, state });
          });
          return table;
        });
        const expected = { missing: 0, extra: 0, wrong: 0 };
        for (const { before, standby, after } of rows) {
          if (before !== after || before === standby) continue;
          if (before === null) expected.extra += 1;
          else if (standby === null) expected.missing += 1;
          else expected.wrong += 1;
        }
        const { missing, extra, wrong } = compareBetween(tables[0]!, tables[1]!, tables[2]!);
        assert.deepEqual({ missing, extra, wrong }, expected);
      }),
    );
  });
});
