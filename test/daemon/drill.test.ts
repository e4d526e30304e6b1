// Two daemons that drill with each other, without kernels: who hands over when, what is kept, what a schedule begins.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock, type TestContext, test } from "node:test";
import { DRILL_STAY_MS } from "../../src/base/limits.ts";
import type { NodeId, Role } from "../../src/base/units.ts";
import type { DrillSchedule } from "../../src/core/drill.ts";
import { DrillKeeper, type DrillMessage } from "../../src/daemon/drill.ts";
import type { HeartState } from "../../src/wire/control.ts";

class Node {
  readonly id: NodeId;
  role: Role;
  cause = "election";
  peer: Node | null = null;
  refuses: string | null = null;
  notReady: string | null = null;
  connected = true;
  drill: DrillSchedule | null = null;
  wallMs = Date.parse("2026-11-22T02:59:00");
  readonly log: string[] = [];
  readonly directory: string;
  keeper: DrillKeeper;

  constructor(t: TestContext, id: NodeId, role: Role) {
    this.id = id;
    this.role = role;
    this.directory = mkdtempSync(join(tmpdir(), "drill-"));
    this.keeper = this.start();
    t.after(() => {
      this.keeper.close();
      rmSync(this.directory, { recursive: true });
    });
  }

  start(): DrillKeeper {
    return new DrillKeeper({
      config: () => ({
        node: this.id,
        drill: this.drill,
        stateDirectory: this.directory,
        lan: null as never,
      }),
      heart: () => this.heart(),
      own: () => ({ sessions: 10, ready: true }),
      notReady: () => Promise.resolve(this.notReady),
      handover: () => this.#handover(),
      send: (message) => this.#send(message),
      log: (line) => this.log.push(line),
      probe: () => null,
      wallClock: () => new Date(this.wallMs),
    });
  }

  heart(): HeartState {
    const peer = { heard: true, role: this.peer?.role ?? null, ready: true, sessions: 9 };
    const gate = this.role === "active" ? "open" : "shut";
    return { role: this.role, gate, peer, lastChange: { cause: this.cause } } as unknown as HeartState;
  }

  become(role: Role, cause: string): void {
    this.role = role;
    this.cause = cause;
    this.keeper.follow(this.heart());
  }

  async #handover(): Promise<string> {
    if (this.refuses !== null) throw new Error(this.refuses);
    this.become("standby", "handover");
    this.peer?.become("active", "handover");
    this.keeper.follow(this.heart());
    return `${this.peer?.id} is active`;
  }

  #send(message: DrillMessage): boolean {
    if (!this.connected) return false;
    queueMicrotask(() => this.peer?.keeper.message(message));
    return true;
  }
}

function pair(t: TestContext): { a: Node; b: Node } {
  mock.timers.enable({ apis: ["setInterval"] });
  t.after(() => mock.timers.reset());
  let now = 1000;
  const clock = t.mock.method(performance, "now", () => now);
  const tick = mock.timers.tick.bind(mock.timers);
  t.mock.method(mock.timers, "tick", (ms: number) => {
    now += ms;
    tick(ms);
  });
  t.after(() => clock.mock.restore());
  const a = new Node(t, "a", "active");
  const b = new Node(t, "b", "standby");
  [a.peer, b.peer] = [b, a];
  return { a, b };
}

/** Lets time pass, and everything that was asked for be answered. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    mock.timers.tick(50);
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }
}

test("there and back; both nodes keep the report, also over a restart", async (t) => {
  const { a, b } = pair(t);
  const report = a.keeper.run({ forced: false });
  await pass(DRILL_STAY_MS / 2);
  assert.equal(b.role, "active");
  assert.equal(a.keeper.underWay, "a drill is under way: b serves");
  await pass(DRILL_STAY_MS);
  assert.equal((await report).result, "passed");
  assert.deepEqual(
    (await report).switches.map(({ to }) => to),
    ["b", "a"],
  );
  assert.deepEqual([a.role, b.role], ["active", "standby"]);
  assert.equal(a.keeper.underWay, null);
  assert.equal(b.keeper.last?.result, "passed");
  b.keeper.close();
  b.keeper = b.start();
  assert.deepEqual(b.keeper.last, a.keeper.last);
});

test("a daemon that ends in mid-drill has failed it, as the next one finds", async (t) => {
  const { a, b } = pair(t);
  void a.keeper.run({ forced: false });
  await pass(100);
  assert.match(readFileSync(join(a.directory, "drill.json"), "utf8"), /"failed".*ended in mid-drill/);
  const next = a.start();
  assert.equal(next.last?.words, "the daemon of a ended in mid-drill");
  next.close();
  assert.equal(b.role, "active");
});

test("a pair that is not ready does not drill; nothing is kept of a refusal", async (t) => {
  const { a } = pair(t);
  a.notReady = "NOT READY: the log is not connected.";
  const report = await a.keeper.run({ forced: false });
  assert.deepEqual([report.result, report.words], ["refused", a.notReady]);
  assert.equal(a.keeper.last, null);
  assert.equal(a.role, "active");
});

test("the other node refuses to hand back, or cannot be asked: it keeps the role, and the report says so", async (t) => {
  const { a, b } = pair(t);
  b.refuses = "a handover is under way";
  const first = a.keeper.run({ forced: false });
  await pass(2 * DRILL_STAY_MS);
  assert.equal((await first).words, "b serves, and did not hand back: a handover is under way");
  assert.equal(b.role, "active");
  b.refuses = null;
  a.become("active", "handover");
  b.become("standby", "handover");
  const second = a.keeper.run({ forced: false });
  await pass(100);
  a.connected = false;
  await pass(2 * DRILL_STAY_MS);
  assert.equal((await second).words, "b serves, and did not hand back: it is not connected");
});

test("what the other node did not hear of it is told when it is connected again", async (t) => {
  const { a, b } = pair(t);
  a.notReady = "no";
  a.drill = { day: 0, hour: 3, minute: 0 };
  a.wallMs = Date.parse("2026-11-22T03:00:10");
  a.connected = false;
  await a.keeper.lookAtSchedule();
  assert.equal(a.keeper.last?.result, "skipped");
  assert.equal(b.keeper.last, null);
  a.connected = true;
  a.keeper.up();
  await pass(50);
  assert.deepEqual(b.keeper.last, a.keeper.last);
});

test("the schedule: on the active, at its minute, once", async (t) => {
  const { a, b } = pair(t);
  // 2026-11-22 is a Sunday.
  for (const node of [a, b]) node.drill = { day: 0, hour: 3, minute: 0 };
  await pass(20_000);
  assert.equal(a.log.length, 0, "a minute too early");
  for (const node of [a, b]) node.wallMs = Date.parse("2026-11-22T03:00:05");
  await pass(20_000);
  const first = b.keeper.last;
  assert.deepEqual([first?.result, first?.scheduled], ["passed", true]);
  for (const node of [a, b]) node.wallMs += 40_000;
  await pass(20_000);
  assert.deepEqual(b.keeper.last, first);
  assert.equal(b.log.filter((line) => line.includes("handing over")).length, 0);
});
