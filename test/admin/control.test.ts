// The control socket: mode, order of answers, bounds, a stale socket, a second daemon, a client that hangs up.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import {
  type ControlServer,
  type ControlService,
  connectControl,
  controlAnswers,
  serveControl,
} from "../../src/admin/control.ts";
import { BoundaryError } from "../../src/base/errors.ts";
import { CONTROL_CLIENTS_MAX, CONTROL_LINE_BYTES_MAX } from "../../src/base/limits.ts";
import type { DaemonMessage, DaemonRequest } from "../../src/wire/control.ts";
import { readDaemonRequest } from "../../src/wire/controlRequests.ts";

type Answer = (request: DaemonRequest) => DaemonMessage | Promise<DaemonMessage>;
const serviceOf = (answer: Answer): ControlService<DaemonRequest, DaemonMessage> => ({
  read: readDaemonRequest,
  answer,
});

let directory: string;
let path: string;
const servers: ControlServer[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "understudy-control-"));
  path = join(directory, "run", "control.sock");
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  rmSync(directory, { recursive: true });
});

const done = (request: DaemonRequest): DaemonMessage => ({
  kind: "done",
  request: request.request,
  message: request.kind,
});
const serve = async (answer: Answer = done): Promise<ControlServer> => {
  const server = await serveControl({ path, service: serviceOf(answer) });
  servers.push(server);
  return server;
};
const connect = () => connectControl<DaemonRequest, DaemonMessage>({ path, server: "the daemon" });
const refused = (code: string) => (error: unknown) => error instanceof BoundaryError && error.code === code;

