// The two files on disk, as heart, daemon and `check` read them: files that are not there or not text, YAML that is
// none, mistakes in both files at once, and the machine that is not as the files say.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import { checkFile, checkMachine, checkPairFile, readConfiguration } from "../../src/admin/configFiles.ts";
import { parseYaml } from "../../src/admin/yamlTree.ts";
import { type Config, servicesOf } from "../../src/core/config.ts";
import { canonicalJson, placementSeedOf, virtualMacOf } from "../../src/core/configBuild.ts";
import { formatErrors } from "../../src/core/configTree.ts";
import { FULL_NODE, FULL_PAIR, KEY_A, KEY_B } from "../core/configExamples.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-config-"));
after(() => rmSync(directory, { recursive: true, force: true }));

let made = 0;
/** Writes the two files into a directory of their own; returns their paths. */
function files(
  pair: string | Uint8Array,
  node: string = FULL_NODE,
): { pair: string; node: string; home: string } {
  const home = join(directory, `${++made}`);
  mkdirSync(home);
  const paths = { pair: join(home, "pair.yaml"), node: join(home, "node.yaml"), home };
  writeFileSync(paths.pair, pair);
  writeFileSync(paths.node, node);
  return paths;
}

/** The messages for a node's file, without the directory. */
function saysOf(paths: { node: string; home: string }): string[] {
  const result = readConfiguration(paths.node);
  return result.ok ? [] : formatErrors(result.errors).replaceAll(`${paths.home}/`, "").split("\n");
}

function configOf(pair: string, node: string = FULL_NODE): Config {
  const result = readConfiguration(files(pair, node).node);
  assert.ok(result.ok, result.ok ? "" : formatErrors(result.errors));
  return result.config;
}

const changed = (text: string, from: string, to: string): string => {
  assert.ok(text.includes(from), from);
  return text.replace(from, to);
};

describe("a configuration that holds", () => {
  test("is resolved for each node", () => {
    const a = configOf(FULL_PAIR);
    assert.deepEqual(
      servicesOf(a).map(({ name, id, device, port }) => ({ name, id, device, port })),
      [
        { name: "lan", id: 0, device: "us-lan", port: "eth0" },
        { name: "fibre", id: 1, device: "us-l1", port: "eth1" },
        { name: "cable", id: 2, device: "us-l2", port: "eth2" },
      ],
    );
    assert.deepEqual(a.links[0]?.gateway, { v4: "198.51.100.1", v6: "fe80::1" });
    assert.deepEqual(a.links[0]?.service.witnesses, ["198.51.100.1", "fe80::1"]);
    assert.deepEqual(a.links[0]?.capacity, { up: 100e6, down: 1e9 });
    assert.deepEqual(a.links[1]?.gateway, { v4: "203.0.113.1" });
    assert.deepEqual(a.links[1]?.capacity, {});
    assert.deepEqual(a.timers, { heartbeatMs: 10, deadAfterMs: 50, leaseMs: 40, soloLeaseMs: 10_000 });
    assert.deepEqual(a.priority, { a: 100, b: 90 });
    assert.deepEqual([a.node, a.ownKeys, a.peerKeys], ["a", [KEY_A], [KEY_B]]);
    assert.deepEqual(
      [a.paths[0]?.device, a.paths[0]?.local, a.paths[0]?.remote, a.paths[0]?.heartbeat],
      ["eth3", "10.255.0.1", "10.255.0.2", true],
    );

    const b = configOf(FULL_PAIR, changed(FULL_NODE, "node: a", "node: b"));
    assert.deepEqual([b.node, b.ownKeys, b.peerKeys], ["b", [KEY_B], [KEY_A]]);
    assert.deepEqual([b.paths[0]?.local, b.paths[0]?.remote], ["10.255.0.2", "10.255.0.1"]);
    assert.equal(b.digest, a.digest);
  });

  test("names files relative to the file that names them, and has defaults", () => {
    const { node, home } = files(FULL_PAIR, "node: b\npair: ./pair.yaml\n");
    const result = readConfiguration(node);
    assert.ok(result.ok);
    assert.equal(result.config.keyFile, join(home, "node.key"));
    assert.equal(result.config.files.pair, join(home, "pair.yaml"));
    assert.equal(result.config.files.node, node);
    assert.equal(result.config.stateDirectory, "/var/lib/understudy");
    assert.equal(result.config.runtimeDirectory, "/run/understudy");
    assert.equal(result.config.lan.service.port, "lan");
  });

  test("has its links in the order of their ids", () => {
    const swapped = changed(changed(FULL_PAIR, "id: 1", "id: 3"), "capacity:", "capacity:");
    assert.deepEqual(
      configOf(swapped).links.map(({ id }) => id),
      [2, 3],
    );
  });

  test("derives what documentation says, as sha256sum computes it", () => {
    const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
    const mac = `02${hash("understudy virtual-mac office 2").slice(0, 10)}`;
    assert.equal(virtualMacOf("office", 2).replaceAll(":", ""), mac);
    assert.equal(
      placementSeedOf("office"),
      Number.parseInt(hash("understudy placement office").slice(0, 8), 16),
    );
    const config = configOf(FULL_PAIR.replace(/placement:\n.*\n/, ""));
    assert.equal(config.placementSeed, placementSeedOf("office"));
    assert.equal(config.links[1]?.service.virtualMac, virtualMacOf("office", 2));
    assert.equal(config.links[0]?.service.virtualMac, "02:00:00:00:00:02");
  });

  test("with a byte order mark, or Windows line ends, is the same", () => {
    const { digest } = configOf(FULL_PAIR);
    assert.equal(configOf(`\ufeff${FULL_PAIR}`).digest, digest);
    assert.equal(configOf(FULL_PAIR.replaceAll("\n", "\r\n")).digest, digest);
  });
});

