// The command line as a user meets it: help, wrong uses, each command, each way to fail and its exit code.

import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { reportFailure } from "../../src/cli/failure.ts";
import { assertMayRun, mayAdministerNetwork } from "../../src/cli/privilege.ts";
import { alarmOf } from "../../src/core/alarms.ts";
import { plainStyle } from "../../src/views/text.ts";
import type { LinkView } from "../../src/wire/control.ts";
import { factsExample } from "../wire/nodeSamples.ts";
import { cli, createWorld, type World } from "./harness.ts";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world.end());

const refusing = (request: { readonly request: number }) =>
  ({ kind: "refused", request: request.request, reason: "b is not ready: no snapshot yet" }) as const;

test("help lists every command and the exit codes", async () => {
  const { exitCode, out } = await cli("--help");
  assert.equal(exitCode, ExitCode.Ok);
  for (const name of [
    "run",
    "handover",
    "restart",
    "stop",
    "show",
    "check",
    "keygen",
    "doctor",
    "lab",
    "version",
  ])
    assert.match(out, new RegExp(`^  ${name} `, "m"));
  for (const code of Object.values(ExitCode)) assert.match(out, new RegExp(`\\b${code} `));
});

test("each command has a help of its own", async () => {
  for (const name of ["run", "handover", "restart", "stop", "show", "check", "keygen", "doctor", "version"])
    assert.match((await cli(name, "--help")).out, new RegExp(`^Usage: understudy ${name}`));
});

test("no command at all: the help, on standard error, as a wrong use", async () => {
  const { exitCode, out, err } = await cli();
  assert.deepEqual([exitCode, out], [ExitCode.Usage, ""]);
  assert.match(err, /^Usage: understudy/);
});

for (const [args, message] of [
  [["sing"], /unknown command 'sing'/],
  [["shw"], /Did you mean show\?/],
  [["show", "all"], /Allowed choices are pair, links, sessions/],
  [["show", "sessions", "--port", "70000"], /Expected a whole number from 0 to 65535/],
  [["show", "sessions", "--link", "x y"], /Expected a link's id or name/],
  [["show", "sessions", "--protocol", "foo"], /Expected one of icmp, tcp, udp/],
  [["show", "pair", "--link", "2"], /belong to `show sessions`/],
  [["show", "sessions", "--limit", "0"], /Expected a whole number from 1 to 600/],
  [["show", "sessions", "--address", "example.org"], /Expected an IPv4 or IPv6 address/],
  // It would match nothing, and read as "there is no such session".
  [["show", "sessions", "--address", "10.20.1"], /Expected an IPv4 or IPv6 address/],
  [["show", "sessions", "--address", "fd20::1::7"], /Expected an IPv4 or IPv6 address/],
  [["show", "sessions", "--protocol", "t c p"], /Expected one of icmp, tcp/],
  [["show", "sessions", "-4", "-6"], /cannot be used with/],
  [["show", "pair", "--limit", "3"], /belong to `show sessions`/],
  [["show", "links", "--port", "3"], /belong to `show sessions`/],
  [["version", "--bright"], /unknown option '--bright'/],
] as const) {
  test(`wrong use: ${args.join(" ")}`, async () => {
    const { exitCode, out, err } = await cli(...args);
    assert.deepEqual([exitCode, out], [ExitCode.Usage, ""]);
    assert.match(err, message);
  });
}

test("version, as package.json has it", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  assert.equal((await cli("version")).out, `understudy ${version}\n`);
  assert.equal(JSON.parse((await cli("version", "--json")).out).version, version);
});

