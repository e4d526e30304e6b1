// One node as its user meets it, the real program in a network namespace: what is refused before the kernel is
// touched, a second start beside a node that runs, a daemon that dies, what others take away, and a stop that
// leaves nothing.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { chmodSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { controlAnswers } from "../../src/admin/control.ts";
import { ExitCode } from "../../src/base/errors.ts";
import { makeOneNode, NOTHING, program } from "./oneNode.ts";

const node = await makeOneNode();
const { skip, directory, nodeFile, inside, understudy, kernel } = node;
after(() => node.close());

const heartAnswers = (): Promise<boolean> => controlAnswers(join(directory, "run", "heart.sock"));
const exited = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once("exit", (code) => resolve(code)));
/** Service interfaces that are up. */
const up = (): string => inside("sh", "-c", "ip -o link show up | grep -o 'us-[a-z0-9]*' | sort").stdout;
const ALL_UP = "us-l1\nus-l2\nus-lan\n";
const gate = (): string => inside("nft", "list", "table", "netdev", "understudy-gate").stdout;
/** The daemon that runs. */
let daemon: ChildProcess;

test("a key that others can read: refused with its line, and nothing is touched", { skip }, () => {
  chmodSync(join(directory, "a.key"), 0o644);
  const ran = understudy("run");
  chmodSync(join(directory, "a.key"), 0o600);
  assert.equal(ran.status, ExitCode.BadConfiguration);
  assert.match(ran.stderr, /node\.yaml:4:6: key: .*chmod 600/);
  assert.equal(kernel(), NOTHING);
});

test("a port in use: refused with its address, and nothing is touched", { skip }, () => {
  for (const [what, open] of [
    ["TCP 1148", `require("net").createServer().listen(1148, "10.255.0.1", next)`],
    ["UDP 1148", `require("dgram").createSocket("udp4").bind(1148, "10.255.0.1", next)`],
  ] as const) {
    const occupant = `const next = () => {
      const ran = require("child_process").spawnSync(process.argv[1], ["run", "--node", process.argv[2]]);
      process.stderr.write(ran.stderr, () => process.exit(ran.status));
    }; ${open}`;
    const ran = inside(process.execPath, "-e", occupant, program, nodeFile);
    assert.equal(ran.status, ExitCode.Refused, ran.stderr);
    assert.match(ran.stderr, new RegExp(`10\\.255\\.0\\.1.*${what}.*EADDRINUSE`));
    assert.doesNotMatch(ran.stderr, /^\s+at /m);
    assert.equal(kernel(), NOTHING);
  }
});

test("a second start beside a node that runs is refused and takes nothing from it", { skip }, async () => {
  const first = await node.start();
  const dressed = kernel();
  assert.match(dressed, /understudy-gate[\s\S]*us-lan\nus-l1\nus-l2\n/);
  const second = understudy("run");
  assert.equal(second.status, ExitCode.Refused);
  assert.match(second.stderr, /ALREADY_RUNNING/);
  assert.equal(kernel(), dressed);
  assert.equal(understudy("show").status, ExitCode.Ok);
  // And the daemon dies: what it dressed stays, the next one takes it over.
  const pid = /understudy",pid=(\d+)/.exec(inside("ss", "-tlpnH", "sport = 1148").stdout)?.[1];
  assert.ok(pid);
  inside("kill", "-KILL", pid);
  await exited(first);
  assert.equal(kernel(), dressed);
  assert.equal(understudy("show").status, ExitCode.Unavailable);
  assert.ok(await heartAnswers());
  daemon = await node.start();
  assert.equal(kernel(), dressed);
});

test("a standby without a peer cannot hand over, and says why", { skip }, () => {
  const ran = understudy("handover");
  assert.equal(ran.status, ExitCode.Failed);
  assert.match(ran.stderr, /^understudy: refused: /);
});

test("a service interface that somebody deletes comes back, behind the gate", { skip }, async () => {
  inside("ip", "link", "delete", "us-l1");
  assert.equal(up(), "us-l2\nus-lan\n");
  assert.ok(await node.until(() => up() === ALL_UP, 15_000), up());
  assert.match(gate(), /device "?us-l1"?/);
  assert.match(understudy("show", "alarms").stdout, /dress-repaired/);
});

