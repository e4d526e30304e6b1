// A traffic process: a standby that talks on its own account (datagrams and connection attempts on the LAN and the
// sync cable), as any box does that is looked after. None of it is the pair's, and none may show up as a difference.

import * as libc from "../../kernel/libc.ts";
import { createReactor, type Order } from "./reactor.ts";
import { connectTcp, openUdp, socketAddress } from "./sockets.ts";

interface Start extends Order {
  readonly kind: "start";
  readonly pid: number;
  /** Own address and who is talked to. */
  readonly pairs: readonly { readonly local: string; readonly remote: string }[];
  readonly intervalMs: number;
}

const DISCARD_PORT = 9;
/** Connection attempts kept open at a time. */
const OPEN_MAX = 64;

const reactor = createReactor(onOrder);
const message = new TextEncoder().encode("nothing of the pair's");
const open: number[] = [];
let order: Start | null = null;
let turns = 0;
let dueMs = Infinity;

function onOrder(received: Order): void {
  if (received.kind === "start") {
    order = received as Start;
    dueMs = 0;
  } else if (received.kind === "stop") dueMs = Infinity;
  reactor.answer(received.id, { turns });
}

function talk(start: Start): void {
  const { local, remote } = start.pairs[turns % start.pairs.length]!;
  turns += 1;
  const datagram = openUdp(start.pid, socketAddress(local, 0));
  libc.sendto(
    datagram,
    message,
    message.length,
    libc.MSG_NOSIGNAL,
    socketAddress(remote, 10_000 + (turns % 5000)),
  );
  libc.close(datagram);
  try {
    open.push(connectTcp(start.pid, socketAddress(remote, DISCARD_PORT)));
  } catch (error) {
    // Its ports may be dead by now: nobody listens to it then, which is as it should be.
    if (!(error instanceof libc.KernelError)) throw error;
  }
  if (open.length > OPEN_MAX) libc.close(open.shift()!);
}

reactor.run((now) => {
  if (order !== null && dueMs <= now) {
    talk(order);
    dueMs = now + order.intervalMs;
  }
  return dueMs;
});