describe("the digest", () => {
  const { digest } = configOf(FULL_PAIR);

  test("does not see comments, spelling, order, or defaults written out", () => {
    const same: readonly (readonly [string, string])[] = [
      ["version: 1", "# a comment\nversion: 1"],
      ["fd20::1/64", "FD20:0:0::0001/64"],
      ["up: 100M", "up: 100000k"],
      ["soloLease: 10s", "soloLease: 10000ms"],
      ["name: cable", "weight: 1\n    name: cable"],
      ["    singleMac: false\n", ""],
      ["name: fibre", 'name: "fibre"'],
      ["gateway: 203.0.113.1", "gateway: [203.0.113.1]"],
      ["02:00:00:00:00:01", "02:00:00:00:00:01".toUpperCase()],
    ];
    for (const [from, to] of same) assert.equal(configOf(changed(FULL_PAIR, from, to)).digest, digest, to);
    assert.match(digest, /^[0-9a-f]{64}$/);
  });

  test("sees everything that matters", () => {
    const other: readonly (readonly [string, string])[] = [
      ["weight: 3", "weight: 4"],
      ["pair: office", "pair: branch"],
      ["10.20.0.1/16", "10.20.0.1/17"],
      ["lease: 40ms", "lease: 41ms"],
      ["seed: 12345", "seed: 12346"],
      ["priority: 90", "priority: 91"],
      ["02:00:00:00:00:02", "02:00:00:00:00:03"],
      ["use: [heartbeat, replication]", "use: [heartbeat]"],
    ];
    const digests = other.map(([from, to]) => configOf(changed(FULL_PAIR, from, to)).digest);
    assert.equal(new Set([digest, ...digests]).size, other.length + 1);
  });

  test("is of canonical JSON: equal values, equal text, whatever the order of keys", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.deepEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)));
        const reversed = (item: unknown): unknown => {
          if (Array.isArray(item)) return item.map(reversed);
          if (typeof item !== "object" || item === null) return item;
          const result = Object.create(null) as Record<string, unknown>;
          for (const [key, inner] of Object.entries(item).reverse()) result[key] = reversed(inner);
          return result;
        };
        assert.equal(canonicalJson(reversed(value)), canonicalJson(value));
      }),
    );
  });
});

