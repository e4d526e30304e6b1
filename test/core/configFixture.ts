// A small pair for tests: a LAN and two links, both families. Nothing is read from files.

import { linkId, millis } from "../../src/base/units.ts";
import type { Config, InterfaceAddress, LinkConfig } from "../../src/core/config.ts";
import { SENDING_DEFAULT } from "../../src/core/configBuild.ts";

export function interfaceAddress(text: string): InterfaceAddress {
  const [address, prefixLength] = text.split("/");
  const family = address!.includes(":") ? 6 : 4;
  return { family, address: address!, prefixLength: Number(prefixLength) };
}

function link(id: number, weight: number): LinkConfig {
  return {
    id: linkId(id),
    name: `link${id}`,
    service: {
      name: `link${id}`,
      id,
      device: `us-l${id}`,
      port: `wan${id}`,
      virtualMac: `02:00:00:00:01:0${id}`,
      addresses: [interfaceAddress(`198.51.${99 + id}.2/24`), interfaceAddress(`2001:db8:${id}::2/64`)],
      witnesses: [`198.51.${99 + id}.1`],
      singleMac: false,
    },
    gateway: { v4: `198.51.${99 + id}.1`, v6: `2001:db8:${id}::1` },
    weight,
    capacity: {},
    enabled: true,
  };
}

/** `part` replaces whole keys of it. */
export function pairConfig(part: Partial<Config> = {}): Config {
  return {
    pair: "office",
    node: "a",
    priority: { a: 100, b: 50 },
    lan: {
      service: {
        name: "lan",
        id: 0,
        device: "us-lan",
        port: "lan",
        virtualMac: "02:00:00:00:00:01",
        addresses: [interfaceAddress("10.20.0.1/16"), interfaceAddress("fd20::1/64")],
        witnesses: [],
        singleMac: false,
      },
      routes: [{ network: interfaceAddress("10.30.0.0/16"), via: "10.20.0.254" }],
    },
    links: [link(1, 3), link(2, 1)],
    paths: [],
    timers: {
      heartbeatMs: millis(10),
      deadAfterMs: millis(50),
      leaseMs: millis(40),
      soloLeaseMs: millis(10_000),
    },
    placementSeed: 12345,
    helpers: [],
    drill: null,
    sending: SENDING_DEFAULT,
    peerKeys: [],
    ownKeys: [],
    keyFile: "/nowhere/node.key",
    stateDirectory: "/nowhere/state",
    runtimeDirectory: "/nowhere/run",
    digest: "",
    files: { pair: "pair.yaml", node: "node.yaml" },
    ...part,
  };
}
