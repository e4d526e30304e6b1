// What a node needs of the system before anything of it is begun: without it, every later refusal would only be a
// consequence. Told first, with the exit code for it.

import { readFileSync } from "node:fs";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { CommandFailure } from "./failure.ts";

/** <linux/capability.h>: interfaces, routes, rules and tables are changed with it. */
const CAP_NET_ADMIN = 12n;

/** Whether a process whose /proc/PID/status is `text` may change the network. */
export function mayAdministerNetwork(text: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(text)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

/** @throws CommandFailure (NoPermission) where this process may not do what a node does */
export function assertMayRun(status = readFileSync("/proc/self/status", "utf8")): void {
  if (mayAdministerNetwork(status)) return;
  const refusal = new BoundaryError({
    operation: "run a node",
    code: "EPERM",
    words: "it needs root (the capability CAP_NET_ADMIN)",
    advice: "Run it with sudo, or let systemd run it: systemctl start understudy.",
  });
  throw new CommandFailure(refusal, ExitCode.NoPermission);
}
