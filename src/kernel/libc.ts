// libc: the only native boundary of the program. Thin, typed, one function a system call, raising one error.
// It knows nothing of Understudy. Blocking calls have an `async` twin that runs on koffi's worker threads.
// Linux ABI, little- and big-endian alike: structures are written by their users, in host byte order.

import { endianness } from "node:os";
import koffi from "koffi";
import { BoundaryError } from "../base/errors.ts";

const lib = koffi.load("libc.so.6");

export const LITTLE_ENDIAN = endianness() === "LE";

// <sys/socket.h>, <linux/if_packet.h>, <asm-generic/socket.h>: the kernel's names kept verbatim.
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_CLOEXEC = 0o2000000;
export const SOCK_NONBLOCK = 0o4000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_BINDTODEVICE = 25;
export const SO_ATTACH_FILTER = 26;
export const SO_TIMESTAMPNS = 35;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_MARK = 36;
export const SO_PRIORITY = 12;
export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IP_TTL = 2;
export const IP_RECVTTL = 12;
export const IP_MINTTL = 21;
export const IPV6_UNICAST_HOPS = 16;
export const IPV6_V6ONLY = 26;
export const IPV6_RECVHOPLIMIT = 51;
export const IPV6_MINHOPCOUNT = 73;
export const SOL_NETLINK = 270;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_DROP_MEMBERSHIP = 2;
export const NETLINK_NO_ENOBUFS = 5;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;
export const NETLINK_GET_STRICT_CHK = 12;
export const SOL_PACKET = 263;
export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_IGNORE_OUTGOING = 23;
export const MSG_PEEK = 2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_WAITFORONE = 0x10000;
export const MSG_NOSIGNAL = 0x4000;
export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLHUP = 16;
export const CLONE_NEWNET = 0x40000000;
export const SCHED_FIFO = 1;
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_NAME = 15;

export const errno = koffi.os.errno;
// EAGAIN has two names; the one of the manual pages is kept.
const errnoNames = new Map(Object.entries(errno).map(([name, value]) => [value, name]));
errnoNames.set(errno.EAGAIN!, "EAGAIN");

/** `EPERM` for 1; `errno 4095` for a number without a name here. */
export const errnoName = (value: number): string => errnoNames.get(value) ?? `errno ${value}`;

const strerrorNative = lib.func("const char *strerror(int)");
/** The kernel's (libc's) own words for an errno. */
export const strerror = (value: number): string => strerrorNative(value) as string;

/** A system call was refused. `code` is the errno's name, `words` libc's text for it. */
export class KernelError extends BoundaryError {
  readonly errno: number;
  constructor(operation: string, errnoValue: number, advice?: string, words?: string) {
    super({
      operation,
      code: errnoName(errnoValue),
      words: words ?? strerror(errnoValue),
      ...(advice === undefined ? {} : { advice }),
    });
    this.name = "KernelError";
    this.errno = errnoValue;
  }
}

/** The bytes behind a native call's pointer argument. */
export type Bytes = Uint8Array;

