// The ruleset's text: what does not need a kernel to be seen. What it does: test/kernel/dress.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SLOTS } from "../../src/base/limits.ts";
import { compileRuleset, rulesetDigest, updateSlots } from "../../src/core/ruleset.ts";
import { interfaceAddress, pairConfig } from "./configFixture.ts";

const table = fc.array(fc.integer({ min: 0, max: 250 }), { minLength: 64, maxLength: 64 }).map((some) => {
  const slots = new Uint8Array(SLOTS);
  some.forEach((link, index) => {
    slots[index * 64] = link;
  });
  return slots;
});

/** A dumb model of the map: what the text's deletions and additions make of it. */
function apply(slots: Uint8Array, text: string): Uint8Array {
  const next = new Uint8Array(slots);
  const deletions = /delete element [^{]*\{([^}]*)\}/.exec(text)?.[1] ?? "";
  for (const slot of deletions.match(/\d+/g) ?? []) {
    assert.notEqual(next[Number(slot)], 0, "deletes only what is there");
    next[Number(slot)] = 0;
  }
  const additions = /add element [^{]*\{([^}]*)\}/.exec(text)?.[1] ?? "";
  for (const [, slot, link] of additions.matchAll(/(\d+) : (\d+)/g)) {
    assert.equal(next[Number(slot)], 0, "adds only where nothing is");
    next[Number(slot)] = Number(link);
  }
  return next;
}

test("moving slots: the text makes the one table of the other, and names only what differs", () => {
  fc.assert(
    fc.property(table, table, (old, next) => {
      const text = updateSlots(old, next);
      assert.deepEqual(apply(old, text), next);
      const differing = old.filter((link, slot) => link !== next[slot]).length;
      assert.ok((text.match(/ : /g)?.length ?? 0) <= differing);
    }),
    { numRuns: 100 },
  );
  assert.equal(updateSlots(new Uint8Array(SLOTS).fill(3), new Uint8Array(SLOTS).fill(3)), "");
});

test("the digest is of everything but the slots", () => {
  const config = pairConfig();
  const text = compileRuleset(config, new Uint8Array(SLOTS).fill(1));
  assert.ok(text.includes(`comment "${rulesetDigest(config)}"`));
  assert.ok(compileRuleset(config, new Uint8Array(SLOTS).fill(2)).includes(rulesetDigest(config)));
  assert.notEqual(rulesetDigest(pairConfig({ placementSeed: 1 })), rulesetDigest(config));
});

test("a LAN network inside another stands in no set twice", () => {
  const { lan } = pairConfig();
  const routes = ["10.20.8.0/24", "10.30.0.0/16", "10.30.1.0/24"].map((network) => ({
    network: interfaceAddress(network),
    via: "10.20.0.254",
  }));
  const text = compileRuleset(pairConfig({ lan: { ...lan, routes } }), new Uint8Array(SLOTS));
  assert.match(text, /ip daddr \{ 10\.20\.0\.0\/16, 10\.30\.0\.0\/16 \}/);
});

test("a link without IPv6 lets no IPv6 out, translated or not", () => {
  const [first, second] = pairConfig().links;
  const service = { ...second!.service, addresses: [interfaceAddress("198.51.101.2/24")] };
  const text = compileRuleset(
    pairConfig({ links: [first!, { ...second!, service }] }),
    new Uint8Array(SLOTS),
  );
  assert.doesNotMatch(text, /"us-l2" ip6 saddr/);
  assert.match(text, /oifname "us-l2" counter drop/);
});

test("no link at all is a table too", () => {
  const text = compileRuleset(pairConfig({ links: [] }), new Uint8Array(SLOTS));
  assert.doesNotMatch(text, /us-l[0-9]|elements/);
});

test("helpers: an object each, assigned to new sessions of the LAN by port; none unasked", () => {
  const slots = new Uint8Array(SLOTS);
  assert.doesNotMatch(compileRuleset(pairConfig(), slots), /helper|expected/);
  const helpers = [{ name: "sip", port: 5062 }, { name: "sip" }, { name: "h323" }] as const;
  const config = pairConfig({ helpers });
  const text = compileRuleset(config, slots);
  assert.deepEqual(
    [...text.matchAll(/ct helper (.*) \{\n {2}(.*)\n/g)].map(([, name, what]) => `${name}: ${what}`),
    [
      'Q.931-tcp: type "Q.931" protocol tcp',
      'RAS-udp: type "RAS" protocol udp',
      'sip-tcp: type "sip" protocol tcp',
      'sip-udp: type "sip" protocol udp',
    ],
  );
  assert.match(text, /udp dport 5060 ct helper set "sip-udp"\n/);
  assert.match(text, /udp dport 5062 ct helper set "sip-udp"\n/);
  assert.match(text, /tcp dport 1720 ct helper set "Q\.931-tcp"\n/);
  const chain = (name: string): string =>
    new RegExp(` chain ${name} \\{\\n([^}]*\\}[^}]*)*? \\}`).exec(text)![0];
  assert.match(chain("from-lan"), /ct state new jump helpers\n/);
  assert.doesNotMatch(chain("from-links"), /jump helpers/);
  // The digest is of them, too: a table without them is not up to date.
  assert.notEqual(rulesetDigest(config), rulesetDigest(pairConfig()));
});
