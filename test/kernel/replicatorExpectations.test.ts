// What helpers expect, through the whole of replication: events and snapshot of one node, over the real connection, into
// the other's kernel; swept there where nobody speaks of it; and held through a change of roles.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { type ExpectationRecord, encodeExpectation } from "../../src/wire/expectationRecord.ts";
import { encodeRecord, type SessionRecord } from "../../src/wire/sessionRecord.ts";
import { FTP_DATA } from "../wire/expectationSamples.ts";
import { tuple } from "../wire/sessionSamples.ts";
import { inNamespace, type Namespace } from "./namespace.ts";
import { makePair, type Node, Traffic } from "./replicatorWorld.ts";
import { table } from "./sessionWorld.ts";

/** A control connection of FTP from this port, on link 1. */
const control = (port: number): SessionRecord => ({
  operation: "create",
  family: 4,
  protocol: 6,
  original: tuple("10.0.0.1", port, "198.51.100.7", 21),
  state: {
    reply: tuple("198.51.100.7", 21, "192.0.2.1", port),
    mark: 1,
    timeoutSeconds: 432_000,
    status: 0x6,
    protocolState: 3,
    helper: "ftp",
  },
});

/** What it expects: its data connection, to this port. */
function dataOf(port: number, to: number): ExpectationRecord {
  if (FTP_DATA.operation === "delete") throw new Error("a create");
  const { state } = FTP_DATA;
  const master = { protocol: 6, original: tuple("10.0.0.1", port, "198.51.100.7", 21) };
  const translation = { direction: "reply", address: new Uint8Array(4), number: to } as const;
  return {
    ...FTP_DATA,
    expected: tuple("198.51.100.7", 0, "192.0.2.1", to),
    state: { ...state, master, translation },
  };
}

/** As if a helper did it: by a socket that no replication knows. */
function put(space: Namespace, records: readonly Uint8Array[]): void {
  const writer = space.run(() => openSessionWriter());
  const { refused, notExpected } = writer.apply(new Uint8Array(Buffer.concat(records)), records.length, 0);
  writer.close();
  assert.deepEqual([refused, notExpected], [{}, 0]);
}

const expected = (space: Namespace): string[] =>
  space
    .run(() =>
      execFileSync("conntrack", ["-L", "expect"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    )
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/^\s*\d+ /, ""))
    .sort();

const ready = (node: Node): Promise<void> =>
  node.until(({ replicator }) => replicator.report().ready, "ready");

test(
  "expectations: told as they come, in a snapshot, swept, and held through a change of roles",
  inNamespace,
  async (t) => {
    const pair = makePair();
    const { a, b } = pair;
    // Traffic makes the kernel track sessions at all.
    const traffic = new Traffic(a);
    t.after(async () => {
      traffic.close();
      await pair.close();
    });
    traffic.open(0, 50);
    put(a.space, [encodeRecord(control(40_000)), encodeExpectation(dataOf(40_000, 51_210))]);
    // What the standby has of an earlier life: of a session that the active has, too, so that only its own end ends it.
    put(b.space, [encodeRecord(control(40_000)), encodeExpectation(dataOf(40_000, 51_999))]);
    a.setRole("active", 2, "standby");
    b.setRole("standby", 0, "active");
    await ready(b);
    assert.equal(await a.replicator.waitAcknowledged(5000), true);
    assert.equal(expected(a.space).length, 1);
    assert.deepEqual(expected(b.space), expected(a.space), "a snapshot is a set");

    put(a.space, [encodeRecord(control(40_001)), encodeExpectation(dataOf(40_001, 51_211))]);
    await b.until(() => expected(b.space).length === 2, "an event");
    assert.deepEqual(expected(b.space), expected(a.space));
    assert.deepEqual(table(b.space), table(a.space));
    // Its session ends, and what it expects with it.
    a.space.run(() =>
      execFileSync("conntrack", ["-D", "-p", "tcp", "--orig-port-src", "40001"], { stdio: "ignore" }),
    );
    await b.until(() => expected(b.space).length === 1, "an end");
    assert.deepEqual(expected(b.space), expected(a.space));

    await b.restart();
    b.setRole("standby", 0, "active");
    await ready(b);
    assert.deepEqual(expected(b.space), expected(a.space));
    b.setRole("active", 3, "active");
    a.setRole("standby", 3, "active");
    await ready(a);
    assert.equal(await b.replicator.waitAcknowledged(5000), true);
    assert.equal(expected(b.space).length, 1);
    assert.deepEqual(expected(a.space), expected(b.space));
  },
);
