// The configuration between two nodes in virtual time: orders on either, texts that one of them refuses, connections and
// power lost between any two effects, roles that move in mid-exchange, files edited by hand while a node is down. From
// outside it checks: two nodes that agree run with the same; what was refused is never in force anywhere; what somebody wrote
// by hand replaces nothing by itself; and in the end both have the same, or both say why not.

import { type NodeId, peerOf, Role } from "../../src/base/units.ts";
import { type ConfigInput, difference, leads, standingOf } from "../../src/core/configLogState.ts";
import { chainOf, findVersion } from "../../src/core/configVersions.ts";
import type { ApplyReport } from "../../src/wire/controlConfiguration.ts";
import type { VersionHeader } from "../../src/wire/messagesConfiguration.ts";
import { ConfigNode, draftOf, fails, type Mutation, meaningOf, refuses } from "./configNode.ts";
import { createRandom, type Random } from "./random.ts";

export interface ConfigRun {
  readonly seed: number;
  readonly totals: Readonly<Record<string, number>>;
}

const NODES: readonly NodeId[] = ["a", "b"];
const STEPS = 300;
const QUIET_STEPS = 4000;
/** Text 0 is what both begin with; texts that both nodes take, for whatever must not fail. */
const isGood = (text: string): boolean => NODES.every((node) => !refuses(node, text) && !fails(node, text));

class ConfigWorld {
  readonly #random: Random;
  readonly #nodes: Readonly<Record<NodeId, ConfigNode>>;
  readonly #wire: Record<NodeId, { at: number; input: ConfigInput }[]> = { a: [], b: [] };
  readonly #roles: Record<NodeId, Role> = { a: Role.Active, b: Role.Standby };
  readonly #delayMs: number;
  readonly #faults: Readonly<Record<string, number>>;
  #now = 0;
  #connected = false;
  #calm = false;
  #texts = 0;
  #request = 0;
  /** Versions of which it was said that nothing was changed. */
  readonly #refused = new Set<string>();
  /** Versions that the node where they were ordered could not take into effect. */
  readonly #failed = new Set<string>();
  /** Versions that somebody wrote by hand, and those that were ordered over whatever the other one has. */
  readonly #byHand = new Set<string>();
  readonly #replacing = new Set<string>();
  #reports = new Map<number, ApplyReport>();
  /** Nothing happened that only a person can resolve. */
  #linear = true;
  readonly totals: Record<string, number> = {
    done: 0,
    partly: 0,
    refused: 0,
    failed: 0,
    crashes: 0,
    cuts: 0,
    edits: 0,
    roleChanges: 0,
    adopted: 0,
    reverted: 0,
    parted: 0,
  };