const natives = {
  socket: lib.func("int socket(int, int, int)"),
  bind: lib.func("int bind(int, const uint8_t *, uint32_t)"),
  connect: lib.func("int connect(int, const uint8_t *, uint32_t)"),
  listen: lib.func("int listen(int, int)"),
  accept4: lib.func("int accept4(int, void *, void *, int)"),
  getsockname: lib.func("int getsockname(int, _Out_ uint8_t *, _Inout_ uint32_t *)"),
  setsockopt: lib.func("int setsockopt(int, int, int, const uint8_t *, uint32_t)"),
  getsockopt: lib.func("int getsockopt(int, int, int, _Out_ uint8_t *, _Inout_ uint32_t *)"),
  send: lib.func("intptr_t send(int, const uint8_t *, size_t, int)"),
  sendto: lib.func("intptr_t sendto(int, const uint8_t *, size_t, int, const uint8_t *, uint32_t)"),
  recv: lib.func("intptr_t recv(int, uint8_t *, size_t, int)"),
  recvfrom: lib.func("intptr_t recvfrom(int, uint8_t *, size_t, int, uint8_t *, _Inout_ uint32_t *)"),
  recvmmsg: lib.func("int recvmmsg(int, uint8_t *, uint32_t, int, void *)"),
  sendmmsg: lib.func("int sendmmsg(int, uint8_t *, uint32_t, int)"),
  poll: lib.func("int poll(uint8_t *, uint64_t, int)"),
  ppoll: lib.func("int ppoll(uint8_t *, uint64_t, const uint8_t *, void *)"),
  epoll_create1: lib.func("int epoll_create1(int)"),
  epoll_ctl: lib.func("int epoll_ctl(int, int, int, const uint8_t *)"),
  epoll_wait: lib.func("int epoll_wait(int, uint8_t *, int, int)"),
  close: lib.func("int close(int)"),
  fcntl: lib.func("int fcntl(int, int, int)"),
  open: lib.func("int open(const char *, int, int)"),
  setns: lib.func("int setns(int, int)"),
  unshare: lib.func("int unshare(int)"),
  prctl: lib.func("int prctl(int, const char *, uint64_t, uint64_t, uint64_t)"),
  sched_setscheduler: lib.func("int sched_setscheduler(int, int, const int32_t *)"),
  setpriority: lib.func("int setpriority(int, uint32_t, int)"),
  sched_getaffinity: lib.func("int sched_getaffinity(int, size_t, uint8_t *)"),
  sched_setaffinity: lib.func("int sched_setaffinity(int, size_t, const uint8_t *)"),
  memfd_create: lib.func("int memfd_create(const char *, uint32_t)"),
  if_nametoindex: lib.func("uint32_t if_nametoindex(const char *)"),
};

/** Return value, or -errno: for hot paths that look at the errno themselves and must not allocate. */
function raw(value: number): number {
  return value < 0 ? -koffi.errno() : value;
}

function checked(operation: string, value: number, advice?: string): number {
  if (value < 0) throw new KernelError(operation, koffi.errno(), advice);
  return value;
}

