// The messages of a session over FTP: over the control connection (as arguments of NOOP and of its reply), or over an active
// data connection, for which connection tracking's helper has to read PORT, to put the link's address into it, and to let
// the far side call. Where the two connections are opened, before the fault or after, is what the kinds differ in.

import * as libc from "../../kernel/libc.ts";
import type { ChannelSetting, OpenChannel } from "./channels.ts";
import { createFtpServer, type FtpServer, lineReader, portCommand, write } from "./ftpServer.ts";
import { type ChannelEvents, MESSAGE_BYTES } from "./probe.ts";
import type { Reactor } from "./reactor.ts";
import { connectError, connectTcp, listenTcp, socketAddress } from "./sockets.ts";

const PORT_CONTROL = 21;
/** Above the ports that the hosts' kernels give to connections of their own. */
const PORT_LISTEN = 61_000;

/**
 * `control`: everything over the control connection, behind a PORT. `data`: a file over a data connection. `expected`: PORT is
 * said when it opens, the file asked for when the far end is to talk. `after`: PORT too is said only then.
 */
export type FtpUse = "control" | "data" | "expected" | "after";

const servers = new WeakMap<Reactor, FtpServer>();
const serverOf = (reactor: Reactor): FtpServer => {
  const server = servers.get(reactor) ?? createFtpServer(reactor);
  servers.set(reactor, server);
  return server;
};

const hex = (message: Uint8Array): string => Buffer.from(message).toString("hex");
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

/** The near end's side of a control connection: what to say next, by what the server says. */
interface Client {
  readonly fd: number;
  /** What is to be said, one after the other, each after the reply to the one before. */
  readonly script: string[];
  /** Called when nothing is left to say for the first time. */
  onReady: (() => void) | null;
}

export const overFtp =
  (use: FtpUse): OpenChannel =>
  (setting) => {
    const { seat, reactor, events } = setting;
    const listenAt = PORT_LISTEN + seat.seed;
    const port = portCommand(seat.near, listenAt);
    let asked = false;
    let answered = false;
    const far = serverOf(reactor).serve({ pid: seat.farPid, address: seat.far }, `s${seat.seed}`, {
      fail: events.fail,
      // The file of one that waited is asked for without a message: its first contact was a NOOP.
      command: (_verb, words) => {
        if (words !== "-") events.atFar(unhex(words));
      },
    });
    if (use !== "control") listenForData(setting, listenAt);
    const login = [`USER s${seat.seed}`, "PASS none"];
    const script = use === "control" || use === "expected" ? [...login, port] : login;
    const client = openClient(setting, script);
    const say = (...lines: readonly string[]): void => speak(client, lines);
    return {
      near: (message) => say(...(use === "data" ? [port, `RETR ${hex(message)}`] : [`NOOP ${hex(message)}`])),
      far: (message) => {
        if (use === "control" || (use !== "data" && !answered)) {
          answered = true;
          return far.reply(`200 ${hex(message)}`);
        }
        far.data(message.slice());
        if (asked || use === "data") return;
        asked = true;
        say(...(use === "after" ? [port, "RETR -"] : ["RETR -"]));
      },
    };
  };

function openClient({ seat, reactor, events }: ChannelSetting, script: readonly string[]): Client {
  const fd = connectTcp(seat.nearPid, socketAddress(seat.far, PORT_CONTROL));
  const client: Client = { fd, script: [...script], onReady: events.ready };
  const buffer = new Uint8Array(4096);
  let connected = false;
  const read = lineReader((line) => hear(client, line, events));
  reactor.watch(fd, libc.POLLOUT, () => {
    if (!connected) {
      const error = connectError(fd);
      if (error !== 0) {
        reactor.forget(fd);
        return events.fail(`control connection: ${libc.errnoName(error)}`);
      }
      connected = true;
      return reactor.change(fd, libc.POLLIN);
    }
    const count = libc.recv(fd, buffer);
    if (count === -libc.errno.EAGAIN!) return;
    if (count > 0) return read(buffer.slice(0, count));
    reactor.forget(fd);
    events.fail(`control connection: ${count === 0 ? "closed" : libc.errnoName(-count)}`);
  });
  return client;
}

/** One reply: what it carries, and what is to be said next. */
function hear(client: Client, line: string, events: ChannelEvents): void {
  const [code = "", words = ""] = line.split(" ");
  if (!/^[123]/.test(code)) {
    events.fail(`the server said ${line}`);
    return;
  }
  if (code === "200" && words.length === 2 * MESSAGE_BYTES) {
    events.atNear(unhex(words));
    return;
  }
  // 1xx is not the end of what is being done, but the client of a laboratory has nothing else to do meanwhile.
  const next = client.script.shift();
  if (next !== undefined) write(client.fd, next);
  else {
    client.onReady?.();
    client.onReady = null;
  }
}

/** Says the first line now, each other one after the reply to the one before. */
function speak(client: Client, lines: readonly string[]): void {
  const [first, ...others] = lines;
  client.script.push(...others);
  write(client.fd, first!);
}

/** The near end of data connections: one comes. */
function listenForData({ seat, reactor, events }: ChannelSetting, port: number): void {
  const listener = listenTcp(seat.nearPid, socketAddress(seat.near, port));
  const buffer = new Uint8Array(4096);
  reactor.watch(listener, libc.POLLIN, () => {
    const fd = libc.accept(listener);
    if (fd < 0) return;
    let pending: Uint8Array = new Uint8Array(0);
    reactor.watch(fd, libc.POLLIN, () => {
      const count = libc.recv(fd, buffer);
      if (count === -libc.errno.EAGAIN!) return;
      if (count <= 0) {
        reactor.forget(fd);
        return events.fail(`data connection: ${count === 0 ? "closed" : libc.errnoName(-count)}`);
      }
      pending = Uint8Array.from([...pending, ...buffer.subarray(0, count)]);
      for (; pending.length >= MESSAGE_BYTES; pending = pending.slice(MESSAGE_BYTES))
        events.atNear(pending.slice(0, MESSAGE_BYTES));
    });
  });
}
