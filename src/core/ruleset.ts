// The ruleset: configuration -> the text of `table inet understudy`, which places, marks, translates and guards
// the pair's sessions. Text only; who loads it is src/kernel/dress.ts. Pure.
//
// What it must hold: forwarded packets pass only between the LAN and a link, in a session that has that link in
// its mark; nothing leaves a link with a source that is not the link's; strangers get no answer at a link's address,
// neither for a new session nor for one that this node does not know (the RST that kills sessions at a takeover);
// the node's own traffic is not touched.

import { contains, formatCidr, networkOf, parseAddress } from "../base/addresses.ts";
import { MARK_GENERATION_MASK, MARK_LINK_MASK, PORT, SLOTS } from "../base/limits.ts";
import { sha256Hex } from "../base/sha256.ts";
import type { Config, LinkConfig } from "./config.ts";
import { servicesOf } from "./config.ts";
import { type KernelHelper, kernelHelpers } from "./helpers.ts";

export const RULESET_TABLE = "understudy";

/** 64 bits: against change, not against malice (who may write here may do anything). */
const DIGEST_DIGITS = 16;
const LINK_BITS = `0x${MARK_LINK_MASK.toString(16)}`;
const GENERATION_BITS = `0x${MARK_GENERATION_MASK.toString(16)}`;
const OTHER_BITS = `0x${(~MARK_GENERATION_MASK >>> 0).toString(16)}`;
/** Neighbour discovery and multicast listener messages: never tracked, and the segment's own business. */
const NEIGHBOUR_MESSAGES =
  "{ mld-listener-query, mld-listener-report, mld-listener-done, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report }";

const quoted = (names: readonly string[]): string => `{ ${names.map((name) => `"${name}"`).join(", ")} }`;
const list = (items: readonly string[]): string => `{ ${items.join(", ")} }`;

/**
 * One transaction that puts the table in place of whatever has its name. `slots`: 4096 link ids, 0 for none.
 * Ends in a newline. The comment names everything but the slots (`rulesetDigest`); it is a
 * chain's, because that of a table with an owner could not be changed.
 */
export function compileRuleset(config: Config, slots: Uint8Array): string {
  return `table inet ${RULESET_TABLE}
delete table inet ${RULESET_TABLE}
table inet ${RULESET_TABLE} {
 chain digest {
  comment "${rulesetDigest(config)}"
 }
 map slots {
  typeof numgen inc mod ${SLOTS} : ct mark
${elementsText(slots)} }
${rules(config)}}
`;
}

/** Everything but the slots. */
const rules = (config: Config): string => helperObjects(config) + chains(config);

/** What the comment says where the table is up to date, slots aside. */
export function rulesetDigest(config: Config): string {
  return `understudy ruleset ${sha256Hex(rules(config)).slice(0, DIGEST_DIGITS)}`;
}

/** One transaction for the slots that changed; empty text where none did. */
export function updateSlots(old: Uint8Array, next: Uint8Array): string {
  const gone: string[] = [];
  const come: string[] = [];
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const [before, now] = [old[slot] ?? 0, next[slot] ?? 0];
    if (before === now) continue;
    if (before !== 0) gone.push(String(slot));
    if (now !== 0) come.push(`${slot} : ${now}`);
  }
  const map = `inet ${RULESET_TABLE} slots`;
  const deletion = gone.length === 0 ? "" : `delete element ${map} ${list(gone)}\n`;
  const addition = come.length === 0 ? "" : `add element ${map} ${list(come)}\n`;
  return deletion + addition;
}

/** Slots without a link are left out: what hashes there finds nothing, gets no mark and is not forwarded. */
function elementsText(slots: Uint8Array): string {
  const elements: string[] = [];
  slots.forEach((link, slot) => {
    if (link !== 0) elements.push(`${slot} : ${link}`);
  });
  return elements.length === 0 ? "" : `  elements = ${list(elements)}\n`;
}

