// The gate's table: its text for nft, and what it looks like in the kernel. Text and reading only; when to
// install and when to renew is gate.ts's business. Nothing but heart writes this table (failover.md §1).
//
// The keys that say "held", "drained", "shut" are constants, 1148 and so on. nftables takes no constant where a set is looked up, so
// they are made: a hash modulo 1 plus an offset. jhash of the mark and not symhash: the latter dissects the
// flow of every packet that passes, twice, to arrive at the same number.

import { sha256Hex } from "../base/sha256.ts";
import {
  forEachAttribute,
  type Message,
  MessageWriter,
  NETLINK_NETFILTER,
  readAttributes,
  readBe32,
  readText,
} from "../wire/netlink.ts";
import { errno, interfaceIndex } from "./libc.ts";
import { NetlinkSocket } from "./netlink.ts";
import { commandsOf } from "./tableText.ts";

export const GATE_TABLE = "understudy-gate";

/** A service interface behind the gate. */
export interface GateService {
  /** `us-lan` */
  readonly device: string;
  /** MAC of the port below it: what leaves while draining carries it, so that the switch forgets the virtual one. */
  readonly portMac: string;
}

export interface GateTimes {
  readonly leaseMs: number;
  readonly soloLeaseMs: number;
}

/** One mark an operation; drawn anew at each start, so that what an earlier heart sent does nothing. */
export interface GateMarks {
  readonly renewShort: number;
  readonly renewSolo: number;
  readonly openShort: number;
  readonly openSolo: number;
  readonly drain: number;
  readonly shut: number;
  readonly probe: number;
}

const constant = (value: number): string => `jhash meta mark mod 1 seed 0x1 offset ${value}`;
const HELD = constant(1148);
const DRAINED = constant(1149);
const SHUT = constant(1150);
/** Ahead of everything that others may hang at these hooks. */
const PRIORITY = -500;

const hex = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
/** Rewrites the source MAC. By offset: `ether saddr` would ask for `meta iiftype`, which egress does not have. */
const setSource = (mac: string): string => `@ll,48,48 set 0x${mac.replaceAll(":", "")}`;

/**
 * The rules of the chain that carries out heart's marks. Each that succeeds stamps the frame's source MAC: the
 * stamp, and not the frame's coming back, is the receipt (where the table is gone, frames come back too).
 */
function renewRules(marks: GateMarks, times: GateTimes, stampMac: string): readonly string[] {
  const hold = (leaseMs: number): string => `update @held { ${HELD} timeout ${leaseMs}ms }`;
  const isHeld = `${HELD} @held ${SHUT} != @state`;
  const stamp = `${setSource(stampMac)} accept`;
  const clear = `delete @state { ${SHUT} } delete @state { ${DRAINED} }`;
  return [
    "meta mark 0 accept",
    // Renewing asks whether it is held; opening does not. Neither can be had for the other.
    `meta mark ${hex(marks.renewShort)} ${isHeld} ${hold(times.leaseMs)} ${stamp}`,
    `meta mark ${hex(marks.renewSolo)} ${isHeld} ${hold(times.soloLeaseMs)} ${stamp}`,
    `meta mark ${hex(marks.openShort)} ${clear} ${hold(times.leaseMs)} ${stamp}`,
    `meta mark ${hex(marks.openSolo)} ${clear} ${hold(times.soloLeaseMs)} ${stamp}`,
    `meta mark ${hex(marks.drain)} ${isHeld} update @state { ${DRAINED} } ${stamp}`,
    // Not `delete @held`: the kernel (6.18) may take the corpse of a lapsed lease for the one that is meant, and
    // leave the gate open. Elements of `state` never lapse, so there they can be deleted.
    `meta mark ${hex(marks.shut)} update @state { ${SHUT} } ${stamp}`,
    `meta mark ${hex(marks.probe)} ${stamp}`,
    `meta mark { ${Object.values(marks).map(hex).join(", ")} } drop`,
  ];
}

export const ingressChain = (device: string): string => `in-${device}`;
export const egressChain = (device: string): string => `out-${device}`;
export const RENEW_CHAIN = "renew";
const DIGEST_CHAIN = "digest";

/** Both chains drop by policy: a rule that somebody removes shuts the gate and never opens it. */
function serviceChains(service: GateService): string {
  const head = (hook: string): string =>
    `type filter hook ${hook} device "${service.device}" priority ${PRIORITY}; policy drop;`;
  return `
 chain ${ingressChain(service.device)} {
  ${head("ingress")}
  ${SHUT} @state counter drop
  ${HELD} @held accept
  counter drop
 }
 chain ${egressChain(service.device)} {
  ${head("egress")}
  ${egressRules(service).join("\n  ")}
 }`;
}

const egressRules = (service: GateService): readonly string[] => [
  `${SHUT} @state counter drop`,
  `${HELD} != @held counter drop`,
  `${DRAINED} != @state accept`,
  "arp operation reply drop",
  "icmpv6 type nd-neighbor-advert drop",
  `${setSource(service.portMac)} accept`,
];

