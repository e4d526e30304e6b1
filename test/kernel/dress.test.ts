// The kernel's dress on a real kernel: put on, put on again, mended, taken off. What it does with packets is in
// traffic.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterfaces, undress } from "../../src/kernel/dress.ts";
import { removeRuleset } from "../../src/kernel/rulesetTable.ts";
import { config, gate, LAN_MAC, putOn, setting, sh } from "./dressWorld.ts";
import { inNamespace } from "./namespace.ts";

test(
  "putting on: interfaces down first, everything after it, and a second time changes nothing",
  inNamespace,
  () => {
    const created = createInterfaces(config);
    assert.ok(created.includes(`interface us-lan: macvlan on lan, ${LAN_MAC}`));
    assert.match(sh("ip -d link show us-lan"), /state DOWN[\s\S]*macvlan mode bridge/);
    assert.deepEqual(createInterfaces(config), []);
    gate.install();
    assert.notEqual(putOn().length, 0);
    assert.deepEqual(putOn(), []);
  },
);

test("it reads like this", inNamespace, () => {
  assert.equal(
    sh("ip -br address show dev us-lan").replace(/\s+/g, " ").trim(),
    "us-lan@lan UP 10.20.0.1/16 fd20::1/64 fe80::ff:fe00:1/64",
  );
  assert.match(
    sh("ip address show dev us-lan"),
    /10\.20\.0\.1\/16 brd 10\.20\.255\.255 scope global noprefixroute/,
  );
  assert.match(sh("ip address show dev us-lan"), /fd20::1\/64 scope global nodad noprefixroute/);
  assert.equal(
    sh("ip rule").replaceAll(/\s+/g, " ").trim(),
    [
      "0: from all lookup local",
      "1148: from all iif us-lan lookup 114800 proto 148",
      "1149: from all fwmark 0x1/0xff iif us-lan lookup 114801 proto 148",
      "1149: from all fwmark 0x2/0xff iif us-lan lookup 114802 proto 148",
      "1149: from all fwmark 0x1/0xff iif us-l1 lookup 114800 proto 148",
      "1149: from all fwmark 0x2/0xff iif us-l2 lookup 114800 proto 148",
      "1149: from 198.51.100.2 ipproto tcp blackhole proto 148",
      "1149: from 198.51.101.2 ipproto tcp blackhole proto 148",
      "1150: from 10.20.0.1 lookup 114800 proto 148",
      "1150: from 198.51.100.2 lookup 114801 proto 148",
      "1150: from 198.51.101.2 lookup 114802 proto 148",
      "1151: from all iif us-lan unreachable proto 148",
      "1151: from all iif us-l1 blackhole proto 148",
      "1151: from all iif us-l2 blackhole proto 148",
      "1151: from 10.20.0.1 blackhole proto 148",
      "1151: from 198.51.100.2 blackhole proto 148",
      "1151: from 198.51.101.2 blackhole proto 148",
      "32766: from all lookup main",
      "32767: from all lookup default",
    ].join(" "),
  );
  assert.equal(
    sh("ip route show table 114801").replaceAll(/ +\n/g, "\n"),
    "default via 198.51.100.1 dev us-l1 proto 148 onlink\n198.51.100.0/24 dev us-l1 proto 148 scope link\n",
  );
  assert.match(
    sh("ip -6 route show table 114802"),
    /default via 2001:db8:2::1 dev us-l2 proto 148 metric 1024 onlink/,
  );
  assert.equal(
    sh("ip route show table main").trim(),
    "10.20.0.0/16 dev lan proto kernel scope link src 10.20.0.2",
  );
});

test("what a crash left, or somebody changed, is put right, and only that", inNamespace, () => {
  const harm: readonly (readonly [string, RegExp])[] = [
    ["ip link set us-lan address 02:00:00:00:99:99", /us-lan: MAC 02:00:00:00:00:01, was 02:00:00:00:99:99/],
    ["ip address add 10.20.9.9/16 dev us-lan", /10\.20\.9\.9\/16 of us-lan: removed/],
    ["ip address delete 10.20.0.1/16 dev us-lan", /10\.20\.0\.1\/16 of us-lan: added/],
    ["ip -6 address delete fd20::1/64 dev us-lan", /fd20::1\/64 of us-lan: added/],
    ["ip link set us-l1 down", /us-l1: up/],
    [
      "ip route delete default table 114801",
      /0\.0\.0\.0\/0 via 198\.51\.100\.1 dev us-l1 table 114801: added/,
    ],
    [
      "ip route replace default via 198.51.100.77 dev us-l1 onlink table 114801 proto 148",
      /198\.51\.100\.77.*: removed/,
    ],
    ["ip rule delete preference 1148", /1148: iif us-lan lookup 114800: added/],
    [
      "ip rule add preference 1150 from 192.0.2.1 lookup 114801 proto 148",
      /192\.0\.2\.1 lookup 114801: removed/,
    ],
    ["sysctl -qw net.ipv4.conf.us-l1.forwarding=0", /us-l1\/forwarding = 1/],
    ["sysctl -qw net.ipv4.conf.lan.arp_ignore=0", /lan\/arp_ignore = 1/],
    [
      "ip link delete us-l2; ip link add us-l2 link lan type macvlan mode bridge; ip link set us-l2 group 1148",
      /us-l2: removed, it was on another port/,
    ],
    [
      "ip link add us-l9 link wan1 type macvlan mode bridge; ip link set us-l9 group 1148",
      /us-l9: removed, not in the configuration/,
    ],
  ];
  for (const [command, change] of harm) {
    sh(command);
    assert.match(putOn().join("\n"), change, command);
    assert.deepEqual(putOn(), [], command);
  }
});

