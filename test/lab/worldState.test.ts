// What a crashed laboratory leaves, found and cleared away; and what is somebody else's, left alone.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { suite, test } from "node:test";
import {
  findWorlds,
  LAB_VARIABLE,
  makeDirectory,
  processesOf,
  removeWorld,
  startTimeOf,
  writeState,
} from "../../src/lab/worldState.ts";

const state = (lab: string, directory: string, owner: { pid: number; startTime: string } | null) => ({
  lab,
  directory,
  owner,
  namespaces: {},
  userNamespace: false,
  hosts: 2,
  nodeFiles: {},
});
const found = (lab: string) => findWorlds().find((world) => world.lab === lab);

suite("worldState", () => {
  test("alive with its owner, crashed without, standing where it has none", async () => {
    const { lab, directory } = makeDirectory();
    try {
      assert.equal(found(lab)?.crashed, false, "one that is being built is nobody's to clear away");
      writeState(state(lab, directory, { pid: process.pid, startTime: startTimeOf(process.pid)! }));
      assert.equal(found(lab)?.crashed, false);
      writeState(state(lab, directory, { pid: process.pid, startTime: "1" }));
      assert.equal(found(lab)?.crashed, true, "the process id was used again");
      writeState(state(lab, directory, null));
      assert.deepEqual([found(lab)?.crashed, found(lab)?.owner], [false, null]);
    } finally {
      await removeWorld(directory);
    }
    assert.equal(found(lab), undefined);
  });

  test("every process that was started for it is ended, and no other", async () => {
    const { directory } = makeDirectory();
    const other = makeDirectory();
    const start = (environment: NodeJS.ProcessEnv) =>
      spawn("sleep", ["60"], { stdio: "ignore", env: { ...process.env, ...environment } });
    const ours = start({ [LAB_VARIABLE]: directory });
    const others = start({ [LAB_VARIABLE]: other.directory });
    try {
      await Promise.all([once(ours, "spawn"), once(others, "spawn")]);
      assert.deepEqual(processesOf(directory), [ours.pid]);
      const ended = once(ours, "exit");
      await removeWorld(directory);
      assert.deepEqual(await ended, [null, "SIGKILL"]);
      assert.ok(!existsSync(directory));
      assert.deepEqual(processesOf(other.directory), [others.pid]);
    } finally {
      await removeWorld(other.directory);
    }
  });
});