describe("mistakes", () => {
  test("of both files come at once, each with its place", () => {
    const pair = changed(
      changed(FULL_PAIR, "weight: 3", "wieght: 3"),
      "gateway: 203.0.113.1",
      "gateway: 203.0.114.1",
    );
    assert.deepEqual(saysOf(files(pair, changed(FULL_NODE, "node: a", "node: c\nstat: x"))), [
      'node.yaml:1:7: node: expected a or b, found the text "c"',
      'node.yaml:2:1: stat: expected "state" or another key of the node\'s file, found the unknown key "stat"',
      'pair.yaml:24:5: links[0].wieght: expected "weight" or another key of a link, found the unknown key "wieght"',
      "pair.yaml:34:14: links[1].gateway: expected an address in 203.0.113.0/24, found 203.0.114.1",
    ]);
  });

  test("in the text are said with what else is certain: nothing that the break itself caused", () => {
    const pair = changed(changed(FULL_PAIR, "pair: office", "pair: 7"), "weight: 3", "weight: [3");
    const says = saysOf(files(pair, "node: a\npair: pair.yaml\nkey: 5\n"));
    assert.equal(
      says[0],
      "node.yaml:3:6: key: expected the path of a file or directory, found the number 5 (not in quotes)",
    );
    assert.match(
      says[1]!,
      /^pair\.yaml:2:7: pair: expected a name .*, found the number 7 \(not in quotes\)$/,
    );
    assert.match(says[2]!, /^pair\.yaml:2\d:\d+: expected plain YAML, found /);
    assert.ok(
      says.slice(2).every((line) => line.includes("expected plain YAML")),
      says.join("\n"),
    );
  });

  const broken: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
    ["an empty file", "", /^1:1: expected plain YAML, found an empty file$/],
    ["comments alone", "# nothing\n", /^1:1: expected plain YAML, found an empty file$/],
    [
      "a tab for an indent",
      "nodes:\n\ta: 1\n",
      /^2:1: expected plain YAML, found tabs are not allowed as indentation/,
    ],
    [
      "one tab, and everything after it stands oddly",
      changed(FULL_PAIR, "  a:\n", "\ta:\n"),
      /^\d+:1: expected plain YAML, found tabs are not allowed as indentation$/,
    ],
    ["an open bracket", "a: [1\n", /expected plain YAML, found flow sequence .* must .* end with a \]/],
    [
      "two documents",
      `${FULL_PAIR}---\nversion: 1\n`,
      // The line behind the `---`.
      new RegExp(`^${FULL_PAIR.split("\n").length + 1}:1: expected plain YAML, found a second document`),
    ],
    [
      "an alias",
      changed(FULL_PAIR, "name: cable", "name: *fibre"),
      /^32:11: .*links\[1\]\.name: expected plain YAML, found the alias \*fibre \(write the value out\)|unresolved alias/,
    ],
    ["a merge key", changed(FULL_PAIR, "name: cable", "<<: { name: cable }"), /^32:5: links\[1\]\.<<|"<<"/],
    [
      "a strange tag",
      changed(FULL_PAIR, "name: cable", "name: !secret cable"),
      /^32:11: expected plain YAML, found unresolved tag: !secret/,
    ],
    [
      "a list as a key",
      changed(FULL_PAIR, "name: cable", "[name]: cable"),
      /^32:5: links\[1\]: expected plain YAML, found a key that is not a word/,
    ],
    [
      "another kind of file",
      "root:x:0:0\n",
      /^1:1: expected the pair's file as a group of keys \(version, .*\), found the text "root:x:0:0"$/,
    ],
    ["bytes that are not text", Uint8Array.of(0xff, 0xfe, 0), /^ cannot be read: bytes that are not UTF-8$/],
    [
      "far too many brackets",
      "[".repeat(100_000),
      /expected plain YAML, found values nested more than 16 deep/,
    ],
    ["a file far too large", `# ${"x".repeat(300_000)}`, /^ cannot be read: more than 262144 bytes$/],
  ];
  for (const [name, text, expected] of broken) {
    test(`${name}: one clear message`, () => {
      const { pair } = files(text);
      const lines = formatErrors(checkPairFile(pair))
        .split("\n")
        .map((line) => line.slice(pair.length + 1));
      assert.ok(
        lines.some((line) => expected.test(line)),
        lines.join("\n"),
      );
      for (const line of lines) assert.ok(line.length < 400 && !/[^ -~éà]/.test(line), line);
    });
  }

  test("a file that is not there, or a directory", () => {
    const { node, home } = files(FULL_PAIR, changed(FULL_NODE, "pair.yaml", "piar.yaml"));
    assert.deepEqual(saysOf({ node, home }), [
      "node.yaml:2:7: pair: expected the pair's file (relative paths count from this file), found piar.yaml: no such file (ENOENT)",
    ]);
    assert.deepEqual(saysOf({ node: join(home, "none.yaml"), home }), [
      "none.yaml: cannot be read: no such file (ENOENT)",
    ]);
    assert.match(saysOf({ node: home, home: directory })[0]!, /illegal operation on a directory \(EISDIR\)$/);
  });

  test("never throw, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => {
        const { tree, findings } = parseYaml(text);
        assert.ok(tree !== undefined || findings.length > 0);
      }),
      { numRuns: 300 },
    );
  });

  test("of a file that is none of ours are not thousands", () => {
    const { pair } = files(Array.from({ length: 5000 }, (_, i) => `key${i}: 1`).join("\n"));
    assert.equal(checkPairFile(pair).length, 200);
  });
});