test("undressing takes off all of it and nothing else; twice is no error", inNamespace, () => {
  sh(`ip rule add preference 1149 from 192.0.2.7 lookup 99
    ip route add 192.0.2.0/24 dev lan table 114801 proto static
    ip link add theirs link lan type macvlan mode bridge
    sysctl -qw net.ipv4.conf.wan1.arp_announce=1
    nft add table inet theirs`);
  gate.remove();
  assert.notEqual(undress(config).length, 0);
  removeRuleset();
  assert.deepEqual(undress(config), []);
  removeRuleset();
  assert.deepEqual(sh("ip -br link | cut -d@ -f1 | cut -d' ' -f1 | sort").trim().split("\n"), [
    ...["far-lan", "far-wan1", "far-wan2", "lan", "lo", "theirs", "wan1", "wan2"],
  ]);
  assert.match(sh("ip rule"), /1149:\s+from 192\.0\.2\.7 lookup 99/);
  assert.doesNotMatch(
    sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all"),
    /proto 148/,
  );
  assert.match(sh("ip route show table 114801"), /192\.0\.2\.0\/24 dev lan/);
  assert.equal(sh("nft list tables").trim(), "table inet theirs");
  assert.equal(setting("ipv4/conf/lan/arp_ignore"), "0");
  assert.equal(setting("ipv4/conf/wan1/arp_announce"), "1", "changed by somebody since: theirs");
  assert.equal(setting("ipv4/icmp_errors_use_inbound_ifaddr"), "0");
  assert.equal(setting("netfilter/nf_conntrack_tcp_be_liberal"), "0");
});

test(
  "a strict filter for all interfaces: ours are exempt, the others stay as strict, and it comes back",
  inNamespace,
  () => {
    sh(
      "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.lan.rp_filter=0 net.ipv4.conf.wan1.rp_filter=2",
    );
    putOn();
    const filters = (): string[] =>
      ["all", "us-lan", "lan", "wan1"].map((name) => setting(`ipv4/conf/${name}/rp_filter`));
    assert.deepEqual(filters(), ["0", "0", "1", "2"]);
    undress(config);
    assert.deepEqual([setting("ipv4/conf/all/rp_filter"), setting("ipv4/conf/lan/rp_filter")], ["1", "0"]);
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan1.rp_filter=0");
  },
);

test(
  "a name that is somebody else's, a port that is not there: named, and nothing is changed",
  inNamespace,
  () => {
    const world = (): string =>
      sh("ip -o link | sort; ip rule; ip route show table all; ip address; sysctl net.ipv4.conf 2>/dev/null");
    sh("ip link add us-l2 link wan2 type macvlan mode bridge");
    const before = world();
    assert.throws(
      () => createInterfaces(config),
      /create macvlan us-l2 on wan2: NAME_TAKEN: an interface us-l2 exists/,
    );
    assert.equal(world(), before);
    sh("ip link delete us-l2");
    const [first, second] = config.links;
    const elsewhere = { ...second!, service: { ...second!.service, port: "nowhere" } };
    const clean = world();
    assert.throws(
      () => createInterfaces({ ...config, links: [first!, elsewhere] }),
      /there is no interface nowhere/,
    );
    assert.equal(world(), clean);
  },
);

test("a kernel that refuses midway leaves nothing behind", inNamespace, () => {
  const [first, second] = config.links;
  // No macvlan on loopback: the kernel's own refusal, after others were made.
  const refused = { ...second!, service: { ...second!.service, port: "lo" } };
  const names = sh("ip -br link");
  assert.throws(
    () => createInterfaces({ ...config, links: [first!, refused] }),
    /create macvlan us-l2 on lo/,
  );
  assert.equal(sh("ip -br link"), names);
  assert.equal(setting("ipv4/conf/lan/arp_ignore"), "0");
});
