// A traffic process: the far ends of the streams. It gives back whatever it is given, and closes when it is closed on. Told
// to, it says again to each what it gave back last, unasked: what comes from outside passes a new active only where
// that knows the session. What a stream says is the client's business.

import * as libc from "../../kernel/libc.ts";
import { PORT_STREAM } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { listenTcp, setNoDelay, socketAddress } from "./sockets.ts";

interface Start extends Order {
  readonly kind: "start";
  /** Holder of the namespace `internet`. */
  readonly pid: number;
  readonly addresses: readonly string[];
}

const reactor = createReactor(onOrder);
const buffer = new Uint8Array(4096);
/** What each open connection was given last. */
const given = new Map<number, Uint8Array>();
let accepted = 0;

function onOrder(order: Order): void {
  if (order.kind === "start") {
    const { pid, addresses } = order as Start;
    for (const address of addresses) serve(listenTcp(pid, socketAddress(address, PORT_STREAM)));
  } else if (order.kind === "say") {
    // One that is gone is closed when it says so.
    for (const [fd, bytes] of given) libc.send(fd, bytes, bytes.length, libc.MSG_NOSIGNAL);
  }
  reactor.answer(order.id, { accepted });
}

function serve(listener: number): void {
  reactor.watch(listener, libc.POLLIN, () => {
    for (let fd = libc.accept(listener); fd >= 0; fd = libc.accept(listener)) {
      accepted += 1;
      setNoDelay(fd);
      echo(fd);
    }
  });
}

function echo(fd: number): void {
  reactor.watch(fd, libc.POLLIN, () => {
    const count = libc.recv(fd, buffer);
    if (count === -libc.errno.EAGAIN!) return;
    // A message is small against the send buffer, and only one is on its way at a time.
    if (count > 0 && libc.send(fd, buffer, count, libc.MSG_NOSIGNAL) === count) {
      given.set(fd, buffer.slice(0, count));
      return;
    }
    given.delete(fd);
    reactor.forget(fd);
    libc.close(fd);
  });
}

reactor.run(() => Infinity);
