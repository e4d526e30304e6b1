// The laboratory itself, tried out on a plain router: what it says about that is known beforehand. Traffic must pass
// untouched, a dead port must cost exactly the sessions behind it, and nothing may be left behind.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import * as libc from "../../src/kernel/libc.ts";
import { judgeClaims } from "../../src/lab/claimants.ts";
import { until } from "../../src/lab/clock.ts";
import { run } from "../../src/lab/commands.ts";
import { killPorts, revivePorts } from "../../src/lab/faults.ts";
import { type Load, startLoad } from "../../src/lab/load.ts";
import { ipBatch } from "../../src/lab/namespaces.ts";
import { readTable } from "../../src/lab/oracles.ts";
import { dressPlainRouter } from "../../src/lab/plainRouter.ts";
import { mayMakeNamespaces, missingPrograms } from "../../src/lab/requirements.ts";
import { openUdp, socketAddress } from "../../src/lab/traffic/sockets.ts";
import { judgeLive, type LiveSession, MOVES_AT_LEAST_MS } from "../../src/lab/traffic/survival.ts";
import { buildWorld, labEnvironment, type World } from "../../src/lab/world.ts";
import { processesOf } from "../../src/lab/worldState.ts";

process.env.PATH = labEnvironment("").PATH;
const missing = missingPrograms(process.env.PATH ?? "").map(({ what }) => what);
const possible = missing.length === 0 && (await mayMakeNamespaces());
const skip = possible ? false : `needs network namespaces (root): ${missing.join("; ")}`;

suite("the laboratory with a plain router", { skip }, () => {
  let world: World;
  let load: Load;
  before(async () => {
    world = await buildWorld({ hosts: 4, standing: false, userNamespace: false });
    await dressPlainRouter(world.topology, world.pids);
    load = await startLoad(world, [4, 6]);
  });
  after(async () => {
    load.stop();
    await world.close();
  });

  test("live sessions of both kinds and families, and background, pass and are in the kernel's table", async () => {
    assert.deepEqual((await load.openLive(40)).failures, []);
    const { udp, tcp, icmp } = await load.openBackground(1000);
    assert.deepEqual({ udp, tcp, icmp }, { udp: 890, tcp: 100, icmp: 10 });
    const table = await readTable(world.pids.get("a")!);
    assert.equal(table.size, 1040);
    const counts = (word: string): number => [...table.keys()].filter((key) => key.includes(word)).length;
    assert.deepEqual([counts("icmp"), counts("tcp"), counts("ipv6 tcp")], [10, 140, 20 + 48]);
  });

  test("a router that stops forwarding loses every live session, and every ping from then on", async () => {
    assert.equal(await load.startPings(2, "a"), 2);
    await load.mark();
    await everySession(load, (session) => session.movedMs > MOVES_AT_LEAST_MS);
    assert.equal(judgeLive(await load.liveSessions()).survived, 40);
    await load.mark();
    await killPorts(world, "a");
    await everySession(load, (session) => session.stallMs > 600);
    const verdict = judgeLive(await load.liveSessions());
    assert.deepEqual([verdict.opened, verdict.survived], [40, 0]);
    for (const { sent, lost, gapMs } of (await load.stopPings()).flows) {
      assert.ok(lost > sent * 0.9, `${lost} of ${sent} lost`);
      assert.ok(gapMs > 590, `${gapMs} ms`);
    }
  });

  test("the capture sees who claims, in the kernel's order, and not what runs into a dead port", async () => {
    await revivePorts(world, "a");
    for (const node of ["a", "b"]) {
      const pid = world.pids.get(node)!;
      await ipBatch(pid, "link add us-lan link lan address 02:00:5e:00:00:01 type macvlan mode bridge\n");
      // Or it would speak by itself, of its multicast groups.
      await run(["sysctl", "-qw", "net.ipv6.conf.us-lan.disable_ipv6=1"], { inside: pid });
      await ipBatch(
        pid,
        [
          "addr add 10.21.0.1/24 dev us-lan",
          "link set us-lan up",
          "neigh replace 10.21.0.9 dev us-lan lladdr ff:ff:ff:ff:ff:ff nud permanent",
          "",
        ].join("\n"),
      );
    }
    await load.startCapture();
    const claim = (node: string): void => {
      const fd = openUdp(world.pids.get(node)!, socketAddress("10.21.0.1", 0));
      libc.sendto(fd, new Uint8Array(8), 8, 0, socketAddress("10.21.0.9", 9));
      libc.close(fd);
    };
    for (const node of ["a", "a", "b", "a", "b"]) claim(node);
    await killPorts(world, "a");
    for (const node of ["a", "b", "a"]) claim(node);
    const { runs, frames } = await load.stopCapture();
    assert.equal(frames, 8);
    assert.deepEqual(
      runs.map(({ segment, node }) => `${segment} ${node}`),
      ["a", "b", "a", "b", "a", "b", "a"].map((node) => `lan ${node}`),
    );
    const interleaved = runs[2]!.lastMs - runs[1]!.firstMs;
    assert.equal(judgeClaims(runs, world.dead).overlapMs, Math.max(0.1, interleaved));
    assert.ok(judgeClaims(runs, []).overlapMs > interleaved);
  });

  test("leaves nothing behind", async () => {
    load.stop();
    await world.close();
    assert.deepEqual(processesOf(world.directory), []);
    assert.ok(!existsSync(world.directory));
  });
});

/** Resolves once every live session is seen to be as it should; fails the test where that takes 10 s. */
async function everySession(load: Load, isSo: (session: LiveSession) => boolean): Promise<void> {
  const seen = await until(10_000, 50, async () => ((await load.liveSessions()).every(isSo) ? true : null));
  assert.equal(seen, true);
}
