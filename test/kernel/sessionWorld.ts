// A small world for the tests of sessions: a LAN host, a router that translates, a far host, and an empty node to
// apply records in. Real packets through the real kernel; nothing waits for time, only for packets.
//
//   lan 10.9.0.2 -- 10.9.0.1 [active] 192.0.2.1 -- 192.0.2.2 far        [standby]
//       fd09::2     fd09::1           2001:db8::1   2001:db8::2

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { parseAddress } from "../../src/base/addresses.ts";
import {
  AF_INET,
  AF_INET6,
  accept,
  bind,
  close,
  connect,
  LITTLE_ENDIAN,
  listen,
  MSG_NOSIGNAL,
  poll,
  pollVector,
  recv,
  recvfrom,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  send,
  sendto,
  setsockopt,
  socket,
} from "../../src/kernel/libc.ts";
import { NetlinkSocket } from "../../src/kernel/netlink.ts";
import { MessageWriter, NETLINK_ROUTE } from "../../src/wire/netlink.ts";
import { makeNamespace, type Namespace } from "./namespace.ts";

/** Bounds a failure; nothing waits that long where it works. */
const PACKET_WITHIN_MS = 10_000;
const RTM_NEWLINK = 16;
const IFLA_IFNAME = 3;
const IFLA_NET_NS_FD = 28;
const IFINFOMSG_BYTES = 16;

export interface World {
  readonly lan: Namespace;
  readonly active: Namespace;
  readonly far: Namespace;
  readonly standby: Namespace;
  /** Pulls both cables out of the active and into the standby, which has the same addresses. */
  takeOver(): void;
  close(): void;
}