/** Everything but the marks, the stamp and the lengths of the leases: what an adopting heart keeps. */
function lastingPart(services: readonly GateService[]): string {
  // "Drained" has no timeout: were it to end while the lease is renewed, the gate would claim again. The flag
  // `timeout` is there all the same: only such sets are swept of deleted elements by every kernel.
  return `
 set held {
  typeof numgen inc mod 65536
  flags dynamic,timeout
 }
 set state {
  typeof numgen inc mod 65536
  flags dynamic,timeout
 }${services.map(serviceChains).join("")}`;
}

/** Names the lasting part; it stands as the comment of a chain of its own: that of an owned table cannot be changed. */
export function lastingDigest(services: readonly GateService[]): string {
  return `understudy gate ${sha256Hex(lastingPart(services)).slice(0, 16)}`;
}

/** The shut gate in the place of whatever carries its name: one transaction, where the table is a plain one. */
export function installText(
  services: readonly GateService[],
  marks: GateMarks,
  times: GateTimes,
  stampMac: string,
): string {
  return `table netdev ${GATE_TABLE}
delete table netdev ${GATE_TABLE}
table netdev ${GATE_TABLE} {
 chain ${DIGEST_CHAIN} {
  comment "${lastingDigest(services)}"
 }
${lastingPart(services)}
 chain ${RENEW_CHAIN} {
  type filter hook egress device "lo" priority ${PRIORITY}; policy accept;
  ${renewRules(marks, times, stampMac).join("\n  ")}
 }
}
`;
}

/** One transaction: new marks, nothing else of the gate touched, and no bar left of an install that was cut short. */
export function adoptText(marks: GateMarks, times: GateTimes, stampMac: string): string {
  return NO_BAR + refilled(RENEW_CHAIN, renewRules(marks, times, stampMac));
}

/** Other rules in a chain that stays. */
function refilled(chain: string, rules: readonly string[]): string {
  const added = rules.map((rule) => `add rule netdev ${GATE_TABLE} ${chain} ${rule}\n`);
  return `flush chain netdev ${GATE_TABLE} ${chain}\n${added.join("")}`;
}

/**
 * One transaction from the gate of `before` to that of `after`, with everything that is held, drained or shut as it is: chains of
 * services that come or go, the marks' rules for other lengths of leases. A service is the same where its device is.
 */
export function reshapeText(
  before: readonly GateService[],
  after: readonly GateService[],
  marks: GateMarks,
  times: GateTimes,
  stampMac: string,
): string {
  const table = `netdev ${GATE_TABLE}`;
  const gone = before.filter(({ device }) => !after.some((service) => service.device === device));
  const come = after.filter(({ device }) => !before.some((service) => service.device === device));
  const changed = after.filter((service) =>
    before.some(({ device, portMac }) => device === service.device && portMac !== service.portMac),
  );
  const deletion = gone
    .flatMap(({ device }) => [ingressChain(device), egressChain(device)])
    .map((chain) => `flush chain ${table} ${chain}\ndelete chain ${table} ${chain}\n`);
  return [
    ...deletion,
    ...changed.map((service) => refilled(egressChain(service.device), egressRules(service))),
    come.length === 0 ? "" : commandsOf(`table ${table} {${come.map(serviceChains).join("")}\n}\n`),
    refilled(RENEW_CHAIN, renewRules(marks, times, stampMac)),
    `delete chain ${table} ${DIGEST_CHAIN}\n`,
    `add chain ${table} ${DIGEST_CHAIN} {\n  comment "${lastingDigest(after)}"\n}\n`,
  ].join("");
}

/**
 * The bar: a plain table that lets nothing through while the gate is made, for milliseconds. A gate that its heart owns
 * is made in more than one transaction; from the first, which puts the bar in place, to the last, which takes it
 * away from before a gate that was read back and is shut, every frame is dropped.
 */
export const GATE_BAR_TABLE = "understudy-gate-bar";
const NO_BAR = `table netdev ${GATE_BAR_TABLE}\ndelete table netdev ${GATE_BAR_TABLE}\n`;

export function barText(services: readonly GateService[]): string {
  const chain = (name: string, hook: string, device: string): string => ` chain ${name} {
  type filter hook ${hook} device "${device}" priority ${PRIORITY}; policy drop;
 }
`;
  const chains = services.flatMap(({ device }) => [
    chain(ingressChain(device), "ingress", device),
    chain(egressChain(device), "egress", device),
  ]);
  return `${NO_BAR}table netdev ${GATE_BAR_TABLE} {\n${chains.join("")}}\n`;
}

/** Elements of the set `state` that say so. */
export const DRAINED_ELEMENT = 1149;
export const SHUT_ELEMENT = 1150;

// <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>: the kernel's names kept verbatim.
const NFPROTO_NETDEV = 5;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_GETGEN = 16;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_HANDLE = 2;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_DEV = 3;
const NFTA_HOOK_DEVS = 4;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_GEN_ID = 1;
/** `struct nfgenmsg { u8 family; u8 version; be16 res_id; }` */
const NFGENMSG_BYTES = 4;

