// The gate: the kernel-timed permission to use the service interfaces (failover.md §1, §2). Heart alone uses it.
//
// A lease is an element with a timeout in a set that every packet of a service interface is checked against. It is
// renewed in the data path: a frame with a mark, sent on `lo`, meets a rule that updates the element. No nftables
// transaction lies on the way, so nobody's commit can delay a renewal, and the kernel shuts the gate by itself
// when the frames stop. Synchronous; `renew`, `open`, `drain`, `shut` make two system calls each and wait for
// nothing. libnftables is used to install, adopt and remove only.
//
// Where the kernel can (6.9), the table is owned by this process and persists (tableOwner.ts): nobody's `nft flush
// ruleset` removes it, and when this process dies, its rules and the lease stay, until the lease lapses. What is one
// transaction and what is not: adopting is one (new marks), and claiming an orphan before it touches nothing in it.
// Installing over an owned table or an orphan is one: emptied and filled. Installing where there is none, or a
// plain one, is three, because a table is made with an owner in a message of its own, empty: the bar comes before it,
// with the old table's removal, and goes when the new gate was read back. At no instant is neither there.
//
// Reshaping (other interfaces, while it is held) is one transaction, too, and is carried out on another thread.
//
// The frames go through packet sockets: no address, no port, no firewall of the user's and no connection tracking
// is on their way. What the rule dropped is known from `send` itself (ENOBUFS); what it let pass comes back through
// a tap on the sending side, before the loopback device queues it, so a busy machine cannot delay the receipt.

import { BoundaryError } from "../base/errors.ts";
import {
  adoptText,
  barText,
  completeShape,
  DRAINED_ELEMENT,
  GATE_BAR_TABLE,
  GATE_TABLE,
  type GateMarks,
  GateReader,
  type GateService,
  type GateTimes,
  installText,
  lastingDigest,
  reshapeText,
  SHUT_ELEMENT,
  withoutHandles,
} from "./gateTable.ts";
import { openRouteSocket, setLinkUp } from "./interfaces.ts";
import * as libc from "./libc.ts";
import { isAbsent } from "./nftables.ts";
import { OwnTables } from "./tables.ts";

export interface GateOptions extends GateTimes {
  readonly services: readonly GateService[];
  /** Never an owned table, whatever the kernel can do: as on kernels before 6.9. */
  readonly plain?: boolean;
}

/** How long a lease lasts: the short one between heartbeats, the long one of a node that is alone. */
export type LeaseKind = "short" | "solo";

export interface Gate {
  /**
   * Installs the gate, shut, and verifies it by reading back; nothing passes meanwhile. Whatever carried its name is
   * replaced. @throws BoundaryError (a service interface that is not there, no permission, TABLE_OWNED with the name
   * of another process whose table it is, ...)
   */
  install(): void;
  /** Whether nobody but this process can remove the table. Asks the kernel. */
  isProtected(): boolean;
  /**
   * Takes over a gate that an earlier heart left: the lease stays as it is, the marks are replaced. Null where there
   * is none, or one for other interfaces: install then. A plain table stays plain. @throws BoundaryError TABLE_OWNED
   */
  adopt(): { readonly held: boolean; readonly drained: boolean } | null;
  /**
   * Goes on with other service interfaces (each of which is there) and other lengths of leases, in one transaction and on another
   * thread: meanwhile, whatever is held can be renewed, drained and shut as ever. An interface that is left out must be down: from
   * then on nothing guards it. Rejects with a BoundaryError where the kernel refuses; everything is as it was then. So it does where
   * what was made is not whole (somebody flushed it at once): it is not `present` then, and `install` makes what was before. One at
   * a time; nothing but marks and `present` until it has settled.
   */
  reshape(services: readonly GateService[], times: GateTimes): Promise<void>;
  /** Renews what is held. False: it was not held (it lapsed, or was shut), or the gate's table is gone. */
  renew(kind: LeaseKind): boolean;
  /** Opens, held before or not; ends draining. False: the gate's table is gone, or `lo` is down. */
  open(kind: LeaseKind): boolean;
  /** Stops claiming while what is under way still passes (failover §6). False: not held, or no table. */
  drain(): boolean;
  /** At once. False: the gate's table is gone, which is worse than open: install. */
  shut(): boolean;
  /** The whole gate is in place and untouched. Cheap: two frames' worth of system calls and one netlink request. */
  present(): boolean;
  /** Takes the service interfaces down and removes the table. No gate, no interface (failover §1). */
  remove(): void;
  /** Ends this process's part; the table, and the lease while it lasts, stay. */
  close(): void;
}

