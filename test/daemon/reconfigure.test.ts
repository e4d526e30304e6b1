// The order in which a running node takes a configuration into effect, and the way back where something is refused. The kernel and
// heart here write down what was asked of them; the real ones are in test/e2e/reconfigure.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BoundaryError } from "../../src/base/errors.ts";
import { type Config, servicesOf } from "../../src/core/config.ts";
import { Reconfigurer } from "../../src/daemon/reconfigure.ts";
import type { HeartState } from "../../src/wire/control.ts";
import { pairConfig } from "../core/configFixture.ts";

const sync = (local: string) => ({
  name: local,
  device: "sync",
  local,
  remote: "10.255.0.2",
  heartbeat: true,
  replication: true,
});
const now = pairConfig({ digest: "a".repeat(64), paths: [sync("10.255.0.1")] });
const [one, two] = now.links;
const next = (part: Partial<Config>): Config => ({ ...now, digest: "b".repeat(64), ...part });
const onPort = (port: string) => ({ ...one!, service: { ...one!.service, port } });

/** One turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** `us-lan us-l1 us-l2` */
const devices = (config: Config): string =>
  servicesOf(config)
    .map(({ device }) => device)
    .join(" ");

class World {
  readonly done: string[] = [];
  /** Steps that are refused, each as often as it stands here. */
  readonly refuse: string[] = [];
  role = "standby";
  peerDigest = now.digest.slice(0, 16);
  heartConfig: Config = now;
  worn: Config = now;
  readonly reconfigurer: Reconfigurer;

  constructor() {
    const heart = {
      configure: async (config: Config) => {
        this.#step(`heart ${devices(config)}`);
        this.heartConfig = config;
      },
      expect: (config: Config) => {
        this.done.push("expect");
        this.heartConfig = config;
      },
      goesBy: () => true,
      until: async () => undefined,
    };
    const world = this;
    this.reconfigurer = new Reconfigurer({
      config: now,
      wardrobe: {
        wear: (config) => {
          this.worn = config;
        },
        letIn: (config) => this.done.push(`let in ${config.paths.length}`),
        guard: () => this.#step("guard"),
        lower: (names) => this.#step(`lower ${names.join(" ")}`),
        hang: () => this.#step(`hang ${devices(this.worn)}`),
        dress: () => this.#step(`dress ${devices(this.worn)}`),
        moveSlots: () => this.#step("move slots"),
      },
      dresser: {
        pause: () => this.done.push("pause"),
        resume: (isWhole) => this.done.push(isWhole ? "resume" : "resume in doubt"),
      },
      slots: {
        configure: (config) => this.done.push(`slots ${config.links.map(({ id }) => id).join(" ")}`) > 0,
      },
      heart: () => ({
        ...heart,
        get config() {
          return world.heartConfig;
        },
        get state() {
          return { role: world.role, peer: { configurationDigest: world.peerDigest } } as HeartState;
        },
      }),
      endHeart: () => this.done.push("end heart"),
      endSessions: async (id, keeps) => {
        this.#step(`end sessions of ${id} but ${keeps.length}`);
        return 3;
      },
      follow: async (config, renews) => this.#step(`follow ${config.paths.length}${renews ? " anew" : ""}`),
      log: () => undefined,
    });
  }

  #step(what: string): void {
    this.done.push(what);
    const index = this.refuse.indexOf(what);
    if (index < 0) return;
    this.refuse.splice(index, 1);
    throw new BoundaryError({ operation: what, code: "EPERM", words: "no" });
  }

  async apply(config: Config): Promise<readonly [boolean, string]> {
    const { ok, words } = await this.reconfigurer.apply(config);
    return [ok, words.join("; ")];
  }
}

test("a link comes: its interface, then its gate, then its way, then new sessions", async () => {
  const world = new World();
  const [ok, words] = await world.apply(next({ links: [one!, two!, { ...two!, ...linkThree() }] }));
  assert.deepEqual([ok, words], [true, "link link3 (3) added"]);
  assert.deepEqual(world.done, [
    ...["pause", "let in 1", "guard", "slots 1 2 3", "hang us-lan us-l1 us-l2 us-l3"],
    ...["heart us-lan us-l1 us-l2 us-l3", "dress us-lan us-l1 us-l2 us-l3", "follow 1", "resume"],
  ]);
});

test("a link goes: no new sessions, its interface down, its gate off, away with it, and its sessions end", async () => {
  const world = new World();
  const [ok, words] = await world.apply(next({ links: [two!] }));
  assert.deepEqual(
    [ok, words],
    [
      true,
      "link link1 (1) removed: its sessions end; link link1: 3 sessions ended, which had no way any more",
    ],
  );
  assert.deepEqual(world.done, [
    ...["pause", "let in 1", "guard", "slots 2", "move slots", "lower us-l1", "heart us-lan us-l2"],
    ...["slots 2", "hang us-lan us-l2", "heart us-lan us-l2", "dress us-lan us-l2", "follow 1"],
    ...["end sessions of 1 but 0", "resume"],
  ]);
});

test("a link on another port goes and comes", async () => {
  const world = new World();
  await world.apply(next({ links: [onPort("wan9"), two!] }));
  const at = (what: string): number => world.done.indexOf(what);
  const order = ["lower us-l1", "heart us-lan us-l2", "hang us-lan us-l1 us-l2", "heart us-lan us-l1 us-l2"];
  assert.deepEqual(
    order.map(at),
    order.map(at).toSorted((x, y) => x - y),
  );
  assert.ok(at(order[0]!) > 0);
});

