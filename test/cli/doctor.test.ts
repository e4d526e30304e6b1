// The doctor on a real kernel, in a network namespace of its own: a stranger on port 1148 is named, and what a dead
// node left behind is listed. (What follows from facts is test/core/doctor.test.ts.)

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../../src/base/errors.ts";
import type { Finding } from "../../src/core/doctor/judge.ts";

const home = fileURLToPath(new URL("../..", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "understudy-doctor-"));
after(() => rmSync(directory, { recursive: true }));

const namespace = process.getuid?.() === 0 ? ["-n"] : ["-Urn"];
const env = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  UNDERSTUDY_NODE: process.execPath,
};
const inNamespace = (script: string) =>
  spawnSync("unshare", [...namespace, "--", "sh", "-ec", script], { env, encoding: "utf8" });

const tried = inNamespace("ip link set lo up && nft list tables");
const skip =
  tried.status === 0 ? false : `no network namespaces with nft and ip here: ${tried.stderr.trim()}`;

/** What the doctor says in a namespace that `script` has prepared. */
function examine(
  script: string,
  around = "%",
): { readonly status: number | null; readonly findings: Finding[] } {
  const doctor = `${join(home, "bin", "understudy")} doctor --json --node ${join(directory, "node.yaml")}`;
  const ran = inNamespace(`ip link set lo up\n${script}\n${around.replace("%", doctor)}`);
  assert.notEqual(ran.stdout, "", ran.stderr);
  return { status: ran.status, findings: JSON.parse(ran.stdout).findings };
}

const textsOf = (findings: readonly Finding[], code: string): string[] =>
  findings.filter((each) => each.code === code).map((each) => each.text);

test("a clean machine: no leftovers, no stranger, and every required feature seen or named", { skip }, () => {
  const { status, findings } = examine("");
  // The node's file is not there.
  assert.equal(status, ExitCode.Failed);
  assert.deepEqual(textsOf(findings, "NO_REMAINS"), ["none"]);
  assert.equal(textsOf(findings, "PORT_FREE").length, 2);
  assert.ok(textsOf(findings, "FEATURE").some((text) => text.startsWith("nftables at netdev egress")));
});

test("what a dead node left behind is listed", { skip }, () => {
  const { findings } = examine(`
    ip link add p0 type veth peer name p1
    ip link add us-lan link p0 type macvlan mode bridge
    ip link set us-lan up
    ip link set p0 up
    ip address add 10.20.0.1/16 dev us-lan noprefixroute
    ip route add 10.20.0.0/16 dev us-lan table 114801 proto 148
    ip rule add iif us-lan fwmark 1/0xff table 114801 pref 1148 protocol 148
    nft add table inet understudy
    nft add table netdev understudy-gate
    nft add table inet somebody`);
  assert.deepEqual(textsOf(findings, "REMAINS"), [
    "interface us-lan, while nothing of ours runs",
    "nft table inet understudy, while nothing of ours runs",
    "nft table netdev understudy-gate, while nothing of ours runs",
    "IPv4 rule 1148 to table 114801, while nothing of ours runs",
    "IPv4 route 10.20.0.0/16 dev us-lan table 114801, while nothing of ours runs",
  ]);
});

test("stop --clean removes what a dead node left behind, and nothing else", { skip }, () => {
  const clean = `${join(home, "bin", "understudy")} stop --clean --json --node ${join(directory, "node.yaml")}`;
  writeFileSync(join(directory, "node.yaml"), "runtime: run\nstate: state\n");
  const ran = inNamespace(`ip link set lo up
    ip link add p0 type veth peer name p1
    ip link add us-lan link p0 group 1148 type macvlan mode bridge
    ip link set us-lan up
    ip link set p0 up
    ip route add 10.20.0.0/16 dev us-lan table 114801 proto 148
    ip rule add iif us-lan fwmark 1/0xff table 114801 pref 1148 protocol 148
    nft add table inet understudy
    nft add table netdev understudy-gate
    nft add table inet somebody
    ${clean}
    ip -br link | cut -d' ' -f1; nft list tables; ip rule | wc -l
    ${clean}`);
  rmSync(join(directory, "node.yaml"));
  assert.equal(ran.status, 0, ran.stderr);
  const [first, ...rest] = ran.stdout.trim().split("\n");
  assert.match(JSON.parse(first!).message, /nothing of Understudy is left/);
  assert.deepEqual(rest.slice(0, -1), ["lo", "p1@p0", "p0@p1", "table inet somebody", "3"]);
  assert.equal(JSON.parse(rest.at(-1)!).message, "nothing of Understudy was there");
});

test("a stranger on port 1148 is named, on TCP and on UDP", { skip }, () => {
  const stranger = join(directory, "stranger.mjs");
  // It listens, runs the doctor beside itself, and ends with it.
  writeFileSync(
    stranger,
    `import { spawnSync } from "node:child_process";
     import { createSocket } from "node:dgram";
     import { once } from "node:events";
     import { createServer } from "node:net";
     const server = createServer().listen(1148, "127.0.0.1");
     await once(server, "listening");
     const socket = createSocket("udp6").bind(1148);
     await once(socket, "listening");
     const ran = spawnSync("sh", ["-c", process.argv[2]], { encoding: "utf8" });
     process.stdout.write(ran.stdout, () => process.exit(ran.status));`,
  );
  const { status, findings } = examine("", `exec ${process.execPath} ${stranger} "%"`);
  assert.equal(status, ExitCode.Failed);
  const taken = textsOf(findings, "PORT_TAKEN");
  assert.equal(taken.length, 2);
  assert.match(taken[0]!, /\(process \d+\) on 127\.0\.0\.1 has it: not Understudy$/);
  assert.match(taken[1]!, /\(process \d+\) on :: has it: not Understudy$/);
});
