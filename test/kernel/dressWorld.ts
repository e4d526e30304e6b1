// A node's world for tests of its dress: three cables in the test's own namespace. The ports `lan`, `wan1`, `wan2` are the
// node's; at the far ends are taps: frames in, frames out, nothing of the program in between.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { parseAddress } from "../../src/base/addresses.ts";
import type { Config } from "../../src/core/config.ts";
import { computeSlots, type PlacementTuple } from "../../src/core/placement.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { createInterfaces, openForwarding, raiseInterfaces } from "../../src/kernel/dress.ts";
import { createGate, type Gate } from "../../src/kernel/gate.ts";
import { installNeighbours } from "../../src/kernel/neighbours.ts";
import { applyRuleset } from "../../src/kernel/rulesetTable.ts";
import { pairConfig } from "../core/configFixture.ts";
import { ETH_P_ALL_FRAMES, openTap, settle, type Tap } from "./frames.ts";
import { inNamespace } from "./namespace.ts";
import { type FrameOptions, frameOf, type Packet, packetOf } from "./packets.ts";

export const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });
export const setting = (path: string): string => readFileSync(`/proc/sys/net/${path}`, "utf8").trim();

export const LAN_MAC = "02:00:00:00:00:01";
export const PORT_MAC = "02:00:00:00:00:a0";
export const HOST_MAC = "02:00:00:00:00:b0";
export const GATEWAY_MAC = { 1: "02:00:00:00:00:c1", 2: "02:00:00:00:00:c2" } as const;

export let config: Config;
export let gate: Gate;
/** The node's own side of the LAN's cable. */
let inside: Tap;
export const ends: Record<"lan" | "wan1" | "wan2", Tap> = {} as never;

/** Three cables: the ports `lan`, `wan1`, `wan2` are the node's, `far-*` are what hangs at them. */
function cables(): void {
  sh(`for port in lan wan1 wan2; do
      ip link add $port type veth peer name far-$port
      sysctl -qw net.ipv6.conf.far-$port.disable_ipv6=1 net.ipv6.conf.$port.disable_ipv6=1
      ip link set $port up; ip link set far-$port up
    done
    ip link set lan address ${PORT_MAC}
    ip address add 10.20.0.2/16 dev lan`);
}

export function putOn(): string[] {
  const slots = computeSlots(config.links, config.placementSeed);
  const changes = createInterfaces(config);
  if (!gate.present()) gate.install();
  changes.push(...raiseInterfaces(config));
  if (applyRuleset(compileRuleset(config, slots))) changes.push("ruleset");
  changes.push(...openForwarding(config));
  return changes;
}

export function knowNeighbours(): void {
  installNeighbours([
    { device: "us-lan", address: "10.20.5.5", mac: HOST_MAC },
    { device: "us-lan", address: "10.20.0.254", mac: "02:00:00:00:00:fe" },
    { device: "us-lan", address: "fd20::5", mac: HOST_MAC },
    { device: "us-l1", address: "198.51.100.1", mac: GATEWAY_MAC[1] },
    { device: "us-l2", address: "198.51.101.1", mac: GATEWAY_MAC[2] },
    { device: "us-l1", address: "2001:db8:1::1", mac: GATEWAY_MAC[1] },
    { device: "us-l2", address: "2001:db8:2::1", mac: GATEWAY_MAC[2] },
  ]);
}

if (inNamespace.skip === false) {
  before(() => {
    cables();
    config = pairConfig({ stateDirectory: mkdtempSync(join(tmpdir(), "understudy-dress-")) });
    gate = createGate({
      services: ["us-lan", "us-l1", "us-l2"].map((device) => ({ device, portMac: PORT_MAC })),
      leaseMs: 40,
      soloLeaseMs: 600_000,
    });
    inside = openTap("lan", ETH_P_ALL_FRAMES);
    for (const port of ["lan", "wan1", "wan2"] as const)
      ends[port] = openTap(`far-${port}`, ETH_P_ALL_FRAMES);
  });
  after(() => {
    for (const end of Object.values(ends)) end.close();
    inside.close();
    gate.close();
    rmSync(config.stateDirectory, { recursive: true });
  });
}

const bytes = (address: string): Uint8Array => parseAddress(address)!.bytes;

export function tuple(
  source: string,
  destination: string,
  protocol: number,
  ports: readonly [number, number],
): PlacementTuple {
  const [sourcePort, destinationPort] = ports;
  return {
    source: bytes(source),
    destination: bytes(destination),
    protocol,
    sourcePort,
    destinationPort,
    identifier: sourcePort,
  };
}

/** Sends a packet into a cable's far end; what then comes out of each far end, frames that are no IP left out. */
export function sendInto(
  port: "lan" | "wan1" | "wan2",
  what: PlacementTuple,
  options: Partial<FrameOptions> = {},
) {
  const macs = { lan: LAN_MAC, wan1: "02:00:00:00:01:01", wan2: "02:00:00:00:01:02" };
  for (const end of Object.values(ends)) end.drain(() => {});
  ends[port].send(frameOf(what, { destinationMac: macs[port], ...options }));
  settle(ends.lan, inside, 3);
  return { lan: out("lan"), wan1: out("wan1"), wan2: out("wan2") };
}

/** What came out of a cable's far end: IP only, and no multicast (listener reports come when the kernel likes). */
function out(port: "lan" | "wan1" | "wan2"): Packet[] {
  const packets: Packet[] = [];
  ends[port].drain((frame) => {
    const packet = packetOf(frame);
    if (packet !== null && (frame[0]! & 1) === 0) packets.push(packet);
  });
  return packets;
}

export const NOTHING = { lan: [], wan1: [], wan2: [] };