describe("check FILE", () => {
  test("knows either kind by its keys", () => {
    const { pair, node } = files(FULL_PAIR);
    assert.deepEqual(checkFile(pair), { file: pair, kind: "pair", errors: [] });
    assert.deepEqual(checkFile(node), { file: node, kind: "node", errors: [] });
    assert.deepEqual(checkFile(`/dev/fd/${openSync(pair, "r")}`).errors, [], "read once, as a pipe must be");
    assert.equal(checkFile(files("other: 1\n").pair).kind, "pair");
    assert.equal(checkFile(files("version: 1\npair: x\nnode: a\nlinks: []\n").pair).kind, "pair");
    assert.equal(
      checkFile(files(FULL_PAIR, "node: c\nkye: x\ninterfaces: {}\npair: pair.yaml\n").node).kind,
      "node",
    );
  });
});

describe("the machine", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const listed = (key: KeyObject): string =>
    `ed25519:${Buffer.from(key.export({ format: "jwk" }).x!, "base64url").toString("base64")}`;
  const pem = privateKey.export({ format: "pem", type: "pkcs8" });

  /** A node that runs in a directory of its own, with a key that the pair lists. */
  function machine(options: { node?: string; key?: string | null; mode?: number } = {}) {
    const paths = files(
      changed(FULL_PAIR, KEY_A, listed(publicKey)),
      options.node ?? "node: a\npair: pair.yaml\nkey: node.key\nstate: state/deeper\nruntime: run\n",
    );
    const key = options.key === undefined ? pem : options.key;
    if (key !== null) writeFileSync(join(paths.home, "node.key"), key, { mode: options.mode ?? 0o600 });
    return paths;
  }

  /** What is wrong with the machine, but for its interfaces. */
  function says(paths: { node: string; home: string }): string[] {
    const read = readConfiguration(paths.node);
    assert.ok(read.ok);
    const errors = checkMachine(read.config).filter(({ path }) => !path.startsWith("interfaces"));
    return formatErrors(errors)
      .replaceAll(`${paths.home}/`, "")
      .split("\n")
      .filter((line) => line !== "");
  }

  test("with its own key and directories that can be made has no fault", () => {
    assert.deepEqual(says(machine()), []);
  });

  test("a key that others can read is refused, with what to do", () => {
    for (const mode of [0o640, 0o604, 0o660, 0o644]) {
      const paths = machine();
      chmodSync(join(paths.home, "node.key"), mode);
      assert.deepEqual(says(paths), [
        `node.yaml:3:6: key: expected a private key that its owner alone can read (chmod 600 node.key), found mode 0${mode.toString(8)}`,
      ]);
    }
  });

  test("a key that is missing, no key, or not the listed one", () => {
    assert.deepEqual(says(machine({ key: null })), [
      "node.yaml:3:6: key: expected a private key, made by `understudy keygen`, found node.key: no such file (ENOENT)",
    ]);
    const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({
      format: "pem",
      type: "pkcs8",
    });
    for (const key of ["", "rubbish", "x".repeat(20_000), rsa.toString()]) {
      assert.deepEqual(says(machine({ key })), [
        "node.yaml:3:6: key: expected an Ed25519 private key, made by `understudy keygen`, found node.key",
      ]);
    }
    const other = generateKeyPairSync("ed25519");
    const key = other.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
    assert.deepEqual(says(machine({ key })), [
      `node.yaml:3:6: key: expected the private key of one of nodes.a.keys in the pair's file, found ${listed(other.publicKey)}`,
    ]);
  });

  test("directories that cannot be", () => {
    const paths = machine({ node: "node: a\npair: pair.yaml\nstate: node.key/state\nruntime: node.key\n" });
    assert.deepEqual(says(paths), [
      "node.yaml:3:8: state: expected a directory that can be written, found node.key/state: not a directory (ENOTDIR)",
      "node.yaml:4:10: runtime: expected a directory, found node.key, which is none",
    ]);
  });

  test("directories that only others can write", (t) => {
    if (process.getuid?.() === 0) return t.skip("root can write everywhere");
    const paths = machine();
    chmodSync(paths.home, 0o500);
    const lines = says(paths);
    chmodSync(paths.home, 0o700);
    assert.deepEqual(lines, [
      `node.yaml:4:8: state: expected a directory that can be written, found ${paths.home}: permission denied (EACCES)`,
      `node.yaml:5:10: runtime: expected a directory that can be written, found ${paths.home}: permission denied (EACCES)`,
    ]);
  });

  test("interfaces are those of the network namespace; each that is missing is named at its line", (t) => {
    const probe = spawnSync("unshare", ["-rn", "true"], { encoding: "utf8" });
    if (probe.status !== 0) return t.skip(`no network namespace: ${probe.stderr || probe.error}`);
    const node = "node: a\npair: pair.yaml\ninterfaces:\n  wan1: inside-a\n  sync: nisde-b\n";
    const paths = machine({ node });
    const script = [
      `import { checkMachine, readConfiguration } from ${JSON.stringify(import.meta.resolve("../../src/admin/configFiles.ts"))};`,
      `import { formatErrors } from ${JSON.stringify(import.meta.resolve("../../src/core/configTree.ts"))};`,
      `const read = readConfiguration(${JSON.stringify(paths.node)});`,
      "console.log(formatErrors(checkMachine(read.config).filter(({ path }) => path.startsWith('interfaces'))));",
    ].join("\n");
    writeFileSync(join(paths.home, "check.mts"), script);
    const links =
      "ip link add inside-a type veth peer name inside-b && ip link add lan type veth peer name other";
    const run = `${links} && exec "${process.execPath}" "${paths.home}/check.mts"`;
    const output = execFileSync("unshare", ["-rn", "sh", "-c", run], { encoding: "utf8" });
    assert.deepEqual(output.replaceAll(`${paths.home}/`, "").trim().split("\n"), [
      'node.yaml:3:1: interfaces.wan2: expected an interface of this machine (not mapped: the same name), found no "wan2"; free here: inside-b, other',
      'node.yaml:5:9: interfaces.sync: expected an interface of this machine, found no "nisde-b"; free here: inside-b, other',
    ]);
  });

  test("the files are only read", () => {
    const paths = machine();
    says(paths);
    assert.equal(readFileSync(paths.pair, "utf8"), changed(FULL_PAIR, KEY_A, listed(publicKey)));
    assert.throws(() => readFileSync(join(paths.home, "state")), { code: "ENOENT" });
  });
});
