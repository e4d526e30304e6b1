// Replication as the daemon sees it: one object that holds the pair's link (peer/), the two ends of the log (logSender,
// logReceiver) and the kernel's sockets together, follows the role that heart reports, and says how whole the
// standby's copy is. Who is active is heart's business; what a message means is the machines'.
//
// Different configurations do not end the connection and do not stop the sessions: a record says all that the kernel
// has to know, so a standby with yesterday's configuration and today's sessions still saves more of them than one
// without. It is "not ready" for as long, with the reason, so that nothing is handed over to it on purpose.

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { BATCH_FILL_MS } from "../base/limits.ts";
import type { Role } from "../base/units.ts";
import type { AuditorOptions } from "../core/audit/auditorState.ts";
import type { Config } from "../core/config.ts";
import type { ConfigMessage } from "../core/configLogState.ts";
import { isSynchronised as isReceived } from "../core/replication/receiver.ts";
import { isSynchronised as isSent, produced } from "../core/replication/sender.ts";
import type { SenderLimits } from "../core/replication/senderState.ts";
import { isHeard, missing } from "../core/replication/stateLog.ts";
import type { ConnectionTap, ConnectionTimers, Ending, Hello } from "../peer/connection.ts";
import type { Identity } from "../peer/identity.ts";
import { PairLink, type Transport } from "../peer/pairLink.ts";
import type { Position, ReplicationState } from "../wire/control.ts";
import type { MessageOf, PeerMessage } from "../wire/peer.ts";
import { Audit } from "./audit.ts";
import type { DrillMessage } from "./drill.ts";
import { evidenceOf, type ReplicatorEvidence } from "./evidence.ts";
import { LogReceiver } from "./logReceiver.ts";
import { LogSender } from "./logSender.ts";
import { MergeTaker } from "./mergeTaker.ts";
import { type NeighbourLog, openNeighbourLog } from "./neighbourLog.ts";
import { openReplicationKernel, type ReplicationKernel } from "./replicationKernel.ts";
import { replicationTransport } from "./replicationSockets.ts";
import { route } from "./routing.ts";
import { SetBack } from "./setBack.ts";
import { standbyReasons } from "./standbyReasons.ts";
import { type NodeState, StateLog } from "./stateLog.ts";
import { VERSION } from "./views.ts";

/** The configuration's part of the connection (configKeeper.ts). */
export interface ConfigurationLog {
  /** Digest of what this node runs with. */
  readonly running: string;
  /** Why the peer runs with another one, in words. */
  readonly difference: string | null;
  readonly counters: Record<string, number>;
  /** `version` is spoken from here on. */
  up(hello: Hello, version: number, send: (message: ConfigMessage) => void): void;
  down(): void;
  peerRole(role: Role): void;
  message(message: ConfigMessage): void;
}

export interface ReplicatorOptions {
  readonly config: Config;
  readonly configuration: ConfigurationLog;
  readonly identity: Pick<Identity, "tls">;
  /** Slots, links and facts of this node, and where those of the active go. */
  readonly node: NodeState;
  readonly log: (line: string) => void;
  /** Readiness, connection or direction may have changed. */
  readonly onChange: () => void;
  /** For tests: a model kernel, loopback sockets, quick timers, small limits. */
  readonly kernel?: ReplicationKernel;
  readonly neighbours?: NeighbourLog;
  /** Who listens in on the connection at this moment; null: nobody. */
  readonly tap?: () => ConnectionTap | null;
  readonly transport?: Transport;
  readonly timers?: ConnectionTimers;
  readonly limits?: Partial<SenderLimits>;
  readonly audit?: Partial<AuditorOptions>;
  readonly drill?: { up(): void; message(message: DrillMessage): void };
}

export interface ReplicatorReport {
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly position: Position;
  readonly sessions: number;
  /** Sessions of the active that this standby's kernel did not take. */
  readonly refused: number;
}

export interface Replicator {
  /** What heart says of this node; cheap where nothing changed. `peerRole` is heart's view, null where unheard. */
  setRole(role: Role, term: number, peerRole: Role | null): void;
  state(): ReplicationState;
  report(): ReplicatorReport;
  evidence(): ReplicatorEvidence;
  /** Slots, links and node facts: what was told, and where what changes is said. */
  readonly stateLog: Pick<StateLog, "told" | "changed">;
  /**
   * Another configuration is in force: of the connection nothing changes (core/configPlan.ts says when that will not do), but
   * which links and neighbours there are.
   */
  configure(config: Config): void;
  /** For a handover: true when everything produced so far is in the standby's kernel, the slots among it. */
  waitAcknowledged(timeoutMs: number): Promise<boolean>;
  /** False: the peer is not there, or does not know drills. */
  sendDrill(message: DrillMessage): boolean;
  /** Has the connection made anew. */
  reconnect(): void;
  close(): Promise<void>;
}

