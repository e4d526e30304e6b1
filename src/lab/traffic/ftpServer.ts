// The far end of FTP (RFC 959, RFC 2428), as much of it as a helper of connection tracking has to understand: control
// connections on port 21, and active data connections from port 20 to wherever PORT or EPRT said. One server an address,
// for all sessions of a process; a session is known by the name that it logs in with.

import * as libc from "../../kernel/libc.ts";
import type { Reactor } from "./reactor.ts";
import { connectError, connectTcpFrom, listenTcp, setNoDelay, socketAddress } from "./sockets.ts";

const PORT_CONTROL = 21;
const PORT_DATA = 20;

/** What the owner of a session hears of its far end. */
export interface FtpOwner {
  /** NOOP and RETR, with what stood behind them. */
  command(verb: "NOOP" | "RETR", words: string): void;
  fail(why: string): void;
}

/** The far end of one session, once it has logged in. */
export interface FtpFar {
  reply(line: string): void;
  /** Sent once the data connection stands, in order. */
  data(bytes: Uint8Array): void;
}

export interface FtpServer {
  /** Listens at `address` in the namespace of `pid` (once), and gives the session named `user` to `owner`. */
  serve(at: { readonly pid: number; readonly address: string }, user: string, owner: FtpOwner): FtpFar;
}

/** Calls `take` with each whole line, without its end. */
export function lineReader(take: (line: string) => void): (bytes: Uint8Array) => void {
  let pending = "";
  return (bytes) => {
    pending += Buffer.from(bytes).toString("latin1");
    for (let end = pending.indexOf("\r\n"); end >= 0; end = pending.indexOf("\r\n")) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 2);
      take(line);
    }
  };
}

/** Where PORT (`h1,h2,h3,h4,p1,p2`) or EPRT (`|2|2001:db8::1|50000|`) wants to be called; null where it is neither. */
export function parsePort(verb: string, words: string): { address: string; port: number } | null {
  if (verb === "PORT") {
    const numbers = /^\d+(,\d+){5}$/.test(words) ? words.split(",").map(Number) : [];
    if (numbers.length !== 6 || numbers.some((number) => number > 255)) return null;
    return { address: numbers.slice(0, 4).join("."), port: numbers[4]! * 256 + numbers[5]! };
  }
  const [, family, address, port] = /^\|([12])\|([0-9a-fA-F:.]+)\|(\d+)\|$/.exec(words) ?? [];
  return family === undefined ? null : { address: address!, port: Number(port) };
}

/** The words with which the near end asks to be called at `address`. */
export function portCommand(address: string, port: number): string {
  return address.includes(":")
    ? `EPRT |2|${address}|${port}|`
    : `PORT ${address.replaceAll(".", ",")},${port >> 8},${port & 0xff}`;
}

interface User {
  readonly owner: FtpOwner;
  readonly pid: number;
  readonly address: string;
  control: number;
  /** Where the data connection is to go. */
  target: { readonly address: string; readonly port: number } | null;
  data: number;
  connected: boolean;
  readonly queue: Uint8Array[];
}

export function createFtpServer(reactor: Reactor): FtpServer {
  const users = new Map<string, User>();
  const listening = new Set<string>();
  return {
    serve: ({ pid, address }, name, owner) => {
      if (!listening.has(address)) {
        const listener = listenTcp(pid, socketAddress(address, PORT_CONTROL));
        reactor.watch(listener, libc.POLLIN, () => {
          for (let fd = libc.accept(listener); fd >= 0; fd = libc.accept(listener)) greet(reactor, users, fd);
        });
        listening.add(address);
      }
      const user: User = {
        owner,
        pid,
        address,
        control: -1,
        target: null,
        data: -1,
        connected: false,
        queue: [],
      };
      users.set(name, user);
      return {
        reply: (line) => write(user.control, line),
        data: (bytes) => {
          if (user.connected) sendAll(user, bytes);
          else user.queue.push(bytes);
        },
      };
    },
  };
}

const buffer = new Uint8Array(4096);

/** Reads what is there: its bytes, or null where there are none; why it ended, where it did. */
function receive(fd: number): { readonly bytes: Uint8Array | null; readonly end: string | null } {
  const count = libc.recv(fd, buffer);
  if (count > 0) return { bytes: buffer.slice(0, count), end: null };
  if (count === -libc.errno.EAGAIN!) return { bytes: null, end: null };
  return { bytes: null, end: count === 0 ? "closed" : libc.errnoName(-count) };
}

/** A new control connection: whose it is, the login says. */
function greet(reactor: Reactor, users: ReadonlyMap<string, User>, fd: number): void {
  setNoDelay(fd);
  let user: User | null = null;
  const read = lineReader((line) => {
    const [verb = "", ...rest] = line.split(" ");
    const words = rest.join(" ");
    if (user !== null) obey(reactor, user, verb, words);
    else if (verb === "USER") {
      user = users.get(words) ?? null;
      if (user !== null) user.control = fd;
      write(fd, user === null ? "530 who?" : "331 and the password?");
    }
  });
  reactor.watch(fd, libc.POLLIN, () => {
    const { bytes, end } = receive(fd);
    if (bytes !== null) read(bytes);
    if (end === null) return;
    reactor.forget(fd);
    user?.owner.fail(`control connection, far end: ${end}`);
  });
  write(fd, "220 laboratory");
}

function obey(reactor: Reactor, user: User, verb: string, words: string): void {
  switch (verb) {
    case "PASS":
      write(user.control, "230 welcome");
      break;
    case "PORT":
    case "EPRT":
      user.target = parsePort(verb, words);
      write(user.control, user.target === null ? "501 that is no address" : "200 there, then");
      break;
    case "RETR":
      if (user.target === null) {
        write(user.control, "503 where to?");
        break;
      }
      write(user.control, "150 it comes");
      call(reactor, user, user.target);
      user.owner.command(verb, words);
      break;
    case "NOOP":
      user.owner.command(verb, words);
      break;
    default:
      write(user.control, "502 no such thing here");
  }
}

/** The active data connection: from port 20 to where the near end listens, as far as the server was told. */
function call(reactor: Reactor, user: User, target: NonNullable<User["target"]>): void {
  const where = `data connection to ${target.address}`;
  const local = socketAddress(user.address, PORT_DATA);
  try {
    user.data = connectTcpFrom(user.pid, local, socketAddress(target.address, target.port));
  } catch (error) {
    user.owner.fail(`${where}: ${(error as Error).message}`);
    return;
  }
  const { data } = user;
  const end = (why: string): void => {
    reactor.forget(data);
    user.owner.fail(`${where}: ${why}`);
  };
  reactor.watch(data, libc.POLLOUT, () => {
    if (user.connected) {
      const { end: ended } = receive(data);
      if (ended !== null) end(ended);
      return;
    }
    const error = connectError(data);
    if (error !== 0) {
      end(libc.errnoName(error));
      return;
    }
    user.connected = true;
    reactor.change(data, libc.POLLIN);
    for (const bytes of user.queue.splice(0)) sendAll(user, bytes);
  });
}

function sendAll(user: User, bytes: Uint8Array): void {
  const count = libc.send(user.data, bytes, bytes.length, libc.MSG_NOSIGNAL);
  if (count !== bytes.length) user.owner.fail(count < 0 ? libc.errnoName(-count) : "a full send buffer");
}

/** A line is small against any send buffer; where the connection is gone, its reader says so. */
export function write(fd: number, line: string): void {
  const bytes = Buffer.from(`${line}\r\n`, "latin1");
  libc.send(fd, bytes, bytes.length, libc.MSG_NOSIGNAL);
}
