// Our ARP and ND frames in front of a real kernel: it answers our probes, marks and all, and learns from our
// announcements. What the frames are is tested in test/wire; here, that somebody else reads them the same way.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { parseAddress, parseMac } from "../../src/base/addresses.ts";
import { announceFrames, askFrame, type Resolution, readResolution } from "../../src/wire/resolution.ts";
import { ETH_P_ALL_FRAMES, openTap, type Tap } from "./frames.ts";
import { inNamespace, makeNamespace } from "./namespace.ts";

const mac = (text: string): Uint8Array => parseMac(text) ?? assert.fail(text);
const ip = (text: string): Uint8Array => parseAddress(text)?.bytes ?? assert.fail(text);
const run = (line: string): string => execFileSync("sh", ["-c", line], { encoding: "utf8" });

const ours = mac("02:00:00:00:00:0a");
const theirs = mac("02:00:00:00:00:0b");

/** A kernel with two addresses at the far end of a cable; ours ends in bare frames. */
function world<T>(body: (tap: Tap, far: (line: string) => string) => T): T {
  const far = makeNamespace();
  try {
    run("ip link add near address 02:00:00:00:00:0a type veth peer name far address 02:00:00:00:00:0b");
    run(`ip link set far netns /proc/self/fd/3 3</proc/${process.pid}/fd/${far.fd}`);
    const inside = (line: string) => far.run(() => run(line));
    inside(
      "ip address add 192.0.2.1/24 dev far; ip address add 2001:db8::1/64 dev far nodad; ip link set far up",
    );
    // Nothing of our own kernel's in between.
    run("ip link set near addrgenmode none arp off up");
    const tap = openTap("near", ETH_P_ALL_FRAMES);
    try {
      return body(tap, inside);
    } finally {
      tap.close();
      run("ip link delete near");
    }
  } finally {
    far.close();
  }
}

/** Sends `frame` until `address` is answered for, at most five seconds: a kernel's link is ready when it is ready. */
function ask(tap: Tap, frame: Uint8Array, address: Uint8Array): Resolution | null {
  let found: Resolution | null = null;
  for (let turn = 0; turn < 100 && found === null; turn++) {
    assert.ok(tap.send(frame) > 0);
    tap.wait(50);
    tap.drain((each) => {
      const result = readResolution(each);
      if (!result.ok || result.value.kind !== "answer" || result.value.gratuitous) return;
      if (result.value.address.join() === address.join()) found = result.value;
    });
  }
  return found;
}

const cases = [
  { family: 4, own: ip("192.0.2.9"), other: ip("192.0.2.8"), target: ip("192.0.2.1"), text: "192.0.2.9" },
  {
    family: 6,
    own: ip("2001:db8::9"),
    other: ip("2001:db8::8"),
    target: ip("2001:db8::1"),
    text: "2001:db8::9",
  },
] as const;

for (const { family, own, other, target, text } of cases) {
  test(
    `IPv${family}: the kernel answers a marked unicast probe and a question to everybody`,
    inNamespace,
    () => {
      world((tap) => {
        const question = { senderMac: ours, senderAddress: own, targetAddress: target };
        for (const frame of [
          askFrame({ ...question, destinationMac: theirs, probeOf: "a" }),
          askFrame(question),
        ]) {
          const answer = ask(tap, frame, target);
          assert.ok(answer, "no answer");
          assert.deepEqual(answer.sourceMac, theirs);
          // To a unicast solicitation Linux answers without the option (RFC 4861 §7.2.4 allows it).
          if (answer.mac !== null) assert.deepEqual(answer.mac, theirs);
          assert.deepEqual(answer.targetAddress, own);
        }
      });
    },
  );

  test(`IPv${family}: the kernel moves an entry that it has to the MAC that we announce`, inNamespace, () => {
    world((tap, far) => {
      far(`ip neigh replace ${text} lladdr 02:00:00:00:00:ff dev far nud stale`);
      // Heard and answered once: from here on nothing is lost for want of readiness.
      assert.ok(ask(tap, askFrame({ senderMac: ours, senderAddress: other, targetAddress: target }), target));
      for (const frame of announceFrames(ours, own)) assert.ok(tap.send(frame) > 0);
      const entry = far(`ip neigh show ${text} dev far`);
      assert.match(entry, /02:00:00:00:00:0a/);
      if (family === 6) assert.match(entry, /router/);
    });
  });
}