export function socket(domain: number, type: number, protocol: number, operation = "open a socket"): number {
  return checked(operation, natives.socket(domain, type | SOCK_CLOEXEC, protocol) as number);
}
export function bind(fd: number, address: Bytes, operation = "bind a socket"): void {
  checked(operation, natives.bind(fd, address, address.length) as number);
}
export function connect(fd: number, address: Bytes, operation = "connect a socket"): void {
  checked(operation, natives.connect(fd, address, address.length) as number);
}
export function listen(fd: number, backlog: number, operation = "listen on a socket"): void {
  checked(operation, natives.listen(fd, backlog) as number);
}
/** The new descriptor (non-blocking), or -errno. */
export function accept(fd: number): number {
  return raw(natives.accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK) as number);
}
/** Length of the address written into `address`. */
export function getsockname(fd: number, address: Bytes): number {
  const length = [address.length];
  checked("read a socket's own address", natives.getsockname(fd, address, length) as number);
  return length[0]!;
}
export function setsockopt(fd: number, level: number, option: number, value: Bytes, operation: string): void {
  checked(operation, natives.setsockopt(fd, level, option, value, value.length) as number);
}
export function setsockoptInt(
  fd: number,
  level: number,
  option: number,
  value: number,
  operation: string,
): void {
  setsockopt(fd, level, option, new Uint8Array(new Int32Array([value]).buffer), operation);
}
export function getsockoptInt(fd: number, level: number, option: number): number {
  const value = new Int32Array(1);
  const length = [4];
  checked(
    "read a socket option",
    natives.getsockopt(fd, level, option, new Uint8Array(value.buffer), length) as number,
  );
  return value[0]!;
}
/** Bytes sent, or -errno. */
export function send(fd: number, bytes: Bytes, length = bytes.length, flags = 0): number {
  return raw(natives.send(fd, bytes, length, flags) as number);
}
/** Bytes sent, or -errno. */
export function sendto(fd: number, bytes: Bytes, length: number, flags: number, address: Bytes): number {
  return raw(natives.sendto(fd, bytes, length, flags, address, address.length) as number);
}
/** Bytes received (0: end of stream), or -errno. */
export function recv(fd: number, bytes: Bytes, flags = 0): number {
  return raw(natives.recv(fd, bytes, bytes.length, flags) as number);
}
/** Bytes received, or -errno; the sender's address is written into `address`. */
export function recvfrom(fd: number, bytes: Bytes, flags: number, address: Bytes): number {
  return raw(natives.recvfrom(fd, bytes, bytes.length, flags, address, [address.length]) as number);
}
/** Messages received, or -errno. `headers` is an array of `struct mmsghdr` (see messageVector). */
export function recvmmsg(fd: number, headers: Bytes, count: number, flags: number): number {
  return raw(natives.recvmmsg(fd, headers, count, flags, null) as number);
}
/** Messages sent, or -errno. */
export function sendmmsg(fd: number, headers: Bytes, count: number, flags: number): number {
  return raw(natives.sendmmsg(fd, headers, count, flags) as number);
}
/** Descriptors ready, or -errno. `descriptors` is an array of `struct pollfd` (see pollVector). */
export function poll(descriptors: Bytes, count: number, timeoutMs: number): number {
  return raw(natives.poll(descriptors, count, timeoutMs) as number);
}
/** As poll, with the timeout as a `struct timespec` in `timeout`. */
export function ppoll(descriptors: Bytes, count: number, timeout: Bytes): number {
  return raw(natives.ppoll(descriptors, count, timeout, null) as number);
}
/** A set of descriptors that the kernel keeps: what it costs to wait does not grow with their number. */
export function epollCreate(): number {
  return checked("open an epoll set", natives.epoll_create1(SOCK_CLOEXEC) as number);
}
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
/** `event` is one `struct epoll_event` (EPOLL_EVENT_BYTES, EPOLL_DATA_AT). 0, or -errno. */
export function epollControl(epoll: number, action: number, fd: number, event: Bytes): number {
  return raw(natives.epoll_ctl(epoll, action, fd, event) as number);
}
/** What is ready now, without waiting: how many `struct epoll_event`s were written into `events`, or -errno. */
export function epollReady(epoll: number, events: Bytes): number {
  return raw(natives.epoll_wait(epoll, events, Math.floor(events.length / EPOLL_EVENT_BYTES), 0) as number);
}
/** `struct epoll_event { uint32_t events; uint64_t data; }` is packed on x86-64, and nowhere else (linux/eventpoll.h). */
export const EPOLL_DATA_AT = process.arch === "x64" ? 4 : 8;
export const EPOLL_EVENT_BYTES = EPOLL_DATA_AT + 8;
/** As poll, on a worker thread: the event loop stays free. Resolves to the count ready or -errno. */
export function pollAsync(descriptors: Bytes, count: number, timeoutMs: number): Promise<number> {
  return new Promise((resolve) => {
    natives.poll.async(descriptors, count, timeoutMs, (error: unknown, value: number) => {
      resolve(error ? -errno.EINTR! : value < 0 ? -errno.EINTR! : value);
    });
  });
}
export function close(fd: number): void {
  natives.close(fd);
}
/** `close` on another thread: that of a packet socket waits until the kernel is sure that nobody delivers into it. */
export function closeAside(fd: number): Promise<void> {
  return new Promise((resolve) => {
    natives.close.async(fd, () => resolve());
  });
}
/** Keeps a descriptor that a library opened from the programs that this process starts. */
export function closeOnExec(fd: number, operation = "keep a descriptor from other programs"): void {
  const [F_SETFD, FD_CLOEXEC] = [2, 1];
  checked(operation, natives.fcntl(fd, F_SETFD, FD_CLOEXEC) as number);
}
/** Opens read-only. */
export function open(path: string, operation = `open ${path}`): number {
  return checked(operation, natives.open(path, 0o2000000, 0) as number);
}
/** Moves the calling thread into the network namespace behind `fd`; sockets made from then on belong to it. */
export function setns(fd: number, operation = "enter a network namespace"): void {
  checked(operation, natives.setns(fd, CLONE_NEWNET) as number);
}
export function unshareNet(): void {
  checked("make a network namespace", natives.unshare(CLONE_NEWNET) as number, "needs CAP_SYS_ADMIN");
}
/** The name that `ps`, `ss` and `lsof` show, at most 15 bytes (PR_SET_NAME). */
export function setProcessName(name: string): void {
  natives.prctl(PR_SET_NAME, name.slice(0, 15), 0, 0, 0);
}
/** True where allowed. `priority` 1..99. */
export function setRealTimePriority(priority: number): boolean {
  return (natives.sched_setscheduler(0, SCHED_FIFO, new Int32Array([priority])) as number) === 0;
}
/** A file in memory, without a name on any disk: `/proc/self/fd/N` is its path for a library that wants one. */
export function memoryFile(name: string): number {
  const MFD_CLOEXEC = 1;
  return checked(`make the memory file ${name}`, natives.memfd_create(name, MFD_CLOEXEC) as number);
}
const CPU_SET_BYTES = 128;

