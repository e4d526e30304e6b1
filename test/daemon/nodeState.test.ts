// What a node tells of itself beside its sessions: when it changes, what it makes of the active's slots, and what a takeover keeps.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import { linkId } from "../../src/base/units.ts";
import type { Config, LinkConfig } from "../../src/core/config.ts";
import { NodeStateSource } from "../../src/daemon/nodeState.ts";
import { SlotKeeper } from "../../src/daemon/slotKeeper.ts";
import type { Told } from "../../src/daemon/stateLog.ts";
import type { Machine } from "../../src/kernel/machine.ts";
import type { HeartState } from "../../src/wire/control.ts";
import type { LinkState } from "../../src/wire/messagesNode.ts";
import { factsExample } from "../wire/nodeSamples.ts";

const directory = mkdtempSync(join(tmpdir(), "understudy-node-"));
after(() => rmSync(directory, { recursive: true }));
let worlds = 0;

const machine: Machine = {
  kernel: "6.18.0",
  machine: "x86_64",
  processors: 2,
  memoryBytes: 1 << 30,
  conntrackMax: 65_536,
  conntrackBuckets: 16_384,
  bootedAt: 5,
};
const linkOf = (id: number, weight = 1): LinkConfig =>
  ({ id: linkId(id), name: `link${id}`, weight, enabled: true }) as LinkConfig;

class World {
  config: Config = {
    placementSeed: 7,
    stateDirectory: mkdtempSync(join(directory, `${worlds++}-`)),
    links: [linkOf(1), linkOf(2)],
  } as unknown as Config;
  now = 100;
  machine = machine;
  told: Told | null = null;
  moves = 0;
  refusal: Error | null = null;
  readonly changed: string[] = [];
  readonly slots = new SlotKeeper({ config: this.config, log: () => {} });
  readonly source = new NodeStateSource({
    config: () => this.config,
    slots: this.slots,
    moveSlots: () => {
      this.moves += 1;
      if (this.refusal !== null) throw this.refusal;
    },
    told: () => this.told,
    onChange: (subject) => this.changed.push(subject),
    machine: () => this.machine,
    now: () => this.now,
  });

  heart(role: "active" | "standby", carriers: readonly boolean[] = [true, true]): void {
    const segments = carriers.map((carrier, index) => ({ name: `link${index + 1}`, carrier }));
    this.source.follow({ role, segments } as unknown as HeartState);
  }
}

const told = (links: readonly LinkState[]): Told => ({ facts: factsExample, clockDifferenceMs: 3, links });

test("links are told when they change, and not otherwise", () => {
  const world = new World();
  world.heart("active");
  world.heart("active");
  assert.deepEqual(world.changed, ["links"]);
  world.now = 200;
  world.heart("active", [true, false]);
  assert.deepEqual(world.changed, ["links", "links"]);
  assert.deepEqual(
    world.source.links().map(({ state, since }) => [state, since]),
    [
      ["up", 100],
      ["down", 200],
    ],
  );
  world.source.follow(null);
  assert.ok(world.source.links().every(({ state }) => state === "unknown"));
});

test("a standby shows the active's word; when it takes over, what has not changed keeps its beginning", () => {
  const world = new World();
  world.heart("standby", [true, true]);
  assert.equal(world.source.knownLinks(), world.source.links());
  const byActive: readonly LinkState[] = [
    { link: 1, state: "up", reason: "none", since: 11, detail: "" },
    { link: 2, state: "down", reason: "carrier", since: 22, detail: "" },
  ];
  world.told = told(byActive);
  assert.equal(world.source.knownLinks(), byActive);
  world.now = 300;
  world.heart("active", [true, true]);
  assert.deepEqual(
    world.source.knownLinks().map(({ state, since }) => [state, since]),
    [
      ["up", 11],
      ["up", 300],
    ],
  );
  // Active already: its own list goes on.
  world.now = 400;
  world.heart("active", [true, true]);
  assert.deepEqual(
    world.source.links().map(({ since }) => since),
    [11, 300],
  );
});

test("the active's slots: in force and moved, or why not", () => {
  const world = new World();
  const slots = new Uint8Array(4096).fill(2);
  assert.equal(world.source.adoptSlots(7, slots), "");
  assert.deepEqual([world.slots.inForce, world.moves], [slots, 1]);
  assert.deepEqual(world.source.slots(), { seed: 7, slots });
  assert.match(world.source.adoptSlots(8, slots), /another seed, 8 instead of 7/);
  world.refusal = new BoundaryError({ operation: "move slots", code: "ENOMEM" });
  assert.match(world.source.adoptSlots(7, new Uint8Array(4096).fill(1)), /ENOMEM/);
  // In force all the same: the next dress puts them in place.
  assert.equal(world.slots.inForce[0], 1);
  world.refusal = new TypeError("a defect");
  assert.throws(() => world.source.adoptSlots(7, slots), TypeError);
});

test("a takeover moves no slot; one with another configuration moves what that asks for, and tells it", () => {
  const world = new World();
  const before = world.slots.inForce;
  world.heart("standby");
  world.source.adoptSlots(7, before);
  world.changed.length = 0;
  world.moves = 0;
  world.heart("active");
  assert.deepEqual([world.changed, world.moves, world.slots.inForce], [[], 0, before]);
  world.heart("standby");
  world.config = { ...world.config, links: [linkOf(1, 3), linkOf(2)] };
  world.heart("active");
  assert.deepEqual([world.changed, world.moves], [["slots"], 1]);
  assert.equal(world.slots.inForce.filter((link) => link === 1).length, 3072);
});

test("facts: as of now, told anew when the table's size changes", () => {
  const world = new World();
  const facts = world.source.facts();
  assert.deepEqual([facts.kernel, facts.conntrackMax, facts.clock], ["6.18.0", 65_536, 100]);
  assert.match(facts.software, /^understudy \d+\.\d+\.\d+/);
  world.source.look();
  assert.deepEqual(world.changed, []);
  for (const change of [{ conntrackMax: 1 }, { conntrackBuckets: 1 }, { processors: 1 }]) {
    world.machine = { ...world.machine, ...change };
    world.source.look();
  }
  assert.deepEqual(world.changed, ["nodeFacts", "nodeFacts", "nodeFacts"]);
  assert.deepEqual(world.source.machines().peer, null);
  world.told = told([]);
  assert.deepEqual(world.source.machines(), {
    own: world.source.facts(),
    peer: factsExample,
    clockDifferenceMs: 3,
  });
});
