// A traffic process: the far ends of the background sessions. It answers each datagram once and keeps connections
// that nobody uses.

import * as libc from "../../kernel/libc.ts";
import { PORT_BACKGROUND, PORT_IDLE } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { listenTcp, openUdp, socketAddress } from "./sockets.ts";

interface Start extends Order {
  readonly kind: "start";
  readonly pid: number;
  readonly addresses: readonly string[];
  readonly ports: number;
}

const reactor = createReactor(onOrder);
const buffer = new Uint8Array(64);
const kept: number[] = [];

function onOrder(order: Order): void {
  if (order.kind !== "start") return;
  const { pid, addresses, ports } = order as Start;
  for (const address of addresses) {
    for (let index = 0; index < ports; index += 1)
      answerDatagrams(pid, socketAddress(address, PORT_BACKGROUND + index));
    const listener = listenTcp(pid, socketAddress(address, PORT_IDLE));
    reactor.watch(listener, libc.POLLIN, () => {
      for (let fd = libc.accept(listener); fd >= 0; fd = libc.accept(listener)) kept.push(fd);
    });
  }
  reactor.answer(order.id, { ok: true });
}

function answerDatagrams(pid: number, local: Uint8Array): void {
  const fd = openUdp(pid, local);
  const sender = new Uint8Array(local.length);
  reactor.watch(fd, libc.POLLIN, () => {
    for (;;) {
      const count = libc.recvfrom(fd, buffer, 0, sender);
      if (count < 0) return;
      libc.sendto(fd, buffer, count, libc.MSG_NOSIGNAL, sender);
    }
  });
}

reactor.run(() => Infinity);
