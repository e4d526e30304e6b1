// The helpers of connection tracking that a pair may use: what the user calls them, and what the kernel does. A helper reads
// the words of a protocol that arranges further sessions, lets those in, and translates the addresses in the words. Pure data.
// Source: net/netfilter/nf_conntrack_{ftp,tftp,sip,irc,pptp,h323_main}.c (6.18).

/** What the kernel knows a helper by, and the port that it listens to by custom. */
export interface KernelHelper {
  readonly type: string;
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

export const HELPERS = {
  ftp: [{ type: "ftp", protocol: "tcp", port: 21 }],
  tftp: [{ type: "tftp", protocol: "udp", port: 69 }],
  sip: [
    { type: "sip", protocol: "udp", port: 5060 },
    { type: "sip", protocol: "tcp", port: 5060 },
  ],
  irc: [{ type: "irc", protocol: "tcp", port: 6667 }],
  pptp: [{ type: "pptp", protocol: "tcp", port: 1723 }],
  h323: [
    { type: "RAS", protocol: "udp", port: 1719 },
    { type: "Q.931", protocol: "tcp", port: 1720 },
  ],
} as const satisfies Readonly<Record<string, readonly KernelHelper[]>>;

export type HelperName = keyof typeof HELPERS;
export const HELPER_NAMES = Object.keys(HELPERS) as readonly HelperName[];

/** A helper for the LAN's sessions to a port, its usual one where none is said. */
export interface HelperConfig {
  readonly name: HelperName;
  readonly port?: number;
}

/** `sip`, `sip:5062`: as the user writes it. */
export const helperText = ({ name, port }: HelperConfig): string =>
  port === undefined ? name : `${name}:${port}`;

/** Its usual ports; `sip:5060` is `sip`. */
export const usualPorts = (name: HelperName): readonly number[] => [
  ...new Set(HELPERS[name].map(({ port }) => port)),
];

/** Everything that the kernel is to be told, in order, each once. */
export function kernelHelpers(helpers: readonly HelperConfig[]): readonly KernelHelper[] {
  const all = helpers.flatMap(({ name, port }) =>
    HELPERS[name].map((known): KernelHelper => ({ ...known, port: port ?? known.port })),
  );
  const key = ({ type, protocol, port }: KernelHelper): string => `${type} ${protocol} ${port}`;
  return [...new Map(all.map((each) => [key(each), each])).values()].sort((one, other) =>
    key(one) < key(other) ? -1 : 1,
  );
}
