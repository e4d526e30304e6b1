// How long the kernel gives a session that nobody speaks in, by protocol and state: nf_conntrack_*_timeout* of a network
// namespace, and which of them is an entry's. Every packet sets an entry's time to it, so that an entry with more left is
// one that no packet has passed since somebody else wrote it. A `ct timeout` policy of nftables, or a helper's own
// times (PPTP's GRE), cannot be seen from here. Pure.
// Source: net/netfilter/nf_conntrack_proto_{tcp,udp,sctp,icmp,icmpv6,gre,generic}.c (6.18).

import {
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  type SessionFields,
} from "./sessionFields.ts";

/** By TCP_CONNTRACK_*, from SYN_SENT (1) on. */
const TCP = [
  "tcp_timeout_syn_sent",
  "tcp_timeout_syn_recv",
  "tcp_timeout_established",
  "tcp_timeout_fin_wait",
  "tcp_timeout_close_wait",
  "tcp_timeout_last_ack",
  "tcp_timeout_time_wait",
  "tcp_timeout_close",
] as const;
/** SYN_SENT2 (9) has no setting: two minutes. */
const SYN_SENT2_SECONDS = 120;
/** By SCTP_CONNTRACK_*, from CLOSED (1) on; kernels before 6.1 have `heartbeat_acked` as a state of its own (9). */
const SCTP = [
  "sctp_timeout_closed",
  "sctp_timeout_cookie_wait",
  "sctp_timeout_cookie_echoed",
  "sctp_timeout_established",
  "sctp_timeout_shutdown_sent",
  "sctp_timeout_shutdown_recd",
  "sctp_timeout_shutdown_ack_sent",
  "sctp_timeout_heartbeat_sent",
  "sctp_timeout_heartbeat_acked",
] as const;

/** Seconds. A list is by the protocol's state, its first entry unused. */
export interface ProtocolTimes {
  readonly tcp: readonly number[];
  readonly sctp: readonly number[];
  readonly udp: number;
  readonly udpStream: number;
  readonly icmp: number;
  readonly icmpv6: number;
  readonly gre: number;
  readonly greStream: number;
  readonly generic: number;
}

/** What the kernel has where nobody changed it (nf_conntrack_proto_generic.c). */
const GENERIC_SECONDS = 600;

/**
 * The times of a namespace. `read` gives the value of `net.netfilter.nf_conntrack_NAME`, or null where this kernel has no
 * such setting: it then tracks the protocol as one of those that it knows nothing about.
 */
export function protocolTimes(read: (name: string) => number | null): ProtocolTimes {
  const generic = read("generic_timeout") ?? GENERIC_SECONDS;
  const of = (name: string): number => read(name) ?? generic;
  const tcp = [0, ...TCP.map(of)];
  return {
    tcp: [...tcp, Math.max(SYN_SENT2_SECONDS, tcp[1]!)],
    sctp: [0, ...SCTP.map(of)],
    udp: of("udp_timeout"),
    udpStream: of("udp_timeout_stream"),
    icmp: of("icmp_timeout"),
    icmpv6: of("icmpv6_timeout"),
    gre: of("gre_timeout"),
    greStream: of("gre_timeout_stream"),
    generic,
  };
}

/**
 * The most that a packet gives this entry, in seconds; null where it cannot be said: a state that is not told, or that
 * this program does not know.
 */
export function protocolSeconds(times: ProtocolTimes, fields: SessionFields): number | null {
  const { protocol, protocolState, status } = fields;
  switch (protocol) {
    case IPPROTO_TCP:
      return protocolState === 0 ? null : (times.tcp[protocolState] ?? null);
    case IPPROTO_SCTP:
      return protocolState === 0 ? null : (times.sctp[protocolState] ?? null);
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
      return (status & IPS_ASSURED) !== 0 ? times.udpStream : times.udp;
    case IPPROTO_GRE:
      return (status & IPS_SEEN_REPLY) !== 0 ? times.greStream : times.gre;
    case IPPROTO_ICMP:
      return fields.family === 4 ? times.icmp : times.generic;
    case IPPROTO_ICMPV6:
      return fields.family === 6 ? times.icmpv6 : times.generic;
    default:
      return times.generic;
  }
}