/**
 * The processors that the machine (its cpuset) has for this process, ascending; a confinement that the calling
 * thread inherited is lifted.
 */
export function processors(): readonly number[] {
  const set = new Uint8Array(CPU_SET_BYTES).fill(0xff);
  natives.sched_setaffinity(0, set.length, set);
  if ((natives.sched_getaffinity(0, set.length, set) as number) < 0) return [];
  return Array.from({ length: CPU_SET_BYTES * 8 }, (_, cpu) => cpu).filter(
    (cpu) => ((set[cpu >> 3] ?? 0) & (1 << (cpu & 7))) !== 0,
  );
}
/**
 * Confines a thread (0: the calling one, and every thread that it starts from then on) to these processors. One that
 * waits on another processor is moved at once. True where allowed.
 */
export function confineTo(cpus: readonly number[], threadId = 0): boolean {
  const set = new Uint8Array(CPU_SET_BYTES);
  for (const cpu of cpus) set[cpu >> 3]! |= 1 << (cpu & 7);
  return (natives.sched_setaffinity(threadId, set.length, set) as number) === 0;
}
/** Niceness of this process (PRIO_PROCESS), -20 first to 19 last. True where allowed. */
export function setNiceness(niceness: number): boolean {
  return (natives.setpriority(0, 0, niceness) as number) === 0;
}
/** Interface index, or 0 where there is no such interface. */
export function interfaceIndex(name: string): number {
  return natives.if_nametoindex(name) as number;
}

/** An array of `struct pollfd { int fd; short events; short revents; }`. */
export function pollVector(fds: readonly number[], events = POLLIN): Uint8Array {
  const bytes = new Uint8Array(fds.length * 8);
  const view = new DataView(bytes.buffer);
  fds.forEach((fd, index) => {
    view.setInt32(index * 8, fd, LITTLE_ENDIAN);
    view.setInt16(index * 8 + 4, events, LITTLE_ENDIAN);
  });
  return bytes;
}
/** `revents` of entry `index`. */
export function pollResult(descriptors: Uint8Array, index: number): number {
  return (descriptors[index * 8 + 6] ?? 0) | ((descriptors[index * 8 + 7] ?? 0) << 8);
}

/** One `struct mmsghdr` vector over one buffer: `count` slots of `slotBytes` each, addresses beside them. */
export interface MessageVector {
  readonly headers: Uint8Array;
  readonly buffer: Uint8Array;
  readonly addresses: Uint8Array;
  readonly slotBytes: number;
  readonly count: number;
  /** Bytes received in slot `index` by the last recvmmsg. */
  length(index: number): number;
  /** msg_flags of slot `index`: MSG_TRUNC where the message was longer than the slot. */
  flags(index: number): number;
  /** Ancillary data (`struct cmsghdr`s), `controlBytes` a slot; empty unless asked for. */
  readonly control: Uint8Array;
  /** Sets the iovec's length of slot `index` (for sendmmsg). */
  setLength(index: number, bytes: number): void;
  /** Makes every slot ready for the next recvmmsg (the kernel shrinks the lengths of address and control). */
  reset(): void;
}

const MMSGHDR_BYTES = 64;
export const ADDRESS_BYTES = 32;

