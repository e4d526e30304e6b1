// The log simulator: two nodes in virtual time, each of this version or of version 1, a connection that delays and is lost at
// any point, a standby as slow as the seed says, packets that change the active's table all the while and extend it in
// silence, takeovers, splits, restarts (as another version, too), refusals, overruns and dumps that fail. From outside it checks:
// what is acknowledged is in the standby's kernel at that moment; a standby that says "synchronised" with nothing on the
// way has exactly the active's table; nothing that lives on the active expires on such a standby; no queue is above its
// bound; once the faults end, both are equal within a bound, and nothing more is said; and after a split the winner has
// everything that the loser had, but for what clashed, was refused, or ended (MergeJudge).

import { type Millis, millis, type Role } from "../../src/base/units.ts";
import type { Position } from "../../src/wire/control.ts";
import type { Mutation } from "./logMutations.ts";
import { SimNode } from "./logNode.ts";
import type { SimMessage } from "./logOptions.ts";
import { type Change, VERSIONS } from "./logRecords.ts";
import { describeMessage } from "./logTrace.ts";
import { MergeJudge } from "./mergeJudge.ts";
import { createRandom, type Random } from "./random.ts";

export interface LogRun {
  readonly seed: number;
  readonly steps: number;
  readonly totals: Readonly<Record<string, number>>;
}

interface Logged extends Change {
  readonly sequence: number;
}

/** Gets a line for whatever happens. */
export type Trace = (line: string) => void;

type Name = "a" | "b";
const other = (name: Name): Name => (name === "a" ? "b" : "a");

/** What happens all the time, and shows by its consequences. */
const ORDINARY: ReadonlySet<string> = new Set(["traffic", "turn", "network", "work", "time"]);
/** Of a run, before the faults end. */
const STEPS = 600;
const SESSIONS_MAX = 64;
const QUIET_STEPS_MAX = 30_000;
/** Of virtual time; see LIVES of logKernel.ts. */
const REFRESH_ROUND_MS = 16_000;
/** A lull of minutes: so many steps of so many ms. */
const AGE_STEPS = 900;
const AGE_STEP_MS = 100;
/** After quiet, for so long, nothing but refreshes may be said. */
const SILENCE_STEPS = 100;

class LogWorld {
  readonly #random: Random;
  readonly #nodes: { readonly a: SimNode; readonly b: SimNode };
  /** Messages on their way to each node, in order. */
  readonly #wire: Record<Name, { at: number; message: SimMessage }[]> = { a: [], b: [] };
  readonly #ids: number;
  readonly #delayMs: number;
  readonly #weights: Record<string, number>;
  #now: Millis = millis(0);
  #connected = false;
  #active: Name = "a";
  #term = 2;
  /** Since the subscription in force began: every record, by sequence, and the last of each session. */
  #log: Logged[] = [];
  #last = new Map<number, Logged>();
  #checked = 0;
  #laggingRole: (() => void) | null = null;
  /** Both are active, and each has traffic. */
  #split = false;
  readonly #judge: MergeJudge;
  #splits = 0;
  #takeovers = 0;
  #cuts = 0;
  #syncChecks = 0;
  readonly #trace: Trace | null;

