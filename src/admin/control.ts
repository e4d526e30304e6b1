// The control sockets' transport: a Unix stream socket with one JSON object a line, as server (the daemon) and as
// client (the command line; the daemon towards heart), and heart's own socket alike. Mode 0600: who may open it may
// do everything with the node, and that is root alone. What the lines say is wire/control.ts; it decides nothing.

import { chmodSync, lstatSync, mkdirSync, renameSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { BoundaryError } from "../base/errors.ts";
import {
  CONTROL_ANSWER_MS_MAX,
  CONTROL_CLIENTS_MAX,
  CONTROL_LINE_BYTES_MAX,
  SOCKET_PATH_BYTES_MAX,
} from "../base/limits.ts";
import { createLineReader } from "../wire/lines.ts";

const CLOSE_GRACE_MS = 1000;
const PROBE_MS = 1000;
/** A client that neither asks nor listens is in the way of others. */
const IDLE_MS = 60_000;
/** Of one turn of the event loop, and of what came. */
const SLICE_MS = 0.5;
const READ_BYTES = 2048;
/** Connections that are told that they are too many, at a time; more are closed without a word. */
const REFUSED_AT_ONCE = 8;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "UNKNOWN";
const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Why something was refused, once: of a refusal that is passed on its words alone. */
const reasonOf = (error: unknown): string =>
  error instanceof BoundaryError && error.code === "REFUSED" && error.words !== undefined
    ? error.words
    : wordsOf(error);

/** A message that may be an answer: it carries the request's number. */
interface Numbered {
  readonly kind: string;
  readonly request?: number;
}

/** One client of a server, for what it is told unasked. */
export interface ControlPeer<Message> {
  /** The client has hung up. */
  readonly gone: boolean;
  /** False where the client is gone, or does not read: it is not waited for. */
  push(message: Message): boolean;
}

/** One value from a client, read strictly: `number` is its request's number where it had one, else 0. */
export type Read<Request> =
  | { readonly ok: true; readonly request: Request }
  | { readonly ok: false; readonly number: number; readonly reason: string };

/** What a server does with its lines. */
export interface ControlService<Request, Message extends Numbered> {
  read(value: unknown): Read<Request>;
  /** Every request in order; null: it needs no answer; a rejection is answered as `refused` with the error's words. */
  answer(request: Request, peer: ControlPeer<Message>): Message | null | Promise<Message | null>;
}

type Refusal = { readonly kind: "refused"; readonly request: number; readonly reason: string };
const refusal = (request: number, reason: string): Refusal => ({ kind: "refused", request, reason });

export interface ControlServer {
  readonly path: string;
  readonly clients: number;
  /** Ends every connection, closes, and removes the socket's file where it is still ours. */
  close(): Promise<void>;
}

/** True where somebody accepts a connection on the socket at `path`. */
export function controlAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const finish = (answers: boolean): void => {
      socket.destroy();
      resolve(answers);
    };
    socket.setTimeout(PROBE_MS, () => finish(true)); // Accepted by a full queue or a stopped process: it lives.
    socket.once("connect", () => finish(true));
    socket.once("error", (error) => finish(!["ECONNREFUSED", "ENOENT"].includes(codeOf(error))));
  });
}

/** Throws where the place at `path` is taken by somebody who answers, or by something that is no socket. */
async function assertFree(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new BoundaryError({
      operation: `listen on ${path}`,
      code: "NOT_A_SOCKET",
      words: "something else stands in its place",
      advice: "Move it away, or choose another runtime directory in the node's file.",
    });
  if (await controlAnswers(path))
    throw new BoundaryError({
      operation: `listen on ${path}`,
      code: "ALREADY_RUNNING",
      words: "another Understudy answers there",
      advice: "One daemon a node: `understudy show pair` shows the one that runs.",
    });
}

/** Binds at a name of our own first and moves it into place: the file is never there with a wrong mode, and a
 * stale one is replaced in one step. */
