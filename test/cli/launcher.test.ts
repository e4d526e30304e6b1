// The launcher and what it loads: help without the native library, a Node that is too old, an output nobody reads.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../../src/base/errors.ts";

const home = fileURLToPath(new URL("../..", import.meta.url));
const launcher = join(home, "bin", "understudy");
const directory = mkdtempSync(join(tmpdir(), "understudy-launcher-"));
after(() => rmSync(directory, { recursive: true }));
const env = { ...process.env, UNDERSTUDY_NODE: process.execPath };

test("help and version load no native library and none of the large ones", () => {
  for (const args of [["--help"], ["version"]]) {
    const script = `process.argv.splice(1, 1, ...${JSON.stringify(["understudy", ...args])});
      await import(${JSON.stringify(join(home, "src", "cli.ts"))});
      const { createRequire } = await import("node:module");
      const loaded = Object.keys(createRequire(${JSON.stringify(`${home}/`)}).cache);
      process.stderr.write(loaded.filter((file) => /koffi|yaml|ajv/.test(file)).join());`;
    const ran = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      cwd: home,
    });
    assert.equal(ran.status, ExitCode.Ok, ran.stderr);
    assert.equal(ran.stderr.replaceAll(/\(node:.*\n/g, ""), "");
    assert.notEqual(ran.stdout, "");
  }
});

test("the launcher works from anywhere, through a link", () => {
  const link = join(directory, "understudy");
  symlinkSync(launcher, link);
  assert.match(execFileSync(link, ["version"], { env, cwd: "/", encoding: "utf8" }), /^understudy \d/);
});

test("a clone that was not set up says so", () => {
  const clone = join(directory, "clone");
  mkdirSync(join(clone, "bin"), { recursive: true });
  for (const file of ["understudy", "find-node"])
    copyFileSync(join(home, "bin", file), join(clone, "bin", file));
  const ran = spawnSync(join(clone, "bin", "understudy"), ["version"], { env, encoding: "utf8" });
  assert.equal(ran.status, ExitCode.Unavailable);
  assert.match(ran.stderr, /^understudy: its modules are not installed\. Run 'make setup' in /);
});

test("a Node that is too old is passed by", () => {
  const old = join(directory, "node");
  writeFileSync(old, "#!/bin/sh\necho v20.1.0\n");
  chmodSync(old, 0o755);
  const found = spawnSync(join(home, "bin", "find-node"), [], {
    env: { PATH: `${directory}:/usr/bin:/bin`, UNDERSTUDY_NODE: old },
    encoding: "utf8",
  });
  assert.notEqual(found.stdout.trim(), old);
  if (found.status !== 0) {
    assert.equal(found.status, ExitCode.Unavailable);
    assert.match(found.stderr, /make setup/);
  }
});

test("a reader that had enough is no failure", () => {
  const ran = spawnSync("sh", ["-c", `"${launcher}" --help | head -n 1`], { env, encoding: "utf8" });
  assert.equal(ran.stderr, "");
  assert.match(ran.stdout, /^Usage: understudy/);
});
