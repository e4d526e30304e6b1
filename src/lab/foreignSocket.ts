// A socket of another process, taken hold of from outside: for a fault that is made where it happens, at the receive buffer of a
// daemon that knows nothing of it. What is changed is put back by whoever changed it.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import koffi from "koffi";
import * as libc from "../kernel/libc.ts";

const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const NETLINK_NETFILTER = 12;
/** NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY as bits of a group mask (linux/netfilter/nfnetlink_compat.h). */
const SESSION_GROUPS = 0b111;

const syscall = koffi.load("libc.so.6").func("long syscall(long, long, long, long)");

function call(operation: string, number: number, ...words: readonly [number, number, number]): number {
  const result = Number(syscall(number, ...words));
  if (result < 0) throw new libc.KernelError(operation, koffi.errno());
  return result;
}

/** Inodes of the netlink sockets that hear of sessions, by `/proc/PID/net/netlink`'s own text. */
export function sessionEventInodes(table: string): ReadonlySet<string> {
  const inodes = new Set<string>();
  for (const line of table.split("\n").slice(1)) {
    const [, protocol, , groups = "", , , , , , inode] = line.trim().split(/\s+/);
    if (Number(protocol) !== NETLINK_NETFILTER || inode === undefined) continue;
    if ((Number.parseInt(groups, 16) & SESSION_GROUPS) === SESSION_GROUPS) inodes.add(inode);
  }
  return inodes;
}

/** Descriptors by which `pid` holds sockets that hear of sessions. */
function sessionEventDescriptors(pid: number): readonly number[] {
  const inodes = sessionEventInodes(readFileSync(`/proc/${pid}/net/netlink`, "utf8"));
  return readdirSync(`/proc/${pid}/fd`)
    .map(Number)
    .filter((fd) => {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
        return inode !== undefined && inodes.has(inode);
      } catch {
        // Closed since the directory was read.
        return false;
      }
    });
}

/**
 * Gives the session event sockets of process `pid` next to no room; what it returns gives them what they had.
 * @throws KernelError where this process may not (it takes what ptrace takes).
 */
export function shrinkSessionEvents(pid: number): { readonly sockets: number; restore(): void } {
  const process = call("open a process", SYS_PIDFD_OPEN, pid, 0, 0);
  const held: { readonly fd: number; readonly bytes: number }[] = [];
  try {
    for (const descriptor of sessionEventDescriptors(pid)) {
      const fd = call("take hold of a socket", SYS_PIDFD_GETFD, process, descriptor, 0);
      // The kernel keeps, and tells, twice of what it is asked for.
      held.push({ fd, bytes: libc.getsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF) / 2 });
      libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, 1, "shrink a receive buffer");
    }
  } finally {
    libc.close(process);
  }
  return {
    sockets: held.length,
    restore: () => {
      for (const { fd, bytes } of held.splice(0)) {
        try {
          libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, bytes, "size a receive buffer");
        } catch (error) {
          // Without root the buffer was no larger than anybody may ask for.
          if (!(error instanceof libc.KernelError)) throw error;
          libc.setsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, bytes, "size a receive buffer");
        }
        libc.close(fd);
      }
    },
  };
}
