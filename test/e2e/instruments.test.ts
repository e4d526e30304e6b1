// The instruments of the safety scenarios, tried out in a world without a pair, where what they must show is known: the
// counter of untranslated frames, heartbeats that are dropped, a split and its heal, a burden that ends.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import * as libc from "../../src/kernel/libc.ts";
import { startBurden } from "../../src/lab/burdens.ts";
import { until } from "../../src/lab/clock.ts";
import { run } from "../../src/lab/commands.ts";
import { cutHeartbeats, setCarrier } from "../../src/lab/faults.ts";
import { countLeaks } from "../../src/lab/leaks.ts";
import { mayMakeNamespaces, missingPrograms } from "../../src/lab/requirements.ts";
import { cutApart, heal } from "../../src/lab/split.ts";
import { openUdp, socketAddress } from "../../src/lab/traffic/sockets.ts";
import { buildWorld, labEnvironment, type World } from "../../src/lab/world.ts";
import { processesOf } from "../../src/lab/worldState.ts";

process.env.PATH = labEnvironment("").PATH;
const missing = missingPrograms(process.env.PATH ?? "").map(({ what }) => what);
const possible = missing.length === 0 && (await mayMakeNamespaces());
const skip = possible ? false : `needs network namespaces (root): ${missing.join("; ")}`;
const ARRIVAL_MS = 3000;

suite("instruments of the safety scenarios", { skip }, () => {
  let world: World;
  before(async () => {
    world = await buildWorld({ hosts: 4, standing: false, userNamespace: false });
  });
  after(() => world.close());

  /** Whether a datagram from `from` arrives at port `port` of `to`; asked again until it does, or for `timeoutMs`. */
  async function arrives(
    [from, source]: readonly [string, string],
    [to, destination]: readonly [string, string],
    port = 9000,
    timeoutMs = ARRIVAL_MS,
  ): Promise<boolean> {
    const receiver = openUdp(world.pids.get(to)!, socketAddress(destination, port));
    const sender = openUdp(world.pids.get(from)!, socketAddress(source, 0));
    const buffer = new Uint8Array(16);
    const found = await until(timeoutMs, 20, () => {
      libc.sendto(sender, new Uint8Array(4), 4, libc.MSG_NOSIGNAL, socketAddress(destination, port));
      return libc.recv(receiver, buffer) > 0 ? true : null;
    });
    libc.close(receiver);
    libc.close(sender);
    return found === true;
  }

  test("frames that leave with an address of the LAN are counted, those with the link's are not", async () => {
    const inside = world.pids.get("a")!;
    const lines = "addr add 198.51.100.2/24 dev wan1\nroute add 203.0.113.0/24 via 198.51.100.1 dev wan1\n";
    await run(["ip", "-batch", "-"], { inside, input: lines });
    const leaks = await countLeaks(world);
    assert.ok(await arrives(["a", "198.51.100.2"], ["internet", "203.0.113.10"]));
    assert.equal(await leaks.read(), 0);
    const fd = openUdp(inside, socketAddress("10.20.0.2", 0));
    const far = socketAddress("203.0.113.10", 9000);
    for (let count = 0; count < 3; count += 1) libc.sendto(fd, new Uint8Array(4), 4, 0, far);
    libc.close(fd);
    assert.equal(await until(ARRIVAL_MS, 20, async () => ((await leaks.read()) === 3 ? 3 : null)), 3);
  });

  test("cut heartbeats: nothing to UDP 1148 between the nodes on any path, everything else", async () => {
    const [a, b] = world.topology.nodes;
    const paths = [[a.sync, b.sync] as const, [a.lan4, b.lan4] as const];
    await cutHeartbeats(world, true);
    for (const [one, other] of paths) {
      assert.equal(await arrives(["a", one], ["b", other], 1148, 200), false);
      assert.equal(await arrives(["b", other], ["a", one], 1148, 200), false);
      assert.ok(await arrives(["a", one], ["b", other]));
    }
    await cutHeartbeats(world, false);
    for (const [one, other] of paths) assert.ok(await arrives(["a", one], ["b", other], 1148));
  });

  test("a split parts nodes, hosts and ISPs as it says, and heals without a trace", async () => {
    const { nodes, hosts, links } = world.topology;
    const [a, b] = nodes;
    const ports = async (): Promise<string> =>
      (await run(["bridge", "link", "show"], { inside: world.pids.get("switch")! })).stdout;
    const before = await ports();
    const address = (name: string): string => hosts.find((host) => host.name === name)!.v4;
    const halves = await cutApart(world, "a");
    const [mine, theirs] = [halves.near.hosts[0]!, halves.far.hosts[0]!];
    assert.deepEqual([halves.near.hosts.length, halves.far.hosts.length], [2, 2]);
    assert.deepEqual([halves.near.link, halves.far.link], [links[0]!.id, links.at(-1)!.id]);
    assert.ok(await arrives(["a", a.lan4], [mine, address(mine)]));
    assert.ok(await arrives(["b", b.lan4], [theirs, address(theirs)]));
    assert.equal(await arrives(["a", a.lan4], [theirs, address(theirs)], 9000, 300), false);
    assert.equal(await arrives(["a", a.lan4], ["b", b.lan4], 9000, 300), false);
    assert.equal(await arrives(["a", a.sync], ["b", b.sync], 9000, 300), false);
    await heal(world, halves);
    assert.ok(await arrives(["a", a.lan4], [theirs, address(theirs)]));
    assert.ok(await arrives(["a", a.sync], ["b", b.sync]));
    assert.equal(await ports(), before);
    assert.deepEqual(
      world.dead.map(({ node, untilMs }) => [node, Number.isFinite(untilMs)]),
      [["b", true]],
    );
  });

  test("a cable that is pulled out takes the carrier along", async () => {
    const carrier = async (): Promise<string> =>
      (await run(["ip", "-br", "link", "show", "lan"], { inside: world.pids.get("a")! })).stdout;
    await setCarrier(world, "a", false, ["lan"]);
    assert.match(await carrier(), /NO-CARRIER/);
    await setCarrier(world, "a", true, ["lan"]);
    assert.doesNotMatch(await carrier(), /NO-CARRIER/);
  });

  test("a burden ends with everything that it started", async () => {
    const before = processesOf(world.directory).length;
    const burden = startBurden(world, "sleep 600 & sleep 600 & wait");
    assert.ok(
      await until(ARRIVAL_MS, 20, () => (processesOf(world.directory).length >= before + 3 ? true : null)),
    );
    await burden.stop();
    assert.ok(
      await until(ARRIVAL_MS, 20, () => (processesOf(world.directory).length === before ? true : null)),
    );
  });
});
