// What a standby hears of its own table: nothing of what its own writer does, everything that somebody else does.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { openSessionDump } from "../../src/kernel/sessionDump.ts";
import { openSessionEvents, type SessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionWriter, type SessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { inNamespace } from "./namespace.ts";
import { exchangeUdp, makeWorld, type World } from "./sessionWorld.ts";

const QUIET = { ended: 0, changed: 0, lost: false };

/** A `conntrack` command in a namespace, as somebody types it. */
const conntrack = (space: World["standby"], words: readonly string[]): void =>
  space.run(() => {
    execFileSync("conntrack", words, { stdio: "ignore" });
  });

describe("a standby's own table", inNamespace, () => {
  let world: World;
  let writer: SessionWriter;
  let events: SessionEvents;
  const records = new RecordBatch();

  before(() => {
    world = makeWorld({ translate: true });
    for (const port of [40_001, 40_002, 40_003]) exchangeUdp(world, ["10.9.0.2", port], ["192.0.2.2", 53], 1);
    const dump = world.active.run(() => openSessionDump());
    while (dump.next(records));
    dump.close();
    writer = world.standby.run(() => openSessionWriter());
    events = world.standby.run(() => openSessionEvents({ ignore: [writer.portId] }));
  });
  after(() => {
    events.close();
    writer.close();
    world.close();
  });

  test("this node's own writing is no disturbance, the second time neither", () => {
    assert.equal(writer.apply(records.records(), records.count, 1).created, 3);
    writer.apply(records.records(), records.count, 2);
    assert.deepEqual(events.discard(), QUIET);
  });

  test("marks that somebody changes, a session that somebody ends", () => {
    const somebody = world.standby.run(() => openSessionWriter());
    try {
      assert.equal(somebody.apply(records.records(), records.count, 3).updated, 3);
    } finally {
      somebody.close();
    }
    assert.deepEqual(events.discard(), { ...QUIET, changed: 3 });
    conntrack(world.standby, ["-D", "-p", "udp", "--sport", "40002"]);
    assert.deepEqual(events.discard(), { ...QUIET, ended: 1 });
    assert.deepEqual(events.discard(), QUIET);
  });

  test("a session that somebody makes is nothing that is lacking, and one that is not the pair's is nobody's", () => {
    const made = ["-I", "-p", "udp", "-s", "10.9.0.9", "-d", "192.0.2.9", "--sport", "9", "--dport", "9"];
    conntrack(world.standby, [...made, "--timeout", "60", "--mark", "5271811", "--status", "SEEN_REPLY"]);
    conntrack(world.standby, [
      "-I",
      "-p",
      "udp",
      "-s",
      "10.9.0.8",
      "-d",
      "192.0.2.9",
      "--sport",
      "9",
      "--dport",
      "9",
      "--timeout",
      "60",
    ]);
    conntrack(world.standby, ["-D", "-p", "udp", "-s", "10.9.0.8"]);
    assert.deepEqual(events.discard(), QUIET);
  });
});
