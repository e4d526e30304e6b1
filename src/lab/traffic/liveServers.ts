// A traffic process: the far ends of the live sessions. It echoes what it has checked, and pays out downloads at a
// steady pace, talking alone. It judges nothing: a session with wrong content is closed, and the client counts that.

import * as libc from "../../kernel/libc.ts";
import {
  contentAt,
  ECHO_BYTES,
  type EchoStream,
  echoStream,
  HELLO_BYTES,
  readHello,
  takeEcho,
} from "./content.ts";
import { DOWNLOAD_BYTES, LIVE_INTERVAL_MS, PORT_DOWNLOAD, PORT_ECHO } from "./ports.ts";
import { createReactor, type Order } from "./reactor.ts";
import { listenTcp, setNoDelay, socketAddress } from "./sockets.ts";

interface Start extends Order {
  readonly kind: "start";
  /** Holder of the namespace `internet`. */
  readonly pid: number;
  readonly addresses: readonly string[];
}

interface Download {
  readonly fd: number;
  readonly seed: number;
  position: number;
  dueMs: number;
}

const reactor = createReactor(onOrder);
const downloads = new Map<number, Download>();
const buffer = Buffer.alloc(65536);

function onOrder(order: Order): void {
  if (order.kind !== "start") return;
  const { pid, addresses } = order as Start;
  for (const address of addresses) {
    serve(listenTcp(pid, socketAddress(address, PORT_ECHO)), startEcho);
    serve(listenTcp(pid, socketAddress(address, PORT_DOWNLOAD)), startDownload);
  }
  reactor.answer(order.id, { ok: true });
}

function serve(listener: number, start: (fd: number, seed: number) => void): void {
  reactor.watch(listener, libc.POLLIN, () => {
    for (;;) {
      const fd = libc.accept(listener);
      if (fd < 0) return;
      setNoDelay(fd);
      reactor.watch(fd, libc.POLLIN, () => {
        const count = libc.recv(fd, buffer.subarray(0, HELLO_BYTES));
        const seed = count > 0 ? readHello(buffer.subarray(0, count)) : null;
        reactor.forget(fd);
        if (seed === null) libc.close(fd);
        else start(fd, seed);
      });
    }
  });
}

function end(fd: number): void {
  reactor.forget(fd);
  downloads.delete(fd);
  libc.close(fd);
}

function startEcho(fd: number, seed: number): void {
  const stream: EchoStream = echoStream();
  let pending = Buffer.alloc(0);
  reactor.watch(fd, libc.POLLIN, () => {
    const count = libc.recv(fd, buffer);
    if (count === -libc.errno.EAGAIN!) return;
    if (count <= 0) return end(fd);
    let bytes = buffer.subarray(0, count);
    if (pending.length > 0) bytes = Buffer.concat([pending, bytes]);
    const whole = bytes.length - (bytes.length % ECHO_BYTES);
    for (let at = 0; at < whole; at += ECHO_BYTES)
      if (!takeEcho(stream, seed, bytes.subarray(at, at + ECHO_BYTES))) return end(fd);
    // An echo is small against the send buffer, which holds minutes of it.
    if (whole > 0 && libc.send(fd, bytes, whole, libc.MSG_NOSIGNAL) !== whole) return end(fd);
    pending = Buffer.from(bytes.subarray(whole));
  });
}

function startDownload(fd: number, seed: number): void {
  downloads.set(fd, { fd, seed, position: 0, dueMs: 0 });
  reactor.watch(fd, libc.POLLIN, () => {
    const count = libc.recv(fd, buffer);
    if (count <= 0 && count !== -libc.errno.EAGAIN!) end(fd);
  });
}

reactor.run((now) => {
  let next = Infinity;
  for (const download of downloads.values()) {
    if (download.dueMs <= now) {
      const piece = contentAt(download.seed, download.position, DOWNLOAD_BYTES);
      const sent = libc.send(download.fd, piece, DOWNLOAD_BYTES, libc.MSG_NOSIGNAL);
      if (sent > 0) download.position += sent;
      else if (sent !== -libc.errno.EAGAIN!) {
        end(download.fd);
        continue;
      }
      download.dueMs =
        download.dueMs > now - LIVE_INTERVAL_MS ? download.dueMs + LIVE_INTERVAL_MS : now + LIVE_INTERVAL_MS;
    }
    if (download.dueMs < next) next = download.dueMs;
  }
  // One turn a millisecond serves all that came due in it.
  return Math.max(next, now + 1);
});
