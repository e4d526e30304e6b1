// Heart's eyes on the service segments: probes to the arbiter, questions to witnesses, announcements, carrier. It
// sends and reads frames and says what came ("the virtual MAC answered", "a third party was heard"); what an answer
// is worth is core/election's business (failover §4).
//
// Who is a third party: nobody with a MAC of the pair's, nobody who speaks from an address of either node, nobody
// who ever sent a frame with the pair's mark.

import { formatMac, parseAddress, parseMac } from "../base/addresses.ts";
import { assert } from "../base/assert.ts";
import { millis, type NodeId, peerOf } from "../base/units.ts";
import { type Config, type ServiceConfig, servicesOf } from "../core/config.ts";
import type { ElectionInput } from "../core/election/types.ts";
import { type CarrierMonitor, openCarrierMonitor } from "../kernel/carrierMonitor.ts";
import { listAddresses, openRouteSocket } from "../kernel/interfaces.ts";
import {
  ETH_P_ARP,
  ETH_P_IPV6,
  NEIGHBOUR_DISCOVERY,
  openPacketSocket,
  type PacketSocket,
} from "../kernel/packetSocket.ts";
import type { SegmentState } from "../wire/control.ts";
import { announceFrames, askFrame, type Resolution, readResolution } from "../wire/resolution.ts";

const WITNESSES_LEARNED_MAX = 32;
const ASKED_AT_ONCE = 4;
const UNSPECIFIED_V4 = new Uint8Array(4);

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function bytesOf(address: string): Uint8Array {
  const parsed = parseAddress(address);
  assert(parsed !== null, `the configuration holds addresses, not ${address}`);
  return parsed.bytes;
}

function macOf(text: string): Uint8Array {
  const mac = parseMac(text);
  assert(mac !== null, `not a MAC: ${text}`);
  return mac;
}

interface Segment {
  readonly index: number;
  readonly service: ServiceConfig;
  readonly receivers: readonly PacketSocket[];
  /** Opened at the first announcement: the service interface may have been made anew. */
  announcer: PacketSocket | null;
  readonly portMac: Uint8Array;
  readonly virtualMac: Uint8Array;
  /** This node's own address on the port, a family each, or null. */
  readonly own: { readonly v4: Uint8Array | null; readonly v6: Uint8Array | null };
  /** What a probe asks for. */
  readonly shared: Uint8Array;
  readonly sharedKeys: ReadonlySet<string>;
  /** Of both nodes, on this port: they prove nothing. */
  readonly nodeAddresses: ReadonlySet<string>;
  readonly pairMacs: Set<string>;
  /** Configured first, learned after; the newest last. Key: the address in hex. */
  readonly witnesses: Map<string, Uint8Array>;
  askedNext: number;
  carrier: boolean;
  witnessAt: number;
  probedAt: number;
}

export class Segments {
  readonly #config: Config;
  readonly #node: NodeId;
  readonly #segments: readonly Segment[];
  readonly #carriers: CarrierMonitor;
  /** Of every receiver, segment by segment, and the carriers' last. */
  readonly descriptors: readonly number[];