function bindAt(server: Server, path: string): Promise<void> {
  const own = `${path}.${process.pid}`;
  return new Promise((resolve, reject) => {
    const refuse = (error: unknown): void =>
      reject(
        new BoundaryError(
          {
            operation: `listen on ${path}`,
            code: codeOf(error),
            words: wordsOf(error),
            advice: "The runtime directory must be writable for the user that runs Understudy.",
          },
          { cause: error },
        ),
      );
    server.once("error", refuse);
    const umask = process.umask(0o177);
    try {
      server.listen(own, () => {
        try {
          chmodSync(own, 0o600);
          renameSync(own, path);
          server.off("error", refuse);
          // A connection that could not be accepted (no descriptor left): its client sees that, and tries again.
          server.on("error", () => undefined);
          resolve();
        } catch (error) {
          refuse(error);
        }
      });
    } finally {
      process.umask(umask);
    }
  });
}

/** One line of an answer; too long a one becomes a refusal, so that the client is never left waiting. */
function lineOf(message: Numbered): string {
  const line = JSON.stringify(message);
  if (Buffer.byteLength(line) <= CONTROL_LINE_BYTES_MAX) return `${line}\n`;
  const reason = "the answer is too long for one line; ask for less (a filter, a smaller --limit)";
  return `${JSON.stringify(refusal(message.request ?? 0, reason))}\n`;
}

/** The answer to one line that a client sent; it never throws. `malformed`: the client does not speak this language. */
function answerLine<Request, Message extends Numbered>(
  line: string,
  service: ControlService<Request, Message>,
  peer: ControlPeer<Message>,
): { readonly malformed: string } | Message | Refusal | null | Promise<Message | Refusal | null> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { malformed: `not JSON: ${wordsOf(error)}` };
  }
  const read = service.read(value);
  // One with a number is of another version of ours, perhaps: it is refused, and the next one may be understood.
  if (!read.ok) return read.number === 0 ? { malformed: read.reason } : refusal(read.number, read.reason);
  const refuse = (error: unknown): Refusal =>
    refusal((read.request as { request?: number }).request ?? 0, reasonOf(error));
  try {
    const answer = service.answer(read.request, peer);
    return answer instanceof Promise ? answer.catch(refuse) : answer;
  } catch (error) {
    return refuse(error);
  }
}

/** Runs what it is given in order, so much in one turn of the event loop, whoever asks for it. */
type Pace = (work: () => void) => void;

/**
 * What all clients of a server together take of one turn of the event loop is SLICE_MS and one piece of work: heart
 * renews its lease in between.
 */
function createPace(): Pace {
  const waiting: (() => void)[] = [];
  let planned = false;
  const run = (): void => {
    const started = performance.now();
    do waiting.shift()?.();
    while (waiting.length > 0 && performance.now() - started < SLICE_MS);
    planned = waiting.length > 0;
    if (planned) setImmediate(run);
  };
  return (work) => {
    waiting.push(work);
    if (!planned) setImmediate(run);
    planned = true;
  };
}

/** Says a last line. What the client still sends is thrown away: hanging up on it unread would cost it that line. */
function hangUp(socket: Socket, reason: string): void {
  socket.removeAllListeners("data");
  socket.end(lineOf(refusal(0, reason)));
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), CLOSE_GRACE_MS);
  socket.once("close", () => clearTimeout(timer));
}

interface Serving<Request, Message extends Numbered> {
  readonly service: ControlService<Request, Message>;
  readonly pace: Pace;
  readonly idleMs: number;
  readonly lineBytesMax: number;
}

/** Serves one client: its lines are answered one after the other, and nothing is read while one is worked on. */
class Client<Request, Message extends Numbered> {
  readonly #socket: Socket;
  readonly #serving: Serving<Request, Message>;
  readonly #reader: ReturnType<typeof createLineReader>;
  readonly #peer: ControlPeer<Message>;
  #unread: Uint8Array = new Uint8Array(0);
  /** The next line first at the end. */
  #lines: string[] = [];
  #isBusy = false;
  /** Told something unasked: it listens, and may be silent for as long as it likes. */
  #listens = false;

