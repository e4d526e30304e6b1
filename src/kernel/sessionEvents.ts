// Session events: what connection tracking tells while it happens, as records in a batch. The hot path of the
// active: one system call for up to 256 events, parsed where they lie, no object for a session. Only the pair's
// sessions, and of those what the sending policy wants (wire/sessionPolicy.ts). Never waits: the caller polls `fd`.
// Needs `net.netfilter.nf_conntrack_events=1`: the default 2 is silent about sessions older than the listener.

import {
  EVENT_SOCKET_BYTES,
  SESSION_EVENT_BYTES_MAX,
  SESSION_EVENTS_PER_READ,
  SESSION_READS_PER_DRAIN,
} from "../base/limits.ts";
import {
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_NEW,
  NFNL_SUBSYS_CTNETLINK,
  NFNLGRP_CONNTRACK_DESTROY,
  NFNLGRP_CONNTRACK_NEW,
  NFNLGRP_CONNTRACK_UPDATE,
  readConntrack,
} from "../wire/conntrack.ts";
import {
  IPCTNL_MSG_EXP_DELETE,
  IPCTNL_MSG_EXP_NEW,
  NFNL_SUBSYS_CTNETLINK_EXP,
  NFNLGRP_CONNTRACK_EXP_DESTROY,
  NFNLGRP_CONNTRACK_EXP_NEW,
} from "../wire/conntrackExpect.ts";
import { HOST_LITTLE_ENDIAN, NETLINK_NETFILTER, NLM_F_CREATE } from "../wire/netlink.ts";
import { type RecordBatch, SessionOperation } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import { SessionPolicy } from "../wire/sessionPolicy.ts";
import { eventFilter, portFilter } from "./eventFilter.ts";
import { type ExpectationTeller, openExpectationTeller } from "./expectationTeller.ts";
import {
  AF_NETLINK,
  attachFilter,
  bind,
  close,
  errno,
  KernelError,
  MSG_DONTWAIT,
  MSG_TRUNC,
  messageVector,
  NETLINK_ADD_MEMBERSHIP,
  recvmmsg,
  SOCK_RAW,
  SOL_NETLINK,
  setsockoptInt,
  socket,
} from "./libc.ts";
import { netlinkAddress, sizeReceiveBuffer } from "./netlink.ts";

export interface SessionEventsOptions {
  /**
   * Netlink port ids whose doings raise no record (`SessionWriter.portId`): what this node wrote because the peer
   * said so is not told back, and costs the standby nothing to hear.
   */
  readonly ignore?: readonly number[];
  /** Which sessions become records; default DEFAULT_SENDING. */
  readonly policy?: SessionPolicy;
  /** False: the kernel drops nothing by policy, user space alone judges. For measuring. */
  readonly filter?: boolean;
  /** Receive buffer to ask for; default EVENT_SOCKET_BYTES. */
  readonly receiveBytes?: number;
}

export interface Drained {
  /** Call again: the batch was full, or more is waiting. */
  readonly more: boolean;
  /** The kernel dropped events: what the peer holds is incomplete until the table was read anew. */
  readonly overrun: boolean;
  /** Events read, whether or not they became a record. */
  readonly events: number;
}

export interface Disturbance {
  /** Sessions that ended: by somebody's hand, or because their time was over. */
  ended: number;
  /** Sessions of which somebody changed the mark, the state or the time. */
  changed: number;
  /** The kernel dropped events: it may be more. */
  lost: boolean;
}

export interface SessionEvents {
  /** Readable where events wait (libc.pollAsync). */
  readonly fd: number;
  /** Appends records to `batch` until it is full or nothing waits. Never blocks. */
  drain(batch: RecordBatch): Drained;
  /** Whether what helpers expect is told too: only to a peer of protocol version 2. False to begin with. */
  expectations: boolean;
  /**
   * Forgets everything that waits (a standby's own events, before it becomes active and dumps). What it returns happened to the
   * pair's sessions, and was not done by this node's own writers: on a standby, where no packet passes, it ought to be nothing.
   */
  discard(): Disturbance;
  close(): void;
}

/** Opens and sizes the event socket, in the network namespace of the calling thread. Throws KernelError. */
export function openSessionEvents(options: SessionEventsOptions = {}): SessionEvents {
  const operation = "open the session event socket";
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, operation);
  try {
    sizeReceiveBuffer(fd, options.receiveBytes ?? EVENT_SOCKET_BYTES);
    const ignored = options.ignore ?? [];
    const policy = options.policy ?? new SessionPolicy();
    if (options.filter === false) attachFilter(fd, portFilter(ignored), FILTER);
    else attachFilter(fd, eventFilter(policy.sending, ignored), FILTER);
    bind(fd, netlinkAddress(), operation);
    for (const group of GROUPS) setsockoptInt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, operation);
    return new EventReader(fd, policy, openExpectationTeller(policy));
  } catch (error) {
    close(fd);
    throw error;
  }
}

