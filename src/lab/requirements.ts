// What the laboratory needs of the machine, and what to say where it is missing. It never changes a setting of the host's,
// and never makes a scenario smaller than it was asked for.

import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./commands.ts";

/** One thing that is missing, and who may do something about it. */
export interface Missing {
  readonly what: string;
  readonly advice: string;
}

const PROGRAMS: readonly (readonly [program: string, debianPackage: string])[] = [
  ["nft", "nftables"],
  ["ip", "iproute2"],
  ["bridge", "iproute2"],
  ["tc", "iproute2"],
  ["conntrack", "conntrack"],
  ["nsenter", "util-linux"],
  ["unshare", "util-linux"],
];

/** Sizes from here on are for root: without it, buffers and priorities are too small for honest figures. */
export const BACKGROUND_MAX_WITHOUT_ROOT = 100_000;
/** Sessions of the nodes' own, of pings and of chatter. */
const CONNTRACK_MARGIN = 2000;
const CONNTRACK_MAX = "/proc/sys/net/netfilter/nf_conntrack_max";

/** Programs that are not there; `more`: what a scenario needs beside those that all of them do. */
export function missingPrograms(
  path: string,
  more: readonly { readonly program: string; readonly debianPackage: string }[] = [],
): readonly Missing[] {
  const needed = [...PROGRAMS, ...more.map((own) => [own.program, own.debianPackage] as const)];
  const missing = needed.filter(([program]) => !isInPath(program, path));
  if (missing.length === 0) return [];
  const packages = [...new Set(missing.map(([, name]) => name))].join(" ");
  return [
    {
      what: `programs that are not installed: ${missing.map(([program]) => program).join(", ")}`,
      advice: `An administrator can install them: apt-get install ${packages} (Debian, Ubuntu).`,
    },
  ];
}

function isInPath(program: string, path: string): boolean {
  return placeOf(program, path) !== null;
}

function placeOf(program: string, path: string): string | null {
  for (const directory of path.split(":")) {
    const place = join(directory || ".", program);
    try {
      accessSync(place, constants.X_OK);
      return place;
    } catch {
      // Not here: the next directory.
    }
  }
  return null;
}

export const isInstalled = (program: string): boolean => isInPath(program, process.env.PATH ?? "");

/** The whole path of a program that was found before. */
export function findProgram(program: string): string {
  return placeOf(program, process.env.PATH ?? "") ?? program;
}

/** True where this process may make network namespaces as it is. */
export async function mayMakeNamespaces(): Promise<boolean> {
  return (await run(["unshare", "-n", "--", "true"], { accept: allCodes })).code === 0;
}

const allCodes = Array.from({ length: 256 }, (_, code) => code);

/** Null where a user namespace of our own would do. */
export async function missingUserNamespace(): Promise<Missing | null> {
  const tried = await run(["unshare", "-Urnm", "--", "true"], { accept: allCodes });
  if (tried.code === 0) return null;
  const switches = [
    ["/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"],
    [
      "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
      "1",
      "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ],
    ["/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"],
  ] as const;
  const off = switches.filter(([file, value]) => readValue(file) === value).map(([, , command]) => command);
  return {
    what: `namespaces: ${tried.stderr.trim() || "unshare was refused"}`,
    advice:
      off.length > 0
        ? `Run it as root; or an administrator can allow it to users: ${off.join("; ")}.`
        : "Run it as root; in a container, its administrator can grant CAP_SYS_ADMIN and CAP_NET_ADMIN.",
  };
}

/** Null where the kernel's session table has room for `sessions` on each node. */
export function missingConntrackRoom(sessions: number): Missing | null {
  const max = Number(readValue(CONNTRACK_MAX) ?? "0");
  // Where connection tracking is not loaded yet, the kernel's own default comes with it.
  if (max === 0 || sessions + CONNTRACK_MARGIN <= max) return null;
  return {
    what: `room in the kernel's session table: ${sessions} sessions were asked for, ${max} fit`,
    advice: `An administrator can raise it for the whole machine: sysctl -w net.netfilter.nf_conntrack_max=${
      2 * (sessions + CONNTRACK_MARGIN)
    } (about 320 bytes each); or ask for fewer with --background.`,
  };
}

/** Null where enough files can be open at once for `live` sessions at one end. */
export function missingDescriptors(live: number): Missing | null {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readValue("/proc/self/limits") ?? "");
  const max = line?.[1] === "unlimited" ? Infinity : Number(line?.[1] ?? Infinity);
  if (live + 3000 <= max) return null;
  return {
    what: `open files: ${live} live sessions need ${live + 3000} a process, ${max} are allowed`,
    advice: "Raise the limit (ulimit -Hn, /etc/security/limits.conf), or ask for fewer with --live.",
  };
}

function readValue(file: string): string | null {
  return existsSync(file) ? readFileSync(file, "utf8").trim() : null;
}
