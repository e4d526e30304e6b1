// The two tables of keys: all that a user may write, once. Validation, the types of what was read, the JSON
// Schemas in docs/ and docs/configuration.md are made from them. What no single value can show (two links on one
// interface, timers that contradict each other) is in configRules.ts. Pure data.

import {
  ADDRESSES_PER_INTERFACE_MAX,
  DEAD_AFTER_MS_DEFAULT,
  DEAD_AFTER_MS_MAX,
  HEARTBEAT_MS_DEFAULT,
  HEARTBEAT_MS_MAX,
  HEARTBEAT_MS_MIN,
  HELPERS_MAX,
  INTERFACES_MAX,
  KEYS_PER_NODE_MAX,
  LEASE_MS_DEFAULT,
  LEASE_MS_MIN,
  LINK_ID_MAX,
  LINK_ID_MIN,
  LINKS_MAX,
  PATHS_MAX,
  PRIORITY_DEFAULT,
  PRIORITY_MAX,
  ROUTES_MAX,
  SENDING_EXCEPTIONS_MAX,
  SOLO_LEASE_MS_DEFAULT,
  SOLO_LEASE_MS_MAX,
  SOLO_LEASE_MS_MIN,
  WEIGHT_DEFAULT,
  WEIGHT_MAX,
  WITNESSES_MAX,
} from "../base/limits.ts";
import {
  ADDRESS,
  choice,
  duration,
  FILE,
  FLAG,
  GATEWAY_ADDRESS,
  HELPER,
  INTERFACE,
  INTERFACE_ADDRESS,
  integer,
  NAME,
  NETWORK,
  PROTOCOL,
  PUBLIC_KEY,
  RATE,
  SCHEDULE,
  VIRTUAL_MAC,
} from "./configKinds.ts";
import { group, list, names, optional, required, type ValueOf } from "./configSpec.ts";

const KEY_EXAMPLE = `ed25519:${"A".repeat(43)}=`;
const ADDRESSES = list(INTERFACE_ADDRESS, "addresses with prefix lengths", {
  min: 1,
  max: ADDRESSES_PER_INTERFACE_MAX,
});
const VIRTUAL_MAC_ABOUT =
  "The MAC address that the shared addresses have on this segment, on whichever node is active. Set it only where a " +
  "switch or a modem insists on a certain one.";

const NODE_OF_PAIR = group("a node", "One of the two machines. Both are described, the same on both.", {
  keys: required(
    list(PUBLIC_KEY, "public keys", { min: 1, max: KEYS_PER_NODE_MAX }),
    `["${KEY_EXAMPLE}"]`,
    "The node's public keys, as `understudy keygen` prints them. Two at a time while a key is being replaced.",
  ),
  priority: optional(
    integer("number", 0, PRIORITY_MAX),
    `${PRIORITY_DEFAULT}`,
    "100",
    "Where both nodes are equally good, the higher one becomes active; where these are equal too, node `a`.",
  ),
});

const LAN_ROUTE = group("a route", "A network behind another router of the LAN.", {
  network: required(NETWORK, "10.30.0.0/16", "The network that is reached through it."),
  via: required(ADDRESS, "10.20.0.254", "The router, an address inside one of the LAN's networks."),
});

const LAN = group("the LAN", "The inside: the network whose sessions are spread over the links.", {
  interface: required(
    INTERFACE,
    "lan",
    "The port, by the name that `interfaces` of the node's file maps to the machine's own device.",
  ),
  addresses: required(
    ADDRESSES,
    "[10.20.0.1/16, fd20::1/64]",
    "The shared addresses: the gateway of the LAN's hosts, on whichever node is active.",
  ),
  witnesses: optional(
    list(ADDRESS, "addresses", { min: 0, max: WITNESSES_MAX }),
    "any neighbour that is heard",
    "[10.20.1.1]",
    "Hosts of the LAN that are always on, best a switch or a printer. Hearing one proves a node's own cable: without " +
      "a witness on any segment a node never takes over.",
  ),
  routes: optional(
    list(LAN_ROUTE, "routes", { min: 0, max: ROUTES_MAX }),
    "no further networks",
    "[{ network: 10.30.0.0/16, via: 10.20.0.254 }]",
    "Networks behind further routers of the LAN.",
  ),
  virtualMac: optional(VIRTUAL_MAC, "derived from the pair's name", "02:00:5e:10:00:00", VIRTUAL_MAC_ABOUT),
});

const CAPACITY = group("a link's capacity", "What the provider sells, from the LAN's point of view.", {
  up: optional(RATE, "unknown", "100M", "Towards the Internet."),
  down: optional(RATE, "unknown", "1G", "From the Internet."),
});

