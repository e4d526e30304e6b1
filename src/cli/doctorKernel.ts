// The kernel's features, tried and not guessed: each is used once in a network namespace made for it, which ends
// with the process that tried it. Nothing of the machine's own is touched, as root or not.

import { spawnSync } from "node:child_process";
import { accessSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { fileURLToPath } from "node:url";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import type { DoctorFacts, FEATURES, Feature, FeatureFact, GateFact } from "../core/doctor/facts.ts";

const PROBE_MS_MAX = 10_000;
/** Tools of the administrator are often not in an ordinary user's PATH. */
const environment = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C" };

const present: FeatureFact = { presence: "present" };
const missing = (words: string): FeatureFact => ({ presence: "missing", words });
const unknown = (words: string): FeatureFact => ({ presence: "unknown", words });

interface Ran {
  readonly ok: boolean;
  readonly status: number | null;
  /** Standard output, or the first line of what went wrong. */
  readonly text: string;
  readonly absent: boolean;
}

function run(program: string, args: readonly string[], input = ""): Ran {
  const done = spawnSync(program, args, { input, env: environment, timeout: PROBE_MS_MAX, encoding: "utf8" });
  if (done.error !== undefined) {
    const { code = "EIO" } = done.error as NodeJS.ErrnoException;
    return { ok: false, status: null, text: `${program}: ${code}`, absent: code === "ENOENT" };
  }
  const errors = done.stderr.trim().split("\n")[0] ?? "";
  const { status } = done;
  return { ok: status === 0, status, text: status === 0 ? done.stdout.trim() : errors, absent: false };
}

/** `unshare` with what this user needs to own a network namespace. */
const namespaceArgs = (): readonly string[] => (process.getuid?.() === 0 ? ["-n"] : ["-Urn"]);

/** One command in a namespace of its own; `sh -c` where a probe takes several. */
const inNamespace = (command: readonly string[], input?: string): Ran =>
  run("unshare", [...namespaceArgs(), "--", ...command], input);

/** What nft must be able to load, feature by feature. */
const rulesets = {
  netdevEgress: `table netdev probe {
    chain out { type filter hook egress device "lo" priority -500; policy accept; }
  }`,
  timedSets: `table netdev probe {
    set held { typeof numgen inc mod 65536; flags dynamic,timeout; }
    chain in {
      type filter hook ingress device "lo" priority -500; policy accept;
      meta mark 1 update @held { jhash meta mark mod 1 seed 0x1 offset 1148 timeout 40ms } accept
    }
  }`,
  jhash: `table inet probe {
    map slots { typeof numgen inc mod 4096 : ct mark; }
    chain pre {
      type filter hook prerouting priority mangle; policy accept;
      ct mark set jhash ip saddr . ip daddr . th sport . th dport mod 4096 seed 0x1 map @slots
    }
  }`,
  sourceNat: `table inet probe {
    chain post {
      type nat hook postrouting priority srcnat; policy accept;
      meta nfproto ipv4 snat ip to 192.0.2.1
      meta nfproto ipv6 snat ip6 to 2001:db8::1
    }
  }`,
} as const;

function probeRules(text: string): FeatureFact {
  const ran = inNamespace(["nft", "-f", "-"], text);
  return ran.ok ? present : missing(ran.text);
}

function probeMacvlan(): FeatureFact {
  // A macvlan needs something below it; a veth is there on every kernel that has namespaces to offer.
  const parent = inNamespace(["ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1"]);
  if (!parent.ok) return unknown(parent.text);
  const add = "ip link add p0 type veth peer name p1 && ip link add m0 link p0 type macvlan mode bridge";
  const ran = inNamespace(["sh", "-c", add]);
  return ran.ok ? present : missing(ran.text);
}

/** In a process of its own: this one is not in the namespace. */
function probeOwnedTables(): FeatureFact {
  const file = fileURLToPath(new URL("tryOwnedTables.ts", import.meta.url));
  const ran = inNamespace([process.execPath, file]);
  if (ran.ok) return present;
  return ran.status === ExitCode.NotPossible ? missing(`this is Linux ${release()}`) : unknown(ran.text);
}

/** Who may remove heart's gate, in this network namespace. */
export async function probeGate(): Promise<GateFact> {
  const { TableReader } = await import("../kernel/tableOwner.ts");
  const { GATE_TABLE } = await import("../kernel/gateTable.ts");
  try {
    const reader = new TableReader("netdev");
    const gate = reader.read(GATE_TABLE);
    reader.close();
    return gate === null ? "absent" : gate.owner === null ? "open-to-others" : "protected";
  } catch (error) {
    if (error instanceof BoundaryError) return "unseen";
    throw error;
  }
}

const exists = (path: string): boolean => {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
};

/** What needs the native library, loaded here and not before: a machine on which it fails still has a doctor. */
async function probeNative(): Promise<
  Pick<Record<Feature, FeatureFact>, "libnftables" | "packetSockets" | "receiveBuffer" | "tcpRtoMin">
> {
  const libc = await import("../kernel/libc.ts");
  const { Nftables } = await import("../kernel/nftables.ts");
  const { hasRetransmissionOption } = await import("../kernel/pathRoutes.ts");
  const judge = (act: () => void, forbidden: (words: string) => FeatureFact): FeatureFact => {
    try {
      act();
      return present;
    } catch (error) {
      if (!(error instanceof BoundaryError)) throw error;
      const words = error.words ?? error.code;
      return error.code === "EPERM" || error.code === "EACCES" ? forbidden(words) : missing(words);
    }
  };
  const withSocket = (domain: number, type: number, use: (fd: number) => void): void => {
    const fd = libc.socket(domain, type, 0);
    try {
      use(fd);
    } finally {
      libc.close(fd);
    }
  };
  return {
    tcpRtoMin: hasRetransmissionOption() ? present : missing(`this is Linux ${release()}`),
    libnftables: judge(() => void new Nftables(), unknown),
    packetSockets: judge(() => withSocket(libc.AF_PACKET, libc.SOCK_RAW, () => undefined), unknown),
    receiveBuffer: judge(
      () =>
        withSocket(libc.AF_INET, libc.SOCK_DGRAM, (fd) =>
          libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, 1 << 20, "size a receive buffer"),
        ),
      // Of an ordinary user it is expected, and says nothing of the daemon.
      process.getuid?.() === 0 ? missing : unknown,
    ),
  };
}

