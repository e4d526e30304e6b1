// Two keepers of a pair's configuration with their files and stores on disk, and the connection between them: messages go through
// the codec, in order. Interfaces and keys of the machine are not looked at; effects are what a test says.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfiguration } from "../../src/admin/configFiles.ts";
import { type NodeId, peerOf, type Role } from "../../src/base/units.ts";
import type { Config } from "../../src/core/config.ts";
import type { ConfigMessage } from "../../src/core/configLogState.ts";
import type { EffectReport } from "../../src/core/configPlan.ts";
import { type ConfigError, formatErrors } from "../../src/core/configTree.ts";
import { ConfigKeeper, openKeptStore } from "../../src/daemon/configKeeper.ts";
import type { ApplySource, DaemonMessage, DaemonRequest } from "../../src/wire/control.ts";
import type { ApplyReport } from "../../src/wire/controlConfiguration.ts";
import { encodeFrame, FrameReader } from "../../src/wire/frames.ts";
import { FULL_PAIR } from "../core/configExamples.ts";

type ApplyOptions = Partial<Pick<Extract<DaemonRequest, { kind: "apply" }>, "replace" | "base">>;

export class KeptNode {
  readonly node: NodeId;
  readonly home: string;
  readonly #world: KeeperWorld;
  keeper!: ConfigKeeper;
  running!: Config;
  role: Role;
  /** What becomes of the next effects; the digests that took effect are kept. */
  effect: (next: Config) => EffectReport | Promise<EffectReport> = () => ({ ok: true, words: [] });
  readonly effects: string[] = [];
  machineErrors: readonly ConfigError[] = [];
  readonly lines: string[] = [];

  constructor(world: KeeperWorld, node: NodeId, role: Role, text: string) {
    this.#world = world;
    this.node = node;
    this.role = role;
    this.home = join(world.directory, node);
    mkdirSync(this.home);
    writeFileSync(
      join(this.home, "node.yaml"),
      `node: ${node}\npair: pair.yaml\nstate: state\nruntime: run\n`,
    );
    writeFileSync(this.pairFile, text);
    this.start();
  }

  get pairFile(): string {
    return join(this.home, "pair.yaml");
  }

  get text(): string {
    return readFileSync(this.pairFile, "utf8");
  }

  start(): void {
    const read = readConfiguration(join(this.home, "node.yaml"));
    if (!read.ok) throw new Error(formatErrors(read.errors));
    this.running = read.config;
    this.keeper = new ConfigKeeper({
      config: read.config,
      ...openKeptStore(read.config.stateDirectory, (line) => this.lines.push(line)),
      running: () => this.running,
      effect: async (next) => {
        const report = await this.effect(next);
        this.effects.push(`${next.digest.slice(0, 8)} ${report.ok ? "taken" : "refused"}`);
        if (report.ok) this.running = next;
        return report;
      },
      log: (line) => this.lines.push(line),
      onChange: () => undefined,
      now: () => this.#world.wallMs(),
      checkMachine: () => this.machineErrors,
    });
    this.#world.tellRoles();
  }

  /** A daemon that ends, whatever it is at, and the next one. */
  restart(): void {
    this.#world.disconnect();
    this.keeper.close();
    this.start();
  }

  async apply(source: ApplySource | string, options: ApplyOptions = {}): Promise<ApplyReport> {
    const answer = await this.ask({
      kind: "apply",
      request: 1,
      source: typeof source === "string" ? { kind: "text", file: "new.yaml", text: source } : source,
      author: "eve",
      message: "why",
      replace: false,
      base: null,
      ...options,
    });
    if (answer.kind !== "applied") throw new Error(answer.kind);
    return answer.report;
  }

  ask(request: Extract<DaemonRequest, { kind: "apply" }>): Promise<DaemonMessage> {
    return this.keeper.apply(request);
  }

  /** A version's text, as `show config` gets it. */
  async shown(version: string | null, of: "own" | "peer" = "own"): Promise<string> {
    const answer = await this.keeper.version({ kind: "configuration", request: 1, of, version });
    return answer.kind === "configuration" ? answer.text : answer.kind;
  }
}

export class KeeperWorld {
  readonly directory = mkdtempSync(join(tmpdir(), "understudy-keeper-"));
  readonly nodes: Record<NodeId, KeptNode>;
  /** Another number for each connection; null where there is none. */
  #connection: number | null = null;
  #connections = 0;
  #wallMs = 1_795_187_161_000;
  /** The protocol version that is spoken. */
  version = 2;

  constructor(texts: Readonly<Record<NodeId, string>> = { a: FULL_PAIR, b: FULL_PAIR }) {
    const nodes = {} as Record<NodeId, KeptNode>;
    this.nodes = nodes;
    nodes.a = new KeptNode(this, "a", "active", texts.a);
    nodes.b = new KeptNode(this, "b", "standby", texts.b);
    this.tellRoles();
  }

  wallMs(): number {
    this.#wallMs += 1000;
    return this.#wallMs;
  }

  tellRoles(): void {
    for (const { node, keeper, role } of Object.values(this.nodes))
      keeper?.setRole(role, this.nodes[peerOf(node)]?.role === "active");
  }

  setRoles(a: Role, b: Role): void {
    this.nodes.a.role = a;
    this.nodes.b.role = b;
    this.tellRoles();
    if (this.#connection === null) return;
    this.nodes.a.keeper.peerRole(b);
    this.nodes.b.keeper.peerRole(a);
  }

  connect(): void {
    this.#connections += 1;
    const connection = this.#connections;
    this.#connection = connection;
    for (const { node, keeper } of Object.values(this.nodes)) {
      const other = this.nodes[peerOf(node)];
      const reader = new FrameReader(this.version);
      keeper.up({ role: other.role, configurationDigest: other.running.digest }, this.version, (message) => {
        const frame = encodeFrame(message, this.version);
        // As over a socket: never within the call.
        setImmediate(() => {
          if (this.#connection !== connection) return;
          reader.push(frame);
          const read = reader.next();
          if (read.kind !== "message") throw new Error(JSON.stringify(read));
          other.keeper.message(read.message as ConfigMessage);
        });
      });
    }
  }

  disconnect(): void {
    if (this.#connection === null) return;
    this.#connection = null;
    for (const { keeper } of Object.values(this.nodes)) keeper.down();
  }

  /** Until what was sent has arrived, and what it led to. */
  async quiet(): Promise<void> {
    for (let turn = 0; turn < 40; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  end(): void {
    this.disconnect();
    for (const { keeper } of Object.values(this.nodes)) keeper.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