const LINK = group("a link", "One Internet connection.", {
  id: required(
    integer("number", LINK_ID_MIN, LINK_ID_MAX),
    "1",
    "Its number for good: it is part of every session that uses the link, on both nodes. Never give it to another link " +
      "while sessions live.",
  ),
  name: required(NAME, "fibre", "Its name in every command and message."),
  interface: required(INTERFACE, "wan1", "The port, by the name that the node's file maps to a device."),
  gateway: required(
    list(GATEWAY_ADDRESS, "gateways", { min: 1, max: 2, single: true }),
    "198.51.100.1",
    "The provider's router; a list of one IPv4 and one IPv6 address where it has both. A family without a gateway is not " +
      "forwarded over this link.",
  ),
  addresses: required(
    ADDRESSES,
    "[198.51.100.2/24, 2001:db8:1::2/64]",
    "The shared addresses that the provider gave. Sessions are translated to the first one of their family.",
  ),
  weight: optional(
    integer("number", 0, WEIGHT_MAX),
    `${WEIGHT_DEFAULT}`,
    "3",
    "Its share of new sessions, relative to the other links: of weights 3 and 1 the first gets three quarters. 0: none.",
  ),
  capacity: optional(CAPACITY, "unknown", "{ up: 100M, down: 1G }", "What the provider sells, in bit/s."),
  singleMac: optional(
    FLAG,
    "false",
    "false",
    "The modem, or the switch's port security, accepts one MAC address alone: nothing is ever sent from the port's own.",
  ),
  virtualMac: optional(VIRTUAL_MAC, "derived from the pair's name", "02:00:5e:10:00:01", VIRTUAL_MAC_ABOUT),
  enabled: optional(
    FLAG,
    "true",
    "true",
    "Whether it takes sessions. A link that is being set up, or not paid, can wait.",
  ),
});

const PATH = group("a path", "A way from node to node, for heartbeats and for replication.", {
  name: required(NAME, "sync", "Its name in every command and message."),
  interface: required(INTERFACE, "sync", "The port, by the name that the node's file maps to a device."),
  a: required(
    ADDRESS,
    "10.255.0.1",
    "Node a's own address on it: not a shared one. It is there already, set by the system.",
  ),
  b: required(ADDRESS, "10.255.0.2", "Node b's own address on it, of the same family."),
  use: optional(
    list(choice("heartbeat", "replication"), "uses", { min: 1, max: 2 }),
    "[heartbeat, replication]",
    "[heartbeat, replication]",
    "What it carries. Heartbeats go over every path at once, replication over the first that works.",
  ),
});

const TIMERS = group(
  "the timers",
  "How fast a silent node is replaced. The defaults fit a wire between the nodes.",
  {
    heartbeat: optional(
      duration(HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX),
      `${HEARTBEAT_MS_DEFAULT}ms`,
      "10ms",
      "Time between two heartbeats.",
    ),
    dead: optional(
      duration(LEASE_MS_MIN + 1, DEAD_AFTER_MS_MAX),
      `${DEAD_AFTER_MS_DEFAULT}ms`,
      "50ms",
      "Silence after which the peer counts as dead.",
    ),
    lease: optional(
      duration(LEASE_MS_MIN, DEAD_AFTER_MS_MAX - 1),
      `${LEASE_MS_DEFAULT}ms`,
      "40ms",
      "How long the kernel keeps the active's gate open without being told again. It ends before `dead`, so that two nodes are " +
        "never open at once.",
    ),
    soloLease: optional(
      duration(SOLO_LEASE_MS_MIN, SOLO_LEASE_MS_MAX),
      `${SOLO_LEASE_MS_DEFAULT / 1000}s`,
      "10s",
      "The same for a node whose peer is away: long enough to restart our programs without a gap.",
    ),
  },
);

const PLACEMENT = group("placement", "How new sessions are spread over the links.", {
  seed: optional(
    integer("number", 0, 2 ** 32 - 1),
    "derived from the pair's name",
    "12345",
    "Seed of the hash that places sessions. Another seed gives another, equally good spread.",
  ),
});

const EXCEPTION = group(
  "an exception",
  "Sessions that are not replicated. All that is said must be true of a session: a protocol alone, a network alone, or both.",
  {
    protocol: optional(PROTOCOL, "any protocol", "udp", "The IP protocol, by name or number."),
    port: optional(
      integer("number", 1, 65_535),
      "any port",
      "53",
      "The port that the session was opened to: of TCP, UDP, SCTP or UDP-Lite.",
    ),
    network: optional(
      NETWORK,
      "any address",
      "10.20.99.0/24",
      "The session's source or destination, before translation, is in it.",
    ),
  },
);

