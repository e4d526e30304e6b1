// The session table, read through: one netlink datagram a step, so that the caller can put events in between. The
// same filter and policy as for events; every record is a create. The kernel's dump is not a snapshot in time:
// what changes while it runs is told by events, which the caller drains before each step.

import { NETLINK_RECEIVE_BYTES } from "../base/limits.ts";
import {
  CTA_MARK,
  CTA_MARK_MASK,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_NEW,
  NFNL_SUBSYS_CTNETLINK,
  readConntrack,
} from "../wire/conntrack.ts";
import {
  align4,
  HOST_LITTLE_ENDIAN,
  MessageWriter,
  NETLINK_NETFILTER,
  NLM_F_DUMP,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
} from "../wire/netlink.ts";
import { type RecordBatch, SessionOperation } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import { SessionPolicy } from "../wire/sessionPolicy.ts";
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  bind,
  close,
  errno,
  KernelError,
  MSG_TRUNC,
  recv,
  SOCK_RAW,
  send,
  socket,
} from "./libc.ts";
import { netlinkAddress } from "./netlink.ts";

const OPERATION = "read the session table";
const TYPE_NEW = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
const TYPE_GET = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;

export interface SessionDumpOptions {
  /** One family only. */
  readonly family?: 4 | 6;
  /** Only entries with `(mark & mask) === value`: the kernel then copies no others. */
  readonly mark?: { readonly value: number; readonly mask: number };
  /** Which of the pair's sessions become records (a dump, not a scan); default DEFAULT_SENDING. */
  readonly policy?: SessionPolicy;
}

export interface SessionDump {
  /**
   * Appends the records of the next datagram (or of what did not fit before) to `batch`. False when the table is
   * at its end. Throws KernelError where the kernel refuses.
   */
  next(batch: RecordBatch): boolean;
  close(): void;
}

/** Starts a dump, in the network namespace of the calling thread. */
export function openSessionDump(options: SessionDumpOptions = {}): SessionDump {
  const scan = openSessionScan(options);
  const visit = { batch: null as RecordBatch | null };
  const policy = options.policy ?? new SessionPolicy();
  const take = (fields: SessionFields): boolean => {
    const { batch } = visit;
    if (batch === null || batch.full) return false;
    if (policy.recordFor(fields) !== 0) batch.append(SessionOperation.Create, fields);
    return true;
  };
  return {
    next(batch) {
      visit.batch = batch;
      return scan.next(take);
    },
    close: () => scan.close(),
  };
}

/** As a dump, for any entry of the table and any purpose. */
export interface SessionScan {
  /**
   * Calls `take` for each entry of the next datagram; where it returns false the entry is offered again by the
   * next call. False when the table is at its end.
   */
  next(take: (fields: SessionFields) => boolean): boolean;
  close(): void;
}

export function openSessionScan(options: SessionDumpOptions = {}): SessionScan {
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, OPERATION);
  try {
    bind(fd, netlinkAddress(), OPERATION);
    const family = options.family === 4 ? AF_INET : options.family === 6 ? AF_INET6 : 0;
    const request = new MessageWriter(TYPE_GET, NLM_F_DUMP).fixed(Uint8Array.of(family, 0, 0, 0));
    if (options.mark !== undefined)
      request.be32(CTA_MARK, options.mark.value).be32(CTA_MARK_MASK, options.mark.mask);
    const sent = send(fd, request.finish());
    if (sent < 0) throw new KernelError(OPERATION, -sent);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new Scan(fd);
}

class Scan implements SessionScan {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(NETLINK_RECEIVE_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #fields = new SessionFields();
  #at = 0;
  #filled = 0;
  #done = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  next(take: (fields: SessionFields) => boolean): boolean {
    if (this.#done) return false;
    if (this.#at >= this.#filled) this.#read();
    while (this.#at < this.#filled) {
      const start = this.#at;
      const length = this.#view.getUint32(start, HOST_LITTLE_ENDIAN);
      if (length < NLMSG_HDRLEN || start + length > this.#filled)
        throw new KernelError(OPERATION, errno.EBADMSG!);
      const type = this.#view.getUint16(start + 4, HOST_LITTLE_ENDIAN);
      if (type === NLMSG_DONE || type === NLMSG_ERROR) {
        this.#finish(start, length);
        return false;
      }
      if (type === TYPE_NEW && readConntrack(this.#buffer, start, start + length, this.#fields))
        if (!take(this.#fields)) return true;
      this.#at = start + align4(length);
    }
    return true;
  }

  close(): void {
    if (this.#fd >= 0 && !this.#closed) close(this.#fd);
    this.#closed = true;
  }
  #closed = false;

  /** The kernel fills the next datagram inside this call, so it does not wait. */
  #read(): void {
    for (;;) {
      const length = recv(this.#fd, this.#buffer, MSG_TRUNC);
      if (length === -errno.EINTR!) continue;
      if (length < 0) throw new KernelError(OPERATION, -length);
      if (length > this.#buffer.length) throw new KernelError(OPERATION, errno.EMSGSIZE!);
      this.#at = 0;
      this.#filled = length;
      return;
    }
  }

  /** NLMSG_DONE and NLMSG_ERROR both begin with an errno. */
  #finish(start: number, length: number): void {
    this.#done = true;
    const result =
      length >= NLMSG_HDRLEN + 4 ? this.#view.getInt32(start + NLMSG_HDRLEN, HOST_LITTLE_ENDIAN) : 0;
    if (result < 0) throw new KernelError(OPERATION, -result);
  }
}
