// The gate's world for tests: a service interface on a cable, in the test's own namespace, and what its far end sees.

import { execFileSync } from "node:child_process";
import { after, before } from "node:test";
import type { Gate, GateOptions } from "../../src/kernel/gate.ts";
import { ETH_P_ALL_FRAMES, openTap, type Tap } from "./frames.ts";
import { inNamespace } from "./namespace.ts";
import { macBytes, macText } from "./packets.ts";

export const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });

export const VIRTUAL_MAC = "02:00:00:00:00:01";
export const PORT_MAC = "02:00:00:00:00:aa";
export const HOST_MAC = "02:00:00:00:00:bb";
export const OPTIONS: GateOptions = {
  services: [{ device: "us-lan", portMac: PORT_MAC }],
  leaseMs: 40,
  soloLeaseMs: 10_000,
};

/** The world: `host` is the cable's other end, `port` the node's, `us-lan` the service interface on it. */
function dress(): void {
  sh(`ip link add port address ${PORT_MAC} type veth peer name host address ${HOST_MAC}
    ip link add us-lan link port address ${VIRTUAL_MAC} type macvlan mode bridge
    sysctl -qw net.ipv6.conf.us-lan.disable_ipv6=1 net.ipv6.conf.host.disable_ipv6=1 net.ipv6.conf.port.disable_ipv6=1
    sysctl -qw net.ipv4.conf.port.arp_ignore=1
    ip address add 10.20.0.1/16 dev us-lan noprefixroute
    ip link set port up; ip link set host up`);
}

/** What arrives at the cable's other end. */
export let tap: Tap;

if (inNamespace.skip === false) {
  before(() => {
    dress();
    tap = openTap("host", ETH_P_ALL_FRAMES);
  });
  after(() => tap.close());
}

/** Waits by asking the kernel, never by a clock of ours: `drain` asks for the lease without renewing it. */
export function untilLapsed(gate: Gate): void {
  while (gate.drain());
}

/** The frames at the host's end after asking, by ARP, who has the shared address. */
export function answersToArp(): readonly { readonly source: string; readonly senderMac: string }[] {
  tap.drain(() => {});
  tap.send(arpRequest());
  const answers: { source: string; senderMac: string }[] = [];
  for (let quiet = 0; quiet < 20 && answers.length === 0; quiet += 1) {
    tap.wait(1);
    tap.drain((frame) => {
      const type = (frame[12]! << 8) | frame[13]!;
      if (type === 0x0806 && frame[21] === 2)
        answers.push({ source: macText(frame.subarray(6, 12)), senderMac: macText(frame.subarray(22, 28)) });
    });
  }
  return answers;
}

/** Unicast to the virtual MAC (failover §4: broadcast goes through macvlan's queue). */
export function arpRequest(): Uint8Array {
  return Uint8Array.from([
    ...macBytes(VIRTUAL_MAC),
    ...macBytes(HOST_MAC),
    ...[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
    ...macBytes(HOST_MAC),
    ...[10, 20, 5, 5],
    ...[0, 0, 0, 0, 0, 0, 10, 20, 0, 1],
  ]);
}

/** A frame from the service interface, and what the other end sees of it. */
export function seenFromService(): string[] {
  const service = openTap("us-lan", 0);
  tap.drain(() => {});
  service.send(serviceFrame());
  service.close();
  const seen: string[] = [];
  tap.drain((received) => {
    if (received[12] === 0x88 && received[13] === 0xb6) seen.push(macText(received.subarray(6, 12)));
  });
  return seen;
}

/** A frame as the service interface sends it, of a type that nobody answers. */
export function serviceFrame(): Uint8Array {
  const frame = new Uint8Array(60).fill(7);
  frame.set(macBytes(HOST_MAC), 0);
  frame.set(macBytes(VIRTUAL_MAC), 6);
  frame.set([0x88, 0xb6], 12);
  return frame;
}