/** What each feature's probe says. */
export async function probeFeatures(): Promise<Record<Feature, FeatureFact>> {
  const native = await probeNative();
  const namespace = inNamespace(["true"]);
  const nft = inNamespace(["nft", "--version"]);
  const rules = (text: string): FeatureFact =>
    namespace.ok && nft.ok
      ? probeRules(text)
      : unknown(namespace.ok ? "nft is not installed" : namespace.text);
  const events = "/proc/sys/net/netfilter/nf_conntrack_events";
  const root = process.getuid?.() === 0;
  const realTime = run("chrt", ["-f", "1", "true"]);
  return {
    netdevEgress: rules(rulesets.netdevEgress),
    timedSets: rules(rulesets.timedSets),
    jhash: rules(rulesets.jhash),
    sourceNat: rules(rulesets.sourceNat),
    macvlan: namespace.ok ? probeMacvlan() : unknown(namespace.text),
    // Not loaded yet is not missing: the rules load it.
    conntrackEvents: exists(events) ? present : unknown("connection tracking is not loaded yet"),
    ...native,
    ownedTables: namespace.ok ? probeOwnedTables() : unknown(namespace.text),
    realTime: realTime.ok
      ? present
      : root && !realTime.absent
        ? missing(realTime.text)
        : unknown(realTime.text),
  } satisfies Record<keyof typeof FEATURES, FeatureFact>;
}

/** The first line that each tool says of its version; null where it is not installed. */
export function probeTools(): DoctorFacts["tools"] {
  const version = (program: string, flag: string): string | null => {
    const ran = run(program, [flag]);
    return ran.absent ? null : (ran.text.split("\n")[0] ?? program);
  };
  return {
    nft: version("nft", "--version"),
    ip: version("ip", "-V"),
    conntrack: version("conntrack", "--version"),
  };
}

/** Size and use of the session table; null where the kernel does not say. */
export function probeConntrack(): DoctorFacts["conntrack"] {
  const read = (name: string): number | null => {
    try {
      return Number(readFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, "utf8"));
    } catch {
      return null;
    }
  };
  return { max: read("max"), buckets: read("buckets"), count: read("count") };
}

/** Output of a listing command, or null where it may not be had. */
export function listText(program: string, args: readonly string[]): string | null {
  const ran = run(program, args);
  return ran.ok ? ran.text : null;
}

/** Output of a listing command as JSON, or null where it may not be had. */
export function listJson(program: string, args: readonly string[]): unknown {
  const ran = run(program, args);
  if (!ran.ok) return null;
  try {
    return ran.text === "" ? [] : JSON.parse(ran.text);
  } catch {
    return null;
  }
}