const NOWHERE: Position = { term: 0, sequence: 0 };
/** The protocol version that brought rounds over some buckets, what helpers expect, the audit, and drills. */
const ROUNDS_SINCE = 2;
/** How long the poll of the kernel's sockets may keep `close` waiting. */
const POLL_MS = 100;
/** More events than this in one turn: let the next batch fill. */
const BUSY_EVENTS = 2;
const COUNT_AGE_MS = 500;
/** The protocol's version in which an active says each session's time again, round after round (§5.5). */
const REFRESHES_SINCE = 2;

/**
 * Opens the kernel's sockets (events are heard from here on) and the listeners of every replication path. Throws
 * KernelError or BoundaryError, with nothing left open, where one of them is refused.
 */
export function createReplicator(options: ReplicatorOptions): Replicator {
  const kernel = options.kernel ?? openReplicationKernel(options.config.sending);
  try {
    return new RunningReplicator(options, kernel);
  } catch (error) {
    kernel.close();
    throw error;
  }
}

class RunningReplicator implements Replicator {
  readonly #options: ReplicatorOptions;
  readonly #kernel: ReplicationKernel;
  readonly #link: PairLink;
  readonly #sender: LogSender;
  readonly #receiver: LogReceiver;
  readonly #taker: MergeTaker;
  #config: Config;
  #neighbours: NeighbourLog;
  /** The neighbours listened to are those of another configuration. */
  #areNeighboursStale = false;
  readonly stateLog: StateLog;
  readonly #setBack: SetBack;
  readonly #audit: Audit;
  #role: Role = "idle";
  /**
   * Up to here this kernel holds the whole of the pair's state. A snapshot under way does not count: by its position
   * a node that holds a twentieth of it would be preferred to the one that holds all, and that one swept.
   */
  #whole: Position = NOWHERE;
  #term = 0;
  #peerRole: Role | null = null;
  #hello: Hello | null = null;
  #lastEnding: Ending | null = null;
  #counted = { at: Number.NEGATIVE_INFINITY, entries: 0 };
  readonly #counters: Record<string, number> = {};
  #closed = false;
  readonly #watching: Promise<void>;

