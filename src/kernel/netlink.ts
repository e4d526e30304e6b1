// A netlink socket: requests with acknowledgement, dumps, multicast. Synchronous, for everything that is not
// the hot path (interfaces, routes, rules, neighbours, single conntrack requests): the kernel answers a request
// inside `send`, so nothing here waits in practice. One error, with the operation's object and the kernel's own
// words (extended acknowledgement). The socket belongs to the network namespace it was opened in.

import { NETLINK_RECEIVE_BYTES } from "../base/limits.ts";
import {
  HOST_LITTLE_ENDIAN,
  type Message,
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  readAcknowledgement,
  readMessages,
  stamp,
} from "../wire/netlink.ts";
import {
  AF_NETLINK,
  bind,
  close,
  errno,
  getsockname,
  KernelError,
  MSG_DONTWAIT,
  MSG_TRUNC,
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  poll,
  pollVector,
  recv,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
  send,
  setsockoptInt,
  socket,
} from "./libc.ts";

/** The kernel answers inside `send`; a second without an answer means a defect, not a slow kernel. */
const ANSWER_WITHIN_MS = 1000;
/** A dump that changed while it was read is read again, at most this often, and then taken as it is. */
const DUMP_ATTEMPTS_MAX = 5;

export interface NetlinkSocketOptions {
  /** Multicast groups to join at once (group numbers, not bits). A socket with groups is for `receive` alone:
   * notifications of one's own requests would be taken for their answers. */
  readonly groups?: readonly number[];
  /** Receive buffer to ask for; SO_RCVBUFFORCE where allowed, else what `rmem_max` permits. */
  readonly receiveBytes?: number;
}

export interface RequestOptions {
  /** Errnos that are no error for this caller (`errno.EEXIST`, `errno.ENOENT`): returned as values. */
  readonly allow?: readonly (number | undefined)[];
  /** What a reader of the error can do about it. */
  readonly advice?: string;
}

/** What one `receive` brought. */
export interface Received {
  readonly messages: readonly Message[];
  /** The kernel dropped messages since the last read (ENOBUFS): what was learned from events is incomplete. */
  readonly overrun: boolean;
}

export class NetlinkSocket {
  readonly fd: number;
  readonly portId: number;
  #sequence = 1;
  readonly #buffer = new Uint8Array(NETLINK_RECEIVE_BYTES);
  readonly #pollEntry: Uint8Array;