test("keygen writes a private key once, and prints what the other node needs", async () => {
  const file = join(world.directory, "node.key");
  const made = await cli("keygen", "--out", file, "--json");
  assert.equal(made.exitCode, ExitCode.Ok);
  const { publicKey, fingerprint } = JSON.parse(made.out);
  assert.match(publicKey, /^ed25519:[A-Za-z0-9+/]{43}=$/);
  assert.match(fingerprint, /^SHA256:/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const content = readFileSync(file, "utf8");
  const again = await cli("keygen", "--out", file);
  assert.equal(again.exitCode, ExitCode.Refused);
  assert.match(again.err, /^understudy: write a new key to .*EEXIST/);
  assert.equal(readFileSync(file, "utf8"), content);
});

test("keygen --show prints the public half of a key that is there", async () => {
  const file = join(world.directory, "node.key");
  const made = JSON.parse((await cli("keygen", "--out", file, "--json")).out);
  const shown = await cli("keygen", "--show", file);
  assert.equal(shown.exitCode, ExitCode.Ok);
  assert.ok(shown.out.includes(made.publicKey) && shown.out.includes(made.fingerprint));
  assert.deepEqual(JSON.parse((await cli("keygen", "--show", file, "--json")).out), made);
  const { err } = await cli("keygen", "--show", join(world.directory, "other.key"));
  assert.match(err, /ENOENT: no such file or directory\n {2}make one with: understudy keygen --out/);
});

test("keygen into a directory that is not there: says so once, and how to make it", async () => {
  const { err } = await cli("keygen", "--out", join(world.directory, "missing", "node.key"));
  assert.equal(err.match(/ENOENT/g)?.length, 1);
  assert.match(err, /\n {2}make the directory first: mkdir -m 700 .*missing\n$/);
});

test("run without the right to administer the network: told first, with its exit code", () => {
  assert.ok(mayAdministerNetwork("Name:\tnode\nCapEff:\t000001ffffffffff\n"));
  assert.ok(!mayAdministerNetwork("CapEff:\t0000000000000000\n"));
  assert.throws(() => assertMayRun("CapEff:\t0000000000000400\n"), { exitCode: ExitCode.NoPermission });
});

test("stop where no daemon answers: how to clean up", async () => {
  const { exitCode, err } = await cli("stop", "--node", world.nodeFile);
  assert.equal(exitCode, ExitCode.Unavailable);
  assert.match(err, /understudy stop --clean/);
});

test("stop --clean takes nothing from a daemon that runs", async () => {
  await world.serve((request) => ({ kind: "done", request: request.request, message: "" }));
  const { exitCode, err } = await cli("stop", "--clean", "--node", world.nodeFile);
  assert.equal(exitCode, ExitCode.Failed);
  assert.match(err, /the daemon of this node runs/);
});

test("keygen prints the line for the pair's file", async () => {
  const { out } = await cli("keygen", "--out", join(world.directory, "node.key"));
  assert.match(out, /^ {2}keys: \["ed25519:[^"]+"\]$/m);
  assert.match(out, /^ {2}SHA256:/m);
});

const cable = { id: 2, name: "cable" } as LinkView;

test("show sessions takes a link by its name; one that does not exist is a wrong use", async () => {
  const requests = await world.serve((request) =>
    request.kind === "show" && request.what === "links"
      ? { kind: "links", request: request.request, links: [cable] }
      : { kind: "sessions", request: request.request, sessions: [], total: 0, truncated: false },
  );
  const node = ["--node", world.nodeFile];
  assert.equal((await cli("show", "sessions", "--link", "cable", ...node)).exitCode, ExitCode.Ok);
  assert.deepEqual(requests.at(-1), {
    kind: "show",
    request: 1,
    what: "sessions",
    filter: { link: 2 },
    limit: 50,
  });
  const { exitCode, err } = await cli("show", "sessions", "--link", "7", ...node);
  assert.equal(exitCode, ExitCode.Usage);
  assert.match(err, /there are: cable \(2\)/);
});

test("show links and sessions: drawn, or one JSON object", async () => {
  let links: readonly LinkView[] = [];
  const requests = await world.serve((request) =>
    request.kind === "show" && request.what === "links"
      ? { kind: "links", request: request.request, links }
      : { kind: "sessions", request: request.request, sessions: [], total: 0, truncated: false },
  );
  const node = ["--node", world.nodeFile];
  assert.equal((await cli("show", "links", ...node)).out, "No links are configured.\n");
  assert.deepEqual(JSON.parse((await cli("show", "links", "--json", ...node)).out), { links: [] });
  assert.equal((await cli("show", "sessions", ...node)).out, "No session matches.\n");
  links = [cable];
  const filters = [
    "--link",
    "2",
    "--protocol",
    "TCP",
    "--address",
    "FD20:0:0::07",
    "--port",
    "443",
    "-6",
    "--limit",
    "7",
  ];
  await cli("show", "sessions", ...filters, ...node);
  assert.deepEqual(requests.at(-1), {
    kind: "show",
    request: 1,
    what: "sessions",
    filter: { link: 2, protocol: "tcp", address: "fd20::7", port: 443, family: 6 },
    limit: 7,
  });
});

test("show alarms: drawn, or one JSON object", async () => {
  const alarm = { ...alarmOf("peer-silent"), since: "2026-11-20T15:26:00Z" };
  const view = { node: "a", alarms: [alarm], peer: null } as const;
  await world.serve((request) => ({ kind: "alarms", request: request.request, view }));
  const node = ["--node", world.nodeFile];
  assert.match(
    (await cli("show", "alarms", ...node)).out,
    /^WARNING peer-silent {2}the other node is silent/,
  );
  assert.deepEqual(JSON.parse((await cli("show", "alarms", "--json", ...node)).out), view);
});

test("show is show pair, and its JSON carries the verdict", async () => {
  await world.serve((request) => ({
    kind: "pair",
    request: request.request,
    view: {
      pair: "office",
      node: "a",
      version: "0.1.0",
      ready: false,
      reasons: [],
      heart: null,
      alarms: [],
      guard: null,
      replication: {
        connected: false,
        refusedKey: null,
        path: null,
        version: null,
        direction: "none",
        synchronised: false,
        produced: null,
        acknowledged: null,
        applied: null,
        counters: {},
      },
      machines: { own: factsExample, peer: null, clockDifferenceMs: null },
      sessions: 0,
      configurationDigest: "00",
    },
  }));
  const text = await cli("show", "--node", world.nodeFile);
  assert.match(text.out, /^ALARM {2}Heart does not run on a/);
  const { pair, verdict } = JSON.parse((await cli("show", "pair", "--json", "--node", world.nodeFile)).out);
  assert.deepEqual([pair, verdict.level], ["office", "bad"]);
});

test("handover: what the daemon says became of it", async () => {
  await world.serve((request) => ({ kind: "done", request: request.request, message: "b is active now" }));
  assert.deepEqual(await cli("handover", "--node", world.nodeFile), {
    exitCode: ExitCode.Ok,
    out: "b is active now\n",
    err: "",
  });
});

test("stop waits until the daemon is gone", async () => {
  await world.serve((request) => {
    setImmediate(() => void world.end());
    return { kind: "done", request: request.request, message: "stopping" };
  });
  const { exitCode, out } = await cli("stop", "--json", "--node", world.nodeFile);
  assert.equal(exitCode, ExitCode.Ok);
  assert.equal(JSON.parse(out).done, "stop");
});

test("restart heart: what the daemon says became of it", async () => {
  const asked: unknown[] = [];
  await world.serve((request) => {
    asked.push({ ...request, request: 0 });
    return { kind: "done", request: request.request, message: "heart restarted: standby, term 4" };
  });
  const { exitCode, out } = await cli("restart", "heart", "--node", world.nodeFile);
  assert.deepEqual([exitCode, out], [ExitCode.Ok, "heart restarted: standby, term 4\n"]);
  assert.deepEqual(asked, [{ kind: "restart", request: 0, what: "heart" }]);
});

test("restart: the daemon's is done when the next one answers", async () => {
  const serve = async (): Promise<void> => {
    await world.serve((request) => {
      setImmediate(() => void world.end().then(() => setTimeout(() => void serve(), 200)));
      return { kind: "done", request: request.request, message: "restarting" };
    });
  };
  await serve();
  const { exitCode, out } = await cli("restart", "--node", world.nodeFile);
  assert.deepEqual(
    [exitCode, out],
    [ExitCode.Ok, "the daemon was restarted; heart and the traffic went on\n"],
  );
});

test("a refusal of the daemon: its reason, exit code 1", async () => {
  await world.serve(refusing);
  const { exitCode, out, err } = await cli("handover", "--node", world.nodeFile);
  assert.deepEqual([exitCode, out], [ExitCode.Failed, ""]);
  assert.equal(err, "understudy: refused: b is not ready: no snapshot yet\n");
});

test("with --json a failure is an object as well", async () => {
  await world.serve(refusing);
  const { out, err } = await cli("handover", "--json", "--node", world.nodeFile);
  const { error } = JSON.parse(out);
  assert.deepEqual([error.code, error.exitCode], ["REFUSED", ExitCode.Failed]);
  assert.match(err, /^understudy: refused/);
});

test("nobody answers: exit code 69, and what to do", async () => {
  const { exitCode, err } = await cli("show", "--node", world.nodeFile);
  assert.equal(exitCode, ExitCode.Unavailable);
  assert.match(err, /systemctl start understudy/);
});

test("no node's file: exit code 65, and what to do", async () => {
  const { exitCode, err } = await cli("show", "--node", join(world.directory, "other.yaml"));
  assert.equal(exitCode, ExitCode.BadConfiguration);
  assert.match(err, /there is no such file\n {2}Name the node's file with --node FILE/);
});

test("check: every mistake with its place, exit code 65", async () => {
  const { exitCode, out, err } = await cli("check", world.nodeFile);
  assert.equal(exitCode, ExitCode.BadConfiguration);
  assert.ok(out.startsWith(`${world.nodeFile}:`));
  assert.match(err, /mistakes?; nothing was changed\n$/);
  const { ok, files } = JSON.parse((await cli("check", "--json", world.nodeFile)).out);
  assert.equal(ok, false);
  assert.equal(files[0].file, world.nodeFile);
  assert.ok(files[0].errors.length > 0);
});

test("a mistake of the user never shows a stack trace", async () => {
  writeFileSync(world.nodeFile, "{{{\n");
  for (const args of [["show"], ["handover"], ["stop"], ["run"]]) {
    const { out, err, exitCode } = await cli(...args, "--node", world.nodeFile);
    assert.notEqual(exitCode, ExitCode.Ok);
    assert.doesNotMatch(out + err, /^\s+at /m);
  }
});

test("a defect of ours shows one, and says so", () => {
  let err = "";
  const terminal = {
    out: () => undefined,
    err: (text: string) => {
      err += text;
    },
    style: plainStyle,
    nowMs: () => 0,
  };
  assert.equal(reportFailure(new TypeError("x is not a function"), terminal, false), ExitCode.Defect);
  assert.match(err, /a defect of Understudy, not a mistake of yours/);
  assert.match(err, /TypeError: x is not a function\n\s+at /);
});