test("whatever is refused on the way is gone back from, and said", async () => {
  const to = next({ links: [two!, { ...two!, ...linkThree() }] });
  const whole = new World();
  await whole.apply(to);
  const steps = whole.done
    .slice(2, whole.done.indexOf("follow 1") + 1)
    .filter((step) => !step.startsWith("slots"));
  for (const refused of steps) {
    const world = new World();
    world.refuse.push(refused);
    const [ok, words] = await world.apply(to);
    assert.equal(ok, false, refused);
    assert.match(words, new RegExp(`^${refused}: EPERM: no`));
    assert.equal(world.reconfigurer.config, now, refused);
    assert.equal(devices(world.heartConfig), devices(now), refused);
    assert.equal(world.worn, now, refused);
    assert.deepEqual(world.done.slice(-3), ["dress us-lan us-l1 us-l2", "follow 1", "resume"], refused);
  }
});

test("what came is down before heart is told to leave it, on the way back as well", async () => {
  const world = new World();
  world.refuse.push("dress us-lan us-l1 us-l2 us-l3");
  await world.apply(next({ links: [one!, two!, { ...two!, ...linkThree() }] }));
  const back = world.done.slice(world.done.indexOf("dress us-lan us-l1 us-l2 us-l3") + 1);
  const [down, off] = [back.indexOf("lower us-l3"), back.indexOf("heart us-lan us-l1 us-l2")];
  assert.ok(down >= 0 && off > down && back.indexOf("hang us-lan us-l1 us-l2") > off, back.join(", "));
});

test("refused both ways: nothing more is touched but what is expected of the next heart, and it is said", async () => {
  const world = new World();
  world.refuse.push("heart us-lan us-l2", "heart us-lan us-l1 us-l2");
  const [ok, words] = await world.apply(next({ links: [two!] }));
  assert.equal(ok, false);
  assert.match(words, /heart us-lan us-l2: EPERM: no.*on the way back/);
  assert.equal(world.reconfigurer.config, now);
  assert.deepEqual(world.done.slice(-2), ["expect", "resume in doubt"]);
});

test("refused both ways: the log is made to go by what is in force, as soon as it can be, and once", async () => {
  const world = new World();
  world.refuse.push("follow 1", "heart us-lan us-l1 us-l2", "follow 1 anew");
  const [ok] = await world.apply(next({ links: [one!, two!, { ...two!, ...linkThree() }] }));
  assert.equal(ok, false);
  world.done.length = 0;
  for (const expected of [["follow 1 anew"], ["follow 1 anew"], []]) {
    await world.reconfigurer.look();
    assert.deepEqual(world.done.splice(0), expected);
  }
  await world.reconfigurer.close();
});

test("what was left half way is renewed by the next configuration as well", async () => {
  const world = new World();
  world.refuse.push("heart us-lan us-l2", "heart us-lan us-l1 us-l2");
  await world.apply(next({ links: [two!] }));
  world.done.length = 0;
  assert.equal((await world.apply(next({ placementSeed: 9 })))[0], true);
  assert.ok(world.done.includes("follow 1 anew"));
  world.done.length = 0;
  await world.reconfigurer.look();
  assert.deepEqual(world.done, []);
});

test("a standby that goes back to a link whose sessions it has ended asks for them again", async () => {
  const follows = (world: World): readonly string[] => world.done.filter((step) => /^follow/.test(step));
  const world = new World();
  await world.apply(next({ links: [two!] }));
  await world.apply({ ...now, digest: "c".repeat(64) });
  assert.deepEqual(follows(world), ["follow 1", "follow 1 anew"]);
  await world.apply(next({ placementSeed: 9 }));
  assert.equal(follows(world).at(-1), "follow 1", "once");
  const other = new World();
  await other.apply(next({ links: [two!] }));
  await other.apply(next({ links: [two!], placementSeed: 9 }));
  assert.deepEqual(follows(other), ["follow 1", "follow 1"]);
  // What the active has ended is gone, and its standby has heard of it.
  const active = new World();
  active.role = "active";
  await active.apply(next({ links: [two!] }));
  await active.apply({ ...now, digest: "c".repeat(64) });
  assert.deepEqual(follows(active), ["follow 1", "follow 1"]);
});

test("a path that goes stays until the other node has heard of it", async () => {
  const world = new World();
  const to = next({ paths: [sync("10.254.0.1")] });
  assert.equal((await world.apply(to))[0], true);
  assert.deepEqual(
    world.done.filter((step) => /let in|follow/.test(step)),
    ["let in 2", "follow 2 anew"],
  );
  assert.equal(world.heartConfig.paths.length, 2);
  world.done.length = 0;
  world.peerDigest = to.digest.slice(0, 16);
  const deadline = performance.now() + 20_000;
  while (!world.done.includes("follow 1 anew") && performance.now() < deadline) await turn();
  assert.deepEqual(world.done, ["heart us-lan us-l1 us-l2", "let in 1", "guard", "follow 1 anew"]);
  assert.equal(world.heartConfig.paths.length, 1);
  await world.reconfigurer.close();
});

test("another pair is refused, the same is nothing, a second one at once waits for nobody", async () => {
  const world = new World();
  assert.equal((await world.apply(next({ pair: "home" })))[0], false);
  assert.deepEqual(await world.apply({ ...now }), [true, ""]);
  assert.deepEqual(world.done, []);
  const first = world.apply(next({ placementSeed: 1 }));
  assert.deepEqual(await world.apply(next({ placementSeed: 2 })), [false, "another is taking effect"]);
  assert.equal((await first)[0], true);
  await world.reconfigurer.close();
  assert.equal((await world.apply(next({ placementSeed: 3 })))[0], false);
});

function linkThree() {
  const service = { ...two!.service, id: 3, name: "link3", device: "us-l3", port: "wan3" };
  return { id: 3 as never, name: "link3", service };
}
