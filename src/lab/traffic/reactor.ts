// The loop under every traffic process: one wait for raw sockets, one deadline, and the laboratory's orders on
// standard input. Raw and synchronous so that 200 sessions cost little and nothing (event loop, streams, garbage)
// stands between a packet and the time that is written down for it. One loop a process; it ends with its input,
// unless it was told to stay.

import { readSync, writeSync } from "node:fs";
import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";

/** What a traffic process understands: every order carries a number, and its answer the same. */
export interface Order {
  readonly id: number;
  readonly kind: string;
}

export interface Reactor {
  /** Calls `onReady` with `revents` whenever `fd` has `events`. */
  watch(fd: number, events: number, onReady: (revents: number) => void): void;
  /** Changes what `fd` waits for. */
  change(fd: number, events: number): void;
  forget(fd: number): void;
  /** Answers an order, now or later. */
  answer(id: number, body: object): void;
  /**
   * Runs until standard input ends. `turn` is called at least at the time that it returned last (monotonic
   * milliseconds; Infinity: only when something arrives).
   */
  run(turn: (nowMs: number) => number): void;
}

/** Descriptors that are handled in one turn at most; the others in the next. */
const READY_MAX = 512;

interface PollSet {
  watch(fd: number, events: number, onReady: (revents: number) => void): void;
  change(fd: number, events: number): void;
  forget(fd: number): void;
  /** Waits for a descriptor or the time, and calls who is ready. */
  wait(untilMs: number): void;
}

/**
 * Descriptors in an epoll set: thousands that are silent cost nothing. Each watch has a number of its own, so that what
 * was reported for a descriptor that is gone by now is never taken for the next one with the same number.
 */
function createPollSet(): PollSet {
  const epoll = libc.epollCreate();
  const handlers = new Map<number, (revents: number) => void>();
  const numbers = new Map<number, number>();
  let last = 0;
  const one = new Uint8Array(libc.EPOLL_EVENT_BYTES);
  const oneView = new DataView(one.buffer);
  const ready = new Uint8Array(libc.EPOLL_EVENT_BYTES * READY_MAX);
  const readyView = new DataView(ready.buffer);
  const waiting = libc.pollVector([epoll]);
  const timeout = new Uint8Array(16);
  const timeoutView = new DataView(timeout.buffer);

  const control = (action: number, fd: number, events: number, number: number): number => {
    oneView.setUint32(0, events, libc.LITTLE_ENDIAN);
    oneView.setUint32(libc.EPOLL_DATA_AT, number, libc.LITTLE_ENDIAN);
    return libc.epollControl(epoll, action, fd, one);
  };
  const watch = (fd: number, events: number, onReady: (revents: number) => void): void => {
    last += 1;
    const failure = control(libc.EPOLL_CTL_ADD, fd, events, last);
    if (failure < 0) throw new libc.KernelError("watch a descriptor", -failure);
    handlers.set(last, onReady);
    numbers.set(fd, last);
  };
  const forget = (fd: number): void => {
    const number = numbers.get(fd);
    if (number === undefined) return;
    control(libc.EPOLL_CTL_DEL, fd, 0, number);
    numbers.delete(fd);
    handlers.delete(number);
  };
  const change = (fd: number, events: number): void => {
    const number = numbers.get(fd);
    if (number !== undefined) control(libc.EPOLL_CTL_MOD, fd, events, number);
  };
  const wait = (untilMs: number): void => {
    const waitMs = untilMs === Infinity ? 3_600_000 : Math.max(0, untilMs - nowMs());
    timeoutView.setBigInt64(0, BigInt(Math.floor(waitMs / 1000)), libc.LITTLE_ENDIAN);
    timeoutView.setBigInt64(8, BigInt(Math.floor((waitMs % 1000) * 1e6)), libc.LITTLE_ENDIAN);
    // Its time is finer than epoll's own.
    libc.ppoll(waiting, 1, timeout);
    const count = libc.epollReady(epoll, ready);
    for (let index = 0; index < count; index += 1) {
      const at = index * libc.EPOLL_EVENT_BYTES;
      const number = readyView.getUint32(at + libc.EPOLL_DATA_AT, libc.LITTLE_ENDIAN);
      handlers.get(number)?.(readyView.getUint32(at, libc.LITTLE_ENDIAN));
    }
  };
  return { watch, change, forget, wait };
}

export function createReactor(onOrder: (order: Order) => void): Reactor {
  const { watch, change, forget, wait } = createPollSet();
  const answer = (id: number, body: object): void => writeAll(`${JSON.stringify({ id, ...body })}\n`);
  let open = true;
  let staying = false;
  const take = (order: Order): void => {
    if (order.kind !== "stay") {
      onOrder(order);
      return;
    }
    staying = true;
    answer(order.id, {});
  };
  const end = (): void => {
    open = staying;
    forget(0);
  };
  watch(0, libc.POLLIN, readOrders(take, end));
  return {
    watch,
    change,
    forget,
    answer,
    run: (turn) => {
      while (open) wait(turn(nowMs()));
    },
  };
}

function readOrders(onOrder: (order: Order) => void, onEnd: () => void): () => void {
  const bytes = Buffer.alloc(65536);
  let pending = "";
  return () => {
    let count = 0;
    try {
      count = readSync(0, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return;
    }
    if (count === 0) {
      onEnd();
      return;
    }
    pending += bytes.toString("latin1", 0, count);
    for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n")) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 1);
      onOrder(JSON.parse(line) as Order);
    }
  };
}

/** The answer to an order may be longer than the pipe's buffer. */
function writeAll(text: string): void {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // The laboratory is gone: the end of the input says so in the next turn.
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
    }
  }
}
