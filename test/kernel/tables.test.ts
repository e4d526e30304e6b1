// Tables of our own on a real kernel: filled by commands they are what the block would have made; they change hands whole.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { SLOTS } from "../../src/base/limits.ts";
import { compileGuard } from "../../src/core/guard.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { GateReader } from "../../src/kernel/gateTable.ts";
import { applyTable } from "../../src/kernel/rulesetTable.ts";
import { OwnTables } from "../../src/kernel/tables.ts";
import { commandsOf } from "../../src/kernel/tableText.ts";
import { pairConfig } from "../core/configFixture.ts";
import { inNamespace } from "./namespace.ts";

function refusal(): string | false {
  if (inNamespace.skip !== false) return inNamespace.skip;
  const tables = new OwnTables("inet");
  const reason = tables.areOwned ? false : "this kernel has no tables with an owner that persist";
  tables.close();
  return reason;
}
const owned = { skip: refusal() };

const nft = (...words: string[]): string => execFileSync("nft", words, { encoding: "utf8" });
/** A table as it is listed, less what only says whose it is. */
const listed = (name: string): string[] =>
  nft("list", "table", "inet", name)
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^table|flags owner/.test(line))
    .sort();

const slots = new Uint8Array(SLOTS).fill(1);
const TEXTS = {
  understudy: compileRuleset(pairConfig({ helpers: [{ name: "ftp" }, { name: "sip" }] }), slots),
  "understudy-guard": compileGuard(pairConfig()),
};

test("filled by commands, a table is what its block makes", owned, () => {
  for (const [name, text] of Object.entries(TEXTS)) {
    assert.equal(applyTable(name, text), true);
    const plain = listed(name);
    nft("flush", "ruleset");
    const tables = new OwnTables("inet");
    assert.equal(applyTable(name, text, tables), true);
    assert.deepEqual(listed(name), plain);
    assert.equal(applyTable(name, text, tables), false, "twice changes nothing");
    tables.remove("remove it", name);
    tables.remove("remove it", name);
    tables.close();
  }
  assert.equal(nft("list", "tables"), "");
});

test("what was compared is not listed again before somebody changes something", owned, () => {
  const tables = new OwnTables("inet");
  const name = "understudy-guard";
  const text = TEXTS[name];
  let lists = 0;
  const stateless = tables.nft.stateless.bind(tables.nft);
  tables.nft.stateless = (...words) => {
    lists += 1;
    return stateless(...words);
  };
  assert.equal(applyTable(name, text, tables), true);
  assert.equal(applyTable(name, text, tables), false);
  const after = lists;
  for (let look = 0; look < 3; look += 1) assert.equal(applyTable(name, text, tables), false);
  assert.equal(lists, after, "nothing was listed");
  nft("add", "table", "inet", "others");
  assert.equal(applyTable(name, text, tables), false);
  assert.equal(lists, after + 1, "somebody's transaction, of whatever table, makes it look");
  nft("delete", "table", "inet", "others");
  tables.remove("remove it", name);
  assert.equal(applyTable(name, text, tables), true, "gone, and put back");
  tables.remove("remove it", name);
  tables.close();
});

test("another configuration takes the place of the old one, and nothing of that is left", owned, () => {
  const tables = new OwnTables("inet");
  const [first] = pairConfig().links;
  const next = compileRuleset(pairConfig({ links: [first!] }), slots);
  applyTable("understudy", next);
  const wanted = listed("understudy");
  nft("flush", "ruleset");
  applyTable("understudy", TEXTS.understudy, tables);
  assert.notDeepEqual(listed("understudy"), wanted);
  assert.equal(applyTable("understudy", next, tables), true);
  assert.deepEqual(listed("understudy"), wanted);
  tables.remove("remove it", "understudy");
  tables.close();
});

test(
  "the next process adopts what the last one left; a program started meanwhile inherits nothing",
  owned,
  async () => {
    const tables = new OwnTables("inet");
    applyTable("understudy", TEXTS.understudy, tables);
    const before = listed("understudy");
    const child = spawn("cat");
    await once(child, "spawn");
    const next = new OwnTables("inet");
    assert.throws(() => next.adopt("adopt it", "understudy"), /TABLE_OWNED: .* process \d+ \(/);
    assert.throws(() => applyTable("understudy", TEXTS.understudy, next), /TABLE_OWNED/);
    tables.close();
    assert.equal(
      applyTable("understudy", TEXTS.understudy, next),
      false,
      "as it should be, hence not touched",
    );
    nft("flush", "ruleset");
    assert.deepEqual(listed("understudy"), before);
    assert.equal(next.stand(["understudy"]), true);
    assert.equal(next.stand(["understudy", "understudy-guard"]), false);
    next.remove("remove it", "understudy");
    next.close();
    child.kill("SIGKILL");
    await once(child, "exit");
  },
);

test("asking whether the kernel can changes nothing", owned, () => {
  const reader = new GateReader();
  const before = reader.generation();
  new OwnTables("inet").close();
  new OwnTables("netdev").close();
  assert.equal(reader.generation(), before);
  assert.equal(nft("list", "tables"), "");
  reader.close();
});

test("a text that is not written as ours are is refused, not half understood", () => {
  assert.throws(() => commandsOf("add table inet x\n"), /no block/);
  assert.throws(() => commandsOf("table inet x {\n flowtable f {\n }\n}\n"), /not an object of a table/);
  assert.throws(() => commandsOf("table inet x {\n chain c {\n"), /not an object of a table/);
  assert.equal(
    commandsOf("table inet x {\n chain c {\n  accept\n }\n set s {\n  type mark\n }\n}\n"),
    "add set inet x s {\n  type mark\n}\nadd chain inet x c\nadd rule inet x c accept\n",
  );
  assert.equal(
    commandsOf('table inet x {\n ct helper ftp-tcp {\n  type "ftp" protocol tcp\n }\n}\n'),
    'add ct helper inet x ftp-tcp {\n  type "ftp" protocol tcp\n}\n',
  );
});
