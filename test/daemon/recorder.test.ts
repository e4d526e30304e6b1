// Recording the log's connection: what gets into the file, when it ends and why, that nobody else can read it, and that a
// disk costs the connection nothing.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import { Recorder, type RecordingOrder } from "../../src/daemon/recorder.ts";
import { Connection } from "../../src/peer/connection.ts";
import { parseKeyLog } from "../../src/peer/keyLog.ts";
import { encodeFrame } from "../../src/wire/frames.ts";
import { readRecording } from "../../src/wire/recording.ts";
import { introduction, newIdentity, socketPair } from "../peer/loopback.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-recorder-"));
after(() => rmSync(directory, { recursive: true }));
let files = 0;

function world(t: TestContext, changes: Partial<RecordingOrder> = {}) {
  const lines: string[] = [];
  const recorder = new Recorder({ node: "b", log: (line) => lines.push(line) });
  t.after(() => recorder.stop());
  const order: RecordingOrder = {
    file: join(directory, `recording-${files++}`),
    what: "frames",
    seconds: 60,
    bytesMax: 1 << 20,
    ...changes,
  };
  return { recorder, order, lines };
}

const frame = encodeFrame({ kind: "ping", nonce: 1 }, 2);
const isIdle = (recorder: Recorder): boolean => recorder.tap === null;
const refusal = (code: string) => (error: unknown) => error instanceof BoundaryError && error.code === code;

test("frames of both ways, readable for the owner alone, until it is stopped", async (t) => {
  const { recorder, order, lines } = world(t);
  assert.ok(isIdle(recorder));
  await recorder.start(order);
  const { tap } = recorder;
  tap?.connection("connected", 2);
  tap?.frame("sent", 2, frame);
  tap?.frame("received", 2, frame);
  tap?.key(Buffer.from("CLIENT_TRAFFIC_SECRET_0 00 00\n"));
  assert.equal(statSync(order.file).mode & 0o777, 0o600);
  assert.equal(await recorder.stop(), true);
  assert.equal(await recorder.stop(), false);
  assert.equal(recorder.tap, null);
  tap?.frame("sent", 2, frame);
  const read = readRecording(readFileSync(order.file));
  assert.ok(read.ok);
  assert.deepEqual([read.node, read.incomplete], ["b", null]);
  assert.deepEqual(
    read.messages.map(({ what, message }) => `${what} ${message?.kind ?? ""}`),
    ["connected ", "sent ping", "received ping"],
  );
  assert.match(lines.join(), /^recording into \S+ ended after \d+ bytes: it was asked to$/);
});

test("a file that is there, a link, a directory that is not: refused, and nothing is touched", async (t) => {
  const { recorder, order } = world(t);
  writeFileSync(order.file, "mine");
  await assert.rejects(recorder.start(order), refusal("EEXIST"));
  assert.equal(readFileSync(order.file, "utf8"), "mine");
  const link = `${order.file}-link`;
  symlinkSync(`${order.file}-elsewhere`, link);
  await assert.rejects(recorder.start({ ...order, file: link }), refusal("EEXIST"));
  await assert.rejects(recorder.start({ ...order, file: join(directory, "none", "x") }), refusal("ENOENT"));
  assert.equal(recorder.tap, null);
});

test("one at a time, also while the first one's file is being made", async (t) => {
  const { recorder, order } = world(t);
  const first = recorder.start(order);
  await assert.rejects(recorder.start({ ...order, file: `${order.file}-2` }), refusal("BUSY"));
  await first;
  await assert.rejects(recorder.start({ ...order, file: `${order.file}-2` }), refusal("BUSY"));
});

test("it ends before it is too large, with whole messages", async (t) => {
  const { recorder, order, lines } = world(t, { bytesMax: 100 });
  await recorder.start(order);
  const { tap } = recorder;
  for (let count = 0; count < 50; count += 1) tap?.frame("sent", 2, frame);
  assert.equal(recorder.tap, null);
  await recorder.start({ ...order, file: `${order.file}-next` });
  await recorder.stop();
  const raw = readFileSync(order.file);
  const read = readRecording(raw);
  assert.ok(read.ok && raw.length <= 100);
  assert.deepEqual(
    [read.incomplete, read.messages.length],
    [null, Math.floor((100 - 15) / (8 + frame.length))],
  );
  assert.match(lines[0]!, /the next message would be too many$/);
});

test("it ends when its time is over", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { recorder, order, lines } = world(t, { seconds: 5 });
  await recorder.start(order);
  t.mock.timers.tick(4999);
  assert.notEqual(recorder.tap, null);
  t.mock.timers.tick(1);
  assert.equal(recorder.tap, null);
  assert.match(lines.join(), /the time is over$/);
});

test("a disk that does not keep up, or is full, ends it", async (t) => {
  const { recorder, order, lines } = world(t, { bytesMax: 1 << 30 });
  await recorder.start(order);
  const large = new Uint8Array(1 << 20);
  // Not one turn of the event loop: nothing can have been written.
  for (let count = 0; count < 20; count += 1) recorder.tap?.frame("sent", 2, large);
  assert.equal(recorder.tap, null);
  assert.match(lines.join(), /the disk is too slow$/);
});

test("what a command asks for, and what it is told", async (t) => {
  const { recorder, order } = world(t);
  let reconnected = 0;
  const obey = (reconnect: boolean, what: "frames" | "keys", file: string): Promise<string> =>
    recorder.obey({ file, what, seconds: 9, megabytes: 2, reconnect }, () => {
      reconnected += 1;
    });
  assert.equal(await recorder.obey(null, () => {}), "nothing is being recorded");
  assert.equal(
    await obey(false, "frames", order.file),
    `recording frames into ${order.file} for 9 s, at most 2 MB`,
  );
  assert.equal(await recorder.obey(null, () => {}), "the recording has ended");
  await obey(true, "keys", `${order.file}-keys`);
  assert.equal(reconnected, 1);
});

test("over a real connection: both nodes' words, and the keys that open it", async (t) => {
  const [alice, bob] = [newIdentity(), newIdentity()];
  const frames = world(t);
  const keys = world(t, { what: "keys" });
  await Promise.all([frames.recorder.start(frames.order), keys.recorder.start(keys.order)]);
  const [client, server] = await socketPair();
  const up: Promise<unknown>[] = [];
  const connect = (side: "dialled" | "accepted", recorder: Recorder): Connection => {
    const own =
      side === "dialled"
        ? introduction("b", bob, [alice.publicKey])
        : introduction("a", alice, [bob.publicKey]);
    let ready: () => void = () => {};
    up.push(new Promise<void>((resolve) => (ready = resolve)));
    return Connection[side](side === "dialled" ? client : server, {
      introduction: own,
      peerName: "test",
      tap: () => recorder.tap,
      events: { onReady: () => ready(), onMessage: () => {}, onEnd: () => {} },
    });
  };
  const [b, a] = [connect("dialled", frames.recorder), connect("accepted", keys.recorder)];
  await Promise.all(up);
  b.send({ kind: "acknowledge", position: { term: 1, sequence: 2 } });
  b.refuse("stopping", "enough");
  a.close("done", "");
  await Promise.all([frames.recorder.stop(), keys.recorder.stop()]);
  const read = readRecording(readFileSync(frames.order.file));
  assert.ok(read.ok);
  assert.deepEqual(
    read.messages.map(({ what, message }) => `${what} ${message?.kind ?? ""}`.trim()),
    ["sent hello", "received hello", "connected", "sent acknowledge", "sent refuse", "disconnected"],
  );
  assert.equal(parseKeyLog(readFileSync(keys.order.file, "utf8")).keys.size, 1);
});