/** IEEE 802 local experimental ethertype 1: nobody else's on `lo`. */
const ETHERTYPE = 0x88b5;
const ETH_P_ALL = 0x0003;
const FRAME_BYTES = 32;
const SOURCE_AT = 6;
const TYPE_AT = 12;
const TOKEN_AT = 16;
const SEQUENCE_AT = 24;
/** Receipts that may be waiting: ours are read at once, so more than a few means that somebody plays. */
const RECEIPTS_MAX = 16;
const NETWORK_DOWN = libc.errno.ENETDOWN!;

// Classic BPF (linux/bpf_common.h, linux/filter.h).
const BPF_LD_H_ABS = 0x28;
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;
const SKF_AD_PKTTYPE = 0xfffff004;
const PACKET_OUTGOING = 4;

/** Lets through what leaves with our ethertype; what comes back in is nobody's. */
const OUTGOING_RECEIPTS: readonly libc.FilterInstruction[] = [
  [BPF_LD_H_ABS, 0, 0, TYPE_AT],
  [BPF_JEQ_K, 0, 3, ETHERTYPE],
  [BPF_LD_W_ABS, 0, 0, SKF_AD_PKTTYPE],
  [BPF_JEQ_K, 0, 1, PACKET_OUTGOING],
  [BPF_RET_K, 0, 0, 0xffff],
  [BPF_RET_K, 0, 0, 0],
];
const NOTHING: readonly libc.FilterInstruction[] = [[BPF_RET_K, 0, 0, 0]];

/** Draws marks, opens the sockets. Nothing is installed yet. @throws KernelError (EPERM, no `lo`) */
export function createGate(options: GateOptions): Gate {
  return new KernelGate(options);
}

class KernelGate implements Gate {
  #services: readonly GateService[];
  #times: GateTimes;
  /** The table is being changed, by us: what it looks like says nothing. */
  #reshaping = false;
  readonly #marks: GateMarks;
  readonly #stampMac: string;
  readonly #channel: MarkChannel;
  readonly #reader: GateReader;
  readonly #tables: OwnTables;
  /** What the table looked like when it was last found good, and the state of the world it was found in. */
  #shape = "";
  #generation = -1;
  #devices = "";

  constructor(options: GateOptions) {
    this.#services = options.services;
    this.#times = options;
    this.#marks = drawMarks();
    const stamp = crypto.getRandomValues(new Uint8Array(6));
    stamp[0] = (stamp[0]! & 0xfc) | 0x02;
    this.#stampMac = Array.from(stamp, (byte) => byte.toString(16).padStart(2, "0")).join(":");
    this.#channel = new MarkChannel(Object.values(this.#marks), stamp);
    this.#reader = new GateReader();
    this.#tables = new OwnTables("netdev", { plain: options.plain === true });
  }

  install(): void {
    const services = this.#services;
    const operation = `install the gate (table netdev ${GATE_TABLE})`;
    requireAll(operation, services);
    this.#shape = "";
    const text = installText(services, this.#marks, this.#times, this.#stampMac);
    const isBarred = this.#tables.replace({
      operation,
      name: GATE_TABLE,
      text,
      meanwhile: barText(services),
    });
    this.#verifyNew(operation);
    // Also one that an earlier attempt left standing because it failed: barred is better than open.
    if (isBarred || this.#tables.read(operation, GATE_BAR_TABLE) !== null)
      this.#tables.remove(operation, GATE_BAR_TABLE);
  }

  isProtected(): boolean {
    return this.#tables.areOwned && this.#tables.read("look at the gate", GATE_TABLE)?.owner != null;
  }

