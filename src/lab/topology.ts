// The laboratory's network, as data: who stands where with which addresses, and the `ip` and `sysctl` text that
// makes it so. Everything else asks here for an address. Pure: it runs nothing.
//
//   h1..hN --- LAN switch --- a --- ISP switch 1 --- isp1 ---+
//                   |         |\--- ISP switch 2 --- isp2 ---+--- internet (servers)
//                   |       sync     (both nodes on each switch)
//                   +-------- b
//
// Switches are bridges in one namespace `switch`, their ports named by who hangs on them: `a-lan`, `b-wan1`, `h7`. So a
// port can stop forwarding with its carrier up, which is how boxes and cables die in practice.

export interface LinkSpec {
  readonly id: number;
  readonly name: string;
  /** Device on a node: `wan1`. */
  readonly device: string;
  readonly weight: number;
  /** The ISP's router, the pair's one address, and the line from the router to the Internet. */
  readonly v4: { readonly gateway: string; readonly shared: string; readonly network: string };
  readonly v6: { readonly gateway: string; readonly shared: string; readonly network: string };
  readonly core: { readonly v4: string; readonly v4Far: string; readonly v6: string; readonly v6Far: string };
}

export interface HostSpec {
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
}

export interface NodeSpec {
  readonly name: "a" | "b";
  readonly lan4: string;
  readonly lan6: string;
  readonly sync: string;
}

export interface Topology {
  readonly hosts: readonly HostSpec[];
  readonly nodes: readonly [NodeSpec, NodeSpec];
  readonly links: readonly LinkSpec[];
  readonly lan: { readonly shared4: string; readonly shared6: string };
  readonly server: { readonly v4: string; readonly v6: string };
}

export const HOSTS_MAX = 100;
/** Every node's devices, in the order of their switches. */
export const nodeDevices = (topology: Topology): readonly string[] => [
  "lan",
  ...topology.links.map((link) => link.device),
  "sync",
];

const LINKS: readonly LinkSpec[] = [
  {
    id: 1,
    name: "fibre",
    device: "wan1",
    weight: 3,
    v4: { gateway: "198.51.100.1", shared: "198.51.100.2", network: "198.51.100.0/24" },
    v6: { gateway: "2001:db8:1::1", shared: "2001:db8:1::2", network: "2001:db8:1::/64" },
    core: { v4: "100.64.1.1", v4Far: "100.64.1.2", v6: "2001:db8:f1::1", v6Far: "2001:db8:f1::2" },
  },
  {
    id: 2,
    name: "cable",
    device: "wan2",
    weight: 1,
    v4: { gateway: "192.0.2.1", shared: "192.0.2.2", network: "192.0.2.0/24" },
    v6: { gateway: "2001:db8:2::1", shared: "2001:db8:2::2", network: "2001:db8:2::/64" },
    core: { v4: "100.64.2.1", v4Far: "100.64.2.2", v6: "2001:db8:f2::1", v6Far: "2001:db8:f2::2" },
  },
];

/** The network with `hosts` LAN hosts (1..HOSTS_MAX). */
export function describeTopology(hosts: number): Topology {
  return {
    hosts: Array.from({ length: hosts }, (_, index) => ({
      name: `h${index + 1}`,
      v4: `10.20.1.${index + 1}`,
      v6: `fd20::1:${(index + 1).toString(16)}`,
    })),
    nodes: [
      { name: "a", lan4: "10.20.0.2", lan6: "fd20::2", sync: "10.255.0.1" },
      { name: "b", lan4: "10.20.0.3", lan6: "fd20::3", sync: "10.255.0.2" },
    ],
    links: LINKS,
    lan: { shared4: "10.20.0.1", shared6: "fd20::1" },
    server: { v4: "203.0.113.10", v6: "2001:db8:ff::10" },
  };
}

/** Every namespace's name, `switch` first. */
export function namespaceNames(topology: Topology): readonly string[] {
  return [
    "switch",
    "internet",
    ...topology.links.map((link) => `isp${link.id}`),
    ...topology.nodes.map((node) => node.name),
    ...topology.hosts.map((host) => host.name),
  ];
}

