// What a standby's kernel is filled with before it synchronises: of every kind as many, none of them true, each with the
// generation of an earlier snapshot.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Table, takeLine } from "../../src/lab/conntrackText.ts";
import { damageScript, handScript, staleScript } from "../../src/lab/staleEntries.ts";
import { describeTopology } from "../../src/lab/topology.ts";

const topology = describeTopology(2);
const line = (port: number, translated: number): string =>
  `ipv4     2 udp      17 299 src=10.20.1.1 dst=203.0.113.10 sport=${port} dport=20000 src=203.0.113.10 dst=198.51.100.2 sport=20000 dport=${translated} mark=1 use=1`;
const tableOf = (...lines: readonly string[]): Table => {
  const table: Table = new Map();
  for (const each of lines) takeLine(table, each);
  return table;
};

suite("stale entries", () => {
  test("another translation, a session that is over, and one that sits on another's port", () => {
    const table = tableOf(line(3001, 3001), line(3002, 3002), line(3003, 3003));
    const { text, entries } = staleScript(table, 10, topology);
    assert.equal(entries, 3);
    const to = "-p udp -s 10.20.1.1 -d 203.0.113.10";
    const tail = "-t 500 -u SEEN_REPLY,ASSURED -m";
    assert.deepEqual(text.trimEnd().split("\n"), [
      `-D ${to} --sport 3001 --dport 20000`,
      `-I ${to} --sport 3001 --dport 20000 -n 198.51.100.2:11944 ${tail} ${0x10000001}`,
      `-I -p udp -s 10.20.77.2 -d 203.0.113.10 --sport 1025 --dport 20000 -n 198.51.100.2:11945 ${tail} ${0x20000001}`,
      `-D ${to} --sport 3003 --dport 20000`,
      `-I -p udp -s 10.20.77.3 -d 203.0.113.10 --sport 1026 --dport 20000 -n 198.51.100.2:3003 ${tail} ${0x30000001}`,
    ]);
  });

  test("no more than asked for, of UDP over IPv4 alone, and no two on one port", () => {
    const table = tableOf(
      ...Array.from({ length: 2000 }, (_, index) => line(2000 + index, 2000 + index)),
      line(9000, 9000).replaceAll("udp      17", "tcp      6"),
    );
    assert.equal(staleScript(table, 100, topology).entries, 100);
    const { text, entries } = staleScript(table, 5000, topology);
    assert.equal(entries, 2000);
    const ports = [...text.matchAll(/-n (\S+)/g)].map(([, port]) => port);
    assert.equal(new Set(ports).size, 2000);
  });

  test("harm: every other one is deleted, the rest is given a link that is not its own", () => {
    const { text, entries } = damageScript(tableOf(line(3001, 3001), line(3002, 3002)), 10, topology);
    assert.equal(entries, 2);
    const to = "-p udp -s 10.20.1.1 -d 203.0.113.10";
    assert.deepEqual(text.trimEnd().split("\n"), [
      `-D ${to} --sport 3001 --dport 20000`,
      `-D ${to} --sport 3002 --dport 20000`,
      `-I ${to} --sport 3002 --dport 20000 -n 198.51.100.2:3002 -t 500 -u SEEN_REPLY,ASSURED -m 2`,
    ]);
  });

  test("work by hand: each session at most once, all of each kind, and one text for each mark", () => {
    const table = tableOf(
      ...Array.from({ length: 40 }, (_, index) => line(3000 + index, 3000 + index)),
      ...Array.from({ length: 10 }, (_, index) =>
        line(4000 + index, 4000 + index).replace("mark=1", "mark=2"),
      ),
      line(9000, 9000).replaceAll("udp      17", "tcp      6"),
    );
    let seed = 1;
    const random = (): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const wanted = { deleted: 20, alien: 70, marked: 25 };
    const { texts, done } = handScript(table, wanted, topology, random);
    assert.deepEqual(done, wanted);
    const lines = texts.flatMap((text) => text.trimEnd().split("\n"));
    const of = (order: string): readonly string[] => lines.filter((each) => each.startsWith(order));
    assert.deepEqual([of("-D").length, of("-I").length, of("-U").length], [20, 70, 25]);
    const ports = [...of("-D"), ...of("-U")].map((each) => Number(/--sport (\d+)/.exec(each)![1]));
    assert.equal(new Set(ports).size, 45, "none twice");
    for (const each of of("-U")) {
      const port = Number(/--sport (\d+)/.exec(each)![1]);
      assert.ok(each.endsWith(port < 4000 ? " -m 2/0xff" : " -m 1/0xff"), each);
    }
    for (const text of texts) assert.ok(new Set(text.match(/-m \d+\/0xff/g)).size <= 1, text);
    const translated = of("-I").map((each) => / -n (\S+) /.exec(each)![1]);
    assert.equal(new Set(translated).size, 70, "each on a port of its own");
    assert.deepEqual(
      of("-I").filter((each) => !each.includes("-s 10.20.77.")),
      [],
    );
    assert.notDeepEqual(ports.slice(0, 20), [...ports.slice(0, 20)].sort(), "chosen at random");
  });

  test("work by hand: a table that has too little says so", () => {
    const wanted = { deleted: 3, alien: 1, marked: 3 };
    const { done } = handScript(tableOf(line(3001, 3001), line(3002, 3002)), wanted, topology, () => 0);
    assert.deepEqual(done, { deleted: 2, alien: 1, marked: 0 });
    assert.deepEqual(handScript(tableOf(), wanted, topology, () => 0).done, {
      deleted: 0,
      alien: 0,
      marked: 0,
    });
  });
});
