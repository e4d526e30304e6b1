// `understudy record` and `understudy decode` as a user meets them: what is asked of the daemon, what a recorded file prints, and
// every way in which a file is refused.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { golden } from "../golden/golden.ts";
import { ipPacket, pcap, SYN } from "../wire/captureFiles.ts";
import { cli, createWorld, type World } from "./harness.ts";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world.end());

const fileOf = (name: string, content: Uint8Array | string): string => {
  const file = join(world.directory, name);
  writeFileSync(file, content);
  return file;
};

test("record: an absolute file, the bounds, and what the daemon says", async () => {
  const requests = await world.serve((request) => ({
    kind: "done",
    request: request.request,
    message: "recording",
  }));
  const node = ["--node", world.nodeFile];
  assert.deepEqual(await cli("record", "/tmp/x", ...node), { exitCode: 0, out: "recording\n", err: "" });
  await cli("record", "x.keys", "--keys", "--reconnect", "--seconds", "5", "--megabytes", "2", ...node);
  await cli("record", "--stop", "--json", ...node);
  assert.deepEqual(
    requests.map((request) => (request.kind === "record" ? request.order : request.kind)),
    [
      { file: "/tmp/x", what: "frames", seconds: 60, megabytes: 64, reconnect: false },
      { file: join(process.cwd(), "x.keys"), what: "keys", seconds: 5, megabytes: 2, reconnect: true },
      null,
    ],
  );
});

test("record: a file or --stop, and numbers within their bounds", async () => {
  for (const args of [[], ["x", "--stop"], ["x", "--seconds", "0"], ["x", "--megabytes", "1025"]])
    assert.equal((await cli("record", ...args)).exitCode, ExitCode.Usage, args.join(" "));
});

test("decode: a recorded file, as text and as JSON", async () => {
  const file = fileOf("log", golden("recording"));
  assert.deepEqual(await cli("decode", file), {
    exitCode: 0,
    out:
      "2025-11-24 16:00:00.000000 a > b  -- connected, protocol version 2 --\n" +
      "2025-11-24 16:00:00.001500 a > b  ping 7\n" +
      "2025-11-24 16:00:01.000000 b > a  pong 7\n" +
      "2025-11-24 16:01:00.000000 a > b  -- disconnected, protocol version 2 --\n",
    err: "",
  });
  const lines = (await cli("decode", "--json", file)).out.trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [
      {
        at: "2025-11-24T16:00:00.000000Z",
        from: "a",
        to: "b",
        kind: "note",
        text: "connected, protocol version 2",
        isFault: false,
      },
      { at: "2025-11-24T16:00:00.001500Z", from: "a", to: "b", kind: "ping", nonce: 7 },
      { at: "2025-11-24T16:00:01.000000Z", from: "b", to: "a", kind: "pong", nonce: 7 },
      {
        at: "2025-11-24T16:01:00.000000Z",
        from: "a",
        to: "b",
        kind: "note",
        text: "disconnected, protocol version 2",
        isFault: false,
      },
    ],
  );
});

test("decode: what is cut off is printed as far as it goes, and said", async () => {
  const raw = golden("recording");
  const file = fileOf("log", raw.subarray(0, raw.length - 3));
  const { exitCode, out, err } = await cli("decode", file);
  assert.equal(exitCode, ExitCode.Refused);
  assert.match(out, /pong 7\n$/);
  assert.match(err, /^understudy: \S+log: at byte \d+: after: truncated/);
});

test("decode: files that are none of ours, each with its reason", async () => {
  const empty = pcap({ linkType: 1, packets: [] }, { little: true, nanoseconds: false });
  const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ["no such file", [join(world.directory, "none")], ExitCode.Refused, /read \S+none: .*no such file/],
    ["a directory", [world.directory], ExitCode.Refused, /read .*directory/],
    ["text", [fileOf("text", "hello")], ExitCode.Refused, /it begins like neither[\s\S]*understudy record/],
    ["an empty capture", [fileOf("empty", empty)], ExitCode.Refused, /nothing of port 1148 is in it/],
    [
      "a key log that is none",
      [fileOf("pcap", empty), "--keys", fileOf("keys", "x\n")],
      ExitCode.Refused,
      /the secrets of no TLS 1\.3 connection are in it, and 1 lines are of no key log/,
    ],
    [
      "a node's file that is none",
      [fileOf("pcap2", empty), "--node", fileOf("node2.yaml", "node: c\n")],
      ExitCode.Refused,
      /node2\.yaml/,
    ],
  ];
  for (const [name, args, expected, words] of cases) {
    const { exitCode, out, err } = await cli("decode", ...args);
    assert.equal(exitCode, expected, name);
    assert.match(err, words, name);
    assert.equal(out, "", name);
  }
});

test("decode: a stranger on the port is told as what it is", async () => {
  const client = {
    source: [10, 0, 0, 9],
    destination: [10, 0, 0, 1],
    sourcePort: 5000,
    destinationPort: 1148,
  };
  const packets = [
    ipPacket({ ...client, payload: new Uint8Array(0), tcp: { sequence: 1, flags: SYN } }),
    ipPacket({ ...client, payload: new TextEncoder().encode("GET / HTTP/1.1\r\n"), tcp: { sequence: 2 } }),
  ].map((bytes, index) => ({ at: 1_764_000_000_000_000 + index, bytes, onWire: bytes.length }));
  const file = fileOf("stranger", pcap({ linkType: 101, packets }, { little: true, nanoseconds: false }));
  const { exitCode, out } = await cli("decode", file);
  assert.equal(out, "2025-11-24 16:00:00.000001 b > a  -- not Understudy: HTTP (474554202f204854) --\n");
  assert.equal(exitCode, ExitCode.Ok);
});