  constructor(socket: Socket, serving: Serving<Request, Message>) {
    this.#socket = socket;
    this.#serving = serving;
    this.#reader = createLineReader(serving.lineBytesMax);
    this.#peer = {
      get gone() {
        return socket.destroyed;
      },
      push: (message) => this.#push(message),
    };
    socket.setTimeout(serving.idleMs, () => {
      if (!this.#listens && !this.#isBusy) socket.destroy();
    });
    socket.on("data", (bytes: Uint8Array) => {
      socket.pause();
      this.#isBusy = true;
      this.#unread = bytes;
      serving.pace(this.#work);
    });
  }

  #push(message: Message): boolean {
    this.#listens = true;
    // One that does not read keeps at most a buffer of lines; it learns the rest when it asks.
    if (this.#socket.destroyed || this.#socket.writableNeedDrain) return false;
    this.#socket.write(lineOf(message));
    return true;
  }

  /** One line, or the next few bytes. */
  readonly #work = (): void => {
    if (this.#socket.destroyed) return;
    const line = this.#lines.pop();
    if (line !== undefined) this.#answer(line);
    else if (this.#unread.length > 0) this.#read();
    else {
      this.#isBusy = false;
      this.#socket.resume();
    }
  };

  #read(): void {
    const fed = this.#reader.feed(this.#unread.subarray(0, READ_BYTES));
    if (fed.kind === "refused") {
      hangUp(this.#socket, fed.reason);
      return;
    }
    this.#unread = this.#unread.subarray(READ_BYTES);
    this.#lines = fed.lines.toReversed();
    this.#serving.pace(this.#work);
  }

  #answer(line: string): void {
    const answer = answerLine(line, this.#serving.service, this.#peer);
    if (answer instanceof Promise) void answer.then(this.#finish);
    else if (answer !== null && "malformed" in answer) hangUp(this.#socket, answer.malformed);
    else this.#finish(answer);
  }

  readonly #finish = (message: Message | Refusal | null): void => {
    if (this.#socket.destroyed) return;
    const goOn = (): void => this.#serving.pace(this.#work);
    // A client that asks and does not read is not waited for without bound: the kernel's buffer and one line.
    if (message === null || this.#socket.write(lineOf(message))) goOn();
    else void drained(this.#socket).then((ok) => ok && goOn());
  };
}

/** True once the client took what was written; false where it did not within the time of an answer. */
function drained(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), CONTROL_ANSWER_MS_MAX);
    const finish = (ok: boolean): void => {
      clearTimeout(timer);
      resolve(ok);
    };
    socket.once("drain", () => finish(true));
    socket.once("close", () => finish(false));
  });
}

/**
 * Serves a control socket at `path` (mode 0600; the directory is made, mode 0700, where it is
 * missing). Throws a BoundaryError where another process answers there or the place cannot be used.
 */
export async function serveControl<Request, Message extends Numbered>(options: {
  readonly path: string;
  readonly service: ControlService<Request, Message>;
  /** Silence after which a client that does not listen is let go. */
  readonly idleMs?: number;
  /** Of a request. */
  readonly lineBytesMax?: number;
}): Promise<ControlServer> {
  const { path, service, idleMs = IDLE_MS, lineBytesMax = CONTROL_LINE_BYTES_MAX } = options;
  // The name that is bound first carries our process id, at most 8 more bytes.
  if (Buffer.byteLength(path) + 8 > SOCKET_PATH_BYTES_MAX)
    throw new BoundaryError({
      operation: `listen on ${path}`,
      code: "PATH_TOO_LONG",
      words: `a socket's path holds at most ${SOCKET_PATH_BYTES_MAX - 8} bytes`,
      advice: "Choose a shorter runtime directory in the node's file.",
    });
  const sockets = new Set<Socket>();
  const serving: Serving<Request, Message> = { service, pace: createPace(), idleMs, lineBytesMax };
  const server = createServer((socket) => {
    // First of all: an error that nobody listens to would end the process.
    socket.on("error", () => socket.destroy());
    if (sockets.size >= CONTROL_CLIENTS_MAX) return hangUp(socket, "too many clients; try again");
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    new Client(socket, serving);
  });
  server.maxConnections = CONTROL_CLIENTS_MAX + REFUSED_AT_ONCE;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new BoundaryError(
      {
        operation: `make the runtime directory ${dirname(path)}`,
        code: codeOf(error),
        words: wordsOf(error),
      },
      { cause: error },
    );
  }
  await assertFree(path);
  await bindAt(server, path);
  const inode = lstatSync(path, { throwIfNoEntry: false })?.ino;
  return {
    path,
    get clients() {
      return sockets.size;
    },
    close: async () => {
      // Only our own file: by now another daemon may stand there.
      if (inode !== undefined && lstatSync(path, { throwIfNoEntry: false })?.ino === inode) unlinkSync(path);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.end();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, CLOSE_GRACE_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Every request of a union, without the number that the client puts in. */
export type Unnumbered<Request> = Request extends { readonly request: number }
  ? Omit<Request, "request">
  : never;

export interface ControlClient<Request, Message> {
  /** Resolves to the message that carries this request's number; rejects with a BoundaryError on silence or hangup. */
  request(body: Unnumbered<Request>, timeoutMs?: number): Promise<Message>;
  /** A line that needs no answer. */
  send(body: Request): void;
  close(): void;
}

/**
 * Connects to a control socket. `server` is its name for people (`the daemon`, `heart`). Messages without the
 * number of a waiting request go to `onMessage`. Rejects with a BoundaryError where nobody answers or the user may not.
 */
export async function connectControl<Request, Message extends Numbered>(options: {
  readonly path: string;
  readonly server: string;
  readonly onMessage?: (message: Message) => void;
  readonly onClose?: () => void;
}): Promise<ControlClient<Request, Message>> {
  const { path, server, onMessage, onClose } = options;
  const socket = createConnection(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (error) => reject(unreachableServer(path, server, error)));
  });
  const waiting = new Map<number, { resolve(message: Message): void; reject(error: Error): void }>();
  const reader = createLineReader(CONTROL_LINE_BYTES_MAX);
  let number = 0;
  const failAll = (code: string, words: string): void => {
    const error = new BoundaryError({ operation: `ask ${server} on ${path}`, code, words });
    for (const { reject } of [...waiting.values()]) reject(error);
    waiting.clear();
  };
  const deliver = (message: Message): void => {
    const waiter = message.request === undefined ? undefined : waiting.get(message.request);
    if (waiter !== undefined) waiter.resolve(message);
    else if (message.kind === "refused" && message.request === 0)
      failAll("REFUSED", String((message as { reason?: unknown }).reason));
    else onMessage?.(message);
  };
  socket.on("data", (bytes: Uint8Array) => {
    const fed = reader.feed(bytes);
    if (fed.kind === "refused") return void socket.destroy(new Error(fed.reason));
    try {
      for (const line of fed.lines) deliver(JSON.parse(line) as Message);
    } catch (error) {
      socket.destroy(error as Error);
    }
  });
  socket.on("error", (error) => failAll(codeOf(error), wordsOf(error)));
  socket.once("close", () => {
    failAll("CLOSED", `${server} closed the connection before it answered`);
    onClose?.();
  });
  const write = (body: object): void => void socket.write(`${JSON.stringify(body)}\n`);
  return {
    request: (body, timeoutMs = CONTROL_ANSWER_MS_MAX) =>
      new Promise<Message>((resolve, reject) => {
        number += 1;
        const mine = number;
        if (socket.destroyed) {
          reject(new BoundaryError({ operation: `ask ${server} on ${path}`, code: "CLOSED" }));
          return;
        }
        const timer = setTimeout(
          () => settle(() => reject(silentServer(path, server, timeoutMs))),
          timeoutMs,
        );
        const settle = (then: () => void): void => {
          clearTimeout(timer);
          waiting.delete(mine);
          then();
        };
        waiting.set(mine, {
          resolve: (message) => settle(() => resolve(message)),
          reject: (error) => settle(() => reject(error)),
        });
        write({ ...body, request: mine });
      }),
    send: (body) => write(body as object),
    close: () => void socket.end(),
  };
}

function unreachableServer(path: string, server: string, error: unknown): BoundaryError {
  const code = codeOf(error);
  const advice =
    code === "ENOENT" || code === "ECONNREFUSED"
      ? "Understudy does not run on this node. Start it: `systemctl start understudy`, or `understudy run`."
      : code === "EACCES" || code === "EPERM"
        ? "The control socket is for root alone: use sudo."
        : undefined;
  return new BoundaryError(
    {
      operation: `reach ${server} on ${path}`,
      code,
      words:
        code === "ENOENT" ? "no such socket" : code === "ECONNREFUSED" ? "nobody listens" : wordsOf(error),
      ...(advice === undefined ? {} : { advice }),
    },
    { cause: error },
  );
}

function silentServer(path: string, server: string, timeoutMs: number): BoundaryError {
  return new BoundaryError({
    operation: `ask ${server} on ${path}`,
    code: "ETIMEDOUT",
    words: `no answer within ${timeoutMs} ms`,
    advice: "It runs but does not answer: see its log (`journalctl -u understudy`), and `understudy doctor`.",
  });
}