const REPLICATION = group(
  "replication",
  "Which sessions the standby is told of, and from when on. What it is not told of it places again by the same hash when the " +
    "session's next packet comes from the LAN: on the same link and, where it is free, with the same port. See below for the price.",
  {
    tcp: optional(
      choice("established", "syn-received", "opening"),
      "established",
      "established",
      "From which part of the handshake on: the connection, the answer to its SYN, or the first SYN.",
    ),
    udp: optional(
      choice("reply", "assured", "first-packet"),
      "reply",
      "reply",
      "UDP and UDP-Lite: from the first answer on, from two seconds of traffic both ways, or from the first packet.",
    ),
    others: optional(
      choice("reply", "first-packet"),
      "reply",
      "reply",
      "ICMP, GRE, ESP and the rest. (SCTP: once it is established.)",
    ),
    except: optional(
      list(EXCEPTION, "exceptions", { min: 0, max: SENDING_EXCEPTIONS_MAX }),
      "no exceptions",
      "[{ protocol: udp, port: 53 }, { network: 10.20.99.0/24 }]",
      "Sessions that are not replicated at all.",
    ),
  },
);

const DRILL = group("the drill", "When the pair hands over and back by itself, to prove that it can.", {
  at: required(
    SCHEDULE,
    "Sun 03:00",
    "A day of the week, or `daily`, and a time on the active node's clock. A pair that is not ready at that minute leaves it out, and says " +
      "why.",
  ),
});

/** The pair's file: the same on both nodes. */
export const PAIR = group("the pair's file", "The same file on both nodes.", {
  version: required(choice(1), "1", "The format of this file."),
  pair: required(
    NAME,
    "office",
    "The pair's name. Virtual MACs and the seed are derived from it, so that two pairs on one segment need two names.",
  ),
  nodes: required(
    group("the nodes", "The two machines, by their names.", {
      a: required(NODE_OF_PAIR, `{ keys: ["${KEY_EXAMPLE}"], priority: 100 }`, "Node a."),
      b: required(NODE_OF_PAIR, `{ keys: ["ed25519:${"E".repeat(43)}="] }`, "Node b."),
    }),
    `{ a: { keys: ["${KEY_EXAMPLE}"] }, b: { keys: ["ed25519:${"E".repeat(43)}="] } }`,
    "The two machines, by their names.",
  ),
  lan: required(LAN, "{ interface: lan, addresses: [10.20.0.1/16] }", "The inside."),
  links: required(
    list(LINK, "links", { min: 1, max: LINKS_MAX }),
    "[{ id: 1, name: fibre, interface: wan1, gateway: 198.51.100.1, addresses: [198.51.100.2/24] }]",
    "The Internet connections.",
  ),
  paths: required(
    list(PATH, "paths", { min: 1, max: PATHS_MAX }),
    "[{ name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }]",
    "The ways from node to node, in order of preference. Have two at least: a cable of their own and the LAN.",
  ),
  timers: optional(
    TIMERS,
    "the defaults",
    "{ heartbeat: 10ms, dead: 50ms, lease: 40ms, soloLease: 10s }",
    "How fast.",
  ),
  placement: optional(PLACEMENT, "the default", "{ seed: 12345 }", "How new sessions are spread."),
  helpers: optional(
    list(HELPER, "helpers", { min: 0, max: HELPERS_MAX }),
    "none",
    "[ftp, sip, sip:5062]",
    "Protocols of the LAN's sessions that arrange further sessions, for the kernel to read: see below for which, and for why " +
      "none is read unasked.",
  ),
  replication: optional(
    REPLICATION,
    "every session, once both ends have spoken",
    "{ except: [{ protocol: udp, port: 53 }] }",
    "Which sessions the standby is told of.",
  ),
  drill: optional(
    DRILL,
    "only by `understudy drill`",
    '{ at: "Sun 03:00" }',
    "When the pair drills by itself.",
  ),
});
export type PairFile = ValueOf<typeof PAIR>;

/** The node's file: which node this machine is, and what is called how on it. */
export const NODE = group(
  "the node's file",
  "The node's own few lines, `/etc/understudy/node.yaml` by default.",
  {
    node: required(choice("a", "b"), "a", "Which of the two this machine is."),
    pair: required(FILE, "pair.yaml", "The pair's file."),
    interfaces: optional(
      names(INTERFACE, INTERFACE, INTERFACES_MAX),
      "the devices are called as in the pair's file",
      "{ lan: eth0, wan1: eth1, wan2: eth2, sync: eth3 }",
      "The machine's own devices for the interfaces that the pair's file names. What is left out has the same name here.",
    ),
    key: optional(
      FILE,
      "node.key",
      "node.key",
      "The private key, made by `understudy keygen`. Readable by its owner alone.",
    ),
    state: optional(
      FILE,
      "/var/lib/understudy",
      "/var/lib/understudy",
      "Directory of what must survive a reboot: the term.",
    ),
    runtime: optional(FILE, "/run/understudy", "/run/understudy", "Directory of the local sockets."),
  },
);
export type NodeFile = ValueOf<typeof NODE>;
