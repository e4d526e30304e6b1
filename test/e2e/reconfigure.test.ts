// A node that runs takes other configurations into effect, one after the other, and looks afterwards as if it had been started with
// the last one: `ip`, `nft` and the kernel's settings say the same. What is refused on the way leaves everything as it was.
// That no packet is lost meanwhile is seen in the laboratory, between two nodes.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { makeOneNode, NOTHING } from "./oneNode.ts";

const node = await makeOneNode();
const { skip, directory, inside, understudy, kernel } = node;
after(() => node.close());

const pairFile = join(directory, "pair.yaml");
const first = skip === false ? readFileSync(pairFile, "utf8") : "";
const [head = ""] = first.split("lan:");

interface Link {
  readonly id: number;
  readonly port: string;
  readonly addresses: string;
  readonly gateway: string;
  readonly more?: string;
}

const FIBRE: Link = { id: 1, port: "wan1", addresses: "198.51.100.2/24", gateway: "198.51.100.1" };
const CABLE: Link = { id: 2, port: "wan2", addresses: "203.0.113.2/24", gateway: "203.0.113.1" };
const RADIO: Link = {
  id: 7,
  port: "wan3",
  addresses: "192.0.2.2/24, 2001:db8:7::2/64",
  gateway: "192.0.2.1, 2001:db8:7::1",
};

const PATHS =
  "[{ name: other, interface: lan, a: 10.20.0.2, b: 10.20.0.3 }, { name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }]";

/** A pair's file. */
function pair(links: readonly Link[], change: { lan?: string; paths?: string; rest?: string } = {}): string {
  const lines = links.map(
    ({ id, port, addresses, gateway, more }) =>
      `  - { id: ${id}, name: link${id}, interface: ${port}, gateway: [${gateway}], addresses: [${addresses}]${more === undefined ? "" : `, ${more}`} }`,
  );
  const sync = "[{ name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }]";
  return `${head}lan: { ${change.lan ?? "interface: lan, addresses: [10.20.0.1/16]"} }
links:
${lines.join("\n")}
paths: ${change.paths ?? sync}
${change.rest ?? ""}
`;
}

/** What of ours is in the kernel, without what is drawn anew at each start and what counts. */
function footprint(): string {
  const commands = [
    "nft -s list ruleset",
    "ip -o -d link show group 1148",
    "for i in $(ls /proc/sys/net/ipv4/conf | grep us-); do ip address show dev $i; done",
    "ip rule; ip -6 rule",
    "ip route show table all proto 148; ip -6 route show table all proto 148",
    "grep -rs . /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv4/conf/us-* /proc/sys/net/ipv6/conf/us-*/disable_ipv6",
  ];
  return (
    inside("sh", "-c", commands.join("; echo; "))
      .stdout.replaceAll(/^\s*elements = \{ (1148|1150)[^}]*\}\n/gm, "")
      .replaceAll(/0x[0-9a-f]{8}\b/g, "MARK")
      .replaceAll(/@ll,48,48 set 0x[0-9a-f]+/g, "STAMP")
      .replaceAll(/MARK(, MARK)+/g, "MARKS")
      .replaceAll(/# progname .*/g, "")
      // Of an interface that has just come up.
      .replaceAll(/ state \w+/g, "")
      .replaceAll(
        /^\d+: |if\d+|@\S+|\(\d+ ?\w*\)|valid_lft.*|preferred_lft.*|(?<=ifindex )\d+|promiscuity.*/gm,
        "",
      )
      .split(/\n(?=\t(?:chain|map|set|counter) )|\n(?=\S)/)
      .map((part) => part.trim())
      .sort()
      .join("\n")
  );
}

const heartPid = (): number => node.processes("understudyheart")[0] ?? 0;
const daemonPid = (): number => node.processes("understudy")[0] ?? 0;
/** Service interfaces that are up. */
const up = (): string => inside("sh", "-c", "ip -o link show up | grep -o 'us-[a-z0-9]*' | sort").stdout;

