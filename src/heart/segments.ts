// Heart's eyes on the service segments: probes to the arbiter, questions to witnesses, announcements, carrier. It
// sends and reads frames and says what came ("the virtual MAC answered", "a third party was heard"); what an answer
// is worth is core/election's business (failover §4).
// Who is who on a segment is segmentParties.ts.

import { parseAddress, parseMac } from "../base/addresses.ts";
import { assert } from "../base/assert.ts";
import { millis, type NodeId } from "../base/units.ts";
import { type Config, type ServiceConfig, servicesOf } from "../core/config.ts";
import { isSameSegment } from "../core/configPlan.ts";
import type { ElectionInput } from "../core/election/types.ts";
import { type AddressMonitor, openAddressMonitor } from "../kernel/addressMonitor.ts";
import { type CarrierMonitor, openCarrierMonitor } from "../kernel/carrierMonitor.ts";
import {
  ETH_P_ARP,
  ETH_P_IPV6,
  NEIGHBOUR_DISCOVERY,
  openPacketSocket,
  type PacketSocket,
} from "../kernel/packetSocket.ts";
import type { SegmentState } from "../wire/control.ts";
import { announceFrames, askFrame, type Resolution, readResolution } from "../wire/resolution.ts";
import { SegmentParties } from "./segmentParties.ts";

const ASKED_AT_ONCE = 4;
const UNSPECIFIED_V4 = new Uint8Array(4);

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
  /** This node's own address on the port, a family each, or null; as the kernel last told. */
  own: { readonly v4: Uint8Array | null; readonly v6: Uint8Array | null };
  /** What a probe asks for. */
  readonly shared: Uint8Array;
  readonly parties: SegmentParties;
  askedNext: number;
  carrier: boolean;
  witnessAt: number;
  probedAt: number;
}

/** Sockets of a configuration that is being prepared: what is open already is used again. */
interface Draft {
  readonly segments: readonly Segment[];
  readonly carriers: CarrierMonitor;
  readonly addresses: AddressMonitor;
  /** Opened for it. */
  readonly opened: readonly Closable[];
}

/** What another configuration needs is open, and nothing is changed yet. */
export interface PreparedSegments {
  /**
   * Goes on with it. `closed`: sockets that are not needed any more; closing one of packets may wait for the kernel, so it is the
   * caller's to close them where nothing waits for it.
   */
  commit(): { readonly closed: readonly number[] };
  abandon(): void;
}

interface Closable {
  readonly fd: number;
  close(): void;
}

const portsOf = (services: readonly ServiceConfig[]): readonly string[] => [
  ...new Set(services.map(({ port }) => port)),
];

export class Segments {
  readonly #node: NodeId;
  #segments: readonly Segment[] = [];
  #carriers!: CarrierMonitor;
  #addresses!: AddressMonitor;
  /** Of every receiver, segment by segment; the carriers' and the addresses' last. */
  descriptors: readonly number[] = [];

  /** @throws KernelError naming the port whose packets cannot be had */
  constructor(config: Config, portMacs: readonly string[]) {
    this.#node = config.node;
    this.#take(this.#draft(config, portMacs, null));
  }

