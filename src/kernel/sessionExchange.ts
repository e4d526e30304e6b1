// Requests about sessions, many in one send: the kernel works through all of them inside that one system call, and
// only what it has to say about them is read back, without blocking, and matched by sequence number. The socket and
// the buffers of whoever writes sessions (sessionWriter.ts, sessionInsert.ts, sessionSweep.ts); it decides nothing.

import { SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { IPCTNL_MSG_CT_NEW, NFNL_SUBSYS_CTNETLINK, readConntrack } from "../wire/conntrack.ts";
import { ConntrackRequests } from "../wire/conntrackWrite.ts";
import { HOST_LITTLE_ENDIAN, NETLINK_NETFILTER, NLMSG_ERROR, NLMSG_HDRLEN } from "../wire/netlink.ts";
import { readRecord } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import {
  AF_NETLINK,
  bind,
  close,
  errno,
  errnoName,
  getsockname,
  KernelError,
  MSG_DONTWAIT,
  messageVector,
  NETLINK_CAP_ACK,
  recvmmsg,
  SOCK_RAW,
  SOL_NETLINK,
  send,
  setsockoptInt,
  socket,
} from "./libc.ts";
import { netlinkAddress } from "./netlink.ts";

const TYPE_NEW = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
/** The longest answer to a `get`; a refusal is far shorter. */
const ANSWER_BYTES_MAX = 2048;
/** A record that clashes takes three requests: two deletes, one create. */
export const REQUESTS_PER_REPLACEMENT = 3;

/**
 * Opens a socket for requests about `records` sessions at a time, in the network namespace of the calling thread. Throws
 * KernelError.
 */
export function openSessionExchange(records: number = SESSION_REQUESTS_PER_SEND): SessionExchange {
  const operation = "open the session writer's socket";
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, operation);
  try {
    bind(fd, netlinkAddress(), operation);
    // A refusal then echoes the request's header only.
    setsockoptInt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1, operation);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new SessionExchange(fd, records);
}

/** One batch of requests at a time: `begin`, fill `requests` with numbers `sequence` + index, `perform`. */
export class SessionExchange {
  readonly portId: number;
  readonly requests: ConntrackRequests;
  /** The record that `record` read last, and the entry that the kernel answered with. */
  readonly fields = new SessionFields();
  readonly found = new SessionFields();
  /** The errno of each request of the last `perform`. */
  readonly errors: Int32Array;
  readonly #fd: number;
  readonly #answers: ReturnType<typeof messageVector>;
  readonly #answerView: DataView;
  readonly #slots: number;
  #sequence = 1;

  constructor(fd: number, records: number) {
    this.#fd = fd;
    this.#slots = records;
    this.requests = new ConntrackRequests(records * REQUESTS_PER_REPLACEMENT);
    this.errors = new Int32Array(records * REQUESTS_PER_REPLACEMENT);
    this.#answers = messageVector(records, ANSWER_BYTES_MAX);
    const address = new Uint8Array(12);
    getsockname(fd, address);
    this.portId = new DataView(address.buffer).getUint32(4, HOST_LITTLE_ENDIAN);
    const { buffer } = this.#answers;
    this.#answerView = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  }

  /** Number of the first request of the batch in hand; the others count on from it. */
  get sequence(): number {
    return this.#sequence;
  }

  begin(): void {
    this.requests.reset();
  }

  /** Reads the validated record at `offset` into `fields`; returns the offset behind it. */
  record(bytes: Uint8Array, offset: number): number {
    const end = readRecord(bytes, offset, this.fields);
    if (end < 0) throw new Error(`session records at ${offset} were not validated`);
    return end;
  }

  /**
   * Sends the buffered requests and reads what the kernel has to say about them; it has worked through all of
   * them when `send` returns. Fills `errors` and returns how many failed. `taken` gets the index of a request
   * that was answered with an entry, which is then in `found`.
   */
  perform(count: number, taken: ((index: number) => void) | null): number {
    const base = this.#sequence;
    this.#sequence = (base + count) & 0x3fffffff;
    this.errors.fill(0, 0, count);
    const sent = send(this.#fd, this.requests.bytes, this.requests.length);
    if (sent < 0) {
      this.errors.fill(-sent, 0, count);
      return count;
    }
    let failures = 0;
    for (;;) {
      const read = recvmmsg(this.#fd, this.#answers.headers, this.#slots, MSG_DONTWAIT);
      if (read === -errno.EAGAIN!) return failures;
      if (read === -errno.EINTR!) continue;
      if (read < 0) throw new KernelError("read the kernel's answers about sessions", -read);
      for (let slot = 0; slot < read; slot += 1) failures += this.#take(slot, base, count, taken);
    }
  }

  close(): void {
    close(this.#fd);
  }

  /** 1 where the answer is a refusal, else 0. */
  #take(slot: number, base: number, count: number, taken: ((index: number) => void) | null): number {
    const view = this.#answerView;
    const start = slot * ANSWER_BYTES_MAX;
    const length = this.#answers.length(slot);
    if (length < NLMSG_HDRLEN + 4) return 0;
    const index = view.getUint32(start + 8, HOST_LITTLE_ENDIAN) - base;
    if (index < 0 || index >= count) return 0;
    const type = view.getUint16(start + 4, HOST_LITTLE_ENDIAN);
    if (type === NLMSG_ERROR) {
      const error = -view.getInt32(start + NLMSG_HDRLEN, HOST_LITTLE_ENDIAN);
      this.errors[index] = error;
      return error === 0 ? 0 : 1;
    }
    if (type === TYPE_NEW && taken !== null)
      if (readConntrack(this.#answers.buffer, start, start + length, this.found)) taken(index);
    return 0;
  }
}

/** The kernel takes nothing at all, whatever the record: no room, no leave. */
export const isWhole = (error: number): boolean =>
  error === errno.ENOMEM || error === errno.ENOBUFS || error === errno.EPERM;

/** Counts a refusal by the errno's name. */
export function refuse(counts: { readonly refused: Record<string, number> }, error: number): void {
  const name = errnoName(error);
  counts.refused[name] = (counts.refused[name] ?? 0) + 1;
}