  constructor(seed: number, mutation: Mutation | null) {
    const random = createRandom(seed);
    this.#random = random;
    this.#delayMs = random.pick([0, 1, 20]);
    const maybe = (weight: number): number => (random.chance(0.6) ? weight * random.next() : 0);
    this.#faults = {
      apply: 0.1 + 0.2 * random.next(),
      cut: maybe(0.1),
      connect: 0.2,
      crash: maybe(0.05),
      edit: random.chance(0.3) ? 0.5 : 0,
      role: maybe(0.08),
      dies: maybe(0.04),
    };
    const node = (name: NodeId): ConfigNode =>
      new ConfigNode(
        {
          node: name,
          mutation,
          send: (message) => this.#send(peerOf(name), { kind: "message", message }),
          answered: (request, report) => this.#answered(name, request, report),
          found: (header) => this.#byHand.add(header.id),
          kept: (header, before) => this.#kept(name, header, before),
          dies: () => !this.#calm && random.chance(this.#faults.dies!) && this.#crashed(),
        },
        "0",
      );
    this.#nodes = { a: node("a"), b: node("b") };
    for (const name of NODES) this.#start(name);
  }

  run(): void {
    for (let index = 0; index < STEPS; index += 1) {
      this.#step();
      this.#checkAgreement();
    }
    this.#settle();
  }

  #send(to: NodeId, input: ConfigInput): void {
    if (!this.#connected) return;
    const queue = this.#wire[to];
    const last = queue.at(-1)?.at ?? 0;
    queue.push({ at: Math.max(last, this.#now + this.#random.next() * this.#delayMs), input });
  }

  #crashed(): true {
    this.totals.crashes! += 1;
    this.#cut();
    return true;
  }

  #start(name: NodeId): void {
    const role = this.#roles[name];
    this.#nodes[name].start(this.#now, role, this.#isActive(peerOf(name)));
  }

  #isActive(name: NodeId): boolean {
    return this.#nodes[name].machine !== null && this.#roles[name] === Role.Active;
  }

  #step(): void {
    const { apply, cut, connect, crash, edit, role } = this.#faults;
    const random = this.#random;
    if (random.chance(apply!)) this.#apply(random.pick(NODES), this.#newText(), random.chance(0.2));
    if (random.chance(cut!)) this.#cut();
    if (random.chance(connect!)) this.#connect();
    if (random.chance(role!)) this.#moveRole();
    if (random.chance(crash!)) this.#crash(random.pick(NODES));
    for (const name of NODES)
      if (this.#nodes[name].machine === null && random.chance(0.1)) {
        if (random.chance(edit!)) this.#edit(name);
        this.#start(name);
      }
    this.#advance();
  }

  /** Time goes on to what happens next, or a little. */
  #advance(): void {
    const random = this.#random;
    const due = NODES.flatMap((name) => [this.#wire[name][0]?.at, this.#nodes[name].deadline() ?? undefined]);
    const next = Math.min(...due.filter((time) => time !== undefined), this.#now + 100_000);
    this.#now = Math.max(
      this.#now,
      random.chance(0.3) && !this.#calm ? this.#now + random.next() * 50 : next,
    );
    for (const name of NODES) {
      const queue = this.#wire[name];
      for (let head = queue[0]; head !== undefined && head.at <= this.#now; head = queue[0]) {
        queue.shift();
        this.#nodes[name].input(this.#now, head.input);
      }
      this.#nodes[name].turn(this.#now, random.next() * random.pick([0, 10, 3000]));
    }
  }

  #newText(): string {
    this.#texts += 1;
    const comment = this.#random.chance(0.2) ? `#${this.#texts}` : "";
    const number = this.#random.chance(0.2) ? this.#random.below(3) * 14 : this.#texts;
    return `${number}${comment}`;
  }

  #apply(name: NodeId, text: string, replace: boolean): number {
    const machine = this.#nodes[name].machine;
    this.#request += 1;
    const request = this.#request;
    // The driver's own look comes before the machine hears of it.
    if (machine === null || refuses(name, text)) return request;
    if (leads(machine) && machine.peer === null && !this.#isCovered(name)) this.#linear = false;
    const draft = draftOf(text, "apply", this.#now + this.#request);
    this.#nodes[name].input(this.#now, {
      kind: "apply",
      request,
      draft,
      text,
      changes: [],
      replace,
      base: null,
    });
    const job = this.#nodes[name].machine?.job;
    if (replace && job?.kind === "lead" && job.request === request) this.#replacing.add(job.version.id);
    return request;
  }

  /** Whether all that the other node has, and has on its way, is in the past of what `name` has in force. */
  #isCovered(name: NodeId): boolean {
    const { history, head } = this.#nodes[name].machine!;
    const past = new Set(chainOf(history, head).map(({ id }) => id));
    const { disk } = this.#nodes[peerOf(name)];
    return [disk.head, disk.pending].every((id) => id === null || past.has(id));
  }

  #answered(name: NodeId, request: number, report: ApplyReport): void {
    this.totals[report.outcome] = (this.totals[report.outcome] ?? 0) + 1;
    this.#reports.set(request, report);
    const [here, there] = report.places;
    const { version } = report;
    const text = this.#nodes[name].disk.versions.get(version?.id ?? "")?.text ?? "";
    if (there.state === "unconfirmed" && refuses(there.node, text))
      throw new Error(`${name} put into force what ${there.node} refuses`);
    if (version !== null && here.state === "failed" && there.state !== "unconfirmed")
      if (this.#nodes[there.node].disk.head !== version.id)
        // The other one may have become active a moment ago, and have said so, and it is on its way.
        this.#failed.add(version.id);
    if (version === null || here.state === "in-force" || here.state === "failed") return;
    if (!["refused", "unchanged", "failed"].includes(there.state)) return;
    this.#refused.add(version.id);
    for (const each of NODES)
      if (this.#nodes[each].disk.head === version.id)
        throw new Error(`${name} says that nothing was changed, and ${each} has it in force`);
  }

  #kept(name: NodeId, header: VersionHeader, before: VersionHeader): void {
    if (this.#refused.has(header.id)) throw new Error(`${name} has a version in force that was refused`);
    // It was in effect here when this node became active: whoever gave the order was told that it may be.
    if (this.#roles[name] === Role.Active) this.#failed.delete(header.id);
    if (!this.#byHand.has(header.id) || header.digest === before.digest) return;
    if (!this.#replacing.has(header.id))
      throw new Error(`${name} took what somebody wrote by hand on the other node`);
  }

  #crash(name: NodeId): void {
    if (this.#nodes[name].machine === null) return;
    this.#nodes[name].crash();
    this.#crashed();
  }

  /** Somebody edits the file while the node is down. */
  #edit(name: NodeId): void {
    const { disk } = this.#nodes[name];
    const text = this.#newText();
    const pending = disk.pending === null ? disk.file : disk.versions.get(disk.pending)!.text;
    if (!isGood(text) || [disk.file, pending].some((other) => meaningOf(text) === meaningOf(other))) return;
    this.totals.edits! += 1;
    this.#linear = false;
    disk.file = text;
  }

  #cut(): void {
    if (!this.#connected) return;
    this.totals.cuts! += 1;
    this.#connected = false;
    for (const name of NODES) {
      this.#wire[name] = [];
      this.#nodes[name].input(this.#now, { kind: "down" });
    }
  }

  #connect(): void {
    if (this.#connected || NODES.some((name) => this.#nodes[name].machine === null)) return;
    this.#connected = true;
    const texts = { a: this.#nodes.a.running!, b: this.#nodes.b.running! };
    for (const name of NODES) {
      if (!this.#connected) return;
      const running = meaningOf(texts[peerOf(name)]);
      const role = this.#roles[peerOf(name)];
      this.#nodes[name].input(this.#now, { kind: "up", version: 2, role, running });
    }
  }

  /** The active role moves, or is nobody's, or for a while both have it. */
  #moveRole(): void {
    const random = this.#random;
    this.totals.roleChanges! += 1;
    const name = random.pick(NODES);
    const role = random.pick([Role.Active, Role.Standby]);
    if (role === Role.Active && this.#roles[peerOf(name)] === Role.Active && random.chance(0.8))
      this.#setRole(peerOf(name), Role.Standby);
    this.#setRole(name, role);
    if (NODES.every((each) => this.#roles[each] === Role.Active)) this.#linear = false;
  }

  #setRole(name: NodeId, role: Role): void {
    this.#roles[name] = role;
    for (const each of NODES)
      this.#nodes[each].input(this.#now, {
        kind: "role",
        role: this.#roles[each],
        peerActive: this.#isActive(peerOf(each)),
      });
    this.#send(peerOf(name), { kind: "peer-role", role });
  }

  #isQuiet(): boolean {
    return NODES.every((name) => {
      const { machine, effect } = this.#nodes[name];
      return (
        this.#wire[name].length === 0 &&
        effect === null &&
        machine !== null &&
        machine.job === null &&
        machine.peer?.state?.about === machine.head.id
      );
    });
  }

  /** Nothing is on its way, and nobody sees a difference: then there is none, in what the daemons run with and on the disks. */
  #checkAgreement(): void {
    if (!this.#connected || !this.#isQuiet()) return;
    const differences = NODES.map((name) => difference(this.#nodes[name].machine!));
    const texts = NODES.map((name) => meaningOf(this.#nodes[name].running!));
    const isSame = texts[0] === texts[1];
    for (const [index, name] of NODES.entries()) {
      const { machine, disk, running } = this.#nodes[name];
      if (refuses(name, running!)) throw new Error(`${name} runs with ${running}, which it refuses`);
      if (disk.file !== running) throw new Error(`${name} runs with ${running}, on its disk is ${disk.file}`);
      if (this.#failed.has(disk.head ?? ""))
        throw new Error(`${name} has a version in force that has failed`);
      if ((differences[index] === null) !== isSame && machine!.tentative === null)
        throw new Error(`${name} says ${differences[index] ?? "equal"}: ${texts.join(" and ")}`);
    }
  }

  /** No more faults: one node is active, both are connected. */
  #settle(): void {
    this.#calm = true;
    for (const name of NODES) if (this.#nodes[name].machine === null) this.#start(name);
    const active = this.#random.pick(NODES);
    this.#setRole(peerOf(active), Role.Standby);
    this.#setRole(active, Role.Active);
    this.#connect();
    this.#waitForQuiet();
    this.#checkAgreement();
    const { a, b } = this.#nodes;
    for (const name of NODES) {
      const machine = this.#nodes[name].machine!;
      this.totals.adopted! += machine.counters.adopted;
      this.totals.reverted! += machine.counters.reverted;
    }
    const standings = NODES.map((name) => standingOf(this.#nodes[name].machine!));
    if (standings.includes("parted")) {
      this.totals.parted! += 1;
      if (this.#linear) throw new Error("parted, and nobody did anything that would part them");
    }
    if (a.disk.head !== b.disk.head && NODES.some((name) => difference(this.#nodes[name].machine!) === null))
      throw new Error(`one version on each, and not a word: ${standings.join(", ")}`);
    this.#lastWord(active);
  }

  /** An order that both can take, over whatever the other one has: then both have it, with a common past. */
  #lastWord(active: NodeId): void {
    const other = peerOf(active);
    const request = this.#apply(active, `${(this.#texts + 1) * 14 + 1}`, true);
    this.#waitForQuiet();
    const outcome = this.#reports.get(request)?.outcome;
    if (outcome !== "done") throw new Error(`the last order ended with ${outcome ?? "no answer"}`);
    const { a, b } = this.#nodes;
    if (
      a.disk.head !== b.disk.head ||
      a.running !== b.running ||
      a.disk.pending !== null ||
      b.disk.pending !== null
    )
      throw new Error("the last order is not in force on both");
    const [mine, theirs] = [this.#nodes[active].machine!, this.#nodes[other].machine!];
    // Every version of the active's past is on the other one's disk, too, by number.
    for (let number = mine.head.number; number > 0; number -= 1) {
      const found = [mine, theirs].map(({ history, head }) => findVersion(history, head, String(number)));
      const ids = found.map((each) => (each.ok ? each.header.id : each.reason));
      if (ids[0] !== ids[1]) throw new Error(`version ${number} is ${ids.join(" and ")}`);
    }
  }

  #waitForQuiet(): void {
    for (let index = 0; index < QUIET_STEPS; index += 1) {
      if (
        this.#isQuiet() &&
        NODES.every((name) => this.#nodes[name].machine!.rejection === null || index > 500)
      )
        return;
      this.#advance();
    }
    throw new Error(`not quiet after ${QUIET_STEPS} steps`);
  }
}

/** One run. Throws where an invariant does not hold. */
export function runConfig(seed: number, mutation: Mutation | null = null): ConfigRun {
  const world = new ConfigWorld(seed, mutation);
  world.run();
  return { seed, totals: world.totals };
}
