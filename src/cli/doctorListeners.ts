// Who has port 1148 in this network namespace: sockets from /proc/net, their processes from /proc/PID/fd.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { endianness } from "node:os";
import { PORT } from "../base/limits.ts";
import type { Listener } from "../core/doctor/facts.ts";
import { readSocketTable, TCP_LISTEN } from "../wire/procNet.ts";

const LITTLE_ENDIAN = endianness() === "LE";

/** A file of /proc: gone and forbidden are both nothing to see. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Socket inode -> process id, for the inodes asked for, of the processes that this user may look at. */
function ownersOf(inodes: ReadonlySet<number>): Map<number, number> {
  const owners = new Map<number, number>();
  if (inodes.size === 0) return owners;
  for (const entry of list("/proc").filter((name) => /^\d+$/.test(name)))
    for (const fd of list(`/proc/${entry}/fd`)) {
      let target = "";
      try {
        target = readlinkSync(`/proc/${entry}/fd/${fd}`);
      } catch {
        continue; // Closed meanwhile.
      }
      const inode = Number(/^socket:\[(\d+)\]$/.exec(target)?.[1]);
      if (inodes.has(inode)) owners.set(inode, Number(entry));
    }
  return owners;
}

/** Listening TCP sockets and UDP sockets on port 1148. */
export function findListeners(): Listener[] {
  const rows = (["tcp", "udp"] as const).flatMap((protocol) =>
    ["", "6"]
      .flatMap((suffix) => readSocketTable(read(`/proc/self/net/${protocol}${suffix}`), LITTLE_ENDIAN))
      .filter(({ port, state }) => port === PORT && (protocol === "udp" || state === TCP_LISTEN))
      .map((row) => ({ protocol, ...row })),
  );
  const owners = ownersOf(new Set(rows.map(({ inode }) => inode)));
  return rows.map(({ protocol, address, inode }) => {
    const pid = owners.get(inode) ?? null;
    return {
      protocol,
      address,
      pid,
      name: pid === null ? "" : read(`/proc/${pid}/comm`).trim(),
      commandLine: pid === null ? [] : read(`/proc/${pid}/cmdline`).split("\0").filter(Boolean),
    };
  });
}