  /**
   * Goes on with other segments; `portMacs` in the order of `servicesOf`. What is known of those that stay is kept.
   * @throws KernelError: nothing is changed
   */
  prepare(config: Config, portMacs: readonly string[]): PreparedSegments {
    const draft = this.#draft(config, portMacs, { carriers: this.#carriers, addresses: this.#addresses });
    return {
      commit: () => ({ closed: this.#take(draft) }),
      abandon: () => {
        for (const each of draft.opened) each.close();
      },
    };
  }

  #draft(
    config: Config,
    portMacs: readonly string[],
    monitors: Pick<Draft, "carriers" | "addresses"> | null,
  ): Draft {
    const opened: Closable[] = [];
    const keep = <T extends Closable>(socket: T): T => {
      opened.push(socket);
      return socket;
    };
    try {
      const services = servicesOf(config);
      const segments = services.map((service, index) =>
        this.#segmentOf(config, service, { index, portMac: macOf(portMacs[index]!) }, keep),
      );
      const ports = portsOf(services);
      const watched = portsOf(this.#segments.map(({ service }) => service));
      // A dump of every interface: not for nothing.
      const isWatched = ports.length === watched.length && ports.every((port) => watched.includes(port));
      const { carriers, addresses } =
        monitors !== null && isWatched
          ? monitors
          : { carriers: keep(openCarrierMonitor(ports)), addresses: keep(openAddressMonitor(ports)) };
      return { segments, carriers, addresses, opened };
    } catch (error) {
      for (const each of opened) each.close();
      throw error;
    }
  }

  /** From now on; descriptors that nobody needs any more. */
  #take(draft: Draft): readonly number[] {
    const before = this.#closables();
    // What was heard since it was begun is newer.
    for (const segment of draft.segments) {
      const kept = this.#keptFor(segment.service);
      if (kept === undefined) continue;
      segment.carrier = kept.carrier;
      segment.witnessAt = kept.witnessAt;
      segment.probedAt = kept.probedAt;
      for (const witness of kept.parties.witnesses) segment.parties.learn(witness);
    }
    this.#segments = draft.segments;
    this.#carriers = draft.carriers;
    this.#addresses = draft.addresses;
    this.#drainCarriers(() => undefined);
    this.#addresses.drain();
    this.#takeAddresses();
    const receivers = this.#segments.flatMap((segment) => segment.receivers);
    this.descriptors = [...receivers.map((receiver) => receiver.fd), this.#carriers.fd, this.#addresses.fd];
    const needed = new Set(this.#closables());
    return before.filter((fd) => !needed.has(fd));
  }

  #closables(): readonly number[] {
    if (this.#segments.length === 0) return [];
    const sockets = this.#segments.flatMap(({ receivers, announcer }) =>
      announcer === null ? receivers : [...receivers, announcer],
    );
    return [...sockets.map(({ fd }) => fd), this.#carriers.fd, this.#addresses.fd];
  }

  #segmentOf(
    config: Config,
    service: ServiceConfig,
    { index, portMac }: { readonly index: number; readonly portMac: Uint8Array },
    keep: (socket: PacketSocket) => PacketSocket,
  ): Segment {
    const virtualMac = macOf(service.virtualMac);
    const addresses = service.addresses.map(({ address }) => bytesOf(address));
    const shared = addresses.find((address) => address.length === 4) ?? addresses[0]!;
    const paths = config.paths.filter((path) => path.device === service.port);
    const parties = new SegmentParties({
      node: this.#node,
      portMac,
      virtualMac,
      shared: addresses,
      nodes: paths.flatMap((path) => [path.local, path.remote]).map(bytesOf),
      witnesses: service.witnesses.map(bytesOf),
    });
    const kept = this.#keptFor(service);
    const receivers = [kept?.receivers[0] ?? keep(openPacketSocket(service.port, ETH_P_ARP))];
    if (addresses.some((address) => address.length === 16))
      receivers.push(
        kept?.receivers[1] ?? keep(openPacketSocket(service.port, ETH_P_IPV6, NEIGHBOUR_DISCOVERY)),
      );
    return {
      index,
      service,
      receivers,
      // It is opened again at the next announcement, on the interface as it is then.
      announcer: null,
      portMac,
      virtualMac,
      own: { v4: null, v6: null },
      shared,
      parties,
      askedNext: 0,
      carrier: false,
      witnessAt: Number.NEGATIVE_INFINITY,
      probedAt: Number.NEGATIVE_INFINITY,
    };
  }

  #keptFor(service: ServiceConfig): Segment | undefined {
    return this.#segments.find((segment) => isSameSegment(segment.service, service));
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
    if (isReady(index + 1) && this.#addresses.drain()) this.#takeAddresses();
  }

  /** Who this node is on its ports: an address that came later, or changed, counts from then on. */
  #takeAddresses(): void {
    for (const segment of this.#segments) {
      const addresses = this.#addresses.of(segment.service.port);
      segment.own = {
        v4: addresses.find((address) => address.length === 4) ?? null,
        v6: addresses.find((address) => address.length === 16) ?? null,
      };
      segment.parties.setOwn(addresses);
    }
  }

  #read(segment: Segment, receiver: PacketSocket, feed: (input: ElectionInput) => void): void {
    receiver.drain((frame) => {
      const read = readResolution(frame);
      if (read.ok) this.#judge(segment, read.value, feed);
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

  #judge(segment: Segment, said: Resolution, feed: (input: ElectionInput) => void): void {
    const now = performance.now();
    const kind = segment.parties.hear(said, now);
    if (kind === null) return;
    if (kind === "witness") segment.witnessAt = now;
    if (kind === "answer") feed({ kind, segment: segment.index, sentAt: millis(segment.probedAt) });
    else feed({ kind, segment: segment.index });
  }

  /** Neighbours that the daemon knows of. */
  learnWitnesses(index: number, addresses: readonly string[]): void {
    const segment = this.#segments[index];
    if (segment === undefined) return;
    for (const text of addresses) {
      const bytes = parseAddress(text)?.bytes;
      if (bytes !== undefined) segment.parties.learn(bytes);
    }
  }

  /**
   * Asks from the port's real MAC for the shared address (failover §4). False where not every frame of it left: no
   * answer to it proves anything then.
   */
  probe(index: number, broadcast: boolean): boolean {
    const segment = this.#segments[index]!;
    segment.probedAt = performance.now();
    const asked = this.#ask(segment, segment.shared, segment.virtualMac);
    return broadcast ? this.#ask(segment, segment.shared) && asked : asked;
  }

  askWitness(index: number): void {
    const segment = this.#segments[index]!;
    const known = segment.parties.witnesses;
    for (let count = 0; count < Math.min(ASKED_AT_ONCE, known.length); count += 1) {
      this.#ask(segment, known[segment.askedNext % known.length]!);
      segment.askedNext += 1;
    }
  }

  #ask(segment: Segment, targetAddress: Uint8Array, destinationMac?: Uint8Array): boolean {
    const senderAddress = askerOf(segment, targetAddress);
    if (senderAddress === null) return false;
    const frame = askFrame({
      senderMac: segment.portMac,
      senderAddress,
      targetAddress,
      probeOf: this.#node,
      ...(destinationMac === undefined ? {} : { destinationMac }),
    });
    return segment.receivers[0]!.send(frame);
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
    return this.#segments.map((segment) => ({
      name: segment.service.name,
      carrier: segment.carrier,
      witnessMsAgo: Number.isFinite(segment.witnessAt) ? Math.round(now - segment.witnessAt) : null,
      askable: segment.service.singleMac || askerOf(segment, segment.shared) !== null,
      gated,
    }));
  }
}

/**
 * Whose address a question carries. A port without one asks for IPv4 as RFC 5227 probes do, from 0.0.0.0; a solicitation
 * from `::` is not answered to its sender, so without an IPv6 address there is nobody to ask as: null.
 */
const askerOf = (segment: Segment, target: Uint8Array): Uint8Array | null =>
  target.length === 4 ? (segment.own.v4 ?? UNSPECIFIED_V4) : segment.own.v6;
