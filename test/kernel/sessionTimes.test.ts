// The times of sessions: what this program takes for a session's time is what the kernel gives it, and after a takeover
// exactly what nobody speaks in is set back. Real packets and real tables, in namespaces with settings of their own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { close, MSG_DONTWAIT, recv, SOCK_RAW, sendto, socket } from "../../src/kernel/libc.ts";
import { openSessionScan } from "../../src/kernel/sessionDump.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionTimes, readProtocolTimes, type SetBackResult } from "../../src/kernel/sessionTimes.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { protocolSeconds } from "../../src/wire/protocolTimes.ts";
import { forEachRecord, RecordBatch } from "../../src/wire/session.ts";
import type { SessionFields } from "../../src/wire/sessionFields.ts";
import { encodeRecord } from "../../src/wire/sessionRecord.ts";
import { refreshRecord } from "../../src/wire/sessionRefresh.ts";
import { session, TCP } from "../core/records.ts";
import { sample } from "../wire/sessionSamples.ts";
import { inNamespace, makeNamespace, type Namespace } from "./namespace.ts";
import {
  acceptTcp,
  exchangeUdp,
  listenTcp,
  makeWorld,
  openTcp,
  ping,
  reset,
  say,
  socketAddress,
} from "./sessionWorld.ts";

const SETTINGS: Readonly<Record<string, number>> = {
  tcp_timeout_syn_sent: 1001,
  tcp_timeout_syn_recv: 1002,
  tcp_timeout_established: 1003,
  tcp_timeout_fin_wait: 1004,
  tcp_timeout_close_wait: 1005,
  tcp_timeout_last_ack: 1006,
  tcp_timeout_time_wait: 1007,
  tcp_timeout_close: 1008,
  // These shorten an entry's time, and are no state's own.
  tcp_timeout_max_retrans: 100_000,
  tcp_timeout_unacknowledged: 100_000,
  udp_timeout: 1017,
  udp_timeout_stream: 1018,
  icmp_timeout: 1011,
  icmpv6_timeout: 1058,
  generic_timeout: 1099,
};

function set(space: Namespace, changes: Readonly<Record<string, number>> = {}): void {
  space.run(() => {
    for (const [name, value] of Object.entries({ ...SETTINGS, ...changes }))
      writeFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, String(value));
  });
}

/** `protocol/state/source port` of each of the pair's entries, and the seconds that are left to it. */
function left(space: Namespace): Map<string, number> {
  const found = new Map<string, number>();
  const scan = space.run(() => openSessionScan());
  const take = (fields: SessionFields): boolean => {
    const { protocol, protocolState, originalA, timeoutSeconds, mark } = fields;
    if ((mark & 0xff) !== 0) found.set(`${protocol}/${protocolState}/${originalA}`, timeoutSeconds);
    return true;
  };
  while (scan.next(take));
  scan.close();
  return found;
}

/** The whole table once. */
function walkOnce(space: Namespace): SetBackResult {
  const times = space.run(() => openSessionTimes());
  const walk = space.run(() => times.walk());
  const whole = { seen: 0, setBack: 0, refused: {} as Record<string, number>, more: false };
  for (let more = true; more; ) {
    const result = walk.step();
    whole.seen += result.seen;
    whole.setBack += result.setBack;
    Object.assign(whole.refused, result.refused);
    more = result.more;
  }
  walk.close();
  times.close();
  return whole;
}

/** A second may pass between the writing and the reading. */
const isAbout = (found: number | undefined, expected: number): boolean =>
  found !== undefined && found <= expected && found > expected - 5;

