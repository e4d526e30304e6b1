// A network namespace of the test's own: the test process moves into it before its first socket, so that nothing
// it does touches the machine's interfaces, rules or sessions. The namespace ends with the process.

import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { KernelError, setns, unshareNet } from "../../src/kernel/libc.ts";

/** Why namespaces are not possible here, or null. `unshare` moves the main thread, which runs the tests. */
function enter(): string | null {
  try {
    unshareNet();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return `no network namespace: ${error.message}`;
  }
  execFileSync("ip", ["link", "set", "lo", "up"]);
  return null;
}

const refusal = enter();

/** Options of a `test` that needs the namespace: skips, with the reason, where there is none. */
export const inNamespace: { skip: string | false } = { skip: refusal ?? false };

/** A further namespace, held by a descriptor. `run` does something inside it; `close` ends it. */
export interface Namespace {
  /** Runs `body` with the main thread inside: sockets opened and programs started belong to it. */
  run<T>(body: () => T): T;
  /** Its descriptor, for IFLA_NET_NS_FD. */
  readonly fd: number;
  close(): void;
}

/** Makes a namespace and returns to where it was called from. */
export function makeNamespace(): Namespace {
  const home = openSync("/proc/thread-self/ns/net", "r");
  unshareNet();
  const inside = openSync("/proc/thread-self/ns/net", "r");
  execFileSync("ip", ["link", "set", "lo", "up"]);
  setns(home);
  return {
    fd: inside,
    run(body) {
      setns(inside);
      try {
        return body();
      } finally {
        setns(home);
      }
    },
    close() {
      closeSync(inside);
      closeSync(home);
    },
  };
}