  /** @throws KernelError naming the port whose packets cannot be had */
  constructor(config: Config, portMacs: readonly string[]) {
    this.#config = config;
    this.#node = config.node;
    const socket = openRouteSocket();
    try {
      this.#segments = servicesOf(config).map((service, index) => {
        const addresses = listAddresses(socket, service.port);
        const ownOf = (family: 4 | 6): Uint8Array | null => {
          const found = addresses.find((address) => address.family === family);
          return found === undefined ? null : bytesOf(found.address);
        };
        return this.#open(service, index, macOf(portMacs[index]!), { v4: ownOf(4), v6: ownOf(6) });
      });
    } finally {
      socket.close();
    }
    this.#carriers = openCarrierMonitor(this.#segments.map(({ service }) => service.port));
    this.#drainCarriers(() => undefined);
    const receivers = this.#segments.flatMap((segment) => segment.receivers);
    this.descriptors = [...receivers.map((receiver) => receiver.fd), this.#carriers.fd];
  }

  #open(service: ServiceConfig, index: number, portMac: Uint8Array, own: Segment["own"]): Segment {
    const virtualMac = macOf(service.virtualMac);
    const addresses = service.addresses.map(({ address }) => bytesOf(address));
    const shared = addresses.find((address) => address.length === 4) ?? addresses[0]!;
    const paths = this.#config.paths.filter((path) => path.device === service.port);
    const nodes = paths.flatMap((path) => [path.local, path.remote]).map(bytesOf);
    if (own.v4 !== null) nodes.push(own.v4);
    if (own.v6 !== null) nodes.push(own.v6);
    const receivers = [openPacketSocket(service.port, ETH_P_ARP)];
    if (addresses.some((address) => address.length === 16))
      receivers.push(openPacketSocket(service.port, ETH_P_IPV6, NEIGHBOUR_DISCOVERY));
    return {
      index,
      service,
      receivers,
      announcer: null,
      portMac,
      virtualMac,
      own,
      shared,
      sharedKeys: new Set(addresses.map(hexOf)),
      nodeAddresses: new Set(nodes.map(hexOf)),
      pairMacs: new Set([hexOf(portMac), hexOf(virtualMac)]),
      witnesses: new Map(service.witnesses.map(bytesOf).map((address) => [hexOf(address), address])),
      askedNext: 0,
      carrier: false,
      witnessAt: Number.NEGATIVE_INFINITY,
      probedAt: Number.NEGATIVE_INFINITY,
    };
  }

  carriers(): readonly boolean[] {
    return this.#segments.map(({ carrier }) => carrier);
  }

  /** `isReady`: by index in `descriptors`. */
  drain(feed: (input: ElectionInput) => void, isReady: (index: number) => boolean): void {
    let index = 0;
    for (const segment of this.#segments)
      for (const receiver of segment.receivers) {
        if (isReady(index)) this.#read(segment, receiver, feed);
        index += 1;
      }
    if (isReady(index)) this.#drainCarriers(feed);
  }

  #read(segment: Segment, receiver: PacketSocket, feed: (input: ElectionInput) => void): void {
    receiver.drain((frame) => {
      const read = readResolution(frame);
      if (read.ok) this.#take(segment, read.value, feed);
    });
  }

  #drainCarriers(feed: (input: ElectionInput) => void): void {
    this.#carriers.drain((device, up) => {
      // Two links on one port are two segments with one carrier.
      for (const segment of this.#segments) {
        if (segment.service.port !== device || segment.carrier === up) continue;
        segment.carrier = up;
        feed({ kind: "carrier", segment: segment.index, up });
      }
    });
  }

  #take(segment: Segment, said: Resolution, feed: (input: ElectionInput) => void): void {
    const source = hexOf(said.sourceMac);
    if (source === hexOf(segment.virtualMac)) {
      if (said.kind !== "answer" || !segment.sharedKeys.has(hexOf(said.address))) return;
      feed({ kind: "answer", segment: segment.index, sentAt: millis(segment.probedAt) });
      return;
    }
    if (said.probeOf !== null) {
      segment.pairMacs.add(source);
      const contends =
        said.probeOf === peerOf(this.#node) && segment.sharedKeys.has(hexOf(said.targetAddress));
      if (contends) feed({ kind: "contender", segment: segment.index });
      return;
    }
    const address = hexOf(said.address);
    if (segment.pairMacs.has(source) || segment.nodeAddresses.has(address)) return;
    if (segment.sharedKeys.has(address)) return; // A host that uses our address proves nothing but its mistake.
    segment.witnessAt = performance.now();
    this.#learn(segment, address, said.address);
    feed({ kind: "witness", segment: segment.index });
  }

  /** Remembers whom to ask; the oldest learned one makes room, a configured one never does. */
  #learn(segment: Segment, key: string, address: Uint8Array): void {
    if (address.every((byte) => byte === 0) || segment.witnesses.has(key)) return;
    if (segment.witnesses.size >= WITNESSES_LEARNED_MAX) {
      const configured = segment.service.witnesses.length;
      const oldest = [...segment.witnesses.keys()][configured];
      if (oldest === undefined) return;
      segment.witnesses.delete(oldest);
    }
    segment.witnesses.set(key, address);
  }

  /** Neighbours that the daemon knows of. */
  learnWitnesses(index: number, addresses: readonly string[]): void {
    const segment = this.#segments[index];
    if (segment === undefined) return;
    for (const text of addresses) {
      const bytes = parseAddress(text)?.bytes;
      if (bytes === undefined) continue;
      const key = hexOf(bytes);
      if (!segment.nodeAddresses.has(key) && !segment.sharedKeys.has(key)) this.#learn(segment, key, bytes);
    }
  }

  /** Asks from the port's real MAC for the shared address (failover §4). */
  probe(index: number, broadcast: boolean): void {
    const segment = this.#segments[index]!;
    segment.probedAt = performance.now();
    this.#ask(segment, segment.shared, segment.virtualMac);
    if (broadcast) this.#ask(segment, segment.shared);
  }

  askWitness(index: number): void {
    const segment = this.#segments[index]!;
    const known = [...segment.witnesses.values()];
    for (let count = 0; count < Math.min(ASKED_AT_ONCE, known.length); count += 1) {
      this.#ask(segment, known[segment.askedNext % known.length]!);
      segment.askedNext += 1;
    }
  }

  #ask(segment: Segment, targetAddress: Uint8Array, destinationMac?: Uint8Array): void {
    // A port without an address of its own asks as RFC 5227 probes do, from 0.0.0.0; an NS from `::` is not answered.
    const senderAddress = targetAddress.length === 4 ? (segment.own.v4 ?? UNSPECIFIED_V4) : segment.own.v6;
    if (senderAddress === null) return;
    const frame = askFrame({
      senderMac: segment.portMac,
      senderAddress,
      targetAddress,
      probeOf: this.#node,
      ...(destinationMac === undefined ? {} : { destinationMac }),
    });
    segment.receivers[0]!.send(frame);
  }

  /** Every shared address, through its service interface: behind the gate, as everything there. */
  announce(): void {
    for (const segment of this.#segments) this.#announceOn(segment);
  }

  #announceOn(segment: Segment): void {
    const { service, virtualMac } = segment;
    try {
      segment.announcer ??= openPacketSocket(service.device, 0);
    } catch {
      return; // The service interface is gone: the gate's check says so, and repairs.
    }
    const frames = service.addresses.flatMap(({ address }) => announceFrames(virtualMac, bytesOf(address)));
    for (const frame of frames) {
      if (segment.announcer.send(frame)) continue;
      // Made anew since: the next announcement opens it again.
      segment.announcer.close();
      segment.announcer = null;
      return;
    }
  }

  states(gated: boolean): readonly SegmentState[] {
    const now = performance.now();
    return this.#segments.map(({ service, carrier, witnessAt }) => ({
      name: service.name,
      carrier,
      witnessMsAgo: Number.isFinite(witnessAt) ? Math.round(now - witnessAt) : null,
      gated,
    }));
  }

  /** For the log: who this node is on each segment. */
  describe(): string {
    return this.#segments
      .map(({ service, portMac }) => `${service.name} on ${service.port} (${formatMac(portMac)})`)
      .join(", ");
  }
}