/** Sends raw text and resolves to everything that came back until the server closed or one line arrived. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () => socket.write(text));
    let received = "";
    socket.setEncoding("utf8").on("data", (part: string) => {
      received += part;
      if (received.includes("\n")) socket.end();
    });
    socket.on("close", () => resolve(received)).on("error", reject);
  });
}

test("the socket is for its owner alone, and gone after closing", async () => {
  const server = await serve();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, "run")).mode & 0o777, 0o700);
  servers.pop();
  await server.close();
  assert.ok(!existsSync(path));
});

test("requests of one client are answered in order, each with its number", async () => {
  const order: number[] = [];
  await serve(async (request) => {
    // The first takes the longest: it must come first nevertheless.
    for (let turn = request.request; turn < 4; turn += 1) await new Promise(setImmediate);
    order.push(request.request);
    return done(request);
  });
  const client = await connect();
  const answers = await Promise.all([1, 2, 3].map(() => client.request({ kind: "handover" })));
  assert.deepEqual(order, [1, 2, 3]);
  assert.deepEqual(
    answers.map((answer) => answer.request),
    [1, 2, 3],
  );
  client.close();
});

test("what the daemon's answer throws reaches the client as its words", async () => {
  await serve(() => {
    throw new BoundaryError({ operation: "hand over", code: "NOT_READY", words: "b lacks 12 sessions" });
  });
  const client = await connect();
  assert.deepEqual(await client.request({ kind: "handover" }), {
    kind: "refused",
    request: 1,
    reason: "hand over: NOT_READY: b lacks 12 sessions",
  });
  client.close();
});

test("a line that is no request is refused with a reason, and the next one is served", async () => {
  await serve();
  assert.match(await raw("hello\n"), /"refused","request":0,"reason":"not JSON/);
  assert.match(await raw('{"kind":"sing","request":7}\n'), /"request":7,"reason":"kind: expected show/);
  assert.match(await raw('{"kind":"stop","request":8}\n'), /"done","request":8/);
});

test("a line without end is refused at the bound, not collected", async () => {
  await serve();
  assert.match(await raw("x".repeat(CONTROL_LINE_BYTES_MAX + 1)), /line-too-long/);
});

test("an answer that is too long becomes a refusal that says what to do", async () => {
  await serve((request) => ({
    kind: "done",
    request: request.request,
    message: "x".repeat(CONTROL_LINE_BYTES_MAX),
  }));
  const client = await connect();
  const answer = await client.request({ kind: "stop" });
  assert.equal(answer.kind, "refused");
  client.close();
});

test("one client more than the limit is told so", async () => {
  await serve();
  const clients = await Promise.all(Array.from({ length: CONTROL_CLIENTS_MAX }, connect));
  // An answer to each, so that all of them are surely accepted.
  await Promise.all(clients.map((client) => client.request({ kind: "stop" })));
  assert.match(await raw(""), /too many clients/);
  for (const client of clients) client.close();
});

test("clients beyond the limit that hang up at once do no harm", async () => {
  await serve();
  const clients = await Promise.all(Array.from({ length: CONTROL_CLIENTS_MAX }, connect));
  await Promise.all(clients.map((client) => client.request({ kind: "stop" })));
  const gone = Array.from(
    { length: 20 },
    () =>
      new Promise<void>((resolve) => {
        const socket = createConnection(path, () => socket.destroy());
        socket.on("error", () => undefined).once("close", () => resolve());
      }),
  );
  await Promise.all(gone);
  assert.equal((await clients[0]!.request({ kind: "stop" })).kind, "done");
  for (const client of clients) client.close();
});

test("many lines of one client are answered a few in a turn of the event loop", async () => {
  const burst = 3000;
  let answered = 0;
  let most = 0;
  await serve((request) => {
    answered += 1;
    const until = performance.now() + 0.2;
    while (performance.now() < until);
    return done(request);
  });
  const socket = createConnection(path);
  socket.on("error", () => undefined).resume();
  socket.write('{"kind":"stop","request":1}\n'.repeat(burst));
  while (answered < 300) {
    const before = answered;
    await new Promise(setImmediate);
    most = Math.max(most, answered - before);
  }
  socket.destroy();
  // 0.5 ms of 0.2 ms each, and what the loop's next turn takes before ours.
  assert.ok(most <= 8, `${most} lines in one turn`);
});

test("after a line that is no request at all the client is hung up on; a request of another version is refused alone", async () => {
  const answered: number[] = [];
  await serve((request) => {
    answered.push(request.request);
    return done(request);
  });
  await raw('{"kind":"stop","request":1}\nhello\n{"kind":"stop","request":2}\n');
  assert.deepEqual(answered, [1]);
  const client = await connect();
  const sing = await client.request({ kind: "sing" } as never);
  assert.equal(sing.kind, "refused");
  assert.equal((await client.request({ kind: "stop" })).kind, "done");
  client.close();
});

test("a client that neither asks nor listens is let go; one that waits for an answer or listens is not", async () => {
  let answer: (message: DaemonMessage) => void = () => undefined;
  const listening: { push(message: DaemonMessage): boolean }[] = [];
  const server = await serveControl<DaemonRequest, DaemonMessage>({
    path,
    idleMs: 20,
    service: {
      read: readDaemonRequest,
      answer: (request, peer) => {
        if (request.kind === "handover") return new Promise((resolve) => (answer = resolve));
        listening.push(peer);
        return done(request);
      },
    },
  });
  servers.push(server);
  const silent = createConnection(path);
  const closed = new Promise((resolve) => silent.once("close", resolve));
  const waiting = await connect();
  const waits = waiting.request({ kind: "handover" });
  const listens = await connect();
  await listens.request({ kind: "stop" });
  assert.ok(listening[0]!.push(done({ kind: "stop", request: 9 })));
  await closed;
  while (server.clients > 2) await new Promise(setImmediate);
  assert.equal(server.clients, 2);
  answer(done({ kind: "handover", request: 1 }));
  assert.equal((await waits).kind, "done");
  waiting.close();
  listens.close();
});

test("a second daemon is refused while the first answers", async () => {
  await serve();
  await assert.rejects(serveControl({ path, service: serviceOf(done) }), refused("ALREADY_RUNNING"));
  assert.ok(await controlAnswers(path));
});

test("a stale socket is replaced", async () => {
  const first = await serve();
  // What a killed daemon leaves: a bound file that nobody listens on.
  const left = join(directory, "left.sock");
  const server = createServer().listen(left);
  await new Promise((resolve) => server.once("listening", resolve));
  servers.pop();
  await first.close();
  const { linkSync } = await import("node:fs");
  linkSync(left, path);
  await new Promise((resolve) => server.close(resolve));
  assert.ok(!(await controlAnswers(path)));
  await serve();
  assert.ok(await controlAnswers(path));
});

test("closing leaves the file of a daemon that took the place", async () => {
  const first = await serve();
  const { unlinkSync } = await import("node:fs");
  unlinkSync(path);
  await serve();
  await first.close();
  assert.ok(existsSync(path));
  servers.shift();
});

test("a file that is no socket is not touched", async () => {
  await (await serve()).close();
  servers.pop();
  writeFileSync(path, "mine");
  await assert.rejects(serveControl({ path, service: serviceOf(done) }), refused("NOT_A_SOCKET"));
  assert.ok(existsSync(path));
});

test("a path too long for a socket is refused in words", async () => {
  const long = join(directory, "x".repeat(120), "control.sock");
  await assert.rejects(serveControl({ path: long, service: serviceOf(done) }), refused("PATH_TOO_LONG"));
});

test("nobody there: the client says what to do", async () => {
  await assert.rejects(connect(), (error) => {
    assert.ok(error instanceof BoundaryError);
    assert.equal(error.code, "ENOENT");
    assert.match(error.message, /systemctl start understudy/);
    return true;
  });
});

test("a server that hangs up fails what waits", async () => {
  await serve(() => new Promise(() => {}));
  const client = await connect();
  const answer = assert.rejects(client.request({ kind: "stop" }), refused("CLOSED"));
  const server = servers.pop()!;
  await server.close();
  await answer;
});

test("a server that stays silent is not waited for without end", async () => {
  await serve(() => new Promise(() => {}));
  const client = await connect();
  await assert.rejects(client.request({ kind: "stop" }, 5), refused("ETIMEDOUT"));
  client.close();
});