function chains(config: Config): string {
  return [
    untracked(config),
    placement(config),
    forwarding(config),
    translation(config),
    lastGuard(config),
  ].join("");
}

/** Networks behind the LAN's interface, by family, as nft text; none inside another, which a set would refuse. */
function lanNetworks(config: Config, family: 4 | 6): readonly string[] {
  const { lan } = config;
  const all = [...lan.service.addresses, ...lan.routes.map((route) => route.network)]
    .filter((network) => network.family === family)
    .map((network) => networkOf({ ...network, bytes: parseAddress(network.address)!.bytes }))
    .sort((one, other) => one.prefixLength - other.prefixLength);
  const outer = all.filter(
    (network, index) => !all.slice(0, index).some((wider) => contains(wider, network.bytes)),
  );
  return outer.map(formatCidr).sort();
}

/**
 * Replication and heartbeats are the node's own: untracked, so that they are never taken for the pair's sessions. From
 * LAN to LAN (a host that uses us as its way to another router) we see one direction only: nothing to track.
 */
function untracked(config: Config): string {
  const lan = config.lan.service.device;
  const services = quoted(servicesOf(config).map((service) => service.device));
  const hairpin = ([4, 6] as const).flatMap((family) => {
    const networks = lanNetworks(config, family);
    const field = family === 4 ? "ip" : "ip6";
    if (networks.length === 0) return [];
    return [`  iifname "${lan}" ${field} daddr ${list(networks)} fib daddr type != local notrack\n`];
  });
  return ` chain untracked-in {
  type filter hook prerouting priority raw; policy accept;
  iifname != ${services} meta l4proto { tcp, udp } th dport ${PORT} notrack
  iifname != ${services} meta l4proto { tcp, udp } th sport ${PORT} notrack
${hairpin.join("")} }
 chain untracked-out {
  type filter hook output priority raw; policy accept;
  meta l4proto { tcp, udp } th dport ${PORT} notrack
  meta l4proto { tcp, udp } th sport ${PORT} notrack
 }
`;
}

const helperName = ({ type, protocol }: KernelHelper): string => `${type}-${protocol}`;

/** What of the kernel's helpers the LAN's sessions may get: one object each, whatever the number of its ports. */
function helperObjects(config: Config): string {
  const objects = kernelHelpers(config.helpers).map(
    (helper) =>
      ` ct helper ${helperName(helper)} {\n  type "${helper.type}" protocol ${helper.protocol}\n }\n`,
  );
  return [...new Set(objects)].join("");
}

/** A new session of the LAN's gets the helper of the port that it is opened to. */
function assignHelpers(config: Config): string {
  const assignments = kernelHelpers(config.helpers).map(
    (helper) => `  ${helper.protocol} dport ${helper.port} ct helper set "${helperName(helper)}"\n`,
  );
  return assignments.length === 0 ? "" : ` chain helpers {\n${assignments.join("")} }\n`;
}

/**
 * A session that a helper expected inherits its master's mark: the link, which it needs, and the generation that the master
 * came with, which it has not: it was made here. (An error message in its name is related to it, and no new session.)
 */
const inherited = (config: Config): string =>
  config.helpers.length === 0
    ? ""
    : `  ct state related ct status expected ct mark and ${GENERATION_BITS} != 0 meta l4proto != { icmp, icmpv6 } ct mark set ct mark and ${OTHER_BITS}\n`;

