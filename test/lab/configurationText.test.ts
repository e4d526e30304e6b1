// Changed and broken files of the laboratory: what a user would write is taken by the program's own reader, what is to be
// refused is refused by it for the reason that is named; and how two nodes' states are compared.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, suite, test } from "node:test";
import { readConfiguration } from "../../src/admin/configFiles.ts";
import { formatErrors } from "../../src/core/configTree.ts";
import {
  type ConfigurationState,
  changesOf,
  differencesOf,
  inForce,
} from "../../src/lab/configurationState.ts";
import { brokenFiles, withLink, withWeight } from "../../src/lab/configurationText.ts";
import { pairFileOf, writePairFiles } from "../../src/lab/pair.ts";
import { pairFile } from "../../src/lab/pairFiles.ts";
import { thirdLink } from "../../src/lab/thirdLine.ts";
import { describeTopology } from "../../src/lab/topology.ts";
import type { World } from "../../src/lab/world.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-test-"));
after(() => rmSync(directory, { recursive: true }));
const topology = describeTopology(2);
const files = writePairFiles({ topology, directory, pids: new Map(), environment: {} });
const key = `ed25519:${Buffer.alloc(32, 7).toString("base64")}`;
const text = pairFile(topology, { keys: { a: key, b: key.replace("B", "C") } });
const link = thirdLink({ topology } as World, 2);

function read(pair: string) {
  writeFileSync(pairFileOf(directory, "a"), pair);
  return readConfiguration(files.a);
}

suite("the pair's file, edited", () => {
  test("a weight is that of the link which is named, and nothing else changes", () => {
    const config = read(withWeight(withWeight(text, "fibre", 1), "cable", 9));
    assert.ok(config.ok);
    assert.deepEqual(
      config.config.links.map(({ name, weight }) => [name, weight]),
      [
        ["fibre", 1],
        ["cable", 9],
      ],
    );
    assert.equal(withWeight(withWeight(text, "fibre", 1), "fibre", 3), text);
    assert.throws(() => withWeight(text, "carrier pigeon", 1), /no/);
  });

  test("a third link is one more, with its addresses and weight", () => {
    const config = read(withLink(text, link));
    assert.ok(config.ok);
    const { id, name, weight, service } = config.config.links.at(-1)!;
    assert.deepEqual([id, name, weight], [3, "radio", 2]);
    assert.deepEqual(
      service.addresses.map(({ address }) => address),
      ["198.18.3.2", "2001:db8:3::2"],
    );
  });

  test("each broken file has its own mistake, which the program names; but for what only a machine knows", () => {
    const broken = brokenFiles(text, link, "b");
    const onMachines = [
      "another pair's name",
      "a device that neither node has",
      "a device that the standby does not have",
    ];
    for (const { what, text: wrong, says } of broken) {
      const result = read(wrong);
      assert.equal(result.ok, onMachines.includes(what), what);
      if (!result.ok) assert.match(formatErrors(result.errors), says, what);
    }
    assert.equal(new Set(broken.map((file) => file.text)).size, broken.length);
  });
});

suite("two nodes' configurations compared", () => {
  const state: ConfigurationState = { file: "x", versions: ["2 bb *", "1 aa"], kernel: "one\ntwo\n" };
  test("the file, the version in force and the kernel each count; kept versions only against before", () => {
    assert.equal(inForce(state), "2 bb");
    assert.deepEqual(differencesOf(state, { ...state, versions: ["2 bb *"] }), []);
    assert.deepEqual(changesOf(state, { ...state, versions: ["2 bb *"] }), ["the versions that are kept"]);
    assert.deepEqual(changesOf(state, { ...state }), []);
    assert.deepEqual(differencesOf(state, { ...state, file: "y" }), ["the pair's files"]);
    assert.deepEqual(differencesOf(state, { ...state, versions: ["3 cc *"] }), [
      "the version in force (2 bb and 3 cc)",
    ]);
    assert.deepEqual(differencesOf(state, { ...state, kernel: "one\n2\n" }), ["the kernels (two | 2)"]);
    assert.deepEqual(differencesOf(state, { ...state, kernel: "one\n" }), ["the kernels (two | )"]);
    assert.deepEqual(differencesOf(state, { ...state, kernel: "one\ntwo\nmore" }), ["the kernels ( | more)"]);
  });
});
