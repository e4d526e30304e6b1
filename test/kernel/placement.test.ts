// Placement against the kernel's own answer: frames go through the real ruleset, and the mark that each session got
// is compared with what core/placement.ts says. Padding of registers, byte order and modulus are all in it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { SLOTS } from "../../src/base/limits.ts";
import { linkOf, type PlacementTuple } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { Nftables } from "../../src/kernel/nftables.ts";
import { applyRuleset } from "../../src/kernel/rulesetTable.ts";
import { pairConfig } from "../core/configFixture.ts";
import { ETH_P_ALL_FRAMES, openTap, settle } from "./frames.ts";
import { inNamespace } from "./namespace.ts";
import { frameOf } from "./packets.ts";

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });
const SERVICE_MAC = "02:00:00:00:00:01";

/** Every slot another link than its neighbours, so that a slot that is off by one is seen. */
const SPREAD = Uint8Array.from({ length: SLOTS }, (_, slot) => 1 + ((slot * 7) % 250));

function dress(): void {
  sh(`ip link add us-lan address 02:00:00:00:00:01 type veth peer name host
    ip address add 10.20.0.1/16 dev us-lan
    ip link set us-lan up; ip link set host up
    ip -6 address add fd20::1/64 dev us-lan nodad
    nft 'table inet watch {
      set seen { typeof ip id . ct mark; size 65535; flags dynamic; }
      set seen6 { typeof ip6 flowlabel . ct mark; size 65535; flags dynamic; }
      chain watch { type filter hook prerouting priority -149
        iifname "us-lan" add @seen { ip id . ct mark }
        iifname "us-lan" add @seen6 { ip6 flowlabel . ct mark }
      }
    }'
    sysctl -qw net.netfilter.nf_conntrack_checksum=0`);
}

const PROTOCOLS_4 = [6, 17, 132, 1, 50];
const PROTOCOLS_6 = [6, 17, 132, 58, 50];

/** Tuples with every byte of every field in use; a plain generator, the same in every run. */
function tuples(count: number): PlacementTuple[] {
  let state = 0x2545f491;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const bytes = (length: number): number[] => Array.from({ length }, () => next() & 0xff);
  return Array.from({ length: count }, (_, index) => {
    const isV6 = index % 2 === 1;
    const protocols = isV6 ? PROTOCOLS_6 : PROTOCOLS_4;
    return {
      source: Uint8Array.from(isV6 ? [0xfd, 0x20, 0, 0, 0, 0, 0, 0, ...bytes(8)] : [10, 20, ...bytes(2)]),
      destination: Uint8Array.from(isV6 ? [0x20, 0x01, 0x0d, 0xb8, ...bytes(12)] : [203, ...bytes(3)]),
      protocol: protocols[(index >> 1) % protocols.length]!,
      sourcePort: next() & 0xffff,
      destinationPort: next() & 0xffff,
      identifier: next() & 0xffff,
    };
  });
}

/** Marks by index, as the kernel gave them. */
function seenMarks(set: "seen" | "seen6"): Map<number, number> {
  const nft = new Nftables();
  const marks = new Map<number, number>();
  for (const object of nft.list("read marks", `list set inet watch ${set}`)) {
    const elements = (object.set as { readonly elem?: readonly unknown[] } | undefined)?.elem ?? [];
    for (const element of elements) {
      const [index, mark] = (element as { readonly concat: readonly [number, number] }).concat;
      marks.set(index, mark);
    }
  }
  nft.close();
  return marks;
}

test("the kernel places 4,000 sessions exactly as placement.ts says, for several seeds", inNamespace, () => {
  dress();
  const [tap, inside] = [openTap("host", 0), openTap("us-lan", ETH_P_ALL_FRAMES)];
  const all = tuples(4000);
  for (const seed of [12345, 0, 0xffffffff]) {
    applyRuleset(compileRuleset(pairConfig({ placementSeed: seed }), SPREAD));
    sh("nft flush set inet watch seen; nft flush set inet watch seen6");
    all.forEach((tuple, index) => {
      assert.ok(tap.send(frameOf(tuple, { destinationMac: SERVICE_MAC, index: index + 1 })) > 0);
      if (index % 100 === 99) settle(tap, inside, 1);
    });
    const [four, six] = [seenMarks("seen"), seenMarks("seen6")];
    all.forEach((tuple, index) => {
      const mark = (tuple.source.length === 4 ? four : six).get(index + 1);
      const what = `protocol ${tuple.protocol}, ${tuple.source.length} bytes, seed ${seed}, tuple ${index}`;
      assert.equal(mark, linkOf(tuple, seed, SPREAD), what);
    });
  }
  tap.close();
  inside.close();
});

test("a slot without a link gives no mark; moving slots touches only those", inNamespace, () => {
  const config = pairConfig();
  const [tap, inside] = [openTap("host", 0), openTap("us-lan", ETH_P_ALL_FRAMES)];
  const half = SPREAD.map((link, slot) => (slot % 2 === 0 ? link : 0));
  assert.equal(applyRuleset(compileRuleset(config, half)), true);
  assert.equal(applyRuleset(compileRuleset(config, half)), false, "twice changes nothing");
  sh("nft flush set inet watch seen; nft flush set inet watch seen6");
  const all = tuples(400);
  all.forEach((tuple, index) => {
    tap.send(frameOf(tuple, { destinationMac: SERVICE_MAC, index: index + 1 }));
  });
  settle(tap, inside, 1);
  const [four, six] = [seenMarks("seen"), seenMarks("seen6")];
  all.forEach((tuple, index) => {
    const mark = (tuple.source.length === 4 ? four : six).get(index + 1);
    assert.equal(mark, linkOf(tuple, config.placementSeed, half));
  });
  tap.close();
  inside.close();
});
