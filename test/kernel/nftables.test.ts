// nftables through libnftables: one transaction a call, and the kernel's own words when it refuses.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import { SLOTS } from "../../src/base/limits.ts";
import { compileRuleset } from "../../src/core/ruleset.ts";
import { isAbsent, Nftables } from "../../src/kernel/nftables.ts";
import { applyRuleset, removeRuleset } from "../../src/kernel/rulesetTable.ts";
import { pairConfig } from "../core/configFixture.ts";
import { inNamespace } from "./namespace.ts";

const nft = (...words: string[]): string => execFileSync("nft", words, { encoding: "utf8" });
const refusalOf = (text: string): BoundaryError => {
  const library = new Nftables();
  let refusal: unknown = null;
  try {
    library.run("install something", text);
  } catch (error) {
    refusal = error;
  }
  library.close();
  assert.ok(refusal instanceof BoundaryError, `not refused: ${text}`);
  return refusal;
};

test("a refusal names the operation, the errno, the kernel's words and the line", inNamespace, () => {
  const refusal = refusalOf("add table inet good\nadd rule inet absent theirs accept\n");
  assert.equal(refusal.operation, "install something");
  assert.equal(refusal.code, "ENOENT");
  assert.match(refusal.message, /No such file or directory.* in: add rule inet absent theirs accept/);
  assert.equal(isAbsent(refusal), true);
  assert.equal(nft("list", "tables"), "", "all of it or none of it");
  assert.equal(refusalOf("tabel inet x {}").code, "NFT_SYNTAX");
});

test(
  "the ruleset: put in once, not twice; mended where somebody touched it; removed, twice",
  inNamespace,
  () => {
    const config = pairConfig();
    const slots = new Uint8Array(SLOTS).fill(1);
    assert.equal(applyRuleset(compileRuleset(config, slots)), true);
    assert.equal(applyRuleset(compileRuleset(config, slots)), false);
    const before = nft("list", "table", "inet", "understudy");
    for (const harm of [
      ["flush", "chain", "inet", "understudy", "last-guard"],
      ["insert", "rule", "inet", "understudy", "forward", "accept"],
      ["delete", "element", "inet", "understudy", "slots", "{ 7 }"],
      ["delete", "table", "inet", "understudy"],
      ["flush", "ruleset"],
    ]) {
      nft(...harm);
      assert.equal(applyRuleset(compileRuleset(config, slots)), true, harm.join(" "));
      assert.equal(nft("list", "table", "inet", "understudy"), before);
      assert.equal(applyRuleset(compileRuleset(config, slots)), false);
    }
    const other = pairConfig({ placementSeed: 7 });
    assert.equal(applyRuleset(compileRuleset(other, slots)), true, "another configuration is another table");
    removeRuleset();
    removeRuleset();
    assert.equal(nft("list", "tables"), "");
  },
);

test("configurations of every shape load: no link, a link without IPv6, sixteen links", inNamespace, () => {
  const first = pairConfig().links[0]!;
  const many = Array.from({ length: 16 }, (_, index) => ({
    ...first,
    id: (index + 1) as typeof first.id,
    service: { ...first.service, id: index + 1, device: `us-l${index + 1}` },
  }));
  const oneFamily = {
    ...first,
    service: { ...first.service, addresses: first.service.addresses.slice(0, 1) },
  };
  for (const links of [[], [oneFamily], many]) {
    const text = compileRuleset(pairConfig({ links }), new Uint8Array(SLOTS));
    assert.equal(applyRuleset(text), true);
    assert.equal(applyRuleset(text), false);
  }
  removeRuleset();
});