  constructor(seed: number, mutation: Mutation | null, trace: Trace | null) {
    this.#trace = trace;
    const random = createRandom(seed);
    this.#random = random;
    this.#ids = 4 + random.below(SESSIONS_MAX - 3);
    this.#delayMs = random.pick([0, 1, 5, 20]);
    // Swarm: some faults off, the others with wild weights.
    const maybe = (weight: number): number => (random.chance(0.5) ? weight * random.next() : 0);
    this.#weights = {
      traffic: 1 + 6 * random.next(),
      turn: 1 + 2 * random.next(),
      network: 1 + 4 * random.next(),
      work: random.chance(0.3) ? 0.3 : 1 + 4 * random.next(),
      time: 1,
      cut: maybe(0.05),
      takeover: maybe(0.03),
      split: maybe(0.06),
      restart: maybe(0.03),
      refuse: maybe(0.02),
      ask: maybe(0.1),
      breakDump: maybe(0.1),
      twice: maybe(0.1),
      burst: maybe(0.1),
      age: maybe(0.01),
      lull: 0.02,
    };
    const spoken = (): number => Math.min(this.#nodes.a.version, this.#nodes.b.version);
    const logBytesMax = random.pick([300, 1000, 1e6]);
    const options = (name: Name) => ({
      name,
      version: random.pick([1, 2, 2, 2, 2, 2] as const),
      random,
      mutation,
      limits: {
        logBytesMax,
        snapshotWindowBytes: random.pick([100, 300, 1e6]),
        roundPaceMs: random.pick([0, 20]),
        refreshRoundMs: REFRESH_ROUND_MS,
        refreshKeysMax: random.pick([8, 100]),
      },
      keysMax: random.pick([4, 1000, 1000]),
      eventsMax: random.pick([6, 1000, 1000]),
      chunkRecords: 2 + random.below(7),
      sliceRecords: 1 + random.below(4),
      spoken,
      send: (message: SimMessage) => this.#send(other(name), message),
      fail: (reason: string) => {
        throw new Error(`${name} ends the connection: ${reason}`);
      },
      logged: (sequence: number, change: Change) => {
        if (name !== this.#active || this.#split) return;
        const logged = { sequence, ...change };
        this.#log.push(logged);
        this.#last.set(change.id, logged);
      },
      acknowledges: (position: Position) => this.#checkAcknowledged(name, position),
      inserted: (id: number) => this.#judge.inserted(name, id),
      expired: (id: number, heard: boolean) => this.#expired(name, id, heard),
    });
    this.#nodes = { a: new SimNode(options("a")), b: new SimNode(options("b")) };
    this.#judge = new MergeJudge(this.#nodes);
  }

  run(steps: number): number {
    this.#nodes.a.setRole("active", 2);
    this.#nodes.b.setRole("standby", 0);
    this.#connect();
    for (let step = 0; step < steps; step += 1) this.#step();
    return steps + this.#settle();
  }

  totals(): Record<string, number> {
    const sums: Record<string, number> = {
      takeovers: this.#takeovers,
      splits: this.#splits,
      unions: this.#judge.unions,
      cuts: this.#cuts,
      syncChecks: this.#syncChecks,
    };
    for (const node of [this.#nodes.a, this.#nodes.b])
      for (const [name, value] of Object.entries(node.totals())) sums[name] = (sums[name] ?? 0) + value;
    return sums;
  }

  #step(): void {
    const total = Object.values(this.#weights).reduce((sum, weight) => sum + weight, 0);
    let draw = this.#random.next() * total;
    for (const [name, weight] of Object.entries(this.#weights)) {
      draw -= weight;
      if (draw < 0) {
        this.#act(name);
        break;
      }
    }
    this.#checkSynchronised();
  }

  #act(name: string): void {
    if (!ORDINARY.has(name))
      this.#tell(`${name} (a ${this.#nodes.a.version}, b ${this.#nodes.b.version}, active ${this.#active})`);
    const random = this.#random;
    switch (name) {
      case "traffic":
        this.#traffic(1 + random.below(3));
        return;
      case "turn":
        for (const node of [this.#nodes.a, this.#nodes.b]) node.turn(1 + random.below(3));
        return;
      case "network":
        this.#deliver();
        return;
      case "work":
        this.#nodes[random.pick(["a", "b"] as const)].work();
        return;
      case "time":
        this.#advance(random.between(0, 10));
        return;
      case "cut":
        if (this.#split) return;
        if (this.#connected) this.#disconnect();
        else this.#connect();
        return;
      case "takeover":
        this.#takeover();
        return;
      case "split":
        if (this.#split) this.#heal();
        else this.#part();
        return;
      case "restart":
        this.#restart(random.pick(["a", "b"] as const), random.chance(0.3));
        return;
      case "ask":
        this.#nodes[this.#active].doubt(
          random.chance(0.8) ? Uint8Array.from({ length: 512 }, () => 1 << random.below(40)) : null,
        );
        return;
      case "breakDump":
        this.#nodes[this.#active].dumpBroken = true;
        return;
      case "twice":
        this.#repeat();
        return;
      case "burst":
        this.#traffic(20 + random.below(20));
        return;
      case "age":
        this.#age();
        return;
      case "lull":
        for (let round = 0; round < 150; round += 1) {
          this.#flow();
          this.#checkSynchronised();
        }
        return;
      case "refuse":
        this.#nodes[random.pick(["a", "b"] as const)].kernel.refusing = random.chance(0.5);
    }
  }

  #tell(line: string): void {
    this.#trace?.(`${this.#now.toFixed(1)} ${line}`);
  }

  /** A millisecond in which everything does what it has to do, and nothing else happens. */
  #flow(): void {
    this.#advance(1);
    for (const node of [this.#nodes.a, this.#nodes.b]) {
      node.turn(100);
      node.work();
    }
    this.#deliver();
  }

  /** Many refresh rounds, in which everything does what it has to do. */
  #age(): void {
    for (let step = 0; step < AGE_STEPS; step += 1) {
      this.#advance(AGE_STEP_MS);
      for (let round = 0; round < 3; round += 1) this.#flow();
      this.#checkSynchronised();
    }
  }

  /** A word of the standby's that only says how far it is, said twice. */
  #repeat(): void {
    const wire = this.#wire[this.#active];
    const first = wire[0];
    if (first?.message.kind === "acknowledge" || first?.message.kind === "round-swept")
      wire.unshift({ ...first });
  }

  #traffic(changes: number): void {
    for (let index = 0; index < changes; index += 1) {
      const name = this.#split && this.#random.chance(0.5) ? other(this.#active) : this.#active;
      const node = this.#nodes[name];
      const id = this.#random.below(this.#ids);
      const version = this.#random.below(VERSIONS);
      const operation = !node.entries.has(id) ? "create" : this.#random.chance(0.5) ? "delete" : "update";
      this.#tell(`${name}: ${operation} ${id} v${version}`);
      this.#judge.changed(name, operation, id, node.kernel.change(operation, id, version));
    }
  }

  #advance(byMs: number): void {
    this.#now = millis(this.#now + byMs);
    for (const name of ["a", "b"] as const) {
      this.#nodes[name].now = this.#now;
      this.#nodes[name].timers(name === this.#active || this.#split);
    }
    if (this.#laggingRole !== null && this.#random.chance(0.5)) this.#catchUp();
  }

  /** The active hears of it like of any other change; a synchronised standby must not come to this before it. */
  #expired(name: Name, id: number, heard: boolean): void {
    if (name === this.#active || this.#split) {
      this.#judge.changed(name, "delete", id, heard);
      return;
    }
    this.#judge.ranOut(name, id);
    const { role, receiver } = this.#nodes[name];
    if (role === "standby" && receiver.synchronised && this.#nodes[this.#active].entries.has(id))
      throw new Error(`session ${id} lives on the active and has expired on its standby`);
  }

  #send(to: Name, message: SimMessage): void {
    if (this.#trace !== null)
      this.#tell(`to ${to}${this.#connected ? "" : " (lost)"}: ${describeMessage(message)}`);
    if (!this.#connected) return;
    if (message.kind === "snapshot-begin") {
      this.#log = [];
      this.#last.clear();
      this.#checked = 0;
    }
    this.#wire[to].push({ at: this.#now + this.#delayMs * this.#random.next(), message });
  }

  #deliver(): void {
    for (const name of ["a", "b"] as const) {
      const first = this.#wire[name][0];
      if (first === undefined || first.at > this.#now) continue;
      this.#wire[name].shift();
      this.#nodes[name].deliver(first.message);
    }
  }

  #connect(): void {
    this.#connected = true;
    const { a, b } = this.#nodes;
    a.up(b.role, b.term);
    b.up(a.role, a.term);
  }

  #disconnect(): void {
    this.#cuts += 1;
    this.#connected = false;
    this.#wire.a = [];
    this.#wire.b = [];
    this.#log = [];
    this.#last.clear();
    this.#checked = 0;
    this.#nodes.a.down();
    this.#nodes.b.down();
  }

  /** The standby becomes active at once; the former active's daemon hears of it later. */
  #takeover(): void {
    if (this.#laggingRole !== null || this.#split) return;
    this.#takeovers += 1;
    const former = this.#active;
    this.#active = other(former);
    this.#term += 1;
    this.#log = [];
    this.#last.clear();
    this.#checked = 0;
    const [node, term] = [this.#nodes[this.#active], this.#term];
    this.#judge.takesOver(this.#active);
    node.setRole("active", term);
    this.#laggingRole = () => this.#stepDown(former, term - 1);
  }

  /** Nobody hears anybody, and the standby claims, too. */
  #part(): void {
    if (this.#laggingRole !== null) return;
    if (this.#connected) this.#disconnect();
    this.#splits += 1;
    this.#split = true;
    this.#term += 1;
    const claimant = other(this.#active);
    this.#judge.takesOver(claimant);
    this.#nodes[claimant].setRole("active", this.#term);
  }

  /** They hear each other again: one wins, and raises its term above the other's; the other yields in a while. */
  #heal(): void {
    if (this.#laggingRole !== null) return;
    const loser = this.#random.pick(["a", "b"] as const);
    this.#active = other(loser);
    this.#connect();
    const term = this.#term;
    this.#term += 1;
    this.#nodes[this.#active].setRole("active", this.#term);
    this.#laggingRole = () => this.#stepDown(loser, term);
  }

  #stepDown(name: Name, term: number): void {
    this.#split = false;
    this.#judge.stepsDown(name);
    this.#nodes[name].setRole("standby" as Role, term);
  }

  #catchUp(): void {
    const lagging = this.#laggingRole;
    this.#laggingRole = null;
    lagging?.();
  }

  /** A daemon restarts; a standby's machine may have lost its power, and with it its table. */
  #restart(name: Name, wiped: boolean): void {
    if (this.#connected) this.#disconnect();
    const empty = wiped && this.#nodes[name].role === "standby";
    this.#judge.restarts(name, empty);
    const { version } = this.#nodes[name];
    this.#nodes[name].restart(empty, this.#random.chance(0.3) ? (version === 1 ? 2 : 1) : version);
    if (!this.#split && this.#random.chance(0.8)) this.#connect();
  }

  /** What the standby acknowledges is in its kernel at that moment. */
  #checkAcknowledged(name: Name, position: Position): void {
    if (name === this.#active || this.#split || position.term !== this.#nodes[this.#active].term) return;
    const standby = this.#nodes[name];
    for (; this.#checked < this.#log.length; this.#checked += 1) {
      const logged = this.#log[this.#checked]!;
      if (logged.sequence > position.sequence) return;
      if (this.#last.get(logged.id) !== logged || standby.refusedIds.has(logged.id)) continue;
      const found = standby.entries.get(logged.id)?.version;
      const wanted = logged.operation === "delete" ? undefined : logged.version;
      if (found !== wanted)
        throw new Error(
          `acknowledged ${position.sequence}, but session ${logged.id} is ${found} instead of ${wanted}`,
        );
    }
  }

  /** A standby that says so, with nothing on the way, has the active's table. */
  #checkSynchronised(): void {
    const active = this.#nodes[this.#active];
    const standby = this.#nodes[other(this.#active)];
    if (!this.#connected || standby.role !== "standby" || this.#laggingRole !== null) return;
    if (!standby.receiver.synchronised || !active.idle || !standby.idle) return;
    if (this.#wire.a.length + this.#wire.b.length > 0) return;
    this.#syncChecks += 1;
    this.#assertEqual("synchronised with nothing on the way");
    this.#judge.level(this.#active);
  }

  #assertEqual(when: string): void {
    const active = this.#nodes[this.#active].entries;
    const standby = this.#nodes[other(this.#active)].entries;
    for (const [id, { version }] of active)
      if (standby.get(id)?.version !== version)
        throw new Error(`${when}: session ${id} is ${standby.get(id)?.version} instead of ${version}`);
    for (const id of standby.keys()) if (!active.has(id)) throw new Error(`${when}: session ${id} is extra`);
  }

  /** The faults end: within a bound the standby is synchronised and equal. */
  #settle(): number {
    this.#catchUp();
    if (this.#split) this.#heal();
    this.#catchUp();
    for (const node of [this.#nodes.a, this.#nodes.b]) {
      node.kernel.refusing = false;
      node.dumpBroken = false;
    }
    if (!this.#connected) this.#connect();
    for (let step = 0; step < QUIET_STEPS_MAX; step += 1) {
      this.#flow();
      if (step % 100 === 0) this.#advance(1000);
      if (!this.#isQuiet()) continue;
      this.#assertEqual("after quiet");
      this.#judge.level(this.#active);
      this.#assertSilence();
      return step;
    }
    const [active, standby] = [this.#nodes[this.#active], this.#nodes[other(this.#active)]];
    throw new Error(`never quiet: ${active.sender.describe()}; ${standby.receiver.describe()}`);
  }

  #isQuiet(): boolean {
    const [active, standby] = [this.#nodes[this.#active], this.#nodes[other(this.#active)]];
    const idle = active.idle && standby.idle && this.#wire.a.length + this.#wire.b.length === 0;
    return idle && standby.receiver.synchronised && active.sender.synchronised;
  }

  /** Both are equal and nothing happens: what is still said is what ends by itself, and refreshes. */
  #assertSilence(): void {
    const active = this.#nodes[this.#active];
    const before = active.sender.counters;
    const sessions = active.entries.size;
    for (let step = 0; step < SILENCE_STEPS; step += 1) this.#flow();
    const { sent = 0, refreshed = 0 } = active.sender.counters;
    const said = sent - (before.sent ?? 0) - (refreshed - (before.refreshed ?? 0));
    const ended = sessions - active.entries.size;
    if (said > ended) throw new Error(`${said} records were sent where ${ended} sessions ended`);
  }
}

/** One seed. Throws where an invariant does not hold. */
export function runLog(seed: number, mutation: Mutation | null = null, trace: Trace | null = null): LogRun {
  const world = new LogWorld(seed, mutation, trace);
  const taken = world.run(STEPS);
  const totals = world.totals();
  assertNoStorm(totals);
  return { seed, steps: taken, totals };
}

/** A record is an event, a session of a round (twice where its dump failed), or a refresh; nothing else is sent. */
function assertNoStorm(totals: Readonly<Record<string, number>>): void {
  const { sent = 0, told = 0, snapshots = 0, partialRounds = 0, dumpsFailed = 0, refreshed = 0 } = totals;
  const most = told + (snapshots + partialRounds + dumpsFailed) * SESSIONS_MAX + refreshed;
  if (sent > most) throw new Error(`${sent} records sent where ${most} are the most`);
}
