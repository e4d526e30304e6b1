// The world of one run: virtual time, two nodes, the media between them, and the faults of a scenario. `runScenario`
// returns what happened and what was wrong.

import { unreachable } from "../../src/base/assert.ts";
import { millis, term } from "../../src/base/units.ts";
import type { ElectionConfig, ElectionEffect, UnsafeElection } from "../../src/core/election/types.ts";
import { Checker, name, type Overlap } from "./checker.ts";
import { applyFault, type FaultWorld } from "./faults.ts";
import { Heap } from "./heap.ts";
import { createMedium, type Medium, reaches, travelMs, witnessAnswers } from "./media.ts";
import {
  claims,
  createNode,
  gateText,
  holds,
  localNow,
  receive,
  type SimNode,
  startHeart,
  stopHeart,
  virtualOf,
} from "./node.ts";
import { followLog, isBehind } from "./position.ts";
import { createRandom, type Random } from "./random.ts";
import { type Action, faultsEndAt, mediumName, type Scenario } from "./scenario.ts";

export type Mutation = UnsafeElection & { readonly leaseCheckOff?: boolean };

export interface RunResult {
  readonly violations: readonly string[];
  readonly overlaps: readonly Overlap[];
  /** What happened, for people: roles, faults, alarms. Empty where not asked for. */
  readonly log: readonly string[];
  readonly takeovers: number;
  readonly handovers: number;
  readonly virtualMs: number;
  readonly events: number;
}

interface Event {
  at: number;
  order: number;
  run: () => void;
}

const DAEMON_INTERVAL_MS = 200;
const GATE_REPAIR_MS = 15;
/** A pair that nothing disturbed for this long is in its normal state. */
/** Third parties are asked every 100 ms; one question may be lost with the fault. */
const ASKED_MS = 150;
const CALM_MS = 3000;
/** The end of a run: this long one and the same node is active. */
const STEADY_MS = 1000;

export class World implements FaultWorld {
  now = 0;
  readonly unsafe: Mutation;
  readonly checker: Checker;
  readonly log: string[] = [];
  takeovers = 0;
  handovers = 0;
  events = 0;
  readonly #scenario: Scenario;
  readonly #random: Random;
  readonly #heap = new Heap<Event>();
  readonly media: Medium[] = [];
  readonly nodes: readonly [SimNode, SimNode];
  readonly #logging: boolean;
  readonly heartbeatsCut: [number, number] = [0, 0];
  #order = 0;
  #disturbedAt = 0;
  #disturbances = 0;
  #faults = 0;
  /** Of the faults those that only keep a standby from being heard for a moment. */
  #mute = 0;
  /** When the last fault ended. */
  #cleanAt = 0;

  constructor(scenario: Scenario, unsafe: Mutation, logging: boolean) {
    this.#scenario = scenario;
    this.unsafe = unsafe;
    this.#logging = logging;
    this.#random = createRandom(scenario.seed);
    for (let medium = 0; medium <= scenario.segments; medium++)
      this.media.push(createMedium(mediumName(scenario.segments, medium)));
    this.nodes = [
      createNode(0, scenario.rates[0], scenario.segments),
      createNode(1, scenario.rates[1], scenario.segments),
    ];
    const { deadMs, leaseMs, soloMs, segments } = scenario;
    const arbitrated = scenario.singleMac.length < segments;
    this.checker = new Checker({
      nodes: this.nodes,
      media: this.media,
      segments,
      deadMs,
      leaseMs,
      soloMs,
      arbitrated,
      healMs: this.#healMs(),
      cleanSince: () =>
        this.#faults > 0 || this.#scenario.lossPercent > 0 ? Number.POSITIVE_INFINITY : this.#cleanAt,
    });
  }

