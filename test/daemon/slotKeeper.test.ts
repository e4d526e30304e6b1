// The slots in force over restarts, changes of the configuration and the active's word: which of them move, and that no
// disk in the world keeps a node from placing sessions.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { linkId } from "../../src/base/units.ts";
import type { Config, LinkConfig } from "../../src/core/config.ts";
import { computeSlots, sharesOf } from "../../src/core/placement.ts";
import { SlotKeeper } from "../../src/daemon/slotKeeper.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-slots-"));
after(() => rmSync(directory, { recursive: true }));
let worlds = 0;

/** What the keeper asks of a configuration: links by id with their weights, and a place of its own on disk. */
function configOf(weights: Readonly<Record<number, number>>, changes: Partial<Config> = {}): Config {
  const links = Object.entries(weights).map(
    ([id, weight]) => ({ id: linkId(Number(id)), weight, enabled: true }) as LinkConfig,
  );
  return {
    placementSeed: 7,
    stateDirectory: mkdtempSync(join(directory, `${worlds++}-`)),
    ...changes,
    links,
  } as Config;
}
const keep = (config: Config, lines: string[] = []): SlotKeeper =>
  new SlotKeeper({ config, log: (line) => lines.push(line) });
const moved = (one: Uint8Array, other: Uint8Array): number =>
  one.reduce((sum, link, slot) => sum + (link === other[slot] ? 0 : 1), 0);
const plain = (config: Config): Uint8Array => computeSlots(config.links, config.placementSeed);

test("a first start: what the configuration alone says, the same on both nodes", () => {
  const config = configOf({ 1: 1, 2: 3 });
  assert.deepEqual(keep(config).inForce, plain(config));
});

test("weights changed: as few slots move as the shares ask for, and a restart begins with them", () => {
  const config = configOf({ 1: 1, 2: 1 });
  const keeper = keep(config);
  const before = keeper.inForce;
  const next = { ...configOf({ 1: 1, 2: 3 }), stateDirectory: config.stateDirectory };
  assert.equal(keeper.configure(next), true);
  assert.equal(moved(before, keeper.inForce), 1024);
  assert.equal(keeper.configure(next), false);
  // From scratch others would have moved: this is what a restart must not do.
  assert.ok(moved(keeper.inForce, plain(next)) > 0);
  assert.deepEqual(keep(next).inForce, keeper.inForce);
});

test("a standby takes what it is told, and keeps it when it is started again or takes over", () => {
  const config = configOf({ 1: 1, 2: 1 });
  const keeper = keep(config);
  const told = plain(configOf({ 1: 1, 2: 1 }, { placementSeed: 8 }));
  assert.equal(keeper.adopt(told), true);
  assert.deepEqual(keeper.inForce, told);
  assert.equal(keeper.adopt(told), false);
  told.fill(0);
  assert.notDeepEqual(keeper.inForce, told);
  const again = keep(config);
  assert.deepEqual(again.inForce, keeper.inForce);
  assert.equal(again.configure(config), false);
});

test("told of a link that is not configured here: only its slots go to others", () => {
  const keeper = keep(configOf({ 1: 1, 2: 1 }));
  const told = plain(configOf({ 1: 1, 2: 1, 9: 1 }));
  keeper.adopt(told);
  const kept = told.filter((link, slot) => link !== 9 && keeper.inForce[slot] === link).length;
  assert.equal(kept, told.filter((link) => link !== 9).length);
  const counts = new Map<number, number>();
  for (const link of keeper.inForce) counts.set(link, (counts.get(link) ?? 0) + 1);
  assert.deepEqual(counts, sharesOf(configOf({ 1: 1, 2: 1 }).links));
});

test("a link of this node that the active does not use yet gets nothing before its time", () => {
  const keeper = keep(configOf({ 1: 1, 2: 1, 3: 1 }));
  const told = plain(configOf({ 1: 1, 2: 1 }));
  keeper.adopt(told);
  assert.deepEqual(keeper.inForce, told);
});

test("another seed: what is stored means nothing", () => {
  const config = configOf({ 1: 1, 2: 1 });
  const keeper = keep(config);
  const next = { ...config, placementSeed: 99 };
  keeper.configure(next);
  assert.deepEqual(keeper.inForce, plain(next));
  assert.deepEqual(keep({ ...config, placementSeed: 98 }).inForce, plain({ ...config, placementSeed: 98 }));
});

test("a file that says nothing, and a disk that takes nothing: told, and placed all the same", () => {
  for (const content of ["", "{", "[]", "null", '{"seed":7,"slots":"AAAA"}', '{"seed":"7","slots":1}']) {
    const config = configOf({ 1: 1, 2: 1 });
    writeFileSync(join(config.stateDirectory, "slots.json"), content);
    const lines: string[] = [];
    assert.deepEqual(keep(config, lines).inForce, plain(config));
    assert.equal(lines.length, 1, content);
    assert.match(lines[0]!, /^slots begin anew: .*slots\.json: /);
  }
  const lines: string[] = [];
  const nowhere = configOf({ 1: 1 }, { stateDirectory: join(directory, "is-not-there") });
  assert.deepEqual(keep(nowhere, lines).inForce, plain(nowhere));
  assert.match(lines.join(), /^slots are not kept over a restart: /);
});

test("the file is the node's own, and whole at any moment", () => {
  const config = configOf({ 1: 1 });
  keep(config);
  const file = join(config.stateDirectory, "slots.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(Object.keys(JSON.parse(readFileSync(file, "utf8"))), ["seed", "slots"]);
});
