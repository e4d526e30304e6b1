// The loop under every traffic process: one `ppoll` over raw sockets, one deadline, and the laboratory's orders on
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

const POLLFD_BYTES = 8;

interface PollSet {
  watch(fd: number, events: number, onReady: (revents: number) => void): void;
  change(fd: number, events: number): void;
  forget(fd: number): void;
  /** Waits for a descriptor or the time, and calls who is ready. */
  wait(untilMs: number): void;
}

/** Descriptors as one `struct pollfd` array that grows and stays dense. */
function createPollSet(): PollSet {
  let capacity = 64;
  let vector = new Uint8Array(capacity * POLLFD_BYTES);
  let view = new DataView(vector.buffer);
  const fds: number[] = [];
  const handlers: ((revents: number) => void)[] = [];
  const slots = new Map<number, number>();
  const timeout = new Uint8Array(16);
  const timeoutView = new DataView(timeout.buffer);

  const place = (slot: number, fd: number, events: number): void => {
    view.setInt32(slot * POLLFD_BYTES, fd, libc.LITTLE_ENDIAN);
    view.setInt16(slot * POLLFD_BYTES + 4, events, libc.LITTLE_ENDIAN);
    view.setInt16(slot * POLLFD_BYTES + 6, 0, libc.LITTLE_ENDIAN);
  };
  const watch = (fd: number, events: number, onReady: (revents: number) => void): void => {
    const slot = fds.length;
    if (slot === capacity) {
      capacity *= 2;
      const larger = new Uint8Array(capacity * POLLFD_BYTES);
      larger.set(vector);
      vector = larger;
      view = new DataView(vector.buffer);
    }
    fds.push(fd);
    handlers.push(onReady);
    slots.set(fd, slot);
    place(slot, fd, events);
  };
  const forget = (fd: number): void => {
    const slot = slots.get(fd);
    if (slot === undefined) return;
    const last = fds.length - 1;
    const events = view.getInt16(last * POLLFD_BYTES + 4, libc.LITTLE_ENDIAN);
    const revents = view.getInt16(last * POLLFD_BYTES + 6, libc.LITTLE_ENDIAN);
    fds[slot] = fds[last]!;
    handlers[slot] = handlers[last]!;
    slots.set(fds[slot]!, slot);
    place(slot, fds[slot]!, events);
    view.setInt16(slot * POLLFD_BYTES + 6, revents, libc.LITTLE_ENDIAN);
    fds.pop();
    handlers.pop();
    slots.delete(fd);
  };
  const change = (fd: number, events: number): void => {
    const slot = slots.get(fd);
    if (slot !== undefined) view.setInt16(slot * POLLFD_BYTES + 4, events, libc.LITTLE_ENDIAN);
  };

  const wait = (untilMs: number): void => {
    const waitMs = untilMs === Infinity ? 3_600_000 : Math.max(0, untilMs - nowMs());
    timeoutView.setBigInt64(0, BigInt(Math.floor(waitMs / 1000)), libc.LITTLE_ENDIAN);
    timeoutView.setBigInt64(8, BigInt(Math.floor((waitMs % 1000) * 1e6)), libc.LITTLE_ENDIAN);
    let ready = libc.ppoll(vector, fds.length, timeout);
    // From the end: a handler may forget its own descriptor, which moves the last one (already seen) into its place.
    for (let slot = fds.length - 1; slot >= 0 && ready > 0; slot -= 1) {
      const revents = view.getInt16(slot * POLLFD_BYTES + 6, libc.LITTLE_ENDIAN);
      if (revents === 0) continue;
      ready -= 1;
      handlers[slot]!(revents);
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