test("a heart that left and cannot come back: no interface is up without its gate", { skip }, async () => {
  const key = join(directory, "a.key");
  renameSync(key, `${key}.away`);
  const [heart] = node.processes("understudyheart");
  assert.ok(heart);
  process.kill(heart, "SIGTERM");
  assert.ok(await node.until(() => up() === "", 15_000), up());
  // Longer than the daemon's looks at the dress are apart.
  assert.equal(await node.until(() => up() !== "", 6000), false, "raised without a gate");
  renameSync(`${key}.away`, key);
  assert.ok(await node.until(() => up() === ALL_UP, 15_000), up());
  assert.match(gate(), /us-lan/);
});

test("a heart that dies after somebody edited the files comes back with what the daemon runs with", {
  skip,
}, async () => {
  const file = join(directory, "pair.yaml");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.slice(0, text.indexOf("  - { id: 2")) + text.slice(text.indexOf("paths:")));
  const [heart] = node.processes("understudyheart");
  assert.ok(heart);
  process.kill(heart, "SIGKILL");
  const isBack = (): boolean => ![undefined, heart].includes(node.processes("understudyheart")[0]);
  assert.ok(await node.until(isBack, 15_000));
  assert.ok(await node.until(() => up() === ALL_UP, 15_000), up());
  assert.match(gate(), /in-us-l2/);
  writeFileSync(file, text);
});

test("a heart of another configuration goes on with the new daemon's, before that raises anything", {
  skip,
}, async () => {
  const [before] = node.processes("understudyheart");
  const ended = exited(daemon);
  for (const pid of node.processes("understudy")) process.kill(pid, "SIGKILL");
  await ended;
  const file = join(directory, "pair.yaml");
  writeFileSync(file, readFileSync(file, "utf8").replace("10.20.0.1/16]", "10.20.0.1/16, 10.20.0.9/16]"));
  daemon = await node.start();
  const [now] = node.processes("understudyheart");
  assert.equal(now, before);
  assert.equal(up(), ALL_UP);
});

test("where it cannot, because an interface would lose its gate, it leaves first", { skip }, async () => {
  const [before] = node.processes("understudyheart");
  const ended = exited(daemon);
  for (const pid of node.processes("understudy")) process.kill(pid, "SIGKILL");
  await ended;
  const file = join(directory, "pair.yaml");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.slice(0, text.indexOf("  - { id: 2")) + text.slice(text.indexOf("paths:")));
  daemon = await node.start();
  assert.notEqual(node.processes("understudyheart")[0], before);
  assert.equal(up(), "us-l1\nus-lan\n");
  assert.doesNotMatch(gate(), /us-l2/);
  // For the next start.
  writeFileSync(file, text);
});

test("stop leaves nothing, and returns when it is done", { skip }, async () => {
  const ended = exited(daemon);
  const ran = understudy("stop");
  assert.equal(ran.status, ExitCode.Ok, ran.stderr);
  assert.equal(await ended, ExitCode.Ok);
  assert.equal(kernel(), NOTHING);
  assert.ok(!(await heartAnswers()));
});

test("both processes dead: what they left is listed, and stop --clean removes it", { skip }, async () => {
  daemon = await node.start();
  const ended = exited(daemon);
  for (const name of ["understudy", "understudyheart"])
    for (const pid of node.processes(name)) process.kill(pid, "SIGKILL");
  await ended;
  assert.match(kernel(), /understudy-gate[\s\S]*us-lan\nus-l1\nus-l2\n/);
  assert.match(understudy("doctor").stdout, /nft table netdev understudy-gate, while nothing of ours runs/);
  assert.match(understudy("stop").stderr, /understudy stop --clean/);
  const ran = inside(program, "stop", "--clean", "--node", nodeFile);
  assert.equal(ran.status, ExitCode.Ok, ran.stderr);
  assert.equal(kernel(), NOTHING);
});