describe("times of sessions", inNamespace, () => {
  test("what a packet gives an entry is what the table of times says, kind by kind", () => {
    const world = makeWorld({ translate: true });
    set(world.active);
    const listener = listenTcp(world, "192.0.2.2", 80);
    const connect = (port: number) => {
      const client = openTcp(world, "10.9.0.2", port, "192.0.2.2", 80);
      const server = acceptTcp(listener);
      say(client, server, "hello");
      say(server, client, "hello");
      return { client, server };
    };
    const open = connect(40001);
    const halfClosed = connect(40002);
    close(halfClosed.client);
    const gone = connect(40003);
    reset(gone.client);
    exchangeUdp(world, ["10.9.0.2", 40004], ["192.0.2.2", 53], 1);
    ping(world, "10.9.0.2", "192.0.2.2", 40005);
    ping(world, "fd09::2", "2001:db8::2", 40006);
    const raw = world.lan.run(() => socket(2, SOCK_RAW, 253));
    sendto(raw, Uint8Array.of(1, 2, 3, 4), 4, 0, socketAddress("192.0.2.2", 0));
    const times = world.active.run(() => readProtocolTimes());
    assert.deepEqual(
      [times.tcp, times.udp, times.udpStream, times.icmp, times.icmpv6, times.generic],
      [[0, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1001], 1017, 1018, 1011, 1058, 1099],
    );
    const kinds: string[] = [];
    const scan = world.active.run(() => openSessionScan());
    while (
      scan.next((fields) => {
        if ((fields.mark & 0xff) === 0) return true;
        const expected = protocolSeconds(times, fields);
        const name = `${fields.protocol}/${fields.protocolState}`;
        assert.ok(
          expected !== null && isAbout(fields.timeoutSeconds, expected),
          `${name}: ${fields.timeoutSeconds} s`,
        );
        kinds.push(name);
        return true;
      })
    );
    scan.close();
    // 4 FIN_WAIT or 5 CLOSE_WAIT: whether the other side's acknowledgement has passed already.
    assert.deepEqual(kinds.map((kind) => kind.replace("6/4", "6/5")).sort(), [
      "1/0",
      "17/0",
      "253/0",
      "58/0",
      "6/3",
      "6/5",
      "6/8",
    ]);
    for (const fd of [open.client, open.server, halfClosed.server, gone.server, raw, listener]) close(fd);
    world.close();
  });

  test("every kind of entry that came by replication is set back to its own time, and nothing else is touched", () => {
    const space = makeNamespace();
    set(space);
    const writer = space.run(() => openSessionWriter());
    const batch = new RecordBatch();
    const add = (
      protocol: number,
      port: number,
      status: number,
      protocolState: number,
      timeoutSeconds = 100,
    ): void => {
      const record = encodeRecord(
        sample({ protocol, port, state: { status, protocolState, timeoutSeconds } }),
      );
      batch.copy(record, 0, record.length);
    };
    const [SEEN, BOTH, FIXED] = [2, 6, 0x406];
    for (const state of [1, 2, 3, 4, 5, 6, 7, 8]) add(TCP, 41000 + state, BOTH, state);
    add(17, 42001, SEEN, 0);
    add(17, 42002, BOTH, 0);
    add(136, 42003, BOTH, 0);
    // Its time is fixed, to what was left on the active.
    add(17, 42004, FIXED, 0, 5000);
    assert.equal(writer.apply(batch.records(), batch.count, 2).created, 12);
    // Made here, under an earlier life as the active; and the node's own.
    const own = encodeRecord(sample({ protocol: 17, port: 43001 }));
    assert.equal(writer.apply(own, 1, 0).created, 1);
    const words = [
      "-p",
      "udp",
      "-s",
      "1.1.1.1",
      "-d",
      "2.2.2.2",
      "--sport",
      "1",
      "--dport",
      "2",
      "-t",
      "9000",
    ];
    // The last one carries a generation's bits and no link.
    space.run(() => execFileSync("conntrack", ["-I", ...words, "-m", "0x10000000"], { stdio: "ignore" }));
    const before = left(space);
    assert.ok(isAbout(before.get("6/8/41008"), 21_600));

    assert.deepEqual(walkOnce(space), { seen: 12, setBack: 11, refused: {}, more: false });
    const after = left(space);
    for (const state of [1, 2, 3, 4, 5, 6, 7, 8])
      assert.ok(isAbout(after.get(`6/${state}/${41000 + state}`), 1000 + state), `TCP state ${state}`);
    assert.ok(isAbout(after.get("17/0/42001"), 1017));
    assert.ok(isAbout(after.get("17/0/42002"), 1018));
    assert.ok(isAbout(after.get("136/0/42003"), 1018));
    assert.ok(isAbout(after.get("17/0/42004"), 5000));
    assert.ok(isAbout(after.get("17/0/43001"), 432_000));
    assert.match(
      space.run(() =>
        execFileSync("conntrack", ["-L", "-s", "1.1.1.1"], { encoding: "utf8", stdio: "pipe" }),
      ),
      /udp +17 (9000|899\d) /,
    );
    // Twice changes nothing.
    assert.deepEqual(walkOnce(space), { seen: 12, setBack: 0, refused: {}, more: false });
    writer.close();
    space.close();
  });

  test("after a takeover: what speaks is left alone, what is silent is set back, and both go on", () => {
    const world = makeWorld({ translate: true });
    // Below what the active has left and three rounds: else there is nothing to set back.
    set(world.standby, { udp_timeout: 57, udp_timeout_stream: 58 });
    const events = world.active.run(() => openSessionEvents());
    const writer = world.standby.run(() => openSessionWriter());
    writer.refreshed = true;
    const listener = listenTcp(world, "192.0.2.2", 80);
    const [talking, silent] = [40001, 40002].map((port) => {
      const client = openTcp(world, "10.9.0.2", port, "192.0.2.2", 80);
      return { client, server: acceptTcp(listener) };
    });
    for (const port of [40003, 40004]) exchangeUdp(world, ["10.9.0.2", port], ["192.0.2.2", 4500], 1);
    const batch = new RecordBatch();
    assert.equal(events.drain(batch).overrun, false);
    assert.equal(writer.apply(batch.records(), batch.count, 1).created, 4);
    // What was left on the active (its own settings are the kernel's), and three rounds of five minutes.
    assert.ok(isAbout(left(world.standby).get("6/3/40001"), 432_900));
    world.takeOver();
    say(talking!.client, talking!.server, "still there");
    exchangeUdp(world, ["10.9.0.2", 40003], ["192.0.2.2", 4500], 1);
    assert.deepEqual(walkOnce(world.standby), { seen: 4, setBack: 2, refused: {}, more: false });
    const now = left(world.standby);
    for (const port of [40001, 40002])
      assert.ok(isAbout(now.get(`6/3/${port}`), 1003), String(now.get(`6/3/${port}`)));
    for (const port of [40003, 40004])
      assert.ok(isAbout(now.get(`17/0/${port}`), 58), String(now.get(`17/0/${port}`)));
    say(silent!.server, silent!.client, "good morning");
    for (const fd of [listener, talking!.client, talking!.server, silent!.client, silent!.server]) close(fd);
    events.close();
    writer.close();
    world.close();
  });

  test("a GRE tunnel in which only the far side talks goes on after a takeover", () => {
    const world = makeWorld({ translate: true });
    const events = world.active.run(() => openSessionEvents());
    const writer = world.standby.run(() => openSessionWriter());
    writer.refreshed = true;
    const [lan, far] = [world.lan, world.far].map((space) => space.run(() => socket(2, SOCK_RAW, 47)));
    // Version 0, no options, and what it carries.
    const talk = (from: number, to: string): void => {
      sendto(from, Uint8Array.of(0, 0, 8, 0, 1, 2, 3, 4), 8, 0, socketAddress(to, 0));
    };
    talk(lan!, "192.0.2.2");
    talk(far!, "192.0.2.1");
    const batch = new RecordBatch();
    events.drain(batch);
    assert.equal(writer.apply(batch.records(), batch.count, 1).created, 1);
    // Said again by a refresh, and by a snapshot.
    forEachRecord(batch.records(), (offset) => refreshRecord(batch.bytes, offset));
    assert.equal(writer.apply(batch.records(), batch.count, 2).updated, 1);
    world.takeOver();
    for (let packets = 0; packets < 5; packets += 1) talk(far!, "192.0.2.1");
    assert.deepEqual(walkOnce(world.standby), { seen: 1, setBack: 0, refused: {}, more: false });
    const heard = new Uint8Array(64);
    let arrived = 0;
    while (recv(lan!, heard, MSG_DONTWAIT) > 0) arrived += 1;
    assert.equal(arrived, 6);
    for (const fd of [lan!, far!]) close(fd);
    events.close();
    writer.close();
    world.close();
  });

  test("setting back raises no record for whoever ignores its socket, and ones for the others", () => {
    const space = makeNamespace();
    set(space);
    space.run(() => writeFileSync("/proc/sys/net/netfilter/nf_conntrack_events", "1"));
    const writer = space.run(() => openSessionWriter());
    const times = space.run(() => openSessionTimes());
    const [deaf, hearing] = space.run(() => [
      openSessionEvents({ ignore: [writer.portId, times.portId] }),
      openSessionEvents({ ignore: [writer.portId] }),
    ]);
    for (let id = 1; id <= 300; id += 1) writer.apply(session(id, 0, "create", TCP), 1, 1);
    const walk = space.run(() => times.walk());
    let [seen, setBack] = [0, 0];
    for (let more = true; more; ) {
      const result = walk.step();
      seen += result.seen;
      setBack += result.setBack;
      more = result.more;
    }
    assert.deepEqual([seen, setBack], [300, 300]);
    const told = (events: typeof deaf): number => {
      const batch = new RecordBatch();
      events.drain(batch);
      return batch.count;
    };
    assert.deepEqual([told(deaf), told(hearing)], [0, 300]);
    for (const each of [walk, deaf, hearing, times, writer]) each.close();
    space.close();
  });
});