/** A session's first packet gets its link here; the fields are those of placement.ts, in its order. */
function placement(config: Config): string {
  const place = (key: string): string =>
    `ct mark set jhash ${key} mod ${SLOTS} seed ${config.placementSeed} map @slots`;
  const placing = (field: "ip" | "ip6"): string => {
    const icmp = field === "ip" ? "icmp" : "icmpv6";
    const ends = `${field} saddr . ${field} daddr . meta l4proto`;
    return ` chain place-${field} {
  meta l4proto { tcp, udp, sctp } ${place(`${ends} . th sport . th dport`)} return
  meta l4proto ${icmp} ${place(`${ends} . @th,32,16`)} return
  meta l4proto != { tcp, udp, sctp, ${icmp} } ${place(ends)}
 }
`;
  };
  const links = config.links.map((link) => link.service.device);
  const fromLinks = links.length === 0 ? "" : `  iifname ${quoted(links)} goto from-links\n`;
  const helpers = config.helpers.length === 0 ? "" : "  ct state new jump helpers\n";
  return `${placing("ip")}${placing("ip6")}${assignHelpers(config)} chain from-lan {
${inherited(config)}  ct mark and ${LINK_BITS} != 0 meta mark set ct mark and ${LINK_BITS} accept
  ct state untracked accept
  ct state invalid counter drop
  fib daddr type { local, broadcast, multicast } accept
  ct state new meta nfproto ipv4 jump place-ip
  ct state new meta nfproto ipv6 jump place-ip6
${helpers}  meta mark set ct mark and ${LINK_BITS}
 }
 chain from-links {
${inherited(config)}  ct state established,related meta mark set ct mark and ${LINK_BITS} accept
  icmpv6 type ${NEIGHBOUR_MESSAGES} accept
  counter drop
 }
 chain place {
  type filter hook prerouting priority mangle; policy accept;
  iifname "${config.lan.service.device}" goto from-lan
${fromLinks} }
`;
}

function forwarding(config: Config): string {
  const lan = config.lan.service.device;
  const services = quoted(servicesOf(config).map((service) => service.device));
  const out = config.links.map(
    (link) =>
      `  iifname "${lan}" oifname "${link.service.device}" ct mark and ${LINK_BITS} == ${link.id} accept\n`,
  );
  const back = config.links.map(
    (link) =>
      `  iifname "${link.service.device}" oifname "${lan}" ct state established,related ct mark and ${LINK_BITS} == ${link.id} accept\n`,
  );
  return ` chain forward {
  type filter hook forward priority filter; policy accept;
  iifname != ${services} oifname != ${services} accept
  iifname "${lan}" oifname "${lan}" ct state untracked accept
  ct state invalid,untracked counter drop
  tcp flags syn tcp option maxseg size set rt mtu
${out.join("")}${back.join("")}  counter drop
 }
`;
}

const firstOf = (link: LinkConfig, family: 4 | 6): string | undefined =>
  link.service.addresses.find((address) => address.family === family)?.address;
const allOf = (link: LinkConfig, family: 4 | 6): readonly string[] =>
  link.service.addresses.filter((address) => address.family === family).map((address) => address.address);

function translation(config: Config): string {
  const rules = config.links.flatMap((link) => {
    const device = link.service.device;
    const [v4, v6] = [firstOf(link, 4), firstOf(link, 6)];
    return [
      ...(v4 === undefined
        ? []
        : [`  oifname "${device}" ip saddr != ${list(allOf(link, 4))} snat ip to ${v4}\n`]),
      ...(v6 === undefined
        ? []
        : [`  oifname "${device}" ip6 saddr != ${list(allOf(link, 6))} snat ip6 to ${v6}\n`]),
    ];
  });
  return ` chain translate {
  type nat hook postrouting priority srcnat; policy accept;
${rules.join("")} }
`;
}

/** Behind translation: what still carries another source leaves by no link. */
function lastGuard(config: Config): string {
  const rules = config.links.map((link) => {
    const device = link.service.device;
    const sources = ([4, 6] as const).map((family) => {
      const addresses = allOf(link, family);
      const field = family === 4 ? "ip" : "ip6";
      return addresses.length === 0 ? "" : `  oifname "${device}" ${field} saddr ${list(addresses)} accept\n`;
    });
    return `${sources.join("")}  oifname "${device}" icmpv6 type ${NEIGHBOUR_MESSAGES} accept
  oifname "${device}" counter drop
`;
  });
  return ` chain last-guard {
  type filter hook postrouting priority srcnat + 50; policy accept;
${rules.join("")} }
`;
}