/** Zeroed memory that neither moves nor is freed, and its address: for structures that point at each other. */
function nativeMemory(bytes: number): [Uint8Array, bigint] {
  const pointer = koffi.alloc("uint8_t", bytes);
  const memory = new Uint8Array(koffi.view(pointer, bytes));
  memory.fill(0);
  return [memory, koffi.address(pointer)];
}

/** One instruction of a classic packet filter (linux/filter.h): code, jump if true, jump if false, operand. */
export type FilterInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

/** Attaches a classic BPF program to a socket: what it returns 0 for is never queued. */
export function attachFilter(fd: number, program: readonly FilterInstruction[], operation: string): void {
  const [memory, address] = nativeMemory(program.length * 8);
  const code = new DataView(memory.buffer, memory.byteOffset, memory.length);
  program.forEach(([operator, jumpTrue, jumpFalse, operand], index) => {
    code.setUint16(index * 8, operator, LITTLE_ENDIAN);
    code.setUint8(index * 8 + 2, jumpTrue);
    code.setUint8(index * 8 + 3, jumpFalse);
    code.setUint32(index * 8 + 4, operand, LITTLE_ENDIAN);
  });
  // struct sock_fprog { u16 len; struct sock_filter *filter; }; the kernel copies the program.
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint16(0, program.length, LITTLE_ENDIAN);
  view.setBigUint64(8, address, LITTLE_ENDIAN);
  setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, header, operation);
}

/** 64-bit ABI: `struct msghdr` is 56 bytes, `struct mmsghdr` 64, `struct iovec` 16. */
export function messageVector(
  count: number,
  slotBytes: number,
  withAddresses = false,
  controlBytes = 0,
): MessageVector {
  const [headers] = nativeMemory(count * MMSGHDR_BYTES);
  const [iovecs, iovBase] = nativeMemory(count * 16);
  const [buffer, base] = nativeMemory(count * slotBytes);
  const [addresses, addressBase] = nativeMemory(count * ADDRESS_BYTES);
  const [control, controlBase] = nativeMemory(Math.max(1, count * controlBytes));
  const view = new DataView(headers.buffer, headers.byteOffset, headers.length);
  const iov = new DataView(iovecs.buffer, iovecs.byteOffset, iovecs.length);
  for (let index = 0; index < count; index += 1) {
    iov.setBigUint64(index * 16, base + BigInt(index * slotBytes), LITTLE_ENDIAN);
    iov.setBigUint64(index * 16 + 8, BigInt(slotBytes), LITTLE_ENDIAN);
    const at = index * MMSGHDR_BYTES;
    if (withAddresses) view.setBigUint64(at, addressBase + BigInt(index * ADDRESS_BYTES), LITTLE_ENDIAN);
    view.setUint32(at + 8, withAddresses ? ADDRESS_BYTES : 0, LITTLE_ENDIAN);
    view.setBigUint64(at + 16, iovBase + BigInt(index * 16), LITTLE_ENDIAN);
    view.setBigUint64(at + 24, 1n, LITTLE_ENDIAN);
    if (controlBytes > 0)
      view.setBigUint64(at + 32, controlBase + BigInt(index * controlBytes), LITTLE_ENDIAN);
    view.setBigUint64(at + 40, BigInt(controlBytes), LITTLE_ENDIAN);
  }
  return {
    headers,
    buffer,
    addresses,
    control,
    slotBytes,
    count,
    length: (index) => view.getUint32(index * MMSGHDR_BYTES + 56, LITTLE_ENDIAN),
    flags: (index) => view.getInt32(index * MMSGHDR_BYTES + 48, LITTLE_ENDIAN),
    setLength: (index, bytes) => iov.setBigUint64(index * 16 + 8, BigInt(bytes), LITTLE_ENDIAN),
    reset: () => {
      for (let index = 0; index < count; index += 1) {
        if (withAddresses) view.setUint32(index * MMSGHDR_BYTES + 8, ADDRESS_BYTES, LITTLE_ENDIAN);
        if (controlBytes > 0)
          view.setBigUint64(index * MMSGHDR_BYTES + 40, BigInt(controlBytes), LITTLE_ENDIAN);
      }
    },
  };
}
