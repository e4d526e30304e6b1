// What a doctor looks at, as data: gathered by src/cli/doctor*.ts on the machine, judged by judge.ts. Null or
// `unknown` where it could not be seen, with the words why. Pure: types and the table of the kernel's features.

import type { PairView } from "../../wire/control.ts";

export type Presence = "present" | "missing" | "unknown";

/** One thing that the kernel or its tools should have. */
export interface FeatureSpec {
  readonly name: string;
  /** `required`: nothing works without it. `useful`: something works less well. */
  readonly need: "required" | "useful";
  /** What follows where it is missing. */
  readonly without: string;
  readonly advice: string;
}

const KERNEL_CONFIG = "A kernel of a common distribution has it; a home-made one needs";

/** Every feature that is looked for, in the order in which they are told. */
export const FEATURES = {
  netdevEgress: {
    name: "nftables at netdev egress (Linux 5.16)",
    need: "required",
    without: "the gate cannot be built, and without a gate nothing is served",
    advice: `${KERNEL_CONFIG} CONFIG_NETFILTER_EGRESS and Linux 5.16 or newer.`,
  },
  timedSets: {
    name: "nftables sets with timeouts, updated by packets",
    need: "required",
    without: "there is no lease in the data path, hence no gate",
    advice: `${KERNEL_CONFIG} CONFIG_NF_TABLES_NETDEV.`,
  },
  jhash: {
    name: "nftables jhash, numgen, and maps of them",
    need: "required",
    without: "sessions cannot be placed on links",
    advice: `${KERNEL_CONFIG} CONFIG_NFT_HASH and CONFIG_NFT_NUMGEN.`,
  },
  sourceNat: {
    name: "nftables source translation, IPv4 and IPv6",
    need: "required",
    without: "sessions cannot leave by a link's address",
    advice: `${KERNEL_CONFIG} CONFIG_NFT_NAT.`,
  },
  macvlan: {
    name: "macvlan interfaces",
    need: "required",
    without: "there are no service interfaces with virtual MACs",
    advice: `${KERNEL_CONFIG} CONFIG_MACVLAN.`,
  },
  conntrackEvents: {
    name: "connection tracking with events",
    need: "required",
    without: "the standby cannot be told of sessions",
    advice: `${KERNEL_CONFIG} CONFIG_NF_CT_NETLINK and CONFIG_NF_CONNTRACK_EVENTS.`,
  },
  packetSockets: {
    name: "packet sockets",
    need: "required",
    without: "the segment cannot be asked who answers for the shared addresses",
    advice: `${KERNEL_CONFIG} CONFIG_PACKET.`,
  },
  libnftables: {
    name: "libnftables.so.1",
    need: "required",
    without: "no rules can be written",
    advice: "Install nftables (Debian, Ubuntu: apt install nftables).",
  },
  ownedTables: {
    name: "nftables tables with an owner that persist (Linux 6.9)",
    need: "useful",
    without:
      "`nft flush ruleset` removes the gate for up to 20 ms and forwarding for up to 1 s, until they are restored, with alarms",
    advice: "Understudy does without; keep `systemctl reload nftables` out of busy hours.",
  },
  tcpRtoMin: {
    name: "a least retransmission timeout of one socket (TCP_RTO_MIN_US, Linux 6.15)",
    need: "useful",
    without:
      "replication puts a route to the peer with `rto_min 5ms` into table main for each of its paths, which all TCP between these two addresses takes",
    advice: "Understudy takes it away again when it stops; there is nothing to do.",
  },
  realTime: {
    name: "real-time priority for heart (SCHED_FIFO)",
    need: "useful",
    without: "a busy machine may delay heartbeats, and be taken for dead",
    advice: "Run as root, or grant CAP_SYS_NICE; else set timers.dead higher.",
  },
  receiveBuffer: {
    name: "large receive buffers (SO_RCVBUFFORCE)",
    need: "useful",
    without: "a burst of new sessions overruns the event socket sooner; what was lost is read again",
    advice: "Run as root, or grant CAP_NET_ADMIN in the first user namespace.",
  },
} as const satisfies Readonly<Record<string, FeatureSpec>>;

export type Feature = keyof typeof FEATURES;

export interface FeatureFact {
  readonly presence: Presence;
  /** Whose words they are that it is missing or unknown: the kernel's, the tool's. */
  readonly words?: string;
}

/** Whether `nft flush ruleset` and the like pass heart's gate by; `absent`: there is no gate. */
export type GateFact = "protected" | "open-to-others" | "absent" | "unseen";

/** A socket on port 1148 of this machine (of this network namespace). */
export interface Listener {
  readonly protocol: "tcp" | "udp";
  readonly address: string;
  /** Null where the process could not be seen. */
  readonly pid: number | null;
  /** Name and arguments of the process. */
  readonly name: string;
  readonly commandLine: readonly string[];
}

export interface KeyFact {
  readonly file: string;
  /** The key's public half, where it could be read. */
  readonly publicKey: string | null;
  /** Why it could not, with what to do. */
  readonly refusal: { readonly words: string; readonly advice: string } | null;
  /** Public keys that the pair's file lists for this node. */
  readonly listed: readonly string[];
  /** For reading aloud: of this node's key, and of those that the pair's file lists for the peer. */
  readonly fingerprints: { readonly own: string | null; readonly peer: readonly string[] };
}

/** An attempt to reach the peer, made where no daemon could be asked. */
export interface PathAttempt {
  readonly name: string;
  readonly local: string;
  readonly remote: string;
  readonly connected: boolean;
  /** The errno's name; `ETIMEDOUT` where nothing came back. */
  readonly code: string;
}

export interface DoctorFacts {
  readonly nodeFile: string;
  /** Asked by root; others cannot see everything, and that is no fault of the node. */
  readonly asRoot: boolean;
  /** Null where the configuration does not hold: then nothing that depends on it was looked at. */
  readonly configuration: {
    readonly pair: string;
    readonly node: "a" | "b";
    /** Of the pair's file, hex. */
    readonly digest: string;
  } | null;
  /** Mistakes of the files, then what the machine lacks of what they name, a line each. */
  readonly configurationErrors: readonly string[];
  readonly key: KeyFact | null;
  readonly daemon: {
    /** False where this user may not ask it: then nothing is known of it, nor of heart. */
    readonly mayAsk: boolean;
    readonly answers: boolean;
    readonly view: PairView | null;
    /** Why it could not be asked. */
    readonly words: string;
  };
  /** Whether heart's own socket accepts. */
  readonly heartAnswers: boolean;
  readonly listeners: readonly Listener[];
  readonly attempts: readonly PathAttempt[];
  readonly features: Readonly<Record<Feature, FeatureFact>>;
  readonly gate: GateFact;
  /** `nft` -> `1.0.6`; null where the tool is not installed. */
  readonly tools: Readonly<Record<"nft" | "ip" | "conntrack", string | null>>;
  readonly conntrack: {
    readonly max: number | null;
    readonly buckets: number | null;
    readonly count: number | null;
  };
  /** What of ours lies in the kernel, each in a few words; null where it could not be listed. */
  readonly remains: readonly string[] | null;
}
