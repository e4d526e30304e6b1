// Which sessions are sent, from one real kernel to another: exceptions in a snapshot and among changes, another policy on
// a pair that runs, and a handshake that is carried on by the other node though only its SYN had passed.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import * as libc from "../../src/kernel/libc.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import { openSessionWriter } from "../../src/kernel/sessionWriter.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { DEFAULT_SENDING, type SendingPolicy, SessionPolicy } from "../../src/wire/sessionPolicy.ts";
import { inNamespace, type Namespace } from "./namespace.ts";
import { makePair, type Node } from "./replicatorWorld.ts";
import { acceptTcp, listenTcp, makeWorld, say, socketAddress, table } from "./sessionWorld.ts";

/** A session of link 1, answered, in the node's own kernel. */
function open(node: Node, source: string, port: number, to: number): void {
  node.sh(
    `conntrack -I -p udp -s ${source} -d 203.0.113.7 --sport ${port} --dport ${to} -t 100 -u SEEN_REPLY -m 1 2>/dev/null`,
  );
}

const end = (node: Node, port: number): string => node.sh(`conntrack -D -p udp --sport ${port} 2>/dev/null`);

/** Source ports of the sessions that a node's kernel holds. */
const portsOf = (space: Namespace): number[] =>
  table(space)
    .map((line) => Number(/ sport=(\d+) /.exec(line)?.[1]))
    .sort((one, other) => one - other);

async function standbyHolds(a: Node, b: Node, ports: readonly number[]): Promise<void> {
  assert.equal(await a.replicator.waitAcknowledged(5000), true, "acknowledged");
  assert.deepEqual(portsOf(b.space), ports);
}

describe("what is sent", inNamespace, () => {
  test("exceptions are in no snapshot and among no changes; another policy adds and takes away", async (t) => {
    const sending: SendingPolicy = {
      ...DEFAULT_SENDING,
      except: [{ protocol: 17, port: 53 }, { network: { family: 4, address: "10.9.9.0", prefixLength: 24 } }],
    };
    const pair = makePair({ a: { sending }, b: { sending } });
    t.after(() => pair.close());
    const { a, b } = pair;
    open(a, "10.9.0.7", 1001, 4500);
    open(a, "10.9.0.7", 1002, 53);
    open(a, "10.9.9.7", 1003, 4500);
    a.setRole("active", 2, "standby");
    b.setRole("standby", 0, "active");
    await b.until(({ replicator }) => replicator.report().ready, "ready");
    await standbyHolds(a, b, [1001]);
    open(a, "10.9.0.7", 2001, 4500);
    open(a, "10.9.0.7", 2002, 53);
    open(a, "10.9.9.7", 2003, 4500);
    await standbyHolds(a, b, [1001, 2001]);
    const { sequence } = a.replicator.state().produced!;
    for (const port of [2002, 2003]) end(a, port);
    end(a, 2001);
    await standbyHolds(a, b, [1001]);
    // One end was told, and not three.
    assert.equal(a.replicator.state().produced!.sequence, sequence + 1);

    // Everything but what goes to port 4500, as `apply` does it: another log on both.
    const next: SendingPolicy = { ...DEFAULT_SENDING, except: [{ port: 4500 }] };
    for (const node of [b, a]) await node.restart({ sending: next });
    a.setRole("active", 3, "standby");
    b.setRole("standby", 3, "active");
    await b.until(({ replicator }) => replicator.report().ready, "ready again");
    await standbyHolds(a, b, [1002]);
  });

  test("from the first SYN on, a connection is made though its answer comes by the other node", () => {
    const world = makeWorld({ translate: true });
    const policy = new SessionPolicy({ ...DEFAULT_SENDING, tcp: "opening" });
    const events = world.active.run(() => openSessionEvents({ policy }));
    const writer = world.standby.run(() => openSessionWriter());
    const listener = listenTcp(world, "192.0.2.2", 80);
    const drop = (space: Namespace, what: string): void => {
      const rules = `table inet hold { chain out { type filter hook output priority 0; policy accept;\n tcp flags & (syn | ack) == ${what} drop\n }\n }\n`;
      space.run(() => execFileSync("nft", ["-f", "-"], { input: rules }));
    };
    // The server answers, and its answer is lost for now.
    drop(world.far, "syn | ack");
    const client = world.lan.run(() => libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0));
    libc.bind(client, socketAddress("10.9.0.2", 40001));
    assert.throws(() => libc.connect(client, socketAddress("192.0.2.2", 80)), /EINPROGRESS/);
    // And the client does not ask again: whatever comes now comes from outside, by what the standby was told.
    drop(world.lan, "syn");
    const batch = new RecordBatch();
    events.drain(batch);
    assert.equal(batch.count, 1);
    assert.equal(writer.apply(batch.records(), batch.count, 1).created, 1);
    assert.match(table(world.standby).join("\n"), /tcp +6 SYN_SENT .*\[UNREPLIED\]/);
    world.takeOver();
    world.far.run(() => execFileSync("nft", ["delete", "table", "inet", "hold"]));
    // Its answer again, after a second: the connection is there when the client can write.
    assert.equal(libc.poll(libc.pollVector([client], libc.POLLOUT), 1, 10_000), 1);
    assert.equal(libc.getsockoptInt(client, libc.SOL_SOCKET, libc.SO_ERROR), 0);
    const server = acceptTcp(listener);
    assert.equal(say(client, server, "hello"), "hello");
    assert.match(table(world.standby).join("\n"), /tcp +6 ESTABLISHED .*sport=40001 /);
    for (const fd of [client, server]) libc.close(fd);
    libc.close(listener);
    events.close();
    writer.close();
    world.close();
  });
});