/**
 * Reads the gate's shape out of the kernel. By plain netlink dumps, which wait for no commit: `nft list` would
 * be started over by every transaction of anybody's.
 */
export class GateReader {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);

  /** The number of the ruleset's last transaction: unchanged means that no rule anywhere was changed. */
  generation(): number {
    const [answer] = this.#socket.get("read the nftables generation", request(NFT_MSG_GETGEN, 0));
    const attributes = answer === undefined ? null : attributesOf(answer);
    return readBe32(attributes?.get(NFTA_GEN_ID)) ?? -1;
  }

  /** The indices of the service interfaces: a chain leaves with its device, without a transaction. */
  deviceIndices(services: readonly GateService[]): string {
    return services.map((service) => interfaceIndex(service.device)).join(" ");
  }

  /**
   * One line for each chain (name, hook, devices, policy, handle) and rule (chain, handle) of the table, sorted:
   * equal texts are the same untouched objects. Empty where there is no such table. The chain of the marks is
   * checked by its effect (a probe), not here.
   */
  shape(): string {
    const family = NFPROTO_NETDEV;
    const absent = { allow: [errno.ENOENT] };
    const chains = this.#socket.dump("read the gate's chains", request(NFT_MSG_GETCHAIN, family), absent);
    const rulesOf = request(NFT_MSG_GETRULE, family).text(NFTA_RULE_TABLE, GATE_TABLE);
    const rules = this.#socket.dump("read the gate's rules", rulesOf, absent);
    const lines = [...chains.map(chainLine), ...rules.map(ruleLine)];
    return lines
      .filter((line) => line !== null)
      .sort()
      .join("\n");
  }

  close(): void {
    this.#socket.close();
  }
}

/** What `shape` says of a complete gate, handles left out: to judge a table that another heart installed. */
export function completeShape(services: readonly GateService[]): readonly string[] {
  const chains = services.flatMap(({ device }) => [
    `chain ${ingressChain(device)} hook 0 on ${device} policy 0`,
    `chain ${egressChain(device)} hook 1 on ${device} policy 0`,
  ]);
  const rules = services.flatMap(({ device }) => [
    ...Array<string>(3).fill(`rule ${ingressChain(device)}`),
    ...Array<string>(6).fill(`rule ${egressChain(device)}`),
  ]);
  return [...chains, ...rules].sort();
}

/** `shape` without the handles, which no two installations share, as sorted lines. */
export function withoutHandles(shape: string): readonly string[] {
  return shape === ""
    ? []
    : shape
        .split("\n")
        .map((line) => line.replace(/ handle .*$/, ""))
        .sort();
}

function request(type: number, family: number): MessageWriter {
  const header = new Uint8Array(NFGENMSG_BYTES);
  header[0] = family;
  return new MessageWriter((NFNL_SUBSYS_NFTABLES << 8) | type).fixed(header);
}

function attributesOf(message: Message): Map<number, Uint8Array> | null {
  return readAttributes(message.payload.subarray(NFGENMSG_BYTES));
}

const textOf = (bytes: Uint8Array | undefined): string => (bytes === undefined ? "" : readText(bytes));
/** A 64-bit handle as hexadecimal digits. */
const handleOf = (bytes: Uint8Array | undefined): string =>
  Array.from(bytes ?? [], (byte) => byte.toString(16).padStart(2, "0")).join("");

function chainLine(message: Message): string | null {
  const attributes = attributesOf(message);
  const name = textOf(attributes?.get(NFTA_CHAIN_NAME));
  if (attributes === null || textOf(attributes.get(NFTA_CHAIN_TABLE)) !== GATE_TABLE) return null;
  if (name === RENEW_CHAIN || name === DIGEST_CHAIN) return null;
  const hook = readAttributes(attributes.get(NFTA_CHAIN_HOOK) ?? new Uint8Array(0));
  const devices = new Set<string>();
  if (hook?.has(NFTA_HOOK_DEV)) devices.add(textOf(hook.get(NFTA_HOOK_DEV)));
  forEachAttribute(hook?.get(NFTA_HOOK_DEVS) ?? new Uint8Array(0), (_type, device) => {
    devices.add(readText(device));
  });
  const number = readBe32(hook?.get(NFTA_HOOK_HOOKNUM));
  const policy = readBe32(attributes.get(NFTA_CHAIN_POLICY));
  const handle = handleOf(attributes.get(NFTA_CHAIN_HANDLE));
  return `chain ${name} hook ${number} on ${[...devices].join(",")} policy ${policy} handle ${handle}`;
}

function ruleLine(message: Message): string | null {
  const attributes = attributesOf(message);
  const chain = textOf(attributes?.get(NFTA_RULE_CHAIN));
  if (attributes === null || textOf(attributes.get(NFTA_RULE_TABLE)) !== GATE_TABLE) return null;
  if (chain === RENEW_CHAIN) return null;
  return `rule ${chain} handle ${handleOf(attributes.get(NFTA_RULE_HANDLE))}`;
}
