// A drill's own probes: "who has the shared address?", asked on the LAN from this node's own port every 10 ms, as any host of the LAN
// would. An open gate answers, a shut one cannot: what is measured is that the other node serves the segment, from outside of it. A
// node does not hear itself; while it serves, its own gate is the witness. It judges nothing.

import { parseAddress, parseMac } from "../base/addresses.ts";
import { DRILL_ANSWER_MS, DRILL_PROBE_MS } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import { ProbeTally } from "../core/drillProbes.ts";
import { listAddresses, listLinks, openRouteSocket } from "../kernel/interfaces.ts";
import { ETH_P_ARP, openPacketSocket, type PacketSocket } from "../kernel/packetSocket.ts";
import { equalBytes } from "../wire/codec.ts";
import { askFrame, readResolution } from "../wire/resolution.ts";

/** Any host may ask without an address of its own (RFC 5227 §2.1.1). */
const NO_ADDRESS = new Uint8Array(4);

export class DrillProbe {
  readonly tally = new ProbeTally(DRILL_ANSWER_MS);
  readonly #socket: PacketSocket;
  readonly #frame: Uint8Array;
  readonly #virtualMac: Uint8Array;
  readonly #shared: Uint8Array;
  readonly #timer: NodeJS.Timeout;

  private constructor(socket: PacketSocket, frame: Uint8Array, virtualMac: Uint8Array, shared: Uint8Array) {
    this.#socket = socket;
    this.#frame = frame;
    this.#virtualMac = virtualMac;
    this.#shared = shared;
    this.#timer = setInterval(() => this.#look(), DRILL_PROBE_MS);
  }

  /** Null: the LAN has no IPv4 address that could be asked for. @throws KernelError: the port is gone, or its packets cannot be had */
  static open({ lan }: Pick<Config, "lan">): DrillProbe | null {
    const { port, addresses, virtualMac } = lan.service;
    const shared = addresses.find(({ family }) => family === 4);
    if (shared === undefined) return null;
    const { mac, own } = portFacts(port);
    const target = parseAddress(shared.address)!.bytes;
    const frame = askFrame({ senderMac: mac, senderAddress: own ?? NO_ADDRESS, targetAddress: target });
    return new DrillProbe(openPacketSocket(port, ETH_P_ARP), frame, parseMac(virtualMac)!, target);
  }

  /** Heart says that this node's gate is open, or shut, from now on. */
  serves(itself: boolean): void {
    this.#read();
    this.tally.serves(itself, performance.now());
  }

  close(): void {
    clearInterval(this.#timer);
    this.#read();
    this.tally.end(performance.now());
    this.#socket.close();
  }

  #look(): void {
    this.#read();
    if (this.#socket.send(this.#frame)) this.tally.asked(performance.now());
  }

  #read(): void {
    const nowMs = performance.now();
    this.#socket.drain((frame) => {
      const read = readResolution(frame);
      if (!read.ok || read.value.family !== 4 || read.value.kind !== "answer" || read.value.gratuitous)
        return;
      if (equalBytes(read.value.sourceMac, this.#virtualMac) && equalBytes(read.value.address, this.#shared))
        this.tally.answered(nowMs);
    });
  }
}

/** The port's own MAC address, and its first IPv4 address. */
function portFacts(port: string): { readonly mac: Uint8Array; readonly own: Uint8Array | null } {
  const socket = openRouteSocket();
  try {
    const mac = parseMac(listLinks(socket).find(({ name }) => name === port)?.mac ?? "");
    const address = listAddresses(socket, port).find(({ family }) => family === 4)?.address;
    return {
      mac: mac ?? new Uint8Array(6),
      own: address === undefined ? null : parseAddress(address)!.bytes,
    };
  } finally {
    socket.close();
  }
}