  adopt(): { readonly held: boolean; readonly drained: boolean } | null {
    const operation = `adopt the gate (table netdev ${GATE_TABLE})`;
    this.#tables.adopt(operation, GATE_TABLE);
    if (!this.#looksComplete(operation)) return null;
    this.#tables.nft.run(operation, adoptText(this.#marks, this.#times, this.#stampMac));
    this.#verifyNew(operation);
    const state = this.#elementsOf(operation, "state");
    const held = this.#elementsOf(operation, "held").length > 0 && !state.includes(SHUT_ELEMENT);
    return { held, drained: held && state.includes(DRAINED_ELEMENT) };
  }

  async reshape(services: readonly GateService[], times: GateTimes): Promise<void> {
    const operation = `change the gate (table netdev ${GATE_TABLE})`;
    if (this.#reshaping || this.#shape === "")
      throw new BoundaryError({ operation, code: "NOT_IN_PLACE", words: "it is not whole at the moment" });
    requireAll(operation, services);
    const text = reshapeText(this.#services, services, this.#marks, times, this.#stampMac);
    const before = [this.#services, this.#times] as const;
    this.#reshaping = true;
    try {
      await this.#tables.nft.runAside(operation, text);
      [this.#services, this.#times] = [services, times];
      this.#verifyNew(operation);
    } catch (error) {
      // Whoever is told that it was refused goes on with what was: an install has to make that, and nothing else.
      [this.#services, this.#times] = before;
      throw error;
    } finally {
      this.#reshaping = false;
    }
  }

  renew(kind: LeaseKind): boolean {
    return this.#channel.send(kind === "short" ? this.#marks.renewShort : this.#marks.renewSolo);
  }
  open(kind: LeaseKind): boolean {
    return this.#channel.send(kind === "short" ? this.#marks.openShort : this.#marks.openSolo);
  }
  drain(): boolean {
    return this.#channel.send(this.#marks.drain);
  }
  shut(): boolean {
    return this.#channel.send(this.#marks.shut);
  }

  present(): boolean {
    if (this.#shape === "" || !this.#channel.send(this.#marks.probe)) return false;
    if (this.#reshaping) return true;
    const generation = this.#reader.generation();
    const devices = this.#reader.deviceIndices(this.#services);
    if (generation === this.#generation && devices === this.#devices) return true;
    // Somebody's transaction, or a device that came or went: look whether it was about us.
    if (this.#reader.shape() !== this.#shape) return false;
    this.#generation = generation;
    this.#devices = devices;
    return true;
  }

  remove(): void {
    const socket = openRouteSocket();
    try {
      for (const { device } of this.#services)
        if (libc.interfaceIndex(device) !== 0) setLinkUp(socket, device, false);
    } finally {
      socket.close();
    }
    this.#shape = "";
    for (const name of [GATE_TABLE, GATE_BAR_TABLE])
      this.#tables.remove(`remove the gate (table netdev ${name})`, name);
  }

  close(): void {
    this.#channel.close();
    this.#reader.close();
    this.#tables.close();
  }

  /** After a transaction of ours: the gate is there in full and carries out our marks, or an error says what not. */
  #verifyNew(operation: string): void {
    // Generation first: what changes after it was read is looked at by the next `present`.
    this.#generation = this.#reader.generation();
    this.#devices = this.#reader.deviceIndices(this.#services);
    this.#shape = this.#reader.shape();
    const expected = completeShape(this.#services).join("\n");
    const found = withoutHandles(this.#shape).join("\n");
    if (found !== expected) {
      this.#shape = "";
      const words = `read back something else:\n${found}\ninstead of:\n${expected}`;
      throw new BoundaryError({ operation, code: "GATE_INCOMPLETE", words });
    }
    if (this.#channel.send(this.#marks.probe)) return;
    this.#shape = "";
    throw new BoundaryError({
      operation,
      code: "GATE_SILENT",
      words: "a marked frame on lo did not come back stamped",
      advice: "Is the interface lo up?",
    });
  }

  #looksComplete(operation: string): boolean {
    const expected = completeShape(this.#services).join("\n");
    if (withoutHandles(this.#reader.shape()).join("\n") !== expected) return false;
    try {
      const listing = this.#tables.nft.stateless(operation, `list table netdev ${GATE_TABLE}`);
      return listing.includes(`"${lastingDigest(this.#services)}"`);
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }

  /** The elements of a set of the gate's. libnftables shows one with a timeout as an object, one without as a number. */
  #elementsOf(operation: string, set: string): number[] {
    const objects = this.#tables.nft.list(operation, `list set netdev ${GATE_TABLE} ${set}`);
    return objects.flatMap((object) => {
      const listed = object.set as { readonly elem?: readonly ListedElement[] } | undefined;
      return (listed?.elem ?? []).map((element) =>
        typeof element === "number" ? element : element.elem.val,
      );
    });
  }
}

/** A chain may be hung on a name that is nobody's: newer kernels wait for it. */
function requireAll(operation: string, services: readonly GateService[]): void {
  for (const { device } of services) {
    if (libc.interfaceIndex(device) !== 0) continue;
    throw new BoundaryError({ operation, code: "ENODEV", words: `there is no interface ${device}` });
  }
}

/** Frames with marks, and the receipts for them. The timed path: no allocation, two system calls a frame. */
class MarkChannel {
  readonly #senders = new Map<number, number>();
  readonly #receiver: number;
  readonly #frame = new Uint8Array(FRAME_BYTES);
  readonly #frameView = new DataView(this.#frame.buffer);
  readonly #receipt = new Uint8Array(FRAME_BYTES);
  readonly #stamp: Uint8Array;
  #sequence = 0;

  constructor(marks: readonly number[], stamp: Uint8Array) {
    this.#stamp = stamp;
    this.#frameView.setUint16(TYPE_AT, ETHERTYPE);
    this.#frame.set(crypto.getRandomValues(new Uint8Array(SEQUENCE_AT - TOKEN_AT)), TOKEN_AT);
    this.#receiver = packetSocket(ETH_P_ALL, OUTGOING_RECEIPTS);
    marks.forEach((mark, index) => {
      // One of them takes delivery of what arrives, and throws it away: else `lo` would count every frame as dropped.
      const fd = packetSocket(index === 0 ? ETHERTYPE : 0, NOTHING);
      libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_MARK, mark, "mark the gate's frames (SO_MARK)");
      this.#senders.set(mark, fd);
    });
  }

  /** Whether a rule of ours carried out `mark`: the frame came by with our stamp. */
  send(mark: number): boolean {
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#frameView.setUint32(SEQUENCE_AT, this.#sequence);
    const fd = this.#senders.get(mark);
    if (fd === undefined) return false;
    // Dropped by the gate: -ENOBUFS. `lo` down: -ENETDOWN, and once more after it is up again (packet(7)).
    let sent = libc.send(fd, this.#frame, FRAME_BYTES, libc.MSG_DONTWAIT);
    if (sent === -NETWORK_DOWN) sent = libc.send(fd, this.#frame, FRAME_BYTES, libc.MSG_DONTWAIT);
    if (sent !== FRAME_BYTES) return false;
    for (let taken = 0; taken < RECEIPTS_MAX; taken += 1) {
      const length = libc.recv(this.#receiver, this.#receipt, libc.MSG_DONTWAIT);
      if (length < 0 && length !== -NETWORK_DOWN) return false;
      if (length === FRAME_BYTES && this.#isReceipt()) return true;
    }
    return false;
  }

  close(): void {
    for (const fd of this.#senders.values()) libc.close(fd);
    this.#senders.clear();
    libc.close(this.#receiver);
  }

  #isReceipt(): boolean {
    for (let at = 0; at < this.#stamp.length; at += 1)
      if (this.#receipt[SOURCE_AT + at] !== this.#stamp[at]) return false;
    for (let at = TOKEN_AT; at < FRAME_BYTES; at += 1)
      if (this.#receipt[at] !== this.#frame[at]) return false;
    return true;
  }
}

/** A raw socket on `lo`, filtered before it is bound: not one frame too many is queued. */
function packetSocket(protocol: number, filter: readonly libc.FilterInstruction[]): number {
  const operation = "open the gate's packet socket on lo";
  const index = libc.interfaceIndex("lo");
  if (index === 0) throw new libc.KernelError(operation, libc.errno.ENODEV!);
  const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, operation);
  // struct sockaddr_ll: family, protocol (network order), ifindex, hatype, pkttype, halen, addr[8].
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, libc.AF_PACKET, libc.LITTLE_ENDIAN);
  view.setUint16(2, protocol);
  view.setInt32(4, index, libc.LITTLE_ENDIAN);
  try {
    libc.attachFilter(fd, filter, operation);
    libc.bind(fd, address, operation);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** Seven different numbers, none of them 0 and none that looks like a session's mark (link ids in the low byte). */
function drawMarks(): GateMarks {
  const drawn = new Set<number>();
  while (drawn.size < 7) {
    const mark = crypto.getRandomValues(new Uint32Array(1))[0]! | 0xff;
    drawn.add(mark >>> 0);
  }
  const [renewShort, renewSolo, openShort, openSolo, drain, shut, probe] = drawn;
  return {
    renewShort: renewShort!,
    renewSolo: renewSolo!,
    openShort: openShort!,
    openSolo: openSolo!,
    drain: drain!,
    shut: shut!,
    probe: probe!,
  };
}

type ListedElement = number | { readonly elem: { readonly val: number } };
