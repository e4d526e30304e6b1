// `apply`, `rollback`, `diff` and `show config` as a user meets them: what they ask of the daemon, what they print, how they end.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { ExitCode } from "../../src/base/errors.ts";
import { CONFIGURATION_BYTES_MAX } from "../../src/base/limits.ts";
import type { DaemonMessage, DaemonRequest } from "../../src/wire/control.ts";
import type { ApplyReport, PairConfigurationView } from "../../src/wire/controlConfiguration.ts";
import { firstVersion, secondVersion } from "../wire/configurationSamples.ts";
import { cli, createWorld, type World } from "./harness.ts";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world.end());

const id = secondVersion.id.slice(0, 8);
const inForce = { node: "a", state: "in-force", words: [] } as const;
const done: ApplyReport = {
  outcome: "done",
  version: secondVersion,
  changes: ["link cable: weight 2, was 1"],
  places: [inForce, { ...inForce, node: "b" }],
};
const pair = (part: Partial<PairConfigurationView> = {}): PairConfigurationView => ({
  node: "a",
  head: secondVersion,
  pending: null,
  peer: secondVersion,
  difference: null,
  file: join(world.directory, "pair.yaml"),
  ...part,
});

const texts: Readonly<Record<string, string>> = {
  "1": "weight: 1\n",
  own: "weight: 2\n",
  peer: "weight: 3\n",
};
const reporting =
  (report: ApplyReport) =>
  (request: DaemonRequest): DaemonMessage => ({ kind: "applied", request: request.request, report });
const showing = (request: DaemonRequest): DaemonMessage => {
  if (request.kind !== "configuration")
    return { kind: "refused", request: request.request, reason: request.kind };
  const header = request.version === "1" ? firstVersion : secondVersion;
  const text = texts[request.version ?? request.of]!;
  return { kind: "configuration", request: request.request, header, text, pair: pair() };
};
const file = (text: string): string => {
  const path = join(world.directory, "new.yaml");
  writeFileSync(path, text);
  return path;
};
const node = (...args: string[]): string[] => [...args, "--node", world.nodeFile];

test("apply: the text goes to the daemon with who and why; what it changed and where is told", async () => {
  const requests = await world.serve(reporting(done));
  const path = file("version: 1\n");
  const { exitCode, out, err } = await cli(...node("apply", path, "-m", "faster", "--base", "1"));
  assert.deepEqual([exitCode, err], [ExitCode.Ok, ""]);
  assert.equal(out, `version 2 (${id}) is in force on a and b\n  link cable: weight 2, was 1\n`);
  const [request] = requests;
  assert.ok(request?.kind === "apply");
  assert.deepEqual(request.source, { kind: "text", file: path, text: "version: 1\n" });
  assert.deepEqual([request.message, request.base, request.replace], ["faster", "1", false]);
  assert.notEqual(request.author, "");
});

