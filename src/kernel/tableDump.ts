// A dump over netlink, read in place: one datagram a step, so that the caller can put other things in between, and so
// that what did not fit is offered again. For tables of connection tracking; it knows no entry.

import { NETLINK_RECEIVE_BYTES } from "../base/limits.ts";
import {
  align4,
  HOST_LITTLE_ENDIAN,
  type MessageWriter,
  NETLINK_NETFILTER,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
} from "../wire/netlink.ts";
import {
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

/** Looks at the message at `start..end`; false where it is to be offered again. */
export type EachMessage = (bytes: Uint8Array, start: number, end: number) => boolean;

export class TableDump {
  readonly #fd: number;
  readonly #operation: string;
  /** Of the messages that are entries. */
  readonly #type: number;
  readonly #buffer = new Uint8Array(NETLINK_RECEIVE_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  /** Not sent yet; null once it is. */
  #request: MessageWriter | null;
  #at = 0;
  #filled = 0;
  #done = false;
  #closed = false;

  /** Opens the socket, in the network namespace of the calling thread. Throws KernelError, with nothing left open. */
  constructor(operation: string, type: number, request: MessageWriter) {
    this.#operation = operation;
    this.#type = type;
    this.#request = request;
    this.#fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, operation);
    try {
      bind(this.#fd, netlinkAddress(), operation);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /**
   * Offers the entries of the next datagram, or those that were refused before. False when the table is at its end. The
   * first call begins the dump: what it says is as old as that, not as the socket. Throws KernelError.
   */
  next(each: EachMessage): boolean {
    if (this.#done) return false;
    this.#begin();
    if (this.#at >= this.#filled) this.#read();
    while (this.#at < this.#filled) {
      const start = this.#at;
      const length = this.#view.getUint32(start, HOST_LITTLE_ENDIAN);
      if (length < NLMSG_HDRLEN || start + length > this.#filled)
        throw new KernelError(this.#operation, errno.EBADMSG!);
      const type = this.#view.getUint16(start + 4, HOST_LITTLE_ENDIAN);
      if (type === NLMSG_DONE || type === NLMSG_ERROR) {
        this.#finish(start, length);
        return false;
      }
      if (type === this.#type && !each(this.#buffer, start, start + length)) return true;
      this.#at = start + align4(length);
    }
    return true;
  }

  #begin(): void {
    if (this.#request === null) return;
    const sent = send(this.#fd, this.#request.finish());
    if (sent < 0) throw new KernelError(this.#operation, -sent);
    this.#request = null;
  }

  close(): void {
    if (!this.#closed) close(this.#fd);
    this.#closed = true;
  }

  /** The kernel fills the next datagram inside this call, so it does not wait. */
  #read(): void {
    for (;;) {
      const length = recv(this.#fd, this.#buffer, MSG_TRUNC);
      if (length === -errno.EINTR!) continue;
      if (length < 0) throw new KernelError(this.#operation, -length);
      if (length > this.#buffer.length) throw new KernelError(this.#operation, errno.EMSGSIZE!);
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
    if (result < 0) throw new KernelError(this.#operation, -result);
  }
}