  /** Opens a socket of netlink family `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER). Throws KernelError. */
  constructor(protocol: number, options: NetlinkSocketOptions = {}) {
    const operation = `open a netlink socket of family ${protocol}`;
    this.fd = socket(AF_NETLINK, SOCK_RAW, protocol, operation);
    this.#pollEntry = pollVector([this.fd]);
    try {
      bind(this.fd, netlinkAddress(), operation);
      this.portId = ownPortId(this.fd);
      setsockoptInt(this.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1, operation);
      setsockoptInt(this.fd, SOL_NETLINK, NETLINK_CAP_ACK, 1, operation);
      // Filters in dump requests are honoured, or refused, but never ignored (4.20). rtnetlink alone looks at it.
      setsockoptInt(this.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1, operation);
      if (options.receiveBytes !== undefined) sizeReceiveBuffer(this.fd, options.receiveBytes);
      for (const group of options.groups ?? [])
        setsockoptInt(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, `join netlink group ${group}`);
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  /**
   * Sends a request and waits for its acknowledgement. Returns 0, or the errno where it is one of
   * `options.allow`; throws KernelError with `operation` ("add address 10.0.0.1/24 to us-lan") otherwise.
   */
  request(operation: string, message: MessageWriter, options: RequestOptions = {}): number {
    return this.#exchange(operation, message, NLM_F_ACK, options, null);
  }

  /** As `request`, for a request that is answered with one object (RTM_GETLINK of one): copies; empty if allowed. */
  get(operation: string, message: MessageWriter, options: RequestOptions = {}): Message[] {
    const answers: Message[] = [];
    this.#exchange(operation, message, NLM_F_ACK, options, answers);
    return answers;
  }

  /**
   * A dump: all messages of the answer, copied. Read again where the kernel says that it changed meanwhile
   * (NLM_F_DUMP_INTR), so that an object is neither missed nor seen twice.
   */
  dump(operation: string, message: MessageWriter, options: RequestOptions = {}): Message[] {
    for (let attempt = 1; ; attempt += 1) {
      const answers: Message[] = [];
      this.#exchange(operation, message, NLM_F_DUMP, options, answers);
      const torn = answers.some((answer) => (answer.flags & NLM_F_DUMP_INTR) !== 0);
      if (!torn || attempt === DUMP_ATTEMPTS_MAX) return answers;
    }
  }

  /** Multicast messages that are there, without waiting. Payloads are views, valid until the next call. */
  receive(): Received {
    const length = recv(this.fd, this.#buffer, MSG_DONTWAIT | MSG_TRUNC);
    if (length === -errno.EAGAIN! || length === -errno.EINTR!) return { messages: [], overrun: false };
    if (length === -errno.ENOBUFS!) return { messages: [], overrun: true };
    if (length < 0) throw new KernelError("read netlink notifications", -length);
    // What did not fit is lost: the same as an overrun for whoever learns from events.
    if (length > this.#buffer.length) return { messages: [], overrun: true };
    return { messages: readMessages(this.#buffer.subarray(0, length)) ?? [], overrun: false };
  }

  close(): void {
    close(this.fd);
  }

  #exchange(
    operation: string,
    message: MessageWriter,
    flags: number,
    options: RequestOptions,
    answers: Message[] | null,
  ): number {
    const bytes = message.finish();
    this.#sequence = (this.#sequence + 1) >>> 0;
    stamp(bytes, this.#sequence, this.portId);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    view.setUint16(6, view.getUint16(6, HOST_LITTLE_ENDIAN) | flags, HOST_LITTLE_ENDIAN);
    const sent = send(this.fd, bytes);
    if (sent < 0) throw new KernelError(operation, -sent, options.advice);
    for (;;) {
      for (const answer of this.#answers(operation)) {
        if (answer.sequence !== this.#sequence || answer.portId !== this.portId) continue;
        const end = this.#take(operation, answer, options, answers);
        if (end !== null) return end;
      }
    }
  }

  /** The next datagram's messages. */
  #answers(operation: string): Message[] {
    for (;;) {
      const length = recv(this.fd, this.#buffer, MSG_DONTWAIT | MSG_TRUNC);
      if (length >= 0) {
        if (length > this.#buffer.length) throw new KernelError(operation, errno.EMSGSIZE!);
        const messages = readMessages(this.#buffer.subarray(0, length));
        if (messages === null) throw new KernelError(operation, errno.EBADMSG!);
        return messages;
      }
      if (length === -errno.EINTR!) continue;
      if (length !== -errno.EAGAIN!) throw new KernelError(operation, -length);
      if (poll(this.#pollEntry, 1, ANSWER_WITHIN_MS) === 0)
        throw new KernelError(operation, errno.ETIMEDOUT!);
    }
  }

  /** Null: more is to come. A number: the exchange is over, with that errno. */
  #take(
    operation: string,
    answer: Message,
    options: RequestOptions,
    answers: Message[] | null,
  ): number | null {
    if (answer.type !== NLMSG_ERROR && answer.type !== NLMSG_DONE) {
      answers?.push({ ...answer, payload: answer.payload.slice() });
      return null;
    }
    const result = readAcknowledgement(answer);
    // A dump may end in NLMSG_DONE with an errno of its own, and `struct nlmsgerr`'s first field is all it has.
    if (result === null || result.errno === 0) return 0;
    if (options.allow?.includes(result.errno)) return result.errno;
    throw new KernelError(
      operation,
      result.errno,
      options.advice,
      result.words === "" ? undefined : result.words,
    );
  }
}

/** `struct sockaddr_nl { u16 family; u16 pad; u32 pid; u32 groups; }`, for the kernel to choose the port id. */
export function netlinkAddress(): Uint8Array {
  const address = new Uint8Array(12);
  new DataView(address.buffer).setUint16(0, AF_NETLINK, HOST_LITTLE_ENDIAN);
  return address;
}

function ownPortId(fd: number): number {
  const address = new Uint8Array(12);
  getsockname(fd, address);
  return new DataView(address.buffer).getUint32(4, HOST_LITTLE_ENDIAN);
}

/** Asks for `bytes` of receive buffer: beyond `rmem_max` where the process may, else as much as it allows. */
export function sizeReceiveBuffer(fd: number, bytes: number): void {
  try {
    setsockoptInt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes, "size a netlink receive buffer");
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    setsockoptInt(fd, SOL_SOCKET, SO_RCVBUF, bytes, "size a netlink receive buffer");
  }
}