const FILTER = "filter session events";
const GROUPS = [
  NFNLGRP_CONNTRACK_NEW,
  NFNLGRP_CONNTRACK_UPDATE,
  NFNLGRP_CONNTRACK_DESTROY,
  NFNLGRP_CONNTRACK_EXP_NEW,
  NFNLGRP_CONNTRACK_EXP_DESTROY,
];
const TYPE_NEW = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
const TYPE_DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE;
const TYPE_EXPECTED = (NFNL_SUBSYS_CTNETLINK_EXP << 8) | IPCTNL_MSG_EXP_NEW;
const TYPE_EXPECTED_NO_MORE = (NFNL_SUBSYS_CTNETLINK_EXP << 8) | IPCTNL_MSG_EXP_DELETE;

const hostUint16 = (buffer: Uint8Array, at: number): number =>
  HOST_LITTLE_ENDIAN ? buffer[at]! | (buffer[at + 1]! << 8) : (buffer[at]! << 8) | buffer[at + 1]!;

class EventReader implements SessionEvents {
  readonly fd: number;
  readonly #vector = messageVector(SESSION_EVENTS_PER_READ, SESSION_EVENT_BYTES_MAX);
  readonly #fields = new SessionFields();
  /** Slots of the last read that are not parsed yet: `#next` up to `#filled`. */
  #next = 0;
  #filled = 0;
  readonly #policy: SessionPolicy;
  readonly #teller: ExpectationTeller;
  expectations = false;

  constructor(fd: number, policy: SessionPolicy, teller: ExpectationTeller) {
    this.fd = fd;
    this.#policy = policy;
    this.#teller = teller;
  }

  drain(batch: RecordBatch): Drained {
    let events = 0;
    let overrun = false;
    let reads = 0;
    this.#teller.again(batch);
    for (;;) {
      while (this.#next < this.#filled) {
        // An event may become two records.
        if (!batch.hasRoom(2)) return { more: true, overrun, events };
        // An event longer than its slot is an event lost.
        if ((this.#vector.flags(this.#next) & MSG_TRUNC) !== 0) overrun = true;
        else this.#parse(this.#next, batch);
        this.#next += 1;
        events += 1;
      }
      if (reads === SESSION_READS_PER_DRAIN) return { more: true, overrun, events };
      const count = this.#read();
      if (count === 0) return { more: false, overrun, events };
      if (count < 0) overrun = true;
      reads += 1;
    }
  }

  discard(): Disturbance {
    const found: Disturbance = { ended: 0, changed: 0, lost: false };
    this.#next = 0;
    this.#filled = 0;
    for (let count = this.#read(); count !== 0; count = this.#read()) {
      if (count < 0) found.lost = true;
      for (let slot = 0; slot < count; slot += 1) this.#judge(slot, found);
    }
    this.#filled = 0;
    this.#teller.discard();
    return found;
  }

  #judge(slot: number, found: Disturbance): void {
    const { buffer, slotBytes } = this.#vector;
    const start = slot * slotBytes;
    const type = hostUint16(buffer, start + 4);
    if (type !== TYPE_NEW && type !== TYPE_DELETE) return;
    if ((this.#vector.flags(slot) & MSG_TRUNC) !== 0) found.lost = true;
    else if (readConntrack(buffer, start, start + this.#vector.length(slot), this.#fields)) {
      if (!this.#policy.wasSent(this.#fields)) return;
      if (type === TYPE_DELETE) found.ended += 1;
      // A session that somebody makes is nothing that is lacking.
      else if ((hostUint16(buffer, start + 6) & NLM_F_CREATE) === 0) found.changed += 1;
    }
  }

  close(): void {
    close(this.fd);
    this.#teller.close();
  }

  /** Fills the slots. 0: nothing waits. -1: the kernel dropped events (ENOBUFS). */
  #read(): number {
    this.#next = 0;
    this.#filled = 0;
    const count = recvmmsg(this.fd, this.#vector.headers, SESSION_EVENTS_PER_READ, MSG_DONTWAIT);
    if (count === -errno.EAGAIN! || count === -errno.EINTR!) return 0;
    if (count === -errno.ENOBUFS!) return -1;
    if (count < 0) throw new KernelError("read session events", -count);
    this.#filled = count;
    return count;
  }

  #parse(slot: number, batch: RecordBatch): void {
    const { buffer, slotBytes } = this.#vector;
    const fields = this.#fields;
    const start = slot * slotBytes;
    const end = start + this.#vector.length(slot);
    const type = hostUint16(buffer, start + 4);
    if (type !== TYPE_NEW && type !== TYPE_DELETE) {
      if (this.expectations && type === TYPE_EXPECTED) this.#teller.began(buffer, start, end, batch);
      else if (this.expectations && type === TYPE_EXPECTED_NO_MORE)
        this.#teller.ended(buffer, start, end, batch);
      return;
    }
    if (!readConntrack(buffer, start, end, fields)) return;
    if (type === TYPE_DELETE) {
      if (this.#policy.wasSent(fields)) batch.append(SessionOperation.Delete, fields);
      return;
    }
    const operation = this.#policy.recordFor(fields);
    if (operation !== 0) batch.append(operation, fields);
  }
}