  /** Two heartbeats and one way (failover §8), by slow clocks, with the wake-ups of both hearts. */
  #healMs(): number {
    const { heartbeatMs, delayMs, jitterMs, wakeMs } = this.#scenario;
    return 2 * (1.06 * heartbeatMs + delayMs + jitterMs + wakeMs) + 1;
  }

  run(): void {
    const { bootAt, actions, quietMs } = this.#scenario;
    for (const node of this.nodes) {
      this.schedule(bootAt[node.index], () => this.boot(node));
      this.#daemonTicks(node);
    }
    for (const { at, action } of actions) this.schedule(at, () => this.#start(action));
    const end = faultsEndAt(this.#scenario) + quietMs;
    let steady: SimNode | null = null;
    this.schedule(end - STEADY_MS, () => {
      steady = this.nodes.find((node) => claims(node, this.now)) ?? null;
    });
    for (;;) {
      const event = this.#heap.pop();
      if (event === undefined || event.at > end || this.checker.violations.length > 0) break;
      this.now = event.at;
      this.events += 1;
      event.run();
      this.checker.look(this.now);
    }
    this.checker.finish(this.now);
    if (this.checker.violations.length === 0) this.#checkEnd(end, steady);
  }

  #checkEnd(end: number, steady: SimNode | null): void {
    const active = this.nodes.filter((node) => claims(node, end));
    if (active.length !== 1)
      this.checker.violate(end, `${active.length} nodes claim at the end of all faults`);
    else if (steady !== active[0])
      this.checker.violate(end, "the active still changes after the end of all faults");
  }

  schedule(at: number, run: () => void): void {
    this.#heap.push({ at, order: this.#order++, run });
  }

  jiffyMs(): number {
    return this.#random.between(0, 4);
  }

  wakeLatency(): number {
    return 0.03 + this.#random.next() * this.#scenario.wakeMs;
  }

  stallMs(node: SimNode): number {
    if (node.stallPercent === 0 || !this.#random.chance(node.stallPercent / 100)) return 0;
    const short = this.#random.next();
    return 0.1 + short * short * node.stallMaxMs;
  }

  get segments(): number {
    return this.#scenario.segments;
  }

  repairMs(): number {
    return this.#random.between(0, GATE_REPAIR_MS);
  }

  carriers(node: SimNode): readonly boolean[] {
    return this.media.slice(0, this.#scenario.segments).map((medium) => medium.carrierDown[node.index] === 0);
  }

  gateChanged(node: SimNode, opened: boolean): void {
    if (opened) {
      const opening = node.state?.opening;
      this.checker.opened(node, this.now, opening?.cause === "reopened");
      if (opening?.cause === "handover" || opening?.cause === "election") this.#checkState(node);
      if (opening != null && opening.cause !== "reopened") this.checker.claimed(node, opening.term, this.now);
    }
    this.#say(() => `${name(node.index)} gate ${gateText(node, this.now)}`);
  }

  /** By agreement, no gate is opened without the state where the other one holds it, can forward, and stays (§8). */
  #checkState(node: SimNode): void {
    const other = this.#other(node);
    // What a daemon last said may be 200 ms old: its honesty is judged elsewhere.
    if (node.state?.daemon?.ready === true || node.synced || !isBehind(node, other)) return;
    if (!other.synced || !other.heartUp || other.state === null || node.state === null) return;
    if (other.state.phase === "left" || other.state.daemon?.dressed !== true || other.daemonSilent > 0)
      return;
    // A port that works again is known to work once a third party was asked and has answered.
    if (this.now - this.#cleanAt < ASKED_MS) return;
    const heard =
      this.now - virtualOf(node, node.state.peer.heardAt) < 20 &&
      this.now - virtualOf(other, other.state.peer.heardAt) < 20;
    const [lan, ...links] = this.#usable(other);
    if (heard && lan === true && links.includes(true))
      this.checker.violate(this.now, `${name(node.index)} opens without the state that the other node holds`);
  }

  #usable(node: SimNode): readonly boolean[] {
    return this.media.slice(0, this.segments).map((medium) => witnessAnswers(medium, node.index));
  }

  perform(node: SimNode, effect: ElectionEffect): void {
    switch (effect.kind) {
      case "heartbeat":
        this.#sendHeartbeat(node, effect.message);
        return;
      case "probe":
        this.#probe(node, effect.segment, effect.broadcast);
        return;
      case "ask-witness":
        this.#askWitness(node, effect.segment);
        return;
      case "announce":
        if (claims(node, this.now)) for (const medium of this.media) medium.macAt = node.index;
        return;
      case "store-term":
        this.#store(node, effect.current, effect.reserved);
        return;
      case "role-changed":
        if (effect.cause === "raised") this.checker.claimed(node, effect.term, this.now);
        if (effect.cause === "takeover") this.takeovers += 1;
        if (effect.cause === "handover" && effect.role === "active") this.handovers += 1;
        this.#say(() => `${name(node.index)} ${effect.role} term ${effect.term} (${effect.cause})`);
        return;
      case "alarm":
        this.#say(
          () => `${name(node.index)} alarm ${effect.raised ? effect.alarm.code : `${effect.code} cleared`}`,
        );
        return;
      case "answer-command":
        this.#say(() => `${name(node.index)} answers: ${effect.message}`);
        return;
      case "exit":
        stopHeart(node);
        node.kernel.present = false;
        this.schedule(Math.max(this.now + 20, node.leaveUntil), () => this.restart(node));
        return;
      case "renew":
      case "open":
      case "drain":
      case "shut":
        return;
      default:
        unreachable(effect);
    }
  }

  #say(text: () => string): void {
    if (this.#logging) this.log.push(`${this.now.toFixed(1)} ${text()}`);
  }

  #travel(medium: Medium): number {
    const { delayMs, jitterMs, lossPercent } = this.#scenario;
    return travelMs(medium, this.#random, delayMs, jitterMs, lossPercent);
  }

  #other(node: SimNode): SimNode {
    return this.nodes[node.index === 0 ? 1 : 0];
  }

  #sendHeartbeat(node: SimNode, message: Extract<ElectionEffect, { kind: "heartbeat" }>["message"]): void {
    const other = this.#other(node);
    let earliest = Number.POSITIVE_INFINITY;
    const { paths } = this.#scenario;
    for (let path = 0; path < paths.length; path++) {
      const medium = this.media[paths[path]!]!;
      if (this.heartbeatsCut[node.index] > 0 || !reaches(medium, node.index)) continue;
      const delay = this.#travel(medium);
      if (delay < 0) continue;
      const { boot: fromBoot, knownPeerBoot: toBoot } = node;
      if (toBoot === other.boot) earliest = Math.min(earliest, this.now + delay);
      this.schedule(this.now + delay, () =>
        receive(this, other, { kind: "datagram", path, fromBoot, toBoot, message }),
      );
    }
    this.checker.sent(node.index, this.now, earliest);
  }

  #probe(node: SimNode, segment: number, broadcast: boolean): void {
    const medium = this.media[segment]!;
    const other = this.#other(node);
    node.probedAt[segment] = localNow(node, this.now);
    const there = this.#travel(medium);
    // The switch keeps a unicast frame where it believes the virtual MAC to be: at the sender's own port.
    const misled = !broadcast && medium.macAt === node.index;
    if (there < 0 || misled || !reaches(medium, node.index)) {
      this.checker.probed(node.index, segment, this.now, Number.POSITIVE_INFINITY);
      return;
    }
    const back = reaches(medium, other.index) ? this.#travel(medium) : -1;
    const arrives = this.now + there;
    const answered = back >= 0 && claims(other, arrives) && other.kernel.heldUntil > arrives;
    this.checker.probed(node.index, segment, this.now, answered ? arrives + back : Number.POSITIVE_INFINITY);
    this.schedule(arrives, () => {
      if (broadcast) receive(this, other, { kind: "input", input: { kind: "contender", segment } });
      if (back < 0 || !claims(other, this.now)) return;
      medium.macAt = other.index;
      this.schedule(this.now + back, () => receive(this, node, { kind: "answer", segment }));
    });
  }

  #askWitness(node: SimNode, segment: number): void {
    const medium = this.media[segment]!;
    const there = this.#travel(medium);
    const back = this.#travel(medium);
    if (there < 0 || back < 0 || !witnessAnswers(medium, node.index)) return;
    this.schedule(this.now + there + back, () => {
      if (!witnessAnswers(medium, node.index)) return;
      this.checker.witnessed(node.index, this.now);
      receive(this, node, { kind: "input", input: { kind: "witness", segment } });
    });
  }

  #store(node: SimNode, current: number, reserved: number): void {
    const { boot } = node;
    const answer = (): void => {
      if (node.boot !== boot || !node.powered) return;
      if (node.diskHangs > 0) {
        this.schedule(this.now + 100, answer);
        return;
      }
      if (node.diskRefuses > 0) {
        receive(this, node, { kind: "input", input: { kind: "term-stored", ok: false, words: "read-only" } });
        return;
      }
      node.disk = { current, reserved };
      receive(this, node, {
        kind: "input",
        input: { kind: "term-stored", ok: true, reserved: term(reserved) },
      });
    };
    this.schedule(this.now + this.#random.between(0.5, 5), answer);
  }

  #config(node: SimNode): ElectionConfig {
    const { heartbeatMs, deadMs, leaseMs, soloMs, segments, singleMac } = this.#scenario;
    return {
      node: node.index === 0 ? "a" : "b",
      priority: { a: 100, b: 100 },
      timers: {
        heartbeatMs: millis(heartbeatMs),
        deadAfterMs: millis(deadMs),
        leaseMs: millis(leaseMs),
        soloLeaseMs: millis(soloMs),
      },
      segments: Array.from({ length: segments }, (_, segment) => ({
        name: mediumName(segments, segment),
        singleMac: singleMac.includes(segment),
      })),
    };
  }

  boot(node: SimNode): void {
    node.powered = true;
    this.#say(() => `${name(node.index)} boots`);
    startHeart(this, node, this.#config(node));
    this.#disturb();
  }

  /** The daemon: reports every 200 ms, on the standby ready once it had the active's state for a while. */
  #daemonTicks(node: SimNode): void {
    const tick = (): void => {
      this.schedule(this.now + DAEMON_INTERVAL_MS, tick);
      this.#synchronise(node);
      if (!node.powered || !node.heartUp || node.daemonSilent > 0) return;
      const { position, synced } = node;
      const facts = {
        ready: holds(node, this.now) || (synced && holds(this.#other(node), this.now)),
        dressed: true,
        position: { ...position },
        sessions: 0,
        configurationDigest: "0000000000000000",
      };
      receive(this, node, { kind: "input", input: { kind: "daemon", facts } });
    };
    this.schedule(node.index * 50, tick);
  }

  #synchronise(node: SimNode): void {
    const connected = this.#scenario.paths.some(
      (path) => reaches(this.media[path]!, 0) && reaches(this.media[path]!, 1),
    );
    followLog(node, this.#other(node), connected, this.now);
  }

  /** Something happens that excuses what is judged in a calm pair. */
  #disturb(): void {
    this.#disturbedAt = this.now;
    this.#disturbances += 1;
  }

  /** The pair as it mostly is: nothing was wrong for a while, one is active, the other ready. */
  #calmActive(): SimNode | null {
    const { lossPercent, rates, wakeMs, singleMac } = this.#scenario;
    if (this.now - this.#disturbedAt < CALM_MS || this.#faults > 0 || lossPercent > 0.5 || wakeMs > 2)
      return null;
    if (singleMac.length > 0 || Math.abs(rates[0] - rates[1]) > 0.005) return null;
    const active = this.nodes.find((node) => claims(node, this.now)) ?? null;
    if (active === null) return null;
    const other = this.#other(active);
    return other.synced && other.heartUp && other.state?.phase === "standby" ? active : null;
  }

  /** In a calm pair: the active is gone, and the standby has to be there soon. */
  #expectTakeover(active: SimNode): void {
    const since = this.now;
    const disturbances = this.#disturbances;
    const other = this.#other(active);
    const { deadMs, heartbeatMs } = this.#scenario;
    this.schedule(since + 1.02 * deadMs + 2 * heartbeatMs, () => {
      if (this.#disturbances !== disturbances) return;
      if (!claims(other, this.now)) this.checker.violate(this.now, `no takeover since ${since.toFixed(1)}`);
    });
  }

  /** In a calm pair: a handover is done soon, and forwarding never stops. */
  #expectHandover(active: SimNode): void {
    const since = this.now;
    const disturbances = this.#disturbances;
    this.checker.restartGap(since);
    this.schedule(since + 450, () => {
      if (this.#disturbances !== disturbances) return;
      if (!claims(this.#other(active), this.now))
        this.checker.violate(this.now, "the handover did not happen");
      if (this.checker.longestGapMs > 0) this.checker.violate(this.now, "nobody forwarded during a handover");
    });
  }

  #start(action: Action): void {
    this.#say(() => `fault: ${JSON.stringify(action)}`);
    const calm = this.#calmActive();
    // An active that does not hear its standby for less than a second goes on as before.
    const minor =
      action.kind === "heartbeats" && calm !== null && action.from === 1 - calm.index && action.forMs < 900;
    if (!minor) this.#disturb();
    if (calm !== null) this.#expect(action, calm);
    const end = applyFault(this, action);
    if (end === null || !("forMs" in action)) return;
    if (minor) this.#mute += 1;
    else this.#faults += 1;
    this.schedule(this.now + action.forMs, () => {
      this.#cleanAt = this.now;
      if (minor) this.#mute -= 1;
      else this.#faults -= 1;
      if (!minor) this.#disturb();
      this.#say(() => `over: ${action.kind}`);
      end();
    });
  }

  #expect(action: Action, active: SimNode): void {
    const { kind } = action;
    const onActive = "node" in action && action.node === active.index;
    // A standby that is not heard is not handed over to.
    if (kind === "handover" && onActive && this.#mute === 0) this.#expectHandover(active);
    if (!onActive || !("forMs" in action) || action.forMs < 200) return;
    if (kind === "kill" || kind === "crash" || kind === "freeze" || kind === "ports")
      this.#expectTakeover(active);
  }

  restart(node: SimNode): void {
    if (node.heartUp || !node.powered) return;
    startHeart(this, node, this.#config(node));
  }
}

export function runScenario(scenario: Scenario, unsafe: Mutation = {}, logging = false): RunResult {
  const world = new World(scenario, unsafe, logging);
  world.run();
  return {
    violations: world.checker.violations,
    overlaps: world.checker.overlaps,
    log: world.log,
    takeovers: world.takeovers,
    handovers: world.handovers,
    virtualMs: world.now,
    events: world.events,
  };
}
