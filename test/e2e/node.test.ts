// One node as its user meets it, the real program in a network namespace: what is refused before the kernel is
// touched, a second start beside a node that runs, a daemon that dies, and a stop that leaves nothing.

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { controlAnswers } from "../../src/admin/control.ts";
import { ExitCode } from "../../src/base/errors.ts";
import { keygen } from "../../src/peer/identity.ts";

const program = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "understudy-node-"));
const nodeFile = join(directory, "node.yaml");
const env = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  UNDERSTUDY_NODE: process.execPath,
};
const START_MS_MAX = 20_000;

/** Holds the namespace; everything else enters it. */
let holder: ChildProcess | null = null;
const root = process.getuid?.() === 0;
const entered = (): string[] => [
  ...(root ? ["-n"] : ["-U", "--preserve-credentials", "-n"]),
  "-t",
  `${holder?.pid}`,
];
const inside = (...command: readonly string[]) =>
  spawnSync("nsenter", [...entered(), "--", ...command], { env, encoding: "utf8", timeout: START_MS_MAX });
const understudy = (...args: readonly string[]) => inside(program, ...args, "--node", nodeFile);

const script = `
  ip link set lo up
  for port in lan wan1 wan2 sync; do
    ip link add $port type veth peer name far-$port
    ip link set $port up
    ip link set far-$port up
  done
  ip address add 10.20.0.2/16 dev lan
  ip address add 10.255.0.1/30 dev sync
  nft list tables
  echo ready
  exec cat`;

function writeConfiguration(): void {
  const keys = ["a", "b"].map((node) => keygen(join(directory, `${node}.key`)).publicKey);
  writeFileSync(
    join(directory, "pair.yaml"),
    `version: 1
pair: office
nodes: { a: { keys: ["${keys[0]}"] }, b: { keys: ["${keys[1]}"] } }
lan: { interface: lan, addresses: [10.20.0.1/16] }
links:
  - { id: 1, name: fibre, interface: wan1, gateway: 198.51.100.1, addresses: [198.51.100.2/24] }
  - { id: 2, name: cable, interface: wan2, gateway: 203.0.113.1, addresses: [203.0.113.2/24] }
paths:
  - { name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }
`,
  );
  writeFileSync(
    nodeFile,
    `node: a
pair: pair.yaml
interfaces: { lan: lan, wan1: wan1, wan2: wan2, sync: sync }
key: a.key
state: state
runtime: run
`,
  );
}

/** What of ours is in the kernel, as `ip` and `nft` tell. */
const kernel = (): string =>
  inside("sh", "-c", "nft list tables; ip -o link | grep -o 'us-[a-z0-9]*'; ip rule | grep -c 1148").stdout;

const running: ChildProcess[] = [];

/** Starts the node and waits until it answers, which it does once it is dressed. */
async function start(): Promise<ChildProcess> {
  const child = spawn("nsenter", [...entered(), "--", program, "run", "--node", nodeFile], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.push(child);
  let log = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      log += text;
      if (log.includes("ready to serve")) resolve();
    });
    child.once("exit", (code) => reject(new Error(`the node ended with ${code}: ${log}`)));
  });
  return child;
}

const exited = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once("exit", (code) => resolve(code)));

const made = await new Promise<string>((resolve) => {
  holder = spawn("unshare", [...(root ? ["-n"] : ["-Urn"]), "--", "sh", "-ec", script], { env });
  let text = "";
  holder.stdout!.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (text.includes("ready")) resolve("");
  });
  holder.stderr!.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  holder.once("error", (error) => resolve(error.message));
  holder.once("exit", () => resolve(text.trim() || "unshare ended"));
});
const skip = made === "" ? false : `no network namespaces with nft and ip here: ${made}`;

before(() => writeConfiguration());
after(() => {
  for (const child of running) child.kill("SIGKILL");
  holder?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

const NOTHING = "0\n";

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
  const first = await start();
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
  assert.ok(await controlAnswers(join(directory, "run", "heart.sock")));
  await start();
  assert.equal(kernel(), dressed);
});

test("a standby without a peer cannot hand over, and says why", { skip }, () => {
  const ran = understudy("handover");
  assert.equal(ran.status, ExitCode.Failed);
  assert.match(ran.stderr, /^understudy: refused: /);
});

test("stop leaves nothing, and returns when it is done", { skip }, async () => {
  const child = running.at(-1)!;
  const ended = exited(child);
  const ran = understudy("stop");
  assert.equal(ran.status, ExitCode.Ok, ran.stderr);
  assert.equal(await ended, ExitCode.Ok);
  assert.equal(kernel(), NOTHING);
  assert.ok(!(await controlAnswers(join(directory, "run", "heart.sock"))));
});