let daemon: ChildProcess;

async function stop(): Promise<void> {
  const ended = new Promise((resolve) => daemon.once("exit", resolve));
  assert.equal(understudy("stop").status, ExitCode.Ok);
  await ended;
  assert.equal(kernel(), NOTHING);
}

function apply(text: string): string {
  const file = join(directory, "next.yaml");
  writeFileSync(file, text);
  const ran = understudy("apply", file);
  return `${ran.status}\n${ran.stdout}${ran.stderr}`;
}

const steps: readonly (readonly [string, string, RegExp])[] = [
  ["a link comes", pair([FIBRE, CABLE, RADIO]), /link7/],
  [
    "weights and capacities",
    pair([{ ...FIBRE, more: "weight: 5, capacity: { up: 10M }" }, CABLE, RADIO]),
    /weight 5/,
  ],
  ["a link is disabled", pair([FIBRE, { ...CABLE, more: "enabled: false" }, RADIO]), /disabled/],
  [
    "addresses and gateways",
    pair([{ ...FIBRE, addresses: "198.51.100.9/24", gateway: "198.51.100.254" }, CABLE, RADIO], {
      lan: "interface: lan, addresses: [10.20.0.1/16, fd20::1/64], routes: [{ network: 10.30.0.0/16, via: 10.20.0.254 }]",
    }),
    /198\.51\.100\.9/,
  ],
  ["a link goes, another moves to its port", pair([FIBRE, { ...RADIO, port: "wan2" }]), /removed/],
  ["back to the first", pair([FIBRE, CABLE]), /link2 \(2\) added/],
  [
    "timers, a path, a virtual MAC, a seed",
    pair([FIBRE, { ...CABLE, more: "virtualMac: '02:00:5e:10:00:02'" }], {
      paths: PATHS,
      rest: "timers: { heartbeat: 20ms, dead: 200ms, lease: 100ms, soloLease: 8s }\nplacement: { seed: 7 }",
    }),
    /lease 100ms/,
  ],
  // A path that goes stays until the peer, which is not there, has heard of it: not here.
  ["their defaults", pair([FIBRE, CABLE], { paths: PATHS }), /lease 40ms/],
];

test("one configuration after the other, live", { skip, timeout: 300_000 }, async (context) => {
  inside(
    "sh",
    "-ec",
    "ip link add wan3 type veth peer name far-wan3; ip link set wan3 up; ip link set far-wan3 up",
  );
  daemon = await node.start();
  const [heart, own] = [heartPid(), daemonPid()];
  const live = new Map<string, string>();
  for (const [name, text, says] of steps) {
    await context.test(name, async () => {
      const said = apply(text);
      assert.match(said, /is in force on a/, said);
      assert.match(said, says);
      assert.deepEqual([heartPid(), daemonPid()], [heart, own], "the same processes");
      assert.equal(readFileSync(pairFile, "utf8"), text);
      const ports = text.match(/interface: (lan|wan\d)/g)!.filter((each) => !each.endsWith("lan")).length;
      assert.equal(up().trim().split("\n").length, 1 + ports);
      assert.match(understudy("show", "links").stdout, /link1/);
      live.set(text, footprint());
    });
  }
  assert.match(apply("version: 1\n"), /^[^0]/);
  assert.deepEqual(footprint(), live.get(steps.at(-1)![1]), "a refused file changes nothing");
  for (const [name, text] of steps) {
    await context.test(`${name}: as if it had been started with it`, async () => {
      await stop();
      writeFileSync(pairFile, text);
      daemon = await node.start();
      const [was, is] = [live.get(text)?.split("\n") ?? [], footprint().split("\n")];
      const only = (some: readonly string[], others: readonly string[]): readonly string[] =>
        some.filter((line) => !others.includes(line));
      assert.deepEqual({ live: only(was, is), fresh: only(is, was) }, { live: [], fresh: [] });
      assert.equal(was.length, is.length);
    });
  }
});