const sh = (command: string): string =>
  execFileSync("sh", ["-ec", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Everything goes over link 3, class 1, application 0x507. */
const RULES = (translate: boolean): string => `
table inet world {
  ct helper ftp {
    type "ftp" protocol tcp
  }
  ct helper sip {
    type "sip" protocol udp
  }
  ct helper tftp {
    type "tftp" protocol udp
  }
  chain place {
    type filter hook prerouting priority mangle; policy accept;
    iifname "lan" ct mark 0 ct mark set 0x00507103
    ct state new tcp dport 21 ct helper set "ftp"
    ct state new udp dport 5060 ct helper set "sip"
    ct state new udp dport 69 ct helper set "tftp"
  }
  chain divert {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 192.0.2.9 tcp dport 8080 dnat ip to 192.0.2.2:81
    ip6 daddr 2001:db8::9 udp dport 8080 dnat ip6 to [2001:db8::2]:81
  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    ${translate ? 'oifname "far" meta nfproto ipv4 snat ip to 192.0.2.1' : ""}
    ${translate ? 'oifname "far" meta nfproto ipv6 snat ip6 to 2001:db8::1' : ""}
  }
}
`;

export function makeWorld(options: { readonly translate: boolean }): World {
  const [lan, active, far, standby] = [makeNamespace(), makeNamespace(), makeNamespace(), makeNamespace()];
  const spaces = [lan, active, far, standby];
  for (const space of spaces)
    space.run(() => {
      // Duplicate address detection takes seconds, in which the first packets are lost.
      for (const which of ["all", "default"]) {
        writeFileSync(`/proc/sys/net/ipv6/conf/${which}/accept_dad`, "0");
        writeFileSync(`/proc/sys/net/ipv6/conf/${which}/dad_transmits`, "0");
      }
    });
  for (const space of [active, standby])
    space.run(() => {
      writeFileSync("/proc/sys/net/netfilter/nf_conntrack_events", "1");
      writeFileSync("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "1");
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
      writeFileSync("/proc/sys/net/ipv6/conf/all/forwarding", "1");
      execFileSync("nft", ["-f", "-"], { input: RULES(options.translate) });
    });
  plumb(active, lan, far);
  return {
    lan,
    active,
    far,
    standby,
    takeOver: () => {
      active.run(() => sh("ip link del lan; ip link del far"));
      plumb(standby, lan, far);
    },
    close: () => {
      for (const space of spaces) space.close();
    },
  };
}

/** Both hosts' cables into `router`. */
function plumb(router: Namespace, lan: Namespace, far: Namespace): void {
  const ends = [
    [lan, "lan", "10.9.0.2/24 10.9.0.3/24 fd09::2/64 fd09::3/64", "10.9.0.1", "fd09::1"],
    [far, "far", "192.0.2.2/24 2001:db8::2/64", "192.0.2.1", "2001:db8::1"],
  ] as const;
  for (const [space, name, addresses, via4, via6] of ends) {
    joinByVeth(router, space, name);
    router.run(() =>
      sh(
        `ip addr add ${via4}/24 dev ${name}; ip addr add ${via6}/64 dev ${name} nodad; ip link set ${name} up`,
      ),
    );
    space.run(() =>
      sh(`for a in ${addresses}; do ip addr add $a dev up0 $(case $a in *:*) echo nodad;; esac); done; ip link set up0 up;
          ip route add default via ${via4}; ip -6 route add default via ${via6}`),
    );
  }
}

/** A veth pair: `name` in `router`, `up0` in `host`. */
function joinByVeth(router: Namespace, host: Namespace, name: string): void {
  router.run(() => {
    sh(`ip link add ${name} type veth peer name up0`);
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    const move = new MessageWriter(RTM_NEWLINK)
      .fixed(new Uint8Array(IFINFOMSG_BYTES))
      .text(IFLA_IFNAME, "up0")
      .u32(IFLA_NET_NS_FD, host.fd);
    socket.request("move up0 to its namespace", move);
    socket.close();
  });
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
export function socketAddress(address: string, port: number): Uint8Array {
  const parsed = parseAddress(address);
  if (parsed === null) throw new Error(address);
  const bytes = new Uint8Array(parsed.family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, parsed.family === 4 ? AF_INET : AF_INET6, LITTLE_ENDIAN);
  view.setUint16(2, port);
  bytes.set(parsed.bytes, parsed.family === 4 ? 4 : 8);
  return bytes;
}

const familyOf = (address: string): number => (address.includes(":") ? AF_INET6 : AF_INET);

function waitReadable(fd: number): void {
  if (poll(pollVector([fd]), 1, PACKET_WITHIN_MS) !== 1) throw new Error("a packet did not arrive");
}

/** Ends a connection with a reset: one packet, at once, where a FIN's answer may be delayed. */
export function reset(fd: number): void {
  const SO_LINGER = 13;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer), "set SO_LINGER");
  close(fd);
}

/** The far host listens. Returns the descriptor. */
export function listenTcp(world: World, at: string, port: number): number {
  return world.far.run(() => {
    const fd = socket(familyOf(at), SOCK_STREAM, 0);
    bind(fd, socketAddress(at, port));
    listen(fd, 64);
    return fd;
  });
}

/** A connection from the LAN to `to`, established when this returns. Returns the client's descriptor. */
export function openTcp(world: World, from: string, fromPort: number, to: string, port: number): number {
  const client = world.lan.run(() => {
    const fd = socket(familyOf(to), SOCK_STREAM, 0);
    bind(fd, socketAddress(from, fromPort));
    connect(fd, socketAddress(to, port));
    return fd;
  });
  return client;
}

/** The server's end of the oldest connection that waits at `listener`. */
export function acceptTcp(listener: number): number {
  waitReadable(listener);
  const fd = accept(listener);
  if (fd < 0) throw new Error(`accept: ${fd}`);
  return fd;
}

/** Sends `text` into one end of a connection and returns what comes out of the other. */
export function say(from: number, to: number, text: string): string {
  const bytes = new TextEncoder().encode(text);
  if (send(from, bytes, bytes.length, MSG_NOSIGNAL) !== bytes.length) throw new Error("send");
  waitReadable(to);
  const heard = new Uint8Array(256);
  return new TextDecoder().decode(heard.subarray(0, recv(to, heard)));
}

/** `rounds` datagrams and answers. The far host answers on `at`, by default where the LAN host sends to. */
export function exchangeUdp(
  world: World,
  [from, fromPort]: readonly [string, number],
  [to, port]: readonly [string, number],
  rounds: number,
  at: readonly [string, number] = [to, port],
): void {
  const server = world.far.run(() => {
    const fd = socket(familyOf(to), SOCK_DGRAM, 0);
    bind(fd, socketAddress(...at));
    return fd;
  });
  const client = world.lan.run(() => {
    const fd = socket(familyOf(to), SOCK_DGRAM, 0);
    bind(fd, socketAddress(from, fromPort));
    return fd;
  });
  const peer = new Uint8Array(familyOf(to) === AF_INET ? 16 : 28);
  const data = new Uint8Array(64);
  for (let round = 0; round < rounds; round += 1) {
    sendto(client, Uint8Array.of(1, 2, 3), 3, 0, socketAddress(to, port));
    waitReadable(server);
    recvfrom(server, data, 0, peer);
    sendto(server, Uint8Array.of(4, 5), 2, 0, peer);
    waitReadable(client);
    recvfrom(client, data, 0, peer.slice());
  }
  close(client);
  close(server);
}

/** An echo request and its answer, with this identifier. */
export function ping(world: World, from: string, to: string, identifier: number): void {
  const six = familyOf(to) === AF_INET6;
  const fd = world.lan.run(() => socket(familyOf(to), SOCK_RAW, six ? 58 : 1));
  bind(fd, socketAddress(from, 0));
  const packet = new Uint8Array(8);
  const view = new DataView(packet.buffer);
  view.setUint8(0, six ? 128 : 8);
  view.setUint16(4, identifier);
  view.setUint16(6, 1);
  // The kernel fills ICMPv6's checksum in; ICMP's is ours.
  if (!six) view.setUint16(2, ~(((8 << 8) + identifier + 1) % 0xffff) & 0xffff);
  sendto(fd, packet, 8, 0, socketAddress(to, 0));
  waitReadable(fd);
  close(fd);
}

/** The table as `conntrack -L` shows it, without what is not replicated: times, uses, generation of the mark. */
export function table(space: Namespace): string[] {
  const text = space.run(() =>
    ["ipv4", "ipv6"]
      .map((family) =>
        execFileSync("conntrack", ["-L", "-f", family], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        }),
      )
      .join(""),
  );
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) =>
      line
        .replace(/^(\S+\s+\d+) \d+ /, "$1 ")
        .replace(/ use=\d+/, "")
        .replace(/mark=(\d+)/, (_, mark) => `mark=${Number(mark) & 0x0fffffff}`),
    )
    .sort();
}