for (const [outcome, exitCode, places, expected] of [
  [
    "partly",
    ExitCode.Failed,
    [inForce, { node: "b", state: "absent", words: [] }],
    /in force on a, NOT on b\n {2}link cable.*\nb: not connected; it gets it when it is back\n$/s,
  ],
  [
    "refused",
    ExitCode.BadConfiguration,
    [
      { node: "a", state: "unchanged", words: [] },
      { node: "b", state: "refused", words: ["pair.yaml:3:1: no", "\u001b[31m"] },
    ],
    /^refused: nothing was changed on either node\na: as it was before\nb: refuses it\n {2}pair\.yaml:3:1: no\n {2}\?\[31m\n$/,
  ],
  [
    "failed",
    ExitCode.Failed,
    [
      { node: "a", state: "failed", words: ["nft: no"] },
      { node: "b", state: "unchanged", words: ["it goes back"] },
    ],
    /is not in force on a\na: could not take it into effect.*\n {2}nft: no\nb: as it was before\n {2}it goes back\n$/,
  ],
  ["unchanged", ExitCode.Ok, done.places, /is in force already\n$/],
] as const) {
  test(`apply that ends ${outcome}`, async () => {
    await world.serve(reporting({ ...done, outcome, places }));
    const ran = await cli(...node("apply", file("x")));
    assert.equal(ran.exitCode, exitCode);
    const isFailure = outcome === "refused" || outcome === "failed";
    assert.match(isFailure ? ran.err : ran.out, expected);
    assert.equal(isFailure ? ran.out : ran.err, "");
  });
}

test("apply --json: the report as the daemon gave it", async () => {
  await world.serve(reporting(done));
  const { out } = await cli(...node("apply", file("x"), "--json"));
  assert.deepEqual(JSON.parse(out), done);
});

test("apply --replace-peer, with and without a file, and --take-peer", async () => {
  const requests = await world.serve(reporting(done));
  await cli(...node("apply", "--replace-peer"));
  await cli(...node("apply", file("x"), "--replace-peer"));
  await cli(...node("apply", "--take-peer"));
  await cli(...node("rollback", "7", "-m", "it was better"));
  assert.deepEqual(
    requests.map((request) => request.kind === "apply" && [request.source.kind, request.replace]),
    [
      ["in-force", true],
      ["text", true],
      ["peer", false],
      ["version", false],
    ],
  );
});

for (const [args, message] of [
  [["apply"], /expected FILE, or --take-peer, or --replace-peer/],
  [["apply", "x", "--take-peer"], /expected FILE/],
  [["apply", "--take-peer", "--replace-peer"], /expected FILE/],
  [["rollback"], /missing required argument 'version'/],
  [["rollback", "latest"], /Expected the number of a version/],
  [["diff", "peer", "3"], /two versions are compared/],
  [["show", "pair", "7"], /versions belong to `show config`/],
  [["show", "config", "x"], /Expected the number of a version/],
  [["show", "config", "7", "--versions"], /one version, or the list/],
  [["show", "config", "--limit", "5"], /belong to `show sessions`/],
] as const) {
  test(`wrong use: ${args.join(" ")}`, async () => {
    const { exitCode, out, err } = await cli(...args);
    assert.deepEqual([exitCode, out], [ExitCode.Usage, ""]);
    assert.match(err, message);
  });
}

test("a file that is not there, too large, or not text, is refused before the daemon is asked", async () => {
  const requests = await world.serve(reporting(done));
  assert.match(
    (await cli(...node("apply", join(world.directory, "none")))).err,
    /ENOENT: there is no such file/,
  );
  assert.match(
    (await cli(...node("apply", file("x".repeat(CONFIGURATION_BYTES_MAX + 1))))).err,
    /more than 262144 bytes/,
  );
  const latin = join(world.directory, "latin.yaml");
  writeFileSync(latin, Uint8Array.of(0xe4));
  const ran = await cli(...node("apply", latin));
  assert.match(ran.err, /not UTF-8/);
  assert.equal(ran.exitCode, ExitCode.BadConfiguration);
  assert.deepEqual(requests, []);
});

test("the largest file that is allowed reaches the daemon", async () => {
  const requests = await world.serve(reporting(done));
  const text = '"\n'.repeat(CONFIGURATION_BYTES_MAX / 2);
  assert.equal((await cli(...node("apply", file(text)))).exitCode, ExitCode.Ok);
  assert.ok(requests[0]?.kind === "apply" && requests[0].source.kind === "text");
  assert.equal(requests[0].source.text, text);
});

test("show config: the text alone on standard output, what it is on standard error", async () => {
  await world.serve(showing);
  const { exitCode, out, err } = await cli(...node("show", "config"));
  assert.deepEqual([exitCode, out], [ExitCode.Ok, "weight: 2\n"]);
  assert.match(
    err,
    new RegExp(
      `^version 2 \\(${id}\\), applied on a by eve, 2026-.*: a third link\nversion 2 .* is in force on a and b\n$`,
    ),
  );
  assert.equal((await cli(...node("show", "config", "1"))).out, "weight: 1\n");
});

test("show config --versions: number, id, when, how, who and why; what is aside has no number", async () => {
  await world.serve((request) => ({
    kind: "versions",
    request: request.request,
    versions: [
      { header: secondVersion, inForce: true, inChain: true },
      { header: firstVersion, inForce: false, inChain: false },
    ],
    total: 9,
    pair: pair({ difference: "b has version 7" }),
  }));
  const { out } = await cli(...node("show", "config", "--versions"));
  assert.match(out, /^The nodes differ: b has version 7\n\n/);
  assert.match(out, new RegExp(`^\\* +2 +${id} .*applied on a +eve +a third link$`, "m"));
  assert.match(out, /^ +- +[0-9a-f]{8} .*found on disk on a$/m);
  assert.match(out, /9 versions in all/);
  assert.match(out, /named by its id/);
});

test("show config: a version that was rolled back to, and on which node", async () => {
  const header = { ...secondVersion, origin: "rollback" } as const;
  const answer = { kind: "versions", total: 1, pair: pair() } as const;
  await world.serve(({ request }) => ({
    ...answer,
    request,
    versions: [{ header, inForce: true, inChain: true }],
  }));
  assert.match((await cli(...node("show", "config", "--versions"))).out, / rolled back on a /);
});

test("diff: with the file on disk, the other node's, a version, two versions, a file", async () => {
  await world.serve(showing);
  writeFileSync(join(world.directory, "pair.yaml"), "weight: 9\n");
  const changes = async (...args: string[]): Promise<string[]> =>
    (await cli(...node("diff", ...args))).out.split("\n").filter((line) => /^[-+]w/.test(line));
  assert.deepEqual(await changes(), ["-weight: 2", "+weight: 9"]);
  assert.deepEqual(await changes("peer"), ["-weight: 2", "+weight: 3"]);
  assert.deepEqual(await changes("1"), ["-weight: 1", "+weight: 2"]);
  assert.deepEqual(await changes(file("weight: 8\n")), ["-weight: 2", "+weight: 8"]);
  const { out } = await cli(...node("diff", "peer"));
  assert.match(out, /^--- version 2 .*, in force on a\n\+\+\+ version 2 .*, in force on b\n@@ -1 \+1 @@\n/);
  const { exitCode, out: none, err } = await cli(...node("diff", "1", "1"));
  assert.deepEqual([exitCode, none], [ExitCode.Ok, ""]);
  assert.match(err, /^no difference between version 1/);
});

test("what the daemon refuses is a sentence, and the exit code of a failure", async () => {
  await world.serve(({ request }) => ({
    kind: "refused",
    request,
    reason: "a is active: a configuration is applied there",
  }));
  const { exitCode, err } = await cli(...node("apply", file("x")));
  assert.equal(exitCode, ExitCode.Failed);
  assert.equal(err, "understudy: refused: a is active: a configuration is applied there\n");
});