/** What each namespace says to `sysctl` before it gets a device. A lab waits for nothing and overhears nothing. */
export function sysctlsOf(topology: Topology, name: string): readonly (readonly [string, string])[] {
  const common: (readonly [string, string])[] = [
    ["net/ipv6/conf/default/accept_dad", "0"],
    ["net/ipv6/conf/default/accept_ra", "0"],
    ["net/ipv6/conf/default/router_solicitations", "0"],
  ];
  if (name === "switch")
    return [
      ["net/ipv6/conf/default/disable_ipv6", "1"],
      ["net/bridge/bridge-nf-call-iptables", "0"],
      ["net/bridge/bridge-nf-call-ip6tables", "0"],
      ["net/bridge/bridge-nf-call-arptables", "0"],
    ];
  if (name === "internet" || name.startsWith("isp"))
    return [
      ...common,
      ["net/ipv4/ip_forward", "1"],
      ["net/ipv6/conf/all/forwarding", "1"],
      ["net/core/somaxconn", "65535"],
      // 200,000 answers come from these addresses: nobody is to be told off for it.
      ["net/ipv4/icmp_ratelimit", "0"],
    ];
  if (topology.nodes.some((node) => node.name === name))
    return [
      ...common,
      // Background sessions speak once and stay: they must outlive the scenario.
      ["net/netfilter/nf_conntrack_udp_timeout", "600"],
      ["net/netfilter/nf_conntrack_udp_timeout_stream", "600"],
      ["net/netfilter/nf_conntrack_icmp_timeout", "600"],
      ["net/netfilter/nf_conntrack_icmpv6_timeout", "600"],
    ];
  return [...common, ["net/ipv4/ping_group_range", "0 0"], ["net/ipv4/ip_local_port_range", "20000 60999"]];
}

/** `ip -batch` text for the namespace `switch`: bridges, and every cable with its far end inside its namespace. */
export function switchBatch(topology: Topology, pids: ReadonlyMap<string, number>): string {
  const lines: string[] = [];
  const cable = (port: string, bridge: string, device: string, owner: string): void => {
    lines.push(`link add ${port} type veth peer name ${device} netns ${pids.get(owner)}`);
    lines.push(`link set ${port} master ${bridge} up`);
  };
  for (const device of nodeDevices(topology)) {
    lines.push(`link add br-${device} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`);
    lines.push(`link set br-${device} up`);
    for (const node of topology.nodes) cable(`${node.name}-${device}`, `br-${device}`, device, node.name);
  }
  for (const host of topology.hosts) cable(host.name, "br-lan", "eth0", host.name);
  for (const link of topology.links) cable(`isp${link.id}`, `br-${link.device}`, "in", `isp${link.id}`);
  return `${lines.join("\n")}\n`;
}

/** `ip -batch` text for the namespace `name`, once its cables are there. */
export function insideBatch(topology: Topology, name: string, pids: ReadonlyMap<string, number>): string {
  const lines = ["link set lo up"];
  const host = topology.hosts.find((candidate) => candidate.name === name);
  const node = topology.nodes.find((candidate) => candidate.name === name);
  const link = topology.links.find((candidate) => `isp${candidate.id}` === name);
  if (host) lines.push(...hostLines(topology, host));
  else if (node) lines.push(...nodeLines(topology, node));
  else if (link) lines.push(...ispLines(link, pids.get("internet")));
  else if (name === "internet") lines.push(...internetLines(topology));
  return `${lines.join("\n")}\n`;
}

function hostLines(topology: Topology, host: HostSpec): readonly string[] {
  return [
    `addr add ${host.v4}/16 dev eth0`,
    `addr add ${host.v6}/64 dev eth0 nodad`,
    "link set eth0 up",
    `route add default via ${topology.lan.shared4}`,
    `route add ::/0 via ${topology.lan.shared6}`,
  ];
}

/** Own addresses on LAN and sync cable only: each ISP gives one address, and that is the pair's. */
function nodeLines(topology: Topology, node: NodeSpec): readonly string[] {
  return [
    `addr add ${node.lan4}/16 dev lan`,
    `addr add ${node.lan6}/64 dev lan nodad`,
    `addr add ${node.sync}/24 dev sync`,
    ...nodeDevices(topology).map((device) => `link set ${device} up`),
  ];
}

/** The line to the Internet is made here, so that both its ends are known before either is addressed. */
function ispLines(link: LinkSpec, internet: number | undefined): readonly string[] {
  return [
    `link add core type veth peer name isp${link.id} netns ${internet}`,
    `addr add ${link.v4.gateway}/24 dev in`,
    `addr add ${link.v6.gateway}/64 dev in nodad`,
    "link set in up",
    `addr add ${link.core.v4}/30 dev core`,
    `addr add ${link.core.v6}/64 dev core nodad`,
    "link set core up",
    `route add default via ${link.core.v4Far}`,
    `route add ::/0 via ${link.core.v6Far}`,
  ];
}

function internetLines(topology: Topology): readonly string[] {
  return [
    `addr add ${topology.server.v4}/32 dev lo`,
    `addr add ${topology.server.v6}/128 dev lo nodad`,
    ...topology.links.flatMap((link) => [
      `addr add ${link.core.v4Far}/30 dev isp${link.id}`,
      `addr add ${link.core.v6Far}/64 dev isp${link.id} nodad`,
      `link set isp${link.id} up`,
      `route add ${link.v4.network} via ${link.core.v4} src ${topology.server.v4}`,
      `route add ${link.v6.network} via ${link.core.v6} src ${topology.server.v6}`,
    ]),
  ];
}
