// docs/protocol.md says what the code does: its layout tables are made of the codec's, its examples are the golden
// files. Run once with GOLDEN=write to bring the document up to date, and judge the difference.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as limits from "../../src/base/limits.ts";
import { bytesToHex, type Field } from "../../src/wire/codec.ts";
import { head, proof } from "../../src/wire/datagram.ts";
import { heartbeat } from "../../src/wire/heartbeat.ts";
import { messageTables, TYPE_GROUPS } from "../../src/wire/peer.ts";
import { recordingEntry, recordingHead } from "../../src/wire/recording.ts";
import { golden } from "../golden/golden.ts";

const file = fileURLToPath(new URL("../../docs/protocol.md", import.meta.url));

/** The rows of a table, nested ones in place: name, bytes, type. */
function* rowsOf(
  name: string,
  field: Field<unknown>,
): Generator<{ name: string; bytes: string; type: string }> {
  const bytes = field.minBytes === field.maxBytes ? `${field.minBytes}` : "";
  if (field.type !== "table") yield { name, bytes, type: field.type };
  for (const [inner, each] of field.fields ?? []) {
    const within = inner === "each" ? `${name}[]` : name === "" ? inner : `${name}.${inner}`;
    yield* rowsOf(within, each);
  }
}

function layout(table: Field<unknown>): string {
  const lines = ["| offset | bytes | field | type |", "| --- | --- | --- | --- |"];
  let offset: number | null = 0;
  for (const { name, bytes, type } of rowsOf("", table)) {
    lines.push(`| ${offset ?? ""} | ${bytes} | ${name} | ${type} |`);
    offset = offset === null || bytes === "" ? null : offset + Number(bytes);
  }
  return lines.join("\n");
}

/** Lines that repeat the one before them become one `*`, as hexdump has it. */
function example(name: string): string {
  const lines = (bytesToHex(golden(name)).match(/.{1,64}/g) ?? []).map((line, index, all) =>
    line === all[index - 1] ? "*" : line.replace(/(.{8})(?=.)/g, "$1 "),
  );
  const shown = lines.filter((line, index) => line !== "*" || lines[index - 1] !== "*");
  return ["```hex", ...shown, "```"].join("\n");
}

const tables = new Map<string, Field<unknown>>([
  ["head", head],
  ["proof", proof],
  ["heartbeat", heartbeat],
  ["recordingHead", recordingHead],
  ["recordingEntry", recordingEntry],
  ...[...messageTables].map(([kind, { body }]) => [kind, body] as const),
]);
const block = /<!-- (table|golden): (\S+) -->\n[\s\S]*?<!-- end -->/g;

function upToDate(document: string): string {
  return document.replace(block, (_, what: string, name: string) => {
    const table = tables.get(name);
    assert.ok(what === "golden" || table, `a table named ${name}`);
    const content = what === "golden" || table === undefined ? example(name) : layout(table);
    return `<!-- ${what}: ${name} -->\n${content}\n<!-- end -->`;
  });
}

test("layout tables and examples are those of the code", () => {
  const document = readFileSync(file, "utf8");
  if (process.env.GOLDEN === "write") writeFileSync(file, upToDate(document));
  assert.equal(readFileSync(file, "utf8"), upToDate(document));
});

test("every message is described: its number, its table, an example", () => {
  const document = readFileSync(file, "utf8");
  for (const [kind, { type, since }] of messageTables) {
    assert.ok(document.includes(`\n| ${type} | ${kind} | ${since} | `), `the row of ${kind}`);
    assert.ok(document.includes(`<!-- table: ${kind} -->`), `the table of ${kind}`);
    assert.ok(document.includes(`<!-- golden: message-${kind} -->`), `the example of ${kind}`);
  }
  for (const [name, { first, last }] of Object.entries(TYPE_GROUPS)) {
    assert.ok(
      document.includes(`
| ${first}-${last} | ${name} | `),
      `the row of ${first}-${last}`,
    );
  }
});

test("each section has a number of its own, in order", () => {
  const numbers = [...readFileSync(file, "utf8").matchAll(/^#{2,3} (\d+)(?:\.(\d+))?\.? /gm)].map(
    ([, section, part]) => Number(section) * 100 + Number(part ?? 0),
  );
  assert.deepEqual(
    numbers,
    [...new Set(numbers)].sort((one, other) => one - other),
  );
});

test("limits are those of the code, and none that bounds a message is left out", () => {
  const document = readFileSync(file, "utf8");
  const values = limits as Readonly<Record<string, number>>;
  const told = new Set<string>();
  const parts = [...document.matchAll(/<!-- limits: (\w+) -->\n([\s\S]*?)<!-- end -->/g)];
  assert.deepEqual(
    parts.map(([, name]) => name),
    ["binding", "own"],
  );
  for (const [, part, table] of parts) {
    for (const [, name, value] of table!.matchAll(/^\| `(\w+)` \| (\d+) \| /gm)) {
      assert.equal(values[name!], Number(value), name!);
      assert.ok(!told.has(name!), `${name} is told once`);
      told.add(name!);
      // What a table of a message is made with binds its peer.
      if (part === "own") assert.ok(!boundingMessages.has(name!), `${name} binds a peer`);
    }
  }
  for (const name of boundingMessages) assert.ok(told.has(name), `${name} has a row`);
});

/** Limits that the files of the messages and of the records are made with. */
const wire = new URL("../../src/wire/", import.meta.url);
const boundingMessages = new Set(
  readdirSync(wire)
    .filter((name) =>
      /^(messages\w+|peer|frames|session|sessionParts|expectation|datagram|recording)\.ts$/.test(name),
    )
    .flatMap((name) => {
      const text = readFileSync(new URL(name, wire), "utf8");
      const imported = /import \{([^}]*)\} from "\.\.\/base\/limits\.ts"/.exec(text)?.[1] ?? "";
      return imported.split(",").map((each) => each.trim());
    })
    .filter((name) => name !== ""),
);