  constructor(options: ReplicatorOptions, kernel: ReplicationKernel) {
    this.#options = options;
    this.#config = options.config;
    this.#kernel = kernel;
    const { config, log, onChange } = options;
    const send = (message: PeerMessage): void => this.#link.send(message);
    const fail = (reason: string): void => this.#link.refuse(reason);
    this.#neighbours = options.neighbours ?? openNeighbourLog(config);
    this.#setBack = new SetBack({ walk: () => kernel.walkTimes(), log });
    this.stateLog = new StateLog({ node: options.node, send, fail, onChange, log });
    const seed = randomBytes(4).readUInt32LE();
    this.#sender = new LogSender({
      kernel,
      send,
      fail,
      tellRole: () => this.#tellRole(),
      insert: (bytes, count) => this.#taker.insert(bytes, count),
      onSnapshot: () => {
        this.#sendNeighbours(this.#neighbours.full());
        this.stateLog.input({ kind: "subscribed" });
      },
      onChange: () => {
        this.#audit.follow();
        onChange();
      },
      audit: { sent: (bytes) => this.#audit.sent(bytes) },
      log,
      seed,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.#audit = new Audit({
      openFold: (reading, active) => kernel.openFold(reading, active),
      sender: this.#sender.state,
      drain: () => this.#sender.drainAll(),
      dirty: (buckets) => this.#sender.input({ kind: "dirty", buckets }),
      send,
      onChange,
      log,
      seed,
      salt: randomBytes(4).readUInt32LE(),
      ...(options.audit === undefined ? {} : { tuning: options.audit }),
    });
    this.#taker = new MergeTaker({
      insert: (bytes, count) => kernel.writer.insert(bytes, count),
      taking: () => this.#sender.state.taking,
      drain: () => this.#sender.turn(),
      input: (input) => this.#sender.input(input),
      fail,
      log,
    });
    this.#receiver = new LogReceiver({
      kernel,
      linkIds: () => this.#config.links.map((link) => link.id),
      send,
      fail,
      pause: () => this.#link.pause(),
      resume: () => this.#link.resume(),
      installNeighbours: (message) => this.#installNeighbours(message),
      onChange,
      audit: this.#audit,
      log,
    });
    this.#link = this.#connect();
    this.#watching = this.#watch();
  }

  #connect(): PairLink {
    const { config, log } = this.#options;
    const options = this.#options;
    try {
      return new PairLink({
        introduction: {
          identity: options.identity,
          peerKeys: config.peerKeys,
          node: config.node,
          pair: config.pair,
          software: `understudy ${VERSION}`,
          bootId: randomBytes(16).toString("hex"),
          get configurationDigest() {
            return options.configuration.running;
          },
          role: () => ({ role: this.#role, term: this.#term }),
        },
        paths: config.paths.filter((path) => path.replication),
        events: {
          onUp: (hello) => this.#onUp(hello),
          onMessage: (message) =>
            route(message, {
              sender: this.#sender,
              taker: this.#taker,
              receiver: this.#receiver,
              stateLog: this.stateLog,
              configuration: options.configuration,
              audit: this.#audit,
              drill: options.drill ?? null,
              isActive: this.#role === "active",
              knowsRounds: (this.#link.version ?? 0) >= ROUNDS_SINCE,
              onChange: options.onChange,
            }),
          onDown: (ending) => this.#onDown(ending),
        },
        log,
        transport: options.transport ?? replicationTransport(),
        ...(options.tap === undefined ? {} : { tap: options.tap }),
        ...(options.timers === undefined ? {} : { timers: options.timers }),
      });
    } catch (error) {
      this.#neighbours.close();
      throw error;
    }
  }

  setRole(role: Role, term: number, peerRole: Role | null): void {
    this.#peerRole = peerRole;
    if (role === this.#role && term === this.#term) return;
    // What it produced as the active is what its kernel holds, whatever it receives afterwards, until it is swept.
    if (this.#role === "active") this.#whole = produced(this.#sender.state) ?? this.#whole;
    this.#role = role;
    this.#term = term;
    this.stateLog.input({ kind: "role", self: { role, term } });
    this.#setBack.role(role === "active");
    if (role === "active") {
      // First of all no longer a standby: nothing of the former active's is written or swept from here on.
      const relieved = this.#receiver.relieves;
      this.#receiver.input({ kind: "role", standby: false });
      this.#receiver.input({ kind: "own" });
      this.#sender.input({ kind: "active", term, relieved });
    } else {
      this.#sender.input({ kind: "inactive" });
      this.#receiver.input({ kind: "role", standby: role === "standby" });
    }
    this.#followAudit();
    this.#tellRole();
    this.#options.onChange();
  }

  state(): ReplicationState {
    const link = this.#link.state();
    const sending = this.#sender.state;
    const receiving = this.#receiver.state;
    const active = this.#role === "active";
    const following = receiving.phase !== "off";
    const acknowledged =
      sending.term === null || sending.subscription === null
        ? null
        : { term: sending.term, sequence: sending.acknowledged };
    return {
      connected: link.connected,
      path: link.path,
      refusedKey: link.refusedKey,
      direction: active && acknowledged !== null ? "sending" : following ? "receiving" : "none",
      version: this.#link.version,
      synchronised: active
        ? isSent(sending) && isHeard(this.stateLog.state)
        : isReceived(receiving) && missing(this.stateLog.state) === null,
      produced: produced(sending),
      acknowledged,
      applied: receiving.applied.term === 0 ? null : receiving.applied,
      audit: this.#audit.state(),
      counters: {
        ...prefixed("link", link.counters),
        ...prefixed("sender", { ...sending.counters }),
        ...prefixed("receiver", { ...receiving.counters }),
        ...prefixed("merge", this.#taker.counters),
        ...prefixed("kernel", this.#receiver.counters),
        ...prefixed("neighbours", this.#counters),
        ...prefixed("set-back", this.#setBack.counters),
        ...prefixed("state", { ...this.stateLog.state.counters }),
        ...prefixed("configuration", this.#options.configuration.counters),
      },
    };
  }

  report(): ReplicatorReport {
    const sessions = this.#sessions();
    if (this.#role === "active") {
      return {
        ready: true,
        reasons: [],
        position: produced(this.#sender.state) ?? this.#whole,
        sessions,
        refused: 0,
      };
    }
    const reasons = standbyReasons({
      role: this.#role,
      heartsPeerRole: this.#peerRole,
      isConnected: this.#hello !== null,
      lastEnding: this.#lastEnding?.text ?? null,
      difference: this.#options.configuration.difference,
      receiver: this.#receiver.state,
      state: this.stateLog.state,
    });
    const { applied, refused } = this.#receiver.state;
    if (isReceived(this.#receiver.state)) this.#whole = applied;
    return { ready: reasons.length === 0, reasons, position: this.#whole, sessions, refused };
  }

  evidence(): ReplicatorEvidence {
    return evidenceOf(this.#sender, this.#receiver, this.#link.silentMs);
  }

  configure(config: Config): void {
    this.#config = config;
    // A test's own are not the kernel's.
    this.#areNeighboursStale = this.#options.neighbours === undefined;
  }

  async waitAcknowledged(timeoutMs: number): Promise<boolean> {
    const [sessions, state] = await Promise.all([
      this.#sender.waitAcknowledged(timeoutMs),
      this.stateLog.waitHeard(timeoutMs),
    ]);
    return sessions && state;
  }

  sendDrill(message: DrillMessage): boolean {
    const knows = this.#hello !== null && (this.#link.version ?? 1) >= ROUNDS_SINCE;
    if (knows) this.#link.send(message);
    return knows;
  }

  reconnect(): void {
    this.#link.reconnect();
  }

  async close(): Promise<void> {
    if (this.#closed) return this.#watching;
    this.#closed = true;
    this.#sender.close();
    this.#setBack.close();
    this.#audit.close();
    this.#receiver.close();
    this.#link.close();
    // The descriptors are polled by another thread until then, and must not be another file's meanwhile.
    await this.#watching;
    this.#neighbours.close();
    this.#kernel.close();
  }

  #onUp(hello: Hello): void {
    this.#hello = hello;
    const { configuration } = this.#options;
    this.#kernel.setRefreshed((this.#link.version ?? 1) >= REFRESHES_SINCE);
    this.#kernel.events.expectations = (this.#link.version ?? 1) >= 2;
    configuration.up(hello, this.#link.version ?? 1, (message) => this.#link.send(message));
    this.#receiver.input({ kind: "peer", role: hello.role, term: hello.term });
    const peer = { role: hello.role, term: hello.term };
    this.stateLog.input({ kind: "up", version: this.#link.version ?? 1, peer });
    this.#followAudit();
    if ((this.#link.version ?? 1) >= ROUNDS_SINCE) this.#options.drill?.up();
    // Heart may have spoken between the hello and now.
    this.#tellRole();
    this.#options.onChange();
  }

  #onDown(ending: Ending): void {
    this.#hello = null;
    this.#lastEnding = ending;
    this.#sender.input({ kind: "unsubscribe" });
    this.#receiver.disconnected();
    this.stateLog.input({ kind: "down" });
    this.#followAudit();
    this.#options.configuration.down();
    this.#options.onChange();
  }

  /** The audit goes by the role and the connection in force. */
  #followAudit(): void {
    const speaks = this.#hello !== null && (this.#link.version ?? 0) >= ROUNDS_SINCE;
    this.#audit.setRole(speaks && this.#role !== "idle" ? this.#role : null);
  }

  #tellRole(): void {
    this.#link.send({ kind: "roleChanged", role: this.#role, term: this.#term });
  }

  #sessions(): number {
    const now = performance.now();
    if (now - this.#counted.at < COUNT_AGE_MS) return this.#counted.entries;
    let { entries } = this.#counted;
    try {
      entries = this.#kernel.count();
    } catch (error) {
      this.#options.log(`replication: ${(error as Error).message}`);
    }
    this.#counted = { at: now, entries };
    return entries;
  }

  /** Between two polls: a descriptor that another thread waits on must not become another file's. */
  #renewNeighbours(): void {
    const next = openNeighbourLog(this.#config);
    this.#areNeighboursStale = false;
    this.#neighbours.close();
    this.#neighbours = next;
    if (this.#sender.state.subscription !== null) this.#sendNeighbours(next.full());
  }

  #sendNeighbours(messages: readonly MessageOf<"neighbours">[]): void {
    for (const message of messages) this.#link.send(message);
  }

  #installNeighbours(message: MessageOf<"neighbours">): void {
    try {
      const installed = this.#neighbours.install(message);
      this.#counters.installed = (this.#counters.installed ?? 0) + installed;
    } catch (error) {
      this.#counters.refused = (this.#counters.refused ?? 0) + message.neighbours.length;
      this.#options.log(`replication: neighbours: ${(error as Error).message}`);
    }
  }

  /** Waits for the kernel's events and has them handled, until `close`. */
  async #watch(): Promise<void> {
    // `#link` and the rest are in place only when the constructor is done.
    await null;
    while (!this.#closed) {
      await this.#kernel.wait([this.#kernel.events.fd, ...this.#neighbours.fds], POLL_MS);
      if (this.#closed) return;
      try {
        if (this.#areNeighboursStale) this.#renewNeighbours();
        const events = this.#sender.turn();
        this.stateLog.turn();
        this.#audit.follow();
        const changes = this.#neighbours.changes();
        if (this.#sender.state.subscription !== null) this.#sendNeighbours(changes);
        // Under load a batch is worth waiting for; one event alone is not made to wait.
        if (events > BUSY_EVENTS) await sleep(BATCH_FILL_MS);
      } catch (error) {
        // The kernel refuses its own socket (out of memory): heard again on the next turn, and the log says so.
        this.#options.log(`replication: ${(error as Error).message}`);
        await sleep(POLL_MS);
      }
    }
  }
}

function prefixed(prefix: string, counters: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counters).map(([name, value]) => [`${prefix}.${name}`, value]));
}
